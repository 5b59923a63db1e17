// From bytes to the verdict on counts, on every built-in layout: a heap with known references, its counts set by hand.
#include "core/audit/reference_counter.h"

#include <doctest/doctest.h>

#include <string>

#include "core/analysis/refcount_audit.h"
#include "core/snapshot/snapshot_builder.h"
#include "tests/support/python_heap.h"

namespace pygc::audit {
namespace {

using analysis::CountFindingKind;
using cpython::Field;
using test::PythonHeap;

constexpr Address kInterpreter = 0x6b0000000000, kNative = 0x6c0000000000;

void SetRefcount(PythonHeap& python, Address object, std::uint32_t count) {
  python.fake().Write<std::uint32_t>(object + python.layout().Offset(Field::PyObject_ob_refcnt), count);
}

struct Audited {
  explicit Audited(PythonHeap& python)
      : runtime(WithInterpreter(python)),
        process(python.Build()),
        reader(process, runtime, Limits()),
        ownership(reader, nullptr),
        roots(ReadInterpreterRoots(process, runtime)),
        blocks(process, runtime, Limits()),
        chunks(process, blocks) {
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
  static cpython::Runtime WithInterpreter(PythonHeap& python) {
    cpython::Runtime r = python.runtime();
    python.fake().Map(kInterpreter, 0x100000);
    r.interpreters[0].address = kInterpreter;
    r.interpreters[0].threads.clear();
    r.runtime_address = 0;
    return r;
  }
  [[nodiscard]] std::uint32_t Known(Address a) const { return audit.known[heap.index.Find(a)]; }
  [[nodiscard]] std::uint32_t Possible(Address a) const { return audit.possible[heap.index.Find(a)]; }
  [[nodiscard]] std::string Verdict(Address a) const {
    for (const analysis::CountFinding& f : judged.findings) {
      if (heap.AddressOf(f.object) == a) return f.kind == CountFindingKind::kDeficit ? "deficit" : f.kind == CountFindingKind::kSurplus ? "surplus" : "lost";
    }
    return "";
  }

  cpython::Runtime runtime;
  target::Process process;
  objects::ObjectReader reader;
  objects::Ownership ownership;
  InterpreterRoots roots;
  PymallocHeap blocks;
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
    python.fake().Write<std::uint64_t>(kNative + 0x100, dead);
    python.fake().AddThread(1, kNative + 0x4000, in_register);
    const Audited a(python);
    CHECK(a.Possible(live) == 1);
    CHECK(a.Possible(dead) == 0);
    CHECK(a.Verdict(dead) == "lost");
    CHECK(a.Possible(in_register) == 1);
  });
}

}  // namespace
}  // namespace pygc::audit
