// Objects of every release, written through its layout and read back: referents in order and number, names, labels, texts, sizes, finalizers.
// That the readers agree with the interpreters themselves is shown by tests/tools/compare_referents.py; this holds the arithmetic on every layout there is.
#include "core/objects/object_reader.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <thread>

#include "tests/support/python_heap.h"

using namespace pygc;
using namespace pygc::objects;
using cpython::Constant;
using cpython::Field;
using cpython::Struct;
using test::PythonHeap;

namespace {

/// Heap, process and reader of one layout.
struct Reading {
  explicit Reading(PythonHeap& heap) : process(heap.Build()), runtime(heap.runtime()), reader(process, runtime, Limits()) {}
  // runtime() may still write (None, sys.modules), so it comes before Build() in the order that matters: see Read().
  target::Process process;
  cpython::Runtime runtime;
  ObjectReader reader;

  const TypeFacts* TypeOf(Address object) const {
    const Result<Address> type = process.memory.ReadPointer(object + runtime.layout.Offset(Field::PyObject_ob_type));
    return type ? reader.Type(*type) : nullptr;
  }
  std::vector<Address> Referents(Address object, ReferentQuality expected = ReferentQuality::kExact) const {
    const TypeFacts* type = TypeOf(object);
    REQUIRE(type != nullptr);
    ReferentBuffer out;
    const ReferentQuality quality = reader.Referents(object, *type, out);
    CHECK_MESSAGE(quality == expected, type->name << ": " << std::string(QualityName(quality)) << " " << type->reason);
    std::vector<LabelledReferent> labelled;
    CHECK(reader.LabelledReferents(object, *type, labelled) == quality);
    std::vector<Address> same;
    for (const LabelledReferent& l : labelled) same.push_back(l.referent);
    CHECK(same == out);
    return out;
  }
  std::vector<std::string> Labels(Address object) const {
    std::vector<LabelledReferent> labelled;
    reader.LabelledReferents(object, *TypeOf(object), labelled);
    std::vector<std::string> out;
    for (const LabelledReferent& l : labelled) out.push_back(reader.LabelText(l));
    return out;
  }
};

std::unique_ptr<Reading> Read(PythonHeap& heap) {
  (void)heap.runtime();  // writes what it needs before the process is built
  return std::make_unique<Reading>(heap);
}

using Addresses = std::vector<Address>;

/// Runs `body` once for every default layout.
template <typename F>
void OnEveryLayout(F body) {
  for (const cpython::Layout* layout : test::DefaultLayouts()) {
    CAPTURE(layout->name);
    PythonHeap heap(*layout);
    body(heap);
  }
}

}  // namespace

TEST_CASE("lists and tuples are visited from the last item to the first, without the NULLs") {
  OnEveryLayout([](PythonHeap& heap) {
    const Address a = heap.Str("a"), b = heap.Int(5), c = heap.None();
    const Address list = heap.List({a, 0, b, c}), tuple = heap.Tuple({a, b}), empty = heap.List({});
    const auto r = Read(heap);
    CHECK(r->Referents(list) == Addresses{c, b, a});
    CHECK(r->Referents(tuple) == Addresses{b, a});
    CHECK(r->Referents(empty).empty());
    CHECK(r->Labels(list) == std::vector<std::string>{"[3]", "[2]", "[0]"});
    CHECK(r->TypeOf(list)->name == "list");
    CHECK(r->TypeOf(list)->reader == ReaderKind::kList);
  });
}

TEST_CASE("dicts of str keys show their values only, others keys too; 2.7 always keys") {
  OnEveryLayout([](PythonHeap& heap) {
    const Address k1 = heap.Str("one"), k2 = heap.Str("two"), n = heap.Int(7), v = heap.List({});
    const Address strings = heap.Dict({{k1, v}, {k2, n}}), mixed = heap.Dict({{k1, v}, {n, k2}});
    const auto r = Read(heap);
    if (heap.old()) {
      CHECK(r->Referents(strings) == Addresses{k1, v, k2, n});
      CHECK(r->Referents(mixed) == Addresses{k1, v, n, k2});
    } else {
      CHECK(r->Referents(strings) == Addresses{v, n});
      CHECK(r->Referents(mixed) == Addresses{v, k1, k2, n});
      CHECK(r->Labels(strings) == std::vector<std::string>{"['one']", "['two']"});
      CHECK(r->Labels(mixed) == std::vector<std::string>{"['one']", "key 'one'", "[7]", "key 7"});
    }
  });
}

TEST_CASE("large dicts have wider indices before their entries") {
  OnEveryLayout([](PythonHeap& heap) {
    const Address v = heap.None();
    std::vector<std::pair<Address, Address>> entries;
    for (int i = 0; i < 400; ++i) entries.emplace_back(heap.Str(fmt::format("key{}", i)), v);
    const Address dict = heap.Dict(entries);
    const auto r = Read(heap);
    CHECK(r->Referents(dict).size() == (heap.old() ? 800u : 400u));
    const std::optional<std::string> text = r->reader.Text(entries[399].first, 100);
    CHECK(text == "key399");
  });
}

TEST_CASE("sets are visited in table order, without dummies") {
  OnEveryLayout([](PythonHeap& heap) {
    const Address a = heap.Str("a"), b = heap.Str("b"), c = heap.Str("c");
    const Address dummy = heap.Str("<dummy key>");
    const Address set = heap.Set({a, dummy, b, c});
    heap.Put(set, Field::PySetObject_used, 3);
    const Address table = heap.Get(set, Field::PySetObject_table);
    heap.Put(table + heap.layout().Size(Struct::setentry), Field::setentry_hash, ~std::uint64_t{0});
    const auto r = Read(heap);
    CHECK(r->Referents(set) == Addresses{a, b, c});
  });
}

TEST_CASE("2.7: the dummy of an interpreter that was finalized is an element to the next one, and no sign of damage") {
  OnEveryLayout([](PythonHeap& heap) {
    if (!heap.old()) return;
    const Address a = heap.Str("a"), former = heap.Str("<dummy key>"), dummy = heap.Str("the dummy of now");
    const Address set = heap.Set({a, former}), smaller = heap.Set({a, former, heap.Str("b")});
    heap.Put(set, Field::PySetObject_used, 1);
    heap.Put(smaller, Field::PySetObject_used, 1);
    (void)heap.runtime();
    const target::Process process = heap.Build();
    cpython::Runtime runtime = heap.runtime();
    runtime.set_dummy = dummy;
    const ObjectReader reader(process, runtime, Limits());
    const auto quality = [&](Address object, ReferentBuffer& referents) {
      return reader.Referents(object, *reader.Type(heap.Get(object, Field::PyObject_ob_type)), referents);
    };
    ReferentBuffer referents, others;
    CHECK(quality(set, referents) == ReferentQuality::kExact);
    CHECK(Addresses(referents.begin(), referents.end()) == Addresses{a, former});
    CHECK(quality(smaller, others) == ReferentQuality::kPartial);  // two elements, and a count of one
  });
}

TEST_CASE("instances: slots of the class and its bases, then the dict, then the class") {
  OnEveryLayout([](PythonHeap& heap) {
    const Address a = heap.Str("a"), b = heap.Str("b"), d = heap.Dict({{heap.Str("x"), a}});
    const Address base = heap.Class("app", "Base", {.bases = {}, .slots = {"left", "right"}});
    const Address derived = heap.Class("app.sub", "Derived", {.bases = {base}, .slots = {"more"}, .has_dict = true});
    const Address object = heap.Instance(derived);
    heap.SetSlot(object, derived, "left", a);
    heap.SetSlot(object, derived, "more", b);
    heap.SetDict(object, derived, d);
    const Address plain = heap.Instance(base);
    heap.SetSlot(plain, base, "right", b);
    const auto r = Read(heap);
    CHECK(r->TypeOf(object)->name == "app.sub.Derived");
    CHECK(r->TypeOf(object)->reader == ReaderKind::kInstance);
    CHECK(r->Referents(object) == Addresses{b, a, d, derived});
    CHECK(r->Labels(object) == std::vector<std::string>{".more", ".left", ".__dict__", ".__class__"});
    CHECK(r->Referents(plain) == Addresses{b, base});
    CHECK(r->reader.IsGc(derived, *r->TypeOf(derived)));
  });
}

TEST_CASE("attributes kept in the object are visited in place of the dict") {
  OnEveryLayout([](PythonHeap& heap) {
    if (!heap.layout().Has(Constant::TPFLAGS_MANAGED_DICT)) return;
    const Address a = heap.Str("a"), b = heap.List({});
    const Address type = heap.Class("app", "Node", {.has_dict = true, .shared_keys = {"first", "second", "third"}});
    const Address object = heap.Instance(type);
    heap.SetValues(object, type, {a, 0, b});
    const auto r = Read(heap);
    CHECK(r->Referents(object) == Addresses{a, b, type});
    CHECK(r->Labels(object) == std::vector<std::string>{".first", ".third", ".__class__"});
  });
}

TEST_CASE("which of a materialised __dict__ and valid inline values is visited depends on the release") {
  OnEveryLayout([](PythonHeap& heap) {
    if (!heap.layout().Has(Constant::RULE_INLINE_VALUES_AT)) return;
    const Address a = heap.Str("a");
    const Address type = heap.Class("app", "Node", {.has_dict = true, .shared_keys = {"first"}});
    const Address object = heap.Instance(type), dict = heap.Dict({});
    heap.SetValues(object, type, {a});
    heap.SetDict(object, type, dict);
    const auto r = Read(heap);
    const bool dict_wins = heap.layout().Value(Constant::RULE_MANAGED_DICT_PREFERS_DICT) != 0;
    CHECK(r->Referents(object) == Addresses{dict_wins ? dict : a, type});
  });
}

TEST_CASE("a subclass of list shows its own parts and then what list shows") {
  OnEveryLayout([](PythonHeap& heap) {
    const Address a = heap.Str("a"), b = heap.Str("b"), d = heap.Dict({});
    const Address type = heap.Class("app", "Stack", {.bases = {heap.Builtin("list")}, .slots = {"top"}, .has_dict = true});
    const Address object = heap.Instance(type);
    const Address model = heap.List({a, b});
    for (const Field f : {Field::PyListObject_ob_item, Field::PyListObject_allocated}) heap.Put(object, f, heap.Get(model, f));
    heap.Put(object, Field::PyVarObject_ob_size, 2);
    heap.SetSlot(object, type, "top", b);
    heap.SetDict(object, type, d);
    const auto r = Read(heap);
    CHECK(r->Referents(object) == Addresses{b, d, type, b, a});
  });
}

TEST_CASE("a subclass of tuple keeps its __dict__ behind the items") {
  OnEveryLayout([](PythonHeap& heap) {
    const Address a = heap.Str("a"), b = heap.Str("b"), d = heap.Dict({});
    const Address type = heap.Class("app", "Point", {.bases = {heap.Builtin("tuple")}, .has_dict = true});
    const Address object = heap.Object(type, heap.Get(type, Field::PyTypeObject_tp_basicsize) + 3 * 8, 2);
    heap.fake().WriteWords(object + heap.layout().Offset(Field::PyTupleObject_ob_item), {a, b});
    heap.SetDict(object, type, d);
    const auto r = Read(heap);
    CHECK(r->Referents(object) == Addresses{d, type, b, a});
  });
}

TEST_CASE("classes show dict, mro, bases; static types show nothing") {
  OnEveryLayout([](PythonHeap& heap) {
    const Address type = heap.Class("app", "Node"), list_type = heap.Builtin("list");
    const auto r = Read(heap);
    const Addresses found = r->Referents(type);
    CHECK(found == Addresses{heap.Get(type, Field::PyTypeObject_tp_dict), heap.Get(type, Field::PyTypeObject_tp_mro), heap.Get(type, Field::PyTypeObject_tp_bases),
                             heap.Get(type, Field::PyTypeObject_tp_base)});
    CHECK(r->Referents(list_type).empty());
    CHECK_FALSE(r->reader.IsGc(list_type, *r->TypeOf(list_type)));
  });
}

TEST_CASE("a metaclass is visited by its classes") {
  OnEveryLayout([](PythonHeap& heap) {
    const Address meta = heap.Class("app", "Meta", {.bases = {heap.Builtin("type")}});
    const Address type = heap.Class("app", "WithMeta", {.metatype = meta});
    const Address object = heap.Instance(type);
    const auto r = Read(heap);
    REQUIRE(r->TypeOf(object) != nullptr);
    CHECK(r->TypeOf(object)->name == "app.WithMeta");
    const Addresses found = r->Referents(type);
    CHECK(std::count(found.begin(), found.end(), meta) == 1);
    CHECK(r->reader.IsGc(type, *r->TypeOf(type)));
  });
}

TEST_CASE("functions show their fields in order, with the names Python gives them") {
  OnEveryLayout([](PythonHeap& heap) {
    const Address function = heap.Object(heap.Builtin("function"), heap.layout().Size(Struct::PyFunctionObject));
    const Address code = heap.None(), globals = heap.Dict({}), closure = heap.Tuple({});
    heap.Put(function, Field::PyFunctionObject_func_code, code);
    heap.Put(function, Field::PyFunctionObject_func_globals, globals);
    heap.Put(function, Field::PyFunctionObject_func_closure, closure);
    const auto r = Read(heap);
    CHECK(r->Referents(function) == Addresses{code, globals, closure});
    CHECK(r->Labels(function) == std::vector<std::string>{".__code__", ".__globals__", ".__closure__"});
  });
}

TEST_CASE("a generator that is suspended shows its frame, one that is done does not") {
  OnEveryLayout([](PythonHeap& heap) {
    if (!heap.layout().Has(Field::PyGenObject_gi_iframe)) return;
    const cpython::Layout& l = heap.layout();
    const Address a = heap.Str("a"), b = heap.List({}), code = heap.Object(heap.Builtin("code"), l.Size(Struct::PyCodeObject));
    heap.Put(code, Field::PyCodeObject_co_localsplusnames, heap.Tuple({heap.Str("x")}));
    heap.Put(code, Field::PyCodeObject_co_nlocalsplus, 1);
    const auto make = [&](Constant state) {
      const Address g = heap.Object(heap.Builtin("generator"), l.Offset(Field::PyGenObject_gi_iframe) + l.Offset(Field::PyInterpreterFrame_localsplus) + 32);
      const Address frame = g + l.Offset(Field::PyGenObject_gi_iframe);
      heap.Put(g, Field::PyGenObject_gi_name, a);
      heap.Put(g, Field::PyGenObject_gi_frame_state, static_cast<std::uint64_t>(l.Value(state)));
      heap.Put(frame, Field::PyInterpreterFrame_f_executable, code);
      const Address locals = frame + l.Offset(Field::PyInterpreterFrame_localsplus);
      heap.fake().WriteWords(locals, {b, a, 0});
      if (l.Has(Field::PyInterpreterFrame_stackpointer)) {
        heap.Put(frame, Field::PyInterpreterFrame_stackpointer, locals + 16);
        heap.fake().Write<std::uint64_t>(locals, b | 1);  // a borrowed reference
      } else {
        heap.Put(frame, Field::PyInterpreterFrame_stacktop, 2);
      }
      return g;
    };
    const Address suspended = make(Constant::FRAME_SUSPENDED), cleared = make(Constant::FRAME_CLEARED);
    const auto r = Read(heap);
    CHECK(r->Referents(suspended) == Addresses{a, code, b, a});
    CHECK(r->Labels(suspended) == std::vector<std::string>{".__name__", ".f_code", "local x", "stack[0]"});
    if (l.Value(Constant::RULE_GEN_CLEARED_VISITS_EXECUTABLE)) {
      CHECK(r->Referents(cleared) == Addresses{a, code});
    } else {
      CHECK(r->Referents(cleared) == Addresses{a});
    }
  });
}

TEST_CASE("a frame shows locals and the value stack") {
  OnEveryLayout([](PythonHeap& heap) {
    const cpython::Layout& l = heap.layout();
    if (!l.Has(Field::PyFrameObject_f_valuestack)) return;
    const Address a = heap.Str("a"), b = heap.List({}), back = heap.None();
    const Address frame = heap.Object(heap.Builtin("frame"), l.Size(Struct::PyFrameObject) + 10 * 8, 5);
    const Address locals = frame + l.Offset(Field::PyFrameObject_f_localsplus);
    heap.Put(frame, Field::PyFrameObject_f_back, back);
    heap.Put(frame, Field::PyFrameObject_f_valuestack, locals + 16);
    heap.fake().WriteWords(locals, {a, 0, b, b, a});
    if (l.Has(Field::PyFrameObject_f_stackdepth)) {
      heap.Put(frame, Field::PyFrameObject_f_stackdepth, 1);
    } else {
      heap.Put(frame, Field::PyFrameObject_f_stacktop, locals + 24);
    }
    const auto r = Read(heap);
    CHECK(r->Referents(frame) == Addresses{back, a, b});
  });
}

TEST_CASE("a deque shows its items over several blocks") {
  OnEveryLayout([](PythonHeap& heap) {
    const cpython::Layout& l = heap.layout();
    const std::uint32_t block_bytes = l.Size(Struct::dequeblock), items = l.Width(Field::dequeblock_data) / 8;
    if (block_bytes == 0) return;
    const Address a = heap.Str("a"), b = heap.Str("b"), c = heap.Str("c");
    const Address one = heap.Allocate(block_bytes), two = heap.Allocate(block_bytes);
    heap.Put(one, Field::dequeblock_rightlink, two);
    heap.fake().WriteWords(one + l.Offset(Field::dequeblock_data) + 8 * (items - 1), {a});
    heap.fake().WriteWords(two + l.Offset(Field::dequeblock_data), {b, c});
    const Address deque = heap.Object(heap.Builtin("collections.deque"), l.Size(Struct::dequeobject), 3);
    heap.Put(deque, Field::dequeobject_leftblock, one);
    heap.Put(deque, Field::dequeobject_rightblock, two);
    heap.Put(deque, Field::dequeobject_leftindex, items - 1);
    heap.Put(deque, Field::dequeobject_rightindex, 1);
    if (l.Has(Field::dequeobject_len)) heap.Put(deque, Field::dequeobject_len, 3);
    const auto r = Read(heap);
    CHECK(r->Referents(deque) == Addresses{a, b, c});
    const std::optional<std::uint64_t> size = r->reader.SizeOf(deque, *r->TypeOf(deque));
    CHECK(!size.has_value());  // no mro in this heap says whose __sizeof__ it is
  });
}

// How many members the object lacks: as it is, and where `slot` holds 0.
std::pair<std::uint64_t, std::uint64_t> Absent(PythonHeap& heap, Address object, Address slot) {
  const auto count = [&] {
    const auto r = Read(heap);
    return r->reader.AbsentMembers(object, *r->TypeOf(object));
  };
  const std::uint64_t whole = count(), old = heap.fake().Read<std::uint64_t>(slot);
  heap.fake().Write<std::uint64_t>(slot, 0);
  const std::uint64_t damaged = count();
  heap.fake().Write<std::uint64_t>(slot, old);
  return {whole, damaged};
}

TEST_CASE("members that a complete object always has are missed where they are NULL") {
  const std::pair<std::uint64_t, std::uint64_t> kMissed{0, 1}, kNotMissed{0, 0};
  OnEveryLayout([&](PythonHeap& heap) {
    const cpython::Layout& l = heap.layout();
    const Address a = heap.Str("a"), b = heap.Str("b");
    const Address list = heap.List({a, b}), tuple = heap.Tuple({a, b});
    CHECK(Absent(heap, list, heap.Get(list, Field::PyListObject_ob_item) + 8) == kMissed);
    CHECK(Absent(heap, tuple, tuple + l.Offset(Field::PyTupleObject_ob_item)) == kMissed);
    if (!heap.old()) {
      const Address method = heap.Object(heap.Builtin("method"), l.Size(Struct::PyMethodObject));
      heap.Put(method, Field::PyMethodObject_im_func, a);
      heap.Put(method, Field::PyMethodObject_im_self, b);
      CHECK(Absent(heap, method, method + l.Offset(Field::PyMethodObject_im_func)) == kMissed);
      CHECK(Absent(heap, method, method + l.Offset(Field::PyMethodObject_im_self)) == kMissed);
    }
    const Address cell = heap.Object(heap.Builtin("cell"), l.Size(Struct::PyCellObject));
    heap.Put(cell, Field::PyCellObject_ob_ref, a);
    CHECK(Absent(heap, cell, cell + l.Offset(Field::PyCellObject_ob_ref)) == kNotMissed);
    const std::uint32_t items = l.Size(Struct::dequeblock) == 0 ? 0 : l.Width(Field::dequeblock_data) / 8;
    if (items == 0) return;
    const Address block = heap.Allocate(l.Size(Struct::dequeblock)), slots = block + l.Offset(Field::dequeblock_data);
    heap.fake().WriteWords(slots + 8, {a, b, a});
    const Address deque = heap.Object(heap.Builtin("collections.deque"), l.Size(Struct::dequeobject), 3);
    heap.Put(deque, Field::dequeobject_leftblock, block);
    heap.Put(deque, Field::dequeobject_rightblock, block);
    heap.Put(deque, Field::dequeobject_leftindex, 1);
    heap.Put(deque, Field::dequeobject_rightindex, 3);
    if (l.Has(Field::dequeobject_len)) heap.Put(deque, Field::dequeobject_len, 3);
    CHECK(Absent(heap, deque, slots + 16) == kMissed);
    CHECK(Absent(heap, deque, slots + 32) == kNotMissed);  // behind the last item
  });
}

TEST_CASE("attribute values that are counted are missed where they are NULL") {
  OnEveryLayout([](PythonHeap& heap) {
    const cpython::Layout& l = heap.layout();
    if (!l.Has(Struct::PyDictValues)) return;
    const Address a = heap.Str("a"), b = heap.Str("b");
    const Address type = heap.Class("app", "Node", {.has_dict = true, .shared_keys = {"x", "y", "z"}});
    const Address node = heap.Instance(type);
    const Address values = heap.SetValues(node, type, {a, b, 0});
    CHECK(Absent(heap, node, values + 8) == std::pair<std::uint64_t, std::uint64_t>(0, 1));
    CHECK(Absent(heap, node, values + 16) == std::pair<std::uint64_t, std::uint64_t>(0, 0));  // no such attribute
    const Address cleared = heap.Instance(type);
    const Address none = heap.SetValues(cleared, type, {a, 0, 0});
    const bool says_so = l.version.major > 3 || l.version.minor >= 13;  // later ones have a flag where the collector cleared the values
    CHECK(Absent(heap, cleared, none) == std::pair<std::uint64_t, std::uint64_t>(0, says_so ? 1 : 0));
  });
}

TEST_CASE("an exception's subclass visits its __dict__ once, as BaseException does") {
  OnEveryLayout([](PythonHeap& heap) {
    const Address dict = heap.Dict({}), args = heap.Tuple({});
    const Address type = heap.Class("app", "Error", {.bases = {heap.Builtin("BaseException")}});
    const Address error = heap.Instance(type);
    heap.Put(error, Field::PyBaseExceptionObject_dict, dict);
    heap.Put(error, Field::PyBaseExceptionObject_args, args);
    const auto r = Read(heap);
    if (heap.old()) return;  // there it is exceptions.BaseException
    CHECK(r->Referents(error) == Addresses{type, dict, args});
  });
}

TEST_CASE("a type whose code nobody knows is scanned, and says so") {
  OnEveryLayout([](PythonHeap& heap) {
    const Address a = heap.List({});
    const std::uint32_t head = heap.layout().Size(Struct::PyObject);
    const Address type = heap.ExtensionType("mod.Thing", head + 32);
    const Address object = heap.Object(type, head + 32);
    heap.fake().WriteWords(object + head, {0x1234567, a, a + 1, a});
    const Address derived = heap.Class("app", "Derived", {.bases = {type}, .slots = {"own"}});
    const Address child = heap.Instance(derived);
    heap.fake().WriteWords(child + head, {a, 0, 0, 0});
    heap.SetSlot(child, derived, "own", a);
    const auto r = Read(heap);
    CHECK(r->Referents(object, ReferentQuality::kApproximate) == Addresses{a, a});
    CHECK(r->TypeOf(object)->name == "mod.Thing");
    CHECK_FALSE(r->TypeOf(object)->reason.empty());
    CHECK(r->Referents(child, ReferentQuality::kApproximate) == Addresses{a, derived, a});
  });
}

TEST_CASE("names: module and qualname of classes, the last dot of static types, builtins without a module") {
  OnEveryLayout([](PythonHeap& heap) {
    const Address plain = heap.Class("package.module", "Plain"), builtin = heap.Class(heap.old() ? "__builtin__" : "builtins", "Odd");
    const Address extension = heap.ExtensionType("mod.sub.Thing", 64), dict = heap.Builtin("dict");
    const auto r = Read(heap);
    CHECK(r->reader.Type(plain)->name == "package.module.Plain");
    CHECK(r->reader.Type(builtin)->name == "Odd");
    CHECK(r->reader.Type(extension)->name == "mod.sub.Thing");
    CHECK(r->reader.Type(extension)->module == "mod.sub");
    CHECK(r->reader.Type(dict)->name == "dict");
  });
}

TEST_CASE("where the names of static types cannot be read, module dicts say what they are called") {
  OnEveryLayout([](PythonHeap& heap) {
    const Address a = heap.Str("a"), list = heap.List({a, a}), type = heap.Class("app", "Node");
    const Address function = heap.Object(heap.Builtin("function"), heap.layout().Size(Struct::PyFunctionObject));
    heap.Put(function, Field::PyFunctionObject_func_name, a);
    heap.Module(heap.old() ? "__builtin__" : "builtins", heap.Dict({{heap.Str("list"), heap.Builtin("list")}, {heap.Str("type"), heap.Builtin("type")}}));
    heap.Module("types", heap.Dict({{heap.Str("FunctionType"), heap.Builtin("function")}}));
    heap.Module("app", heap.Dict({{heap.Str("Node"), type}}));
    const Address deque = heap.Builtin("collections.deque");
    for (const char* name : {"list", "type", "function", "collections.deque"}) heap.Put(heap.Builtin(name), Field::PyTypeObject_tp_name, 0x10);
    const auto r = Read(heap);
    CHECK(r->TypeOf(list)->name == "list");
    CHECK(r->Referents(list) == Addresses{a, a});
    CHECK(r->TypeOf(function)->name == "function");
    CHECK(r->Referents(function) == Addresses{a});
    CHECK(r->reader.Type(deque)->name.starts_with("type@0x"));
    CHECK(r->reader.Type(deque)->reader == ReaderKind::kScan);
    CHECK(r->reader.Type(type)->name == "app.Node");
  });
}

TEST_CASE("what is no type object is refused") {
  OnEveryLayout([](PythonHeap& heap) {
    const Address type = heap.Class("app", "Node"), object = heap.Instance(type), list = heap.List({});
    const Address loop_a = heap.Class("app", "A"), loop_b = heap.Class("app", "B");
    heap.Put(loop_a, Field::PyObject_ob_type, loop_b);
    heap.Put(loop_b, Field::PyObject_ob_type, loop_a);
    const Address huge = heap.Class("app", "Huge");
    heap.Put(huge, Field::PyTypeObject_tp_basicsize, std::uint64_t{1} << 50);
    const auto r = Read(heap);
    CHECK(r->reader.Type(type) != nullptr);
    for (const Address a : {object, list, loop_a, loop_b, huge, Address{0}, Address{8}, type + 4, ~Address{0}, ~Address{7}}) {
      CAPTURE(a);
      CHECK(r->reader.Type(a) == nullptr);
      CHECK(r->reader.Type(a) == nullptr);  // remembered
    }
  });
}

TEST_CASE("a chain of bases that is a ring ends, and says that it is not complete") {
  OnEveryLayout([](PythonHeap& heap) {
    const Address a = heap.Class("app", "A", {.slots = {"x"}}), b = heap.Class("app", "B", {.bases = {a}, .slots = {"y"}});
    heap.Put(a, Field::PyTypeObject_tp_base, b);
    const Address object = heap.Instance(b);
    const auto r = Read(heap);
    REQUIRE(r->TypeOf(object) != nullptr);
    CHECK(r->TypeOf(object)->quality == ReferentQuality::kPartial);
    (void)r->Referents(object, ReferentQuality::kPartial);
  });
}

TEST_CASE("damaged counts and pointers give what can be read, and a label") {
  OnEveryLayout([](PythonHeap& heap) {
    const Address a = heap.Str("a"), list_type = heap.Builtin("list");
    const Address negative = heap.List({a});
    heap.Put(negative, Field::PyVarObject_ob_size, ~std::uint64_t{0});
    const Address longer = heap.List({a, a});
    heap.Put(longer, Field::PyVarObject_ob_size, 1000);
    const Address wild = heap.List({a});
    heap.Put(wild, Field::PyListObject_ob_item, 0x123450);
    const Address endless = heap.List({a});
    heap.Put(endless, Field::PyVarObject_ob_size, std::uint64_t{1} << 60);
    heap.Put(endless, Field::PyListObject_allocated, std::uint64_t{1} << 60);
    const Address tuple = heap.Tuple({a});
    heap.Put(tuple, Field::PyVarObject_ob_size, std::uint64_t{1} << 61);
    const Address set = heap.Set({a});
    heap.Put(set, Field::PySetObject_mask, 6);
    const Address big_set = heap.Set({a});
    heap.Put(big_set, Field::PySetObject_mask, (std::uint64_t{1} << 39) - 1);
    const Address dict = heap.Dict({{a, a}});
    if (heap.old()) {
      heap.Put(dict, Field::PyDictObject_ma_mask, 5);
    } else {
      heap.Put(heap.Get(dict, Field::PyDictObject_ma_keys), Field::PyDictKeysObject_dk_nentries, 1000);
    }
    const Address type = heap.Class("app", "Node", {.slots = {"x"}});
    heap.Put(type, Field::PyVarObject_ob_size, std::uint64_t{1} << 40);
    const Address object = heap.Instance(type);
    const auto r = Read(heap);
    CHECK(r->Referents(negative, ReferentQuality::kPartial).empty());
    CHECK(r->Referents(longer, ReferentQuality::kPartial) == Addresses{a, a});
    CHECK(r->Referents(wild, ReferentQuality::kPartial).empty());
    (void)r->Referents(endless, ReferentQuality::kPartial);  // ends at the end of memory
    (void)r->Referents(tuple, ReferentQuality::kPartial);
    CHECK(r->Referents(set, ReferentQuality::kPartial).empty());
    (void)r->Referents(big_set, ReferentQuality::kPartial);
    CHECK(r->Referents(dict, ReferentQuality::kPartial).empty());
    CHECK(r->Referents(object, ReferentQuality::kPartial) == Addresses{type});
    ReferentBuffer out;
    CHECK(r->reader.Referents(0x10, *r->reader.Type(list_type), out) == ReferentQuality::kUnknown);
    CHECK(out.empty());
  });
}

TEST_CASE("rings of deque blocks and of OrderedDict nodes end") {
  OnEveryLayout([](PythonHeap& heap) {
    const cpython::Layout& l = heap.layout();
    const Address a = heap.Str("a");
    if (l.Size(Struct::dequeblock) != 0) {
      const std::uint32_t items = l.Width(Field::dequeblock_data) / 8;
      const Address block = heap.Allocate(l.Size(Struct::dequeblock));
      heap.Put(block, Field::dequeblock_rightlink, block);
      const Address deque = heap.Object(heap.Builtin("collections.deque"), l.Size(Struct::dequeobject), 100000);
      heap.Put(deque, Field::dequeobject_leftblock, block);
      heap.Put(deque, Field::dequeobject_rightblock, 0x10);
      if (l.Has(Field::dequeobject_len)) heap.Put(deque, Field::dequeobject_len, 100000);
      const auto r = Read(heap);
      CHECK(r->Referents(deque, ReferentQuality::kPartial).empty());
      heap.Put(deque, Field::dequeobject_leftindex, items);
      const auto q = Read(heap);
      CHECK(q->Referents(deque, ReferentQuality::kPartial).empty());
    }
    if (l.Size(Struct::odictnode) != 0) {
      const Address node = heap.Allocate(l.Size(Struct::odictnode)), other = heap.Allocate(l.Size(Struct::odictnode));
      heap.Put(node, Field::odictnode_key, a);
      heap.Put(node, Field::odictnode_next, other);
      heap.Put(other, Field::odictnode_key, a);
      heap.Put(other, Field::odictnode_next, node);
      const Address model = heap.Dict({{a, a}});
      const Address odict = heap.Object(heap.Builtin("collections.OrderedDict"), l.Size(Struct::PyODictObject));
      heap.Put(odict, Field::PyDictObject_ma_keys, heap.Get(model, Field::PyDictObject_ma_keys));
      heap.Put(odict, Field::PyODictObject_od_first, node);
      const auto r = Read(heap);
      CHECK(r->Referents(odict, ReferentQuality::kPartial).size() < 100);
    }
  });
}

TEST_CASE("texts: widths, limits, damaged ones") {
  OnEveryLayout([](PythonHeap& heap) {
    const cpython::Layout& l = heap.layout();
    const Address ascii = heap.Str("hello"), number = heap.Int(-12345678901);
    Address wide = 0, damaged = 0;
    if (!heap.old()) {
      const std::uint32_t data = l.Size(Struct::PyCompactUnicodeObject);
      wide = heap.Object(heap.Builtin("str"), data + 32);
      heap.Put(wide, Field::PyASCIIObject_length, 4);
      heap.fake().Write<std::uint32_t>(wide + l.Offset(Field::PyASCIIObject_state),
                                       (4u << l.Value(Constant::UNICODE_KIND_SHIFT)) | (1u << l.Value(Constant::UNICODE_COMPACT_SHIFT)));
      for (std::uint32_t i = 0; const std::uint32_t c : {0x41u, 0xE9u, 0x20ACu, 0x1F600u}) heap.fake().Write<std::uint32_t>(wide + data + 4 * i++, c);
      damaged = heap.Object(heap.Builtin("str"), data + 32);
      heap.Put(damaged, Field::PyASCIIObject_length, std::uint64_t{1} << 40);
      heap.fake().Write<std::uint32_t>(damaged + l.Offset(Field::PyASCIIObject_state),
                                       (1u << l.Value(Constant::UNICODE_KIND_SHIFT)) | (1u << l.Value(Constant::UNICODE_COMPACT_SHIFT)));
    }
    const Address list = heap.List({});
    const auto r = Read(heap);
    CHECK(r->reader.Text(ascii, 100) == "hello");
    CHECK(r->reader.Text(ascii, 2) == "he");
    CHECK_FALSE(r->reader.Text(list, 100));
    CHECK_FALSE(r->reader.Text(number, 100));
    CHECK_FALSE(r->reader.Text(0x10, 100));
    if (wide) {
      CHECK(r->reader.Text(wide, 100) == "A\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80");
      CHECK(r->reader.Text(wide, 2) == "A\xC3\xA9");
      CHECK_FALSE(r->reader.Text(damaged, std::size_t{1} << 50));
      CHECK(r->reader.Text(damaged, 3).has_value());
    }
    LabelledReferent item;
    item.kind = SlotKind::kDictValue;
    item.key = number;
    CHECK(r->reader.LabelText(item) == "[-12345678901]");
  });
}

TEST_CASE("sizes of lists and dicts count their tables and the collector's head") {
  OnEveryLayout([](PythonHeap& heap) {
    const cpython::Layout& l = heap.layout();
    const Address type = heap.Builtin("list");
    heap.Put(type, Field::PyTypeObject_tp_mro, heap.Tuple({type, heap.Builtin("object")}));
    heap.Put(type, Field::PyTypeObject_tp_dict, heap.Dict({{heap.Str("__sizeof__"), heap.None()}}));
    const Address list = heap.List({heap.None(), heap.None()});
    heap.Put(list, Field::PyListObject_allocated, 4);
    const auto r = Read(heap);
    CHECK(r->reader.SizeOf(list, *r->TypeOf(list)) == l.Size(Struct::PyListObject) + 4 * 8 + l.Size(Struct::PyGC_Head));
  });
}

TEST_CASE("classic instances of 2.7 are shown by their class, and a __del__ of their own or of any base counts") {
  OnEveryLayout([](PythonHeap& heap) {
    if (!heap.old()) return;
    const auto make_class = [&](const char* name, Address bases, Address dict) {
      const Address c = heap.Object(heap.Builtin("classobj"), heap.layout().Size(Struct::PyClassObject));
      heap.Put(c, Field::PyClassObject_cl_name, heap.Str(name));
      heap.Put(c, Field::PyClassObject_cl_bases, bases);
      heap.Put(c, Field::PyClassObject_cl_dict, dict);
      return c;
    };
    const Address base = make_class("Base", heap.Tuple({}), heap.Dict({{heap.Str("__module__"), heap.Str("app")}, {heap.Str("__del__"), heap.None()}}));
    const Address derived = make_class("Derived", heap.Tuple({base}), heap.Dict({{heap.Str("__module__"), heap.Str("app")}}));
    const Address other = make_class("Other", heap.Tuple({}), heap.Dict({}));
    const Address ring = make_class("Ring", heap.Tuple({other}), heap.Dict({}));
    heap.Put(other, Field::PyClassObject_cl_bases, heap.Tuple({ring}));
    const auto make = [&](Address c, Address dict) {
      const Address i = heap.Object(heap.Builtin("instance"), heap.layout().Size(Struct::PyInstanceObject));
      heap.Put(i, Field::PyInstanceObject_in_class, c);
      heap.Put(i, Field::PyInstanceObject_in_dict, dict);
      return i;
    };
    const Address dict = heap.Dict({}), object = make(derived, dict), plain = make(other, dict), looped = make(ring, dict);
    const Address own = make(other, heap.Dict({{heap.Str("__del__"), heap.None()}}));  // instance.__del__ = function
    const auto r = Read(heap);
    const TypeFacts& type = *r->TypeOf(object);
    CHECK(type.name == "instance");
    CHECK(r->reader.DisplayTypeName(object, type) == "app.Derived");
    CHECK(r->reader.DisplayTypeName(plain, type) == "Other");
    CHECK(r->Referents(object) == Addresses{derived, dict});
    CHECK(type.object_decides_legacy_finalizer);
    CHECK(r->reader.HasLegacyFinalizer(object, type));
    CHECK(r->reader.HasLegacyFinalizer(own, type));
    CHECK_FALSE(r->reader.HasLegacyFinalizer(plain, type));
    CHECK_FALSE(r->reader.HasLegacyFinalizer(looped, type));
  });
}

TEST_CASE("legacy finalizers: tp_del; in 2.7 of classes only") {
  OnEveryLayout([](PythonHeap& heap) {
    const Address type = heap.Class("app", "WithDel"), plain = heap.Class("app", "Plain"), fixed = heap.ExtensionType("mod.Fixed", 64);
    heap.Put(type, Field::PyTypeObject_tp_del, heap.Function("slot_tp_del"));
    heap.Put(fixed, Field::PyTypeObject_tp_del, heap.Function("fixed_del"));
    const auto r = Read(heap);
    CHECK(r->reader.Type(type)->legacy_finalizer);
    CHECK_FALSE(r->reader.Type(plain)->legacy_finalizer);
    CHECK(r->reader.Type(fixed)->legacy_finalizer == !heap.old());
  });
}

TEST_CASE("__del__ of Python code is told from tp_finalize of C code") {
  OnEveryLayout([](PythonHeap& heap) {
    if (!heap.layout().Has(Field::PyTypeObject_tp_finalize)) return;
    const Address function = heap.Object(heap.Builtin("function"), heap.layout().Size(Struct::PyFunctionObject));
    const Address list_type = heap.Builtin("list");
    const Address with_del = heap.Class("app", "WithDel", {.attributes = {{"__del__", function}}}), other = heap.ExtensionType("mod.Other", 64);
    for (const Address t : {with_del, other}) {
      heap.Put(t, Field::PyTypeObject_tp_finalize, heap.Function("finalize"));
      heap.Put(t, Field::PyTypeObject_tp_flags,
               heap.Get(t, Field::PyTypeObject_tp_flags) | static_cast<std::uint64_t>(heap.layout().Value(Constant::TPFLAGS_HAVE_FINALIZE)));
    }
    const auto r = Read(heap);
    CHECK(r->reader.Type(with_del)->finalizer == FinalizerKind::kDel);
    CHECK(r->reader.Type(other)->finalizer == FinalizerKind::kTpFinalize);
    CHECK(r->reader.Type(list_type)->finalizer == FinalizerKind::kNone);
  });
}

TEST_CASE("items of a list object, bounded") {
  OnEveryLayout([](PythonHeap& heap) {
    const Address a = heap.Str("a"), list = heap.List({a, a, a}), wrong = heap.List({a});
    heap.Put(wrong, Field::PyVarObject_ob_size, 50);
    const auto r = Read(heap);
    CHECK(r->reader.ListItems(list, 100).value() == Addresses{a, a, a});
    CHECK(r->reader.ListItems(list, 2).value() == Addresses{a, a});
    CHECK(r->reader.ListItems(wrong, 2).error().code == ErrorCode::kCorrupt);
    CHECK(r->reader.ListItems(0x10, 2).error().code == ErrorCode::kFault);
  });
}

TEST_CASE("many threads meet the same types for the first time") {
  const cpython::Layout& layout = *test::DefaultLayouts().front();
  PythonHeap heap(layout);
  std::vector<Address> types;
  for (int i = 0; i < 1500; ++i) types.push_back(heap.Class("app", fmt::format("C{}", i)));
  const auto r = Read(heap);
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < types.size(); ++i) {
        const std::size_t k = (i * 7 + static_cast<std::size_t>(t) * 31) % types.size();
        const TypeFacts* f = r->reader.Type(types[k]);
        if (!f || f->address != types[k] || f->qualname != fmt::format("C{}", k)) ++wrong;
        if (r->reader.Type(types[k] + 16) != nullptr) ++wrong;
      }
    });
  }
  for (std::thread& t : threads) t.join();
  CHECK(wrong == 0);
  const std::vector<const TypeFacts*> all = r->reader.Types();
  for (std::size_t i = 0; i < all.size(); ++i) CHECK(all[i]->id == i);
  CHECK(std::count_if(all.begin(), all.end(), [](const TypeFacts* f) { return f->module == "app"; }) == 1500);
}
