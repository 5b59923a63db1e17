// Layout: where each field of each CPython structure lies in the target's build, as data with provenance.
// A new CPython release is a new file in layouts/, not new code. Structures and fields are named once, in layout_schema.def, in CPython's spelling.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.h"
#include "core/cpython/version.h"

namespace pygc::cpython {

/// Every structure that pygc reads, named as in CPython: Struct::PyListObject.
enum class Struct : std::uint16_t {
#define PYGC_STRUCT(name) name,
#define PYGC_FIELD(structure, field, kind)
#define PYGC_CONSTANT(name)
#include "core/cpython/layout_schema.def"
#undef PYGC_STRUCT
#undef PYGC_FIELD
#undef PYGC_CONSTANT
  kCount
};

/// Every field: Field::PyListObject_ob_item.
enum class Field : std::uint16_t {
#define PYGC_STRUCT(name)
#define PYGC_FIELD(structure, field, kind) structure##_##field,
#define PYGC_CONSTANT(name)
#include "core/cpython/layout_schema.def"
#undef PYGC_STRUCT
#undef PYGC_FIELD
#undef PYGC_CONSTANT
  kCount
};

/// Numbers that a release defines and that are no offset: frame states, flag bits, which traversal rule holds. Constant::FRAME_CLEARED.
enum class Constant : std::uint16_t {
#define PYGC_STRUCT(name)
#define PYGC_FIELD(structure, field, kind)
#define PYGC_CONSTANT(name) name,
#include "core/cpython/layout_schema.def"
#undef PYGC_STRUCT
#undef PYGC_FIELD
#undef PYGC_CONSTANT
  kCount
};

/// What a field holds; its width in bytes stands in the layout file.
enum class FieldKind : std::uint8_t { kPointer, kSigned, kUnsigned, kInline };

/// Where a fact came from, in rising order of trust.
enum class Provenance : std::uint8_t { kNone, kTableNearest, kTableExact, kProbed, kDwarf, kDebugOffsets, kUserFile };

struct FieldPlace {
  std::uint32_t offset = 0;
  std::uint32_t bytes = 0;
  Provenance provenance = Provenance::kNone;
};

/// A member of a structure of the interpreter that owns a reference to an object ("imports.modules" of PyInterpreterState), or the same member of all
/// elements of an array ("signals.handlers[].func"). For the audit of counts.
struct OwnedMember {
  Struct owner = Struct::kCount;
  std::uint32_t offset = 0;           // of the first, bytes
  std::uint32_t count = 1, stride = 8;  // how many, and bytes from one to the next
  std::string path;                   // as CPython spells it
};

/// The layout of one build. A value: copy it, change a copy.
class Layout {
 public:
  PythonVersion version;
  BuildFlavor flavor;
  std::string name;  // of the layout file that it came from, for reports: "cpython-3.12.1-default-lp64"
  std::string variant;                 // "debian" where a vendor's patch changes the layout; empty for upstream
  std::vector<std::string> build_ids;  // hex, of the builds that it was derived from
  std::shared_ptr<const std::vector<OwnedMember>> owned;  // by owner, then offset; nullptr: the file lists none
  bool tried = true;                   // false: derived from headers or foreign data, never run against such a process

  [[nodiscard]] bool Has(Field f) const noexcept { return fields_[static_cast<std::size_t>(f)].provenance != Provenance::kNone; }
  [[nodiscard]] bool Has(Struct s) const noexcept { return sizes_[static_cast<std::size_t>(s)].provenance != Provenance::kNone; }
  [[nodiscard]] bool Has(Constant c) const noexcept { return constants_[static_cast<std::size_t>(c)].has_value(); }
  /// Bytes from the start of the structure (objects: from the address that id() gives). Only where Has(f): otherwise 0.
  [[nodiscard]] std::uint32_t Offset(Field f) const noexcept { return fields_[static_cast<std::size_t>(f)].offset; }
  [[nodiscard]] std::uint32_t Width(Field f) const noexcept { return fields_[static_cast<std::size_t>(f)].bytes; }
  [[nodiscard]] FieldPlace Place(Field f) const noexcept { return fields_[static_cast<std::size_t>(f)]; }
  [[nodiscard]] std::uint32_t Size(Struct s) const noexcept { return sizes_[static_cast<std::size_t>(s)].bytes; }
  [[nodiscard]] std::int64_t Value(Constant c, std::int64_t otherwise = 0) const noexcept {
    return constants_[static_cast<std::size_t>(c)].value_or(otherwise);
  }

  void Set(Field f, FieldPlace place) noexcept { fields_[static_cast<std::size_t>(f)] = place; }
  void SetSize(Struct s, std::uint32_t bytes, Provenance p) noexcept { sizes_[static_cast<std::size_t>(s)] = {0, bytes, p}; }
  void Set(Constant c, std::int64_t value) noexcept { constants_[static_cast<std::size_t>(c)] = value; }

 private:
  std::array<FieldPlace, static_cast<std::size_t>(Field::kCount)> fields_{};
  std::array<FieldPlace, static_cast<std::size_t>(Struct::kCount)> sizes_{};
  std::array<std::optional<std::int64_t>, static_cast<std::size_t>(Constant::kCount)> constants_{};
};

/// "PyListObject.ob_item" and so on, as the layout files spell them.
[[nodiscard]] std::string_view FieldName(Field f) noexcept;
[[nodiscard]] std::string_view StructName(Struct s) noexcept;
[[nodiscard]] std::string_view ConstantName(Constant c) noexcept;
[[nodiscard]] FieldKind KindOf(Field f) noexcept;
[[nodiscard]] Struct StructOf(Field f) noexcept;

/// Parses the text of a layout file; every fact gets `provenance`. Errors: kUsage with the line number and what was wrong with it.
///
///   version 0x030c01f0               flavor default            (or free-threaded; then debug, trace-refs)
///   PyListObject 40                  size of a structure
///   PyListObject.ob_item  24 8       offset and width of a field, in bytes
///   owned PyInterpreterState imports.modules 1234 1 8   a member that owns a reference: offset, how many, stride
///   FRAME_CLEARED = 4                a constant
///   variant, source, build-id, derived, tried: see scripts/gen_layout.py.  # starts a comment.
[[nodiscard]] Result<Layout> ParseLayout(std::string_view text, std::string_view name, Provenance provenance = Provenance::kTableExact);

/// The layouts that are built in, parsed at the first call.
[[nodiscard]] const std::vector<Layout>& BuiltinLayouts();

}  // namespace pygc::cpython
