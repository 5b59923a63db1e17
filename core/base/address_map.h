// Address -> index of the range that holds it, in a few nanoseconds and whatever the number of ranges.
// Two-level table over 1 MiB chunks, of the part of the 48-bit address space that the ranges span; a chunk that holds several ranges falls back to a short search that starts at its first one.
// Used for segments of memory (target::MemoryImage) and for the object bitmap (heap::ObjectIndex).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/base/address.h"

namespace pygc {

/// Immutable map from addresses to the index of the range that contains them.
class AddressMap {
 public:
  static constexpr std::uint32_t kNone = 0xFFFFFFFFu;

  AddressMap() = default;
  /// `ranges` must be sorted by begin, disjoint, not empty, and end at or below 2^48 or lie wholly above it (those are found by binary search).
  explicit AddressMap(std::span<const AddressRange> ranges);

  /// Index of the range that contains `a`, or kNone.
  [[nodiscard]] std::uint32_t Find(Address a) const noexcept {
    const std::uint64_t slot = (a >> kTopShift) - first_slot_;
    if (slot >= slot_count_) [[unlikely]] return FindSlow(a);
    const std::uint32_t page = top_[slot];
    if (page >= kSeveral) return page == kNone ? kNone : FindSlow(a);
    const std::uint32_t entry = pages_[page * kPageSize + ((a >> kChunkShift) & (kPageSize - 1))];
    if (entry >= kSeveral) return entry == kNone ? kNone : FindFrom(entry & ~kSeveral, a);
    return ranges_[entry].Contains(a) ? entry : kNone;
  }

  [[nodiscard]] const std::vector<AddressRange>& ranges() const noexcept { return ranges_; }

 private:
  static constexpr unsigned kChunkShift = 20;
  static constexpr unsigned kTopShift = 32;
  static constexpr std::uint64_t kPageSize = 1u << (kTopShift - kChunkShift);  // chunks in 4 GiB
  static constexpr std::uint64_t kTopSize = 1u << 16;                          // 48-bit user addresses
  static constexpr std::uint64_t kMaxPages = 4096;                             // 64 MiB of table: a hostile core may name every 4 GiB slot
  static constexpr std::uint32_t kSeveral = 0x80000000u;

  [[nodiscard]] std::uint32_t FindSlow(Address a) const noexcept;
  /// The same among ranges_[first] and those behind it; fast when the answer is near.
  [[nodiscard]] std::uint32_t FindFrom(std::uint32_t first, Address a) const noexcept;

  std::vector<AddressRange> ranges_;
  std::uint64_t first_slot_ = 0, slot_count_ = 0;  // of top_: from the first range to the last one below 2^48
  std::uint32_t behind_ = 0;                       // index of the first range above 2^48
  std::vector<std::uint32_t> top_;    // 4 GiB slot -> page index, kNone, or kSeveral: search all ranges
  std::vector<std::uint32_t> pages_;  // chunk -> range index, kNone, or kSeveral with the index of the chunk's first range
};

}  // namespace pygc
