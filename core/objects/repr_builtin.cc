// Types in C whose repr shows members that no traversal visits: patterns, counters, views, aliases of classes; and pathlib's paths. The members lie at fixed
// distances from fields that the layout knows; each is checked against the size that the type itself says before it is read.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/objects/repr_writer.h"

namespace pygc::objects {

using cpython::Field;

namespace {

constexpr std::size_t kMaxAliasArguments = 4096, kMaxPathParts = 1u << 16, kMaxPathLength = 1u << 20;
constexpr std::int64_t kWord = 8;

struct PatternFlag {
  std::uint32_t bit;
  const char* name;
};
// CPython: flag_names[] in pattern_repr(), Modules/_sre.c; Modules/_sre/sre.c [3.6+]. TEMPLATE is gone from 3.13 on, and no pattern has it there.
constexpr std::array<PatternFlag, 9> kPatternFlags = {{{1, "re.TEMPLATE"},
                                                       {2, "re.IGNORECASE"},
                                                       {4, "re.LOCALE"},
                                                       {8, "re.MULTILINE"},
                                                       {16, "re.DOTALL"},
                                                       {32, "re.UNICODE"},
                                                       {64, "re.VERBOSE"},
                                                       {128, "re.DEBUG"},
                                                       {256, "re.ASCII"}}};
constexpr std::uint32_t kLocaleFlag = 4, kUnicodeFlag = 32, kAsciiFlag = 256;

std::size_t BytesOfCharacters(std::string_view text, std::size_t count) {
  std::size_t bytes = 0;
  for (std::size_t seen = 0; bytes < text.size(); ++bytes) {
    if ((static_cast<unsigned char>(text[bytes]) & 0xC0) != 0x80 && seen++ == count) break;
  }
  return bytes;
}

}  // namespace

// CPython: pattern_repr(): re.compile('a', re.IGNORECASE|re.MULTILINE), the pattern's repr cut off after 200 characters. struct PatternObject, Modules/_sre.h,
// Modules/_sre/sre.h: behind the head of a variable object groups, groupindex, indexgroup, pattern, and flags as an int; the same since 2.7.
void ReprWriter::Pattern(Address object, const TypeFacts& type) {
  constexpr std::size_t kMostCharacters = 200;
  if (t_.old()) return Default(object, type);  // it has no __repr__
  const Address pattern_at = object + t_.offsets.ob_size + kWord + 3 * kWord;
  const Address pattern = t_.values.Pointer(pattern_at);
  const std::byte* const flags_at = Bytes(pattern_at + kWord, sizeof(std::uint32_t));
  const TypeFacts* const pattern_type = FactsOf(pattern);
  if (type.basicsize < t_.offsets.ob_size + 6 * kWord || flags_at == nullptr || pattern_type == nullptr) return UnknownRepr(object, type);
  std::uint32_t flags = LoadUnchecked<std::uint32_t>(flags_at);
  if (t_.values.IsText(pattern) && (flags & (kLocaleFlag | kUnicodeFlag | kAsciiFlag)) == kUnicodeFlag) flags &= ~kUnicodeFlag;  // goes without saying
  ReprLimits limits = limits_;
  limits.max_text = std::max(limits.max_text, kMostCharacters);
  const ReprText text = ReprWriter(t_, limits).Run(pattern);
  const std::string_view shown = std::string_view(text.text).substr(0, BytesOfCharacters(text.text, kMostCharacters));
  exact_ = exact_ && text.exact;
  complete_ = complete_ && (text.complete || shown.size() < text.text.size());
  std::string names;
  for (const PatternFlag& flag : kPatternFlags) {
    if (flags & flag.bit) names += fmt::format("{}{}", names.empty() ? ", " : "|", flag.name);
    flags &= ~flag.bit;
  }
  if (flags != 0) names += fmt::format("{}{:#x}", names.empty() ? ", " : "|", flags);
  Put(fmt::format("re.compile({}{})", shown, names));
}

// CPython: match_repr(): <re.Match object; span=(0, 2), match='ab'>, the match's repr cut off after 50 characters; 3.4+. struct MatchObject, Modules/_sre.h,
// Modules/_sre/sre.h: behind the head of a variable object string, regs, pattern, pos, endpos, lastindex, groups, and where each group begins and ends, in
// characters; the same since 2.7.
void ReprWriter::Match(Address object, const TypeFacts& type) {
  constexpr std::size_t kMostCharacters = 50;
  constexpr std::int64_t kMarks = 7;
  constexpr std::uint64_t kLongestText = 1u << 24;
  if (t_.old()) return Default(object, type);  // it has no __repr__
  const Address string_at = object + t_.offsets.ob_size + kWord;
  const Address string = t_.values.Pointer(string_at);
  const std::byte* const marks = Bytes(string_at + kMarks * kWord, 2 * kWord);
  const TypeFacts* const string_type = FactsOf(string);
  if (type.basicsize < t_.offsets.ob_size + (1 + kMarks) * kWord || marks == nullptr || string_type == nullptr) return UnknownRepr(object, type);
  const auto begin = LoadUnchecked<std::uint64_t>(marks), end = LoadUnchecked<std::uint64_t>(marks + kWord);
  if (end < begin || end > kLongestText) return UnknownRepr(object, type);
  ReprWriter part(t_, limits_);
  if (t_.values.IsText(string)) {
    const std::optional<TextUnits> units = t_.values.Units(string, end);
    if (!units || units->count < end) return UnknownRepr(object, type);
    std::u32string characters;
    for (std::uint64_t i = begin; i < end; ++i) characters += static_cast<char32_t>(units->At(i));
    part.Quoted(characters);
  } else {
    const bool fixed = string_type->name == "bytes";
    const Address data = fixed                               ? string + t_.offsets.bytes_data
                         : string_type->name == "bytearray" ? Pointer(string, Field::PyByteArrayObject_ob_start)
                                                             : 0;
    const std::byte* const matched = data == 0 || VarSize(string) < end ? nullptr : Bytes(data + begin, std::max<std::uint64_t>(end - begin, 1));
    if (matched == nullptr) return UnknownRepr(object, type);
    part.QuotedBytes(matched, end - begin, end - begin, "b");
  }
  Put(fmt::format("<{} object; span=({}, {}), match={}>", NameInC(type), begin, end, std::string_view(part.out_).substr(0, BytesOfCharacters(part.out_, kMostCharacters))));
}

// CPython: contextvar_tp_repr(), Python/context.c [3.7+]: <ContextVar name='a' default=1 at 0x...>.
void ReprWriter::ContextVariable(Address object, const TypeFacts& type) {
  const Address name = Pointer(object, Field::pycontextvarobject_var_name), value = Pointer(object, Field::pycontextvarobject_var_default);
  if (name == 0) return UnknownRepr(object, type);
  if (!Enter(object, "…")) return;
  Put("<ContextVar name=");
  Object(name);
  if (value != 0) {
    Put(" default=");
    Object(value);
  }
  At(object);
  Leave();
}

// CPython: token_tp_repr(), Python/context.c [3.7+]; behind tok_oldval lies tok_used.
void ReprWriter::ContextToken(Address object, const TypeFacts& type) {
  const Address variable = Pointer(object, Field::pycontexttokenobject_tok_var);
  const std::byte* const used = variable == 0 ? nullptr : Bytes(object + t_.layout.Offset(Field::pycontexttokenobject_tok_oldval) + kWord, sizeof(std::uint32_t));
  if (used == nullptr) return UnknownRepr(object, type);
  if (!Enter(object, "…")) return;
  Put(LoadUnchecked<std::uint32_t>(used) != 0 ? "<Token used var=" : "<Token var=");
  Object(variable);
  At(object);
  Leave();
}

// CPython: count_repr(), countobject in Modules/itertoolsmodule.c: cnt, long_cnt, long_step; cnt is PY_SSIZE_T_MAX where long_cnt counts.
void ReprWriter::Count(Address object, const TypeFacts& type) {
  if (!t_.layout.Has(Field::countobject_long_cnt) || t_.layout.Offset(Field::countobject_long_cnt) != t_.offsets.ob_type + 2 * kWord ||
      type.basicsize < t_.offsets.ob_type + 4 * kWord) {
    return UnknownRepr(object, type);
  }
  constexpr std::int64_t kSlow = 0x7FFFFFFFFFFFFFFF;
  const std::byte* const at = Bytes(object + t_.layout.Offset(Field::countobject_long_cnt) - kWord, kWord);
  if (at == nullptr) return Unreadable();
  const std::int64_t count = LoadUnchecked<std::int64_t>(at);
  const std::string name(t_.style.own_names ? LastPart(type.name) : "count");
  if (count != kSlow) return Put(fmt::format("{}({})", name, count));
  const Address next = Pointer(object, Field::countobject_long_cnt), step = Pointer(object, Field::countobject_long_step);
  const TypeFacts* const step_type = FactsOf(step);
  const bool by_one = step_type != nullptr && (step_type->name == "int" || step_type->name == "bool") && t_.values.Int(step) == 1;
  if (!Enter(object, "…")) return;
  Put(name + "(");
  Object(next);
  if (!by_one) {
    Put(", ");
    Object(step);
  }
  Put(")");
  Leave();
}

// CPython: repeat_repr(), repeatobject in Modules/itertoolsmodule.c: element, cnt; -1: for ever.
void ReprWriter::Repeat(Address object, const TypeFacts& type) {
  const Address element = Pointer(object, Field::repeatobject_element);
  const std::byte* const count_at = element == 0 ? nullptr : Bytes(object + t_.layout.Offset(Field::repeatobject_element) + kWord, kWord);
  if (count_at == nullptr || type.basicsize < t_.layout.Offset(Field::repeatobject_element) + 2 * kWord) return UnknownRepr(object, type);
  if (!Enter(object, "…")) return;
  Put(fmt::format("{}(", t_.style.own_names ? LastPart(type.name) : "repeat"));
  Object(element);
  const std::int64_t count = LoadUnchecked<std::int64_t>(count_at);
  Put(count == -1 ? ")" : fmt::format(", {})", count));
  Leave();
}

// CPython: memory_repr(), PyMemoryViewObject in Include/memoryobject.h, Include/cpython/memoryobject.h [3.3+]: mbuf, hash, flags. 2.7 knows no release().
void ReprWriter::MemoryView(Address object, const TypeFacts& type) {
  constexpr std::uint32_t kReleased = 1;  // _Py_MEMORYVIEW_RELEASED
  bool released = false;
  if (!t_.old()) {
    const std::byte* const flags = t_.layout.Has(Field::PyMemoryViewObject_mbuf) ? Bytes(object + t_.layout.Offset(Field::PyMemoryViewObject_mbuf) + 2 * kWord, sizeof(std::uint32_t)) : nullptr;
    if (flags == nullptr) return UnknownRepr(object, type);
    released = (LoadUnchecked<std::uint32_t>(flags) & kReleased) != 0;
  }
  Put(released ? "<released memory" : "<memory");
  At(object);
}

// CPython: ga_repr(), gaobject in Objects/genericaliasobject.c: origin, args, parameters, weakreflist, and from 3.11 on starred: list[int], *tuple[int, ...].
void ReprWriter::GenericAlias(Address object, const TypeFacts& type) {
  const Address args = Pointer(object, Field::gaobject_args), origin = Pointer(object, Field::gaobject_origin);
  const std::vector<Address> items = t_.values.TupleItems(args, kMaxAliasArguments);
  if (origin == 0 || args == 0 || items.size() != VarSize(args)) return UnknownRepr(object, type);
  const std::int64_t starred = t_.layout.Offset(Field::gaobject_parameters) + 2 * kWord;
  const std::byte* const star = type.basicsize > starred ? Bytes(object + static_cast<std::uint64_t>(starred), 1) : nullptr;
  if (!Enter(object, "…")) return;
  Put(star != nullptr && LoadUnchecked<std::uint8_t>(star) != 0 ? "*" : "");
  AliasItem(origin);
  Put("[");
  for (std::size_t i = 0; i < items.size() && !full_; ++i) {
    Put(i == 0 ? "" : ", ");
    AliasItem(items[i]);
  }
  Put(items.empty() ? "()]" : "]");
  Leave();
}

// CPython: ga_repr_item() [<= 3.13], _Py_typing_type_repr() [3.14+]: classes by their names, what has no __qualname__ by its repr.
void ReprWriter::AliasItem(Address item) {
  const TypeFacts* const type = FactsOf(item);
  if (type == nullptr) return Unreadable();
  if (type->name == "ellipsis") return Put("...");
  if (type->is_type_object) {
    const TypeFacts* const self = t_.reader.Type(item);
    if (self == nullptr) return Unreadable();
    return Put(self->name == "NoneType" && !t_.style.names_none_type ? "None" : self->name);
  }
  if (type->name == "list" && t_.style.alias_lists) {
    if (!Enter(item, "[...]")) return;
    const std::uint64_t count = VarSize(item);
    const std::vector<Address> items = Words(Pointer(item, Field::PyListObject_ob_item), count);
    complete_ = complete_ && items.size() == count;
    Put("[");
    for (std::size_t i = 0; i < items.size() && !full_; ++i) {
      Put(i == 0 ? "" : ", ");
      AliasItem(items[i]);
    }
    Put("]");
    return Leave();
  }
  static constexpr std::array<std::string_view, 11> kByRepr = {"NoneType", "str", "bytes", "int", "bool", "float", "tuple", "list", "types.GenericAlias", "types.UnionType", "typing.Union"};
  exact_ = exact_ && std::find(kByRepr.begin(), kByRepr.end(), type->name) != kByRepr.end();
  Object(item);
}

// ---- pathlib

std::optional<std::u32string> ReprWriter::Characters(Address str_object) const {
  const std::optional<TextUnits> units = str_object == 0 ? std::nullopt : t_.values.Units(str_object, kMaxPathLength);
  if (!units || units->bytes || units->count < units->length) return std::nullopt;
  std::u32string out;
  for (std::uint64_t i = 0; i < units->count; ++i) out += static_cast<char32_t>(units->At(i));
  return out;
}

// What os.path.join() makes of the texts of a list, then what PurePath makes of that. CPython: posixpath.join(), PurePath._parse_path() [3.12+].
std::optional<std::u32string> ReprWriter::JoinedRawPath(Address paths) const {
  const TypeFacts* const type = paths == 0 ? nullptr : FactsOf(paths);
  if (type == nullptr || type->name != "list" || VarSize(paths) > kMaxPathParts) return std::nullopt;
  std::u32string path;
  const Address items = Pointer(paths, Field::PyListObject_ob_item);
  for (std::uint64_t i = 0; i < VarSize(paths); ++i) {
    const std::optional<std::u32string> part = Characters(t_.values.Pointer(items + i * 8));
    if (!part || path.size() + part->size() > kMaxPathLength) return std::nullopt;
    if (part->starts_with(U'/')) path.clear();
    if (!path.empty() && path.back() != U'/') path += U'/';
    path += *part;
  }
  const std::size_t slashes = std::min(path.find_first_not_of(U'/'), path.size());
  std::u32string out(slashes == 2 ? U"//" : slashes > 0 ? U"/" : U"");  // POSIX: two slashes may mean something else, more do not
  const std::size_t root = out.size();
  for (std::size_t at = slashes; at < path.size();) {
    const std::size_t end = std::min(path.find(U'/', at), path.size());
    const std::u32string_view part = std::u32string_view(path).substr(at, end - at);
    if (!part.empty() && part != U".") {
      if (out.size() > root) out += U'/';
      out += part;
    }
    at = end + 1;
  }
  return out;
}

// str(path): what the path keeps of it, or is made of. CPython: PurePath.__str__(), Lib/pathlib.py [3.6-3.12], Lib/pathlib/_local.py [3.13], Lib/pathlib/__init__.py [3.14+].
std::optional<std::u32string> ReprWriter::PathText(Address object, const TypeFacts& type, bool windows) const {
  if (const Address kept = Attribute(object, type, "_str")) return Characters(kept);
  const Address parts = Attribute(object, type, "_parts"), tail = Attribute(object, type, "_tail_cached");
  std::optional<std::u32string> out;
  if (parts != 0 || tail != 0) {  // [<= 3.11], and later where somebody asked for them
    const std::optional<std::u32string> drive = Characters(Attribute(object, type, "_drv")), root = Characters(Attribute(object, type, "_root"));
    const Address list = parts != 0 ? parts : tail;
    if (!drive || !root || VarSize(list) > kMaxPathParts) return std::nullopt;
    out = *drive + *root;
    const bool skip_anchor = parts != 0 && !out->empty();  // the first of _parts is drive and root together
    const Address items = Pointer(list, Field::PyListObject_ob_item);
    for (std::uint64_t i = skip_anchor ? 1 : 0, first = i; i < VarSize(list); ++i) {
      const std::optional<std::u32string> part = Characters(t_.values.Pointer(items + i * 8));
      if (!part || out->size() + part->size() > kMaxPathLength) return std::nullopt;
      *out += (i == first ? U"" : windows ? U"\\" : U"/") + *part;
    }
  } else if (!windows) {
    out = JoinedRawPath(Attribute(object, type, "_raw_paths"));
  }
  return out && out->empty() ? U"." : out;
}

// CPython: PurePath.__repr__: PosixPath('/srv/app'), with slashes alone.
void ReprWriter::Path(Address object, const TypeFacts& type) {
  bool windows = false;
  for (const Address base : t_.values.TupleItems(t_.values.Pointer(type.address + t_.offsets.tp_mro), kMaxMro)) {
    const TypeFacts* const facts = t_.reader.Type(base);
    windows = windows || (facts != nullptr && LastPart(facts->name) == "PureWindowsPath");
  }
  // The class that wrote __repr__ calls as_posix(), and that str(): a class of the program may have its own.
  const auto is_of_library = [&](std::string_view method) {
    const TypeFacts* owner = nullptr;
    return ClassAttribute(type, method, &owner) != 0 && (owner->module == "pathlib" || owner->module.starts_with("pathlib."));
  };
  std::optional<std::u32string> text;
  if (is_of_library("__str__") && is_of_library("as_posix")) text = PathText(object, type, windows);
  if (!text) return UnknownRepr(object, type);
  if (windows) std::replace(text->begin(), text->end(), U'\\', U'/');
  const std::size_t length = text->size();
  if (length > limits_.max_text) text->resize(limits_.max_text);
  Put(fmt::format("{}(", LastPart(type.name)));
  Quoted(*text);
  if (text->size() < length) {
    Put(fmt::format("… {} more", length - text->size()));
    complete_ = false;
  }
  Put(")");
}

}  // namespace pygc::objects
