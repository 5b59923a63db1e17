// Free lists written by hand into an interpreter's state: what waits on them is found, what was taken from them is not.
#include "core/audit/free_lists.h"

#include <doctest/doctest.h>

#include <vector>

#include "tests/support/python_heap.h"

namespace pygc::audit {
namespace {

using cpython::Field;
using cpython::Struct;

constexpr Address kState = 0x5a0000000000, kObjects = 0x5b0000000000;
constexpr std::uint64_t kStateBytes = 0x100000;

struct Lists {
  explicit Lists(const cpython::Layout& layout) : python(layout), runtime(python.runtime()) {
    runtime.interpreters.resize(1);
    runtime.interpreters[0] = {};
    runtime.interpreters[0].address = kState;
    python.fake().Map(kState, kStateBytes).Map(kObjects, 0x1000);
    const bool of_thread = !layout.Has(Field::PyInterpreterState_freelists);
    if (of_thread) {
      runtime.interpreters[0].threads.resize(1);
      runtime.interpreters[0].threads[0].tstate = kState;
    }
    lists = kState + layout.Offset(of_thread ? Field::PyThreadStateImpl_freelists : Field::PyInterpreterState_freelists);
  }
  void Set(Address at, std::uint64_t word) { python.fake().Write<std::uint64_t>(at, word); }
  [[nodiscard]] Address At(Field f) const { return lists + runtime.layout.Offset(f); }
  void Object(Address object, std::uint64_t count) {
    const cpython::Layout& layout = runtime.layout;
    if (layout.Has(Field::PyObject_ob_refcnt)) {
      Set(object + layout.Offset(Field::PyObject_ob_refcnt), count);
    } else {
      python.fake().Write<std::uint32_t>(object + layout.Offset(Field::PyObject_ob_ref_local), static_cast<std::uint32_t>(count));
    }
  }
  [[nodiscard]] FreeLists Read() {
    const target::Process process = python.Build();
    return ReadFreeLists(process, runtime);
  }

  test::PythonHeap python;
  cpython::Runtime runtime;
  Address lists = 0;
};

std::vector<const cpython::Layout*> LayoutsWith(bool arrays) {
  std::vector<const cpython::Layout*> found;
  for (const cpython::Layout& layout : cpython::BuiltinLayouts()) {
    const bool any = layout.Has(Field::PyInterpreterState_freelists) || layout.Has(Field::PyThreadStateImpl_freelists);
    if (any && layout.Has(Field::object_freelists_tuples_items) == arrays) found.push_back(&layout);
  }
  return found;
}

TEST_CASE("tuples are followed through their first element, key tables as far as their number says, and what is in use is not among them [3.10-3.13]") {
  const std::vector<const cpython::Layout*> layouts = LayoutsWith(true);
  REQUIRE(layouts.size() >= 10);
  for (const cpython::Layout* layout : layouts) {
    CAPTURE(layout->name);
    Lists l(*layout);
    const Address first = kObjects, second = kObjects + 0x100, used = kObjects + 0x200, table = kObjects + 0x300, taken = kObjects + 0x400, slice = kObjects + 0x500;
    const std::uint32_t item = layout->Offset(Field::PyTupleObject_ob_item);
    for (const Address o : {first, second, slice}) l.Object(o, 0);
    l.Object(used, 1);
    l.Set(l.At(Field::object_freelists_tuples_items), first);
    l.Set(l.At(Field::object_freelists_tuples_items) + 8, used);  // no list leads to what is in use; a damaged one ends there
    l.Set(first + item, second);
    l.Set(l.At(Field::object_freelists_dictkeys_items), table);
    l.Set(l.At(Field::object_freelists_dictkeys_items) + 8, taken);
    l.python.fake().Write<std::uint32_t>(l.At(Field::object_freelists_dictkeys_numfree), 1);
    l.Set(l.At(Field::object_freelists_slice_cache), slice);
    const FreeLists found = l.Read();
    CHECK(found.waiting == std::vector<Address>{first, second, table, slice});
    REQUIRE(found.places.size() == 1);
    for (const Field f : {Field::object_freelists_tuples_items, Field::object_freelists_dictkeys_items, Field::object_freelists_dictkeys_numfree, Field::object_freelists_slice_cache}) {
      CHECK(found.places[0].Contains(l.At(f)));
      CHECK(found.places[0].Contains(l.At(f) + layout->Width(f) - 1));
    }
  }
}

TEST_CASE("a list of tuples that loops, or of key tables with more than it has room for, ends") {
  Lists l(*LayoutsWith(true).front());
  l.Set(l.At(Field::object_freelists_tuples_items), kObjects);
  l.Set(kObjects + l.runtime.layout.Offset(Field::PyTupleObject_ob_item), kObjects);
  l.python.fake().Write<std::uint32_t>(l.At(Field::object_freelists_dictkeys_numfree), 81);
  l.Set(l.At(Field::object_freelists_dictkeys_items), kObjects + 0x300);
  CHECK(l.Read().waiting == std::vector<Address>{kObjects});
}

TEST_CASE("what is linked through its first word is followed as far as the list's length says [3.14+]") {
  const std::vector<const cpython::Layout*> layouts = LayoutsWith(false);
  REQUIRE(layouts.size() >= 5);
  for (const cpython::Layout* layout : layouts) {
    CAPTURE(layout->name);
    Lists l(*layout);
    l.Set(l.lists + 16, kObjects + 0x100);
    l.Set(l.lists + 24, 2);
    l.Set(kObjects + 0x100, kObjects);
    l.Set(kObjects, kObjects + 0x200);
    // An instance of a heap type keeps the reference to it.
    const std::uint32_t type_at = layout->Offset(Field::PyObject_ob_type), flags_at = layout->Offset(Field::PyTypeObject_tp_flags);
    const Address heap_type = kObjects + 0x300, static_type = kObjects + 0x800;
    l.Set(kObjects + type_at, static_type);
    l.Set(kObjects + 0x100 + type_at, heap_type);
    l.Set(heap_type + flags_at, static_cast<std::uint64_t>(layout->Value(cpython::Constant::TPFLAGS_HEAPTYPE)));
    const FreeLists found = l.Read();
    CHECK(found.waiting == std::vector<Address>{kObjects, kObjects + 0x100});
    CHECK(found.types == std::vector<Address>{kObjects + 0x100 + type_at});
  }
}

}  // namespace
}  // namespace pygc::audit
