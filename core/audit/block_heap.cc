#include "core/audit/block_heap.h"

#include <fmt/format.h>

#include <numeric>

#include "core/audit/mimalloc_blocks.h"
#include "core/audit/pymalloc_heap.h"

namespace pygc::audit {

BlockHeap::BlockHeap(Parts parts) : allocator_(parts.allocator), place_shift_(parts.place_shift), bookkeeping_(std::move(parts.bookkeeping)), free_(std::move(parts.free)), damage_(std::move(parts.damage)) {
  KeepArenas(std::move(parts.arenas));
  pools_.reserve(parts.pools.size());
  for (const BlockPool& pool : parts.pools) {
    if (Claim(pool.memory, static_cast<std::uint32_t>(pools_.size()))) {
      pools_.push_back(pool);
    } else if (damage_.size() < kMaxDamageLines) {
      damage_.push_back(fmt::format("the pool at {:#x} overlaps another one", pool.memory.begin));
    }
  }
  for (const AddressRange& r : parts.damaged) static_cast<void>(Claim(r, kDamagedPool));
}

void BlockHeap::KeepArenas(std::vector<AddressRange> arenas) {
  std::sort(arenas.begin(), arenas.end(), [](const AddressRange& a, const AddressRange& b) { return a.begin < b.begin; });
  std::vector<AddressRange> runs;
  for (const AddressRange& arena : arenas) {
    if (arena.empty()) continue;
    if (!arenas_.empty() && arena.begin < arenas_.back().end) {
      if (damage_.size() < kMaxDamageLines) damage_.push_back(fmt::format("the arenas at {:#x} and {:#x} overlap", arenas_.back().begin, arena.begin));
      continue;
    }
    arenas_.push_back(arena);
    if (!runs.empty() && arena.begin <= runs.back().end) {
      runs.back().end = arena.end;
    } else {
      runs.push_back(arena);
    }
  }
  std::uint64_t places = 0;
  for (const AddressRange& run : runs) {
    first_place_.push_back(places);
    places += ((run.end - 1) >> place_shift_) - (run.begin >> place_shift_) + 1;
  }
  runs_ = AddressMap(runs);
  pool_at_.assign(places, kNoPool);
}

bool BlockHeap::Claim(AddressRange range, std::uint32_t index) {
  const std::uint32_t run = range.empty() ? AddressMap::kNone : runs_.Find(range.begin);
  if (run == AddressMap::kNone || range.end > runs_.ranges()[run].end) return false;
  const auto first = pool_at_.begin() + static_cast<std::ptrdiff_t>(PlaceOf(run, range.begin));
  const auto last = pool_at_.begin() + static_cast<std::ptrdiff_t>(PlaceOf(run, range.end - 1)) + 1;
  if (std::any_of(first, last, [](std::uint32_t owner) { return owner != kNoPool; })) return false;
  std::fill(first, last, index);
  return true;
}

std::uint64_t BlockHeap::blocks_in_use() const noexcept {
  return std::accumulate(pools_.begin(), pools_.end(), std::uint64_t{0}, [](std::uint64_t n, const BlockPool& p) { return n + p.in_use; });
}

bool BlockHeap::Cursor::Enter(Address a) noexcept {
  const std::optional<Block> block = heap_->BlockAt(a);
  if (!block) return false;
  pool_ = &heap_->pools_[block->pool];
  blocks_ = {pool_->first, pool_->first + pool_->count * pool_->block_bytes};
  return true;
}

bool BlockHeap::IsFree(Address a) const noexcept {
  const std::uint32_t run = runs_.Find(a);
  if (run == AddressMap::kNone) return false;
  const std::uint32_t index = pool_at_[PlaceOf(run, a)];
  if (index == kNoPool) return true;
  if (index == kDamagedPool || pools_[index].damaged) return false;
  const std::optional<Block> block = BlockAt(a);
  return !block || !block->in_use;
}

std::optional<BlockHeap::Block> BlockHeap::BlockAt(Address a) const noexcept {
  const std::uint32_t run = runs_.Find(a);
  if (run == AddressMap::kNone) return std::nullopt;
  const std::uint32_t index = pool_at_[PlaceOf(run, a)];
  if (index >= kDamagedPool) return std::nullopt;
  const BlockPool& pool = pools_[index];
  if (a < pool.first) return std::nullopt;
  const std::uint32_t block = IndexOf(pool, a);
  if (block >= pool.count) return std::nullopt;
  const Address begin = pool.first + block * pool.block_bytes;
  return Block{{begin, begin + pool.block_bytes}, InUse(pool, block), index, block};
}

BlockHeap ReadBlocks(const target::Process& process, const cpython::Runtime& runtime, const Limits& limits) {
  return runtime.layout.flavor.free_threaded ? ReadMimalloc(process, runtime, limits) : ReadPymalloc(process, runtime, limits);
}

}  // namespace pygc::audit
