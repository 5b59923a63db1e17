#include "core/snapshot/mimalloc_heap.h"

#include <algorithm>

#include "core/base/byte_reader.h"

namespace pygc::snapshot {
namespace {

using cpython::Constant;
using cpython::Field;
using cpython::Struct;

constexpr std::uint64_t kHugeBlock = 2ull << 30;  // MI_HUGE_BLOCK_SIZE: xblock_size of 2.1 holds no more
constexpr std::uint32_t kTagMask = 15;
constexpr std::uint64_t kMostSlices = std::uint64_t{1} << 31;  // more than there are addresses for

std::uint64_t RotateRight(std::uint64_t x, std::uint64_t by) noexcept {
  const unsigned n = by & 63;
  return n == 0 ? x : (x >> n) | (x << (64 - n));
}

}  // namespace

MimallocReader::MimallocReader(const target::MemoryImage& memory, const cpython::Layout& layout)
    : memory_(&memory),
      layout_(&layout),
      segment_bytes_(static_cast<std::uint64_t>(layout.Value(Constant::MI_SEGMENT_BYTES, 32 << 20))),
      slice_bytes_(static_cast<std::uint64_t>(layout.Value(Constant::MI_SLICE_BYTES, 64 << 10))),
      queues_(static_cast<std::uint32_t>(layout.Value(Constant::MI_QUEUES, 75))),
      page_bytes_(layout.Size(Struct::mi_page)),
      heap_bytes_(layout.Size(Struct::mi_heap)),
      queue_bytes_(layout.Size(Struct::mi_page_queue)),
      slices_offset_(layout.Offset(Field::mi_segment_slices)),
      pool_offset_{kAbsent, kAbsent},
      max_slices_(segment_bytes_ / slice_bytes_) {
  if (layout.Has(Field::mimalloc_interp_state_abandoned_pool_abandoned)) {
    const std::uint32_t pool = layout.Offset(Field::PyInterpreterState_mimalloc);
    pool_offset_[0] = pool + layout.Offset(Field::mimalloc_interp_state_abandoned_pool_abandoned);
    pool_offset_[1] = pool + layout.Offset(Field::mimalloc_interp_state_abandoned_pool_abandoned_visited);
  }
  std::uint64_t bytes = 0;
  for (const target::Segment& s : memory.segments()) bytes += s.range.size();
  max_delayed_ = bytes / slice_bytes_ + max_slices_;  // a page is on the list once: mi_page_try_use_delayed_free()
}

std::optional<std::uint64_t> MimallocReader::Get(Address base, Field field) const {
  const std::uint32_t width = layout_->Width(field);
  const Address at = base + layout_->Offset(field);
  const std::byte* const p = memory_->At(at, width);
  if (p == nullptr) return std::nullopt;
  switch (width) {
    case 1: return LoadUnchecked<std::uint8_t>(p);
    case 2: return LoadUnchecked<std::uint16_t>(p);
    case 4: return LoadUnchecked<std::uint32_t>(p);
    default: return LoadUnchecked<std::uint64_t>(p);
  }
}

std::optional<Address> MimallocReader::HeapOf(Address tstate, std::uint32_t tag) const {
  const Address mimalloc = tstate + layout_->Offset(Field::PyThreadStateImpl_mimalloc);
  const auto initialized = Get(mimalloc, Field::mimalloc_thread_state_initialized);
  if (!initialized || *initialized == 0) return std::nullopt;
  return mimalloc + layout_->Offset(Field::mimalloc_thread_state_heaps) + std::uint64_t{tag} * heap_bytes_;
}

// CPython: tstate_mimalloc_bind() sets debug_offset to where ob_type of an object in the heap is.
std::uint32_t MimallocReader::ObjectOffset(Address heap, std::uint32_t tag) const {
  const std::uint32_t pre_header = tag == kHeapGcPre ? static_cast<std::uint32_t>(layout_->Value(Constant::PREHEADER_BYTES, 16)) : 0;
  const auto to_type = Get(heap, Field::mi_heap_debug_offset);
  const auto debug = static_cast<std::uint32_t>(layout_->Value(Constant::DEBUG_ALLOC_HEADER_BYTES, 16));
  const std::uint32_t type_offset = layout_->Offset(Field::PyObject_ob_type);
  return to_type && *to_type == type_offset + pre_header + debug ? pre_header + debug : pre_header;
}

std::string MimallocReader::AbandonedSegments(Address interpreter, std::vector<Address>& out) const {
  if (!has_abandoned_pool()) return {};
  std::unordered_set<Address> seen(out.begin(), out.end());
  for (const std::uint32_t offset : pool_offset_) {
    const auto head = memory_->ReadPointer(interpreter + offset);
    Address segment = head ? SegmentOf(*head) : 0;  // low bits are a tag against ABA: mi_tagged_segment_ptr()
    if (!head) return fmt::format("the list of abandoned segments at {:#x} cannot be read", interpreter + offset);
    while (segment != 0) {
      if (!SegmentAt(segment)) return fmt::format("the list of abandoned segments leads to {:#x}, which is no segment", segment);
      if (!seen.insert(segment).second) return fmt::format("the list of abandoned segments loops at {:#x}", segment);
      out.push_back(segment);
      const auto next = Get(segment, Field::mi_segment_abandoned_next);
      if (!next) return fmt::format("the list of abandoned segments ends at {:#x}, which cannot be read", segment);
      segment = *next;
    }
  }
  return {};
}

Address MimallocReader::SubprocOf(Address interpreter) const {
  if (has_abandoned_pool() || !layout_->Has(Field::PyInterpreterState_mimalloc)) return 0;
  return memory_->ReadPointer(interpreter + layout_->Offset(Field::PyInterpreterState_mimalloc)).value_or(0);
}

std::optional<MiSegment> MimallocReader::SegmentAt(Address address) const {
  if (address == 0 || address != SegmentOf(address)) return std::nullopt;
  const auto kind = Get(address, Field::mi_segment_kind);
  const auto entries = Get(address, Field::mi_segment_slice_entries);
  const auto info = Get(address, Field::mi_segment_segment_info_slices);
  const auto slices = Get(address, Field::mi_segment_segment_slices);
  const auto used = Get(address, Field::mi_segment_used);
  const auto thread = Get(address, Field::mi_segment_thread_id);
  const auto cookie = Get(address, Field::mi_segment_cookie);
  if (!kind || !entries || !info || !slices || !used || !thread || !cookie) return std::nullopt;
  if (*kind > 1 || *entries == 0 || *entries > max_slices_ || *info == 0 || *info >= *entries || *slices < *entries) return std::nullopt;
  if (*used == 0 || *used > *entries) return std::nullopt;
  const Address subproc = layout_->Has(Field::mi_segment_subproc) ? Get(address, Field::mi_segment_subproc).value_or(0) : 0;
  // _mi_ptr_cookie(): the process's cookie, xor the segment's own address.
  return MiSegment{address, subproc, *cookie ^ address, *thread == 0};
}

AddressRange MimallocReader::SegmentRange(Address segment) const {
  const std::uint64_t slices = Get(segment, Field::mi_segment_segment_slices).value_or(0);
  return {segment, segment + std::min(slices, kMostSlices) * slice_bytes_};
}

std::optional<MiPage> MimallocReader::PageAt(Address address) const {
  const Address segment = SegmentOf(address);
  if (address < segment + slices_offset_ || (address - segment - slices_offset_) % page_bytes_ != 0) return std::nullopt;
  const std::uint64_t slice = (address - segment - slices_offset_) / page_bytes_;
  const auto entries = Get(segment, Field::mi_segment_slice_entries);
  const auto slices = Get(segment, Field::mi_segment_segment_slices);
  const auto count = Get(address, Field::mi_page_slice_count), offset = Get(address, Field::mi_page_slice_offset);
  if (!entries || !slices || !count || !offset || slice >= std::min<std::uint64_t>(*entries, max_slices_)) return std::nullopt;
  if (*count == 0 || *offset != 0 || slice + *count > *slices) return std::nullopt;
  const bool wide = layout_->Has(Field::mi_page_block_size);
  const auto block = Get(address, wide ? Field::mi_page_block_size : Field::mi_page_xblock_size);
  const auto capacity = Get(address, Field::mi_page_capacity), heap = Get(address, Field::mi_page_xheap);
  if (!block || !capacity || !heap || *block == 0) return std::nullopt;  // block size 0: a free span
  MiPage page;
  page.address = address;
  page.heap = *heap;
  page.capacity = static_cast<std::uint32_t>(*capacity);
  const Address area = segment + slice * slice_bytes_;
  if (wide) {
    page.start = Get(address, Field::mi_page_page_start).value_or(0);
    page.tag = static_cast<std::uint32_t>(Get(address, Field::mi_page_heap_tag).value_or(0));
  } else {
    // _mi_segment_page_start_from_slice(): small blocks do not begin at the page's start, against cache conflicts.
    page.start = area + (*block >= 8 && *block <= 64 ? 3 * *block : *block > 64 && *block <= 512 ? *block : 0);
    const auto bits = Get(address, Field::mi_page_is_committed).value_or(0);
    page.tag = static_cast<std::uint32_t>(bits >> layout_->Value(Constant::MI_PAGE_TAG_SHIFT, 3)) & kTagMask;
  }
  const std::uint64_t bytes = *count * slice_bytes_;
  if (page.start < area || page.start - area >= bytes) return std::nullopt;
  const std::uint64_t room = bytes - (page.start - area);
  page.block_size = !wide && *block >= kHugeBlock ? room : *block;
  if (page.block_size > room || page.capacity > room / page.block_size) return std::nullopt;
  return page;
}

bool MimallocReader::DelayedFree(Address heap, std::unordered_set<Address>& out) const {
  if (layout_->Has(Field::mi_page_keys)) return true;  // Py_DEBUG: the links are encoded with the heap's keys; a freed object is not tracked anyway
  auto block = Get(heap, Field::mi_heap_thread_delayed_free);
  while (block && *block != 0) {
    if (out.size() >= max_delayed_ || !out.insert(*block).second) return false;
    const auto next = memory_->ReadPointer(*block);
    if (!next) return false;
    block = *next;
  }
  return block.has_value();
}

// The blocks of one list. CPython: mi_block_nextx(), Objects/mimalloc/internal.h; encoded where the build has MI_DEBUG.
bool MimallocReader::FollowFree(const MiPage& page, Address head, std::uint64_t key0, std::uint64_t key1, std::vector<bool>& free) const {
  const bool encoded = layout_->Has(Field::mi_page_keys);
  Address block = head;
  while (block != 0) {
    const std::uint64_t offset = block - page.start;  // wraps for addresses below
    if (offset % page.block_size != 0 || offset / page.block_size >= page.capacity) return false;
    const std::uint64_t i = offset / page.block_size;
    if (free[i]) return false;  // a loop, or on two lists
    free[i] = true;
    const auto word = memory_->ReadPointer(block);
    if (!word) return false;
    block = encoded ? RotateRight(*word - key0, key0) ^ key1 : *word;
    if (encoded && block == page.address) block = 0;  // how NULL is encoded
  }
  return true;
}

bool MimallocReader::FreeBlocks(const MiPage& page, const std::unordered_set<Address>& delayed, std::vector<bool>& free) const {
  free.assign(page.capacity, false);
  const auto lists = {Get(page.address, Field::mi_page_free), Get(page.address, Field::mi_page_local_free), Get(page.address, Field::mi_page_xthread_free)};
  std::uint64_t key0 = 0, key1 = 0;
  if (layout_->Has(Field::mi_page_keys)) {
    const Address keys = page.address + layout_->Offset(Field::mi_page_keys);
    key0 = memory_->ReadPointer(keys).value_or(0);
    key1 = memory_->ReadPointer(keys + 8).value_or(0);
  }
  bool whole = true;
  for (const auto& head : lists) {
    // Two low bits of xthread_free say whether to put the next one on the heap's list.
    whole = head && FollowFree(page, *head & ~std::uint64_t{3}, key0, key1, free) && whole;
  }
  if (!delayed.empty()) {
    for (std::uint32_t i = 0; i < page.capacity; ++i) {
      if (delayed.contains(page.start + i * page.block_size)) free[i] = true;
    }
  }
  return whole;
}

std::uint64_t CookieOf(const MimallocReader& reader, const cpython::Runtime& runtime) {
  std::uint64_t cookie = 0;
  for (const cpython::Interpreter& interpreter : runtime.interpreters) {
    for (const cpython::PyThread& thread : interpreter.threads) {
      for (std::uint32_t tag = 0; tag < kHeapCount && cookie == 0; ++tag) {
        const std::optional<Address> heap = reader.HeapOf(thread.tstate, tag);
        if (!heap) continue;
        static_cast<void>(reader.VisitPages(*heap, [&](Address page) {
          const auto segment = reader.PageAt(page) ? reader.SegmentAt(page & ~(reader.segment_bytes() - 1)) : std::nullopt;
          if (segment) cookie = segment->cookie;
          return !segment;  // one is enough
        }));
      }
    }
  }
  return cookie;
}

std::vector<MiSegment> FindSegments(const target::Process& process, const MimallocReader& reader, std::uint64_t cookie) {
  std::vector<MiSegment> found;
  const Address step = reader.segment_bytes();
  for (const target::Segment& s : process.memory.segments()) {
    if (!s.writable || s.module != 0xFFFFFFFFu) continue;
    Address at = (s.range.begin + step - 1) & ~(step - 1);
    for (; at >= s.range.begin && at < s.range.end; at += step) {
      const std::optional<MiSegment> segment = reader.SegmentAt(at);
      if (segment && (cookie == 0 || segment->cookie == cookie)) found.push_back(*segment);
    }
  }
  return found;
}

}  // namespace pygc::snapshot
