// mimalloc's heaps written by hand through a layout of either of its generations.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <span>
#include <string_view>

#include "tests/support/fake_process.h"
#include "tests/unit/cpython/fake_python.h"

namespace pygc::test {

inline constexpr Address kThread = 0x10000000, kInterpreter = 0x11000000, kSubproc = 0x12000000, kOther = 0x13000000, kSegment = 0x40000000;
inline constexpr std::uint64_t kSegmentBytes = 32 << 20, kSlice = 64 << 10, kMappedSlices = 16;
inline constexpr std::uint64_t kCookie = 0xC00C1E;

/// One interpreter with one thread; segments and pages are added. Every page is one slice.
class FakeMimalloc {
 public:
  explicit FakeMimalloc(std::string_view layout) {
    runtime.layout = BuiltinLayout(layout);
    runtime.refcount = cpython::RefcountFormat::kBiased;
    runtime.interpreters.resize(1);
    runtime.interpreters[0].address = kInterpreter;
    runtime.interpreters[0].threads.resize(1);
    runtime.interpreters[0].threads[0].tstate = kThread;
    fake.Map(kThread, 0x10000).Map(kInterpreter, 0x100000).Map(kSubproc, 0x1000).Map(kOther, 0x10000);
    Set(Mimalloc(), cpython::Field::mimalloc_thread_state_initialized, 1);
    for (const std::uint32_t tag : {2u, 3u}) {
      Set(Heap(tag), cpython::Field::mi_heap_tag, tag);
      Set(Heap(tag), cpython::Field::mi_heap_debug_offset, tag == 3 ? 40 : 24);
    }
    if (Wide()) fake.Write<std::uint64_t>(kInterpreter + Layout().Offset(cpython::Field::PyInterpreterState_mimalloc), kSubproc);
  }
  [[nodiscard]] const cpython::Layout& Layout() const { return runtime.layout; }
  [[nodiscard]] bool Wide() const { return Layout().Has(cpython::Field::mi_page_block_size); }  // mimalloc 2.5

  void Set(Address structure, cpython::Field f, std::uint64_t value) {
    REQUIRE(Layout().Has(f));
    fake.WriteBytes(structure + Layout().Offset(f), std::as_bytes(std::span<const std::uint64_t, 1>(&value, 1)).first(std::min(Layout().Width(f), 8u)));
  }
  [[nodiscard]] Address Mimalloc() const { return kThread + Layout().Offset(cpython::Field::PyThreadStateImpl_mimalloc); }
  [[nodiscard]] Address Heap(std::uint32_t tag) const {
    return Mimalloc() + Layout().Offset(cpython::Field::mimalloc_thread_state_heaps) + std::uint64_t{tag} * Layout().Size(cpython::Struct::mi_heap);
  }
  [[nodiscard]] Address Queue(std::uint32_t tag, std::uint32_t q) const {
    return Heap(tag) + Layout().Offset(cpython::Field::mi_heap_pages) + std::uint64_t{q} * Layout().Size(cpython::Struct::mi_page_queue);
  }

  void AddSegment(Address segment = kSegment, std::uint64_t thread = 77, std::uint64_t cookie = kCookie) {
    fake.Map(segment, kMappedSlices * kSlice);
    Set(segment, cpython::Field::mi_segment_slice_entries, 512);
    Set(segment, cpython::Field::mi_segment_segment_slices, 512);
    Set(segment, cpython::Field::mi_segment_segment_info_slices, 1);
    Set(segment, cpython::Field::mi_segment_used, 1);
    Set(segment, cpython::Field::mi_segment_thread_id, thread);
    Set(segment, cpython::Field::mi_segment_cookie, segment ^ cookie);
    if (Wide()) Set(segment, cpython::Field::mi_segment_subproc, kSubproc);
    for (std::uint64_t i = 1; i < 512; ++i) {
      Set(PageAddress(segment, i), cpython::Field::mi_page_slice_count, 1);
    }
  }
  [[nodiscard]] Address PageAddress(Address segment, std::uint64_t slice) const {
    return segment + Layout().Offset(cpython::Field::mi_segment_slices) + slice * Layout().Size(cpython::Struct::mi_page);
  }
  /// A page of blocks of 80 bytes. Returns where its first block is.
  Address AddPage(Address segment, std::uint64_t slice, std::uint32_t tag, std::uint32_t capacity, Address heap) {
    const Address page = PageAddress(segment, slice), area = segment + slice * kSlice;
    Set(page, cpython::Field::mi_page_capacity, capacity);
    Set(page, cpython::Field::mi_page_xheap, heap);
    if (Wide()) {
      Set(page, cpython::Field::mi_page_block_size, 80);
      Set(page, cpython::Field::mi_page_page_start, area + 160);
      Set(page, cpython::Field::mi_page_heap_tag, tag);
      return area + 160;
    }
    Set(page, cpython::Field::mi_page_xblock_size, 80);
    Set(page, cpython::Field::mi_page_is_committed, 1u | tag << 3);
    return area + 80;  // blocks above 64 and up to 512 bytes: one block's size into the page
  }
  void Bits(Address object, std::uint8_t bits) { fake.Write<std::uint8_t>(object + Layout().Offset(cpython::Field::PyObject_ob_gc_bits), bits); }

  FakeProcess fake;
  cpython::Runtime runtime;
  target::Process process;
};

template <typename F>
void OnBothMimallocs(F body) {
  for (const std::string_view name : {"cpython-3.13.5-free-threaded-lp64", "cpython-3.14.10-free-threaded-lp64"}) {
    CAPTURE(name);
    body(name);
  }
}

}  // namespace pygc::test
