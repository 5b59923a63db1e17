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

// What a library calls the function: its module and qualified name, where its code is that library's own. Empty otherwise. A function of 2.7 has no qualified name:
// there it is the name of the class that was found to have it.
std::string ReprWriter::LibraryName(Address function, const TypeFacts& definer, bool may_wrap) const {
  const TypeFacts* const type = FactsOf(function);
  if (type == nullptr || type->name != "function") return {};
  const Address code = Pointer(function, Field::PyFunctionObject_func_code);
  const std::string file = Text(Pointer(code, Field::PyCodeObject_co_filename)), name = Text(Pointer(code, Field::PyCodeObject_co_name));
  const std::string module = Text(Pointer(function, Field::PyFunctionObject_func_module));
  const bool qualified = t_.layout.Has(Field::PyFunctionObject_func_qualname);
  const std::string whole = qualified ? module + "." + Text(Pointer(function, Field::PyFunctionObject_func_qualname)) : definer.name + "." + name;
  if (name == "wrapper" && EndsIn(file, "reprlib.py")) {  // reprlib.recursive_repr(): it names the function as the one that it wraps, and keeps that [3.13+]
    const Address inner = t_.values.DictGet(Pointer(function, Field::PyFunctionObject_func_dict), "__wrapped__");
    return may_wrap && (inner == 0 || LibraryName(inner, definer, false) == whole) ? whole : "";
  }
  std::string path = module;
  std::replace(path.begin(), path.end(), '.', '/');
  const bool own = name == "__repr__" && (EndsIn(file, path + ".py") || EndsIn(file, path + "/__init__.py") || (module == "decimal" && EndsIn(file, "_pydecimal.py")));
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
  static constexpr Known kLibrary[] = {{"enum.Enum.__repr__", &ReprWriter::Enum},
                                       {"enum.Flag.__repr__", &ReprWriter::Flag},
                                       {"collections.Counter.__repr__", &ReprWriter::Counter},
                                       {"collections.ChainMap.__repr__", &ReprWriter::ChainMap},
                                       {"collections.UserDict.__repr__", &ReprWriter::UserContainer},
                                       {"collections.UserList.__repr__", &ReprWriter::UserContainer},
                                       {"collections.UserString.__repr__", &ReprWriter::UserContainer},
                                       {"fractions.Fraction.__repr__", &ReprWriter::Fraction},
                                       {"uuid.UUID.__repr__", &ReprWriter::Uuid},
                                       {"pathlib.PurePath.__repr__", &ReprWriter::Path},
                                       {"pathlib._local.PurePath.__repr__", &ReprWriter::Path},
                                       {"socket.socket.__repr__", &ReprWriter::Socket},
                                       {"threading.Condition.__repr__", &ReprWriter::Condition},
                                       {"threading._Condition.__repr__", &ReprWriter::Condition},
                                       {"threading.Event.__repr__", &ReprWriter::Event},
                                       {"threading.Semaphore.__repr__", &ReprWriter::Semaphore},
                                       {"threading.BoundedSemaphore.__repr__", &ReprWriter::Semaphore},
                                       {"threading.Barrier.__repr__", &ReprWriter::Barrier},
                                       {"threading.Thread.__repr__", &ReprWriter::Thread},
                                       {"tempfile._TemporaryFileWrapper.__repr__", &ReprWriter::TemporaryFile},
                                       {"tempfile.TemporaryDirectory.__repr__", &ReprWriter::TemporaryDirectory},
                                       {"ctypes.c_char_p.__repr__", &ReprWriter::CharacterPointer},
                                       {"ctypes.c_wchar_p.__repr__", &ReprWriter::CharacterPointer},
                                       {"ctypes.py_object.__repr__", &ReprWriter::SimpleCData},
                                       {"ctypes.CDLL.__repr__", &ReprWriter::Library}};
  const Address dict = t_.values.Pointer(definer.address + t_.offsets.tp_dict), function = t_.values.DictGet(dict, "__repr__");
  if (t_.values.DictGet(dict, "__dataclass_fields__") != 0 && IsDataclassRepr(function)) return &ReprWriter::Dataclass;
  const std::string name = LibraryName(function, definer);
  for (const Known& known : kLibrary) {
    if (name == known.definer) return known.write;
  }
  // RLock of 2.7; later there is one in C, and this one hardly used.
  return t_.old() && name == "threading._RLock.__repr__" ? &ReprWriter::OldRLock : nullptr;
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
void ReprWriter::Flag(Address object, const TypeFacts& type) { EnumMember(object, type, true); }

void ReprWriter::EnumMember(Address object, const TypeFacts& type, bool unnamed) {
  const Address name = Attribute(object, type, "_name_"), value = Attribute(object, type, "_value_");
  const TypeFacts* const name_type = name == 0 ? nullptr : FactsOf(name);
  const TypeFacts* const value_repr = t_.style.names_flags ? FactsOf(ClassAttribute(type, "_value_repr_")) : nullptr;
  if (value == 0 || name_type == nullptr || (value_repr != nullptr && value_repr->name == "function")) return UnknownRepr(object, type);
  const bool is_unnamed = name_type->name == "NoneType";
  const std::optional<std::string> composite = is_unnamed && unnamed && !t_.style.names_flags ? FlagNames(object, type, value) : std::nullopt;
  if (is_unnamed && !(unnamed && (t_.style.names_flags || composite))) return UnknownRepr(object, type);
  if (is_unnamed && !composite) {
    Put(fmt::format("<{}: ", LastPart(type.name)));
  } else {
    Put(fmt::format("<{}.{}: ", LastPart(type.name), composite ? *composite : Text(name)));
  }
  Object(value);
  Put(">");
}

// The names of the members that an unnamed one is made of, as "R|X|8"; nullopt where a value is too large, or the class answers for its members itself.
// CPython: _decompose(), Lib/enum.py [3.6-3.10].
std::optional<std::string> ReprWriter::FlagNames(Address object, const TypeFacts& type, Address value) const {
  struct Member {
    std::int64_t value = 0;
    std::string name;  // "" of a member without one
  };
  const auto is_of_library = [&](const TypeFacts& of, std::string_view attribute) {
    const TypeFacts* owner = nullptr;
    return ClassAttribute(of, attribute, &owner) != 0 && owner->module == "enum";
  };
  const TypeFacts* const meta = FactsOf(type.address);
  const std::optional<DictTable> table = t_.values.Dict(ClassAttribute(type, "_value2member_map_"));
  const std::optional<std::int64_t> wanted = t_.values.Int(value);
  if (meta == nullptr || !is_of_library(*meta, "__iter__") || !is_of_library(type, "name") || !is_of_library(type, "value")) return std::nullopt;
  if (!table || !table->complete || table->count > kMaxFields || !wanted) return std::nullopt;
  const auto is_power_of_two = [](std::int64_t v) { return v > 0 && (v & (v - 1)) == 0; };
  std::vector<Member> named, bits;  // bits: made when they were asked for, of one bit
  bool is_member = false;
  for (std::uint64_t i = 0; i < table->count; ++i) {
    const Address key = table->Key(i), member = table->Value(i);
    if (key == 0 || member == 0) continue;
    const std::optional<std::int64_t> number = t_.values.Int(key);
    const TypeFacts* const member_type = FactsOf(member);
    const Address name = member_type == nullptr ? 0 : Attribute(member, *member_type, "_name_");
    const TypeFacts* const name_type = name == 0 ? nullptr : FactsOf(name);
    if (name_type == nullptr) return std::nullopt;
    is_member = is_member || member == object;
    if (!number) {  // of more bits than `wanted`, positive or negative: part of it only where that is negative
      if (*wanted < 0 && name_type->name != "NoneType") return std::nullopt;
      continue;
    }
    if (*number == 0 || (*number & *wanted) != *number) continue;
    if (name_type->name != "NoneType") {
      named.push_back({*number, Text(name)});
    } else if (*wanted >= 0 && is_power_of_two(*number)) {
      bits.push_back({*number, ""});
    }
  }
  std::int64_t covered = 0;
  for (const Member& m : named) covered |= m.value;
  for (const Member& bit : bits) {
    if (t_.style.flag_bits_always || (bit.value & covered) == 0) named.push_back(bit);
  }
  if (named.empty() && is_member) named.push_back({*wanted, ""});
  std::sort(named.begin(), named.end(), [](const Member& a, const Member& b) { return a.value > b.value; });
  if (named.size() > 1 && named.front().value == *wanted) named.erase(named.begin());
  std::string out;
  for (const Member& m : named) out += (out.empty() ? "" : "|") + (m.name.empty() ? std::to_string(m.value) : m.name);
  return out;
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

// CPython: Counter.__repr__, Counter.most_common(), Lib/collections.py [2.7], Lib/collections/__init__.py [3.x]: by count, the most first; of equal counts as they
// stand in the dict.
void ReprWriter::Counter(Address object, const TypeFacts& type) {
  const TypeFacts* owner = nullptr;
  const std::optional<DictTable> table = t_.values.Dict(object);
  bool own_words = ClassAttribute(type, "most_common", &owner) == 0 || owner->name != "collections.Counter";
  for (const char* const asked : {"items", "iteritems", "__len__", "__bool__", "__nonzero__", "__getattribute__"}) own_words = own_words || ClassAttribute(type, asked) != 0;
  if (own_words || !table || !table->complete || table->count > kMaxCounted) return UnknownRepr(object, type);
  const std::string name(LastPart(type.name));
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
  if (entries.empty()) return Put(name + "()");
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.count > b.count; });
  if (!Enter(object, "...")) return;
  Put(name + "({");
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
  Put(fmt::format("{}(", LibraryClass(type, "Fraction")));
  Decimals(above);
  Put(", ");
  Decimals(below);
  Put(")");
}

// A slot of the fraction that holds an int and nothing derived from it.
Address ReprWriter::PlainFraction(Address object, const TypeFacts& type, std::string_view name) const {
  const Address value = Attribute(object, type, name);
  const TypeFacts* const value_type = value == 0 ? nullptr : FactsOf(value);
  return value_type != nullptr && (value_type->name == "int" || (t_.old() && value_type->name == "long")) ? value : 0;
}

// str() of an int: its repr() without the L of 2.7.
void ReprWriter::Decimals(Address number) {
  const ReprText text = ReprWriter(t_, limits_).Run(number);
  complete_ = complete_ && text.complete;
  exact_ = exact_ && text.exact;
  Put(text.text.ends_with('L') ? text.text.substr(0, text.text.size() - 1) : text.text);
}

// What a __repr__ of the library calls the object's class: that class itself [3.x], or what it is written for, whatever was made from it [2.7].
std::string_view ReprWriter::LibraryClass(const TypeFacts& type, std::string_view name) const { return t_.old() ? name : LastPart(type.name); }

// CPython: UUID.__repr__, Lib/uuid.py: UUID('12345678-1234-5678-1234-567812345678').
void ReprWriter::Uuid(Address object, const TypeFacts& type) {
  const Address value = Attribute(object, type, "int");
  const TypeFacts* const value_type = value == 0 ? nullptr : FactsOf(value);
  const bool is_word = t_.old() && value_type != nullptr && value_type->name == "int";  // no digits: a machine word
  const bool has_digits = value_type != nullptr && value_type->name == (t_.old() ? "long" : "int");
  const std::byte* const head = has_digits ? Bytes(value, t_.offsets.ob_digit) : nullptr;
  const std::uint64_t count = head == nullptr ? 0 : t_.values.IntDigits(head);
  constexpr unsigned kBits = 128, kHexBits = 4, kWordBits = 64;
  const unsigned bits = t_.offsets.digit_bits, bytes = t_.offsets.digit_bytes;
  const std::byte* const digits = head == nullptr || bits == 0 || count > kBits / bits + 1 ? nullptr : Bytes(value + t_.offsets.ob_digit, count * bytes);
  const auto word = static_cast<std::uint64_t>(is_word ? t_.values.Int(value).value_or(0) : 0);
  if (digits == nullptr && !is_word) return UnknownRepr(object, type);
  const auto bit = [&](std::uint64_t at) {
    if (is_word) return at < kWordBits ? static_cast<std::uint32_t>(word >> at & 1) : 0u;
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
  Put(fmt::format("{}('{}-{}-{}-{}-{}')", LibraryClass(type, "UUID"), hex.substr(0, 8), hex.substr(8, 4), hex.substr(12, 4), hex.substr(16, 4), hex.substr(20)));
}

// CPython: array_repr(), Modules/arraymodule.c: array('i', [1, 2]); array('u', 'text'); array('i'). Behind the head of a variable object ob_item, allocated, ob_descr,
// which starts with the type code and the size of an item; the same since 2.7.
void ReprWriter::Array(Address object, const TypeFacts& type) {
  constexpr std::uint64_t kDescription = 16, kItemSize = 4;
  const std::byte* const fields = Bytes(object + t_.offsets.ob_size + 8, kDescription + 8);
  const std::byte* const description = fields == nullptr ? nullptr : Bytes(LoadUnchecked<std::uint64_t>(fields + kDescription), kItemSize + 4);
  const char code = description == nullptr ? '\0' : static_cast<char>(LoadUnchecked<std::uint8_t>(description));
  constexpr std::string_view kCodes = "bBhHiIlLqQfdcuw", kTextCodes = "cuw";
  constexpr std::array<unsigned, kCodes.size()> kSizes = {1, 1, 2, 2, 4, 4, 8, 8, 8, 8, 4, 8, 1, 4, 4};
  const std::size_t kind = kCodes.find(code);
  const std::int32_t size = description == nullptr ? 0 : LoadUnchecked<std::int32_t>(description + kItemSize);
  const bool narrow = code == 'u' && size == 2;  // Py_UNICODE of 2.7 may have two bytes
  if (kind == std::string_view::npos || (size != static_cast<std::int32_t>(kSizes[kind]) && !narrow)) return UnknownRepr(object, type);
  const std::string name(t_.style.own_names ? LastPart(type.name) : "array");
  const bool is_text = kTextCodes.find(code) != std::string_view::npos;
  const std::uint64_t count = VarSize(object), shown = std::min<std::uint64_t>(count, is_text ? limits_.max_text : limits_.max_items);
  if (count == 0) return Put(fmt::format("{}('{}')", name, code));
  const std::byte* const items = Bytes(LoadUnchecked<std::uint64_t>(fields), shown * static_cast<std::uint64_t>(size));
  if (items == nullptr) return Unreadable();
  if (is_text) return ArrayOfText(object, type, name, code, {items, shown, count, static_cast<unsigned>(size), code == 'c'});
  Put(fmt::format("{}('{}', [", name, code));
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

// Where the characters are none that a str can have, or (of 'w') such that its codec refuses, repr() raises an exception.
// CPython: array_array_tounicode_impl(): PyUnicode_FromWideChar() of 'u', PyUnicode_DecodeUTF32() of 'w' [3.13+].
void ReprWriter::ArrayOfText(Address object, const TypeFacts& type, const std::string& name, char code, const TextUnits& units) {
  constexpr std::uint32_t kMostCharacter = 0x10FFFF;
  const auto is_surrogate = [](std::uint32_t c) { return c >= 0xD800 && c < 0xE000; };
  for (std::uint64_t i = 0; i < units.count; ++i) {
    if (units.At(i) > kMostCharacter || (code == 'w' && is_surrogate(units.At(i)))) return UnknownRepr(object, type);
  }
  Put(fmt::format("{}('{}', ", name, code));
  QuotedUnits(units);
  Put(")");
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
