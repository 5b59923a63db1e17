// mimalloc's heaps written by hand through a layout of each of its two generations, sound and damaged.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "core/cpython/uncounted_references.h"
#include "core/snapshot/object_source.h"
#include "tests/support/fake_mimalloc.h"

namespace pygc::snapshot {
namespace {

using cpython::Constant;
using cpython::Field;
using cpython::Struct;

constexpr std::uint8_t kTrackedBit = 1, kFrozenBit = 8;

using test::kThread;
using test::kInterpreter;
using test::kOther;
using test::kSegment;
using test::kSegmentBytes;
using test::kCookie;
using test::OnBothMimallocs;

// The objects of the heaps.
class FakeHeaps : public test::FakeMimalloc {
 public:
  using FakeMimalloc::FakeMimalloc;

  Result<FoundObjects> Find() {
    process = fake.Build();
    SilentProgress progress;
    return FindObjectsInHeaps(process, runtime, {}, [](Address) { return true; }, progress);
  }
};

TEST_CASE("objects are the tracked blocks in use, each heap with its own offset") {
  OnBothMimallocs([](std::string_view layout) {
    FakeHeaps heaps(layout);
    heaps.AddSegment();
    const Address gc = heaps.AddPage(kSegment, 1, 2, 8, heaps.Heap(2)), pre = heaps.AddPage(kSegment, 2, 3, 2, heaps.Heap(3));
    const Address other = heaps.AddPage(kSegment, 3, 1, 2, heaps.Heap(1));
    heaps.Set(heaps.Queue(2, 9), Field::mi_page_queue_first, heaps.PageAddress(kSegment, 1));
    heaps.Set(heaps.Queue(3, 9), Field::mi_page_queue_first, heaps.PageAddress(kSegment, 2));
    for (const std::uint64_t i : {0, 1, 2, 4, 5, 6, 7}) heaps.Bits(gc + i * 80, kTrackedBit);
    heaps.Bits(gc + 2 * 80, kTrackedBit | kFrozenBit);
    heaps.Bits(pre + 80 + 16, kTrackedBit);
    heaps.Bits(other, kTrackedBit);
    // 4 -> 5 freed, 6 freed by another thread (with its flag bits), 7 on the heap's own list: all with a mark that was left behind.
    heaps.fake.Write<std::uint64_t>(gc + 4 * 80, gc + 5 * 80);
    heaps.fake.Write<std::uint64_t>(gc + 5 * 80, 0);
    heaps.fake.Write<std::uint64_t>(gc + 6 * 80, 0);
    heaps.fake.Write<std::uint64_t>(gc + 7 * 80, 0);
    heaps.Set(heaps.PageAddress(kSegment, 1), Field::mi_page_free, gc + 4 * 80);
    heaps.Set(heaps.PageAddress(kSegment, 1), Field::mi_page_xthread_free, (gc + 6 * 80) | 2);
    heaps.Set(heaps.Heap(2), Field::mi_heap_thread_delayed_free, gc + 7 * 80);
    auto found = heaps.Find();
    REQUIRE(found);
    CHECK(found->coverage.lists_complete);
    CHECK(found->coverage.notes.empty());
    CHECK(found->objects == 4);
    for (const Address a : {gc, gc + 80, gc + 160, pre + 96}) CHECK(found->index.IsMarked(a));
    found->index.Seal();
    std::vector<std::uint8_t> flags(4), interpreter;
    FillHeapColumns(heaps.process.memory, heaps.Layout(), *found, flags, interpreter);
    CHECK(flags[found->index.Find(gc)] == (heap::kTracked | heap::kUngenerational));
    CHECK(flags[found->index.Find(gc + 160)] == (heap::kTracked | heap::kPermanent));
  });
}

TEST_CASE("segments of threads that ended are found, those of nobody are not") {
  OnBothMimallocs([](std::string_view layout) {
    FakeHeaps heaps(layout);
    heaps.AddSegment();
    heaps.AddPage(kSegment, 1, 2, 1, heaps.Heap(2));
    heaps.Set(heaps.Queue(2, 9), Field::mi_page_queue_first, heaps.PageAddress(kSegment, 1));
    const Address ended = kSegment + kSegmentBytes, nobody = ended + kSegmentBytes, stranger = nobody + kSegmentBytes;
    Address object = 0;
    for (const Address segment : {ended, nobody, stranger}) {
      heaps.AddSegment(segment, 0, segment == stranger ? kCookie + 1 : kCookie);
      const Address first = heaps.AddPage(segment, 1, 2, 1, 0);
      heaps.Bits(first, kTrackedBit);
      if (segment == ended) object = first;
    }
    if (heaps.Wide()) {
      heaps.Set(nobody, Field::mi_segment_subproc, kOther);
    } else {  // the low bits are a tag
      heaps.fake.Write<std::uint64_t>(kInterpreter + heaps.Layout().Offset(Field::PyInterpreterState_mimalloc) +
                                          heaps.Layout().Offset(Field::mimalloc_interp_state_abandoned_pool_abandoned),
                                      ended | 5);
    }
    const auto found = heaps.Find();
    REQUIRE(found);
    CHECK(found->coverage.lists_complete);
    CHECK(found->objects == 1);
    CHECK(found->index.IsMarked(object));
  });
}

TEST_CASE("a damaged heap ends, says so, and loses only what cannot be found another way") {
  OnBothMimallocs([](std::string_view layout) {
    const auto with = [&](auto damage) {
      FakeHeaps heaps(layout);
      heaps.AddSegment();
      const Address first = heaps.AddPage(kSegment, 1, 2, 4, heaps.Heap(2)), second = heaps.AddPage(kSegment, 2, 2, 4, heaps.Heap(2));
      heaps.Set(heaps.Queue(2, 9), Field::mi_page_queue_first, heaps.PageAddress(kSegment, 1));
      heaps.Set(heaps.PageAddress(kSegment, 1), Field::mi_page_next, heaps.PageAddress(kSegment, 2));
      for (std::uint64_t i = 0; i < 4; ++i) {
        heaps.Bits(first + i * 80, kTrackedBit);
        heaps.Bits(second + i * 80, kTrackedBit);
      }
      damage(heaps, first);
      auto found = heaps.Find();
      REQUIRE(found);
      CHECK_FALSE(found->coverage.lists_complete);
      CHECK_FALSE(found->coverage.notes.empty());
      return found->objects;
    };
    const auto page = [](const FakeHeaps& heaps) { return heaps.PageAddress(kSegment, 1); };
    CHECK(with([&](FakeHeaps& h, Address) { h.Set(page(h), Field::mi_page_next, page(h)); }) == 8);               // a loop
    CHECK(with([&](FakeHeaps& h, Address) { h.Set(page(h), Field::mi_page_next, page(h) + 8); }) == 8);           // between two pages
    CHECK(with([&](FakeHeaps& h, Address) { h.Set(page(h), Field::mi_page_next, 0x123456789); }) == 8);           // nowhere
    CHECK(with([&](FakeHeaps& h, Address) { h.Set(page(h), Field::mi_page_capacity, 0xFFFF); }) == 4);            // more blocks than fit
    CHECK(with([&](FakeHeaps& h, Address first) { h.Set(page(h), Field::mi_page_free, first + 8); }) == 8);       // inside a block
    CHECK(with([&](FakeHeaps& h, Address first) {                                                                 // a free list that loops
            h.fake.Write<std::uint64_t>(first, first + 80);
            h.fake.Write<std::uint64_t>(first + 80, first);
            h.Set(page(h), Field::mi_page_free, first);
          }) == 6);
    CHECK(with([&](FakeHeaps& h, Address) {  // the list of a heap loops
            h.fake.Write<std::uint64_t>(kOther, kOther);
            h.Set(h.Heap(2), Field::mi_heap_thread_delayed_free, kOther);
          }) == 8);
  });
}

TEST_CASE("no heap at all is an error") {
  FakeHeaps heaps("cpython-3.13.5-free-threaded-lp64");
  heaps.Set(heaps.Mimalloc(), Field::mimalloc_thread_state_initialized, 0);
  const auto found = heaps.Find();
  REQUIRE_FALSE(found);
  CHECK(found.error().code == ErrorCode::kCorrupt);
}

TEST_CASE("queued objects give back the reference of their queue") {
  FakeHeaps heaps("cpython-3.13.5-free-threaded-lp64");
  const Address chunk = kOther, older = kOther + 0x1000;
  heaps.Set(kThread, Field::PyThreadStateImpl_brc_objects_to_merge, chunk);
  heaps.Set(chunk, Field::PyObjectStackChunk_prev, older);
  heaps.Set(chunk, Field::PyObjectStackChunk_n, 2);
  heaps.fake.WriteWords(chunk + heaps.Layout().Offset(Field::PyObjectStackChunk_objs), {0x5000, 0x4000});
  heaps.Set(older, Field::PyObjectStackChunk_n, 1);
  heaps.fake.WriteWords(older + heaps.Layout().Offset(Field::PyObjectStackChunk_objs), {0x5000});
  const auto read = [&] { return cpython::ReadUncountedReferences(heaps.fake.Build(), heaps.runtime, {}); };
  const auto sound = read();
  REQUIRE(sound.changes.size() == 2);
  CHECK(sound.changes[0].object == 0x4000);
  CHECK(sound.changes[0].by == -1);
  CHECK(sound.changes[1].object == 0x5000);
  CHECK(sound.changes[1].by == -2);
  CHECK(sound.notes.empty());

  heaps.Set(older, Field::PyObjectStackChunk_prev, chunk);
  CHECK(read().notes.size() == 1);
  heaps.Set(older, Field::PyObjectStackChunk_n, 255);  // more than a chunk has
  CHECK(read().notes.size() == 1);
}

TEST_CASE("3.14t: delayed decrements, counts of a thread, deferred references of frames and of the C stack") {
  FakeHeaps heaps("cpython-3.14.10-free-threaded-lp64");
  const cpython::Layout& layout = heaps.Layout();
  const Address queue = kThread + layout.Offset(Field::PyThreadStateImpl_mem_free_queue), chunk = kOther;
  const Address everyones = kInterpreter + layout.Offset(Field::PyInterpreterState_mem_free_queue_head);
  heaps.fake.WriteWords(everyones, {everyones, everyones});
  heaps.fake.WriteWords(queue, {chunk, chunk});
  heaps.fake.WriteWords(chunk, {queue, queue});
  heaps.Set(chunk, Field::mem_work_chunk_rd_idx, 1);
  heaps.Set(chunk, Field::mem_work_chunk_wr_idx, 3);
  heaps.fake.WriteWords(chunk + layout.Offset(Field::mem_work_chunk_array), {0x1001, 0, 0x2001, 0, 0x3000, 0});  // done; a reference; raw memory
  const Address values = kOther + 0x2000, table = kOther + 0x3000, frame = kOther + 0x4000, entry = kOther + 0x5000, cref = kOther + 0x6000;
  heaps.Set(kThread, Field::PyThreadStateImpl_refcounts_values, values);
  heaps.Set(kThread, Field::PyThreadStateImpl_refcounts_size, 2);
  heaps.Set(kInterpreter, Field::PyInterpreterState_unique_ids_table, table);
  heaps.Set(kInterpreter, Field::PyInterpreterState_unique_ids_size, 8);
  heaps.fake.WriteWords(values, {7, ~std::uint64_t{1}, 99});  // the third is beyond the size
  heaps.fake.WriteWords(table, {0x4000, 0x5000, 0x6000});
  heaps.Set(kThread, Field::PyThreadState_current_frame, entry);
  heaps.Set(entry, Field::PyInterpreterFrame_owner, 3);
  heaps.Set(entry, Field::PyInterpreterFrame_f_executable, 0x7001);
  heaps.Set(entry, Field::PyInterpreterFrame_previous, frame);
  heaps.Set(frame, Field::PyInterpreterFrame_f_executable, 0x8001);
  heaps.Set(frame, Field::PyInterpreterFrame_f_funcobj, 0x9001);
  const Address locals = frame + layout.Offset(Field::PyInterpreterFrame_localsplus);
  heaps.fake.WriteWords(locals, {0xA001, 0xB000, 0x1, 0xC003, 0xA001, 0xD001});  // deferred, owned, NULL, an int, deferred; beyond the top
  heaps.Set(frame, Field::PyInterpreterFrame_stackpointer, locals + 5 * 8);
  heaps.Set(kThread, Field::PyThreadStateImpl_c_stack_refs, cref);
  heaps.Set(cref, Field::PyCStackRef_ref, 0xE001);

  const auto read = [&] { return cpython::ReadUncountedReferences(heaps.fake.Build(), heaps.runtime, {}); };
  const auto got = read();
  std::vector<std::pair<Address, std::int64_t>> changes;
  for (const cpython::CountChange& c : got.changes) changes.emplace_back(c.object, c.by);
  CHECK(changes == std::vector<std::pair<Address, std::int64_t>>{{0x2000, -1}, {0x4000, 7}, {0x5000, -2}, {0x8000, 1}, {0xA000, 2}, {0xE000, 1}});
  CHECK(got.notes.empty());
  CHECK_FALSE(got.all_deferred_held);

  heaps.Set(frame, Field::PyInterpreterFrame_stackpointer, 0);
  CHECK(read().all_deferred_held);
  heaps.Set(frame, Field::PyInterpreterFrame_stackpointer, ~std::uint64_t{0});
  CHECK(read().notes.size() == 1);
  heaps.Set(frame, Field::PyInterpreterFrame_previous, entry);
  CHECK(read().notes.size() == 2);
}

}  // namespace
}  // namespace pygc::snapshot
