#include "core/audit/malloc_heap.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "core/audit/static_data.h"

namespace pygc::audit {

namespace {

constexpr std::uint64_t kThreadHeapBytes = 64u << 20;  // HEAP_MAX_SIZE on 64-bit Linux
constexpr std::uint64_t kMaxHeapInfo = 0x1000;         // heap_info, malloc_state and their alignment
constexpr std::uint64_t kPage = 4096;
constexpr std::uint32_t kTop = 96;                     // of malloc_state: mutex, flags, have_fastchunks, fastbinsY[10] at 16, top, last_remainder, bins [2.26-2.42]
constexpr std::uint32_t kTopWithoutFastbins = 8;       // mutex, flags, top, last_remainder, bins [2.43+]
constexpr std::uint32_t kFastbinCount = 10, kFastbinBytes = kFastbinCount * 8;  // they end where top begins
constexpr std::uint32_t kBins = 16;                    // from top
constexpr std::uint32_t kStateBytes = kTop + kBins + 2 * 127 * 8;
constexpr std::uint32_t kBinsLookedAt = 8;
// tcache_perthread_struct: a number of 16 bits and the first entry of each bin; the chunks of the first 64 bins have one size each.
struct CacheShape {
  std::uint64_t chunk_bytes;
  std::uint32_t bins;
  bool counts_room;  // the number says how many more the bin takes: counts and numbers add up to the same in all bins
};
constexpr CacheShape kCacheShapes[] = {{0x290, 64, false},   // counts[], entries[] [2.30-2.41]
                                       {0x300, 76, true}};   // num_slots[], entries[] [2.42+]
constexpr std::uint32_t kBinsOfOneSize = 64;
constexpr std::uint64_t kMaxCached = 1u << 16;         // entries of one bin
constexpr std::uint64_t kLeastMapped = 128u << 10;     // DEFAULT_MMAP_THRESHOLD_MIN
constexpr std::uint64_t kMaxFast = 1u << 20;

}  // namespace

std::uint64_t MallocHeap::Word(Address a) const noexcept {
  const std::byte* p = process_->memory.At(a, 8);
  return p != nullptr ? LoadUnchecked<std::uint64_t>(p) : 0;
}

MallocHeap::MallocHeap(const target::Process& process) : process_(&process) {
  FindThreadArenas();
  FindMainArena();
  std::sort(areas_.begin(), areas_.end(), [](const MallocArea& a, const MallocArea& b) { return a.range.begin < b.range.begin; });
  FindMapped();
  FindThreadCaches();
  for (const MallocArea& area : areas_) ReadFastbins(area);
  std::sort(cached_.begin(), cached_.end());
  cached_.erase(std::unique(cached_.begin(), cached_.end()), cached_.end());
}

bool MallocHeap::Follow(Address first, Address end, std::uint64_t flags, MallocArea& area) const {
  const target::Segment* const s = process_->memory.Find(first);
  if (s == nullptr || end > s->range.end || first % 16 != 0 || end <= first + kMinChunk) return false;
  area = {{first, end}, 0, 0, 0, 0, 0};
  Address chunk = first;
  std::uint64_t head = Word(chunk + 8);
  while (chunk < end) {
    const std::uint64_t bytes = head & ~kFlags;
    if (bytes < kMinChunk || bytes % 16 != 0 || bytes > end - chunk || (head & kMmapped) || (flags == 0 && (head & kNonMain))) {  // free chunks of thread arenas lack the bit
      // The last heap but one of a thread's arena ends in two small fence chunks.
      return bytes == kHead && (head & kPrevInUse) && end - chunk <= 2 * kMinChunk;
    }
    const Address next = chunk + bytes;
    if (next == end) {
      area.top = chunk;
      ++area.free;
      return true;
    }
    head = Word(next + 8);
    ++(head & kPrevInUse ? area.in_use : area.free);
    chunk = next;
  }
  return false;
}

void MallocHeap::FindThreadArenas() {
  for (const target::Segment& s : process_->memory.segments()) {
    if (!s.writable || !s.readable) continue;
    if (s.range.begin > ~(2 * kThreadHeapBytes)) continue;  // no aligned address follows
    for (Address base = (s.range.begin + kThreadHeapBytes - 1) & ~(kThreadHeapBytes - 1); base + kPage <= s.range.end; base += kThreadHeapBytes) {
      // heap_info: ar_ptr, prev, size in use.
      const Address state = Word(base), previous = Word(base + 8);
      const std::uint64_t bytes = Word(base + 16);
      if (bytes < kPage || bytes % kPage != 0 || bytes > kThreadHeapBytes || base + bytes > s.range.end || state % 8 != 0) continue;
      const bool is_first = previous == 0 && state > base && state < base + 0x100;
      if (!is_first && (previous % kThreadHeapBytes != 0 || process_->memory.At(state, kStateBytes) == nullptr)) continue;
      Address fastbins = 0;
      const Address top_at = TopOf(state, fastbins);
      // Where the first chunk lies differs with the release; the one place from which chunks lead to the end is it.
      const std::size_t known = areas_.size();
      for (Address first = is_first ? top_at + kBins : base + 32; top_at != 0 && first < base + kMaxHeapInfo; first += 16) {
        MallocArea area;
        if (!Follow(first & ~Address{15}, base + bytes, kNonMain, area)) continue;
        if (area.top != 0 && area.top != Word(top_at)) continue;
        area.top_at = top_at;
        area.fastbins = fastbins;
        areas_.push_back(area);
        break;
      }
      if (areas_.size() == known && is_first) doubts_.push_back(fmt::format("the malloc arena at {:#x} does not fit together: its memory counts as held as a whole", base));
    }
  }
}

void MallocHeap::FindMainArena() {
  bool main = false;
  for (const target::Segment& s : process_->memory.segments()) {
    if (!s.writable || !s.readable || s.module != 0xFFFFFFFFu || s.range.begin % kPage != 0) continue;
    // The first chunk of a process is a thread cache, or (before 2.26) some block; both have PREV_INUSE and nothing before them.
    if (Word(s.range.begin) != 0 || (Word(s.range.begin + 8) & (kPrevInUse | kMmapped | kNonMain)) != kPrevInUse) continue;
    MallocArea area;
    const std::size_t known = areas_.size();
    if (Follow(s.range.begin, s.range.end, 0, area) && area.top != 0) {
      FindState(area);
      if (area.top_at != 0) areas_.push_back(area);
    }
    if (areas_.size() == known && (Word(s.range.begin + 8) & ~kFlags) == kCacheShapes[0].chunk_bytes) {
      doubts_.push_back(fmt::format("the main malloc arena at {:#x} does not fit together: its memory counts as held as a whole", s.range.begin));
    }
    main = main || areas_.size() > known;
  }
  if (!main && doubts_.empty()) doubts_.emplace_back("no heap of glibc's malloc was found: native memory counts as held as a whole");
}

// glibc: sysmalloc_mmap(): the head says how many pages, of newer releases without itself (seen in the glibc of Debian sid: 0x61ff2 for 0x62000 bytes), and IS_MMAPPED; the
// word before it is the offset to the beginning of the mapping. Mappings that touch appear as one, so a chunk may begin at any page: behind another one, or behind
// an arena of pymalloc, a stack, a heap of another thread. Away from the beginning of a mapping it is believed from malloc's least threshold on.
void MallocHeap::FindMapped() {
  for (const target::Segment& s : process_->memory.segments()) {
    if (!s.writable || !s.readable || s.bytes == nullptr || s.module != 0xFFFFFFFFu || s.range.begin % kPage != 0) continue;
    bool follows = true;  // the beginning of a mapping, or of what comes after a chunk
    for (Address page = s.range.begin; page + kPage <= s.range.end;) {
      const auto area = std::upper_bound(areas_.begin(), areas_.end(), page, [](Address a, const MallocArea& m) { return a < m.range.begin; });
      if (area != areas_.begin() && (area - 1)->range.Contains(page)) {
        page = ((area - 1)->range.end + kPage - 1) & ~(kPage - 1);
        follows = false;
        continue;
      }
      const std::byte* const p = s.bytes + (page - s.range.begin);
      const auto head = LoadUnchecked<std::uint64_t>(p + 8);
      const std::uint64_t said = head & ~kFlags, bytes = said % kPage == kPage - kHead ? said + kHead : said;
      const bool fits = (head & kFlags) == kMmapped && LoadUnchecked<std::uint64_t>(p) == 0 && bytes != 0 && bytes % kPage == 0 && bytes <= s.range.end - page;
      follows = fits && (follows || bytes >= kLeastMapped);
      if (follows) mapped_.push_back({page, page + bytes});
      page += follows ? bytes : kPage;
    }
  }
}

Address MallocHeap::TopOf(Address state, Address& fastbins) const {
  for (const std::uint32_t top : {kTop, kTopWithoutFastbins}) {
    // An empty bin leads to itself, any other to a chunk; neither is 0 nor leads into the rest of the structure.
    bool fits = true;
    for (std::uint32_t bin = 0; bin < kBinsLookedAt && fits; ++bin) {
      const Address at = state + top + kBins + bin * 16, forward = Word(at);
      fits = forward == at - 16 || (forward != 0 && forward % 16 == 0 && (forward < state || forward >= state + kStateBytes));
    }
    if (!fits) continue;
    fastbins = top == kTop ? state + kTop - kFastbinBytes : 0;
    return state + top;
  }
  return 0;
}

void MallocHeap::FindState(MallocArea& area) {
  // main_arena has no symbol in a stripped libc: it is where the address of the top chunk stands in a module's data, before bins that lead to themselves or
  // into the heap.
  for (const target::Segment& s : process_->memory.segments()) {
    if (!s.writable || !s.readable || s.bytes == nullptr) continue;
    if (ModuleOfData(*process_, s.range.begin) == nullptr) continue;
    for (Address a = (s.range.begin + 7) & ~Address{7}; a + 8 <= s.range.end; a += 8) {
      if (LoadUnchecked<std::uint64_t>(s.bytes + (a - s.range.begin)) != area.top) continue;
      const auto in_area = [&area](Address chunk) { return area.range.Contains(chunk) && chunk % 16 == 0; };
      bool fits = true;
      for (std::uint32_t bin = 0; bin < kBinsLookedAt && fits; ++bin) {
        const Address at = a + kBins + bin * 16, forward = Word(at);
        fits = forward == at - 16 || in_area(forward);
      }
      if (!fits) continue;
      area.top_at = a;
      bool has_fastbins = process_->memory.At(a - kFastbinBytes, kFastbinBytes) != nullptr;
      for (Address bin = a - kFastbinBytes; bin < a && has_fastbins; bin += 8) has_fastbins = Word(bin) == 0 || in_area(Word(bin));
      if (has_fastbins) area.fastbins = a - kFastbinBytes;
      return;
    }
  }
}

bool MallocHeap::Holds(Address chunk) const noexcept {
  const auto after = std::upper_bound(areas_.begin(), areas_.end(), chunk, [](Address a, const MallocArea& m) { return a < m.range.begin; });
  return after != areas_.begin() && (after - 1)->range.Contains(chunk) && chunk % 16 == 0;
}

std::vector<AddressRange> MallocHeap::FreeChunks() const {
  std::vector<AddressRange> free;
  ForEachAreaChunk([&](AddressRange memory, bool in_use) {
    if (!in_use) free.push_back(memory);
  });
  return free;
}

std::optional<AddressRange> MallocHeap::ChunkAt(Address a) const {
  const auto mapped = std::upper_bound(mapped_.begin(), mapped_.end(), a, [](Address at, const AddressRange& chunk) { return at < chunk.begin; });
  if (mapped != mapped_.begin() && (mapped - 1)->Contains(a)) return AddressRange{(mapped - 1)->begin + kHead, (mapped - 1)->end};
  const auto behind = std::upper_bound(areas_.begin(), areas_.end(), a, [](Address at, const MallocArea& m) { return at < m.range.begin; });
  if (behind == areas_.begin() || !(behind - 1)->range.Contains(a)) return std::nullopt;
  const AddressRange area = (behind - 1)->range;
  // The first word of a chunk's head, prev_size, belongs to the one before it.
  const auto mark = std::upper_bound(waypoints_.begin(), waypoints_.end(), a - 8);
  for (Address chunk = mark == waypoints_.begin() ? area.begin : std::max(area.begin, *(mark - 1)); chunk < area.end;) {
    const std::uint64_t bytes = Word(chunk + 8) & ~kFlags;
    if (bytes < kHead || bytes > area.end - chunk) break;
    if (a < chunk + bytes + 8) return AddressRange{chunk + kHead, std::min(chunk + bytes + 8, area.end)};
    chunk += bytes;
  }
  return std::nullopt;
}

void MallocHeap::FindThreadCaches() {
  for (const MallocArea& area : areas_) {
    std::size_t count = 0;
    for (Address chunk = area.range.begin; chunk < area.range.end; ++count) {
      const std::uint64_t bytes = Word(chunk + 8) & ~kFlags;
      if (bytes < kHead || bytes > area.range.end - chunk) break;
      if (count % kWaypointChunks == 0) waypoints_.push_back(chunk);
      static_cast<void>(ReadThreadCache(chunk + kHead, bytes));
      chunk += bytes;
    }
  }
}

bool MallocHeap::ReadThreadCache(Address cache, std::uint64_t chunk_bytes) {
  const auto* const shape = std::find_if(std::begin(kCacheShapes), std::end(kCacheShapes), [&](const CacheShape& c) { return c.chunk_bytes == chunk_bytes; });
  const std::byte* p = shape != std::end(kCacheShapes) ? process_->memory.At(cache, std::uint64_t{shape->bins} * 10) : nullptr;
  if (p == nullptr) return false;
  // Links are mangled with the place they stand in, from 2.32 on.
  std::vector<Address> found;
  std::optional<std::uint64_t> room;
  for (std::uint32_t bin = 0; bin < shape->bins; ++bin) {
    const auto number = LoadUnchecked<std::uint16_t>(p + bin * 2);
    Address entry = LoadUnchecked<std::uint64_t>(p + shape->bins * 2 + bin * 8);
    const std::uint64_t bytes = kMinChunk + bin * 16;
    std::uint64_t count = 0;
    for (; entry != 0; ++count) {
      const std::uint64_t size = Holds(entry - kHead) ? Word(entry - 8) & ~kFlags : 0;
      if (count >= kMaxCached || (bin < kBinsOfOneSize ? size != bytes : size < bytes)) return false;
      found.push_back(entry - kHead);
      const std::uint64_t word = Word(entry), mangled = word ^ (entry >> 12);
      if (mangled == 0 || word == 0) {
        entry = 0;
      } else if (Holds(mangled - kHead)) {
        entry = mangled;
      } else if (Holds(word - kHead)) {
        entry = word;
      } else {
        return false;
      }
    }
    if (shape->counts_room ? room.value_or(number + count) != number + count : number != count) return false;
    room = number + count;
  }
  cached_.insert(cached_.end(), found.begin(), found.end());
  return true;
}

void MallocHeap::ReadFastbins(const MallocArea& area) {
  if (area.fastbins == 0 || area.top == 0) return;
  for (std::uint32_t bin = 0; bin < kFastbinCount; ++bin) {
    std::vector<Address> found;
    const std::uint64_t bytes = kMinChunk + bin * 16;
    bool whole = true;
    Address chunk = Word(area.fastbins + bin * 8);
    for (std::uint64_t i = 0; chunk != 0 && whole; ++i) {
      whole = i < kMaxFast && Holds(chunk) && (Word(chunk + 8) & ~kFlags) == bytes;
      if (!whole) break;
      found.push_back(chunk);
      const std::uint64_t word = Word(chunk + kHead), mangled = word ^ ((chunk + kHead) >> 12);
      if (mangled == 0 || Holds(mangled)) {
        chunk = mangled;
      } else {
        whole = word == 0 || Holds(word);
        chunk = word;
      }
    }
    if (whole) cached_.insert(cached_.end(), found.begin(), found.end());
  }
}

}  // namespace pygc::audit
