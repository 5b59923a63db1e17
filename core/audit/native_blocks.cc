#include "core/audit/native_blocks.h"

#include <algorithm>

namespace pygc::audit {

namespace {

constexpr std::uint64_t kGap = 1u << 16;  // unused bytes between two blocks that begin a new stretch
constexpr std::uint64_t kMaxBlocks = 0xFFFFFFF0u;

}  // namespace

NativeBlocks::NativeBlocks(std::span<const OpenBlock> open, const MemoryCover& cover) {
  for (const OpenBlock& b : open) {
    if (ranges_.size() < kMaxBlocks && !cover.IsClosed(b.range.begin)) ranges_.push_back(b.range);
  }
  std::sort(ranges_.begin(), ranges_.end(), [](const AddressRange& a, const AddressRange& b) { return a.begin < b.begin; });
  // Where two allocators claim the same memory, the first block has it.
  std::size_t kept = 0;
  for (const AddressRange& r : ranges_) {
    if (kept == 0 || ranges_[kept - 1].end <= r.begin) ranges_[kept++] = r;
  }
  ranges_.resize(kept);
  Index();
}

void NativeBlocks::Index() {
  std::vector<AddressRange> areas;
  for (const AddressRange& r : ranges_) {
    const Address begin = r.begin & ~Address{7};
    if (areas.empty() || begin - areas.back().end > kGap) {
      areas.push_back({begin, r.end});
    } else {
      areas.back().end = std::max(areas.back().end, r.end);
    }
  }
  std::uint64_t granules = 0;
  for (const AddressRange& a : areas) {
    first_granule_.push_back(granules);
    granules += ((a.size() + 7) >> kShift) + 1;
  }
  areas_ = AddressMap(areas);
  cells_.assign(granules / 64 + 1, {});
  std::size_t area = 0;
  for (const AddressRange& r : ranges_) {
    while (!areas[area].Contains(r.begin)) ++area;
    const std::uint64_t granule = first_granule_[area] + ((r.begin - areas[area].begin) >> kShift);
    cells_[granule >> 6].bits |= std::uint64_t{1} << (granule & 63);
  }
  std::uint64_t rank = 0;
  for (Cell& c : cells_) {
    c.rank = rank;
    rank += static_cast<unsigned>(std::popcount(c.bits));
  }
  if (!ranges_.empty()) {
    lowest_ = ranges_.front().begin;
    highest_ = ranges_.back().end;
  }
}

BlockId NativeBlocks::FirstBehind(Address a) const noexcept {
  return static_cast<BlockId>(std::upper_bound(ranges_.begin(), ranges_.end(), a, [](Address x, const AddressRange& r) { return x < r.end; }) - ranges_.begin());
}

}  // namespace pygc::audit
