// Which __repr__ serves an object, and the containers. Texts and numbers are in repr_scalars.cc, what the interpreter is made of in repr_code.cc.
#include "core/objects/repr.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "core/base/object_in_hand.h"
#include "core/objects/repr_writer.h"

namespace pygc::objects {

using cpython::Constant;
using cpython::Field;

namespace {

constexpr std::size_t kMaxClassic = 256;
constexpr std::size_t kMaxSorted = 4096;  // attributes of a namespace
constexpr std::uint64_t kMaxCount = std::uint64_t{1} << 40;

}  // namespace

// Names as in <class 'NAME'>; those that changed stand twice.
const ReprWriter::Known ReprWriter::kKnown[] = {
    {"object", &ReprWriter::Default},
    {"NoneType", &ReprWriter::None},
    {"NotImplementedType", &ReprWriter::NotImplemented},
    {"ellipsis", &ReprWriter::Ellipsis},
    {"bool", &ReprWriter::Bool},
    {"int", &ReprWriter::Int},
    {"long", &ReprWriter::Int},
    {"float", &ReprWriter::Float},
    {"complex", &ReprWriter::Complex},
    {"str", &ReprWriter::Str},
    {"unicode", &ReprWriter::Str},
    {"bytes", &ReprWriter::Bytes},
    {"bytearray", &ReprWriter::ByteArray},
    {"range", &ReprWriter::Range},
    {"slice", &ReprWriter::Slice},
    {"list", &ReprWriter::List},
    {"tuple", &ReprWriter::Tuple},
    {"dict", &ReprWriter::Dict},
    {"set", &ReprWriter::Set},
    {"frozenset", &ReprWriter::Set},
    {"collections.OrderedDict", &ReprWriter::OrderedDict},
    {"collections.defaultdict", &ReprWriter::DefaultDict},
    {"collections.deque", &ReprWriter::Deque},
    {"dict_keys", &ReprWriter::DictView},
    {"dict_values", &ReprWriter::DictView},
    {"dict_items", &ReprWriter::DictView},
    {"mappingproxy", &ReprWriter::MappingProxy},
    {"dictproxy", &ReprWriter::MappingProxy},
    {"types.SimpleNamespace", &ReprWriter::SimpleNamespace},
    {"type", &ReprWriter::Type},
    {"classobj", &ReprWriter::ClassicClass},
    {"function", &ReprWriter::Function},
    {"builtin_function_or_method", &ReprWriter::BuiltinFunction},
    {"builtin_method", &ReprWriter::BuiltinFunction},
    {"method", &ReprWriter::Method},
    {"instancemethod", &ReprWriter::Method},
    {"method-wrapper", &ReprWriter::MethodWrapper},
    {"wrapper_descriptor", &ReprWriter::Descriptor},
    {"method_descriptor", &ReprWriter::Descriptor},
    {"classmethod_descriptor", &ReprWriter::Descriptor},
    {"getset_descriptor", &ReprWriter::Descriptor},
    {"member_descriptor", &ReprWriter::Descriptor},
    {"staticmethod", &ReprWriter::StaticMethod},
    {"classmethod", &ReprWriter::StaticMethod},
    {"cell", &ReprWriter::Cell},
    {"code", &ReprWriter::Code},
    {"frame", &ReprWriter::Frame},
    {"generator", &ReprWriter::Generator},
    {"coroutine", &ReprWriter::Generator},
    {"async_generator", &ReprWriter::Generator},
    {"module", &ReprWriter::Module},
    {"BaseException", &ReprWriter::Exception},
    {"exceptions.BaseException", &ReprWriter::Exception},
    {"BaseExceptionGroup", &ReprWriter::ExceptionGroup},
    {"weakref", &ReprWriter::WeakReference},
    {"weakref.ReferenceType", &ReprWriter::WeakReference},
    {"functools.partial", &ReprWriter::Partial},
    {"datetime.date", &ReprWriter::Date},
    {"datetime.time", &ReprWriter::Time},
    {"datetime.datetime", &ReprWriter::DateTime},
    {"datetime.timedelta", &ReprWriter::TimeDelta},
    {"datetime.timezone", &ReprWriter::TimeZone},
    {"decimal.Decimal", &ReprWriter::Decimal},
    {"enum.Enum", &ReprWriter::Enum},
    {"enum.Flag", &ReprWriter::Flag},
    {"array.array", &ReprWriter::Array},
    {"types.UnionType", &ReprWriter::Union},
    {"typing.Union", &ReprWriter::Union},
    {"types.GenericAlias", &ReprWriter::GenericAlias},
    {"re.Pattern", &ReprWriter::Pattern},
    {"_sre.SRE_Pattern", &ReprWriter::Pattern},
    {"itertools.count", &ReprWriter::Count},
    {"itertools.repeat", &ReprWriter::Repeat},
    {"memoryview", &ReprWriter::MemoryView},
    {"numpy.ndarray", &ReprWriter::NumpyItems},
    {"numpy.dtype", &ReprWriter::Dtype},
    {"re.Match", &ReprWriter::Match},
    {"_sre.SRE_Match", &ReprWriter::Match},
    {"_contextvars.ContextVar", &ReprWriter::ContextVariable},
    {"ContextVar", &ReprWriter::ContextVariable},
    {"_contextvars.Token", &ReprWriter::ContextToken},
    {"Token", &ReprWriter::ContextToken},
    {"Token.MISSING", &ReprWriter::MissingToken},
    {"file", &ReprWriter::OldFile},
    {"_io.FileIO", &ReprWriter::RawFile},
    {"_io.BufferedReader", &ReprWriter::BufferedFile},
    {"_io.BufferedWriter", &ReprWriter::BufferedFile},
    {"_io.BufferedRandom", &ReprWriter::BufferedFile},
    {"_io.TextIOWrapper", &ReprWriter::TextFile},
    {"_socket.socket", &ReprWriter::RawSocket},
    {"_thread.lock", &ReprWriter::Lock},
    {"_thread.RLock", &ReprWriter::Lock},
    {"_ctypes._SimpleCData", &ReprWriter::SimpleCData},
    {"_ctypes.PyCFuncPtr", &ReprWriter::FunctionInC},
    {"_ctypes.CFuncPtr", &ReprWriter::FunctionInC},
    {"enum.EnumMeta", &ReprWriter::EnumType},
    {"enum.EnumType", &ReprWriter::EnumType},
};

ReprWriter::Writer ReprWriter::KnownWriter(const std::string& definer) const {
  if (definer == "str" && t_.old()) return &ReprWriter::Bytes;
  for (const Known& known : kKnown) {
    if (definer == known.definer) return known.write;
  }
  return nullptr;
}

// ---- whose __repr__ it is

bool ReprWriter::DefinesRepr(Address type, const TypeFacts& facts) const {
  if (facts.is_heap_type) return t_.values.DictGet(t_.values.Pointer(type + t_.offsets.tp_dict), "__repr__") != 0;
  const Address mine = Pointer(type, Field::PyTypeObject_tp_repr);
  return facts.tp_base == 0 || mine != Pointer(facts.tp_base, Field::PyTypeObject_tp_repr);
}

// As type lookup finds it: the first class of the MRO that has one. A static type has one where its slot differs from its base's.
ReprWriter::Writer ReprWriter::WriterOf(Address object, const TypeFacts& type) const {
  if (type.is_classic_instance) return ClassicInstanceWriter(object);
  if (!type.is_heap_type) {
    if (const Writer known = KnownWriter(type.name)) return known;
    if (type.struct_sequence_fields > 0) return &ReprWriter::StructSequence;
  }
  const std::vector<Address> mro = t_.values.TupleItems(t_.values.Pointer(type.address + t_.offsets.tp_mro), kMaxMro);
  for (const Address base : mro) {
    const TypeFacts* const facts = t_.reader.Type(base);
    if (facts == nullptr) break;
    if (!DefinesRepr(base, *facts)) continue;
    if (const Writer known = KnownWriter(facts->name)) return known;
    return PythonReprWriter(*facts);
  }
  return mro.empty() ? &ReprWriter::Default : &ReprWriter::UnknownRepr;
}

// A __repr__ that a library makes for each class: struct sequences and named tuples.
ReprWriter::Writer ReprWriter::PythonReprWriter(const TypeFacts& definer) const {
  const Address dict = t_.values.Pointer(definer.address + t_.offsets.tp_dict);
  const TypeFacts* const base = t_.reader.Type(definer.tp_base);
  if (t_.values.DictGet(dict, "n_sequence_fields") != 0) return &ReprWriter::StructSequence;
  if (base != nullptr && base->name == "tuple" && t_.values.DictGet(dict, "_fields") != 0 && t_.values.DictGet(dict, "_make") != 0) return &ReprWriter::NamedTuple;
  if (const Writer library = LibraryWriter(definer)) return library;
  return &ReprWriter::UnknownRepr;
}

// CPython: instance_repr(), Objects/classobject.c [2.7]: looks __repr__ up in the instance, the class and its bases.
ReprWriter::Writer ReprWriter::ClassicInstanceWriter(Address instance) const {
  if (t_.values.DictGet(Pointer(instance, Field::PyInstanceObject_in_dict), "__repr__") != 0) return &ReprWriter::UnknownRepr;
  std::vector<Address> classes = {Pointer(instance, Field::PyInstanceObject_in_class)};
  for (std::size_t i = 0; i < classes.size() && i < kMaxClassic; ++i) {
    const Address dict = Pointer(classes[i], Field::PyClassObject_cl_dict);
    if (t_.values.DictGet(dict, "__repr__") != 0) return &ReprWriter::UnknownRepr;
    const std::vector<Address> bases = t_.values.TupleItems(Pointer(classes[i], Field::PyClassObject_cl_bases), kMaxClassic);
    classes.insert(classes.end(), bases.begin(), bases.end());
  }
  return &ReprWriter::ClassicInstance;
}

// ---- the frame of a repr

ReprText ReprWriter::Run(Address object) {
  limits_.max_depth = std::min(limits_.max_depth, kDepthCap);
  Object(object);
  if (full_) out_ += "…";
  return {std::move(out_), complete_, exact_};
}

void ReprWriter::Object(Address object) {
  if (full_) return;
  const TypeFacts* const type = FactsOf(object);
  if (type == nullptr) return Unreadable();
  if (limits_.hide_values) return Redacted(object, *type);
  (this->*WriterOf(object, *type))(object, *type);
}

void ReprWriter::Redacted(Address object, const TypeFacts& type) {
  exact_ = false;
  const std::optional<std::uint64_t> length = Length(object, type);
  Put(length ? fmt::format("<{} of length {}>", type.name, *length) : fmt::format("<{}>", type.name));
}

std::string ReprWriter::Text(Address str_object, std::size_t max) const {
  return str_object == 0 ? "" : t_.values.Text(str_object, max).value_or("");
}

void ReprWriter::PutName(Address str_object) { Put(str_object == 0 ? "?" : Text(str_object)); }

void ReprWriter::At(Address object) { Put(fmt::format(" at {:#x}>", object)); }

std::uint64_t ReprWriter::VarSize(Address object) const {
  const std::byte* const p = Bytes(object + t_.offsets.ob_size, 8);
  const std::int64_t n = p == nullptr ? 0 : LoadUnchecked<std::int64_t>(p);
  return n < 0 ? 0 : static_cast<std::uint64_t>(n);
}

// CPython: object_repr(), Objects/typeobject.c.
void ReprWriter::Default(Address object, const TypeFacts& type) {
  Put(fmt::format("<{} object", type.name));
  At(object);
}

void ReprWriter::UnknownRepr(Address object, const TypeFacts& type) {
  exact_ = false;
  if (NumpyNumber(object, type)) return;
  Default(object, type);
}

void ReprWriter::ClassicInstance(Address object, const TypeFacts& type) {
  Put(fmt::format("<{} instance", t_.reader.DisplayTypeName(object, type)));
  At(object);
}

// False, with the mark already written, where the container is inside itself or too deep.
bool ReprWriter::Enter(Address container, std::string_view recursion) {
  if (std::find(active_.begin(), active_.end(), container) != active_.end()) {
    Put(recursion);
    return false;
  }
  if (active_.size() >= limits_.max_depth) {
    Put("…");
    complete_ = false;
    return false;
  }
  active_.push_back(container);
  return true;
}

void ReprWriter::Leave() { active_.pop_back(); }

// "a, b, c" of the first items, and what was left out of `count`.
void ReprWriter::Items(const std::vector<Address>& items, std::uint64_t count) {
  for (std::size_t i = 0; i < items.size() && !full_; ++i) {
    if (i > 0) Put(", ");
    Object(items[i]);
  }
  if (count > items.size()) {
    Put(fmt::format("{}… {} more", items.empty() ? "" : ", ", count - items.size()));
    complete_ = false;
  }
}

std::vector<Address> ReprWriter::Words(Address from, std::uint64_t count) {
  count = std::min<std::uint64_t>(count, limits_.max_items);
  const std::uint64_t there = from == 0 ? 0 : t_.values.ReadableWords(from, count);
  if (there < count) complete_ = false;
  std::vector<Address> out;
  for (std::uint64_t i = 0; i < there; ++i) out.push_back(t_.values.Pointer(from + i * 8));
  return out;
}

// ---- containers

void ReprWriter::List(Address object, const TypeFacts&) {
  if (!Enter(object, "[...]")) return;
  const std::uint64_t count = VarSize(object);
  Put("[");
  Items(Words(Pointer(object, Field::PyListObject_ob_item), count), count);
  Put("]");
  Leave();
}

void ReprWriter::Tuple(Address object, const TypeFacts&) {
  if (!Enter(object, "(...)")) return;
  const std::uint64_t count = VarSize(object);
  Put("(");
  Items(Words(object + t_.layout.Offset(Field::PyTupleObject_ob_item), count), count);
  Put(count == 1 ? ",)" : ")");
  Leave();
}

std::vector<Address> ReprWriter::SetItems(Address set, std::uint64_t* count) {
  *count = Pointer(set, Field::PySetObject_used);
  std::vector<LabelledReferent> elements;
  const TypeFacts* const type = FactsOf(set);
  if (type != nullptr) t_.reader.LabelledReferents(set, *type, elements, {0, SlotKind::kSetEntry, limits_.max_items});
  std::vector<Address> out;
  out.reserve(elements.size());
  for (const LabelledReferent& e : elements) out.push_back(e.referent);
  return out;
}

// CPython: set_repr(), Objects/setobject.c: {1, 2}, frozenset({1}), T({1}) of a subclass, set(); 2.7: set([1]).
void ReprWriter::Set(Address object, const TypeFacts& type) {
  const std::string name(LastPart(type.name));
  if (!Enter(object, name + "(...)")) return;
  std::uint64_t count = 0;
  const std::vector<Address> items = SetItems(object, &count);
  const bool braces = !t_.old();
  if (count == 0) {
    Put(name + (braces ? "()" : "([])"));
  } else {
    const bool named = !braces || name != "set";
    Put(named ? name + (braces ? "({" : "([") : "{");
    Items(items, count);
    Put(named ? (braces ? "})" : "])") : "}");
  }
  Leave();
}

std::vector<std::pair<Address, Address>> ReprWriter::DictItems(Address dict, std::uint64_t* count) {
  std::vector<std::pair<Address, Address>> out;
  *count = Pointer(dict, Field::PyDictObject_ma_used);
  const std::optional<DictTable> table = t_.values.Dict(dict);
  if (!table) {
    complete_ = false;
    return out;
  }
  if (!table->complete) complete_ = false;
  for (std::uint64_t i = 0; i < table->count && out.size() < limits_.max_items; ++i) {
    const Address key = table->Key(i), value = table->Value(i);
    if (key != 0 && value != 0) out.emplace_back(key, value);
  }
  return out;
}

// 2.7: written in Python: lists [previous, next, key] in a ring that starts at _OrderedDict__root. CPython: Lib/collections.py [2.7].
std::vector<std::pair<Address, Address>> ReprWriter::OldOrderedItems(Address odict) {
  std::vector<std::pair<Address, Address>> out;
  const TypeFacts* const type = FactsOf(odict);
  const Address root = type == nullptr ? 0 : Attribute(odict, *type, "_OrderedDict__root");
  const auto item = [this](Address list, unsigned i) { return t_.values.Pointer(Pointer(list, Field::PyListObject_ob_item) + i * 8); };
  for (Address link = item(root, 1); link != root && link != 0 && out.size() < limits_.max_items; link = item(link, 1)) out.emplace_back(item(link, 2), 0);
  const std::optional<DictTable> table = t_.values.Dict(odict);
  for (std::uint64_t i = 0; table && i < table->count; ++i) {
    for (auto& [key, value] : out) {
      if (key == table->Key(i)) value = table->Value(i);
    }
  }
  return out;
}

// The keys in their order, each with its value: from the linked list, the values from the table.
std::vector<std::pair<Address, Address>> ReprWriter::OrderedItems(Address odict, std::uint64_t* count) {
  *count = Pointer(odict, Field::PyDictObject_ma_used);
  if (t_.old()) return OldOrderedItems(odict);
  std::vector<LabelledReferent> keys;
  const TypeFacts* const type = FactsOf(odict);
  if (type != nullptr) t_.reader.LabelledReferents(odict, *type, keys, {0, SlotKind::kDictKey, std::min<std::uint64_t>(limits_.max_items, *count)});
  std::unordered_map<Address, Address> value_of;
  for (const LabelledReferent& k : keys) value_of.emplace(k.referent, 0);
  const std::optional<DictTable> table = t_.values.Dict(odict);
  for (std::uint64_t i = 0; table && i < table->count; ++i) {
    const auto found = value_of.find(table->Key(i));
    if (found != value_of.end()) found->second = table->Value(i);
  }
  std::vector<std::pair<Address, Address>> out;
  out.reserve(keys.size());
  for (const LabelledReferent& k : keys) out.emplace_back(k.referent, value_of[k.referent]);
  return out;
}

// {k: v, ...} of a dict.
void ReprWriter::Entries(Address dict) {
  std::uint64_t count = 0;
  const std::vector<std::pair<Address, Address>> entries = DictItems(dict, &count);
  Put("{");
  for (std::size_t i = 0; i < entries.size() && !full_; ++i) {
    if (i > 0) Put(", ");
    Object(entries[i].first);
    Put(": ");
    Object(entries[i].second);
  }
  if (count > entries.size()) {
    Put(fmt::format("{}… {} more", entries.empty() ? "" : ", ", count - entries.size()));
    complete_ = false;
  }
  Put("}");
}

void ReprWriter::Dict(Address object, const TypeFacts&) {
  if (!Enter(object, "{...}")) return;
  Entries(object);
  Leave();
}

// CPython: odict_repr(), Objects/odictobject.c: a list of pairs up to 3.11, a dict from 3.12 on.
void ReprWriter::OrderedDict(Address object, const TypeFacts& type) {
  const std::string name(LastPart(type.name));
  if (!Enter(object, "...")) return;
  std::uint64_t count = 0;
  const std::vector<std::pair<Address, Address>> entries = OrderedItems(object, &count);
  const bool pairs = t_.style.odict_pairs;
  Put(name + (count == 0 ? "(" : pairs ? "([" : "({"));
  for (std::size_t i = 0; i < entries.size() && !full_; ++i) {
    if (i > 0) Put(", ");
    if (pairs) Put("(");
    Object(entries[i].first);
    Put(pairs ? ", " : ": ");
    entries[i].second != 0 ? Object(entries[i].second) : Unreadable();
    if (pairs) Put(")");
  }
  if (count > entries.size()) {
    Put(fmt::format(", … {} more", count - entries.size()));
    complete_ = false;
  }
  Put(count == 0 ? ")" : pairs ? "])" : "})");
  Leave();
}

// CPython: defdict_repr(), Modules/_collectionsmodule.c: guards the factory, and so does partial_repr(), which then finds itself being written.
void ReprWriter::DefaultDict(Address object, const TypeFacts& type) {
  const Address factory = Pointer(object, Field::defdictobject_default_factory);
  Put(fmt::format("{}(", t_.style.own_names ? LastPart(type.name) : "defaultdict"));
  const TypeFacts* const factory_type = FactsOf(factory);
  const bool guarded = factory_type != nullptr && !t_.old() && WriterOf(factory, *factory_type) == &ReprWriter::Partial;
  factory == 0 ? Put("None") : guarded ? Put("...") : Object(factory);
  Put(", ");
  if (Enter(object, "{...}")) {
    Entries(object);
    Leave();
  }
  Put(")");
}

std::vector<Address> ReprWriter::DequeItems(Address deque, std::uint64_t* count) {
  *count = t_.offsets.deque_len == kNoField ? VarSize(deque) : t_.values.Pointer(deque + t_.offsets.deque_len);
  std::vector<LabelledReferent> items;
  const TypeFacts* const type = FactsOf(deque);
  if (type != nullptr) t_.reader.LabelledReferents(deque, *type, items, {0, SlotKind::kItem, limits_.max_items});
  std::vector<Address> out;
  out.reserve(items.size());
  for (const LabelledReferent& i : items) out.push_back(i.referent);
  return out;
}

void ReprWriter::Deque(Address object, const TypeFacts& type) {
  if (!Enter(object, "[...]")) return;
  std::uint64_t count = 0;
  const std::vector<Address> items = DequeItems(object, &count);
  Put(fmt::format("{}([", t_.style.own_names ? LastPart(type.name) : "deque"));
  Items(items, count);
  const std::byte* const maxlen = Bytes(object + t_.layout.Offset(Field::dequeobject_maxlen), 8);
  const std::int64_t most = maxlen == nullptr ? -1 : LoadUnchecked<std::int64_t>(maxlen);
  Put(most >= 0 ? fmt::format("], maxlen={})", most) : "])");
  Leave();
}

// CPython: dictview_repr(), Objects/dictobject.c: dict_keys(['a']).
void ReprWriter::DictView(Address object, const TypeFacts& type) {
  if (!Enter(object, "...")) return;
  std::uint64_t count = 0;
  const std::vector<std::pair<Address, Address>> entries = DictItems(Pointer(object, Field::PyDictViewObject_dv_dict), &count);
  Put(type.name + "([");
  const bool keys = type.name.ends_with("dict_keys"), values = type.name.ends_with("dict_values");  // odict_keys(...) of an OrderedDict
  for (std::size_t i = 0; i < entries.size() && !full_; ++i) {
    if (i > 0) Put(", ");
    if (!keys && !values) Put("(");
    if (!values) Object(entries[i].first);
    if (!keys && !values) Put(", ");
    if (!keys) Object(entries[i].second);
    if (!keys && !values) Put(")");
  }
  if (count > entries.size()) {
    Put(fmt::format("{}… {} more", entries.empty() ? "" : ", ", count - entries.size()));
    complete_ = false;
  }
  Put("])");
  Leave();
}

void ReprWriter::MappingProxy(Address object, const TypeFacts& type) {
  Put(t_.old() ? "dict_proxy(" : type.name + "(");
  Object(Pointer(object, Field::mappingproxyobject_mapping));
  Put(")");
}

// k=v, ... of a dict, as it stands or by name. CPython: namespace_repr() writes nothing of keys that are no text, or empty.
void ReprWriter::KeywordEntries(Address dict, bool of_namespace) {
  std::uint64_t count = 0;
  ReprLimits limits = limits_;
  if (of_namespace && t_.style.sorted_namespace) limits_.max_items = std::max(limits_.max_items, kMaxSorted);
  std::vector<std::pair<Address, Address>> entries = DictItems(dict, &count);
  limits_ = limits;
  if (of_namespace) {
    const std::size_t all = entries.size();
    std::erase_if(entries, [&](const auto& e) { return !t_.values.IsText(e.first) || t_.values.TextEquals(e.first, ""); });
    count -= std::min<std::uint64_t>(count, all - entries.size());
    if (t_.style.sorted_namespace) {
      exact_ = exact_ && all <= kMaxSorted;
      std::sort(entries.begin(), entries.end(), [&](const auto& a, const auto& b) { return Text(a.first) < Text(b.first); });  // UTF-8 sorts as code points do
      if (entries.size() > limits_.max_items) entries.resize(limits_.max_items);
    }
  }
  for (std::size_t i = 0; i < entries.size() && !full_; ++i) {
    if (i > 0) Put(", ");
    PutName(entries[i].first);
    Put("=");
    Object(entries[i].second);
  }
  if (count > entries.size()) {
    Put(fmt::format("{}… {} more", entries.empty() ? "" : ", ", count - entries.size()));
    complete_ = false;
  }
}

// CPython: namespace_repr(), Objects/namespaceobject.c: namespace(a=1), or the name of a subclass.
void ReprWriter::SimpleNamespace(Address object, const TypeFacts& type) {
  const std::string name = type.name == "types.SimpleNamespace" ? "namespace" : std::string(LastPart(type.name));
  if (!Enter(object, name + "(...)")) return;
  Put(name + "(");
  KeywordEntries(Pointer(object, Field::PyNamespaceObject_ns_dict), true);
  Put(")");
  Leave();
}

// CPython: namedtuple(), Lib/collections.py [2.7], Lib/collections/__init__.py: Point(x=1, y=2); in 2.7 by the name that it was made with, whatever was made from it.
void ReprWriter::NamedTuple(Address object, const TypeFacts& type) {
  if (!Enter(object, "...")) return;
  const TypeFacts* made = &type;
  Address fields = 0;
  for (const Address base : t_.values.TupleItems(t_.values.Pointer(type.address + t_.offsets.tp_mro), kMaxMro)) {
    fields = t_.values.DictGet(t_.values.Pointer(base + t_.offsets.tp_dict), "_fields");
    if (fields != 0) made = t_.reader.Type(base);
    if (fields != 0) break;
  }
  const std::uint64_t count = VarSize(object);
  const std::vector<Address> names = t_.values.TupleItems(fields, limits_.max_items);
  const std::vector<Address> items = Words(object + t_.layout.Offset(Field::PyTupleObject_ob_item), count);
  Put(fmt::format("{}(", LastPart(t_.old() && made != nullptr ? made->name : type.name)));
  for (std::size_t i = 0; i < items.size() && i < names.size(); ++i) {
    if (i > 0) Put(", ");
    PutName(names[i]);
    Put("=");
    Object(items[i]);
  }
  if (count > items.size()) {
    Put(fmt::format(", … {} more", count - items.size()));
    complete_ = false;
  }
  Put(")");
  Leave();
}

// CPython: structseq_repr(), Objects/structseq.c: names of the visible fields are the first tp_members.
void ReprWriter::StructSequence(Address object, const TypeFacts& type) {
  if (!Enter(object, "...")) return;
  const std::uint64_t count = VarSize(object);
  const std::vector<Address> items = Words(object + t_.layout.Offset(Field::PyTupleObject_ob_item), count);
  Put(type.name + "(");
  Address member = Pointer(type.address, Field::PyTypeObject_tp_members);
  for (std::size_t i = 0; i < items.size(); ++i, member += t_.offsets.member_size) {
    const Address name = t_.values.Pointer(member + t_.offsets.member_name);
    if (i > 0) Put(", ");
    Put(name == 0 ? "?" : t_.values.memory().ReadCString(name, 256).value_or("?"));
    Put("=");
    Object(items[i]);
  }
  if (count > items.size()) {
    Put(fmt::format(", … {} more", count - items.size()));
    complete_ = false;
  }
  Put(")");
  Leave();
}

std::optional<std::uint64_t> ReprWriter::Length(Address object, const TypeFacts& type) const {
  const std::uint64_t flags = type.flags;
  const auto has = [&](Constant c) { return (flags & static_cast<std::uint64_t>(t_.layout.Value(c))) != 0; };
  if (has(Constant::TPFLAGS_LIST_SUBCLASS) || has(Constant::TPFLAGS_TUPLE_SUBCLASS) || has(Constant::TPFLAGS_BYTES_SUBCLASS)) return std::min(VarSize(object), kMaxCount);
  if (has(Constant::TPFLAGS_DICT_SUBCLASS)) return std::min<std::uint64_t>(Pointer(object, Field::PyDictObject_ma_used), kMaxCount);
  if (has(Constant::TPFLAGS_UNICODE_SUBCLASS)) {
    const std::optional<TextUnits> units = t_.values.Units(object, 0);
    return units ? std::optional(units->length) : std::nullopt;
  }
  const ReaderKind reader = type.reader == ReaderKind::kInstance ? type.base_reader : type.reader;
  if (reader == ReaderKind::kSet) return std::min<std::uint64_t>(Pointer(object, Field::PySetObject_used), kMaxCount);
  if (reader == ReaderKind::kDeque) return t_.offsets.deque_len == kNoField ? VarSize(object) : t_.values.Pointer(object + t_.offsets.deque_len);
  if (type.name == "bytearray") return VarSize(object);
  return std::nullopt;
}

// ---- Repr

struct Repr::Impl {
  explicit Impl(const ObjectReader& reader) : target(reader) {}
  ReprTarget target;
};

Repr::Repr(const ObjectReader& reader) : impl_(std::make_unique<Impl>(reader)) {}
Repr::~Repr() = default;
Repr::Repr(Repr&&) noexcept = default;
Repr& Repr::operator=(Repr&&) noexcept = default;

ReprText Repr::Of(Address object, const ReprLimits& limits) const {
  object_in_hand = object;
  return ReprWriter(impl_->target, limits).Run(object);
}

ReprText Repr::DtypeOf(Address dtype, const ReprLimits& limits) const { return ReprWriter(impl_->target, limits).RunDtypeText(dtype); }

std::optional<std::uint64_t> Repr::LengthOf(Address object) const {
  const TypeFacts* const type = impl_->target.reader.Type(impl_->target.values.TypeOf(object));
  return type == nullptr ? std::nullopt : ReprWriter(impl_->target, {}).Length(object, *type);
}

}  // namespace pygc::objects
