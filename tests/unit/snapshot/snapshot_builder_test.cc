// From bytes to groups on every built-in layout: a heap is written through the layout, read, judged and grouped.
#include "core/snapshot/snapshot_builder.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>

#include "core/analysis/groups.h"
#include "core/analysis/verdict.h"
#include "core/snapshot/dangling_references.h"
#include "core/snapshot/excerpt_builder.h"
#include "tests/support/python_heap.h"

namespace pygc::snapshot {
namespace {

using cpython::Field;
using test::PythonHeap;

struct Snapshot {
  explicit Snapshot(PythonHeap& python, SnapshotOptions options = {}, Address garbage = 0)
      : runtime(WithGarbage(python.runtime(), garbage)), process(python.Build()), reader(process, runtime, Limits()) {
    SilentProgress progress;
    auto built = BuildSnapshot(reader, options, progress);
    REQUIRE(built);
    heap = *std::move(built);
  }
  heap::NodeId Node(Address a) const { return heap.index.Find(a); }
  const std::string& TypeName(Address a) const { return heap.types[heap.type[Node(a)]].name; }
  std::vector<Address> Successors(Address a) const {
    std::vector<Address> out;
    for (const heap::NodeId n : heap.graph.Successors(Node(a))) out.push_back(heap.AddressOf(n));
    return out;
  }

  static cpython::Runtime WithGarbage(cpython::Runtime runtime, Address garbage) {
    runtime.interpreters[0].garbage = garbage;
    return runtime;
  }

  cpython::Runtime runtime;
  target::Process process;
  objects::ObjectReader reader;
  heap::HeapSnapshot heap;
};

template <typename F>
void OnEveryLayout(F body) {
  for (const cpython::Layout* layout : test::DefaultLayouts()) {
    CAPTURE(layout->name);
    PythonHeap heap(*layout);
    body(heap);
  }
}

void SetRefcount(PythonHeap& python, Address object, std::uint32_t count) {
  python.fake().Write<std::uint32_t>(object + python.layout().Offset(Field::PyObject_ob_refcnt), count);
}

TEST_CASE("tracked objects, their types, counts and references come out of every layout's bytes") {
  OnEveryLayout([](PythonHeap& python) {
    const Address s = python.Str("leaf");
    const Address inner = python.Tuple({s, python.Int(3)});
    const Address list = python.List({inner, s, inner});
    const Address alone = python.List({list});
    for (const Address a : {list, inner, alone}) python.Track(a);
    SetRefcount(python, list, 7);
    const Snapshot snapshot(python);
    REQUIRE(snapshot.heap.size() == 3);
    CHECK(snapshot.heap.coverage.objects == 3);
    CHECK(snapshot.heap.coverage.lists_complete);
    CHECK(snapshot.TypeName(list) == "list");
    CHECK(snapshot.TypeName(inner) == "tuple");
    CHECK(snapshot.heap.refcount[snapshot.Node(list)] == 7);
    CHECK(snapshot.Successors(list) == std::vector<Address>{inner, inner});
    CHECK(snapshot.Successors(alone) == std::vector<Address>{list});
    CHECK(snapshot.heap.IsTracked(snapshot.Node(list)));
    CHECK(snapshot.heap.Generation(snapshot.Node(list)) == 0);
    CHECK(snapshot.heap.size_bytes.empty());
    CHECK(snapshot.heap.interpreter.empty());
  });
}

TEST_CASE("with leaves every object that is reached is there, with its size and its references") {
  OnEveryLayout([](PythonHeap& python) {
    const Address s = python.Str("leaf"), i = python.Int(70000);
    const Address untracked = python.Tuple({s, i});
    const Address list = python.List({untracked, s});
    python.Track(list);
    SnapshotOptions options;
    options.with_leaves = true;
    const Snapshot snapshot(python, options);
    CHECK(snapshot.Successors(list) == std::vector<Address>{s, untracked});
    CHECK(snapshot.Successors(untracked) == std::vector<Address>{i, s});
    CHECK(snapshot.heap.IsTracked(snapshot.Node(list)));
    CHECK_FALSE(snapshot.heap.IsTracked(snapshot.Node(untracked)));
    CHECK(snapshot.heap.Generation(snapshot.Node(untracked)) == heap::kUntracked);
    REQUIRE(snapshot.heap.size_bytes.size() == snapshot.heap.size());
    CHECK(snapshot.heap.coverage.objects == 1);
    CHECK(snapshot.heap.coverage.dangling_references == 0);
  });
}

TEST_CASE("an object at a count of 0 is dying where a thread has it in hand, and damaged where none has") {
  OnEveryLayout([](PythonHeap& python) {
    if (python.layout().flavor.free_threaded) return;
    constexpr Address kThreadStack = 0x7ffd00000000;
    const Address dying = python.List({}), on_stack = python.List({}), wrong = python.List({});
    for (const Address a : {dying, on_stack, wrong}) {
      python.Track(a);
      SetRefcount(python, a, 0);
    }
    CHECK(Snapshot(python).heap.dying.size() == 3);  // no registers in the dump: it cannot be told
    python.fake().Map(kThreadStack, 0x1000).WriteWords(kThreadStack + 0x800, {on_stack});
    python.fake().WriteWords(kThreadStack + 0x100, {wrong});  // below the stack pointer: left over
    python.fake().AddThread(1, kThreadStack + 0x700);
    python.fake().base.threads.back().registers[14] = dying;
    const Snapshot snapshot(python);
    std::vector<heap::NodeId> held{snapshot.Node(dying), snapshot.Node(on_stack)};
    std::sort(held.begin(), held.end());
    CHECK(snapshot.heap.dying == held);
  });
}

TEST_CASE("an object whose type is no type is kept, counted and never called unreachable") {
  OnEveryLayout([](PythonHeap& python) {
    const Address broken = python.List({}), fine = python.List({broken});
    python.fake().Write<std::uint64_t>(python.Get(fine, Field::PyListObject_ob_item), fine);  // refers to itself
    for (const Address a : {broken, fine}) python.Track(a);
    python.fake().Write<std::uint64_t>(broken + python.layout().Offset(Field::PyObject_ob_type), 0x1234);
    SetRefcount(python, broken, 0);
    SetRefcount(python, fine, 1);
    const Snapshot snapshot(python);
    REQUIRE(snapshot.heap.size() == 2);
    CHECK(snapshot.TypeName(broken) == "<not a type>");
    CHECK(snapshot.heap.coverage.unreadable_objects == 1);
    CHECK(snapshot.heap.coverage.type_errors == 1);
    SilentProgress progress;
    const auto verdict = analysis::ReplayCollection(snapshot.heap, progress);
    REQUIRE(verdict);
    CHECK(verdict->state[snapshot.Node(broken)] == analysis::State::kReachable);
    CHECK(verdict->state[snapshot.Node(fine)] == analysis::State::kUnreachable);
    CHECK(verdict->certainty == analysis::Certainty::kLowerBound);
  });
}

TEST_CASE("an object whose table cannot be read is counted, and without it no verdict is exact") {
  OnEveryLayout([](PythonHeap& python) {
    const Address broken = python.List({python.Str("x")}), fine = python.List({});
    for (const Address a : {broken, fine}) python.Track(a);
    python.Put(broken, Field::PyListObject_ob_item, 0x10);
    const Snapshot snapshot(python);
    CHECK(snapshot.heap.coverage.damaged_objects == 1);
    CHECK(snapshot.heap.incomplete == std::vector<heap::NodeId>{snapshot.Node(broken)});
    SilentProgress progress;
    const auto verdict = analysis::ReplayCollection(snapshot.heap, progress);
    REQUIRE(verdict);
    CHECK(verdict->certainty == analysis::Certainty::kLowerBound);
  });
}

// A cycle of two lists that only they themselves hold, and the place of the reference from the first to the second.
struct Cycle {
  explicit Cycle(PythonHeap& python) : first(python.List({python.Int(1)})), second(python.List({first})), slot(python.Get(first, Field::PyListObject_ob_item)) {
    python.fake().Write<std::uint64_t>(slot, second);
    for (const Address a : {first, second}) {
      SetRefcount(python, a, 1);
      python.Track(a);
    }
  }
  Address first, second, slot;
};

analysis::Verdict Judge(Snapshot& snapshot) {
  SilentProgress progress;
  auto verdict = analysis::ReplayCollection(snapshot.heap, progress);
  REQUIRE(verdict);
  return *std::move(verdict);
}

// What stands in the place of a reference after memory was overwritten: none of these is an object.
enum class Junk { kUnmapped, kMisaligned, kNoObject, kInsideOfAnObject };
Address Value(PythonHeap& python, Junk junk) {
  const Address text = python.Str("sixteen bytes are enough for this");
  switch (junk) {
    case Junk::kUnmapped: return 0x4141414141414140;
    case Junk::kMisaligned: return text + 4;
    case Junk::kNoObject: return text + 16;
    case Junk::kInsideOfAnObject: {  // where two words of a tuple look like the head of an object of the collector's types
      const Address type = python.Class("app", "Node", {.has_dict = true});
      python.Track(type);
      const Address tuple = python.Tuple({python.Int(2), type, python.Int(3), python.Int(4)});
      python.fake().Write<std::uint64_t>(tuple + python.layout().Offset(Field::PyTupleObject_ob_item), 5);
      return tuple + python.layout().Offset(Field::PyTupleObject_ob_item) - python.layout().Offset(Field::PyObject_ob_refcnt);
    }
  }
  return 0;
}

TEST_CASE("a reference that leads to no object is counted, and without it no verdict is exact") {
  for (const Junk junk : {Junk::kUnmapped, Junk::kMisaligned, Junk::kNoObject, Junk::kInsideOfAnObject}) {
    CAPTURE(static_cast<int>(junk));
    OnEveryLayout([&](PythonHeap& python) {
      if (junk == Junk::kInsideOfAnObject && python.layout().flavor.free_threaded) return;  // objects there have no head that would tell
      const Cycle cycle(python);
      python.fake().Write<std::uint64_t>(cycle.slot, Value(python, junk));
      Snapshot snapshot(python);
      analysis::Verdict verdict = Judge(snapshot);
      CHECK(verdict.unreachable_set.Contains(snapshot.Node(cycle.first)) == false);  // its own reference was lost, so `second` seems to be held
      SilentProgress progress;
      const auto found = CheckReferences(snapshot.reader, verdict.held_by_unknown, Limits(), progress, snapshot.heap);
      REQUIRE(found);
      CHECK(snapshot.heap.coverage.dangling_objects == 1);
      CHECK(snapshot.heap.coverage.dangling_references == 1);
      CHECK(snapshot.heap.incomplete == std::vector<heap::NodeId>{snapshot.Node(cycle.first)});
      CHECK(Judge(snapshot).certainty == analysis::Certainty::kLowerBound);
      const auto again = CheckReferences(snapshot.reader, verdict.held_by_unknown, Limits(), progress, snapshot.heap);
      CHECK(again == std::uint64_t{0});
      CHECK(snapshot.heap.coverage.dangling_objects == 1);
    });
  }
}

TEST_CASE("with leaves a reference that leads to no object is noted too, and one into memory that is missing is not") {
  OnEveryLayout([](PythonHeap& python) {
    const Cycle cycle(python);
    SUBCASE("no object") {
      python.fake().Write<std::uint64_t>(cycle.slot, Value(python, Junk::kNoObject));
      SnapshotOptions options;
      options.with_leaves = true;
      const Snapshot snapshot(python, options);
      CHECK(snapshot.heap.coverage.dangling_objects == 1);
      CHECK(snapshot.heap.incomplete == std::vector<heap::NodeId>{snapshot.Node(cycle.first)});
    }
    SUBCASE("missing") {
      constexpr Address kLeftOut = 0x7d0000000000;
      python.fake().base.missing_ranges.push_back({{kLeftOut, kLeftOut + 0x1000}, target::MissingReason::kNotDumped});
      python.fake().Write<std::uint64_t>(cycle.slot, kLeftOut + 0x100);
      const Snapshot snapshot(python);
      CHECK(snapshot.heap.coverage.dangling_objects == 0);
    }
  });
}

TEST_CASE("with leaves, objects in memory that was left out are counted where references lead to them") {
  constexpr Address kLeftOut = 0x7d0000000000;
  SnapshotOptions options;
  options.with_leaves = true;
  const auto with_two_lists = [&](auto&& check) {
    OnEveryLayout([&](PythonHeap& python) {
      const Address one = python.List({python.Int(1), python.Int(2)}), two = python.List({python.Int(3)});
      for (const Address a : {one, two}) python.Track(a);
      python.fake().base.missing_ranges.push_back({{kLeftOut, kLeftOut + 0x1000}, target::MissingReason::kNotDumped});
      check(python, python.Get(one, Field::PyListObject_ob_item), python.Get(two, Field::PyListObject_ob_item));
    });
  };
  with_two_lists([&](PythonHeap& python, Address, Address) { CHECK(Snapshot(python, options).heap.coverage.left_out_objects == 0); });
  with_two_lists([&](PythonHeap& python, Address one, Address two) {  // three references to two objects
    for (const auto& [slot, to] : {std::pair(one, kLeftOut + 0x100), {one + 8, kLeftOut + 0x200}, {two, kLeftOut + 0x100}}) python.fake().Write<std::uint64_t>(slot, to);
    const Snapshot snapshot(python, options);
    CHECK(snapshot.heap.coverage.left_out_objects == 2);
    CHECK(snapshot.heap.coverage.dangling_objects == 0);
    CHECK(Snapshot(python).heap.coverage.left_out_objects == 0);
  });
  with_two_lists([&](PythonHeap& python, Address, Address two) {  // an object whose type was left out
    const Address text = python.Str("an object of a type that is not there");
    python.Put(text, Field::PyObject_ob_type, kLeftOut + 0x300);
    python.fake().Write<std::uint64_t>(two, text);
    CHECK(Snapshot(python, options).heap.coverage.left_out_objects == 1);
  });
}

TEST_CASE("a container without items that it counts is no whole container") {
  OnEveryLayout([](PythonHeap& python) {
    const Cycle cycle(python);
    python.fake().Write<std::uint64_t>(cycle.slot, 0);
    Snapshot snapshot(python);
    const analysis::Verdict verdict = Judge(snapshot);
    SilentProgress progress;
    CHECK(CheckReferences(snapshot.reader, verdict.held_by_unknown, Limits(), progress, snapshot.heap) == std::uint64_t{1});
    CHECK(snapshot.heap.coverage.dangling_objects == 1);
  });
}

// What else a subclass refers to makes up for the missing item in the sum.
TEST_CASE("a subclass of list or tuple without items that it counts is no whole container") {
  OnEveryLayout([](PythonHeap& python) {
    const Address text = python.Str("text"), model = python.List({text, text});
    const Address rows = python.Class("app", "Rows", {.bases = {python.Builtin("list")}, .has_dict = true}), row = python.Class("app", "Row", {.bases = {python.Builtin("tuple")}});
    const Address list = python.Instance(rows), tuple = python.Object(row, python.Get(row, Field::PyTypeObject_tp_basicsize) + 2 * 8, 2);
    for (const Field f : {Field::PyListObject_ob_item, Field::PyListObject_allocated}) python.Put(list, f, python.Get(model, f));
    python.Put(list, Field::PyVarObject_ob_size, 2);
    const Address tuple_items = tuple + python.layout().Offset(Field::PyTupleObject_ob_item), list_items = python.Get(list, Field::PyListObject_ob_item);
    python.fake().WriteWords(tuple_items, {text, text});
    for (const Address a : {rows, row, list, tuple}) python.Track(a);
    SilentProgress progress;
    for (const std::uint64_t missing : {0, 1, 2}) {
      if (missing > 0) python.fake().Write<std::uint64_t>(missing == 1 ? list_items : tuple_items + 8, 0);
      Snapshot snapshot(python);
      graph::NodeSet both(snapshot.heap.size());
      both.Insert(snapshot.Node(list));
      both.Insert(snapshot.Node(tuple));
      CHECK(CheckReferences(snapshot.reader, both, Limits(), progress, snapshot.heap) == missing);
    }
  });
}

TEST_CASE("what a thread is just making lacks no member; what others refer to does") {
  OnEveryLayout([](PythonHeap& python) {
    constexpr Address kThreadStack = 0x7ffd00000000;
    const Address made = python.Tuple({python.Int(1), python.Int(2)}), held = python.Tuple({python.Int(1), python.Int(2)}), holder = python.List({held});
    for (const Address a : {made, held, holder}) python.Track(a);
    for (const Address a : {made, held}) python.fake().Write<std::uint64_t>(a + python.layout().Offset(Field::PyTupleObject_ob_item) + 8, 0);
    python.fake().Map(kThreadStack, 0x4000).WriteWords(kThreadStack + 0x3800, {made, held});  // in the middle of a call that it was made for
    python.fake().AddThread(1, kThreadStack + 0x700);
    SilentProgress progress;
    for (const bool on_stack : {true, false}) {
      if (!on_stack) python.fake().WriteWords(kThreadStack + 0x3800, {0, 0});
      Snapshot snapshot(python);
      graph::NodeSet all(snapshot.heap.size());
      for (heap::NodeId n = 0; n < snapshot.heap.size(); ++n) all.Insert(n);
      const auto lost = FindLostReferences(snapshot.reader, snapshot.heap, all, Limits(), progress);
      REQUIRE(lost);
      CHECK(lost->size() == (on_stack ? 1u : 2u));
      CHECK(std::any_of(lost->begin(), lost->end(), [&](const LostReferences& of) { return of.node == snapshot.Node(held) && of.absent == 1; }));
    }
  });
}

TEST_CASE("items at the end of a list that C code has not filled are not missed, others and those of lists that grew are") {
  OnEveryLayout([](PythonHeap& python) {
    const Address item = python.Int(1);
    const auto list = [&](const std::vector<Address>& items, std::uint64_t room = 0) {
      const Address a = python.List(items);
      python.Put(a, Field::PyListObject_allocated, items.size() + room);
      return a;
    };
    const Address page = (python.Allocate(8192) + 4095) & ~Address{4095};  // all zeroes
    const Address none = list({0, 0, 0}), some = list({item, 0, 0}), one = list({item, 0}), middle = list({item, 0, 0, item}), grown = list({item, 0, 0}, 1), lost = list({0, 0});
    python.Put(lost, Field::PyListObject_ob_item, page + 64);
    const Address alone = list({item, 0});
    const std::vector<Address> held{none, some, one, middle, grown, lost};
    const Address holder = list(held);
    for (const Address a : held) python.Track(a);
    for (const Address a : {alone, holder}) python.Track(a);
    python.fake().AddThread(1, 0x7ffd00000700);
    Snapshot snapshot(python);
    graph::NodeSet all(snapshot.heap.size());
    for (heap::NodeId n = 0; n < snapshot.heap.size(); ++n) all.Insert(n);
    SilentProgress progress;
    const auto found = FindLostReferences(snapshot.reader, snapshot.heap, all, Limits(), progress);
    REQUIRE(found);
    std::vector<std::pair<Address, std::uint64_t>> missed;
    for (const LostReferences& of : *found) missed.emplace_back(snapshot.heap.AddressOf(of.node), of.absent);
    std::sort(missed.begin(), missed.end());
    CHECK(missed == std::vector<std::pair<Address, std::uint64_t>>{{one, 1}, {middle, 2}, {grown, 2}, {lost, 2}});
  });
}

TEST_CASE("a tuple out of which its owner takes what has come to its end lacks nothing") {
  OnEveryLayout([](PythonHeap& python) {
    const cpython::Layout& l = python.layout();
    if (!l.Has(Field::ziplongestobject_ittuple)) return;
    const Address item = python.Int(1), gone = python.Tuple({item, 0}), other = python.Tuple({item, 0}), holder = python.List({other});
    const Address type = python.ExtensionType("itertools.zip_longest", l.Size(cpython::Struct::ziplongestobject));
    python.Put(type, Field::PyTypeObject_tp_traverse, python.Function("zip_longest_traverse"));
    const Address zip = python.Object(type, l.Size(cpython::Struct::ziplongestobject));
    python.Put(zip, Field::ziplongestobject_ittuple, gone);
    for (const Address a : {gone, other, holder, zip}) python.Track(a);
    Snapshot snapshot(python);
    graph::NodeSet all(snapshot.heap.size());
    for (heap::NodeId n = 0; n < snapshot.heap.size(); ++n) all.Insert(n);
    SilentProgress progress;
    const auto lost = FindLostReferences(snapshot.reader, snapshot.heap, all, Limits(), progress);
    REQUIRE(lost);
    REQUIRE(lost->size() == 1);
    CHECK(lost->front().node == snapshot.Node(other));
  });
}

TEST_CASE("what lies behind a class that got a metaclass of larger instances lies in no other object") {
  OnEveryLayout([](PythonHeap& python) {
    const std::int64_t class_bytes = python.layout().Size(cpython::Struct::PyHeapTypeObject);
    const Address meta = python.Class("lib", "Meta", {.bases = {python.Builtin("type")}}), type = python.Class("app", "Made");
    const Address behind = python.Str("behind the class"), list = python.List({behind, behind});
    python.Put(type, Field::PyObject_ob_type, meta);
    python.Put(meta, Field::PyTypeObject_tp_basicsize, static_cast<std::uint64_t>(class_bytes) + 8192);
    for (const Address a : {meta, type, list}) python.Track(a);
    REQUIRE(behind > type);
    REQUIRE(behind - type < static_cast<Address>(class_bytes) + 8192);
    SilentProgress progress;
    for (const bool inside : {false, true}) {
      if (inside) python.fake().Write<std::uint64_t>(python.Get(list, Field::PyListObject_ob_item), type + 64);
      Snapshot snapshot(python);
      graph::NodeSet all(snapshot.heap.size());
      all.Insert(snapshot.Node(list));
      const auto lost = FindLostReferences(snapshot.reader, snapshot.heap, all, Limits(), progress);
      REQUIRE(lost);
      CHECK(lost->size() == (inside ? 1u : 0u));
    }
  });
}

TEST_CASE("what a known root holds needs no second look") {
  OnEveryLayout([](PythonHeap& python) {
    const Address held = python.List({}), holder = python.List({held}), other = python.List({});
    for (const Address a : {held, holder, other}) python.Track(a);
    SetRefcount(python, held, 1);
    const Snapshot snapshot(python);
    SilentProgress progress;
    const std::vector<heap::NodeId> roots{snapshot.Node(holder)};
    const auto verdict = analysis::ReplayCollection(snapshot.heap, progress, 1, roots);
    REQUIRE(verdict);
    CHECK(verdict->held_by_unknown.Nodes() == std::vector<heap::NodeId>{snapshot.Node(other)});
  });
}

TEST_CASE("gc.garbage whose items cannot be read is not taken for empty") {
  OnEveryLayout([](PythonHeap& python) {
    const Address garbage = python.List({python.Int(1)});
    python.Track(garbage);
    python.Put(garbage, Field::PyListObject_ob_item, 0x10);
    const Snapshot snapshot(python, {}, garbage);
    CHECK(snapshot.heap.interpreters[0].garbage.empty());
    CHECK(snapshot.heap.coverage.unread_garbage.size() == 1);
  });
}

// Two equal cycles instance -> dict -> instance with a list that hangs on each, a leaf of its own and one that is shared with the living.
struct TwoLeaks {
  explicit TwoLeaks(PythonHeap& python) {
    const Address type = python.Class("app", "Leak", {.has_dict = true});
    python.Track(type);
    SetRefcount(python, type, 10);
    shared = python.Str("shared");
    SetRefcount(python, shared, 100);
    for (int i = 0; i < 2; ++i) {
      const Address instance = python.Instance(type), own = python.Str(i == 0 ? "own0" : "own1"), hanging = python.List({own, shared});
      const Address me = python.Str("me"), list = python.Str("list");
      for (const Address key : {me, list}) SetRefcount(python, key, 50);  // interned: 2.7 visits keys
      const Address dict = python.Dict({{me, instance}, {list, hanging}});
      python.SetDict(instance, type, dict);
      SetRefcount(python, instance, 1);
      for (const Address a : {instance, dict, hanging}) python.Track(a);
      instances.push_back(instance);
      dicts.push_back(dict);
      lists.push_back(hanging);
      leaves.push_back(own);
    }
  }
  std::vector<Address> instances, dicts, lists, leaves;
  Address shared = 0;
};

TEST_CASE("from bytes to one group of two equal leaks, with labels, leaves of its own and sizes") {
  OnEveryLayout([](PythonHeap& python) {
    const TwoLeaks leaks(python);
    const Snapshot snapshot(python);
    SilentProgress progress;
    const auto verdict = analysis::ReplayCollection(snapshot.heap, progress);
    REQUIRE(verdict);
    CHECK(verdict->unreachable == 6);
    const auto excerpt = BuildExcerpt(snapshot.reader, snapshot.heap, analysis::LeakedNodes(*verdict), Limits(), progress);
    REQUIRE(excerpt);
    const auto has = [&](Address a) { return std::binary_search(excerpt->address.begin(), excerpt->address.end(), a); };
    for (const Address a : leaks.leaves) CHECK(has(a));
    CHECK_FALSE(has(leaks.shared));
    CHECK(excerpt->size() == 8);
    CHECK(excerpt->size_bytes.size() == excerpt->size());
    const auto groups = analysis::GroupStructures(snapshot.heap, *verdict, *excerpt, progress);
    REQUIRE(groups);
    REQUIRE(groups->groups.size() == 1);
    const analysis::Group& group = groups->groups[0];
    CHECK(group.count == 2);
    CHECK(group.objects == 4);
    CHECK(group.held_objects == 4);
    CHECK(excerpt->types[group.type].name == "app.Leak");
    REQUIRE(group.cycle.size() == 2);
    CHECK(excerpt->address[group.cycle[0].node] == std::min(leaks.instances[0], leaks.instances[1]));
    CHECK(excerpt->label_texts[group.cycle[0].label] == ".__dict__");
    CHECK(excerpt->label_texts[group.cycle[1].label] == "['me']");
  });
}

TEST_CASE("gc.garbage is read, and what it alone keeps alive is uncollectable") {
  OnEveryLayout([](PythonHeap& python) {
    const TwoLeaks leaks(python);
    const Address garbage = python.List({leaks.instances[0]});
    python.Track(garbage);
    SetRefcount(python, garbage, 1);
    SetRefcount(python, leaks.instances[0], 2);
    cpython::Runtime runtime = python.runtime();
    runtime.interpreters[0].garbage = garbage;
    const target::Process process = python.Build();
    const objects::ObjectReader reader(process, runtime, Limits());
    SilentProgress progress;
    const auto heap = BuildSnapshot(reader, {}, progress);
    REQUIRE(heap);
    REQUIRE(heap->interpreters[0].garbage.size() == 1);
    CHECK(heap->interpreters[0].garbage_list_node == heap->index.Find(garbage));
    const auto verdict = analysis::ReplayCollection(*heap, progress);
    REQUIRE(verdict);
    CHECK(verdict->unreachable == 3);
    CHECK(verdict->uncollectable == 3);
    CHECK(verdict->garbage_count == 1);
    CHECK(verdict->state[heap->index.Find(leaks.instances[0])] == analysis::State::kUncollectable);
    CHECK(verdict->state[heap->index.Find(leaks.lists[0])] == analysis::State::kUncollectable);
    CHECK(verdict->state[heap->index.Find(leaks.lists[1])] == analysis::State::kUnreachable);
  });
}

// A heap of some hundred thousand lists in scrambled order that refer to each other.
std::unique_ptr<PythonHeap> LargeHeap(const cpython::Layout& layout) {
  auto python = std::make_unique<PythonHeap>(layout);
  std::vector<Address> objects;
  std::uint64_t random = 1;
  for (int i = 0; i < 9000; ++i) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    std::vector<Address> items;
    for (std::uint64_t k = 0; k < (random >> 60) % 4 && !objects.empty(); ++k) items.push_back(objects[(random >> (8 * k)) % objects.size()]);
    objects.push_back(i % 3 == 0 ? python->Tuple(items) : python->List(items));
  }
  for (std::size_t i = 0; i < objects.size(); ++i) python->Track(objects[i * 7919 % objects.size()]);
  return python;
}

TEST_CASE("the snapshot is the same for any number of threads") {
  const auto python = LargeHeap(*test::DefaultLayouts().back());
  SnapshotOptions options;
  options.piece_shift = 8;
  options.limits.threads = 1;
  const Snapshot one(*python, options);
  REQUIRE(one.heap.size() == 9000);
  for (const unsigned threads : {2u, 3u, 8u}) {
    options.limits.threads = threads;
    const Snapshot many(*python, options);
    CHECK(many.heap.refcount == one.heap.refcount);
    CHECK(many.heap.type == one.heap.type);
    CHECK(many.heap.flags == one.heap.flags);
    REQUIRE(many.heap.types.size() == one.heap.types.size());
    for (std::size_t i = 0; i < one.heap.types.size(); ++i) CHECK(many.heap.types[i].name == one.heap.types[i].name);
    REQUIRE(many.heap.graph.edge_count() == one.heap.graph.edge_count());
    bool same = true;
    for (heap::NodeId n = 0; n < one.heap.size(); ++n) same = same && std::ranges::equal(many.heap.graph.Successors(n), one.heap.graph.Successors(n));
    CHECK(same);
  }
}

TEST_CASE("reading can be cancelled in every stage, and says so") {
  class StopAfter final : public ProgressSink {
   public:
    explicit StopAfter(int calls) : left_(calls) {}
    bool Update(std::string_view, std::uint64_t, std::uint64_t) override { return left_-- > 0; }
    int left_;
  };
  const auto python = LargeHeap(*test::DefaultLayouts().back());
  const cpython::Runtime runtime = python->runtime();
  const target::Process process = python->Build();
  const objects::ObjectReader reader(process, runtime, Limits());
  bool finished = false;
  for (int calls = 0; !finished; ++calls) {
    REQUIRE(calls < 100);
    StopAfter progress(calls);
    const auto heap = BuildSnapshot(reader, {}, progress);
    finished = heap.has_value();
    if (!heap) CHECK(heap.error().code == ErrorCode::kCancelled);
  }
}

TEST_CASE("lists that share one table of items do not multiply memory") {
  PythonHeap python(*test::DefaultLayouts().back());
  const Address item = python.List({});
  python.Track(item);
  const Address first = python.List(std::vector<Address>(20000, item));
  python.Track(first);
  for (int i = 0; i < 2000; ++i) {  // 40 million references in less than a megabyte
    const Address list = python.List({});
    python.Put(list, Field::PyListObject_ob_item, python.Get(first, Field::PyListObject_ob_item));
    python.Put(list, Field::PyVarObject_ob_size, 20000);
    python.Put(list, Field::PyListObject_allocated, 20000);
    python.Track(list);
  }
  const Snapshot two(python, {.with_leaves = false, .limits = {.threads = 2}, .piece_shift = 8});
  const Snapshot one(python, {.with_leaves = false, .limits = {.threads = 1}, .piece_shift = 8});
  CHECK(one.heap.size() == 2002);
  CHECK(one.heap.graph.edge_count() < 20'000'000);
  CHECK(one.heap.graph.edge_count() == two.heap.graph.edge_count());
  CHECK(one.heap.flags == two.heap.flags);
  CHECK(one.heap.coverage.notes == two.heap.coverage.notes);
  CHECK(one.heap.coverage.notes.size() == 1);
  CHECK(one.heap.coverage.unreadable_objects > 0);
  CHECK(one.heap.coverage.unreadable_objects == two.heap.coverage.unreadable_objects);
}

}  // namespace
}  // namespace pygc::snapshot
