// Which memory is accounted for: one bit for each 16 bytes of the target's writable memory. What is left open may hold references that nobody knows of.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <vector>

#include "core/base/address_map.h"
#include "core/target/memory_image.h"

namespace pygc::audit {

class MemoryCover {
 public:
  static constexpr unsigned kShift = 4;  // allocators align to 16 bytes, so what shares 16 bytes with the end of a block is its own padding

  /// Everything writable of `memory` is open. `memory` outlives the cover.
  explicit MemoryCover(const target::MemoryImage& memory);

  /// Closes the memory of an allocated block: from the first whole 16 bytes to the last, padding included. Thread-safe.
  void Close(AddressRange block) noexcept { Mark(block.begin, (block.end + 15) & ~Address{15}); }
  /// Closes only what lies wholly inside: for structures whose neighbours are not known to be theirs. Thread-safe.
  void CloseInside(AddressRange range) noexcept { Mark(range.begin, range.end & ~Address{15}); }
  [[nodiscard]] bool IsClosed(Address a) const noexcept;
  /// Calls f(address, host bytes, word count) for each longest run of open memory inside segments [first, last).
  template <typename F>
  void ForEachOpen(std::size_t first, std::size_t last, F&& f) const;
  /// Calls f(address, host bytes) for each word of `range` that lies in open memory. For blocks: what is large goes through ForEachOpen().
  template <typename F>
  void ForEachOpenWord(AddressRange range, F&& f) const;

 private:
  struct Part {
    AddressRange range;
    const std::byte* bytes;
    std::uint64_t first_bit;  // of the granule that holds range.begin
  };
  void Mark(Address begin, Address end) noexcept;
  /// The part that holds `a`, or the first one behind it.
  [[nodiscard]] std::vector<Part>::const_iterator PartAt(Address a) const noexcept;

 public:
  /// Parts of memory, for sharing the work of ForEachOpen: at most this many bytes each.
  static constexpr std::uint64_t kPartBytes = 1u << 22;
  [[nodiscard]] std::size_t part_count() const noexcept { return parts_.size(); }

 private:
  std::vector<Part> parts_;  // of segments, cut, sorted by address
  std::vector<std::uint64_t> bits_;
};

template <typename F>
void MemoryCover::ForEachOpen(std::size_t first, std::size_t last, F&& f) const {
  for (std::size_t i = first; i < last && i < parts_.size(); ++i) {
    const Part& part = parts_[i];
    const Address base = part.range.begin & ~Address{15};
    const std::uint64_t granules = ((part.range.end + 15) >> kShift) - (base >> kShift);
    std::uint64_t g = 0;
    const auto closed = [&](std::uint64_t at) { return bits_[(part.first_bit + at) >> 6] >> ((part.first_bit + at) & 63) & 1; };
    while (g < granules) {
      if (closed(g)) {
        ++g;
        // Whole words of closed granules are passed over at once.
        while (g + 64 <= granules && ((part.first_bit + g) & 63) == 0 && bits_[(part.first_bit + g) >> 6] == ~std::uint64_t{0}) g += 64;
        continue;
      }
      const std::uint64_t begin = g;
      while (g < granules && !closed(g)) ++g;
      Address from = std::max(base + (begin << kShift), part.range.begin), to = std::min(base + (g << kShift), part.range.end);
      from = (from + 7) & ~Address{7};
      to &= ~Address{7};
      if (from < to) f(from, part.bytes + (from - part.range.begin), (to - from) / 8);
    }
  }
}

template <typename F>
void MemoryCover::ForEachOpenWord(AddressRange range, F&& f) const {
  Address at = (range.begin + 7) & ~Address{7};
  for (auto part = PartAt(at); part != parts_.end() && part->range.begin < range.end; ++part) {
    at = std::max(at, (part->range.begin + 7) & ~Address{7});
    const Address end = std::min(range.end, part->range.end), base = part->range.begin & ~Address{15};
    while (at + 8 <= end) {
      const std::uint64_t bit = part->first_bit + ((at - base) >> kShift);
      const Address next = std::min(end, (at & ~Address{15}) + 16);
      if (bits_[bit >> 6] >> (bit & 63) & 1) {
        at = next;
        continue;
      }
      for (; at + 8 <= next; at += 8) f(at, part->bytes + (at - part->range.begin));
      at = std::max(at, next);
    }
  }
}

}  // namespace pygc::audit
