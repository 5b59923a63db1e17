// The blocks of the allocator that CPython takes its objects from, whichever it is: where they lie, and which are in use. No Python object in here, and
// nothing of malloc.
//
//     arenas -> places of one size, aligned to it -> pools of one or more places -> blocks of one size each
//
// Pymalloc (pymalloc_heap.h): its arenas and pools. Mimalloc (mimalloc_blocks.h): its segments and pages.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/base/address.h"
#include "core/base/address_map.h"
#include "core/base/limits.h"
#include "core/cpython/runtime.h"
#include "core/target/process.h"

namespace pygc::audit {

inline constexpr std::size_t kMaxDamageLines = 64;  // of an allocator that are kept

/// What the blocks of a pool are taken for.
enum class BlockUse : std::uint8_t {
  kAny,        // objects and buffers
  kBuffers,    // nobody takes objects from it
  kCollected,  // objects of types that take part in collections, tracked or not, and nothing else
};

/// One pool that blocks were taken from: `count` blocks of `block_bytes` from `first` on; what lies behind them was never handed out.
struct BlockPool {
  AddressRange memory;  // all of it, head included: whole places, as far as they can be read
  Address first = 0;
  std::uint64_t block_bytes = 0;
  std::uint32_t count = 0;
  std::uint32_t in_use = 0;      // of these
  std::uint32_t slack = 0;       // bytes at most that a block has more than was asked for
  std::uint32_t object_offset = 0;  // kCollected: of the object in each block
  BlockUse use = BlockUse::kAny;
  bool damaged = false;          // its list of free blocks cannot be followed, or contradicts its counter: then every block is taken for used
  std::uint64_t first_bit = 0;   // of block 0 among the bits of all pools
};

/// All pools of a process.
class BlockHeap {
 public:
  /// What the reader of an allocator has found.
  struct Parts {
    const char* allocator = "";              // static text: "pymalloc"
    unsigned place_shift = 12;               // a place has 1 << place_shift bytes
    std::vector<AddressRange> arenas;        // in any order
    std::vector<BlockPool> pools;            // in any order; each in an arena
    std::vector<std::uint64_t> free;         // bits of all pools: block not in use
    std::vector<AddressRange> damaged;       // in arenas: what is in use there cannot be told
    std::vector<AddressRange> bookkeeping;   // memory outside of arenas that the allocator has for itself
    std::vector<std::string> damage;         // one line each
  };

  BlockHeap() = default;
  /// An arena that overlaps another one is damage, and so is every pool that overlaps another one: the first has the memory.
  explicit BlockHeap(Parts parts);

  [[nodiscard]] bool found() const noexcept { return !arenas_.empty(); }
  [[nodiscard]] const char* allocator() const noexcept { return allocator_; }
  [[nodiscard]] const std::vector<BlockPool>& pools() const noexcept { return pools_; }
  [[nodiscard]] const std::vector<AddressRange>& arenas() const noexcept { return arenas_; }  // sorted
  /// What is wrong with the allocator's structures, one line each; the walk went on behind it.
  [[nodiscard]] const std::vector<std::string>& damage() const noexcept { return damage_; }
  [[nodiscard]] std::uint64_t blocks_in_use() const noexcept;
  /// Memory outside of arenas that the allocator has for itself: no references are in it, and part of it may never have been written.
  [[nodiscard]] const std::vector<AddressRange>& bookkeeping() const noexcept { return bookkeeping_; }

  /// The block that holds `a`, in use or not; nullopt where `a` lies in no pool's blocks.
  struct Block {
    AddressRange range;
    bool in_use = false;
    std::uint32_t pool = 0;   // index into pools()
    std::uint32_t index = 0;  // in the pool
  };
  [[nodiscard]] std::optional<Block> BlockAt(Address a) const noexcept;
  /// True where `a` lies in an arena and in no block in use. False in damaged pools.
  [[nodiscard]] bool IsFree(Address a) const noexcept;
  /// The same for addresses that mostly follow each other: the pool of the last one is remembered. One thread.
  class Cursor {
   public:
    explicit Cursor(const BlockHeap& heap) noexcept : heap_(&heap) {}
    /// The range of the block that holds `a`; empty where `a` lies in no pool's blocks.
    [[nodiscard]] AddressRange BlockAt(Address a) noexcept {
      if (!blocks_.Contains(a) && !Enter(a)) return {};
      index_ = IndexOf(*pool_, a);
      const Address begin = blocks_.begin + index_ * pool_->block_bytes;
      return {begin, begin + pool_->block_bytes};
    }
    /// Whether the block that BlockAt() has just given out is in use.
    [[nodiscard]] bool InUse() const noexcept { return heap_->InUse(*pool_, index_); }

   private:
    bool Enter(Address a) noexcept;

    const BlockHeap* heap_;
    const BlockPool* pool_ = nullptr;
    AddressRange blocks_;  // of the pool
    std::uint32_t index_ = 0;
  };
  [[nodiscard]] bool InUse(const BlockPool& pool, std::uint32_t block) const noexcept {
    const std::uint64_t bit = pool.first_bit + block;
    return !(free_[bit >> 6] >> (bit & 63) & 1);
  }
  /// Calls f(AddressRange) for memory of arenas that is in no block in use: heads of pools, free blocks, pools never used. Nothing of damaged pools.
  template <typename F>
  void ForEachUnused(F&& f) const;

 private:
  static constexpr std::uint32_t kNoPool = 0xFFFFFFFFu, kDamagedPool = 0xFFFFFFFEu;
  /// `a` lies in the pool's blocks or behind them. Pools of more than one block are smaller than 4 GiB, and 32 bits divide faster.
  [[nodiscard]] static std::uint32_t IndexOf(const BlockPool& pool, Address a) noexcept {
    if (pool.count <= 1) [[unlikely]] return a - pool.first < pool.block_bytes ? 0 : 1;
    return static_cast<std::uint32_t>(a - pool.first) / static_cast<std::uint32_t>(pool.block_bytes);
  }
  [[nodiscard]] std::uint64_t PlaceOf(std::uint32_t run, Address a) const noexcept { return first_place_[run] + (a >> place_shift_) - (runs_.ranges()[run].begin >> place_shift_); }
  void KeepArenas(std::vector<AddressRange> arenas);
  /// Gives all places of the range to `index`; false where one has an owner, or the range is in no arena.
  [[nodiscard]] bool Claim(AddressRange range, std::uint32_t index);

  const char* allocator_ = "";
  unsigned place_shift_ = 12;
  std::vector<AddressRange> arenas_, bookkeeping_;
  // Arenas that touch make one run: a place for each part of it in a table.
  AddressMap runs_;
  std::vector<std::uint64_t> first_place_;  // of each run
  std::vector<std::uint32_t> pool_at_;      // by place: index into pools_, kNoPool or kDamagedPool
  std::vector<BlockPool> pools_;
  std::vector<std::uint64_t> free_;
  std::vector<std::string> damage_;
};

/// Those of the allocator that the interpreter takes its objects from. Damage is noted, not an error. `found()` is false where none could be found.
[[nodiscard]] BlockHeap ReadBlocks(const target::Process& process, const cpython::Runtime& runtime, const Limits& limits);

template <typename F>
void BlockHeap::ForEachUnused(F&& f) const {
  for (std::uint32_t run = 0; run < runs_.ranges().size(); ++run) {
    const AddressRange whole = runs_.ranges()[run];
    for (Address at = whole.begin; at < whole.end;) {
      const std::uint32_t index = pool_at_[PlaceOf(run, at)];
      const Address next = std::min(((at >> place_shift_) + 1) << place_shift_, whole.end);
      if (index >= kDamagedPool || pools_[index].damaged) {
        if (index == kNoPool) f(AddressRange{at, next});
        at = next;
        continue;
      }
      const BlockPool& pool = pools_[index];
      f(AddressRange{pool.memory.begin, pool.first});
      for (std::uint32_t b = 0; b < pool.count; ++b) {
        if (!InUse(pool, b)) f(AddressRange{pool.first + b * pool.block_bytes, pool.first + (std::uint64_t{b} + 1) * pool.block_bytes});
      }
      f(AddressRange{pool.first + pool.count * pool.block_bytes, pool.memory.end});
      at = std::max(next, pool.memory.end);
    }
  }
}

}  // namespace pygc::audit
