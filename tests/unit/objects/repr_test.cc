// Texts of values on every layout. That they are what the interpreters print is shown by tests/e2e/explain.py; this holds limits, marks and damage.
#include "core/objects/repr.h"

#include <doctest/doctest.h>

#include <limits>

#include "tests/support/python_heap.h"

using namespace pygc;
using namespace pygc::objects;
using cpython::Field;
using test::PythonHeap;

namespace repr_test {
namespace {

struct Reading {
  explicit Reading(PythonHeap& heap) : runtime(heap.runtime()), process(heap.Build()), reader(process, runtime, Limits()), repr(reader) {}
  cpython::Runtime runtime;
  target::Process process;
  ObjectReader reader;
  Repr repr;
};

template <typename F>
void OnEveryLayout(F body) {
  for (const cpython::Layout* layout : test::DefaultLayouts()) {
    CAPTURE(layout->name);
    PythonHeap heap(*layout);
    body(heap);
  }
}

}  // namespace

TEST_CASE("floats are the shortest decimal that reads back, as Python writes it") {
  CHECK(FloatRepr(0.1) == "0.1");
  CHECK(FloatRepr(-0.0) == "-0.0");
  CHECK(FloatRepr(1e16) == "1e+16");
  CHECK(FloatRepr(1e15) == "1000000000000000.0");
  CHECK(FloatRepr(123456.75) == "123456.75");
  CHECK(FloatRepr(1e-5) == "1e-05");
  CHECK(FloatRepr(0.00012) == "0.00012");
  CHECK(FloatRepr(5e-324) == "5e-324");
  CHECK(FloatRepr(1.25e300) == "1.25e+300");
  CHECK(FloatRepr(2, false) == "2");
  CHECK(FloatRepr(std::numeric_limits<double>::infinity()) == "inf");
}

TEST_CASE("containers, and what they hold") {
  OnEveryLayout([](PythonHeap& heap) {
    const Address list = heap.List({heap.Int(1), heap.Str("it's"), heap.None(), heap.Tuple({heap.Int(-7)})});
    const Address dict = heap.Dict({{heap.Str("k"), heap.List({})}});
    const Reading r(heap);
    CHECK(r.repr.Of(list).text == "[1, \"it's\", None, (-7,)]");
    CHECK(r.repr.Of(list).complete);
    CHECK(r.repr.Of(list).exact);
    CHECK(r.repr.Of(dict).text == "{'k': []}");
    CHECK(r.repr.LengthOf(list) == 4);
    CHECK(r.repr.LengthOf(dict) == 1);
  });
}

TEST_CASE("a list inside itself is marked, a deep one is cut and says so") {
  OnEveryLayout([](PythonHeap& heap) {
    const Address own = heap.List({heap.Int(1), heap.Int(2)});
    const Address items = heap.Get(own, Field::PyListObject_ob_item);
    heap.fake().Write(items, own);
    Address deep = heap.List({});
    for (int i = 0; i < 200; ++i) deep = heap.List({deep});
    const Reading r(heap);
    CHECK(r.repr.Of(own).text == "[[...], 2]");
    const ReprText cut = r.repr.Of(deep, {.max_depth = 3});
    CHECK(cut.text == "[[[…]]]");
    CHECK_FALSE(cut.complete);
    CHECK_FALSE(r.repr.Of(deep, {.max_depth = 1u << 30}).complete);  // never deeper than the cap
  });
}

TEST_CASE("limits cut and say what is left") {
  OnEveryLayout([](PythonHeap& heap) {
    const Address list = heap.List({heap.Int(1), heap.Int(2), heap.Int(3)});
    const Address text = heap.Str("0123456789");
    const Reading r(heap);
    CHECK(r.repr.Of(list, {.max_items = 2}).text == "[1, 2, … 1 more]");
    CHECK_FALSE(r.repr.Of(list, {.max_items = 2}).complete);
    CHECK(r.repr.Of(text, {.max_text = 4}).text == "'0123'… 6 more");
    CHECK(r.repr.Of(list, {.max_total = 4}).text.size() <= 8);
    CHECK(r.repr.Of(list, {.hide_values = true}).text == "<list of length 3>");
    CHECK(r.repr.Of(text, {.hide_values = true}).text == "<str of length 10>");
  });
}

TEST_CASE("damage is said, not followed") {
  OnEveryLayout([](PythonHeap& heap) {
    const Address list = heap.List({heap.Int(1)});
    heap.Put(list, Field::PyVarObject_ob_size, ~std::uint64_t{0} >> 1);
    const Address gone = heap.List({heap.Int(1)});
    heap.Put(gone, Field::PyListObject_ob_item, 0x10);
    const Reading r(heap);
    CHECK(r.repr.Of(list, {.max_items = 3}).text.size() < 200);
    CHECK_FALSE(r.repr.Of(list, {.max_items = 3}).complete);
    CHECK_FALSE(r.repr.Of(gone).complete);
    CHECK(r.repr.Of(0x10).text == "<unreadable>");
  });
}

}  // namespace repr_test
