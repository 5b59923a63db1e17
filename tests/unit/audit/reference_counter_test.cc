// From bytes to the verdict on counts, on every built-in layout: a heap with known references, its counts set by hand.
#include "core/audit/reference_counter.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "core/analysis/lost_structures.h"
#include "core/analysis/refcount_audit.h"
#include "core/audit/left_out_memory.h"
#include "core/audit/left_threads.h"
#include "core/audit/running_frames.h"
#include "core/audit/unnamed_statics.h"
#include "core/snapshot/snapshot_builder.h"
#include "tests/support/python_heap.h"

namespace pygc::audit::reference_counter_test {
namespace {

using analysis::CountFindingKind;
using cpython::Field;
using test::PythonHeap;

constexpr Address kInterpreter = 0x6b0000000000, kNative = 0x6c0000000000, kBrk = 0x610000000000, kLibc = 0x6f0000000000, kArena = kLibc + 0x100;
constexpr std::uint64_t kBrkBytes = 0x8000;

/// A brk heap of glibc's malloc, all chunks in use, and its arena in the data of a library.
struct Malloc {
  explicit Malloc(PythonHeap& python) : fake(python.fake()) {
    const std::uint32_t libc = fake.AddModule("/lib/libc.so.6", {{kLibc, kLibc + 0x2000}});
    fake.Map(kBrk, kBrkBytes).Map(kLibc, 0x2000, "rw-", libc);
    static_cast<void>(Chunk());
  }
  /// The memory of a new chunk.
  Address Chunk(std::uint64_t bytes = 0x40) {
    fake.Write<std::uint64_t>(next + 8, bytes | 1);
    next += bytes;
    return next - bytes + 16;
  }
  /// To be called when all chunks are there.
  void Close() {
    fake.Write<std::uint64_t>(next + 8, (kBrk + kBrkBytes - next) | 1);
    fake.Write<std::uint64_t>(kArena + 96, next);
    for (std::uint64_t bin = 0; bin < 127; ++bin) fake.WriteWords(kArena + 112 + bin * 16, {kArena + 112 + bin * 16 - 16, kArena + 112 + bin * 16 - 16});
  }
  test::FakeProcess& fake;
  Address next = kBrk;
};

void SetRefcount(PythonHeap& python, Address object, std::uint32_t count) {
  python.fake().Write<std::uint32_t>(object + python.layout().Offset(Field::PyObject_ob_refcnt), count);
}

struct Audited {
  /// `freed`: its address lies in a free list of the interpreter, where the layout has these.
  explicit Audited(PythonHeap& python, Address freed = 0)
      : runtime(WithInterpreter(python, freed)),
        process(python.Build()),
        reader(process, runtime, Limits()),
        ownership(reader, nullptr),
        roots(ReadInterpreterRoots(process, runtime)),
        blocks(ReadBlocks(process, runtime, Limits())),
        chunks(process) {
    SilentProgress progress;
    snapshot::SnapshotOptions options;
    options.with_leaves = true;
    options.ownership = &ownership;
    for (const RootReference& r : roots.references) options.roots.push_back(r.referent);
    auto built = snapshot::BuildSnapshot(reader, options, progress);
    REQUIRE(built);
    heap = *std::move(built);
    const AuditInput input{reader, ownership, roots, blocks, chunks, heap};
    auto counted = CountReferences(input, Limits(), progress);
    REQUIRE(counted);
    audit = *std::move(counted);
    judged = analysis::JudgeCounts(heap, audit);
  }
  // The heap's own interpreter is a few words; here is room for all of its members, all NULL.
  static cpython::Runtime WithInterpreter(PythonHeap& python, Address freed) {
    cpython::Runtime r = python.runtime();
    python.fake().Map(kInterpreter, 0x100000);
    if (freed != 0 && r.layout.Has(Field::PyInterpreterState_freelists)) {
      python.fake().Write<std::uint64_t>(kInterpreter + r.layout.Offset(Field::PyInterpreterState_freelists) + 64, freed);
    }
    r.interpreters[0].address = kInterpreter;
    r.interpreters[0].threads.clear();
    r.runtime_address = 0;
    r.module_index = 0;  // PythonHeap adds it first
    return r;
  }
  [[nodiscard]] std::uint32_t Known(Address a) const { return audit.known[heap.index.Find(a)]; }
  [[nodiscard]] std::uint32_t Possible(Address a) const { return audit.possible[heap.index.Find(a)]; }
  [[nodiscard]] std::string Verdict(Address a) const {
    for (const analysis::CountFinding& f : judged.findings) {
      if (f.object != heap::kNoNode && heap.AddressOf(f.object) == a) return f.kind == CountFindingKind::kDeficit ? "deficit" : f.kind == CountFindingKind::kSurplus ? "surplus" : "lost";
    }
    return "";
  }

  // What hangs on a lost object; empty where it is none.
  [[nodiscard]] std::vector<Address> HangsOn(Address head) const {
    std::vector<Address> held;
    for (const analysis::LostStructure& s : analysis::FindLostStructures(audit, judged)) {
      if (s.kind != CountFindingKind::kLost || heap.AddressOf(audit.lost.items[s.head].object) != head) continue;
      for (const std::uint32_t i : s.held) held.push_back(heap.AddressOf(audit.lost.items[i].object));
    }
    return held;
  }

  cpython::Runtime runtime;
  target::Process process;
  objects::ObjectReader reader;
  objects::Ownership ownership;
  InterpreterRoots roots;
  BlockHeap blocks;
  MallocHeap chunks;
  heap::HeapSnapshot heap;
  heap::ReferenceAudit audit;
  analysis::CountAudit judged;
};

template <typename F>
void OnEveryLayout(F body) {
  for (const cpython::Layout* layout : test::DefaultLayouts()) {
    CAPTURE(layout->name);
    PythonHeap python(*layout);
    body(python);
  }
}

TEST_CASE("a count that is one too low, one too high, and one that native memory explains") {
  OnEveryLayout([](PythonHeap& python) {
    const Address low = python.List({}), high = python.List({}), held = python.List({}), right = python.List({});
    const Address owner = python.List({low, low, high, held, right});
    for (const Address a : {low, high, held, right, owner}) python.Track(a);
    python.fake().Map(kNative, 0x1000);
    python.fake().Write<std::uint64_t>(kNative + 0x100, held);
    python.fake().Write<std::uint64_t>(kNative + 0x200, owner);
    SetRefcount(python, low, 1);
    SetRefcount(python, high, 2);
    SetRefcount(python, held, 2);
    SetRefcount(python, right, 1);
    SetRefcount(python, owner, 1);
    const Audited a(python);
    CHECK(a.Known(low) == 2);
    CHECK(a.Verdict(low) == "deficit");
    CHECK(a.Verdict(high) == "surplus");
    CHECK(a.Verdict(held).empty());
    CHECK(a.Possible(held) == 1);
    CHECK(a.Verdict(right).empty());
    CHECK(a.Verdict(owner).empty());
  });
}

TEST_CASE("a word between two stacks of one mapping is on neither") {
  PythonHeap python(*test::DefaultLayouts().front());
  const Address held = python.List({}), owner = python.List({held});
  for (const Address a : {held, owner}) python.Track(a);
  constexpr Address kFirst = kNative, kBetween = kNative + 0x4000, kSecond = kNative + 0x8000, kControl = 0x3000;
  python.fake().Map(kNative, 0xc000);
  for (const Address stack : {kSecond, kFirst}) {
    python.fake().WriteWords(stack + kControl + 0x690, {stack, 0x4000});
    python.fake().AddThread(stack == kFirst ? 1 : 2, stack + 0x1000, 0, stack + kControl);
  }
  const Address slots[] = {kFirst + 0x1800, kBetween + 0x2f0, kSecond + 0x1800};
  for (const Address slot : slots) python.fake().Write<std::uint64_t>(slot, held);
  SetRefcount(python, held, 4);
  const Audited a(python);
  const heap::NodeId wanted[] = {a.heap.index.Find(held)};
  SilentProgress progress;
  const auto found = FindPossibleHolders({a.reader, a.ownership, a.roots, a.blocks, a.chunks, a.heap}, wanted, 10, Limits(), progress);
  REQUIRE(found.at(0).size() == 3);
  CHECK(found[0][0].place == "stack of thread 1");
  CHECK(found[0][1].place == fmt::format("memory at {:#x}", slots[1]));
  CHECK(found[0][1].kind == heap::RootKind::kNative);
  CHECK(found[0][2].place == "stack of thread 2");
}

TEST_CASE("what was freed and is still referred to is a deficit; what it referred to itself counts no more") {
  OnEveryLayout([](PythonHeap& python) {
    const Address inner = python.List({}), freed = python.List({inner}), gone = python.Str("gone"), right = python.List({});
    const Address owner = python.List({freed, gone, right});
    for (const Address a : {inner, right, owner}) python.Track(a);
    python.fake().Map(kNative, 0x1000);
    python.fake().Write<std::uint64_t>(kNative + 0x200, owner);
    python.fake().Write<std::uint64_t>(kNative + 0x208, inner);
    SetRefcount(python, inner, 1);
    SetRefcount(python, freed, 0);
    SetRefcount(python, right, 1);
    SetRefcount(python, owner, 1);
    python.fake().Write<std::uint64_t>(gone + python.layout().Offset(Field::PyObject_ob_type), kNative + 0x800);  // overwritten: no type is there
    const Audited a(python);
    CHECK(a.Verdict(freed) == "deficit");
    CHECK(a.Verdict(inner).empty());
    CHECK(a.Verdict(right).empty());
    REQUIRE(a.judged.findings.size() == 2);
    const analysis::CountFinding& of_gone = a.judged.findings.back();
    CHECK(of_gone.object == heap::kNoNode);
    CHECK(of_gone.address == gone);
    CHECK(of_gone.freed);
    REQUIRE(a.audit.dangling.size() == 1);
    CHECK(a.heap.AddressOf(a.audit.dangling[0].holder) == owner);
    CHECK(a.audit.dangling[0].place == "[1]");
    // The same where memory is missing: then the object, or what says that its block is free, may be a part of that.
    heap::ReferenceAudit partial = a.audit;
    partial.memory_lost = true;
    const analysis::CountAudit doubtful = analysis::JudgeCounts(a.heap, partial);
    CHECK(doubtful.findings.empty());
    CHECK(doubtful.unverified == a.judged.unverified + 1);
  });
}

TEST_CASE("an object to which nothing refers is lost; what is stale beyond the end of a buffer in use holds nothing") {
  OnEveryLayout([](PythonHeap& python) {
    const Address lost = python.List({}), kept = python.Tuple({python.Str("x"), lost});
    python.fake().Write<std::int64_t>(kept + python.layout().Offset(Field::PyVarObject_ob_size), 1);
    for (const Address a : {lost, kept}) python.Track(a);
    SetRefcount(python, lost, 1);
    const Audited a(python);
    CHECK(a.Known(lost) == 0);
    CHECK((a.Verdict(lost) == "lost") == (a.Possible(lost) == 0));  // the tuple's block is not known here, so its last place may count
  });
}

TEST_CASE("keys of a dict and names of a class are counted though no traversal visits them") {
  OnEveryLayout([](PythonHeap& python) {
    const Address key = python.Str("some_key"), value = python.List({});
    const Address dict = python.Dict({{key, value}});
    for (const Address a : {dict, value}) python.Track(a);
    python.fake().Map(kNative, 0x1000);
    python.fake().Write<std::uint64_t>(kNative, dict);
    SetRefcount(python, key, 1);
    SetRefcount(python, value, 1);
    SetRefcount(python, dict, 1);
    const Audited a(python);
    CHECK(a.Known(key) == 1);
    CHECK(a.Verdict(key).empty());
    CHECK(a.Verdict(value).empty());
  });
}

TEST_CASE("items of a struct sequence behind ob_size are held by it though tuple's traversal does not show them") {
  OnEveryLayout([](PythonHeap& python) {
    const cpython::Layout& l = python.layout();
    const Address tuple = python.Builtin("tuple"), type = python.ExtensionType("posix.stat_result", l.Size(cpython::Struct::PyTupleObject), tuple);
    for (const Field f : {Field::PyTypeObject_tp_traverse, Field::PyTypeObject_tp_flags, Field::PyTypeObject_tp_itemsize}) python.Put(type, f, python.Get(tuple, f));
    python.Put(type, Field::PyTypeObject_tp_dealloc, python.Function("structseq_dealloc"));
    python.Put(type, Field::PyTypeObject_tp_dict, python.Dict({{python.Str("n_sequence_fields"), python.Int(1)}, {python.Str("n_fields"), python.Int(3)}}));
    const Address shown = python.List({}), hidden = python.List({}), object = python.Object(type, l.Size(cpython::Struct::PyTupleObject) + 3 * 8, 1);
    const Address plain = python.Object(tuple, l.Size(cpython::Struct::PyTupleObject) + 2 * 8, 1), behind = python.List({});
    const std::uint32_t items = l.Offset(Field::PyTupleObject_ob_item);
    python.fake().WriteWords(object + items, {shown, 0, hidden});
    python.fake().WriteWords(plain + items, {shown, behind});
    const Address owner = python.List({object, plain});
    for (const Address a : {shown, hidden, object, plain, behind, owner}) python.Track(a);
    SetRefcount(python, shown, 2);
    SetRefcount(python, hidden, 1);
    const Audited a(python);
    CHECK(a.Known(shown) == 2);
    CHECK(a.Known(hidden) == 1);
    CHECK(a.Verdict(hidden).empty());
    CHECK(a.Known(behind) == 0);  // a tuple has no such items
  });
}

TEST_CASE("a module's definition that was allocated has a count of 1 that nobody holds, and no more [3.x]") {
  OnEveryLayout([](PythonHeap& python) {
    if (python.layout().version.major < 3) return;
    const Address type = python.Builtin("moduledef");
    python.Put(type, Field::PyTypeObject_tp_basicsize, 104);
    const Address held = python.Object(type, 104), leaked = python.Object(type, 104);
    const Address list = python.List({held, leaked});
    python.Track(list);
    python.fake().Map(kNative, 0x1000);
    python.fake().Write<std::uint64_t>(kNative + 0x200, list);
    SetRefcount(python, held, 2);
    SetRefcount(python, leaked, 3);
    const Audited a(python);
    CHECK(a.Known(held) == 1);
    CHECK(a.Possible(held) == 1);
    CHECK(a.Verdict(held).empty());
    CHECK(a.Verdict(leaked) == "surplus");
  });
}

TEST_CASE("an instance owns its class once, visited or not") {
  OnEveryLayout([](PythonHeap& python) {
    const Address cls = python.Class("m", "C", {.slots = {"a"}});
    const Address one = python.Instance(cls), two = python.Instance(cls), list = python.List({one, two});
    for (const Address a : {one, two, list}) python.Track(a);
    SetRefcount(python, cls, 1);
    const Audited a(python);
    CHECK(a.Known(cls) == 3);  // and its own __mro__
    CHECK(a.Verdict(cls) == "deficit");
  });
}

TEST_CASE("memory that is searched: registers and tagged words count as possible references, dead stack does not") {
  OnEveryLayout([](PythonHeap& python) {
    const Address live = python.List({}), dead = python.List({}), in_register = python.List({});
    for (const Address a : {live, dead, in_register}) {
      python.Track(a);
      SetRefcount(python, a, 1);
    }
    python.fake().Map(kNative, 0x10000);
    python.fake().Write<std::uint64_t>(kNative + 0x8000, live | 1);
    for (Address page = 0; page < 0x4000; page += 0x1000) python.fake().Write<std::uint64_t>(kNative + page + 0x200, 1);  // all of it was in use once
    python.fake().Write<std::uint64_t>(kNative + 0x100, dead);
    python.fake().AddThread(1, kNative + 0x4000, in_register);
    const Audited a(python);
    CHECK(a.Possible(live) == 1);
    CHECK(a.Possible(dead) == 0);
    CHECK(a.Verdict(dead) == "lost");
    CHECK(a.Possible(in_register) == 1);
  });
}

TEST_CASE("a pointer with tags in its upper bits holds an object as it holds native memory: a boxed value") {
  OnEveryLayout([](PythonHeap& python) {
    const Address boxed = python.List({}), left = python.List({});
    for (const Address a : {boxed, left}) {
      python.Track(a);
      SetRefcount(python, a, 1);
    }
    python.fake().Map(kNative, 0x1000);
    python.fake().Write<std::uint64_t>(kNative + 0x100, boxed | Address{0xfffa} << 48);
    const Audited a(python);
    CHECK(a.Possible(boxed) == 1);
    CHECK(a.Verdict(boxed).empty());
    CHECK(a.Verdict(left) == "lost");
  });
}

TEST_CASE("a reference in a packed structure, where no word begins, holds an object where nothing else does") {
  OnEveryLayout([](PythonHeap& python) {
    const Address in_list = python.List({}), packed = python.List({in_list}), left = python.List({});
    for (const Address a : {in_list, packed, left}) {
      python.Track(a);
      SetRefcount(python, a, 1);
    }
    python.fake().Map(kNative, 0x1000);
    python.fake().Write<std::uint64_t>(kNative + 0x101, packed);
    const Audited a(python);
    CHECK(a.Possible(packed) == 1);
    CHECK(a.Verdict(packed).empty());
    CHECK(a.Verdict(in_list).empty());
    CHECK(a.Verdict(left) == "lost");
  });
}

TEST_CASE("where a thread's stack is missing nothing is called lost: it may be held there") {
  OnEveryLayout([](PythonHeap& python) {
    const Address object = python.List({});
    python.Track(object);
    SetRefcount(python, object, 1);
    python.fake().AddThread(1, kNative + 0x4000);
    python.fake().AddMissing({kNative, kNative + 0x10000}, target::MissingReason::kUnreadable);
    const Audited a(python);
    CHECK(a.Verdict(object).empty());
    CHECK(a.audit.surplus_doubts.size() == 1);
    CHECK(!a.audit.memory_lost);  // the heap is there: freed memory can be told
  });
}

TEST_CASE("what lies below a page of a stack that was never written to is no stack, unless that is known: it may be in use") {
  for (const bool is_known : {false, true}) {
    CAPTURE(is_known);
    OnEveryLayout([&](PythonHeap& python) {
      const Address dead = python.List({}), below = python.List({});
      for (const Address a : {dead, below}) {
        python.Track(a);
        SetRefcount(python, a, 1);
      }
      python.fake().Map(kNative, 0x10000);  // in one segment: other memory, a guard page of zeroes, the stack; or a stack with a page that a function had no use for
      python.fake().Write<std::uint64_t>(kNative + 0x1100, below);
      python.fake().Write<std::uint64_t>(kNative + 0x3100, dead);
      python.fake().AddThread(1, kNative + 0x4000);
      if (is_known) python.fake().base.initial_stack = kNative + 0xff00;
      const Audited a(python);
      CHECK(a.Possible(below) == (is_known ? 0 : 1));
      CHECK(a.Verdict(below) == (is_known ? "lost" : ""));
      CHECK(a.Verdict(dead) == "lost");
    });
  }
}

TEST_CASE("a thread's stack of frames that the image lacks is told where nothing else tells of it") {
  OnEveryLayout([](PythonHeap& python) {
    cpython::Runtime r = Audited::WithInterpreter(python, 0);
    const cpython::Layout& layout = r.layout;
    const Address tstate = kNative, newest = kNative + 0x100000, older = kNative + 0x200000;
    r.interpreters[0].threads.push_back({tstate, 0, std::nullopt});
    python.fake().Map(kNative, 0x2000);
    const auto absent = [&] { return FindAbsentFrames(python.fake().Build(), r); };
    CHECK(absent().empty());
    if (!layout.Has(Field::PyThreadState_datastack_chunk)) return;
    const auto put = [&](Address base, Field field, std::uint64_t word) { python.fake().Write<std::uint64_t>(base + layout.Offset(field), word); };
    put(tstate, Field::PyThreadState_datastack_chunk, newest);
    put(tstate, Field::PyThreadState_datastack_limit, newest + 0x8000);
    REQUIRE(absent().size() == 1);
    CHECK(absent()[0] == AddressRange{newest, newest + 0x8000});
    python.fake().Map(newest, 0x1000);
    put(newest, Field::PyStackChunk_previous, older);
    REQUIRE(absent().size() == 2);  // what is left of the newest, and of the older one as much as each has at the least
    CHECK(absent()[0] == AddressRange{newest + 0x1000, newest + 0x8000});
    CHECK(absent()[1] == AddressRange{older, older + 0x4000});
    python.fake().Map(older, 0x10000);
    put(older, Field::PyStackChunk_previous, newest);  // damaged: a ring
    put(older, Field::PyStackChunk_size, 0x10000);
    python.fake().base.missing_ranges.push_back({absent()[0], target::MissingReason::kNotDumped, 0xFFFFFFFFu, target::MissingUse::kUnknown, true});
    CHECK(absent().empty());
    put(tstate, Field::PyThreadState_datastack_limit, newest - 8);
    CHECK(absent().empty());
  });
}

TEST_CASE("where memory was left out that something leads to nothing is called lost") {
  OnEveryLayout([](PythonHeap& python) {
    const Address object = python.List({});
    python.Track(object);
    SetRefcount(python, object, 1);
    const Address left_out = kNative + 0x100000;
    python.fake().base.missing_ranges.push_back({{left_out, left_out + 0x10000}, target::MissingReason::kNotDumped, 0xFFFFFFFFu, target::MissingUse::kUnknown, true});
    python.fake().Map(kNative, 0x2000);
    python.fake().Write<std::uint64_t>(kNative + 0x10, left_out + 0x100);  // what glibc keeps of the states of getrandom(): nothing else in this page
    {
      test::FakeProcess before = python.fake();
      const auto may_refer = [&] { return LeftOutMemoryMayRefer(before.Build()); };
      CHECK(!may_refer());
      // A page that lists them all, and a thread that has one: a pointer of something else to the end of them says nothing.
      for (std::uint64_t i = 0; i < 8; ++i) before.Write<std::uint64_t>(kNative + 0x10 + i * 8, 0);
      for (std::uint64_t i = 0; i < 8; ++i) before.Write<std::uint64_t>(kNative + i * 8, left_out + i * 0xc0);
      before.Map(kNative + 0x10000, 0x2000);
      before.WriteWords(kNative + 0x11000, {left_out + 0xfffc, 1});
      CHECK(may_refer());
      before.Map(kNative + 0x20000, 0x2000).AddThread(7, kNative + 0x20100, 0, kNative + 0x20800);
      before.Write<std::uint64_t>(kNative + 0x20800 + 0x58, left_out + 5 * 0xc0);
      CHECK(!may_refer());
      before.Write<std::uint64_t>(kNative + 3 * 8, left_out + 0x123);  // not of one size
      CHECK(may_refer());
    }
    {
      // A module's data was written to, whatever leads there.
      test::FakeProcess data;
      data.AddModule("/usr/lib/libpython.so", {{kInterpreter, kInterpreter + 0x2000}});
      data.Map(kInterpreter, 0x1000, "rw-", 0);
      data.base.missing_ranges.push_back({{kInterpreter + 0x1000, kInterpreter + 0x2000}, target::MissingReason::kNotDumped, 0, target::MissingUse::kUnknown, false});
      CHECK_FALSE(LeftOutMemoryMayRefer(data.Build()));  // its code
      data.base.missing_ranges[0].writable = true;
      CHECK(LeftOutMemoryMayRefer(data.Build()));
    }
    python.fake().Write<std::uint64_t>(kNative + 0x18, 1);
    const Audited a(python);
    CHECK(a.Verdict(object).empty());
    CHECK(a.audit.surplus_doubts.size() == 1);
  });
}

TEST_CASE("native blocks hold what they point to only where something real leads to them") {
  OnEveryLayout([](PythonHeap& python) {
    if (python.layout().flavor.trace_refs) return;
    Malloc heap(python);
    const Address held = python.List({}), leaked = python.List({}), alone = python.List({}), owner = python.List({leaked});
    for (const Address a : {held, leaked, alone, owner}) {
      python.Track(a);
      SetRefcount(python, a, 1);
    }
    SetRefcount(python, leaked, 2);
    python.fake().Map(kNative, 0x1000);
    // Static data -> chunk -> chunk, by a pointer to its middle -> list. And two chunks that nobody leads to, one of which leads to the other.
    const Address first = heap.Chunk(), second = heap.Chunk(), lost = heap.Chunk(), lost_too = heap.Chunk();
    heap.Close();
    python.fake().Write<std::uint64_t>(kLibc + 0x1800, first);
    python.fake().Write<std::uint64_t>(first + 8, second + 24);
    python.fake().Write<std::uint64_t>(second, held);
    python.fake().Write<std::uint64_t>(lost, leaked);
    python.fake().Write<std::uint64_t>(lost + 16, lost_too);
    python.fake().Write<std::uint64_t>(lost_too + 8, alone);
    python.fake().Write<std::uint64_t>(kNative, owner);
    const Audited a(python);
    CHECK(a.audit.native_doubts.empty());
    CHECK(a.audit.native_blocks == 5);  // the first chunk of the heap, and four
    CHECK(a.audit.native_unreached == 3);
    CHECK(a.Possible(held) == 1);
    CHECK(a.Verdict(held).empty());
    CHECK(a.Verdict(owner).empty());
    CHECK(a.Verdict(leaked) == "surplus");
    CHECK(a.Verdict(alone) == "lost");
  });
}

TEST_CASE("a char* to the content of a bytes object holds it, and one to the middle only of a short one") {
  OnEveryLayout([](PythonHeap& python) {
    if (python.layout().flavor.trace_refs) return;
    Malloc heap(python);
    const std::uint64_t content = python.layout().Offset(Field::PyBytesObject_ob_sval);
    const auto bytes = [&](std::int64_t length) {
      const Address a = python.Object(python.Builtin(python.layout().Has(Field::PyBytesObject_ob_sstate) ? "str" : "bytes"), content + static_cast<std::uint64_t>(length) + 1, length);
      SetRefcount(python, a, 2);
      return a;
    };
    const Address brief = bytes(300), text = bytes(9000), stale = bytes(9000);
    const Address list = python.List({brief, text, stale});
    python.Track(list);
    SetRefcount(python, list, 1);
    heap.Close();
    python.fake().WriteWords(kLibc + 0x1800, {brief + 200, text + content, stale + 6000, list});
    const Audited a(python);
    CHECK(a.Verdict(brief).empty());
    CHECK(a.Verdict(text).empty());
    CHECK(a.Verdict(stale) == "surplus");
  });
}

TEST_CASE("what lies in free lists and in the memory of a syntax tree is no reference") {
  OnEveryLayout([](PythonHeap& python) {
    if (python.layout().flavor.trace_refs) return;
    Malloc heap(python);
    const Address object = python.List({});
    python.Track(object);
    SetRefcount(python, object, 1);
    const Address tree = heap.Chunk(0x2040), other = heap.Chunk(0x2040);
    heap.Close();
    for (const Address block : {tree, other}) {  // {ab_size, ab_offset, ab_next, ab_mem}
      python.fake().WriteWords(block, {0x2000, 0x100, 0, block + (block == tree ? 32 : 40)});
      python.fake().Write<std::uint64_t>(block + 0x80, object);
      python.fake().Write<std::uint64_t>(kLibc + 0x1800 + (block == tree ? 0 : 8), block);
    }
    const Audited a(python, object);
    CHECK(a.Possible(object) == 1);  // of `other`
    CHECK(a.Verdict(object).empty());
  });
}

TEST_CASE("what lies behind the entries of the dynamic linker's table of mappings is no reference") {
  for (const bool is_table : {true, false}) {
    CAPTURE(is_table);
    OnEveryLayout([&](PythonHeap& python) {
      if (python.layout().flavor.trace_refs) return;
      Malloc heap(python);
      const Address object = python.List({});
      python.Track(object);
      SetRefcount(python, object, 1);
      const Address block = heap.Chunk(0x200), table = block + 64;
      heap.Close();
      python.fake().WriteWords(table, {0, block, 2, 8});
      python.fake().WriteWords(table + 32, {kLibc, kLibc + 0x1000, block, kLibc + 0x800, kLibc + (is_table ? 0x1000 : 0xff0), kLibc + 0x2000, block, 0});
      python.fake().Write<std::uint64_t>(block + 8, object);
      python.fake().Write<std::uint64_t>(table + 96 + 8, object);
      python.fake().Write<std::uint64_t>(kLibc + 0x1800, block);
      const Audited a(python);
      CHECK(a.Possible(object) == (is_table ? 0 : 2));
      CHECK(a.Verdict(object) == (is_table ? "lost" : ""));
    });
  }
}

TEST_CASE("the memory that libstdc++ keeps for exceptions holds nothing while all of it is free") {
  for (const bool is_free : {true, false}) {
    CAPTURE(is_free);
    OnEveryLayout([&](PythonHeap& python) {
      if (python.layout().flavor.trace_refs) return;
      Malloc heap(python);
      const Address object = python.List({});
      python.Track(object);
      SetRefcount(python, object, 1);
      const Address pool = heap.Chunk(0x2010);
      heap.Close();
      const std::uint32_t library = python.fake().AddModule("/lib/libstdc++.so.6.0.30", {{kNative, kNative + 0x1000}});
      python.fake().Map(kNative, 0x1000, "rw-", library);
      python.fake().WriteWords(kNative + 0x2e8, {pool, pool, 0x2000});
      python.fake().WriteWords(pool, {0x2000, is_free ? 0 : pool + 0x1000});
      python.fake().Write<std::uint64_t>(pool + 0x800, object);
      const Audited a(python);
      CHECK(a.Possible(object) == (is_free ? 0 : 1));
      CHECK(a.Verdict(object) == (is_free ? "lost" : ""));
    });
  }
}

TEST_CASE("what lies behind a module's state in its block was there before it; a module without any has a block, too [3.x]") {
  OnEveryLayout([](PythonHeap& python) {
    if (python.layout().flavor.trace_refs || !python.layout().Has(Field::PyModuleObject_md_state)) return;
    Malloc heap(python);
    const Address of_state = python.List({}), behind = python.List({}), behind_none = python.List({});
    for (const Address a : {of_state, behind, behind_none}) {
      python.Track(a);
      SetRefcount(python, a, 1);
    }
    const Address state = heap.Chunk(), none = heap.Chunk();
    heap.Close();
    python.fake().Map(kNative, 0x1000);
    for (const Address block : {state, none}) {
      const Address module = python.Module(block == state ? "some" : "without", python.Dict({}));
      const Address definition = kNative + (block == state ? 0 : 0x200);
      python.Put(module, Field::PyModuleObject_md_state, block);
      if (python.layout().Has(Field::PyModuleObject_md_state_size)) {
        python.Put(module, Field::PyModuleObject_md_state_size, block == state ? 16 : 0);
      } else {
        python.Put(module, Field::PyModuleObject_md_def, definition);
        python.Put(definition, Field::PyModuleDef_m_size, block == state ? 16 : 0);
      }
      python.Track(module);
    }
    python.fake().WriteWords(state, {0, of_state, behind});
    python.fake().WriteWords(none, {0, 0, behind_none});
    const Audited a(python);
    CHECK(a.Possible(of_state) == 1);
    CHECK(a.Verdict(of_state).empty());
    CHECK(a.Verdict(behind) == "lost");
    CHECK(a.Verdict(behind_none) == "lost");
  });
}

TEST_CASE("a pointer to the middle of an object of C code holds it with what it refers to, where something leads to the pointer") {
  for (const bool is_held : {true, false}) {
    CAPTURE(is_held);
    OnEveryLayout([&](PythonHeap& python) {
      if (python.layout().flavor.trace_refs) return;
      Malloc heap(python);
      const Address type = python.ExtensionType("lib.watcher", 96), watcher = python.Object(type, 96), list = python.List({watcher});
      python.Track(list);
      SetRefcount(python, watcher, 2);  // the list, and the library that has its inner structure
      SetRefcount(python, list, 1);
      python.fake().Write<std::uint64_t>(watcher + 80, list);
      const Address block = heap.Chunk();
      heap.Close();
      python.fake().Write<std::uint64_t>(block + 8, watcher + 40);
      if (is_held) python.fake().Write<std::uint64_t>(kLibc + 0x1800, block);
      const Audited a(python);
      CHECK(a.Verdict(watcher) == (is_held ? "" : "lost"));
      CHECK(a.audit.lost.items.empty() == is_held);
    });
  }
}

TEST_CASE("a pointer to the middle of a stream of zlib's holds nothing; one to the middle of another object does") {
  OnEveryLayout([&](PythonHeap& python) {
    if (python.layout().flavor.trace_refs) return;
    Malloc heap(python);
    const Address stream_type = python.ExtensionType("zlib.Compress", 96), watcher_type = python.ExtensionType("lib.watcher", 96);
    const Address stream = python.Object(stream_type, 96), state = heap.Chunk();
    const Address derived = python.Object(python.ExtensionType("lib.Compress", 96, stream_type), 96);
    std::vector<Address> items{stream};
    for (int i = 0; i < 2; ++i) items.push_back(python.Object(watcher_type, 96));
    items.push_back(derived);
    for (const Address a : items) SetRefcount(python, a, 2);  // the list, and one more
    python.fake().Write<std::uint64_t>(stream + 80, state);
    python.fake().Write<std::uint64_t>(state + 8, stream + 40);
    const Address list = python.List(items);
    python.Track(list);
    SetRefcount(python, list, 1);
    heap.Close();
    python.fake().WriteWords(kLibc + 0x1800, {list, items[1] + 40, derived + 40});
    const Audited a(python);
    CHECK(a.Verdict(stream) == "surplus");
    CHECK(a.Verdict(derived) == "surplus");
    CHECK(a.Verdict(items[1]).empty());
    CHECK(a.Verdict(items[2]) == "surplus");
  });
}

TEST_CASE("a structure in the middle of an object that leads to the same one of another holds that: an intrusive list") {
  for (const std::string name : {"lib.watcher", "_asyncio.Task", "_ctypes._CData"}) {
    CAPTURE(name);
    OnEveryLayout([&](PythonHeap& python) {
      if (python.layout().flavor.trace_refs) return;
      Malloc heap(python);
      const Address type = python.ExtensionType(name, 96), other_type = python.ExtensionType("lib.other", 96);
      std::vector<Address> items;
      for (int i = 0; i < 5; ++i) items.push_back(python.Object(type, 96));
      items.push_back(python.Object(other_type, 96));
      for (const Address a : items) SetRefcount(python, a, 2);  // the list, and one more
      const auto link = [&](int from, int to, std::uint64_t place) { python.fake().Write<std::uint64_t>(items[static_cast<std::size_t>(from)] + 72, items[static_cast<std::size_t>(to)] + place); };
      link(0, 1, 64);
      link(1, 2, 64);
      link(2, 2, 64);  // to itself
      link(5, 3, 64);  // from an object of another type
      link(4, 4, 8);
      const Address list = python.List(items);
      python.Track(list);
      SetRefcount(python, list, 1);
      heap.Close();
      python.fake().WriteWords(kLibc + 0x1800, {list, items[0] + 64});
      const Audited a(python);
      const std::string linked = name == "lib.watcher" ? "" : "surplus";
      for (std::size_t i = 0; i < items.size(); ++i) {
        CAPTURE(i);
        CHECK(a.Verdict(items[i]) == (i < 3 ? linked : "surplus"));
      }
    });
  }
}

TEST_CASE("static variables and members that all instances have make a count add up; a word of other memory, and one variable too many, do not") {
  OnEveryLayout([](PythonHeap& python) {
    if (python.layout().flavor.trace_refs) return;
    Malloc heap(python);
    const Address is_static = python.List({}), twice = python.List({}), in_block = python.List({}), borrowed = python.List({}), chance = python.List({});
    const Address type = python.ExtensionType("lib.view", 64), few = python.ExtensionType("lib.rare", 64);
    std::vector<Address> items{is_static, twice, in_block, borrowed, chance};
    std::vector<Address> members;
    for (int i = 0; i < 4; ++i) {
      const Address view = python.Object(type, 64), member = python.List({});
      python.fake().WriteWords(view + 48, {i == 3 ? 0 : member, i == 0 ? 17 : member});  // the second member is sometimes a number
      for (const Address a : {view, member}) items.push_back(a);
      members.push_back(member);
    }
    const Address rare = python.Object(few, 64);
    python.fake().Write<std::uint64_t>(rare + 48, chance);
    items.push_back(rare);
    const Address owner = python.List(items);
    for (const Address a : items) SetRefcount(python, a, 1);
    for (const Address a : {is_static, in_block, chance, members[0], members[3], borrowed}) SetRefcount(python, a, 2);
    SetRefcount(python, twice, 3);
    for (const Address a : {is_static, twice, in_block, borrowed, chance, members[0], members[3], owner}) python.Track(a);
    const Address block = heap.Chunk();
    heap.Close();
    python.fake().Write<std::uint64_t>(block + 8, in_block);
    python.fake().WriteWords(kLibc + 0x1800, {is_static, twice, twice, block, borrowed, borrowed, owner});
    SetRefcount(python, owner, 1);
    const Audited a(python);
    const auto in_variables = [&](Address object) {
      const heap::NodeId n = a.heap.index.Find(object);
      const auto at = std::find_if(a.audit.in_variables.begin(), a.audit.in_variables.end(), [n](const auto& v) { return v.first == n; });
      return at == a.audit.in_variables.end() ? 0u : at->second;
    };
    CHECK(in_variables(is_static) == 1);
    CHECK(in_variables(twice) == 2);
    CHECK(in_variables(in_block) == 0);
    CHECK(in_variables(borrowed) == 2);   // one more than it lacks
    CHECK(in_variables(chance) == 0);     // of one instance
    CHECK(in_variables(members[0]) == 1);
    CHECK(in_variables(members[3]) == 0);  // the other member is no member of references
    CHECK(in_variables(owner) == 1);
    CHECK(a.judged.in_variables == 4);     // is_static, twice, members[0], owner
    CHECK(a.judged.findings.empty());
  });
}

TEST_CASE("what variables hold or what is lost holds what it refers to: a tuple that the collector does not track") {
  OnEveryLayout([](PythonHeap& python) {
    const cpython::Layout& l = python.layout();
    if (l.flavor.trace_refs || l.Has(Field::PyGC_Head_gc_refs)) return;
    Malloc heap(python);
    const Address held = python.List({}), wrong = python.List({}), owner = python.List({held, wrong, python.Tuple({})});
    for (const Address a : {held, wrong, owner}) {
      python.Track(a);
      SetRefcount(python, a, a == owner ? 1 : 2);
    }
    const std::uint64_t gc_head = l.Has(cpython::Struct::PyGC_Head) ? l.Size(cpython::Struct::PyGC_Head) : 0;
    const auto tuple = [&](std::uint32_t count, Address item) {
      const Address a = heap.Chunk((gc_head + l.Offset(Field::PyTupleObject_ob_item) + 8 + 8 + 15) / 16 * 16) + gc_head;
      python.Put(a, Field::PyObject_ob_refcnt, count);
      python.Put(a, Field::PyObject_ob_type, python.Builtin("tuple"));
      python.fake().Write<std::uint64_t>(a + l.Size(cpython::Struct::PyObject), 1);
      python.fake().Write<std::uint64_t>(a + l.Offset(Field::PyTupleObject_ob_item), item);
      return a;
    };
    const Address constant = tuple(1, held), two = tuple(2, wrong);  // of the second, one reference is found
    heap.Close();
    python.fake().WriteWords(kLibc + 0x1800, {constant, two, owner});
    const Audited a(python);
    CHECK(a.judged.findings.empty());
    REQUIRE(a.audit.unreached.size() == 2);
    CHECK(a.judged.in_variables == 2);  // held, owner
  });
}

TEST_CASE("the list of an object's weak references holds none of them, nor does a function of Cython's hold itself") {
  OnEveryLayout([](PythonHeap& python) {
    const Address type = python.ExtensionType("lib.weak", 64), cython = python.ExtensionType("_cython_3.cython_function_or_method", 96);
    python.Put(type, Field::PyTypeObject_tp_weaklistoffset, 48);
    const Address damaged = python.ExtensionType("lib.damaged", 64);
    python.Put(damaged, Field::PyTypeObject_tp_weaklistoffset, 0x7ffffffffffffffe);
    const Address weak = python.Object(type, 64), first = python.List({}), other = python.List({}), function = python.Object(cython, 96), owner = python.List({weak, first, other, function, python.Object(damaged, 64)});
    const std::uint32_t head = python.layout().Size(cpython::Struct::PyObject);
    python.fake().WriteWords(weak + 48, {first, other});
    python.fake().Write<std::uint64_t>(function + head + 8, function);
    for (const Address a : {first, other, owner}) python.Track(a);
    for (const Address a : {first, other, function}) SetRefcount(python, a, 2);
    SetRefcount(python, weak, 1);
    SetRefcount(python, owner, 1);
    python.fake().Map(kNative, 0x1000);
    python.fake().Write<std::uint64_t>(kNative + 0x200, owner);
    const Audited a(python);
    CHECK(a.Verdict(first) == "surplus");  // stands for a weak reference
    CHECK(a.Verdict(other).empty());
    CHECK(a.Verdict(function) == "surplus");
  });
}

TEST_CASE("of a running frame's stack what lies behind every pointer of its thread into it was popped [<= 3.10]") {
  OnEveryLayout([](PythonHeap& python) {
    const cpython::Layout& l = python.layout();
    if (!l.Has(Field::PyThreadState_frame)) return;
    constexpr Address kState = kNative, kStack = kNative + 0x10000, kControl = 0x5000;
    const Address code = python.Object(python.Builtin("code"), l.Size(cpython::Struct::PyCodeObject));
    python.Put(code, Field::PyCodeObject_co_stacksize, 8);
    const Address frame = python.Object(python.Builtin("frame"), l.Size(cpython::Struct::PyFrameObject) + 80, 10);
    const Address values = frame + l.Offset(Field::PyFrameObject_f_localsplus) + 16;
    python.Put(frame, Field::PyFrameObject_f_code, code);
    python.Put(frame, Field::PyFrameObject_f_valuestack, values);
    python.fake().Map(kState, 0x1000).Map(kStack, 0x10000);
    python.Put(kState, Field::PyThreadState_frame, frame);
    const auto ends = [&] {
      cpython::Runtime runtime = python.runtime();
      runtime.interpreters[0].threads = {{kState, kControl, std::nullopt}};
      const target::Process process = python.Build();
      const objects::ObjectReader reader(process, runtime, Limits());
      return StackEndsOfRunningFrames(reader, Limits());
    };
    python.fake().AddThread(1, kStack + 0x8000, 0, kControl);
    python.fake().WriteWords(kStack + 0x8100, {values + 8, values + 24, values + 72});  // the last one points behind the stack
    CHECK(ends().empty());  // nobody knows that it is the thread's own stack
    python.fake().base.initial_stack = kStack + 0xff00;
    CHECK(ends() == std::vector<std::pair<Address, Address>>{{frame, values + 32}});
    python.fake().Write<std::uint64_t>(kStack + 0x9000, values + 64);
    CHECK(ends() == std::vector<std::pair<Address, Address>>{{frame, values + 72}});
    python.fake().AddThread(2, kState + 0x800);  // on memory that says nothing of itself
    CHECK(ends().empty());
  });
}

TEST_CASE("what no pointer leads to of a value stack is unused: all above a height that is known, and of a running frame with room for its call's arguments [3.11-3.13]") {
  OnEveryLayout([](PythonHeap& python) {
    const cpython::Layout& l = python.layout();
    if (!l.Has(Field::PyInterpreterFrame_stacktop)) return;
    constexpr Address kState = kNative, kStack = kNative + 0x10000, kControl = 0x5000, kVariables = 2, kSlots = 12;
    python.fake().Map(kState, 0x4000).Map(kStack, 0x10000);
    const Address code = python.Object(python.Builtin("code"), l.Size(cpython::Struct::PyCodeObject) + 64, 32);
    python.Put(code, Field::PyCodeObject_co_stacksize, kSlots);
    python.Put(code, Field::PyCodeObject_co_nlocalsplus, kVariables);
    const Address instruction = code + l.Offset(Field::PyCodeObject_co_code_adaptive) + 4;
    python.fake().Write<std::uint8_t>(instruction + 1, 1);  // the argument of a call
    const Address frame = kState + 0x1000, caller = kState + 0x2000;
    for (const Address f : {frame, caller}) {
      python.Put(f, Field::PyInterpreterFrame_f_executable, code);
      python.Put(f, l.Has(Field::PyInterpreterFrame_instr_ptr) ? Field::PyInterpreterFrame_instr_ptr : Field::PyInterpreterFrame_prev_instr, instruction);
    }
    python.Put(frame, Field::PyInterpreterFrame_previous, caller);
    python.Put(frame, Field::PyInterpreterFrame_stacktop, 0xFFFFFFFFu);
    python.Put(caller, Field::PyInterpreterFrame_stacktop, kVariables + 3);
    if (l.Has(Field::PyThreadState_current_frame)) {
      python.Put(kState, Field::PyThreadState_current_frame, frame);
    } else {
      python.Put(kState, Field::PyThreadState_cframe, kState + 0x3000);
      python.Put(kState + 0x3000, Field::PyCFrame_current_frame, frame);
    }
    const auto values = [&](Address f) { return f + l.Offset(Field::PyInterpreterFrame_localsplus) + kVariables * 8; };
    const auto unused = [&] {
      cpython::Runtime runtime = python.runtime();
      runtime.interpreters[0].threads = {{kState, kControl, std::nullopt}};
      const target::Process process = python.Build();
      const objects::ObjectReader reader(process, runtime, Limits());
      return UnusedStackSlots(reader, Limits());
    };
    const AddressRange of_caller{values(caller) + 3 * 8, values(caller) + kSlots * 8};
    python.fake().AddThread(1, kStack + 0x8000, 0, kControl);
    CHECK(unused().empty());  // nobody knows that it is the thread's own stack
    python.fake().base.initial_stack = kStack + 0xff00;
    CHECK(unused() == std::vector<AddressRange>{of_caller});  // no pointer, so nothing is known of the frame that runs
    python.fake().WriteWords(kStack + 0x8100, {values(frame) + 8, values(frame) + 24, values(frame) + kSlots * 8 + 8});  // the last one leads behind the stack
    CHECK(unused() == std::vector<AddressRange>{of_caller, {values(frame) + 24 + 3 * 8, values(frame) + kSlots * 8}});
    python.fake().Write<std::uint8_t>(instruction + 1, 7);
    CHECK(unused() == std::vector<AddressRange>{of_caller});
    python.fake().AddThread(2, kState + 0x800);  // on memory that says nothing of itself
    CHECK(unused().empty());
  });
}

TEST_CASE("without symbols, a name beside its own text is held by the interpreter") {
  constexpr Address kData = 0x6d0000000000;
  OnEveryLayout([](PythonHeap& python) {
    if (python.layout().flavor.free_threaded || !python.layout().Has(Field::wrapperbase_name_strobj)) return;
    const Address named = python.Str("__some_slot__"), other = python.Str("__other_slot__");
    const std::uint32_t python_module = python.fake().AddModule("/usr/bin/python", {{kData, kData + 0x1000}});
    python.fake().Map(kData, 0x1000, "rw-", python_module);
    constexpr std::string_view kText = "__some_slot__";
    for (std::size_t i = 0; i < kText.size(); ++i) python.fake().Write<char>(kData + 0x800 + i, kText[i]);
    const std::uint32_t text = python.layout().Offset(Field::wrapperbase_name), name = python.layout().Offset(Field::wrapperbase_name_strobj);
    for (const auto& [at, object] : {std::pair{kData + 0x100, named}, {kData + 0x200, other}}) {
      python.fake().Write<std::uint64_t>(at + text, kData + 0x800);
      python.fake().Write<std::uint64_t>(at + name, object);
    }
    cpython::Runtime runtime = python.runtime();
    runtime.module_index = python_module;
    const target::Process process = python.Build();
    const UnnamedStatics found = FindUnnamedStatics(process, runtime);
    REQUIRE(found.owned.size() == 1);
    CHECK(found.owned[0].slot == kData + 0x100 + name);
    CHECK(found.type_cache.empty());
    CHECK(found.free_lists.empty());
  });
}

TEST_CASE("without symbols, a free list ends where its objects end; taken ones stand behind those of lists alone") {
  constexpr Address kFreeTuples = 0x680000, kFreeLists = 0x680100;  // data of the interpreter
  OnEveryLayout([](PythonHeap& python) {
    if (python.layout().flavor.free_threaded || python.layout().flavor.trace_refs || !python.layout().Has(Field::wrapperbase_name_strobj)) return;
    const Address variable = python.Dict({});
    SetRefcount(python, variable, 1);
    const auto freed = [&](Address object) {
      SetRefcount(python, object, 0);
      return object;
    };
    python.fake().WriteWords(kFreeTuples, {freed(python.Tuple({})), freed(python.Tuple({})), variable});
    python.fake().WriteWords(kFreeLists, {freed(python.List({})), freed(python.List({})), variable});
    cpython::Runtime runtime = python.runtime();
    const target::Process process = python.Build();
    runtime.module_index = static_cast<std::uint32_t>(process.FindModule(kFreeTuples) - process.modules.data());
    const UnnamedStatics found = FindUnnamedStatics(process, runtime);
    REQUIRE(found.free_lists.size() == 2);
    CHECK(found.free_lists[0] == AddressRange{kFreeTuples, kFreeTuples + 16});
    CHECK(found.free_lists[1] == AddressRange{kFreeLists, kFreeLists + 24});
  });
}

void Intern(PythonHeap& python, Address text) {
  const cpython::Layout& layout = python.layout();
  if (layout.Has(Field::PyBytesObject_ob_sstate)) {
    python.fake().Write<std::uint32_t>(text + layout.Offset(Field::PyBytesObject_ob_sstate), 1);
    return;
  }
  const Address state = text + layout.Offset(Field::PyASCIIObject_state);
  const auto interned = 1u << layout.Value(cpython::Constant::UNICODE_INTERNED_SHIFT, 0);
  python.fake().Write<std::uint32_t>(state, python.fake().Read<std::uint32_t>(state) | interned);
}

TEST_CASE("without symbols, a dict of interned strings that are their own values holds none of them") {
  constexpr Address kVariable = 0x690000;  // data of the interpreter
  OnEveryLayout([](PythonHeap& python) {
    if (python.layout().flavor.free_threaded || !python.layout().Has(Field::wrapperbase_name_strobj)) return;
    std::vector<std::pair<Address, Address>> interned, few, other;
    for (int i = 0; i < 100; ++i) {
      const Address name = python.Str("name" + std::to_string(i));
      Intern(python, name);
      interned.emplace_back(name, name);
      if (i < 10) few.emplace_back(name, name);
      other.emplace_back(name, i == 99 ? python.Str("plain") : name);
    }
    const Address table = python.Dict(interned), small = python.Dict(few), mixed = python.Dict(other);
    python.fake().WriteWords(kVariable, {table, small, mixed});
    cpython::Runtime runtime = python.runtime();
    const target::Process process = python.Build();
    runtime.module_index = static_cast<std::uint32_t>(process.FindModule(kVariable) - process.modules.data());
    CHECK(FindUnnamedStatics(process, runtime).interned == std::vector<Address>{table});
  });
}

TEST_CASE("a heap that is damaged, or of no known allocator, is one root") {
  OnEveryLayout([](PythonHeap& python) {
    Malloc heap(python);
    const Address object = python.List({});
    python.Track(object);
    SetRefcount(python, object, 1);
    const Address chunk = heap.Chunk();
    heap.Close();
    python.fake().Write<std::uint64_t>(chunk, object);
    python.fake().Write<std::uint64_t>(chunk - 8, 0x48 | 1);
    const Audited a(python);
    CHECK(a.audit.native_blocks == 0);
    CHECK(a.audit.native_doubts.size() == 1);
    CHECK(a.Possible(object) == 1);
    CHECK(a.Verdict(object).empty());
  });
}

TEST_CASE("what hangs on a lost object is no finding of its own") {
  OnEveryLayout([](PythonHeap& python) {
    if (python.layout().flavor.trace_refs) return;
    const Address inner = python.List({}), text = python.Str("hangs"), head = python.List({inner, text, inner});
    for (const Address a : {inner, head}) python.Track(a);
    SetRefcount(python, head, 1);
    SetRefcount(python, inner, 2);
    SetRefcount(python, text, 1);
    const Audited a(python);
    CHECK(a.Verdict(head) == "lost");
    CHECK(a.Verdict(inner).empty());
    CHECK(a.Verdict(text).empty());
    CHECK(a.HangsOn(head) == std::vector<Address>{std::min(inner, text), std::max(inner, text)});
  });
}

TEST_CASE("objects that only refer to each other, of a type without a collector whose memory is not known, are a hidden cycle where their counts say no more") {
  OnEveryLayout([](PythonHeap& python) {
    if (python.layout().flavor.trace_refs) return;
    Malloc heap(python);
    const cpython::Layout& l = python.layout();
    const std::uint32_t head = l.Size(cpython::Struct::PyObject), bytes = 56;
    const Address type = python.ExtensionType("mod.Box", bytes);
    python.Put(type, Field::PyTypeObject_tp_flags, static_cast<std::uint64_t>(l.Value(cpython::Constant::TPFLAGS_READY)));
    python.Put(type, Field::PyTypeObject_tp_traverse, 0);
    const auto box = [&](std::uint32_t count) {
      const Address a = heap.Chunk();
      python.Put(a, Field::PyObject_ob_refcnt, count);
      python.Put(a, Field::PyObject_ob_type, type);
      return a;
    };
    const Address self = box(1), first = box(1), second = box(1), leaked = box(2);
    heap.Close();
    python.fake().Write<std::uint64_t>(self + head + 8, self);
    python.fake().Write<std::uint64_t>(first + head, second);
    python.fake().Write<std::uint64_t>(second + head + 16, first);
    python.fake().Write<std::uint64_t>(leaked + head, leaked);
    const Address owner = python.List({python.Object(type, bytes)});  // the type is one that is known
    python.Track(owner);
    const Audited a(python);
    std::vector<Address> cycles;
    for (const analysis::LostStructure& s : analysis::FindLostStructures(a.audit, a.judged)) {
      if (s.kind != CountFindingKind::kHiddenCycle) continue;
      CHECK(s.members.size() == s.cycle.size());
      for (const std::uint32_t i : s.cycle) cycles.push_back(a.audit.lost.items[i].memory.begin);
    }
    std::sort(cycles.begin(), cycles.end());
    CHECK(cycles == std::vector<Address>{self, first, second});
    CHECK(std::none_of(a.judged.findings.begin(), a.judged.findings.end(), [](const analysis::CountFinding& f) { return f.object == heap::kNoNode; }));
  });
}

TEST_CASE("a head that refers to free memory may be what was left of a freed object: it is not lost") {
  OnEveryLayout([](PythonHeap& python) {
    if (python.layout().flavor.trace_refs) return;
    Malloc heap(python);
    const cpython::Layout& l = python.layout();
    const std::uint32_t head = l.Size(cpython::Struct::PyObject), bytes = 56;
    const Address type = python.ExtensionType("mod.Hash", bytes);
    python.Put(type, Field::PyTypeObject_tp_flags, static_cast<std::uint64_t>(l.Value(cpython::Constant::TPFLAGS_READY)));
    python.Put(type, Field::PyTypeObject_tp_traverse, 0);
    const auto hash = [&](std::uint64_t first, std::uint64_t second) {
      const Address a = heap.Chunk();
      python.Put(a, Field::PyObject_ob_refcnt, std::uint32_t{1});
      python.Put(a, Field::PyObject_ob_type, type);
      python.fake().WriteWords(a + head, {first, second});
      return a;
    };
    constexpr Address kFree = kBrk + 0x4000;  // in the top chunk
    const Address context = heap.Chunk(), alive = hash(context, 0), empty = hash(0, 7), consumed = hash(kFree, context), freed = hash(kFree, 0);
    const Address of_beginning = hash(context, heap.next + 0x40 + 16);  // the top chunk begins behind this one
    heap.Close();
    const Address owner = python.List({python.Object(type, bytes)});  // the type is one that is known
    python.Track(owner);
    const Audited a(python);
    const auto is_lost = [&](Address object) {
      return std::any_of(a.judged.findings.begin(), a.judged.findings.end(), [&](const analysis::CountFinding& f) { return f.address == object && f.kind == CountFindingKind::kLost; });
    };
    CHECK(is_lost(alive));
    CHECK(is_lost(empty));
    CHECK(is_lost(consumed));  // a pointer to what it was given, and has read
    CHECK(!is_lost(freed));
    CHECK(!is_lost(of_beginning));
  });
}

TEST_CASE("what a number has for digits is no reference: one that seems to refer to itself is lost, and no cycle [3.x to 3.11]") {
  OnEveryLayout([](PythonHeap& python) {
    const cpython::Layout& l = python.layout();
    if (python.old() || l.flavor.trace_refs || l.Has(Field::PyLongObject_lv_tag)) return;
    Malloc heap(python);
    const Address type = python.Builtin("int"), object = heap.Chunk(0x30);
    heap.Close();
    python.Put(object, Field::PyObject_ob_refcnt, 1);
    python.Put(object, Field::PyObject_ob_type, type);
    python.fake().Write<std::uint64_t>(object + l.Offset(Field::PyVarObject_ob_size), 2);  // digits
    python.fake().Write<std::uint64_t>(object + 24, object);
    const Address owner = python.List({python.Int(7)});  // the type is one that is known
    python.Track(owner);
    const Audited a(python);
    CHECK(std::any_of(a.judged.findings.begin(), a.judged.findings.end(), [&](const analysis::CountFinding& f) { return f.address == object && f.kind == CountFindingKind::kLost; }));
    for (const analysis::LostStructure& s : analysis::FindLostStructures(a.audit, a.judged)) CHECK(s.kind == CountFindingKind::kLost);
  });
}

TEST_CASE("a leaked cycle is lost, its head the object whose count is too high; what the collector will find is not") {
  OnEveryLayout([](PythonHeap& python) {
    if (python.layout().flavor.trace_refs) return;
    const Address a1 = python.List({python.Str("until it is known")}), b1 = python.List({a1});
    python.fake().Write<std::uint64_t>(python.fake().Read<std::uint64_t>(a1 + python.layout().Offset(Field::PyListObject_ob_item)), b1);
    for (const Address o : {a1, b1}) python.Track(o);
    SetRefcount(python, a1, 2);  // one more than b1's
    SetRefcount(python, b1, 1);
    const Audited a(python);
    CHECK(a.Verdict(a1) == "lost");
    CHECK(a.Verdict(b1).empty());
    CHECK(a.HangsOn(a1) == std::vector<Address>{b1});
  });
}

}  // namespace
}  // namespace pygc::audit::reference_counter_test
