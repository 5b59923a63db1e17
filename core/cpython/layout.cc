// Names of the schema and the parser of layout files. The same parser serves the built-in texts and --layout FILE.
#include "core/cpython/layout.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <unordered_map>
#include <utility>

#include "core/cpython/builtin_layouts.h"

namespace pygc::cpython {
namespace {

struct FieldRow {
  std::string_view structure, field, full;
  FieldKind kind;
  Struct owner;
};

constexpr FieldRow kFields[] = {
#define PYGC_STRUCT(name)
#define PYGC_FIELD(structure, field, kind) {#structure, #field, #structure "." #field, FieldKind::kind, Struct::structure},
#define PYGC_CONSTANT(name)
#include "core/cpython/layout_schema.def"
#undef PYGC_STRUCT
#undef PYGC_FIELD
#undef PYGC_CONSTANT
};

constexpr std::string_view kStructs[] = {
#define PYGC_STRUCT(name) #name,
#define PYGC_FIELD(structure, field, kind)
#define PYGC_CONSTANT(name)
#include "core/cpython/layout_schema.def"
#undef PYGC_STRUCT
#undef PYGC_FIELD
#undef PYGC_CONSTANT
};

constexpr std::string_view kConstants[] = {
#define PYGC_STRUCT(name)
#define PYGC_FIELD(structure, field, kind)
#define PYGC_CONSTANT(name) #name,
#include "core/cpython/layout_schema.def"
#undef PYGC_STRUCT
#undef PYGC_FIELD
#undef PYGC_CONSTANT
};


// Name -> index for every word that a layout file may begin a line with. Built once; immutable afterwards.
struct Names {
  std::unordered_map<std::string_view, Field> fields;
  std::unordered_map<std::string_view, Struct> structs;
  std::unordered_map<std::string_view, Constant> constants;
};

const Names& AllNames() {
  static const Names names = [] {
    Names n;
    for (std::size_t i = 0; i < std::size(kFields); ++i) n.fields.emplace(kFields[i].full, static_cast<Field>(i));
    for (std::size_t i = 0; i < std::size(kStructs); ++i) n.structs.emplace(kStructs[i], static_cast<Struct>(i));
    for (std::size_t i = 0; i < std::size(kConstants); ++i) n.constants.emplace(kConstants[i], static_cast<Constant>(i));
    return n;
  }();
  return names;
}

// No structure of CPython comes near this; a larger number is a mistake in a file that a user gave.
constexpr std::uint64_t kMaxStructBytes = 64u << 20;
constexpr std::uint64_t kMaxFieldBytes = 1u << 20;  // the largest, the allocator's state of an interpreter [3.12], has a quarter of that

std::string_view NextWord(std::string_view& line) {
  const std::size_t begin = line.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) {
    line = {};
    return {};
  }
  const std::size_t end = std::min(line.find_first_of(" \t\r", begin), line.size());
  const std::string_view word = line.substr(begin, end - begin);
  line.remove_prefix(end);
  return word;
}

std::string_view Trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

template <typename T>
std::optional<T> Number(std::string_view word) {
  int base = 10;
  if (word.starts_with("0x")) {
    word.remove_prefix(2);
    base = 16;
  }
  T value{};
  const auto [end, code] = std::from_chars(word.data(), word.data() + word.size(), value, base);
  if (word.empty() || code != std::errc() || end != word.data() + word.size()) return std::nullopt;
  return value;
}

bool ParseFlavor(std::string_view words, BuildFlavor& flavor) {
  bool first = true;
  for (std::string_view word = NextWord(words); !word.empty(); word = NextWord(words)) {
    if (first && word == "default") flavor.free_threaded = false;
    else if (first && word == "free-threaded") flavor.free_threaded = true;
    else if (!first && word == "debug") flavor.debug = true;
    else if (!first && word == "trace-refs") flavor.trace_refs = true;
    else return false;
    first = false;
  }
  return !first;
}

}  // namespace

Result<Layout> ParseLayout(std::string_view text, std::string_view name, Provenance provenance) {
  Layout layout;
  layout.name = name;
  bool has_version = false, has_flavor = false;
  std::vector<OwnedMember> owned;
  std::size_t line_number = 0;
  const Names& names = AllNames();
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++line_number;
    line = Trimmed(line.substr(0, line.find('#')));
    if (line.empty()) continue;
    std::string_view rest = line;
    const std::string_view word = NextWord(rest);
    rest = Trimmed(rest);
    const auto wrong = [&](std::string_view what) { return Fail(ErrorCode::kUsage, "layout {}, line {}: {}: '{}'", name, line_number, what, line); };
    if (word == "version") {
      const auto hex = Number<std::uint32_t>(rest);
      if (!hex) return wrong("not a PY_VERSION_HEX");
      layout.version = PythonVersion::FromHex(*hex);
      has_version = true;
    } else if (word == "flavor") {
      if (!ParseFlavor(rest, layout.flavor)) return wrong("flavor is 'default' or 'free-threaded', then 'debug', 'trace-refs'");
      has_flavor = true;
    } else if (word == "variant") {
      layout.variant = rest;
    } else if (word == "build-id") {
      layout.build_ids.emplace_back(rest);
    } else if (word == "tried") {
      if (rest != "yes" && rest != "no") return wrong("yes or no is wanted");
      layout.tried = rest == "yes";
    } else if (word == "source" || word == "derived") {
      continue;
    } else if (word == "owned") {
      const auto structure = names.structs.find(NextWord(rest));
      const std::string_view path = NextWord(rest);
      const auto offset = Number<std::uint32_t>(NextWord(rest)), count = Number<std::uint32_t>(NextWord(rest)), stride = Number<std::uint32_t>(NextWord(rest));
      if (structure == names.structs.end()) return wrong("no such structure in layout_schema.def");
      if (path.empty() || !offset || !count || !stride || !Trimmed(rest).empty()) return wrong("a structure, a member, offset, number and stride are wanted");
      if (*offset > kMaxStructBytes || *count > kMaxStructBytes / 8 || *stride > kMaxStructBytes) return wrong("the place is beyond 64 MiB");
      owned.push_back({structure->second, *offset, *count, *stride, std::string(path)});
    } else if (word.find('.') != std::string_view::npos) {
      const auto field = names.fields.find(word);
      if (field == names.fields.end()) return wrong("no such field in layout_schema.def");
      const auto offset = Number<std::uint32_t>(NextWord(rest)), bytes = Number<std::uint32_t>(NextWord(rest));
      if (!offset || !bytes || !Trimmed(rest).empty()) return wrong("an offset and a width are wanted");
      if (*offset > kMaxStructBytes) return wrong("the place is beyond 64 MiB");
      if (*bytes > kMaxFieldBytes) return wrong("the member is wider than 1 MiB");
      layout.Set(field->second, FieldPlace{*offset, *bytes, provenance});
    } else if (rest.starts_with('=')) {
      const auto constant = names.constants.find(word);
      if (constant == names.constants.end()) return wrong("no such constant in layout_schema.def");
      const auto value = Number<std::int64_t>(Trimmed(rest.substr(1)));
      if (!value) return wrong("a number is wanted");
      layout.Set(constant->second, *value);
    } else {
      const auto structure = names.structs.find(word);
      if (structure == names.structs.end()) return wrong("no such structure in layout_schema.def");
      const auto bytes = Number<std::uint32_t>(rest);
      if (!bytes || *bytes > kMaxStructBytes) return wrong("a size in bytes is wanted");
      layout.SetSize(structure->second, *bytes, provenance);
    }
  }
  if (!has_version) return Fail(ErrorCode::kUsage, "layout {}: no line 'version 0x...'", name);
  if (!has_flavor) return Fail(ErrorCode::kUsage, "layout {}: no line 'flavor ...'", name);
  if (!owned.empty()) layout.owned = std::make_shared<const std::vector<OwnedMember>>(std::move(owned));
  return layout;
}

const std::vector<Layout>& BuiltinLayouts() {
  static const std::vector<Layout> layouts = [] {
    std::vector<Layout> all;
    for (const LayoutText& t : BuiltinLayoutTexts()) {
      if (Result<Layout> layout = ParseLayout(t.text, t.name)) all.push_back(std::move(*layout));
    }
    return all;  // a file that does not parse fails the unit test of this layer, never a user
  }();
  return layouts;
}

std::string_view FieldName(Field f) noexcept { return f < Field::kCount ? kFields[static_cast<std::size_t>(f)].full : std::string_view("?"); }
std::string_view StructName(Struct s) noexcept { return s < Struct::kCount ? kStructs[static_cast<std::size_t>(s)] : std::string_view("?"); }
std::string_view ConstantName(Constant c) noexcept {
  return c < Constant::kCount ? kConstants[static_cast<std::size_t>(c)] : std::string_view("?");
}
FieldKind KindOf(Field f) noexcept { return kFields[static_cast<std::size_t>(f)].kind; }
Struct StructOf(Field f) noexcept { return kFields[static_cast<std::size_t>(f)].owner; }

}  // namespace pygc::cpython
