// Two readers held against each other, on heaps where one of them is wrong on purpose.
#include "core/snapshot/traverse_check.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "core/snapshot/snapshot_builder.h"
#include "tests/support/python_heap.h"

namespace pygc::snapshot::traverse_check_test {
namespace {

using cpython::Field;
using objects::ReferentQuality;
using test::PythonHeap;

// Answers as a second reader does, which stands for tp_traverse's code here.
class OtherReader final : public objects::TraverseInterpreter {
 public:
  explicit OtherReader(const objects::ObjectReader& reader) : reader_(reader) {}
  ReferentQuality Run(const objects::TypeFacts& type, Address object, std::vector<Address>& out, std::vector<objects::SlotOrigin>*) const override {
    if (type.name == refuses) return ReferentQuality::kApproximate;
    const std::size_t before = out.size();
    const ReferentQuality q = reader_.Referents(object, *reader_.Type(type.address), out);
    if (object == drops_of && out.size() > before) out.pop_back();
    if (object == swaps_of && out.size() > before + 1) std::swap(out[before], out[before + 1]);
    return q;
  }
  objects::NotExactReason WhyNotExact(const objects::TypeFacts& type) const override {
    if (type.name == refuses) return {"trap", "its tp_traverse comes to a trap instruction"};
    return {};
  }
  std::string refuses;
  Address drops_of = 0, swaps_of = 0;

 private:
  const objects::ObjectReader& reader_;
};

class StopAt final : public ProgressSink {
 public:
  explicit StopAt(int calls) : left_(calls) {}
  bool Update(std::string_view, std::uint64_t, std::uint64_t) override { return left_-- > 0; }

 private:
  int left_;
};

struct Heap {
  explicit Heap(PythonHeap& python) {
    std::vector<Address> many;
    for (int i = 0; i < 200; ++i) many.push_back(python.Str(std::to_string(i)));
    small = python.List({python.Str("a"), python.Str("b"), python.Str("c")});
    large = python.List(many);
    dict = python.Dict({{python.Str("k"), small}, {python.Str("l"), large}});
    tuple = python.Tuple({small, large, dict});
    for (const Address a : {small, large, dict, tuple}) python.Track(a);
    runtime = python.runtime();
    process = python.Build();
  }
  [[nodiscard]] heap::HeapSnapshot Snapshot(const objects::ObjectReader& reader) const {
    SilentProgress progress;
    Result<heap::HeapSnapshot> built = BuildSnapshot(reader, {}, progress);
    REQUIRE(built);
    return *std::move(built);
  }
  Address small, large, dict, tuple;
  cpython::Runtime runtime;
  target::Process process;
};

template <typename F>
void OnEveryLayout(F body) {
  for (const cpython::Layout* layout : test::DefaultLayouts()) {
    CAPTURE(layout->name);
    PythonHeap python(*layout);
    const Heap heap(python);
    body(heap);
  }
}

TEST_CASE("two readers that are right agree on every object") {
  OnEveryLayout([](const Heap& h) {
    const objects::ObjectReader reader(h.process, h.runtime, Limits());
    const heap::HeapSnapshot heap = h.Snapshot(reader);
    const OtherReader other(reader);
    SilentProgress progress;
    const TraverseCheck check = CheckTraverse(reader, other, heap, {}, progress);
    CHECK(check.compared == 4);
    CHECK(check.equal == 4);
    CHECK(check.different == 0);
    CHECK(check.differences.empty());
    CHECK_FALSE(check.stopped);
  });
}

TEST_CASE("a native reader with a wrong offset is found, by object and place") {
  OnEveryLayout([](const Heap& h) {
    const objects::ObjectReader right(h.process, h.runtime, Limits());
    cpython::Runtime wrong_runtime = h.runtime;
    cpython::FieldPlace place = wrong_runtime.layout.Place(Field::PyTupleObject_ob_item);
    place.offset -= 8;  // what stands before the items (the count, the hash) is taken for the first one
    wrong_runtime.layout.Set(Field::PyTupleObject_ob_item, place);
    const objects::ObjectReader wrong(h.process, wrong_runtime, Limits());
    const heap::HeapSnapshot heap = h.Snapshot(right);
    const OtherReader other(right);
    SilentProgress progress;
    const TraverseCheck check = CheckTraverse(wrong, other, heap, {}, progress);
    CHECK(check.different == 1);
    REQUIRE(check.differences.size() == 1);
    const TraverseDifference& d = check.differences[0];
    CHECK(d.object == h.tuple);
    CHECK(heap.types[d.type].name == "tuple");
    CHECK(d.machine == std::vector<Address>{h.dict, h.large, h.small});
    REQUIRE(d.native.size() >= 2);
    CHECK(d.native[0] == h.large);
    CHECK(d.native[1] == h.small);
    CHECK(d.first_difference == 0);
  });
}

TEST_CASE("a referent too few or in another place is a difference; long lists are shown around it") {
  OnEveryLayout([](const Heap& h) {
    const objects::ObjectReader reader(h.process, h.runtime, Limits());
    const heap::HeapSnapshot heap = h.Snapshot(reader);
    OtherReader other(reader);
    other.drops_of = h.large;
    other.swaps_of = h.small;
    SilentProgress progress;
    const TraverseCheck check = CheckTraverse(reader, other, heap, {}, progress);
    CHECK(check.compared == 4);
    CHECK(check.equal == 2);
    REQUIRE(check.differences.size() == 2);
    const TraverseDifference& of_small = check.differences[check.differences[0].object == h.small ? 0 : 1];
    const TraverseDifference& of_large = check.differences[check.differences[0].object == h.small ? 1 : 0];
    CHECK(of_small.first_difference == 0);
    CHECK(of_small.from == 0);
    CHECK(of_small.native.size() == 3);
    CHECK(of_large.native_count == 200);
    CHECK(of_large.machine_count == 199);
    CHECK(of_large.first_difference == 199);
    CHECK(of_large.from == 195);
    CHECK(of_large.native.size() == 5);
    CHECK(of_large.machine.size() == 4);
  });
}

TEST_CASE("what one reader cannot say exactly is not compared, and says why") {
  OnEveryLayout([](const Heap& h) {
    const objects::ObjectReader reader(h.process, h.runtime, Limits());
    const heap::HeapSnapshot heap = h.Snapshot(reader);
    OtherReader other(reader);
    other.refuses = "list";
    SilentProgress progress;
    const TraverseCheck check = CheckTraverse(reader, other, heap, {}, progress);
    CHECK(check.compared == 2);
    CHECK(check.not_compared == 2);
    CHECK(check.different == 0);
    const auto list = std::find_if(check.types.begin(), check.types.end(), [](const TraverseTypeResult& r) { return r.machine_not_exact == 2; });
    REQUIRE(list != check.types.end());
    CHECK(list->reason.code == "trap");
  });
}

TEST_CASE("a comparison that is stopped says so and keeps what it has") {
  PythonHeap python(*test::DefaultLayouts().front());
  const Heap h(python);
  const objects::ObjectReader reader(h.process, h.runtime, Limits());
  const heap::HeapSnapshot heap = h.Snapshot(reader);
  const OtherReader other(reader);
  StopAt progress(0);
  const TraverseCheck check = CheckTraverse(reader, other, heap, {}, progress);
  CHECK(check.stopped);
  CHECK(check.compared == 0);
}

}  // namespace
}  // namespace pygc::snapshot::traverse_check_test
