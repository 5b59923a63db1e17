// mimalloc's heaps in a free-threaded build, read from outside: pages, their blocks, and which of these are free. No Python object in here.
//
//     thread state -> heaps[tag] -> pages[queue] -> page -> page     pages of a thread that lives
//     interpreter  -> abandoned pool -> segment -> segment           segments of threads that ended (mimalloc 2.1)
//     segment (32 MiB, aligned) -> slices[0..511], of which some are pages
//
// CPython: Objects/mimalloc/ (types.h, heap.c, segment.c), Python/pystate.c: tstate_mimalloc_bind(), gc_visit_heaps() [3.13t+].
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "core/base/address.h"
#include "core/cpython/layout.h"
#include "core/cpython/runtime.h"
#include "core/target/memory_image.h"
#include "core/target/process.h"

namespace pygc::snapshot {

/// Heap tags. CPython: mi_memid_t... _Py_MIMALLOC_HEAP_*, Include/internal/pycore_mimalloc.h.
inline constexpr std::uint32_t kHeapMem = 0;    // buffers of PyMem_Malloc(): no objects
inline constexpr std::uint32_t kHeapGc = 2;     // objects at block start
inline constexpr std::uint32_t kHeapGcPre = 3;  // objects with a pre-header of two words
inline constexpr std::uint32_t kHeapCount = 4;

/// One page: `capacity` blocks of `block_size` bytes from `start` on. All blocks lie inside the page's segment.
struct MiPage {
  Address address = 0;  // of the mi_page_t
  Address start = 0;
  std::uint64_t block_size = 0;
  std::uint32_t capacity = 0;
  std::uint32_t tag = 0;
  Address heap = 0;  // the mi_heap_t it belongs to; 0 in an abandoned segment
};

/// A stretch of slices in a segment: a page, or unused.
struct MiSpan {
  Address page = 0;  // of the mi_page_t of its first slice
  AddressRange memory;
  bool in_use = false;
};

/// One segment that passed every test of its header.
struct MiSegment {
  Address address = 0;
  Address subproc = 0;  // mimalloc 2.5: which interpreter's
  std::uint64_t cookie = 0;
  bool abandoned = false;  // thread_id is 0
};

/// Reads mimalloc's structures with offsets prepared once. Every number of the target is tested before use; see the Errors of each function.
class MimallocReader {
 public:
  /// `layout` must have mi_page (a free-threaded build).
  MimallocReader(const target::MemoryImage& memory, const cpython::Layout& layout);

  /// Address of the heap with `tag` of the thread state at `tstate`; nullopt where the thread has not set up its heaps yet, or cannot be read.
  [[nodiscard]] std::optional<Address> HeapOf(Address tstate, std::uint32_t tag) const;
  /// Bytes from a block of the heap to the object in it: pre-header and the debug allocator's words.
  [[nodiscard]] std::uint32_t ObjectOffset(Address heap, std::uint32_t tag) const;

  /// Calls `visit(page address)` for every page of `heap`, in the order of mi_heap_visit_blocks(). Returns what stopped it, or an empty text.
  template <typename Visit>
  [[nodiscard]] std::string VisitPages(Address heap, Visit&& visit) const;
  /// Segments of ended threads of the interpreter at `interpreter`, in the order of _mi_abandoned_pool_visit_blocks() (mimalloc 2.1; none in 2.5, which
  /// keeps them where nothing leads to them). Returns what stopped it, or an empty text.
  [[nodiscard]] std::string AbandonedSegments(Address interpreter, std::vector<Address>& out) const;
  [[nodiscard]] bool has_abandoned_pool() const noexcept { return pool_offset_[0] != kAbsent; }
  /// mimalloc 2.5: the subprocess of the interpreter at `interpreter`; 0 where unknown.
  [[nodiscard]] Address SubprocOf(Address interpreter) const;

  /// The segment at `address`, or nullopt where the bytes there are none.
  [[nodiscard]] std::optional<MiSegment> SegmentAt(Address address) const;
  /// Calls `visit(MiSpan)` for every span of the segment, in address order. Returns where that ended: the segment's end, or the first slice that makes no
  /// sense.
  template <typename Visit>
  Address VisitSpans(Address segment, Visit&& visit) const;
  /// The segment's memory as its header says, which is more or less than segment_bytes() where one block fills it.
  [[nodiscard]] AddressRange SegmentRange(Address segment) const;
  /// Calls `visit(page address)` for every used page of the segment, in address order.
  template <typename Visit>
  void VisitSegmentPages(Address segment, Visit&& visit) const;
  /// The page at `address`; nullopt where it is no page in use, or its numbers cannot be true. `capacity` may be 0.
  [[nodiscard]] std::optional<MiPage> PageAt(Address address) const;

  /// Blocks that a thread gave back to a heap of another one, of any page of it. Returns false where the list is damaged.
  [[nodiscard]] bool DelayedFree(Address heap, std::unordered_set<Address>& out) const;
  /// Sets bit i of `free` for each free block i of the page. `delayed`: of its heap. Returns false where a list of free blocks is damaged: then `free`
  /// holds some of them only.
  [[nodiscard]] bool FreeBlocks(const MiPage& page, const std::unordered_set<Address>& delayed, std::vector<bool>& free) const;

  [[nodiscard]] std::uint64_t segment_bytes() const noexcept { return segment_bytes_; }

 private:
  static constexpr std::uint32_t kAbsent = 0xFFFFFFFFu;

  [[nodiscard]] std::optional<std::uint64_t> Get(Address base, cpython::Field field) const;
  [[nodiscard]] Address SegmentOf(Address a) const noexcept { return a & ~(segment_bytes_ - 1); }
  [[nodiscard]] bool FollowFree(const MiPage& page, Address head, std::uint64_t key0, std::uint64_t key1, std::vector<bool>& free) const;

  const target::MemoryImage* memory_;
  const cpython::Layout* layout_;
  std::uint64_t segment_bytes_, slice_bytes_;
  std::uint32_t queues_, page_bytes_, heap_bytes_, queue_bytes_, slices_offset_;
  std::uint32_t pool_offset_[2];
  std::uint64_t max_slices_, max_delayed_;
};

template <typename Visit>
std::string MimallocReader::VisitPages(Address heap, Visit&& visit) const {
  const Address queues = heap + layout_->Offset(cpython::Field::mi_heap_pages);
  std::unordered_set<Address> seen;
  for (std::uint32_t q = 0; q < queues_; ++q) {
    auto page = Get(queues + std::uint64_t{q} * queue_bytes_, cpython::Field::mi_page_queue_first);
    while (page && *page != 0) {
      if (!seen.insert(*page).second) return fmt::format("page queue {} of the heap at {:#x} loops at {:#x}", q, heap, *page);
      if (!visit(*page)) return fmt::format("page queue {} of the heap at {:#x} leads to {:#x}, which is no page", q, heap, *page);
      page = Get(*page, cpython::Field::mi_page_next);
    }
    if (!page) return fmt::format("page queue {} of the heap at {:#x} leads out of readable memory", q, heap);
  }
  return {};
}

template <typename Visit>
Address MimallocReader::VisitSpans(Address segment, Visit&& visit) const {
  const auto entries = Get(segment, cpython::Field::mi_segment_slice_entries);
  const auto info = Get(segment, cpython::Field::mi_segment_segment_info_slices);
  if (!entries || !info) return segment;
  const std::uint64_t end = std::min<std::uint64_t>(*entries, max_slices_);
  std::uint64_t i = *info;
  while (i < end) {
    const Address page = segment + slices_offset_ + i * page_bytes_;
    const auto count = Get(page, cpython::Field::mi_page_slice_count);
    const auto block = Get(page, layout_->Has(cpython::Field::mi_page_block_size) ? cpython::Field::mi_page_block_size : cpython::Field::mi_page_xblock_size);
    if (!count || !block || *count == 0) break;
    visit(MiSpan{page, {segment + i * slice_bytes_, segment + (i + *count) * slice_bytes_}, *block != 0});
    i += *count;
  }
  return segment + i * slice_bytes_;
}

template <typename Visit>
void MimallocReader::VisitSegmentPages(Address segment, Visit&& visit) const {
  VisitSpans(segment, [&](const MiSpan& span) {
    if (span.in_use && PageAt(span.page)) visit(span.page);
  });
}

/// The process's cookie, which all of its segments share, out of the first one that a thread's heap leads to; 0 where none does.
[[nodiscard]] std::uint64_t CookieOf(const MimallocReader& reader, const cpython::Runtime& runtime);
/// All segments of the process, by address.
/// HEURISTIC: bytes at a multiple of 32 MiB that look like a segment. A wrong yes is excluded by `cookie` (unless 0). A wrong no loses pages that no list
/// leads to.
[[nodiscard]] std::vector<MiSegment> FindSegments(const target::Process& process, const MimallocReader& reader, std::uint64_t cookie);

}  // namespace pygc::snapshot
