// Every byte of the memory at hand in exactly one class: arenas of CPython's allocator, glibc's heaps, stacks, data and text of modules, the rest.
#include <algorithm>
#include <map>
#include <unordered_set>

#include "core/audit/malloc_heap.h"
#include "core/audit/pymalloc_heap.h"
#include "core/engine/heap_sections.h"
#include "core/snapshot/mimalloc_heap.h"

namespace pygc::engine {
namespace {

constexpr std::uint64_t kMaxStack = std::uint64_t{64} << 20;  // above the stack pointer; more is another mapping that the kernel put beside it
constexpr std::uint64_t kBelow = std::uint64_t{8} << 20;      // was used before, and is still there

// Ranges that are disjoint and sorted; one that is added loses what others have already.
class Claims {
 public:
  /// Returns the bytes of `range` that nobody had.
  std::uint64_t Add(AddressRange range) {
    std::uint64_t added = 0;
    std::vector<AddressRange> fresh;
    auto at = std::partition_point(taken_.begin(), taken_.end(), [&](const AddressRange& t) { return t.end <= range.begin; });
    Address from = range.begin;
    for (auto t = at; t != taken_.end() && t->begin < range.end; ++t) {
      if (from < t->begin) fresh.push_back({from, t->begin});
      from = std::max(from, t->end);
    }
    if (from < range.end) fresh.push_back({from, range.end});
    for (const AddressRange& f : fresh) {
      added += f.size();
      taken_.insert(std::partition_point(taken_.begin(), taken_.end(), [&](const AddressRange& t) { return t.end <= f.begin; }), f);
    }
    return added;
  }

 private:
  std::vector<AddressRange> taken_;
};

constexpr Address kKernelHalf = Address{1} << 63;  // [vsyscall] lies there: the kernel's, in some cores

// Read-only pages of a file, whether they were read from it or lie in the core too: what is in a core depends on who wrote it.
bool IsOfFile(const target::Segment& s) { return s.source == target::SegmentSource::kModuleFile || (s.module != 0xFFFFFFFFu && !s.writable); }

class MemoryMeter {
 public:
  explicit MemoryMeter(const CommandInput& in) : in_(in), process_(in.reader.process()) {
    for (const target::Segment& s : process_.memory.segments()) {
      if (s.range.begin >= kKernelHalf) continue;
      if (IsOfFile(s)) {
        use_.file_bytes += s.range.size();
      } else {
        use_.bytes += s.range.size();
      }
    }
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

  void Part(std::string what, std::uint64_t bytes, std::optional<std::uint64_t> count = std::nullopt) {
    if (bytes > 0) use_.parts.push_back({std::move(what), bytes, count});
  }
  // Of a range, what lies in memory that came from the process and was not claimed yet.
  std::uint64_t Claim(AddressRange range) {
    std::uint64_t bytes = 0;
    const auto segments = process_.memory.segments();
    auto s = std::partition_point(segments.begin(), segments.end(), [&](const target::Segment& x) { return x.range.end <= range.begin; });
    for (; s != segments.end() && s->range.begin < range.end; ++s) {
      if (IsOfFile(*s) || s->range.begin >= kKernelHalf) continue;
      bytes += claims_.Add({std::max(s->range.begin, range.begin), std::min(s->range.end, range.end)});
    }
    return bytes;
  }

  void Pymalloc() {
    const audit::PymallocHeap blocks(process_, in_.reader.runtime(), in_.request.limits);
    if (!blocks.found()) {
      if (!in_.reader.runtime().layout.flavor.free_threaded) {
        use_.notes.push_back("no arenas of CPython's allocator were found (PYTHONMALLOC=malloc, or too early): objects lie in malloc's memory");
      }
      return;
    }
    std::uint64_t arenas = 0;
    for (const AddressRange& arena : blocks.arenas()) arenas += Claim(arena);
    std::uint64_t used = 0, free = 0, free_blocks = 0;
    for (const audit::PymallocPool& pool : blocks.pools()) {
      used += std::uint64_t{pool.in_use} * pool.block_bytes;
      free += std::uint64_t{pool.count - pool.in_use} * pool.block_bytes;
      free_blocks += pool.count - pool.in_use;
    }
    if (used + free > arenas) {  // parts of arenas are not in the core
      use_.notes.push_back("part of the arenas of CPython's allocator is not at hand: their blocks cannot be told apart");
      return Part("pymalloc: arenas", arenas, blocks.arenas().size());
    }
    Part("pymalloc: blocks in use", used, blocks.blocks_in_use());
    Part("pymalloc: free blocks", free, free_blocks);
    Part("pymalloc: pools never used, heads of pools, ends of arenas", arenas - used - free, blocks.arenas().size());
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
    std::uint64_t bytes = 0;
    for (const auto& [begin, end] : mi_segments_) bytes += Claim({begin, end});
    if (mi_used_ + mi_free_ > bytes) {
      use_.notes.push_back("part of mimalloc's segments is not at hand: their blocks cannot be told apart");
      return Part("mimalloc: segments", bytes, mi_segments_.size());
    }
    Part("mimalloc: blocks in use", mi_used_, mi_used_blocks_);
    Part("mimalloc: free blocks", mi_free_, mi_free_blocks_);
    Part("mimalloc: pages never used, heads of segments", bytes - mi_used_ - mi_free_, mi_segments_.size());
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
    mi_free_ += free * page->block_size;
    mi_free_blocks_ += free;
    mi_used_ += (page->capacity - free) * page->block_size;
    mi_used_blocks_ += page->capacity - free;
    // A block larger than a segment makes its segment larger.
    const Address segment = at & ~(reader.segment_bytes() - 1);
    Address& end = mi_segments_.try_emplace(segment, segment + reader.segment_bytes()).first->second;
    end = std::max(end, page->start + page->block_size * page->capacity);
    return true;
  }

  void Malloc() {
    const audit::PymallocHeap none(process_, in_.reader.runtime(), in_.request.limits);
    const audit::MallocHeap chunks(process_, none);
    std::uint64_t areas = 0, used = 0, free = 0, used_chunks = 0, free_chunks = 0;
    for (const audit::MallocArea& area : chunks.areas()) areas += Claim(area.range);
    chunks.ForEachChunk([&](AddressRange memory, bool in_use) {
      (in_use ? used : free) += memory.size();
      ++(in_use ? used_chunks : free_chunks);
    });
    if (areas == 0) {
      use_.notes.push_back("no heap of glibc's malloc was found: its memory counts as anonymous memory");
      return;
    }
    if (used + free > areas) return Part("malloc: heaps", areas);
    Part("malloc: chunks in use", used, used_chunks);
    Part("malloc: free chunks", free, free_chunks);
    Part("malloc: heads of chunks", areas - used - free);
  }

  void Stacks() {
    std::uint64_t bytes = 0, count = 0;
    for (const target::Thread& t : process_.threads) {
      const target::Segment* const s = t.has_registers ? process_.memory.Find(t.stack_pointer()) : nullptr;
      if (s == nullptr || !s->writable) continue;
      const Address sp = t.stack_pointer();
      // A thread's own data stand at the end of its stack; the main thread's stand elsewhere.
      const bool own_end = t.fs_base() > sp && t.fs_base() < s->range.end && t.fs_base() - sp <= kMaxStack;
      const Address end = own_end ? std::min(s->range.end, (t.fs_base() + 0x2000) & ~Address{0xFFF}) : std::min(s->range.end, sp + kMaxStack);
      const Address begin = s->range.begin + kBelow < sp ? (sp - kBelow) & ~Address{0xFFF} : s->range.begin;
      bytes += Claim({begin, end});
      ++count;
    }
    Part("stacks of threads", bytes, count);
  }

  void Segments() {
    std::uint64_t data = 0, text = 0, anonymous = 0, ranges = 0;
    for (const target::Segment& s : process_.memory.segments()) {
      if (IsOfFile(s) || s.range.begin >= kKernelHalf) continue;
      const std::uint64_t bytes = claims_.Add(s.range);
      const bool of_file = s.module != 0xFFFFFFFFu || process_.FindModule(s.range.begin) != nullptr;
      if (!of_file) {
        anonymous += bytes;
        ranges += bytes > 0;
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
  Claims claims_;
  std::map<Address, Address> mi_segments_;  // begin -> end
  std::uint64_t mi_used_ = 0, mi_used_blocks_ = 0, mi_free_ = 0, mi_free_blocks_ = 0;
  report::MemoryUse use_;
};

}  // namespace

report::MemoryUse MeasureMemory(const CommandInput& in) { return MemoryMeter(in).Run(); }

}  // namespace pygc::engine
