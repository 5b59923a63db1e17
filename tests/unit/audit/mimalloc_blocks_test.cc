// Segments and pages of mimalloc written into memory by hand: which blocks are in use, which are free, and what damage does to that.
#include "core/audit/mimalloc_blocks.h"

#include <doctest/doctest.h>

#include "tests/support/fake_mimalloc.h"

namespace pygc::audit {
namespace {

using cpython::Field;
using test::kInterpreter;
using test::kSegment;
using test::kSlice;
using test::OnBothMimallocs;

/// One segment with a page of eight objects and one of two buffers.
struct Heaps : test::FakeMimalloc {
  explicit Heaps(std::string_view layout) : FakeMimalloc(layout) {
    AddSegment();
    objects = AddPage(kSegment, 2, 2, 8, Heap(2));
    buffers = AddPage(kSegment, 3, 0, 2, Heap(0));
    Set(Queue(2, 9), Field::mi_page_queue_first, PageAddress(kSegment, 2));
  }
  BlockHeap Read() {
    process = fake.Build();
    return ReadBlocks(process, runtime, Limits());
  }
  Address objects = 0, buffers = 0;
};

TEST_CASE("blocks of mimalloc: in use, on either list of free ones, given back by another thread, waiting to be freed") {
  OnBothMimallocs([](std::string_view layout) {
    Heaps heaps(layout);
    heaps.fake.Write<std::uint64_t>(heaps.objects + 80, 0);
    heaps.Set(heaps.PageAddress(kSegment, 2), Field::mi_page_free, heaps.objects + 80);
    heaps.Set(heaps.PageAddress(kSegment, 2), Field::mi_page_local_free, heaps.objects + 3 * 80);
    heaps.Set(heaps.PageAddress(kSegment, 2), Field::mi_page_xthread_free, (heaps.objects + 4 * 80) | 2);
    heaps.Set(heaps.Heap(2), Field::mi_heap_thread_delayed_free, heaps.objects + 5 * 80);
    const Address chunk = test::kOther, head = kInterpreter + heaps.Layout().Offset(Field::PyInterpreterState_mem_free_queue_head);
    heaps.fake.Write<std::uint64_t>(head, chunk).Write<std::uint64_t>(chunk, head);
    heaps.Set(chunk, Field::mem_work_chunk_wr_idx, 1);
    heaps.fake.Write<std::uint64_t>(chunk + heaps.Layout().Offset(Field::mem_work_chunk_array), heaps.buffers + 80);
    const BlockHeap blocks = heaps.Read();
    REQUIRE(blocks.pools().size() == 2);
    CHECK(std::string(blocks.allocator()) == "mimalloc");
    CHECK(blocks.damage().empty());
    CHECK(blocks.blocks_in_use() == 5);
    for (const std::uint64_t i : {0, 2, 6, 7}) CHECK(blocks.BlockAt(heaps.objects + i * 80 + 17)->in_use);
    for (const std::uint64_t i : {1, 3, 4, 5}) {
      CHECK_FALSE(blocks.BlockAt(heaps.objects + i * 80)->in_use);
      CHECK(blocks.IsFree(heaps.objects + i * 80));
    }
    CHECK(blocks.BlockAt(heaps.buffers)->in_use);
    CHECK_FALSE(blocks.BlockAt(heaps.buffers + 80)->in_use);
    CHECK(blocks.IsFree(kSegment));                     // its head
    CHECK(blocks.IsFree(kSegment + 4 * kSlice));        // a slice of no page
    CHECK(blocks.IsFree(heaps.objects + 8 * 80));       // never handed out
    CHECK_FALSE(blocks.IsFree(kSegment - 1));
    for (const BlockPool& pool : blocks.pools()) {
      CHECK(pool.use == (pool.first == heaps.objects ? BlockUse::kCollected : BlockUse::kBuffers));
      CHECK(pool.slack == 15);
    }
    std::uint64_t unused = 0;
    blocks.ForEachUnused([&](AddressRange r) { unused += r.size(); });
    CHECK(unused == test::kMappedSlices * kSlice - 5 * 80);
  });
}

TEST_CASE("where a list of free blocks or a slice makes no sense, nothing there is called free") {
  OnBothMimallocs([](std::string_view layout) {
    Heaps heaps(layout);
    heaps.Set(heaps.PageAddress(kSegment, 2), Field::mi_page_free, heaps.objects + 8);
    const BlockHeap loose = heaps.Read();
    CHECK(loose.damage().size() == 1);
    CHECK(loose.blocks_in_use() == 10);
    CHECK_FALSE(loose.IsFree(heaps.objects + 80));
    heaps.Set(heaps.PageAddress(kSegment, 2), Field::mi_page_free, 0);
    heaps.Set(heaps.PageAddress(kSegment, 3), Field::mi_page_slice_count, 0);
    const BlockHeap cut = heaps.Read();
    CHECK(cut.damage().size() == 1);
    CHECK(cut.pools().size() == 1);
    CHECK_FALSE(cut.IsFree(heaps.buffers));
    CHECK_FALSE(cut.IsFree(kSegment + 9 * kSlice));
    heaps.Set(heaps.PageAddress(kSegment, 3), Field::mi_page_slice_count, 1);
    heaps.Set(heaps.PageAddress(kSegment, 3), Field::mi_page_capacity, 0xFFFF);
    const BlockHeap full = heaps.Read();
    CHECK(full.pools().size() == 1);
    CHECK_FALSE(full.IsFree(heaps.buffers));
    CHECK(full.IsFree(kSegment + 9 * kSlice));
  });
}

}  // namespace
}  // namespace pygc::audit
