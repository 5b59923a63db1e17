// Tracked objects of free-threaded builds, which have no lists: every block of the heaps that hold such objects is looked at.
//
// CPython: gc_visit_heaps(), Python/gc_free_threading.c [3.13t+]. The order is the collector's: of each interpreter, for each thread the pages of the GC heap
// and then those of the heap with pre-headers, then the segments of ended threads. Pages that these lists miss (the thread was stopped while it moved one;
// mimalloc 2.5 keeps abandoned segments where nothing leads to them; a list is damaged) are found in their segments, which begin at multiples of 32 MiB.
#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "core/snapshot/mimalloc_heap.h"
#include "core/snapshot/object_source.h"
#include "core/snapshot/stray_objects.h"

namespace pygc::snapshot {
namespace {

using cpython::Constant;
using cpython::Field;

constexpr std::size_t kMaxNotes = 8;
constexpr std::uint64_t kProgressPages = 256;
constexpr std::uint32_t kGcTags[] = {kHeapGc, kHeapGcPre};

class HeapWalker {
 public:
  HeapWalker(const target::Process& process, const cpython::Runtime& runtime, const SourceOptions& options,
             const std::function<bool(Address)>& is_object, ProgressSink& progress)
      : process_(process),
        runtime_(runtime),
        options_(options),
        is_object_(is_object),
        progress_(progress),
        reader_(process.memory, runtime.layout),
        bits_offset_(runtime.layout.Offset(Field::PyObject_ob_gc_bits)),
        object_bytes_(runtime.layout.Size(cpython::Struct::PyObject)),
        bits_(runtime.layout) {}

  Result<FoundObjects> Run() {
    found_.index = heap::ObjectIndex(ObjectRanges(process_, 4, options_.with_leaves));
    if (!progress_.Update(kStage, 0, 0)) return Cancelled();
    for (std::size_t i = 0; i < runtime_.interpreters.size(); ++i) MeetHeaps(i);
    for (std::size_t i = 0; i < runtime_.interpreters.size(); ++i) VisitInterpreter(i);
    ScanSegments();
    if (cancelled_) return Cancelled();
    if (found_.objects > options_.limits.max_objects) {
      return Fail(ErrorCode::kLimit, "the heap has {} tracked objects; at most {} can be numbered", found_.objects, options_.limits.max_objects);
    }
    if (!runtime_.state_lost.empty() && found_.objects == 0 && !HasDataOf(process_, runtime_.module_index)) {
      return Fail(ErrorCode::kNotAnalysable, "{} is missing, and no object of Python is in what is left of memory{}", runtime_.state_lost, LeftOut(process_));
    }
    if (heaps_.empty() && !lost_memory_) return Fail(ErrorCode::kCorrupt, "no thread state leads to mimalloc heaps, so no object can be found");
    if (strays_ > 0) {
      Damage(fmt::format("{} objects were found in pages of heaps that no thread state leads to; whether they are garbage cannot be told", strays_));
    }
    incomplete_ = incomplete_ || lost_memory_;
    if (left_out_notes_ > 0) found_.coverage.notes.push_back(fmt::format("{} more faults of the same kind", left_out_notes_));
    found_.coverage.lists_complete = !incomplete_;
    return std::move(found_);
  }

 private:
  static constexpr const char* kStage = "walking the heaps";

  struct Heap {
    std::uint8_t interpreter = heap::kNoInterpreter;
    std::uint32_t object_offset = 0;
    std::unordered_set<Address> delayed;
  };

  [[nodiscard]] static tl::unexpected<Error> Cancelled() { return Fail(ErrorCode::kCancelled, "stopped while walking the heaps"); }
  [[nodiscard]] static std::uint8_t Number(std::size_t interpreter) {
    return interpreter < heap::kNoInterpreter ? static_cast<std::uint8_t>(interpreter) : heap::kNoInterpreter;
  }
  void Damage(std::string text) {
    incomplete_ = true;
    if (found_.coverage.notes.size() < kMaxNotes) {
      found_.coverage.notes.push_back(std::move(text));
    } else {
      ++left_out_notes_;
    }
  }

  void MeetHeaps(std::size_t i) {
    for (const cpython::PyThread& thread : runtime_.interpreters[i].threads) {
      for (const std::uint32_t tag : kGcTags) {
        const auto address = reader_.HeapOf(thread.tstate, tag);
        if (!address) continue;  // a thread that has not begun
        Heap& heap = heaps_[*address];
        heap.interpreter = Number(i);
        heap.object_offset = reader_.ObjectOffset(*address, tag);
        object_offset_[tag] = heap.object_offset;
        if (!reader_.DelayedFree(*address, heap.delayed)) {
          Damage(fmt::format("the list of blocks that other threads freed in the heap at {:#x} cannot be followed; freed objects may be among those found",
                             *address));
        }
      }
    }
  }

  void VisitInterpreter(std::size_t i) {
    for (const cpython::PyThread& thread : runtime_.interpreters[i].threads) {
      for (const std::uint32_t tag : kGcTags) {
        const auto heap = reader_.HeapOf(thread.tstate, tag);
        if (!heap) continue;
        std::string fault = reader_.VisitPages(*heap, [&](Address a) {
          const auto page = reader_.PageAt(a);
          if (page && cookie_ == 0) {
            if (const auto segment = reader_.SegmentAt(a & ~(reader_.segment_bytes() - 1))) cookie_ = segment->cookie;
          }
          if (page && page->tag == tag) VisitPage(*page, Number(i));
          return page.has_value() && !cancelled_;
        });
        if (!fault.empty() && !cancelled_) Damage(std::move(fault) + "; its other pages are looked for in their segments");
      }
    }
    std::vector<Address> segments;
    if (std::string fault = reader_.AbandonedSegments(runtime_.interpreters[i].address, segments); !fault.empty()) {
      Damage(std::move(fault));
      pools_whole_ = false;
    }
    for (const std::uint32_t tag : kGcTags) {
      for (const Address segment : segments) {
        reader_.VisitSegmentPages(segment, [&](Address a) {
          if (const auto page = reader_.PageAt(a); page && page->tag == tag) VisitPage(*page, Number(i));
        });
      }
    }
  }

  void ScanSegments() {
    for (const MiSegment& segment : FindSegments(process_, reader_, cookie_)) {
      for (const std::uint32_t tag : kGcTags) {
        reader_.VisitSegmentPages(segment.address, [&](Address a) {
          const auto page = reader_.PageAt(a);
          if (!page || page->tag != tag || seen_.contains(a) || cancelled_) return;
          if (const auto owner = OwnerOrStray(*page, segment)) VisitPage(*page, *owner);
        });
      }
    }
  }
  // The interpreter whose collector visits the page; nullopt where none does (a segment that an interpreter left behind when it ended).
  [[nodiscard]] std::optional<std::uint8_t> OwnerOf(const MiPage& page, const MiSegment& segment) const {
    if (const auto heap = heaps_.find(page.heap); heap != heaps_.end()) return heap->second.interpreter;
    if (reader_.has_abandoned_pool()) {
      if (pools_whole_ || !segment.abandoned) return std::nullopt;
      return runtime_.interpreters.size() == 1 ? 0 : heap::kNoInterpreter;
    }
    for (std::size_t i = 0; i < runtime_.interpreters.size(); ++i) {
      if (segment.subproc != 0 && segment.subproc == reader_.SubprocOf(runtime_.interpreters[i].address)) return Number(i);
    }
    return std::nullopt;
  }
  // The same where the thread states that the heaps belong to may be missing: any page of a sound segment has objects of some interpreter.
  [[nodiscard]] std::optional<std::uint8_t> OwnerOrStray(const MiPage& page, const MiSegment& segment) const {
    const auto owner = OwnerOf(page, segment);
    return owner || !lost_memory_ ? owner : std::optional(heap::kNoInterpreter);
  }

  // CPython: _mi_heap_area_visit_blocks(), op_from_block().
  void VisitPage(const MiPage& page, std::uint8_t interpreter) {
    if (!seen_.insert(page.address).second) return;
    if (seen_.size() % kProgressPages == 0 && !progress_.Update(kStage, found_.objects, 0)) cancelled_ = true;
    if (cancelled_ || page.capacity == 0) return;
    const auto heap = heaps_.find(page.heap);
    const std::uint32_t offset = heap != heaps_.end() ? heap->second.object_offset
                                 : lost_memory_       ? reader_.ObjectOffset(page.heap, page.tag)
                                                      : object_offset_[page.tag];
    if (page.block_size < offset + object_bytes_) {
      Damage(fmt::format("the page at {:#x} has blocks of {} bytes, too small for an object", page.address, page.block_size));
      return;
    }
    const bool known = heap != heaps_.end() || !lost_memory_;
    const bool lists_hold = reader_.FreeBlocks(page, heap != heaps_.end() ? heap->second.delayed : no_blocks_, free_);
    if (!lists_hold) {
      Damage(fmt::format("the free blocks of the page at {:#x} cannot be told from those in use: its lists are damaged", page.address));
    }
    ObjectRun run;
    std::uint64_t lost = 0;
    for (std::uint32_t i = 0; i < page.capacity; ++i) {
      const Address object = page.start + i * page.block_size + offset;
      if (!free_[i] && Take(object, lists_hold && known, lost)) {
        strays_ += !known;
        if (run.count++ == 0) run = {object, page.block_size, 1, interpreter};
        continue;
      }
      Keep(run);
    }
    Keep(run);
    if (lost > 0) Damage(fmt::format("{} blocks of the page at {:#x} cannot be read", lost, page.address));
  }
  bool Take(Address object, bool lists_hold, std::uint64_t& lost) {
    const std::byte* const p = process_.memory.At(object, object_bytes_);
    if (p == nullptr) {
      ++lost;
      return false;
    }
    if (!bits_.Tracked(LoadUnchecked<std::uint8_t>(p + bits_offset_))) return false;
    if (!lists_hold && !is_object_(object)) return false;
    return found_.index.Mark(object);
  }
  void Keep(ObjectRun& run) {
    if (run.count == 0) return;
    found_.runs.push_back(run);
    found_.objects += run.count;
    run = {};
  }

  const target::Process& process_;
  const cpython::Runtime& runtime_;
  const SourceOptions& options_;
  const std::function<bool(Address)>& is_object_;
  ProgressSink& progress_;
  MimallocReader reader_;
  std::uint32_t bits_offset_, object_bytes_;
  GcBits bits_;
  FoundObjects found_;
  std::unordered_map<Address, Heap> heaps_;
  std::uint32_t object_offset_[kHeapCount] = {0, 0, 0, 16};
  const std::unordered_set<Address> no_blocks_;
  std::unordered_set<Address> seen_;  // pages
  std::vector<bool> free_;
  std::uint64_t cookie_ = 0;  // of the process, out of the first segment that a heap leads to
  std::size_t left_out_notes_ = 0;
  bool pools_whole_ = true, incomplete_ = false, cancelled_ = false;
  const bool lost_memory_ = !runtime_.state_lost.empty() || LostHeap(process_);
  std::uint64_t strays_ = 0;  // objects in pages of heaps that no thread state leads to
};

}  // namespace

GcBits::GcBits(const cpython::Layout& layout) noexcept
    : tracked_(static_cast<std::uint8_t>(layout.Value(Constant::GC_BITS_TRACKED))),
      finalized_(static_cast<std::uint8_t>(layout.Value(Constant::GC_BITS_FINALIZED))),
      unreachable_(static_cast<std::uint8_t>(layout.Value(Constant::GC_BITS_UNREACHABLE))),
      frozen_(static_cast<std::uint8_t>(layout.Value(Constant::GC_BITS_FROZEN))) {}

std::uint8_t GcBits::Flags(std::uint8_t bits) const noexcept {
  const std::uint8_t generation = bits & frozen_ ? heap::kPermanent : bits & unreachable_ ? heap::kDetached : heap::kUngenerational;
  return static_cast<std::uint8_t>(heap::kTracked | generation | (bits & finalized_ ? heap::kFinalized : 0));
}

Result<FoundObjects> FindObjectsInHeaps(const target::Process& process, const cpython::Runtime& runtime, const SourceOptions& options,
                                        const std::function<bool(Address)>& is_object, ProgressSink& progress) {
  if (!runtime.layout.Has(cpython::Struct::mi_page) || !runtime.layout.Has(Field::PyThreadStateImpl_mimalloc)) {
    return Fail(ErrorCode::kUnsupported, "the layout {} does not describe mimalloc's heaps, so the objects of a free-threaded build cannot be found",
                runtime.layout.name);
  }
  return HeapWalker(process, runtime, options, is_object, progress).Run();
}

void FillHeapColumns(const target::MemoryImage& memory, const cpython::Layout& layout, const FoundObjects& found, std::vector<std::uint8_t>& flags,
                     std::vector<std::uint8_t>& interpreter) {
  const GcBits bits(layout);
  const std::uint32_t bits_offset = layout.Offset(Field::PyObject_ob_gc_bits);
  std::fill(flags.begin(), flags.end(), heap::kUntracked);
  std::fill(interpreter.begin(), interpreter.end(), heap::kNoInterpreter);
  for (const ObjectRun& run : found.runs) {
    for (std::uint32_t i = 0; i < run.count; ++i) {
      const Address object = run.first + i * run.stride;
      const heap::NodeId node = found.index.Find(object);
      const std::byte* const p = memory.At(object + bits_offset, 1);
      if (node == heap::kNoNode || p == nullptr) continue;
      flags[node] = bits.Flags(LoadUnchecked<std::uint8_t>(p));
      if (!interpreter.empty()) interpreter[node] = run.interpreter;
    }
  }
}

}  // namespace pygc::snapshot
