// What every kind of target knows before modules are found: raw segments, named mappings, auxiliary vector. CompleteProcess() turns it into a Process
// in the same way for a core, a live process and a debugger, so that the same process gives the same image. Internal to core/target.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/mapped_file.h"
#include "core/base/progress.h"
#include "core/target/open.h"
#include "core/target/process.h"

namespace pygc::target {

inline constexpr std::uint32_t kNoModule = 0xFFFFFFFFu;
inline constexpr std::uint64_t kPageSize = 4096;  // x86-64

[[nodiscard]] constexpr std::uint64_t PageFloor(std::uint64_t a) noexcept { return a & ~(kPageSize - 1); }
[[nodiscard]] constexpr std::uint64_t PageCeiling(std::uint64_t a) noexcept { return a > ~std::uint64_t{0} - kPageSize ? PageFloor(a) : PageFloor(a + kPageSize - 1); }

/// A part of a file in the target's address space: a line of NT_FILE or of /proc/PID/maps.
struct FileMapping {
  AddressRange range;
  std::uint64_t file_offset = 0;  // bytes
  std::string path;               // as the target names it
  bool access_known = false;      // NT_FILE does not tell
  bool readable = true, writable = false, executable = false;
  std::optional<FileIdentity> identity;  // live: device and inode
  std::string direct_path;        // live: a path on this machine that opens exactly this file, or empty
};

/// A mapped range that the target named, readable or not, dumped or not.
struct MappedRegion {
  AddressRange range;
  bool access_known = false;
  bool readable = true, writable = false, executable = false;
};

/// Mapped regions by address.
class RegionMap {
 public:
  explicit RegionMap(std::vector<MappedRegion> regions);
  /// The region that holds `a`, where its access rights are known; nullptr otherwise.
  [[nodiscard]] const MappedRegion* Find(Address a) const noexcept;

 private:
  std::vector<MappedRegion> sorted_;
};

/// A process in the making.
struct ProcessDraft {
  Process process;                 // kind, path, pid, threads, missing ranges and notes so far; no memory, no modules
  std::vector<Segment> segments;   // what the target itself gave; module fields are set by CompleteProcess()
  std::vector<std::shared_ptr<Backing>> backings;
  std::vector<FileMapping> mappings;
  std::vector<MappedRegion> regions;  // empty where unknown
  std::vector<std::pair<std::uint64_t, std::uint64_t>> auxv;
  std::string root;                // live: prefix that shows the file system as the process sees it (/proc/PID/root)

  [[nodiscard]] std::optional<std::uint64_t> Auxiliary(std::uint64_t type) const noexcept;
};

/// Finds modules and their files, fills what the target left out from verified files, and says what is missing.
[[nodiscard]] Result<Process> CompleteProcess(ProcessDraft draft, const OpenOptions& options, ProgressSink& progress);

/// "412.0 MiB", "17 bytes": sizes in words.
[[nodiscard]] std::string SizeText(std::uint64_t bytes);

}  // namespace pygc::target
