// Every byte of the memory at hand in exactly one class: arenas of CPython's allocator, glibc's heaps, stacks, data and text of modules, the rest.
// Pages of zeroes are told apart: gcore and kernel write address space that was only reserved, and pages that nobody ever touched, as zeroes.
#include <algorithm>
#include <map>
#include <unordered_set>

#include "core/audit/malloc_heap.h"
#include "core/audit/pymalloc_heap.h"
#include "core/base/byte_reader.h"
#include "core/engine/heap_sections.h"
#include "core/snapshot/mimalloc_heap.h"
#include "core/snapshot/thread_words.h"

namespace pygc::engine {
namespace {

constexpr Address kKernelHalf = Address{1} << 63;  // [vsyscall] lies there: the kernel's, in some cores

// Read-only pages of a file, whether they were read from it or lie in the core too: what is in a core depends on who wrote it.
bool IsOfFile(const target::Segment& s) { return s.source == target::SegmentSource::kModuleFile || (s.module != 0xFFFFFFFFu && !s.writable); }
bool Counts(const target::Segment& s) { return !IsOfFile(s) && s.range.begin < kKernelHalf; }

// Bytes of ranges: all of them, and those in pages of zeroes.
struct Extent {
  std::uint64_t bytes = 0, zeroes = 0;

  [[nodiscard]] std::uint64_t touched() const noexcept { return bytes - zeroes; }
  Extent& operator+=(const Extent& other) noexcept {
    bytes += other.bytes;
    zeroes += other.zeroes;
    return *this;
  }
};

// The whole pages of zeroes in memory that is not a file's. What lies in a segment that starts inside a page counts from the next page on.
class ZeroPages {
 public:
  ZeroPages(const target::MemoryImage& memory, ProgressSink& progress) {
    std::uint64_t all = 0, done = 0;
    for (const target::Segment& s : memory.segments()) all += Counts(s) ? s.range.size() : 0;
    for (const target::Segment& s : memory.segments()) {
      if (!Counts(s)) continue;
      for (Address page = (s.range.begin + kPage - 1) / kPage * kPage; page < s.range.end && s.range.end - page >= kPage; page += kPage, done += kPage) {
        if (done % kLook == 0 && !progress.Update("looking for pages of zeroes", done, all)) {
          complete_ = false;
          return;
        }
        if (!IsZero({s.bytes + (page - s.range.begin), kPage})) continue;
        if (!runs_.empty() && runs_.back().end == page) {
          runs_.back().end = page + kPage;
        } else {
          runs_.push_back({page, page + kPage});
          before_.push_back(sum_);
        }
        sum_ += kPage;
      }
    }
  }

  /// Bytes of `range` in such pages.
  [[nodiscard]] std::uint64_t In(AddressRange range) const noexcept { return range.empty() ? 0 : Before(range.end) - Before(range.begin); }
  /// False: the user stopped it; pages that were not looked at count as written.
  [[nodiscard]] bool complete() const noexcept { return complete_; }

 private:
  static constexpr std::uint64_t kPage = 4096, kLook = 64u << 20;

  [[nodiscard]] std::uint64_t Before(Address a) const noexcept {
    const auto after = std::partition_point(runs_.begin(), runs_.end(), [&](const AddressRange& r) { return r.begin < a; });
    if (after == runs_.begin()) return 0;
    const auto i = static_cast<std::size_t>(after - runs_.begin()) - 1;
    return before_[i] + std::min(a, runs_[i].end) - runs_[i].begin;
  }

  std::vector<AddressRange> runs_;       // rising
  std::vector<std::uint64_t> before_;    // bytes in the runs before each
  std::uint64_t sum_ = 0;
  bool complete_ = true;
};

// Ranges that are disjoint and sorted; one that is added loses what others have already.
class Claims {
 public:
  explicit Claims(const ZeroPages& zeroes) : zeroes_(zeroes) {}

  /// What of `range` nobody had.
  Extent Add(AddressRange range) {
    Extent added;
    std::vector<AddressRange> fresh;
    auto at = std::partition_point(taken_.begin(), taken_.end(), [&](const AddressRange& t) { return t.end <= range.begin; });
    Address from = range.begin;
    for (auto t = at; t != taken_.end() && t->begin < range.end; ++t) {
      if (from < t->begin) fresh.push_back({from, t->begin});
      from = std::max(from, t->end);
    }
    if (from < range.end) fresh.push_back({from, range.end});
    for (const AddressRange& f : fresh) {
      added += {f.size(), zeroes_.In(f)};
      taken_.insert(std::partition_point(taken_.begin(), taken_.end(), [&](const AddressRange& t) { return t.end <= f.begin; }), f);
    }
    return added;
  }

 private:
  const ZeroPages& zeroes_;
  std::vector<AddressRange> taken_;
};

class MemoryMeter {
 public:
  explicit MemoryMeter(const CommandInput& in) : in_(in), process_(in.reader.process()), zeroes_(process_.memory, in.progress), claims_(zeroes_) {
    for (const target::Segment& s : process_.memory.segments()) {
      if (IsOfFile(s) && s.range.begin < kKernelHalf) use_.file_bytes += s.range.size();
      if (!Counts(s)) continue;
      const Extent e = {s.range.size(), zeroes_.In(s.range)};
      use_.bytes += e.touched();
      (IsReserved(s, e) ? use_.reserved_bytes : use_.zero_bytes) += e.zeroes;
    }
    if (!zeroes_.complete()) use_.notes.push_back("stopped while pages of zeroes were looked for: part of what was only reserved counts as memory");
  }

  report::MemoryUse Run() {
    Pymalloc();
    Mimalloc();
    Malloc();
    Stacks();
    Segments();
    for (NodeId n = 0; n < in_.heap.size(); ++n) {
      use_.object_bytes += in_.heap.KnownSize(n);
    }
    use_.objects = in_.heap.size();
    return std::move(use_);
  }

 private:
  using NodeId = heap::NodeId;

  // Memory without a file that nobody may write to, all zeroes: no access at all (PROT_NONE; gcore notes it as readable).
  static bool IsReserved(const target::Segment& s, const Extent& e) { return !s.writable && s.module == 0xFFFFFFFFu && e.zeroes == e.bytes; }

  void Part(std::string what, const Extent& extent, std::optional<std::uint64_t> count = std::nullopt) {
    if (extent.bytes > 0) use_.parts.push_back({std::move(what), extent.touched(), extent.zeroes, count});
  }
  // The parts of an allocator's areas: blocks in use, free blocks, the rest. Pages of zeroes are taken off where they lie.
  struct Blocks {
    const char *used, *free, *rest;
    std::optional<std::uint64_t> used_count, free_count, rest_count;
  };
  void Parts(const Blocks& names, const Extent& areas, const Extent& used, const Extent& free) {
    const std::uint64_t in_use = std::min(used.touched(), areas.touched());
    const std::uint64_t unused = std::min(free.touched(), areas.touched() - in_use);
    const std::uint64_t zeroes = std::min(used.zeroes, areas.zeroes), free_zeroes = std::min(free.zeroes, areas.zeroes - zeroes);
    Part(names.used, {in_use + zeroes, zeroes}, names.used_count);
    Part(names.free, {unused + free_zeroes, free_zeroes}, names.free_count);
    const std::uint64_t rest_zeroes = areas.zeroes - zeroes - free_zeroes;
    Part(names.rest, {areas.touched() - in_use - unused + rest_zeroes, rest_zeroes}, names.rest_count);
  }
  // Of a range, what lies in memory that came from the process and was not claimed yet.
  Extent Claim(AddressRange range) {
    Extent bytes;
    const auto segments = process_.memory.segments();
    auto s = std::partition_point(segments.begin(), segments.end(), [&](const target::Segment& x) { return x.range.end <= range.begin; });
    for (; s != segments.end() && s->range.begin < range.end; ++s) {
      if (!Counts(*s)) continue;
      bytes += claims_.Add({std::max(s->range.begin, range.begin), std::min(s->range.end, range.end)});
    }
    return bytes;
  }

  void Pymalloc() {
    const audit::BlockHeap blocks = audit::ReadPymalloc(process_, in_.reader.runtime(), in_.request.limits);
    if (!blocks.found()) {
      if (!in_.reader.runtime().layout.flavor.free_threaded) {
        use_.notes.push_back("no arenas of CPython's allocator were found (PYTHONMALLOC=malloc, or too early): objects lie in malloc's memory");
      }
      return;
    }
    Extent arenas;
    for (const AddressRange& arena : blocks.arenas()) arenas += Claim(arena);
    Extent used, free;
    std::uint64_t free_blocks = 0;
    for (const audit::BlockPool& pool : blocks.pools()) {
      const std::uint64_t in_use = std::uint64_t{pool.in_use} * pool.block_bytes, unused = std::uint64_t{pool.count - pool.in_use} * pool.block_bytes;
      used += {in_use, 0};
      free += {unused, std::min(unused, zeroes_.In({pool.first, pool.first + in_use + unused}))};
      free_blocks += pool.count - pool.in_use;
    }
    if (used.bytes + free.bytes > arenas.bytes) {  // parts of arenas are not in the core
      use_.notes.push_back("part of the arenas of CPython's allocator is not at hand: their blocks cannot be told apart");
      return Part("pymalloc: arenas", arenas, blocks.arenas().size());
    }
    Parts({"pymalloc: blocks in use", "pymalloc: free blocks", "pymalloc: pools never used, heads of pools, ends of arenas", blocks.blocks_in_use(), free_blocks, blocks.arenas().size()}, arenas, used, free);
  }

  // Free-threaded builds: pages of the threads' heaps and of threads that ended. A segment belongs to it whole.
  void Mimalloc() {
    const cpython::Runtime& runtime = in_.reader.runtime();
    if (!runtime.layout.flavor.free_threaded || !runtime.layout.Has(cpython::Struct::mi_page)) return;
    const snapshot::MimallocReader reader(process_.memory, runtime.layout);
    for (const cpython::Interpreter& interpreter : runtime.interpreters) {
      for (const cpython::PyThread& thread : interpreter.threads) {
        for (std::uint32_t tag = 0; tag < snapshot::kHeapCount; ++tag) {
          if (const std::optional<Address> heap = reader.HeapOf(thread.tstate, tag)) AddHeap(reader, *heap);
        }
      }
      std::vector<Address> abandoned;
      if (std::string stopped = reader.AbandonedSegments(interpreter.address, abandoned); !stopped.empty()) use_.notes.push_back("mimalloc: " + stopped);
      for (const Address segment : abandoned) reader.VisitSegmentPages(segment, [&](Address page) { AddPage(reader, page, {}); });
      if (!reader.has_abandoned_pool()) use_.notes.push_back("mimalloc: segments of threads that ended count as anonymous memory, as nothing leads to them in this version");
    }
    Extent bytes;
    for (const auto& [begin, end] : mi_segments_) bytes += Claim({begin, end});
    if (mi_used_.bytes + mi_free_.bytes > bytes.bytes) {
      use_.notes.push_back("part of mimalloc's segments is not at hand: their blocks cannot be told apart");
      return Part("mimalloc: segments", bytes, mi_segments_.size());
    }
    Parts({"mimalloc: blocks in use", "mimalloc: free blocks", "mimalloc: pages never used, heads of segments", mi_used_blocks_, mi_free_blocks_, mi_segments_.size()}, bytes, mi_used_, mi_free_);
  }
  void AddHeap(const snapshot::MimallocReader& reader, Address heap) {
    std::unordered_set<Address> delayed;
    bool whole = reader.DelayedFree(heap, delayed);
    const std::string stopped = reader.VisitPages(heap, [&](Address page) { return AddPage(reader, page, delayed); });
    if (!stopped.empty()) use_.notes.push_back("mimalloc: " + stopped);
    if (!whole) use_.notes.push_back(fmt::format("mimalloc: a list of free blocks of the heap at {:#x} is damaged: some blocks are counted as in use", heap));
  }
  bool AddPage(const snapshot::MimallocReader& reader, Address at, const std::unordered_set<Address>& delayed) {
    const std::optional<snapshot::MiPage> page = reader.PageAt(at);
    if (!page) return false;
    std::vector<bool> is_free(page->capacity);
    (void)reader.FreeBlocks(*page, delayed, is_free);
    const auto free = static_cast<std::uint64_t>(std::count(is_free.begin(), is_free.end(), true));
    const std::uint64_t unused = free * page->block_size;
    mi_free_ += {unused, std::min(unused, zeroes_.In({page->start, page->start + page->block_size * page->capacity}))};
    mi_free_blocks_ += free;
    mi_used_ += {(page->capacity - free) * page->block_size, 0};
    mi_used_blocks_ += page->capacity - free;
    // A block larger than a segment makes its segment larger.
    const Address segment = at & ~(reader.segment_bytes() - 1);
    Address& end = mi_segments_.try_emplace(segment, segment + reader.segment_bytes()).first->second;
    end = std::max(end, page->start + page->block_size * page->capacity);
    return true;
  }

  void Malloc() {
    const audit::MallocHeap chunks(process_);
    Extent areas, used, free;
    std::uint64_t used_chunks = 0, free_chunks = 0;
    for (const audit::MallocArea& area : chunks.areas()) areas += Claim(area.range);
    Extent mapped;
    for (const AddressRange& chunk : chunks.mapped()) mapped += Claim(chunk);
    Part("malloc: large chunks, each a mapping of its own (mmap)", mapped, chunks.mapped().size());
    chunks.ForEachAreaChunk([&](AddressRange memory, bool in_use) {
      (in_use ? used : free) += {memory.size(), zeroes_.In(memory)};
      ++(in_use ? used_chunks : free_chunks);
    });
    if (areas.bytes == 0) {
      use_.notes.push_back(mapped.bytes == 0 ? "no heap of glibc's malloc was found: its memory counts as anonymous memory"
                                             : "no heap of glibc's malloc was found, large chunks alone: the rest of its memory counts as anonymous memory");
      return;
    }
    if (used.bytes + free.bytes > areas.bytes) {
      use_.notes.push_back("part of the heaps of glibc's malloc is not at hand, or CPython's allocator has it: their chunks cannot be told apart");
      return Part("malloc: heaps", areas, chunks.areas().size());
    }
    Parts({"malloc: chunks in use", "malloc: free chunks", "malloc: heads of chunks", used_chunks, free_chunks, std::nullopt}, areas, used, free);
  }

  void Stacks() {
    Extent bytes;
    std::uint64_t count = 0;
    for (const snapshot::UsedStack& stack : snapshot::UsedStacks(process_)) {
      bytes += Claim(stack.memory);
      ++count;
    }
    Part("stacks of threads", bytes, count);
  }

  void Segments() {
    Extent data, text, anonymous;
    std::uint64_t ranges = 0;
    for (const target::Segment& s : process_.memory.segments()) {
      if (!Counts(s) || IsReserved(s, {s.range.size(), zeroes_.In(s.range)})) continue;
      const Extent bytes = claims_.Add(s.range);
      const bool of_file = s.module != 0xFFFFFFFFu || process_.FindModule(s.range.begin) != nullptr;
      if (!of_file) {
        anonymous += bytes;
        ranges += bytes.touched() > 0;
      } else {
        (s.writable ? data : text) += bytes;
      }
    }
    Part("files: data of modules", data);
    Part("files: code, constants and mapped files, read-only", text);
    Part("anonymous memory: large blocks (mmap), allocators that pygc does not know", anonymous, ranges);
  }

  const CommandInput& in_;
  const target::Process& process_;
  ZeroPages zeroes_;
  Claims claims_;
  std::map<Address, Address> mi_segments_;  // begin -> end
  Extent mi_used_, mi_free_;
  std::uint64_t mi_used_blocks_ = 0, mi_free_blocks_ = 0;
  report::MemoryUse use_;
};

}  // namespace

report::MemoryUse MeasureMemory(const CommandInput& in) { return MemoryMeter(in).Run(); }

}  // namespace pygc::engine
