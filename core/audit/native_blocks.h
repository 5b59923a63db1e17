// Blocks that an allocator gave out and that belong to no object of Python: what C code asked for. They hold what they point to only where something real
// leads to them, so the audit follows them as it follows objects.
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "core/audit/memory_cover.h"
#include "core/audit/open_blocks.h"
#include "core/base/address.h"
#include "core/base/address_map.h"

namespace pygc::audit {

using BlockId = std::uint32_t;
inline constexpr BlockId kNoBlock = 0xFFFFFFFFu;
inline constexpr std::uint64_t kUserBits = (std::uint64_t{1} << 48) - 1;  // lock-free structures keep tags in the upper bits of a pointer

/// All such blocks, numbered by address. Memory of no known allocator is in none of them.
class NativeBlocks {
 public:
  NativeBlocks() = default;
  /// Those of `open` whose first whole 16 bytes `cover` has open. Memory of damaged pools or of malloc areas that do not fit together stays one root.
  NativeBlocks(std::span<const OpenBlock> open, const MemoryCover& cover);

  [[nodiscard]] BlockId size() const noexcept { return static_cast<BlockId>(ranges_.size()); }
  [[nodiscard]] AddressRange Range(BlockId b) const noexcept { return ranges_[b]; }
  /// The block that a pointer leads to: to its beginning or anywhere inside. kNoBlock where there is none.
  [[nodiscard]] BlockId Find(Address a) const noexcept {
    if (a < lowest_ || a >= highest_) return kNoBlock;
    const std::uint32_t area = areas_.Find(a);
    if (area == AddressMap::kNone) return kNoBlock;
    const std::uint64_t granule = first_granule_[area] + ((a - areas_.ranges()[area].begin) >> kShift);
    const Cell& cell = cells_[granule >> 6];
    const unsigned bit = granule & 63;
    const std::uint64_t up_to = cell.bits & (bit == 63 ? ~std::uint64_t{0} : (std::uint64_t{2} << bit) - 1);
    const std::uint64_t blocks = cell.rank + static_cast<unsigned>(std::popcount(up_to));
    return blocks > 0 && ranges_[blocks - 1].Contains(a) ? static_cast<BlockId>(blocks - 1) : kNoBlock;
  }
  /// The first block that ends behind `a`; size() where there is none.
  [[nodiscard]] BlockId FirstBehind(Address a) const noexcept;

 private:
  static constexpr unsigned kShift = 3;  // pymalloc of old releases aligns to 8 bytes
  struct Cell {
    std::uint64_t bits = 0;
    std::uint64_t rank = 0;  // blocks before this cell
  };
  void Index();

  std::vector<AddressRange> ranges_;  // sorted, disjoint
  AddressMap areas_;                  // stretches of address space with blocks in them
  std::vector<std::uint64_t> first_granule_;
  std::vector<Cell> cells_;
  Address lowest_ = 0, highest_ = 0;
};

}  // namespace pygc::audit
