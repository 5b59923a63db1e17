// Names of the schema and the parser of layout files. The same parser serves the built-in texts and --layout FILE.
#include "core/cpython/layout.h"

#include <algorithm>
#include <charconv>
#include <utility>

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

}  // namespace

std::string_view FieldName(Field f) noexcept { return f < Field::kCount ? kFields[static_cast<std::size_t>(f)].full : std::string_view("?"); }
std::string_view StructName(Struct s) noexcept { return s < Struct::kCount ? kStructs[static_cast<std::size_t>(s)] : std::string_view("?"); }
std::string_view ConstantName(Constant c) noexcept {
  return c < Constant::kCount ? kConstants[static_cast<std::size_t>(c)] : std::string_view("?");
}
FieldKind KindOf(Field f) noexcept { return kFields[static_cast<std::size_t>(f)].kind; }
Struct StructOf(Field f) noexcept { return kFields[static_cast<std::size_t>(f)].owner; }

}  // namespace pygc::cpython
