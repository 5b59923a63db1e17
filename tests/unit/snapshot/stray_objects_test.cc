#include <doctest/doctest.h>

#include <string>

#include "core/snapshot/object_source.h"
#include "core/snapshot/stray_objects.h"
#include "tests/support/fake_process.h"

namespace pygc::snapshot::stray_objects_test {
namespace {

constexpr Address kHeap = 0x200000;  // PyGC_Heads of objects, 0x40 apart; a pool of 16 KiB begins here
constexpr Address kLost = 0x300000;  // was mapped, and is cut off
constexpr Address kStride = 0x40, kFirst = 0x30, kSomeType = 0x11000;
constexpr std::uint32_t kPoolBytes = 0x4000;

cpython::Layout PoolLayout() {
  using cpython::Constant;
  using cpython::Field;
  cpython::Layout layout;
  layout.Set(Constant::OBMALLOC_POOL_BYTES, kPoolBytes);
  layout.Set(Constant::OBMALLOC_ALIGNMENT, 16);
  layout.SetSize(cpython::Struct::pool_header, 48, cpython::Provenance::kTableExact);
  layout.SetSize(cpython::Struct::PyObject, 16, cpython::Provenance::kTableExact);
  const auto set = [&](Field f, std::uint32_t offset, std::uint32_t bytes) { layout.Set(f, {offset, bytes, cpython::Provenance::kTableExact}); };
  set(Field::PyObject_ob_refcnt, 0, 8);
  set(Field::PyObject_ob_type, 8, 8);
  set(Field::pool_header_ref_count, 0, 4);
  set(Field::pool_header_freeblock, 8, 8);
  set(Field::pool_header_szidx, 36, 4);
  set(Field::pool_header_nextoffset, 40, 4);
  return layout;
}

// Objects are numbers: object i has its PyGC_Head in block i of the one pool.
class Strays {
 public:
  // `cut`: bytes that the core has of the part that is lost.
  explicit Strays(std::uint64_t cut = 0) {
    runtime.layout = PoolLayout();
    runtime.gc_head.pointer_mask = ~3ull;
    runtime.gc_head.finalized_bit = 1;
    runtime.gc_head.collecting_bit = 2;
    fake.Map(kHeap, kPoolBytes);
    if (cut > 0) fake.Map(kLost, cut);
    fake.AddMissing({kLost + cut, kLost + 0x1000}, target::MissingReason::kTruncated);
    Pool(8, 0);
  }
  static Address Head(int i) { return kHeap + kFirst + static_cast<Address>(i) * kStride; }
  void Pool(std::uint32_t blocks, Address free, std::uint32_t free_blocks = 0) {
    fake.Write<std::uint32_t>(kHeap, blocks - free_blocks);
    fake.Write<std::uint64_t>(kHeap + 8, free);
    fake.Write<std::uint32_t>(kHeap + 36, kStride / 16 - 1);
    fake.Write<std::uint32_t>(kHeap + 40, static_cast<std::uint32_t>(kFirst + blocks * kStride));
  }
  void Object(int i, Address next, Address previous, std::uint64_t count = 1, Address type = kSomeType) {
    fake.WriteWords(Head(i), {next, previous, count, type});
  }
  // "1 2 5; 2 stretches" and what else was counted.
  std::string Text() {
    const target::Process process = fake.Build();
    FoundObjects found;
    found.index = heap::ObjectIndex(ObjectRanges(process, 4, false));
    SilentProgress progress;
    const GcObjectTest test = [&](Address a) -> std::optional<GcObjectBytes> {
      if (process.memory.ReadPointer(a + 8).value_or(0) != kSomeType) return std::nullopt;
      return GcObjectBytes{0, kStride - 16};
    };
    const Result<StrayCount> count = AddStrayObjects(process, runtime, test, progress, found);
    REQUIRE(count);
    std::string text;
    for (int i = 0; i < 8; ++i) {
      if (found.index.IsMarked(Head(i) + 16)) text += (text.empty() ? "" : " ") + std::to_string(i);
    }
    CHECK(found.objects == count->objects);
    std::uint64_t kept = 0;
    for (const ObjectList& list : found.lists) {
      for (const ListStretch& s : list.stretches) kept += s.count;
    }
    CHECK(kept == count->objects);
    text += "; " + std::to_string(count->stretches);
    if (count->closed > 0) text += ", closed " + std::to_string(count->closed);
    if (count->by_block > 0) text += ", by block " + std::to_string(count->by_block);
    return text;
  }

  test::FakeProcess fake;
  cpython::Runtime runtime;
};

TEST_CASE("objects are found by neighbours that lead back, however much of the list is missing") {
  Strays s;
  s.Object(0, Strays::Head(2), kLost);
  s.Object(2, Strays::Head(1), Strays::Head(0));
  s.Object(1, kLost + 0x100, Strays::Head(2));
  CHECK(s.Text() == "0 1 2; 1");
}

TEST_CASE("what no neighbour confirms is no tracked object") {
  Strays s;
  s.Object(0, Strays::Head(1), kLost);               // its neighbour leads elsewhere
  s.Object(1, Strays::Head(3), Strays::Head(2));     // so does this one's
  s.Object(4, Strays::Head(5), Strays::Head(5), 1, 0x12000);  // links that hold, and no type
  s.Object(5, Strays::Head(4), Strays::Head(4), 0);           // no reference to it
  CHECK(s.Text() == "; 0");
}

TEST_CASE("an object without neighbours is found by the block that it fills") {
  Strays s;
  s.Object(0, kLost + 0x10, kLost + 0x20);
  CHECK(s.Text() == "0; 1, by block 1");
  s.Pool(8, Strays::Head(0), 1);  // a free block: what is left of an object in it
  s.Object(0, 0, kLost);
  CHECK(s.Text() == "; 0");
}

TEST_CASE("a neighbour whose head the end of the core cuts through, at whatever byte, is lost like one behind the end") {
  constexpr std::uint64_t kHeads = 16 + 16;  // PyGC_Head, PyObject
  for (std::uint64_t cut = 0; cut <= kHeads; ++cut) {
    CAPTURE(cut);
    Strays s(cut);
    s.Object(0, kLost, kLost);
    CHECK(s.Text() == (cut < kHeads ? "0; 1, by block 1" : "; 0"));  // a whole one is there, and does not lead back
  }
}

TEST_CASE("a block speaks for nothing where its pool is not sound, or where memory that its object links to was never there") {
  Strays s;
  s.Object(0, kLost + 0x10, kLost + 0x20);
  s.Pool(8, 0, 1);  // counts a free block that is in no list
  CHECK(s.Text() == "; 0");
  s.Pool(8, 0);
  s.Object(0, 0x900000, 0x900040);
  CHECK(s.Text() == "; 0");
}

TEST_CASE("pointers in a block of the right size are no object") {
  Strays s;
  s.Object(0, kLost + 0x10, kLost + 0x20, kHeap + 0x7f0000000000);
  CHECK(s.Text() == "; 0");
}

TEST_CASE("a ring without a head closes") {
  Strays s;
  s.Object(0, Strays::Head(1), Strays::Head(1));
  s.Object(1, Strays::Head(0), Strays::Head(0));
  CHECK(s.Text() == "0 1; 1, closed 1");
}

TEST_CASE("while references are counted, two heads that bear the mark of it speak for each other") {
  Strays s;
  s.Object(0, Strays::Head(1), 7 << 2 | 2);
  s.Object(1, kLost, 3 << 2 | 2);
  s.Object(2, Strays::Head(1), 3 << 2);  // bears none
  CHECK(s.Text() == "0; 1");
}

TEST_CASE("the more memory there is, the more objects are found") {
  for (int first = 0; first < 8; ++first) {
    std::string before;
    for (int objects = 0; objects <= 8 - first; ++objects) {
      Strays s;
      for (int i = first; i < first + objects; ++i) s.Object(i, i + 1 < 8 ? Strays::Head(i + 1) : kLost, i > 0 ? Strays::Head(i - 1) : kLost);
      const std::string text = s.Text();
      CHECK(text.substr(0, text.find(';')).starts_with(before));
      before = text.substr(0, text.find(';'));
    }
  }
}

}  // namespace
}  // namespace pygc::snapshot::stray_objects_test
