// Object address <-> NodeId: a bitmap of object starts over the address ranges of the heap, with a running rank. Ids are ranks, so they are in
// address order without a sort, and membership test and id come from the same 16 bytes. 3.2 bytes an object on a typical heap.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "core/base/address.h"
#include "core/base/address_map.h"
#include "core/graph/csr_graph.h"

namespace pygc::heap {

using graph::kNoNode;
using graph::NodeId;

/// Set of object addresses with dense ids. Build: Mark() each address, then Seal(); lookups are valid after Seal().
/// Memory is taken from the system where it is first written, so wide ranges that hold few objects cost little.
class ObjectIndex {
 public:
  /// A range of addresses and the granularity of objects in it: 1 << shift bytes (4: GC heap; 3, 2: static data).
  struct Range {
    AddressRange range;
    std::uint8_t shift = 4;
  };
  ObjectIndex() = default;
  /// `ranges` sorted, disjoint, not empty. Granules are counted from address 0.
  explicit ObjectIndex(std::span<const Range> ranges);
  ObjectIndex(ObjectIndex&&) noexcept = default;
  ObjectIndex& operator=(ObjectIndex&&) noexcept = default;

  /// Where an address has its bit: looked up once, prefetched, and used some steps later.
  struct Place {
    std::uint64_t cell;
    std::uint64_t bit;
  };
  static constexpr std::uint64_t kNoCell = ~std::uint64_t{0};
  /// The place of `a`; cell is kNoCell where Accepts(a) is false.
  [[nodiscard]] Place PlaceOf(Address a) const noexcept {
    const std::uint32_t i = map_.Find(a);
    if (i == AddressMap::kNone) return {kNoCell, 0};
    const RangeCells& r = range_cells_[i];
    if (a & r.low_bits) return {kNoCell, 0};
    const std::uint64_t granule = (a >> r.shift) - r.first_granule;
    return {r.first_cell + (granule >> 6), std::uint64_t{1} << (granule & 63)};
  }
  void Prefetch(Place place) const noexcept { __builtin_prefetch(&cells_[place.cell], 1); }
  /// Marks a place (not kNoCell). Returns false when it was marked. `shared`: other threads do so too.
  bool MarkPlace(Place place, bool shared) noexcept;

  /// Adds `a`. Returns false when it was there already, lies in no range, or is not aligned to the range's granularity.
  bool Mark(Address a) noexcept;
  /// The same, safe against Mark-like calls of other threads through MarkShared().
  bool MarkShared(Address a) noexcept;
  /// IsMarked() while other threads call MarkShared(): what it misses is being marked now.
  [[nodiscard]] bool IsMarkedShared(Address a) const noexcept {
    const Place p = PlaceOf(a);
    return p.cell != kNoCell && (std::atomic_ref<std::uint64_t>(cells_[p.cell].bits).load(std::memory_order_relaxed) & p.bit);
  }
  /// Takes `a` out again.
  void Unmark(Address a) noexcept;
  /// True when `a` was marked. Valid before and after Seal().
  [[nodiscard]] bool IsMarked(Address a) const noexcept {
    const Place p = PlaceOf(a);
    return p.cell != kNoCell && (cells_[p.cell].bits & p.bit);
  }
  /// True when `a` could be marked: inside a range and aligned.
  [[nodiscard]] bool Accepts(Address a) const noexcept { return PlaceOf(a).cell != kNoCell; }
  /// Every place where an object may lie has a number that rises with its address and, unlike an id, does not change while objects are marked.
  [[nodiscard]] std::uint64_t place_count() const noexcept { return cell_count_ * 64; }
  static constexpr std::uint64_t kNoNumber = ~std::uint64_t{0};
  /// Numbers of places; the range of the last address is remembered. One thread.
  class Numbers {
   public:
    explicit Numbers(const ObjectIndex& index) noexcept : index_(&index) {}
    /// kNoNumber where Accepts(a) is false.
    [[nodiscard]] std::uint64_t Of(Address a) noexcept {
      if (!range_.Contains(a) && !Enter(a)) [[unlikely]] return kNoNumber;
      return a & cells_.low_bits ? kNoNumber : (a >> cells_.shift) - cells_.first_granule + cells_.first_cell * 64;
    }

   private:
    bool Enter(Address a) noexcept;
    const ObjectIndex* index_;
    AddressRange range_;
    struct {
      std::uint64_t first_granule, first_cell, low_bits;
      unsigned shift;
    } cells_{};
  };
  [[nodiscard]] static constexpr Place PlaceOfNumber(std::uint64_t number) noexcept { return {number >> 6, std::uint64_t{1} << (number & 63)}; }
  void PrefetchNumber(std::uint64_t number) const noexcept { __builtin_prefetch(&cells_[number >> 6]); }
  /// IsMarkedShared(), MarkShared() and Find() of the address with that number, which is below place_count().
  [[nodiscard]] bool IsNumberMarkedShared(std::uint64_t number) const noexcept {
    return std::atomic_ref<std::uint64_t>(cells_[number >> 6].bits).load(std::memory_order_relaxed) >> (number & 63) & 1;
  }
  bool MarkNumberShared(std::uint64_t number) noexcept { return MarkPlace({number >> 6, std::uint64_t{1} << (number & 63)}, true); }
  [[nodiscard]] NodeId FindNumber(std::uint64_t number) const noexcept {
    const Cell& cell = cells_[number >> 6];
    const std::uint64_t bit = std::uint64_t{1} << (number & 63);
    return cell.bits & bit ? cell.rank + CountBits(cell.bits & (bit - 1)) : kNoNode;
  }
  /// A part of the marks as words of bits, for keeping them in a file: `page` and its words, rising by page; pages without marks are left out.
  static constexpr std::size_t kWordsPerPage = 256;
  template <typename F>
  void ForEachPage(F&& f) const;
  /// Marks what ForEachPage() gave, in an index of the same ranges without marks. Returns false where the page is not one of it, or has bits beyond its end.
  /// Seal() afterwards.
  bool MarkPage(std::uint64_t page, std::span<const std::uint64_t> words) noexcept;

  /// Numbers the marked addresses in address order. Mark() may be called again afterwards and Seal() repeated: ids change then.
  void Seal();

  [[nodiscard]] NodeId size() const noexcept { return size_; }
  /// The id of `a`, or kNoNode. A few nanoseconds.
  [[nodiscard]] NodeId Find(Address a) const noexcept {
    const Place p = PlaceOf(a);
    if (p.cell == kNoCell) return kNoNode;
    const Cell& cell = cells_[p.cell];
    if (!(cell.bits & p.bit)) return kNoNode;
    return cell.rank + CountBits(cell.bits & (p.bit - 1));
  }
  /// The address of `id` < size(). O(log n): binary search over ranks. For loops over all ids use ForEach.
  [[nodiscard]] Address AddressOf(NodeId id) const noexcept;
  /// The nearest marked address below `a` in the same range, at most `reach` bytes away; 0 where there is none. `a` need not be aligned.
  [[nodiscard]] Address NearestBelow(Address a, std::uint64_t reach) const noexcept;
  /// Calls f(id, address) for every id in [begin, end) in order.
  template <typename F>
  void ForEach(NodeId begin, NodeId end, F&& f) const;
  /// Prefetches the cell that Find(a) will read.
  void Prefetch(Address a) const noexcept {
    const Place p = PlaceOf(a);
    if (p.cell != kNoCell) __builtin_prefetch(&cells_[p.cell]);
  }
  /// Bytes of the pages that are in use.
  [[nodiscard]] std::uint64_t memory_bytes() const noexcept;
  [[nodiscard]] std::span<const Range> ranges() const noexcept { return ranges_; }

 private:
  struct Cell {
    std::uint64_t bits;
    std::uint32_t rank;  // objects before this cell
    std::uint32_t unused;
  };
  // Cells are looked at page-wise where all are: a page without marks is never read, so the system never has to provide it.
  static constexpr unsigned kPageShift = 8;  // 4 KiB of cells
  struct Free {
    void operator()(void* p) const noexcept { std::free(p); }  // NOLINT(cppcoreguidelines-no-malloc): calloc gives lazily zeroed pages
  };
  struct RangeCells {
    std::uint64_t first_granule;
    std::uint64_t first_cell;
    std::uint64_t low_bits;  // mask of address bits that must be 0
    std::uint32_t shift;
  };

  // std::popcount is a library call where the compiler may not count on the instruction (baseline x86-64).
  [[nodiscard]] static NodeId CountBits(std::uint64_t x) noexcept {
#ifdef __POPCNT__
    return static_cast<NodeId>(std::popcount(x));
#else
    x -= (x >> 1) & 0x5555555555555555u;
    x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
    x = (x + (x >> 4)) & 0x0F0F0F0F0F0F0F0Fu;
    return static_cast<NodeId>((x * 0x0101010101010101u) >> 56);
#endif
  }
  [[nodiscard]] Address AddressOfBit(std::uint64_t cell, unsigned bit, std::size_t range) const noexcept {
    const RangeCells& r = range_cells_[range];
    return (r.first_granule + (cell - r.first_cell) * 64 + bit) << r.shift;
  }
  // Index of the used cell that holds `id`.
  [[nodiscard]] std::uint64_t CellOf(NodeId id) const noexcept;
  [[nodiscard]] std::size_t RangeOfCell(std::uint64_t cell) const noexcept;

  AddressMap map_;
  std::vector<Range> ranges_;
  std::vector<RangeCells> range_cells_;
  std::unique_ptr<Cell[], Free> cells_;
  std::uint64_t cell_count_ = 0;
  std::vector<std::uint8_t> page_used_;  // a byte a page: threads write it without a lock
  struct UsedPage {
    std::uint64_t page;
    NodeId rank;  // objects before it
  };
  std::vector<UsedPage> used_pages_;  // after Seal()
  NodeId size_ = 0;
};

template <typename F>
void ObjectIndex::ForEach(NodeId begin, NodeId end, F&& f) const {
  if (begin >= end || end > size_) return;
  std::uint64_t cell = CellOf(begin);
  std::size_t range = RangeOfCell(cell);
  NodeId id = cells_[cell].rank;
  while (id < end) {
    // Cells that are all unused are passed over by pages.
    if ((cell & ((std::uint64_t{1} << kPageShift) - 1)) == 0) {
      while (!page_used_[cell >> kPageShift]) cell += std::uint64_t{1} << kPageShift;
    }
    while (range + 1 < range_cells_.size() && range_cells_[range + 1].first_cell <= cell) ++range;
    for (std::uint64_t bits = cells_[cell].bits; bits != 0 && id < end; bits &= bits - 1, ++id) {
      if (id >= begin) f(id, AddressOfBit(cell, static_cast<unsigned>(std::countr_zero(bits)), range));
    }
    ++cell;
  }
}

template <typename F>
void ObjectIndex::ForEachPage(F&& f) const {
  static_assert(kWordsPerPage == std::size_t{1} << kPageShift);
  std::uint64_t words[kWordsPerPage];
  for (const UsedPage& used : used_pages_) {
    for (std::size_t i = 0; i < kWordsPerPage; ++i) {
      const std::uint64_t cell = (used.page << kPageShift) + i;
      words[i] = cell < cell_count_ ? cells_[cell].bits : 0;
    }
    f(used.page, std::span<const std::uint64_t>(words));
  }
}

}  // namespace pygc::heap
