// Which pages of a live process exist, from /proc/PID/pagemap: anonymous pages that were never touched read as zero and need no copy.
// Internal to core/target.
#pragma once

#include <cstdint>
#include <vector>

#include "core/base/address.h"
#include "core/base/mapped_file.h"

namespace pygc::target {

class PageRuns {
 public:
  explicit PageRuns(std::int32_t pid);
  /// The parts of `range` that hold data (resident or swapped), joined over gaps of less than 64 KiB. All of it where the kernel does not tell.
  /// Small ranges are returned whole. `range` is page-aligned.
  [[nodiscard]] std::vector<AddressRange> Find(AddressRange range);

 private:
  bool Scan(AddressRange range, std::vector<AddressRange>& out);
  bool ReadEntries(AddressRange range, std::vector<AddressRange>& out);

  Descriptor pagemap_;
  bool can_scan_ = true;  // PAGEMAP_SCAN, Linux 6.7
  std::vector<std::uint64_t> buffer_;
};

}  // namespace pygc::target
