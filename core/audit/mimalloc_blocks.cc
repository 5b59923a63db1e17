#include "core/audit/mimalloc_blocks.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <unordered_map>
#include <unordered_set>

#include "core/cpython/uncounted_references.h"
#include "core/snapshot/mimalloc_heap.h"

namespace pygc::audit {

namespace {

using cpython::Constant;
using cpython::Field;
using cpython::Struct;

constexpr std::uint64_t kMaxPoolOfMany = std::uint64_t{1} << 32;  // bytes; see BlockHeap
constexpr std::uint64_t kWord = 8, kExactWords = 8;
constexpr std::uint64_t kMostOfMany = 128 << 10;  // MI_MEDIUM_OBJ_SIZE_MAX: what is larger has a page of its own
constexpr std::uint64_t kSlice = 64 << 10, kMediumPage = 512 << 10;

// How much larger a block may be than what was asked for: sizes up to 8 words are rounded to two words, and behind that there are four sizes from one power
// of two to the next. CPython: mi_bin(), Objects/mimalloc/page-queue.c. What has a page of its own is rounded to that of the system, more the larger it is, and then to slices, or to pages of a medium size:
// _mi_os_good_alloc_size(), Objects/mimalloc/os.c; mi_segments_page_alloc(), Objects/mimalloc/segment.c.
std::uint32_t SlackOf(std::uint64_t block_bytes) {
  if (block_bytes > kMostOfMany) {
    const std::uint64_t unit = block_bytes <= 512 << 10 ? 4 << 10 : block_bytes <= 2 << 20 ? 64 << 10 : block_bytes <= 8 << 20 ? 256 << 10 : block_bytes <= 32 << 20 ? 1 << 20 : 4 << 20;
    return static_cast<std::uint32_t>(unit + (block_bytes <= kMediumPage ? kSlice : kMediumPage));
  }
  const std::uint64_t words = block_bytes / kWord;
  if (words <= 1) return kWord - 1;
  if (words <= kExactWords) return 2 * kWord - 1;
  const unsigned step = static_cast<unsigned>(std::bit_width(words - 1)) - 3;
  return step < 28 ? static_cast<std::uint32_t>((kWord << step) - 1) : 0xFFFFFFFFu;
}

class MimallocPages {
 public:
  MimallocPages(const target::Process& process, const cpython::Runtime& runtime, const Limits& limits)
      : process_(process), runtime_(runtime), mimalloc_(process.memory, runtime.layout), pending_(cpython::ReadUncountedReferences(process, runtime, limits).freed) {
    std::sort(pending_.begin(), pending_.end());
  }

  BlockHeap::Parts Read() {
    parts_.allocator = "mimalloc";
    parts_.place_shift = static_cast<unsigned>(std::countr_zero(static_cast<std::uint64_t>(runtime_.layout.Value(Constant::MI_SLICE_BYTES, 64 << 10))));
    for (const cpython::Interpreter& interpreter : runtime_.interpreters) {
      for (const cpython::PyThread& thread : interpreter.threads) {
        for (std::uint32_t tag = 0; tag < snapshot::kHeapCount; ++tag) {
          const std::optional<Address> heap = mimalloc_.HeapOf(thread.tstate, tag);
          if (heap) object_offset_[tag] = mimalloc_.ObjectOffset(*heap, tag);
          if (heap && !mimalloc_.DelayedFree(*heap, delayed_[*heap])) Damaged(fmt::format("the list of blocks that other threads freed in the heap at {:#x} cannot be followed", *heap));
        }
      }
    }
    for (const snapshot::MiSegment& s : snapshot::FindSegments(process_, mimalloc_, snapshot::CookieOf(mimalloc_, runtime_))) ReadSegment(s.address);
    return std::move(parts_);
  }

 private:
  void Damaged(std::string what) {
    if (parts_.damage.size() < kMaxDamageLines) parts_.damage.push_back(std::move(what));
  }
  // From its beginning as far as memory is there without a gap: a segment's own numbers bound nothing.
  [[nodiscard]] AddressRange Readable(AddressRange range) const {
    Address end = range.begin;
    for (const target::Segment* s = process_.memory.Find(end); s != nullptr && end < range.end; s = process_.memory.Find(end)) end = s->range.end;
    return {range.begin, std::min(end, range.end)};
  }
  void ReadSegment(Address segment) {
    const AddressRange all = mimalloc_.SegmentRange(segment), range = Readable(all);
    parts_.arenas.push_back(range);
    const Address end = mimalloc_.VisitSpans(segment, [&](const snapshot::MiSpan& span) {
      if (span.in_use && span.memory.begin < range.end) ReadSpan(span, range.end);
    });
    if (end >= range.end) return;
    parts_.damaged.push_back({std::max(end, range.begin), range.end});
    Damaged(fmt::format("the pages of the segment at {:#x} cannot be followed behind {:#x}", segment, end));
  }
  void ReadSpan(const snapshot::MiSpan& span, Address end) {
    const AddressRange memory{span.memory.begin, std::min(span.memory.end, end)};
    const std::optional<snapshot::MiPage> page = mimalloc_.PageAt(span.page);
    const bool fits = page && page->tag < snapshot::kHeapCount && page->start >= memory.begin && page->start + page->capacity * page->block_size <= memory.end &&
                      (page->capacity <= 1 || memory.size() < kMaxPoolOfMany);
    if (!fits) {
      parts_.damaged.push_back(memory);
      return Damaged(fmt::format("the page at {:#x} makes no sense", span.page));
    }
    BlockPool pool;
    pool.memory = memory;
    pool.first = page->start;
    pool.block_bytes = page->block_size;
    pool.count = page->capacity;
    pool.slack = SlackOf(page->block_size);
    pool.use = page->tag == snapshot::kHeapMem ? BlockUse::kBuffers : page->tag >= snapshot::kHeapGc ? BlockUse::kCollected : BlockUse::kAny;
    pool.object_offset = object_offset_[page->tag];
    pool.first_bit = parts_.free.size() * 64;
    parts_.free.resize(parts_.free.size() + (pool.count + 63) / 64, 0);
    const auto heap = delayed_.find(page->heap);
    pool.in_use = pool.count;
    if (mimalloc_.FreeBlocks(*page, heap != delayed_.end() ? heap->second : none_, is_free_)) {
      MarkPending(pool);
      for (std::uint32_t i = 0; i < pool.count; ++i) {
        if (!is_free_[i]) continue;
        parts_.free[(pool.first_bit + i) >> 6] |= std::uint64_t{1} << ((pool.first_bit + i) & 63);
        --pool.in_use;
      }
    } else {
      pool.damaged = true;
      Damaged(fmt::format("a list of free blocks of the page at {:#x} leads out of its blocks or loops", span.page));
    }
    parts_.pools.push_back(pool);
  }
  // CPython: _PyMem_FreeDelayed(), Objects/obmalloc.c.
  void MarkPending(const BlockPool& pool) {
    const Address end = pool.first + pool.count * pool.block_bytes;
    for (auto at = std::lower_bound(pending_.begin(), pending_.end(), pool.first); at != pending_.end() && *at < end; ++at) {
      is_free_[(*at - pool.first) / pool.block_bytes] = true;
    }
  }

  const target::Process& process_;
  const cpython::Runtime& runtime_;
  snapshot::MimallocReader mimalloc_;
  std::vector<Address> pending_;  // sorted
  std::unordered_map<Address, std::unordered_set<Address>> delayed_;  // by heap: freed by other threads
  const std::unordered_set<Address> none_;
  std::uint32_t object_offset_[snapshot::kHeapCount] = {};  // by tag
  std::vector<bool> is_free_;
  BlockHeap::Parts parts_;
};

}  // namespace

BlockHeap ReadMimalloc(const target::Process& process, const cpython::Runtime& runtime, const Limits& limits) {
  if (!runtime.layout.Has(Struct::mi_page) || !runtime.layout.Has(Field::PyThreadStateImpl_mimalloc)) return {};
  return BlockHeap(MimallocPages(process, runtime, limits).Read());
}

}  // namespace pygc::audit
