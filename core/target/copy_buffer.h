// Host memory for the copy of a live process: mirrors the target's layout, so that neighbouring mappings lie side by side here too, is reserved and touched
// before the target is stopped, and only costs what is written to it. Internal to core/target.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/base/address.h"
#include "core/base/result.h"
#include "core/target/memory_image.h"

namespace pygc::target {

class CopyBuffer final : public Backing {
 public:
  CopyBuffer() = default;
  ~CopyBuffer() override;
  CopyBuffer(const CopyBuffer&) = delete;
  CopyBuffer& operator=(const CopyBuffer&) = delete;

  /// Reserves address space for `ranges` (sorted, disjoint), with room around them for what the target maps before it is stopped.
  /// Errors: kLimit where the address space of this program is limited.
  [[nodiscard]] Result<void> Reserve(const std::vector<AddressRange>& ranges);
  /// Makes the pages behind `range` exist, so that copying to them does not fault. Ranges without room are left for later.
  void Touch(AddressRange range) noexcept;
  /// Zeroed host memory that mirrors `range`; neighbours of one reservation are neighbours here. nullptr where no memory can be had.
  [[nodiscard]] std::byte* Place(AddressRange range);

 private:
  struct Reservation {
    AddressRange range;
    std::byte* host;
  };
  [[nodiscard]] bool Map(AddressRange range);
  [[nodiscard]] const Reservation* Find(AddressRange range) const noexcept;

  std::vector<Reservation> reservations_;
};

}  // namespace pygc::target
