// Which memory is accounted for: one bit for each word of the target's writable memory. What is left open may hold references that nobody knows of.
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
  /// Allocators align to 8 bytes or more (pymalloc of old releases; blocks of 8 bytes of mimalloc), so what shares a word with the end of a block is its own padding.
  static constexpr unsigned kShift = 3;
  static constexpr Address kMask = (Address{1} << kShift) - 1;

  /// Everything writable of `memory` is open. `memory` outlives the cover.
  explicit MemoryCover(const target::MemoryImage& memory);

  /// Closes the memory of an allocated block: from the first whole word to the last, padding included. Thread-safe.
  void Close(AddressRange block) noexcept { Mark((block.begin + kMask) & ~kMask, (block.end + kMask) & ~kMask); }
  /// Closes only what lies wholly inside: for structures whose neighbours are not known to be theirs. Thread-safe.
  void CloseInside(AddressRange range) noexcept { Mark((range.begin + kMask) & ~kMask, range.end & ~kMask); }
  /// True outside of writable memory, too.
  [[nodiscard]] bool IsClosed(Address a) const noexcept {
    const std::uint32_t i = map_.Find(a);
    if (i == AddressMap::kNone) return true;
    const std::uint64_t bit = BitOf(areas_[i], a);
    return bits_[bit >> 6] >> (bit & 63) & 1;
  }
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
  // A segment: its granules have consecutive bits, from a whole word of bits on.
  struct Area {
    AddressRange range;
    std::uint64_t first_bit;  // of the granule that holds range.begin
  };
  [[nodiscard]] static std::uint64_t BitOf(const Area& area, Address a) noexcept { return area.first_bit + ((a >> kShift) - (area.range.begin >> kShift)); }
  /// begin and end: of whole words.
  void Mark(Address begin, Address end) noexcept;
  void MarkBits(std::uint64_t first, std::uint64_t last) noexcept;
  void MarkWord(std::uint64_t word, std::uint64_t mask) noexcept { std::atomic_ref<std::uint64_t>(bits_[word]).fetch_or(mask, std::memory_order_relaxed); }
  /// The part that holds `a`, or the first one behind it.
  [[nodiscard]] std::vector<Part>::const_iterator PartAt(Address a) const noexcept;

 public:
  /// Parts of memory, for sharing the work of ForEachOpen: at most this many bytes each.
  static constexpr std::uint64_t kPartBytes = 1u << 22;
  [[nodiscard]] std::size_t part_count() const noexcept { return parts_.size(); }

 private:
  friend class MemoryCloser;

  AddressMap map_;           // of areas_
  std::vector<Area> areas_;  // sorted by address
  std::vector<Part> parts_;  // of them, cut
  std::vector<std::uint64_t> bits_;
};

/// MemoryCover::Close() for ranges that come in rising order of addresses: those that share a word of bits write it once. One thread; what it was given is
/// in the cover when it ends.
class MemoryCloser {
 public:
  explicit MemoryCloser(MemoryCover& cover) noexcept : cover_(&cover) {}
  MemoryCloser(const MemoryCloser&) = delete;
  MemoryCloser& operator=(const MemoryCloser&) = delete;
  ~MemoryCloser() { Flush(); }

  void Close(AddressRange block) noexcept {
    constexpr Address kMask = MemoryCover::kMask;
    const Address begin = (block.begin + kMask) & ~kMask, end = (block.end + kMask) & ~kMask;
    if (begin >= end) return;
    if (!area_.range.Contains(begin) && !Enter(begin)) [[unlikely]] return cover_->Mark(begin, end);
    const std::uint64_t first = MemoryCover::BitOf(area_, begin), last = first + ((end - begin) >> MemoryCover::kShift);
    if (first >> 6 != (last - 1) >> 6 || end > area_.range.end) [[unlikely]] return cover_->Mark(begin, end);
    if (first >> 6 != word_) {
      Flush();
      word_ = first >> 6;
    }
    mask_ |= (last - first == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << (last - first)) - 1) << (first & 63);
  }

 private:
  bool Enter(Address a) noexcept {
    const std::uint32_t i = cover_->map_.Find(a);
    if (i == AddressMap::kNone) return false;
    area_ = cover_->areas_[i];
    return true;
  }
  void Flush() noexcept {
    if (mask_ != 0) cover_->MarkWord(word_, mask_);
    mask_ = 0;
  }

  MemoryCover* cover_;
  MemoryCover::Area area_{};
  std::uint64_t word_ = 0, mask_ = 0;
};

template <typename F>
void MemoryCover::ForEachOpen(std::size_t first, std::size_t last, F&& f) const {
  for (std::size_t i = first; i < last && i < parts_.size(); ++i) {
    const Part& part = parts_[i];
    const Address base = part.range.begin & ~kMask;
    const std::uint64_t granules = ((part.range.end + kMask) >> kShift) - (base >> kShift);
    // The length of the run of open or closed granules that begins at g: whole words of bits at once.
    const auto run_of = [&](std::uint64_t g, bool open) {
      std::uint64_t length = 0;
      while (g + length < granules) {
        const std::uint64_t bit = part.first_bit + g + length, room = 64 - (bit & 63);
        const std::uint64_t word = (open ? ~bits_[bit >> 6] : bits_[bit >> 6]) >> (bit & 63);
        const auto here = std::min<std::uint64_t>(static_cast<unsigned>(std::countr_one(word)), room);
        length += here;
        if (here < room) break;
      }
      return std::min(length, granules - g);
    };
    for (std::uint64_t g = run_of(0, false); g < granules;) {
      const std::uint64_t begin = g;
      g += run_of(g, true);
      Address from = std::max(base + (begin << kShift), part.range.begin), to = std::min(base + (g << kShift), part.range.end);
      from = (from + 7) & ~Address{7};
      to &= ~Address{7};
      if (from < to) f(from, part.bytes + (from - part.range.begin), (to - from) / 8);
      g += run_of(g, false);
    }
  }
}

template <typename F>
void MemoryCover::ForEachOpenWord(AddressRange range, F&& f) const {
  Address at = (range.begin + 7) & ~Address{7};
  for (auto part = PartAt(at); part != parts_.end() && part->range.begin < range.end; ++part) {
    at = std::max(at, (part->range.begin + 7) & ~Address{7});
    const Address end = std::min(range.end, part->range.end), base = part->range.begin & ~kMask;
    for (; at + 8 <= end; at += 8) {
      const std::uint64_t bit = part->first_bit + ((at - base) >> kShift);
      if ((bits_[bit >> 6] >> (bit & 63) & 1) == 0) f(at, part->bytes + (at - part->range.begin));
    }
  }
}

}  // namespace pygc::audit
