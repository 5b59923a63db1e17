#include "tests/support/python_heap.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <stdexcept>

namespace pygc::test {

using cpython::Constant;
using cpython::Field;
using cpython::Layout;
using cpython::Struct;

namespace {

constexpr Address kCode = 0x400000, kCodeBytes = 0x10000, kData = 0x600000, kDataBytes = 0x100000;
constexpr Address kHeap = 0x7f0000000000, kHeapBytes = 0x400000;
constexpr Address kExtensionCode = 0x7e0000000000;

}  // namespace

/// What is special about a static type of the interpreter.
struct PythonHeap::BuiltinShape {
  const char* name;
  Struct structure;
  std::int64_t itemsize;
  const char* base;      // nullptr: object
  Constant subclass;     // TPFLAGS_*_SUBCLASS, or TPFLAGS_READY for none
  const char* traverse;  // nullptr: not a GC type
};

PythonHeap::PythonHeap(const Layout& layout)
    : layout_(layout),
      gc_head_bytes_(layout.Has(Struct::PyGC_Head) ? layout.Size(Struct::PyGC_Head) : 0),
      preheader_bytes_(static_cast<std::uint32_t>(layout.Value(Constant::PREHEADER_BYTES))),
      heap_next_(kHeap + 0x1000),
      data_next_(kData),
      code_next_(kCode) {
  const std::uint32_t module = fake_.AddModule("/usr/bin/python", {{kCode, kCode + kCodeBytes}, {kData, kData + kDataBytes}});
  fake_.Map(kCode, kCodeBytes, "r-x", module);
  fake_.Map(kData, kDataBytes, "rw-", module);
  const std::uint32_t extension = fake_.AddModule("/usr/lib/python/_extension.so", {{kExtensionCode, kExtensionCode + 0x1000}});
  fake_.Map(kExtensionCode, 0x1000, "r-x", extension);
  fake_.Map(kHeap, kHeapBytes);
  const std::uint32_t type_bytes = (layout.Size(Struct::PyTypeObject) + 15) & ~15u;
  type_type_ = data_next_;
  object_type_ = data_next_ + type_bytes;
  data_next_ += 2 * type_bytes;
  builtins_["type"] = type_type_;
  builtins_["object"] = object_type_;
  WriteType(object_type_, type_type_, "object", layout.Size(Struct::PyObject), 0, 0, 0, 0);
  WriteType(type_type_, type_type_, "type", layout.Size(Struct::PyHeapTypeObject), layout.Size(Struct::PyMemberDef),
            static_cast<std::uint64_t>(layout.Value(Constant::TPFLAGS_HAVE_GC) | layout.Value(Constant::TPFLAGS_TYPE_SUBCLASS)), Function("type_traverse"),
            object_type_);
  Put(type_type_, Field::PyTypeObject_tp_is_gc, Function("type_is_gc"));
  generation0_ = Allocate(64);
  fake_.WriteWords(generation0_, {generation0_, generation0_});
  interpreter_ = Allocate(64);
}

bool PythonHeap::old() const noexcept { return layout_.Has(Field::PyDictObject_ma_table); }

void PythonHeap::Put(Address object, Field field, std::uint64_t value) {
  if (!layout_.Has(field)) throw std::logic_error("the layout has no " + std::string(cpython::FieldName(field)));
  const std::uint32_t width = layout_.Width(field);
  fake_.WriteBytes(object + layout_.Offset(field), std::as_bytes(std::span(&value, 1)).first(width > 8 ? 8 : width));
}

std::uint64_t PythonHeap::Get(Address object, Field field) const {
  std::uint64_t value = fake_.Read<std::uint64_t>(object + layout_.Offset(field));
  const std::uint32_t width = layout_.Width(field);
  return width >= 8 ? value : value & ((std::uint64_t{1} << (width * 8)) - 1);
}

Address PythonHeap::Function(const std::string& name) {
  Address& a = functions_[name];
  if (a == 0) {
    a = code_next_;
    code_next_ += 16;
  }
  return a;
}

Address PythonHeap::StaticString(std::string_view text) {
  const Address a = data_next_;
  fake_.WriteString(a, text);
  data_next_ = (data_next_ + text.size() + 1 + 15) & ~Address{15};
  return a;
}

Address PythonHeap::Allocate(std::uint64_t bytes) {
  const Address a = heap_next_;
  heap_next_ = (heap_next_ + bytes + 15) & ~Address{15};
  if (heap_next_ > kHeap + kHeapBytes) throw std::logic_error("the heap of the test is full");
  return a;
}

Address PythonHeap::Object(Address type, std::uint64_t bytes, std::int64_t ob_size) {
  const bool preheader = (Get(type, Field::PyTypeObject_tp_flags) & static_cast<std::uint64_t>(layout_.Value(Constant::TPFLAGS_PREHEADER))) != 0;
  const Address a = Allocate((preheader ? preheader_bytes_ : 0) + gc_head_bytes_ + bytes) + (preheader ? preheader_bytes_ : 0) + gc_head_bytes_;
  if (layout_.Has(Field::PyObject_ob_refcnt)) Put(a, Field::PyObject_ob_refcnt, 1);
  Put(a, Field::PyObject_ob_type, type);
  if (ob_size != 0) Put(a, Field::PyVarObject_ob_size, static_cast<std::uint64_t>(ob_size));
  if (layout_.Has(Field::PyGC_Head_gc_refs)) WriteGcRefs(a, layout_.Value(Constant::GC_REFS_UNTRACKED));
  return a;
}

void PythonHeap::WriteGcRefs(Address object, std::int64_t value) {
  fake_.Write<std::uint64_t>(object - gc_head_bytes_ + layout_.Offset(Field::PyGC_Head_gc_refs), static_cast<std::uint64_t>(value) << layout_.Value(Constant::GC_REFS_SHIFT));
}

void PythonHeap::WriteType(Address type, Address metatype, const std::string& name, std::int64_t basicsize, std::int64_t itemsize, std::uint64_t flags,
                           Address traverse, Address base) {
  if (layout_.Has(Field::PyObject_ob_refcnt)) Put(type, Field::PyObject_ob_refcnt, 1);
  Put(type, Field::PyObject_ob_type, metatype);
  Put(type, Field::PyTypeObject_tp_name, StaticString(name));
  Put(type, Field::PyTypeObject_tp_basicsize, static_cast<std::uint64_t>(basicsize));
  Put(type, Field::PyTypeObject_tp_itemsize, static_cast<std::uint64_t>(itemsize));
  Put(type, Field::PyTypeObject_tp_flags, flags | static_cast<std::uint64_t>(layout_.Value(Constant::TPFLAGS_READY)));
  Put(type, Field::PyTypeObject_tp_traverse, traverse);
  Put(type, Field::PyTypeObject_tp_base, base);
}

Address PythonHeap::Builtin(const std::string& name) {
  Address& known = builtins_[name];
  if (known != 0) return known;
  static const BuiltinShape kShapes[] = {
      {"list", Struct::PyListObject, 0, nullptr, Constant::TPFLAGS_LIST_SUBCLASS, "list_traverse"},
      {"tuple", Struct::PyTupleObject, 8, nullptr, Constant::TPFLAGS_TUPLE_SUBCLASS, "tupletraverse"},
      {"dict", Struct::PyDictObject, 0, nullptr, Constant::TPFLAGS_DICT_SUBCLASS, "dict_traverse"},
      {"set", Struct::PySetObject, 0, nullptr, Constant::TPFLAGS_READY, "set_traverse"},
      {"str", Struct::PyUnicodeObject, 0, nullptr, Constant::TPFLAGS_UNICODE_SUBCLASS, nullptr},
      {"bytes", Struct::PyBytesObject, 1, nullptr, Constant::TPFLAGS_BYTES_SUBCLASS, nullptr},
      {"int", Struct::PyLongObject, 4, nullptr, Constant::TPFLAGS_LONG_SUBCLASS, nullptr},
      {"NoneType", Struct::PyObject, 0, nullptr, Constant::TPFLAGS_READY, nullptr},
      {"moduledef", Struct::PyObject, 0, nullptr, Constant::TPFLAGS_READY, nullptr},
      {"module", Struct::PyModuleObject, 0, nullptr, Constant::TPFLAGS_READY, "module_traverse"},
      {"function", Struct::PyFunctionObject, 0, nullptr, Constant::TPFLAGS_READY, "func_traverse"},
      {"cell", Struct::PyCellObject, 0, nullptr, Constant::TPFLAGS_READY, "cell_traverse"},
      {"method", Struct::PyMethodObject, 0, nullptr, Constant::TPFLAGS_READY, "method_traverse"},
      {"frame", Struct::PyFrameObject, 8, nullptr, Constant::TPFLAGS_READY, "frame_traverse"},
      {"code", Struct::PyCodeObject, 0, nullptr, Constant::TPFLAGS_READY, nullptr},
      {"generator", Struct::PyGenObject, 8, nullptr, Constant::TPFLAGS_READY, "gen_traverse"},
      {"collections.deque", Struct::dequeobject, 0, nullptr, Constant::TPFLAGS_READY, "deque_traverse"},
      {"collections.OrderedDict", Struct::PyODictObject, 0, "dict", Constant::TPFLAGS_DICT_SUBCLASS, "odict_traverse"},
      {"BaseException", Struct::PyBaseExceptionObject, 0, nullptr, Constant::TPFLAGS_BASE_EXC_SUBCLASS, "BaseException_traverse"},
      {"instance", Struct::PyInstanceObject, 0, nullptr, Constant::TPFLAGS_READY, "instance_traverse"},
      {"classobj", Struct::PyClassObject, 0, nullptr, Constant::TPFLAGS_READY, "class_traverse"},
  };
  for (const BuiltinShape& s : kShapes) {
    if (name != s.name) continue;
    const Address type = data_next_;
    data_next_ += (layout_.Size(Struct::PyTypeObject) + 15) & ~15u;
    known = type;
    std::int64_t basicsize = layout_.Size(s.structure);
    Struct structure = s.structure;
    std::int64_t itemsize = s.itemsize;
    Constant subclass = s.subclass;
    if (old() && name == "str") {  // a string of bytes
      structure = Struct::PyBytesObject;
      itemsize = 1;
      subclass = Constant::TPFLAGS_BYTES_SUBCLASS;
    }
    if (structure == Struct::PyBytesObject) basicsize = layout_.Offset(Field::PyBytesObject_ob_sval) + 1;
    if (structure == Struct::PyTupleObject) basicsize = layout_.Offset(Field::PyTupleObject_ob_item);
    if (old() && name == "int") {
      basicsize = layout_.Size(Struct::PyIntObject);
      itemsize = 0;
      subclass = Constant::TPFLAGS_INT_SUBCLASS;
    }
    auto flags = static_cast<std::uint64_t>(layout_.Value(subclass) | (s.traverse ? layout_.Value(Constant::TPFLAGS_HAVE_GC) : 0));
    const Address base = s.base ? Builtin(s.base) : object_type_;
    WriteType(type, type_type_, name, basicsize, itemsize, flags, s.traverse ? Function(s.traverse) : 0, base);
    if (name == "BaseException") Put(type, Field::PyTypeObject_tp_dictoffset, layout_.Offset(Field::PyBaseExceptionObject_dict));
    return type;
  }
  throw std::logic_error("PythonHeap does not know the type " + name);
}

Address PythonHeap::ExtensionType(const std::string& name, std::int64_t basicsize, Address base) {
  const Address type = data_next_;
  data_next_ += (layout_.Size(Struct::PyTypeObject) + 15) & ~15u;
  WriteType(type, type_type_, name, basicsize, 0, static_cast<std::uint64_t>(layout_.Value(Constant::TPFLAGS_HAVE_GC)), kExtensionCode + 0x10,
            base ? base : object_type_);
  return type;
}

Address PythonHeap::Class(const std::string& module, const std::string& name, const ClassOptions& options) {
  const Address base = options.bases.empty() ? object_type_ : options.bases.front();
  const Address metatype = options.metatype ? options.metatype : type_type_;
  const std::uint32_t head_bytes = static_cast<std::uint32_t>(Get(metatype, Field::PyTypeObject_tp_basicsize));
  const std::uint32_t member_bytes = layout_.Size(Struct::PyMemberDef);
  const Address type = Object(metatype, head_bytes + options.slots.size() * member_bytes, static_cast<std::int64_t>(options.slots.size()));
  const Address ht_name = Str(name);
  auto flags = static_cast<std::uint64_t>(layout_.Value(Constant::TPFLAGS_HAVE_GC) | layout_.Value(Constant::TPFLAGS_HEAPTYPE) |
                                          layout_.Value(Constant::TPFLAGS_BASETYPE));
  const std::uint64_t base_flags = Get(base, Field::PyTypeObject_tp_flags);
  for (const Constant c : {Constant::TPFLAGS_LIST_SUBCLASS, Constant::TPFLAGS_TUPLE_SUBCLASS, Constant::TPFLAGS_DICT_SUBCLASS, Constant::TPFLAGS_UNICODE_SUBCLASS,
                           Constant::TPFLAGS_LONG_SUBCLASS, Constant::TPFLAGS_BYTES_SUBCLASS, Constant::TPFLAGS_INT_SUBCLASS, Constant::TPFLAGS_TYPE_SUBCLASS,
                           Constant::TPFLAGS_BASE_EXC_SUBCLASS, Constant::TPFLAGS_MANAGED_DICT}) {
    flags |= base_flags & static_cast<std::uint64_t>(layout_.Value(c));
  }
  auto basicsize = static_cast<std::int64_t>(Get(base, Field::PyTypeObject_tp_basicsize));
  const Address members = type + head_bytes;
  for (std::size_t i = 0; i < options.slots.size(); ++i) {
    const Address m = members + i * member_bytes;
    Put(m, Field::PyMemberDef_name, StaticString(options.slots[i]));
    Put(m, Field::PyMemberDef_type, static_cast<std::uint64_t>(layout_.Value(Constant::T_OBJECT_EX, 16)));
    Put(m, Field::PyMemberDef_offset, static_cast<std::uint64_t>(basicsize));
    slot_offsets_[{type, options.slots[i]}] = static_cast<std::uint32_t>(basicsize);
    basicsize += 8;
  }
  auto dictoffset = static_cast<std::int64_t>(Get(base, Field::PyTypeObject_tp_dictoffset));
  if (options.has_dict) {
    if (layout_.Has(Constant::TPFLAGS_MANAGED_DICT)) {
      flags |= static_cast<std::uint64_t>(layout_.Value(Constant::TPFLAGS_MANAGED_DICT));
      dictoffset = layout_.Has(Constant::MANAGED_VALUES_OFFSET) ? layout_.Value(Constant::MANAGED_DICT_OFFSET) : -1;
      if (options.bases.empty()) flags |= static_cast<std::uint64_t>(layout_.Value(Constant::TPFLAGS_INLINE_VALUES));
    } else if (Get(base, Field::PyTypeObject_tp_itemsize) != 0) {
      dictoffset = -8;
      basicsize += 8;
    } else {
      dictoffset = basicsize;
      basicsize += 8;
    }
  }
  WriteType(type, metatype, name, basicsize, static_cast<std::int64_t>(Get(base, Field::PyTypeObject_tp_itemsize)), flags, Function("subtype_traverse"), base);
  Put(type, Field::PyTypeObject_tp_name, ht_name + (old() ? layout_.Offset(Field::PyBytesObject_ob_sval) : layout_.Size(Struct::PyASCIIObject)));
  Put(type, Field::PyTypeObject_tp_dictoffset, static_cast<std::uint64_t>(dictoffset));
  Put(type, Field::PyHeapTypeObject_ht_name, ht_name);
  if (layout_.Has(Field::PyHeapTypeObject_ht_qualname)) Put(type, Field::PyHeapTypeObject_ht_qualname, ht_name);
  std::vector<std::pair<Address, Address>> entries{{Str("__module__"), Str(module)}};
  for (const auto& [key, value] : options.attributes) entries.emplace_back(Str(key), value);
  Put(type, Field::PyTypeObject_tp_dict, Dict(entries));
  std::vector<Address> mro{type};
  for (Address b = base; b != 0; b = Get(b, Field::PyTypeObject_tp_base)) mro.push_back(b);
  Put(type, Field::PyTypeObject_tp_mro, Tuple(mro));
  Put(type, Field::PyTypeObject_tp_bases, Tuple(options.bases.empty() ? std::vector<Address>{object_type_} : options.bases));
  if (!options.shared_keys.empty() && layout_.Has(Field::PyHeapTypeObject_ht_cached_keys)) {
    std::vector<std::pair<Address, Address>> keys;
    for (const std::string& k : options.shared_keys) keys.emplace_back(Str(k), 0);
    Put(type, Field::PyHeapTypeObject_ht_cached_keys, KeysObject(keys, true));
  }
  return type;
}

Address PythonHeap::Str(std::string_view text) {
  Address& known = strings_[std::string(text)];
  if (known != 0) return known;
  const Address type = Builtin("str");
  if (old()) {
    const std::uint32_t data = layout_.Offset(Field::PyBytesObject_ob_sval);
    const Address a = Object(type, data + text.size() + 1, static_cast<std::int64_t>(text.size()));
    fake_.WriteString(a + data, text);
    return known = a;
  }
  const std::uint32_t data = layout_.Size(Struct::PyASCIIObject);
  const Address a = Object(type, data + text.size() + 1);
  Put(a, Field::PyASCIIObject_length, text.size());
  const auto state = (std::uint32_t{1} << layout_.Value(Constant::UNICODE_KIND_SHIFT)) | (std::uint32_t{1} << layout_.Value(Constant::UNICODE_COMPACT_SHIFT)) |
                     (std::uint32_t{1} << layout_.Value(Constant::UNICODE_ASCII_SHIFT));
  fake_.Write<std::uint32_t>(a + layout_.Offset(Field::PyASCIIObject_state), state);
  fake_.WriteString(a + data, text);
  return known = a;
}

Address PythonHeap::Int(std::int64_t value) {
  const Address type = Builtin("int");
  if (old()) {
    const Address a = Object(type, layout_.Size(Struct::PyIntObject));
    Put(a, Field::PyIntObject_ob_ival, static_cast<std::uint64_t>(value));
    return a;
  }
  const std::uint64_t magnitude = value < 0 ? ~static_cast<std::uint64_t>(value) + 1 : static_cast<std::uint64_t>(value);
  std::vector<std::uint32_t> digits;
  for (std::uint64_t v = magnitude; v != 0; v >>= 30) digits.push_back(static_cast<std::uint32_t>(v & ((1u << 30) - 1)));
  const std::uint32_t data = layout_.Offset(Field::PyLongObject_ob_digit);
  const Address a = Object(type, data + 4 * (digits.size() + 1));
  for (std::size_t i = 0; i < digits.size(); ++i) fake_.Write<std::uint32_t>(a + data + 4 * i, digits[i]);
  if (layout_.Has(Field::PyLongObject_lv_tag)) {
    Put(a, Field::PyLongObject_lv_tag, (digits.size() << layout_.Value(Constant::INT_TAG_DIGITS_SHIFT, 3)) | (value == 0 ? 1u : value < 0 ? 2u : 0u));
  } else {
    const auto n = static_cast<std::int64_t>(digits.size());
    Put(a, Field::PyVarObject_ob_size, static_cast<std::uint64_t>(value < 0 ? -n : n));
  }
  return a;
}

Address PythonHeap::None() {
  Address& known = strings_[std::string("\0None", 5)];
  if (known == 0) known = Object(Builtin("NoneType"), layout_.Size(Struct::PyObject));
  return known;
}

Address PythonHeap::List(const std::vector<Address>& items) {
  const Address a = Object(Builtin("list"), layout_.Size(Struct::PyListObject), static_cast<std::int64_t>(items.size()));
  const Address array = Allocate(items.size() * 8 + 8);
  fake_.WriteWords(array, items);
  Put(a, Field::PyListObject_ob_item, array);
  Put(a, Field::PyListObject_allocated, items.size());
  return a;
}

Address PythonHeap::Tuple(const std::vector<Address>& items) {
  const std::uint32_t data = layout_.Offset(Field::PyTupleObject_ob_item);
  const Address a = Object(Builtin("tuple"), data + 8 * items.size(), static_cast<std::int64_t>(items.size()));
  fake_.WriteWords(a + data, items);
  return a;
}

Address PythonHeap::KeysObject(const std::vector<std::pair<Address, Address>>& entries, bool split) {
  std::uint64_t size = 8, log2_size = 3;
  while (size * 2 / 3 < entries.size()) {
    size *= 2;
    ++log2_size;
  }
  bool all_str = true;
  for (const auto& [key, value] : entries) all_str &= fake_.Read<std::uint64_t>(key + layout_.Offset(Field::PyObject_ob_type)) == Builtin("str");
  const std::uint32_t index_width = size <= 0xFF ? 1 : size <= 0xFFFF ? 2 : 4;
  const bool has_kind = layout_.Has(Field::PyDictKeysObject_dk_kind);
  const bool unicode = has_kind && all_str;
  const std::uint32_t stride = unicode ? layout_.Size(Struct::PyDictUnicodeEntry) : layout_.Size(Struct::PyDictKeyEntry);
  const std::uint32_t head = layout_.Offset(Field::PyDictKeysObject_dk_indices);
  const Address keys = Allocate(head + size * index_width + size * stride);
  Put(keys, Field::PyDictKeysObject_dk_refcnt, split ? 2 : 1);
  Put(keys, Field::PyDictKeysObject_dk_nentries, entries.size());
  Put(keys, Field::PyDictKeysObject_dk_usable, size * 2 / 3 - entries.size());
  if (has_kind) {
    Put(keys, Field::PyDictKeysObject_dk_log2_size, log2_size);
    Put(keys, Field::PyDictKeysObject_dk_log2_index_bytes, log2_size + (index_width == 1 ? 0 : index_width == 2 ? 1 : 2));
    Put(keys, Field::PyDictKeysObject_dk_kind,
        static_cast<std::uint64_t>(layout_.Value(split ? Constant::DICT_KEYS_SPLIT : unicode ? Constant::DICT_KEYS_UNICODE : Constant::DICT_KEYS_GENERAL)));
  } else {
    Put(keys, Field::PyDictKeysObject_dk_size, size);
    Put(keys, Field::PyDictKeysObject_dk_lookup, Function(split ? "lookdict_split" : all_str ? "lookdict_unicode" : "lookdict"));
  }
  const Address first = keys + head + size * index_width;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const Address e = first + i * stride;
    fake_.Write<std::uint64_t>(e + layout_.Offset(unicode ? Field::PyDictUnicodeEntry_me_key : Field::PyDictKeyEntry_me_key), entries[i].first);
    fake_.Write<std::uint64_t>(e + layout_.Offset(unicode ? Field::PyDictUnicodeEntry_me_value : Field::PyDictKeyEntry_me_value), entries[i].second);
  }
  return keys;
}

Address PythonHeap::Dict(const std::vector<std::pair<Address, Address>>& entries) {
  const Address a = Object(Builtin("dict"), layout_.Size(Struct::PyDictObject));
  Put(a, Field::PyDictObject_ma_used, entries.size());
  if (!old()) {
    Put(a, Field::PyDictObject_ma_keys, KeysObject(entries, false));
    return a;
  }
  std::uint64_t size = 8;
  while (size * 2 / 3 < entries.size()) size *= 2;
  const Address table = size == 8 ? a + layout_.Offset(Field::PyDictObject_ma_smalltable) : Allocate(size * layout_.Size(Struct::PyDictEntry));
  Put(a, Field::PyDictObject_ma_fill, entries.size());
  Put(a, Field::PyDictObject_ma_mask, size - 1);
  Put(a, Field::PyDictObject_ma_table, table);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const Address e = table + i * layout_.Size(Struct::PyDictEntry);
    Put(e, Field::PyDictEntry_me_key, entries[i].first);
    Put(e, Field::PyDictEntry_me_value, entries[i].second);
  }
  return a;
}

Address PythonHeap::Set(const std::vector<Address>& elements) {
  const Address a = Object(Builtin("set"), layout_.Size(Struct::PySetObject));
  std::uint64_t size = 8;
  while (size * 3 / 5 < elements.size()) size *= 2;
  const std::uint32_t stride = layout_.Size(Struct::setentry);
  const Address table = size == 8 ? a + layout_.Offset(Field::PySetObject_smalltable) : Allocate(size * stride);
  Put(a, Field::PySetObject_fill, elements.size());
  Put(a, Field::PySetObject_used, elements.size());
  Put(a, Field::PySetObject_mask, size - 1);
  Put(a, Field::PySetObject_table, table);
  for (std::size_t i = 0; i < elements.size(); ++i) Put(table + i * stride, Field::setentry_key, elements[i]);
  return a;
}

Address PythonHeap::Instance(Address type) {
  const std::uint64_t inline_bytes = layout_.Has(Constant::RULE_INLINE_VALUES_AT) ? 8 + 31 * 8 : 0;
  const Address a = Object(type, Get(type, Field::PyTypeObject_tp_basicsize) + inline_bytes + 8);
  return a;
}

Address PythonHeap::Module(const std::string& name, Address dict) {
  const Address a = Object(Builtin("module"), layout_.Size(Struct::PyModuleObject));
  Put(a, Field::PyModuleObject_md_dict, dict);
  module_entries_.emplace_back(Str(name), a);
  modules_ = 0;
  return a;
}

void PythonHeap::SetSlot(Address instance, Address type, const std::string& name, Address value) {
  for (Address t = type; t != 0; t = Get(t, Field::PyTypeObject_tp_base)) {
    if (const auto found = slot_offsets_.find({t, name}); found != slot_offsets_.end()) {
      fake_.Write<std::uint64_t>(instance + found->second, value);
      return;
    }
  }
  throw std::logic_error("no slot " + name);
}

void PythonHeap::SetDict(Address instance, Address type, Address dict) {
  if (layout_.Has(Constant::MANAGED_DICT_OFFSET)) {
    fake_.Write<std::uint64_t>(instance + static_cast<Address>(layout_.Value(Constant::MANAGED_DICT_OFFSET)), dict);
    return;
  }
  auto offset = static_cast<std::int64_t>(Get(type, Field::PyTypeObject_tp_dictoffset));
  if (offset < 0) {
    const auto items = static_cast<std::int64_t>(Get(instance, Field::PyVarObject_ob_size));
    const std::int64_t size = static_cast<std::int64_t>(Get(type, Field::PyTypeObject_tp_basicsize)) +
                              (items < 0 ? -items : items) * static_cast<std::int64_t>(Get(type, Field::PyTypeObject_tp_itemsize));
    offset += (size + 7) / 8 * 8;
  }
  fake_.Write<std::uint64_t>(instance + static_cast<Address>(offset), dict);
}

Address PythonHeap::SetValues(Address instance, Address type, const std::vector<Address>& values) {
  const auto used = static_cast<std::uint8_t>(values.size() - static_cast<std::size_t>(std::count(values.begin(), values.end(), Address{0})));
  if (layout_.Has(Constant::RULE_INLINE_VALUES_AT)) {
    const std::uint64_t at = layout_.Value(Constant::RULE_INLINE_VALUES_AT) == 2 ? Get(type, Field::PyTypeObject_tp_basicsize) : layout_.Size(Struct::PyObject);
    Put(instance + at, Field::PyDictValues_capacity, values.size());
    Put(instance + at, Field::PyDictValues_size, used);
    Put(instance + at, Field::PyDictValues_valid, 1);
    Put(instance + at, Field::PyDictValues_embedded, 1);
    fake_.WriteWords(instance + at + layout_.Offset(Field::PyDictValues_values), values);
    return instance + at + layout_.Offset(Field::PyDictValues_values);
  }
  if (!layout_.Has(Constant::MANAGED_DICT_OFFSET)) throw std::logic_error("the release has no values outside of dicts");
  const Address array = Allocate(values.size() * 8 + 16) + 16;
  fake_.WriteWords(array, values);
  fake_.Write<std::uint8_t>(array - 2, used);  // CPython: _PyDictValues_AddToInsertionOrder() [3.11, 3.12]
  if (layout_.Has(Constant::MANAGED_VALUES_OFFSET)) {
    fake_.Write<std::uint64_t>(instance + static_cast<Address>(layout_.Value(Constant::MANAGED_VALUES_OFFSET)), array);
  } else {
    fake_.Write<std::uint64_t>(instance + static_cast<Address>(layout_.Value(Constant::MANAGED_DICT_OFFSET)), array - 1);
  }
  return array;
}

void PythonHeap::Track(Address object) {
  const Address node = object - gc_head_bytes_;
  const Address last = fake_.Read<std::uint64_t>(generation0_ + 8);
  fake_.WriteWords(node, {generation0_, last});
  fake_.Write<std::uint64_t>(last, node);
  fake_.Write<std::uint64_t>(generation0_ + 8, node);
  if (layout_.Has(Field::PyGC_Head_gc_refs)) WriteGcRefs(object, 0);
}

cpython::Runtime PythonHeap::runtime() {
  cpython::Runtime r;
  r.layout = layout_;
  r.version_text = layout_.version.text();
  r.gc_head.size = gc_head_bytes_;
  r.gc_head.refs_offset = layout_.Has(Field::PyGC_Head_gc_refs) ? layout_.Offset(Field::PyGC_Head_gc_refs) : 0;
  r.gc_head.pointer_mask = static_cast<std::uint64_t>(layout_.Value(Constant::GC_POINTER_MASK, -1));
  r.gc_head.finalized_bit = static_cast<std::uint64_t>(layout_.Value(Constant::GC_PREV_FINALIZED) | layout_.Value(Constant::GC_REFS_FINALIZED));
  r.gc_head.collecting_bit = static_cast<std::uint64_t>(layout_.Value(Constant::GC_PREV_COLLECTING));
  r.gc_head.unreachable_bit = static_cast<std::uint64_t>(layout_.Value(Constant::GC_NEXT_UNREACHABLE));
  r.refcount = static_cast<cpython::RefcountFormat>(layout_.Value(Constant::REFCOUNT_FORMAT));
  r.type_type = type_type_;
  r.none_object = None();
  if (layout_.Value(Constant::RULE_DICT_VISITS_KEYS_BY_LOOKDICT)) r.lookdict = Function("lookdict");
  cpython::Interpreter interpreter;
  interpreter.address = interpreter_;
  interpreter.collector = static_cast<cpython::CollectorKind>(layout_.Value(Constant::GC_COLLECTOR));
  interpreter.generations = {{generation0_, 700, 0}};
  interpreter.generation_number = {0};
  if (modules_ == 0) modules_ = Dict(module_entries_);
  interpreter.modules = modules_;
  r.interpreters.push_back(interpreter);
  return r;
}

std::vector<const Layout*> DefaultLayouts() {
  std::vector<const Layout*> out;
  for (const Layout& l : cpython::BuiltinLayouts()) {
    if (!l.flavor.free_threaded) out.push_back(&l);
  }
  return out;
}

}  // namespace pygc::test
