// Heaps with damage: words of a valid heap are replaced at random, then everything is read. Nothing may crash, hang or read outside of the image
// (run under the sanitizers), and both sinks must go on saying the same. PYGC_ROUNDS=n asks for more rounds, PYGC_SEED for another start.
#include <doctest/doctest.h>

#include <cstdlib>
#include <random>

#include "core/objects/object_reader.h"
#include "tests/support/python_heap.h"

using namespace pygc;
using namespace pygc::objects;
using cpython::Constant;
using cpython::Field;
using cpython::Struct;
using test::PythonHeap;

namespace mutation_test {
namespace {

std::uint64_t FromEnvironment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 0) : otherwise;
}

/// One object of each kind; returns all of them.
std::vector<Address> Fill(PythonHeap& heap) {
  const cpython::Layout& l = heap.layout();
  std::vector<Address> all;
  const auto add = [&all](Address a) {
    all.push_back(a);
    return a;
  };
  const Address s = add(heap.Str("text")), n = add(heap.Int(123456789012)), list = add(heap.List({s, n, 0, s}));
  add(heap.Tuple({list, n}));
  add(heap.Dict({{s, list}, {heap.Str("other"), n}}));
  add(heap.Dict({{n, list}}));
  std::vector<Address> elements;
  for (int i = 0; i < 20; ++i) elements.push_back(heap.Str(fmt::format("e{}", i)));
  add(heap.Set(elements));
  const Address base = add(heap.Class("app", "Base", {.slots = {"a", "b"}, .shared_keys = {"x", "y"}}));
  const Address derived = add(heap.Class("app", "Derived", {.bases = {base}, .slots = {"c"}, .has_dict = true, .shared_keys = {"x", "y"}}));
  const Address node = add(heap.Class("app", "Node", {.has_dict = true, .shared_keys = {"x", "y"}}));
  const Address stack = add(heap.Class("app", "Stack", {.bases = {heap.Builtin("tuple")}, .has_dict = true}));
  const Address meta = add(heap.Class("app", "Meta", {.bases = {heap.Builtin("type")}}));
  add(heap.Class("app", "WithMeta", {.metatype = meta}));
  for (const Address type : {base, derived, node, stack}) {
    const Address object = add(heap.Instance(type));
    if (type == derived) heap.SetDict(object, type, heap.Dict({{s, n}}));
    if (type == node && l.Has(Constant::TPFLAGS_MANAGED_DICT)) heap.SetValues(object, type, {s, list});
  }
  const Address extension = heap.ExtensionType("mod.Thing", 64);
  const Address thing = add(heap.Object(extension, 64));
  heap.fake().WriteWords(thing + 40, {list, s});
  const Address function = add(heap.Object(heap.Builtin("function"), l.Size(Struct::PyFunctionObject)));
  heap.Put(function, Field::PyFunctionObject_func_closure, list);
  add(heap.Module("app", heap.Dict({{heap.Str("Node"), node}, {heap.Str("Base"), base}})));
  const Address code = heap.Object(heap.Builtin("code"), l.Size(Struct::PyCodeObject));
  if (l.Has(Field::PyCodeObject_co_nlocalsplus)) {
    heap.Put(code, Field::PyCodeObject_co_nlocalsplus, 2);
    heap.Put(code, Field::PyCodeObject_co_localsplusnames, heap.Tuple({s, s}));
  }
  if (l.Has(Field::PyGenObject_gi_iframe)) {
    const Address g = add(heap.Object(heap.Builtin("generator"), l.Offset(Field::PyGenObject_gi_iframe) + l.Offset(Field::PyInterpreterFrame_localsplus) + 64));
    const Address frame = g + l.Offset(Field::PyGenObject_gi_iframe), locals = frame + l.Offset(Field::PyInterpreterFrame_localsplus);
    heap.Put(g, Field::PyGenObject_gi_frame_state, static_cast<std::uint64_t>(l.Value(Constant::FRAME_SUSPENDED)));
    heap.Put(frame, Field::PyInterpreterFrame_f_executable, code);
    heap.fake().WriteWords(locals, {list, s});
    if (l.Has(Field::PyInterpreterFrame_stackpointer)) {
      heap.Put(frame, Field::PyInterpreterFrame_stackpointer, locals + 16);
    } else {
      heap.Put(frame, Field::PyInterpreterFrame_stacktop, 2);
    }
  } else {
    const Address frame = add(heap.Object(heap.Builtin("frame"), l.Size(Struct::PyFrameObject) + 64, 6));
    const Address locals = frame + l.Offset(Field::PyFrameObject_f_localsplus);
    heap.Put(frame, Field::PyFrameObject_f_code, code);
    heap.Put(frame, Field::PyFrameObject_f_valuestack, locals + 24);
    heap.fake().WriteWords(locals, {list, s, n, s});
    const Address g = add(heap.Object(heap.Builtin("generator"), l.Size(Struct::PyGenObject)));
    heap.Put(g, Field::PyGenObject_gi_frame, frame);
  }
  if (l.Has(Field::dequeobject_leftblock)) {
    const Address block = heap.Allocate(l.Size(Struct::dequeblock));
    heap.fake().WriteWords(block + l.Offset(Field::dequeblock_data), {s, n, list});
    const Address deque = add(heap.Object(heap.Builtin("collections.deque"), l.Size(Struct::dequeobject), 3));
    heap.Put(deque, Field::dequeobject_leftblock, block);
    heap.Put(deque, Field::dequeobject_rightblock, block);
    heap.Put(deque, Field::dequeobject_rightindex, 2);
    if (l.Has(Field::dequeobject_len)) heap.Put(deque, Field::dequeobject_len, 3);
  }
  if (l.Has(Field::PyODictObject_od_first)) {
    const Address first = heap.Allocate(l.Size(Struct::odictnode));
    heap.Put(first, Field::odictnode_key, s);
    const Address model = heap.Dict({{s, n}}), odict = add(heap.Object(heap.Builtin("collections.OrderedDict"), l.Size(Struct::PyODictObject)));
    heap.Put(odict, Field::PyDictObject_ma_keys, heap.Get(model, Field::PyDictObject_ma_keys));
    heap.Put(odict, Field::PyODictObject_od_first, first);
  }
  if (heap.old()) {
    const Address klass = add(heap.Object(heap.Builtin("classobj"), l.Size(Struct::PyClassObject)));
    heap.Put(klass, Field::PyClassObject_cl_name, s);
    heap.Put(klass, Field::PyClassObject_cl_dict, heap.Dict({{s, n}}));
    heap.Put(klass, Field::PyClassObject_cl_bases, heap.Tuple({klass}));
    const Address instance = add(heap.Object(heap.Builtin("instance"), l.Size(Struct::PyInstanceObject)));
    heap.Put(instance, Field::PyInstanceObject_in_class, klass);
  }
  return all;
}

/// Reads all there is to read of each object. Returns the number of references, so that nothing is optimised away.
std::size_t ReadAll(const target::Process& process, const cpython::Runtime& runtime, const std::vector<Address>& objects) {
  const ObjectReader reader(process, runtime, Limits());
  std::size_t total = 0;
  ReferentBuffer plain;
  std::vector<LabelledReferent> labelled;
  for (const Address a : objects) {
    const Result<Address> type_address = process.memory.ReadPointer(a + runtime.layout.Offset(Field::PyObject_ob_type));
    const TypeFacts* type = type_address ? reader.Type(*type_address) : nullptr;
    (void)reader.Text(a, 1000);
    (void)reader.ListItems(a, 1000);
    if (!type) continue;
    plain.clear();
    labelled.clear();
    const ReferentQuality q = reader.Referents(a, *type, plain);
    CHECK(reader.LabelledReferents(a, *type, labelled) == q);
    REQUIRE(labelled.size() == plain.size());
    for (std::size_t i = 0; i < plain.size(); ++i) {
      if (labelled[i].referent != plain[i]) FAIL("the sinks differ");
      if (i < 50) total += reader.LabelText(labelled[i]).size();
    }
    (void)reader.SizeOf(a, *type);
    (void)reader.IsGc(a, *type);
    (void)reader.HasLegacyFinalizer(a, *type);
    total += reader.DisplayTypeName(a, *type).size() + plain.size();
    reader.PrefetchReferents(a, *type);
  }
  return total;
}

}  // namespace

TEST_CASE("damaged heaps of every release are read without a fault") {
  const std::uint64_t rounds = FromEnvironment("PYGC_ROUNDS", 12);
  std::mt19937_64 random(FromEnvironment("PYGC_SEED", 1));
  for (const cpython::Layout* layout : test::DefaultLayouts()) {
    CAPTURE(layout->name);
    PythonHeap heap(*layout);
    const std::vector<Address> objects = Fill(heap);
    const cpython::Runtime runtime = heap.runtime();
    // Where to do damage: in the objects, before them (heads, managed dicts), behind them (tables), in the types.
    std::vector<Address> places = objects;
    for (const char* name : {"list", "dict", "tuple", "type", "set", "str", "function"}) places.push_back(heap.Builtin(name));
    REQUIRE(ReadAll(heap.Build(), runtime, objects) > objects.size());
    for (std::uint64_t round = 0; round < rounds; ++round) {
      CAPTURE(round);
      std::vector<std::pair<Address, std::uint64_t>> before;
      const int count = 1 + static_cast<int>(random() % 12);
      for (int i = 0; i < count; ++i) {
        const Address place = places[random() % places.size()];
        const Address at = place - (place > 0x7f0000000000 ? 32 : 0) + 8 * (random() % 64);
        const std::uint64_t values[] = {0,          1,         ~std::uint64_t{0},         random(),          random() & 0xFFFF, places[random() % places.size()],
                                        at,         at + 8,    std::uint64_t{1} << (random() % 64), 0x7f0000000000 + random() % 0x400000};
        before.emplace_back(at, heap.fake().Read<std::uint64_t>(at));
        heap.fake().Write<std::uint64_t>(at, values[random() % std::size(values)]);
      }
      CHECK(ReadAll(heap.Build(), runtime, objects) < (std::size_t{1} << 32));
      for (auto it = before.rbegin(); it != before.rend(); ++it) heap.fake().Write<std::uint64_t>(it->first, it->second);
    }
  }
}

}  // namespace mutation_test
