// CPython's own allocator, read from outside: arenas, pools, and which blocks are in use. No Python object in here, and nothing of malloc.
//
//     arenas[i] -> 256 KiB or 1 MiB -> pools of 4 or 16 KiB -> blocks of one size each; the free ones are linked through their first word
//
// CPython: Objects/obmalloc.c [2.7-3.11], Include/internal/pycore_obmalloc.h [3.12+]. Not in free-threaded builds, which have mimalloc.
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

/// One pool that blocks were taken from: `count` blocks of `block_bytes` from `first` on; what lies behind them was never handed out.
struct PymallocPool {
  Address address = 0;
  Address first = 0;
  std::uint32_t block_bytes = 0;
  std::uint32_t count = 0;
  std::uint32_t in_use = 0;      // of these
  std::uint64_t first_bit = 0;   // of block 0 among the bits of all pools
  bool damaged = false;          // its list of free blocks cannot be followed, or contradicts its counter: then every block is taken for used
};

/// All pools of a process.
class PymallocHeap {
 public:
  /// Reads the arenas of every interpreter. Damage is noted, not an error. `found()` is false where no arena could be found at all.
  PymallocHeap(const target::Process& process, const cpython::Runtime& runtime, const Limits& limits);

  [[nodiscard]] bool found() const noexcept { return !arenas_.empty(); }
  [[nodiscard]] const std::vector<PymallocPool>& pools() const noexcept { return pools_; }
  [[nodiscard]] const std::vector<AddressRange>& arenas() const noexcept { return arenas_; }  // sorted
  /// What is wrong with the allocator's structures, one line each; the walk went on behind it.
  [[nodiscard]] const std::vector<std::string>& damage() const noexcept { return damage_; }
  [[nodiscard]] std::uint64_t blocks_in_use() const noexcept;
  [[nodiscard]] std::uint32_t pool_bytes() const noexcept { return pool_bytes_; }

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
    explicit Cursor(const PymallocHeap& heap) noexcept : heap_(&heap) {}
    /// The range of the block that holds `a`; empty where `a` lies in no pool's blocks.
    [[nodiscard]] AddressRange BlockAt(Address a) noexcept {
      if (!blocks_.Contains(a) && !Enter(a)) return {};
      index_ = static_cast<std::uint32_t>(a - blocks_.begin) / block_bytes_;
      const Address begin = blocks_.begin + index_ * Address{block_bytes_};
      return {begin, begin + block_bytes_};
    }
    /// Whether the block that BlockAt() has just given out is in use.
    [[nodiscard]] bool InUse() const noexcept { return heap_->InUse(*pool_, index_); }

   private:
    bool Enter(Address a) noexcept;

    const PymallocHeap* heap_;
    const PymallocPool* pool_ = nullptr;
    AddressRange blocks_;  // of the pool
    std::uint32_t block_bytes_ = 1, index_ = 0;
  };
  [[nodiscard]] bool InUse(const PymallocPool& pool, std::uint32_t block) const noexcept {
    const std::uint64_t bit = pool.first_bit + block;
    return !(free_[bit >> 6] >> (bit & 63) & 1);
  }
  /// Calls f(AddressRange) for memory of arenas that is in no block in use: heads of pools, free blocks, pools never used. Nothing of damaged pools.
  template <typename F>
  void ForEachUnused(F&& f) const {
    for (std::size_t i = 0; i < arenas_.size(); ++i) {
      const Address first = (arenas_[i].begin + pool_bytes_ - 1) / pool_bytes_ * pool_bytes_;
      if (first > arenas_[i].begin) f(AddressRange{arenas_[i].begin, first});
      const std::uint32_t places = arena_bytes_ / pool_bytes_;
      for (std::uint32_t p = 0; p < places; ++p) {
        const std::uint32_t index = pool_of_place_[first_pool_[i] + p];
        const AddressRange place{first + std::uint64_t{p} * pool_bytes_, std::min(first + (std::uint64_t{p} + 1) * pool_bytes_, arenas_[i].end)};
        if (place.empty() || index == kDamagedPool) continue;
        if (index == kNoPool) {
          f(place);
          continue;
        }
        const PymallocPool& pool = pools_[index];
        if (pool.damaged) continue;
        f(AddressRange{pool.address, pool.first});
        for (std::uint32_t b = 0; b < pool.count; ++b) {
          if (!InUse(pool, b)) f(AddressRange{pool.first + std::uint64_t{b} * pool.block_bytes, pool.first + (std::uint64_t{b} + 1) * pool.block_bytes});
        }
        f(AddressRange{pool.first + std::uint64_t{pool.count} * pool.block_bytes, place.end});
      }
    }
  }

 private:
  static constexpr std::uint32_t kNoPool = 0xFFFFFFFFu, kDamagedPool = 0xFFFFFFFEu;
  [[nodiscard]] bool FindArenas(Address& array, std::uint64_t& count, const cpython::Interpreter* interpreter) const;
  /// How many arenas an array of `count` arena_objects would name; 0 where it cannot be one.
  [[nodiscard]] std::uint64_t LooksLikeArenas(Address array, std::uint64_t count) const;
  void ReadArenas(Address array, std::uint64_t count);
  void MapPools();
  void ReadArena(Address base, Address pool_address, std::uint32_t total_pools, std::uint32_t free_pools);
  /// False where the pool's header is damaged.
  bool ReadPool(Address pool, Address arena);
  bool FollowFree(PymallocPool& pool, Address head);
  void Damaged(std::string what);

  const target::Process* process_;
  const cpython::Runtime* runtime_;
  std::uint64_t max_arenas_;
  std::uint32_t arena_bytes_, pool_bytes_, alignment_, overhead_ = 0;
  std::uint32_t arena_size_ = 0;
  std::vector<AddressRange> arenas_;
  // Arenas that touch make one run, in which every pool begins at a multiple of its size: a place for each in a table.
  AddressMap runs_;
  std::vector<std::uint64_t> first_place_;   // of each run
  std::vector<std::uint32_t> pool_at_;       // by place: index into pools_, or kNoPool
  unsigned pool_shift_ = 0;  // pool_bytes_ is 1 << pool_shift_
  std::vector<std::uint32_t> first_pool_;     // of each arena, index into pools_
  std::vector<std::uint32_t> pool_of_place_;  // by place in an arena's row: index into pools_ or ~0
  std::vector<PymallocPool> pools_;
  std::vector<std::uint64_t> free_;
  std::vector<std::string> damage_;
  std::uint64_t damage_count_ = 0;
};

}  // namespace pygc::audit
