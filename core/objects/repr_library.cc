// Objects whose __repr__ the standard library wrote in Python, or makes for each class: enums, dataclasses, Counter, Fraction and their like. The function that
// lookup finds tells which one it is: a class that only looks like one of these is not read as one.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/objects/repr_writer.h"

namespace pygc::objects {

using cpython::Field;

namespace {

constexpr std::size_t kMaxFields = 4096, kMaxCounted = 1u << 20;

/// Where a library lies does not matter: only the last part of its path.
bool EndsIn(const std::string& file, std::string_view name) {
  return file.size() > name.size() && file.ends_with(name) && file[file.size() - name.size() - 1] == '/';
}

}  // namespace

// What a library calls the function: its module and qualified name, where its code is that library's own. Empty otherwise.
std::string ReprWriter::LibraryName(Address function, bool may_wrap) const {
  const TypeFacts* const type = FactsOf(function);
  if (type == nullptr || type->name != "function" || !t_.layout.Has(Field::PyFunctionObject_func_qualname)) return {};
  const Address code = Pointer(function, Field::PyFunctionObject_func_code);
  const std::string file = Text(Pointer(code, Field::PyCodeObject_co_filename)), name = Text(Pointer(code, Field::PyCodeObject_co_name));
  const std::string module = Text(Pointer(function, Field::PyFunctionObject_func_module));
  const std::string whole = module + "." + Text(Pointer(function, Field::PyFunctionObject_func_qualname));
  if (name == "wrapper" && EndsIn(file, "reprlib.py")) {  // reprlib.recursive_repr(): it names the function as the one that it wraps, and keeps that [3.13+]
    const Address inner = t_.values.DictGet(Pointer(function, Field::PyFunctionObject_func_dict), "__wrapped__");
    return may_wrap && (inner == 0 || LibraryName(inner, false) == whole) ? whole : "";
  }
  std::string path = module;
  std::replace(path.begin(), path.end(), '.', '/');
  const bool own = name == "__repr__" && (EndsIn(file, path + ".py") || EndsIn(file, path + "/__init__.py"));
  return own ? whole : "";
}

// True for the __repr__ that dataclasses made for the class. CPython: _repr_fn(), _process_class(), Lib/dataclasses.py [3.7+].
bool ReprWriter::IsDataclassRepr(Address function) const {
  const TypeFacts* const type = FactsOf(function);
  if (type == nullptr || type->name != "function") return false;
  const Address code = Pointer(function, Field::PyFunctionObject_func_code);
  const std::string file = Text(Pointer(code, Field::PyCodeObject_co_filename));
  if (Text(Pointer(code, Field::PyCodeObject_co_name)) != "wrapper" || !(EndsIn(file, "dataclasses.py") || EndsIn(file, "reprlib.py"))) return false;
  const Address made = t_.values.DictGet(Pointer(function, Field::PyFunctionObject_func_dict), "__wrapped__");
  const TypeFacts* const made_type = made == 0 ? nullptr : FactsOf(made);
  return made_type != nullptr && made_type->name == "function" && Text(Pointer(Pointer(made, Field::PyFunctionObject_func_code), Field::PyCodeObject_co_filename)) == "<string>";
}

ReprWriter::Writer ReprWriter::LibraryWriter(const TypeFacts& definer) const {
  static constexpr std::array<Known, 11> kLibrary = {{{"enum.Enum.__repr__", &ReprWriter::Enum},
                                                     {"enum.Flag.__repr__", &ReprWriter::Flag},
                                                     {"collections.Counter.__repr__", &ReprWriter::Counter},
                                                     {"collections.ChainMap.__repr__", &ReprWriter::ChainMap},
                                                     {"collections.UserDict.__repr__", &ReprWriter::UserContainer},
                                                     {"collections.UserList.__repr__", &ReprWriter::UserContainer},
                                                     {"collections.UserString.__repr__", &ReprWriter::UserContainer},
                                                     {"fractions.Fraction.__repr__", &ReprWriter::Fraction},
                                                     {"uuid.UUID.__repr__", &ReprWriter::Uuid},
                                                     {"pathlib.PurePath.__repr__", &ReprWriter::Path},
                                                     {"pathlib._local.PurePath.__repr__", &ReprWriter::Path}}};
  const Address dict = t_.values.Pointer(definer.address + t_.offsets.tp_dict), function = t_.values.DictGet(dict, "__repr__");
  if (t_.values.DictGet(dict, "__dataclass_fields__") != 0 && IsDataclassRepr(function)) return &ReprWriter::Dataclass;
  const std::string name = LibraryName(function);
  for (const Known& known : kLibrary) {
    if (name == known.definer) return known.write;
  }
  return nullptr;
}

// What lookup on the class finds: an attribute of the first class of the MRO that has one; 0: none.
Address ReprWriter::ClassAttribute(const TypeFacts& type, std::string_view name, const TypeFacts** owner) const {
  for (const Address base : t_.values.TupleItems(t_.values.Pointer(type.address + t_.offsets.tp_mro), kMaxMro)) {
    const TypeFacts* const facts = t_.reader.Type(base);
    if (facts == nullptr || !facts->is_heap_type) continue;
    const Address found = t_.values.DictGet(t_.values.Pointer(base + t_.offsets.tp_dict), name);
    if (found == 0) continue;
    if (owner != nullptr) *owner = facts;
    return found;
  }
  return 0;
}

// The value of `instance.name` where nothing but the instance decides about it; 0 where a property or another descriptor of the class does, or where it has none.
Address ReprWriter::PlainAttribute(Address instance, const TypeFacts& type, std::string_view name) const {
  if (ClassAttribute(type, "__getattribute__") != 0) return 0;
  if (const Address of_class = ClassAttribute(type, name)) {
    const TypeFacts* const facts = FactsOf(of_class);
    if (facts == nullptr || facts->name == "property" || facts->name == "getset_descriptor" || ClassAttribute(*facts, "__set__") != 0 || ClassAttribute(*facts, "__get__") != 0) return 0;
  }
  return Attribute(instance, type, name);
}

// CPython: Enum.__repr__, Lib/enum.py: <Color.RED: 1>. A value is written by its data type's own repr() [3.11+], which is its own unless that was made here.
void ReprWriter::Enum(Address object, const TypeFacts& type) { EnumMember(object, type, false); }

// CPython: Flag.__repr__, Lib/enum.py: up to 3.10 the names of an unnamed member are worked out when asked.
void ReprWriter::Flag(Address object, const TypeFacts& type) { EnumMember(object, type, t_.style.names_flags); }

void ReprWriter::EnumMember(Address object, const TypeFacts& type, bool unnamed) {
  const Address name = Attribute(object, type, "_name_"), value = Attribute(object, type, "_value_");
  const TypeFacts* const name_type = name == 0 ? nullptr : FactsOf(name);
  const TypeFacts* const value_repr = t_.style.names_flags ? FactsOf(ClassAttribute(type, "_value_repr_")) : nullptr;
  if (value == 0 || name_type == nullptr || (value_repr != nullptr && value_repr->name == "function")) return UnknownRepr(object, type);
  const bool is_unnamed = name_type->name == "NoneType";
  if (is_unnamed && !unnamed) return UnknownRepr(object, type);
  Put(is_unnamed ? fmt::format("<{}: ", LastPart(type.name)) : fmt::format("<{}.{}: ", LastPart(type.name), Text(name)));
  Object(value);
  Put(">");
}

// CPython: _repr_fn() [<= 3.12], _process_class() [3.13+], Lib/dataclasses.py: Name(field=value, ...) of the fields of the class that has the __repr__.
void ReprWriter::Dataclass(Address object, const TypeFacts& type) {
  const TypeFacts* definer = nullptr;
  if (ClassAttribute(type, "__repr__", &definer) == 0) return UnknownRepr(object, type);
  const std::optional<DictTable> table = t_.values.Dict(t_.values.DictGet(t_.values.Pointer(definer->address + t_.offsets.tp_dict), "__dataclass_fields__"));
  if (!table || !table->complete || table->count > kMaxFields) return UnknownRepr(object, type);
  std::vector<std::pair<Address, Address>> fields;  // name, value
  for (std::uint64_t i = 0; i < table->count; ++i) {
    const Address name = table->Key(i), field = table->Value(i);
    if (name == 0 || field == 0) continue;
    const TypeFacts* const field_type = FactsOf(field);
    const Address kind = field_type == nullptr ? 0 : Attribute(field, *field_type, "_field_type"), shown = field_type == nullptr ? 0 : Attribute(field, *field_type, "repr");
    const TypeFacts* const kind_type = kind == 0 ? nullptr : FactsOf(kind);
    const TypeFacts* const shown_type = shown == 0 ? nullptr : FactsOf(shown);
    if (kind_type == nullptr || shown_type == nullptr || shown_type->name != "bool") return UnknownRepr(object, type);
    if (Text(Attribute(kind, *kind_type, "name")) != "_FIELD" || t_.values.Int(shown).value_or(0) == 0) continue;
    const Address value = PlainAttribute(object, type, Text(name));
    if (value == 0) return UnknownRepr(object, type);
    fields.emplace_back(name, value);
  }
  if (!Enter(object, "...")) return;
  Put(type.qualname + "(");
  for (std::size_t i = 0; i < fields.size() && !full_; ++i) {
    Put(fmt::format("{}{}=", i == 0 ? "" : ", ", Text(fields[i].first)));
    Object(fields[i].second);
  }
  Put(")");
  Leave();
}

// CPython: Counter.__repr__, Lib/collections/__init__.py [3.x]: by count, the most first; of equal counts as they were put in.
void ReprWriter::Counter(Address object, const TypeFacts& type) {
  const std::optional<DictTable> table = t_.values.Dict(object);
  if (type.name != "collections.Counter" || !table || !table->complete || table->count > kMaxCounted) return UnknownRepr(object, type);
  struct Entry {
    std::int64_t count;
    Address key, value;
  };
  std::vector<Entry> entries;
  for (std::uint64_t i = 0; i < table->count; ++i) {
    const Address key = table->Key(i), value = table->Value(i);
    if (key == 0 || value == 0) continue;
    const TypeFacts* const value_type = FactsOf(value);
    const std::optional<std::int64_t> count = t_.values.Int(value);
    if (value_type == nullptr || value_type->name != "int" || !count) return UnknownRepr(object, type);
    entries.push_back({*count, key, value});
  }
  if (entries.empty()) return Put("Counter()");
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.count > b.count; });
  if (!Enter(object, "...")) return;
  Put("Counter({");
  for (std::size_t i = 0; i < std::min(entries.size(), limits_.max_items) && !full_; ++i) {
    if (i > 0) Put(", ");
    Object(entries[i].key);
    Put(": ");
    Object(entries[i].value);
  }
  if (entries.size() > limits_.max_items) {
    Put(fmt::format(", … {} more", entries.size() - limits_.max_items));
    complete_ = false;
  }
  Put("})");
  Leave();
}

// CPython: ChainMap.__repr__, Lib/collections/__init__.py: ChainMap({...}, {...}).
void ReprWriter::ChainMap(Address object, const TypeFacts& type) {
  const Address maps = PlainAttribute(object, type, "maps");
  const TypeFacts* const maps_type = maps == 0 ? nullptr : FactsOf(maps);
  if (maps_type == nullptr || maps_type->name != "list") return UnknownRepr(object, type);
  if (!Enter(object, "...")) return;
  const std::uint64_t count = VarSize(maps);
  Put(fmt::format("{}(", LastPart(type.name)));
  Items(Words(Pointer(maps, Field::PyListObject_ob_item), count), count);
  Put(")");
  Leave();
}

// CPython: UserDict.__repr__ and the like, Lib/collections/__init__.py: that of what they wrap.
void ReprWriter::UserContainer(Address object, const TypeFacts& type) {
  const Address data = PlainAttribute(object, type, "data");
  if (data == 0) return UnknownRepr(object, type);
  if (std::find(active_.begin(), active_.end(), object) != active_.end()) {  // it would recurse until Python gives up
    exact_ = false;
    return Put("…");
  }
  if (!Enter(object, "…")) return;
  Object(data);
  Leave();
}

// CPython: Fraction.__repr__, Lib/fractions.py: Fraction(1, 3).
void ReprWriter::Fraction(Address object, const TypeFacts& type) {
  const Address above = PlainFraction(object, type, "_numerator"), below = PlainFraction(object, type, "_denominator");
  if (above == 0 || below == 0) return UnknownRepr(object, type);
  Put(fmt::format("{}(", LastPart(type.name)));
  Object(above);
  Put(", ");
  Object(below);
  Put(")");
}

// A slot of the fraction that holds an int and nothing derived from it: str() of that is its repr().
Address ReprWriter::PlainFraction(Address object, const TypeFacts& type, std::string_view name) const {
  const Address value = Attribute(object, type, name);
  const TypeFacts* const value_type = value == 0 ? nullptr : FactsOf(value);
  return value_type != nullptr && value_type->name == "int" ? value : 0;
}

// CPython: UUID.__repr__, Lib/uuid.py: UUID('12345678-1234-5678-1234-567812345678').
void ReprWriter::Uuid(Address object, const TypeFacts& type) {
  const Address value = Attribute(object, type, "int");
  const TypeFacts* const value_type = value == 0 ? nullptr : FactsOf(value);
  const std::byte* const head = value_type != nullptr && value_type->name == "int" ? Bytes(value, t_.offsets.ob_digit) : nullptr;
  const std::uint64_t count = head == nullptr ? 0 : t_.values.IntDigits(head);
  constexpr unsigned kBits = 128, kHexBits = 4;
  const unsigned bits = t_.offsets.digit_bits, bytes = t_.offsets.digit_bytes;
  const std::byte* const digits = head == nullptr || bits == 0 || count > kBits / bits + 1 ? nullptr : Bytes(value + t_.offsets.ob_digit, count * bytes);
  if (digits == nullptr) return UnknownRepr(object, type);
  const auto bit = [&](std::uint64_t at) {
    const std::uint64_t i = at / bits;
    if (i >= count) return 0u;
    const std::uint32_t digit = bytes == 2 ? LoadUnchecked<std::uint16_t>(digits + i * 2) : LoadUnchecked<std::uint32_t>(digits + i * 4);
    return digit >> (at % bits) & 1;
  };
  std::string hex;
  for (unsigned at = kBits; at > 0; at -= kHexBits) {
    unsigned nibble = 0;
    for (unsigned k = 1; k <= kHexBits; ++k) nibble = nibble * 2 + bit(at - k);
    hex += "0123456789abcdef"[nibble];
  }
  Put(fmt::format("{}('{}-{}-{}-{}-{}')", LastPart(type.name), hex.substr(0, 8), hex.substr(8, 4), hex.substr(12, 4), hex.substr(16, 4), hex.substr(20)));
}

// CPython: array_repr(), Modules/arraymodule.c: array('i', [1, 2]); array('i'). Behind the head of a variable object ob_item, allocated, ob_descr, which starts
// with the type code and the size of an item; the same since 2.7. Texts ('u', 'w', 'c') are not read.
void ReprWriter::Array(Address object, const TypeFacts& type) {
  constexpr std::uint64_t kDescription = 16, kItemSize = 4;
  const std::byte* const fields = Bytes(object + t_.offsets.ob_size + 8, kDescription + 8);
  const std::byte* const description = fields == nullptr ? nullptr : Bytes(LoadUnchecked<std::uint64_t>(fields + kDescription), kItemSize + 4);
  const char code = description == nullptr ? '\0' : static_cast<char>(LoadUnchecked<std::uint8_t>(description));
  constexpr std::string_view kCodes = "bBhHiIlLqQfd";
  constexpr std::array<unsigned, 12> kSizes = {1, 1, 2, 2, 4, 4, 8, 8, 8, 8, 4, 8};
  const std::size_t kind = kCodes.find(code);
  if (type.name != "array.array" || kind == std::string_view::npos || LoadUnchecked<std::int32_t>(description + kItemSize) != static_cast<std::int32_t>(kSizes[kind])) {
    return UnknownRepr(object, type);
  }
  const std::uint64_t count = VarSize(object), shown = std::min<std::uint64_t>(count, limits_.max_items);
  if (count == 0) return Put(fmt::format("array('{}')", code));
  const std::byte* const items = Bytes(LoadUnchecked<std::uint64_t>(fields), shown * kSizes[kind]);
  if (items == nullptr) return Unreadable();
  Put(fmt::format("array('{}', [", code));
  for (std::uint64_t i = 0; i < shown && !full_; ++i) {
    if (i > 0) Put(", ");
    Put(ArrayItem(code, items + i * kSizes[kind]));
  }
  if (count > shown) {
    Put(fmt::format("{}… {} more", shown == 0 ? "" : ", ", count - shown));
    complete_ = false;
  }
  Put("])");
}

std::string ReprWriter::ArrayItem(char code, const std::byte* at) const {
  const char* const suffix = t_.old() && (code == 'I' || code == 'L') ? "L" : "";  // of the type long
  switch (code) {
    case 'b': return std::to_string(LoadUnchecked<std::int8_t>(at));
    case 'B': return std::to_string(LoadUnchecked<std::uint8_t>(at));
    case 'h': return std::to_string(LoadUnchecked<std::int16_t>(at));
    case 'H': return std::to_string(LoadUnchecked<std::uint16_t>(at));
    case 'i': return std::to_string(LoadUnchecked<std::int32_t>(at));
    case 'I': return std::to_string(LoadUnchecked<std::uint32_t>(at)) + suffix;
    case 'l':
    case 'q': return std::to_string(LoadUnchecked<std::int64_t>(at));
    case 'L':
    case 'Q': return std::to_string(LoadUnchecked<std::uint64_t>(at)) + suffix;
    case 'f': return FloatRepr(LoadUnchecked<float>(at));
    default: return FloatRepr(LoadUnchecked<double>(at));
  }
}

// CPython: union_repr(), Objects/unionobject.c [3.10+]: int | str. Only of classes, their aliases and None: anything else is asked for what it is.
void ReprWriter::Union(Address object, const TypeFacts& type) {
  const Address args = Pointer(object, Field::unionobject_args);
  const std::vector<Address> items = t_.values.TupleItems(args, kMaxFields);
  const auto is_known = [&](Address item) {
    const TypeFacts* const item_type = FactsOf(item);
    return item_type != nullptr && (item_type->name == "type" || item_type->name == "types.GenericAlias");
  };
  if (items.empty() || items.size() != VarSize(args) || !std::all_of(items.begin(), items.end(), is_known)) return UnknownRepr(object, type);
  if (!Enter(object, "…")) return;
  for (std::size_t i = 0; i < items.size(); ++i) {
    Put(i == 0 ? "" : " | ");
    const TypeFacts* const self = t_.reader.Type(items[i]);
    self != nullptr && self->name == "NoneType" ? Put("None") : AliasItem(items[i]);
  }
  Leave();
}

}  // namespace pygc::objects
