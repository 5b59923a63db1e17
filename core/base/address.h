// Places in the target's address space. Never a pointer of this program: an Address cannot be dereferenced, only read through target::MemoryImage.
#pragma once

#include <cstdint>

namespace pygc {

/// An address in the target. 0 is the target's NULL.
using Address = std::uint64_t;

/// The first page is mapped nowhere: a smaller number is no address of anything.
inline constexpr Address kLeastAddress = 4096;

/// Half-open range [begin, end) of target addresses; empty when begin >= end.
struct AddressRange {
  Address begin = 0;
  Address end = 0;

  [[nodiscard]] constexpr std::uint64_t size() const noexcept { return end > begin ? end - begin : 0; }
  [[nodiscard]] constexpr bool empty() const noexcept { return end <= begin; }
  [[nodiscard]] constexpr bool Contains(Address a) const noexcept { return a >= begin && a < end; }
  /// True when all of [a, a + size) lies inside. Safe against wrap-around.
  [[nodiscard]] constexpr bool Contains(Address a, std::uint64_t size) const noexcept {
    return a >= begin && a <= end && size <= end - a;
  }
  friend constexpr bool operator==(const AddressRange&, const AddressRange&) = default;
};

}  // namespace pygc
