// glibc's malloc, read from outside: its arenas and their chunks, in use or free. For the audit: a free chunk's stale words hold nothing.
//
//     main arena      the brk heap: chunks from its start to the top chunk, which ends where the heap ends
//     thread arenas   heaps in 64 MiB of address space each, aligned to that: heap_info, in the first one malloc_state, then chunks
//
// A chunk is in use when the next one says so (PREV_INUSE), unless it lies in a thread cache or a fastbin, which keep that bit set.
// Structures are found by their shape and believed only where everything fits together: what does not is taken for used memory, which costs recall and never
// makes a finding. Large chunks, each mapped by itself, are looked for at each page of anonymous memory. Nothing of other allocators.
// glibc: malloc/malloc.c, malloc/arena.c [2.26-2.43].
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/base/address.h"
#include "core/target/process.h"

namespace pygc::audit {

/// One run of chunks that was followed from its first to its last.
struct MallocArea {
  /// Of malloc_state: the lists of free chunks. They hold heads of chunks, and a head begins inside of the used chunk before it.
  [[nodiscard]] AddressRange FreeLists() const noexcept { return top_at != 0 ? AddressRange{fastbins != 0 ? fastbins : top_at, top_at + 16 + 2 * 127 * 8} : AddressRange{}; }

  AddressRange range;   // chunks, heads included
  Address top_at = 0;   // of malloc_state: the member `top`, in front of last_remainder and the bins; 0 where not found
  Address fastbins = 0; // of malloc_state: the ten lists in front of `top`; 0 where it has none (2.43+)
  Address top = 0;      // the chunk that the arena takes new ones from; 0: none in this run
  std::uint64_t in_use = 0, free = 0;  // chunks
};

class MallocHeap {
 public:
  explicit MallocHeap(const target::Process& process);

  [[nodiscard]] const std::vector<MallocArea>& areas() const noexcept { return areas_; }
  /// Chunks that are mappings of their own, heads included; sorted.
  [[nodiscard]] const std::vector<AddressRange>& mapped() const noexcept { return mapped_; }
  /// Why some of malloc's memory is not known chunk by chunk, one line each; empty where all is.
  [[nodiscard]] const std::vector<std::string>& doubts() const noexcept { return doubts_; }
  /// Calls f(AddressRange memory, bool in_use) for each chunk: the memory that its owner may write.
  template <typename F>
  void ForEachChunk(F&& f) const;
  /// The same of those that lie in areas() alone: not of mapped().
  template <typename F>
  void ForEachAreaChunk(F&& f) const;
  /// f(AddressRange memory) for each of mapped().
  template <typename F>
  void ForEachMappedChunk(F&& f) const {
    for (const AddressRange& chunk : mapped_) f(AddressRange{chunk.begin + kHead, chunk.end});
  }
  /// The memory of the free chunks of areas(), their heads apart; sorted.
  [[nodiscard]] std::vector<AddressRange> FreeChunks() const;
  /// The memory of the chunk that holds `a`, used or free; nullopt where `a` lies in no area. O(log n).
  [[nodiscard]] std::optional<AddressRange> ChunkAt(Address a) const;

 private:
  static constexpr std::size_t kWaypointChunks = 64;
  static constexpr std::uint64_t kHead = 16, kMinChunk = 32, kPrevInUse = 1, kMmapped = 2, kNonMain = 4, kFlags = 7;

  [[nodiscard]] std::uint64_t Word(Address a) const noexcept;
  void FindThreadArenas();
  void FindMainArena();
  /// Follows chunks from `first` to exactly `end`. Fills in_use and free; false where they do not fit together.
  [[nodiscard]] bool Follow(Address first, Address end, std::uint64_t flags, MallocArea& area) const;
  void FindMapped();
  void FindState(MallocArea& area);
  /// Where the member `top` of a thread's malloc_state lies, and the fastbins, where it has them; 0: it looks like none.
  [[nodiscard]] Address TopOf(Address state, Address& fastbins) const;
  void FindThreadCaches();
  [[nodiscard]] bool ReadThreadCache(Address cache, std::uint64_t chunk_bytes);
  void ReadFastbins(const MallocArea& area);
  [[nodiscard]] bool Holds(Address chunk) const noexcept;

  const target::Process* process_;
  std::vector<MallocArea> areas_;   // sorted
  std::vector<Address> waypoints_;    // heads of every kWaypointChunks-th chunk of each area; sorted
  std::vector<AddressRange> mapped_;  // chunks that are mappings of their own, heads included; sorted
  std::vector<std::string> doubts_;
  std::vector<Address> cached_;     // chunks that are free though the next one says in use; sorted
};

template <typename F>
void MallocHeap::ForEachAreaChunk(F&& f) const {
  for (const MallocArea& area : areas_) {
    for (Address chunk = area.range.begin; chunk < area.range.end;) {
      const std::uint64_t bytes = Word(chunk + 8) & ~kFlags;
      if (bytes < kHead || bytes > area.range.end - chunk) break;  // Follow() saw to it
      const Address next = chunk + bytes;
      const bool last = next >= area.range.end;
      bool in_use = !last && (Word(next + 8) & kPrevInUse);
      // A free chunk repeats its size at its end. Where it does not, somebody wrote there: then it is taken for used.
      if (!in_use && !last && chunk != area.top && Word(next) != bytes) in_use = true;
      if (in_use) in_use = !std::binary_search(cached_.begin(), cached_.end(), chunk);
      // The last words of a used chunk lie in the next one's head.
      f(AddressRange{chunk + kHead, std::min(in_use ? next + 8 : next, area.range.end)}, in_use);
      chunk = next;
    }
  }
}

template <typename F>
void MallocHeap::ForEachChunk(F&& f) const {
  ForEachAreaChunk(f);
  ForEachMappedChunk([&](AddressRange memory) { f(memory, true); });
}

}  // namespace pygc::audit
