// Object address <-> NodeId: a bitmap of object starts over the address ranges of the heap, with a running rank. Ids are ranks, so they are in address order
// without a sort, and membership test and id come from the same 16 bytes. 3.2 bytes an object on a typical heap.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/base/address.h"
#include "core/base/address_map.h"
#include "core/graph/csr_graph.h"

namespace pygc::heap {

using graph::NodeId;
using graph::kNoNode;

/// Set of object addresses with dense ids. Build: Mark() each address, then Seal(); lookups are valid after Seal().
class ObjectIndex {
 public:
  /// A range of addresses and the granularity of objects in it: 1 << shift bytes (4: GC heap; 3, 2: static data).
  struct Range {
    AddressRange range;
    std::uint8_t shift = 4;
  };
  ObjectIndex() = default;
  explicit ObjectIndex(std::span<const Range> ranges);

  /// Adds `a`. Returns false when it was there already, lies in no range, or is not aligned to the range's granularity.
  bool Mark(Address a) noexcept;
  /// True when `a` was marked. Valid before and after Seal().
  [[nodiscard]] bool IsMarked(Address a) const noexcept;
  /// True when `a` could be marked: inside a range and aligned.
  [[nodiscard]] bool Accepts(Address a) const noexcept;
  /// Numbers the marked addresses in address order. Mark() may be called again afterwards and Seal() repeated: ids change then.
  void Seal();

  [[nodiscard]] NodeId size() const noexcept { return size_; }
  /// The id of `a`, or kNoNode. A few nanoseconds.
  [[nodiscard]] NodeId Find(Address a) const noexcept;
  /// The address of `id` < size(). O(log n): binary search over ranks. For loops over all ids use ForEach.
  [[nodiscard]] Address AddressOf(NodeId id) const noexcept;
  /// Calls f(id, address) for every id in [begin, end) in order.
  template <typename F>
  void ForEach(NodeId begin, NodeId end, F&& f) const;
  /// Prefetches the cell that Find(a) will read.
  void Prefetch(Address a) const noexcept;
  [[nodiscard]] std::uint64_t memory_bytes() const noexcept { return cells_.size() * sizeof(Cell); }

 private:
  struct Cell {
    std::uint64_t bits = 0;
    std::uint32_t rank = 0;  // objects before this cell
    std::uint32_t unused = 0;
  };
  AddressMap map_;
  std::vector<Range> ranges_;
  std::vector<std::uint64_t> first_cell_;  // of each range
  std::vector<Cell> cells_;
  NodeId size_ = 0;
};

}  // namespace pygc::heap
