// The few look-ups in target objects that finding the runtime needs: a text, an int, a key of a dict. Bounded, tolerant, for hints only:
// what a report says of objects comes from core/objects.
#pragma once

#include <functional>
#include <optional>
#include <string_view>

#include "core/base/address.h"
#include "core/cpython/layout.h"
#include "core/target/memory_image.h"

namespace pygc::cpython {

class TargetObjects {
 public:
  TargetObjects(const target::MemoryImage& memory, const Layout& layout) noexcept : memory_(memory), layout_(layout) {}

  /// The field's value, zero- or sign-extended by its kind; nullopt where unreadable or not in the layout.
  [[nodiscard]] std::optional<std::uint64_t> Get(Address structure, Field f) const;
  /// ob_type of an object, where it points to something readable.
  [[nodiscard]] std::optional<Address> TypeOf(Address object) const;
  /// True where `object` is of a type with all bits of `flags` in tp_flags.
  [[nodiscard]] bool HasTypeFlags(Address object, Constant flags) const;
  [[nodiscard]] bool IsDict(Address object) const { return HasTypeFlags(object, Constant::TPFLAGS_DICT_SUBCLASS); }
  [[nodiscard]] bool IsList(Address object) const { return HasTypeFlags(object, Constant::TPFLAGS_LIST_SUBCLASS); }
  /// True where `object` is a str (2.7: str, not unicode) of exactly these ASCII bytes.
  [[nodiscard]] bool TextIs(Address object, std::string_view text) const;
  /// The value of an int below 2^60.
  [[nodiscard]] std::optional<std::int64_t> SmallInt(Address object) const;

  /// Calls `visit(key, value)` for each entry with a value until it returns false; at most `max_entries` slots. Split tables and free-threaded
  /// tables in the middle of a resize are read as they are.
  void VisitDict(Address dict, std::size_t max_entries, const std::function<bool(Address, Address)>& visit) const;
  /// The value under an ASCII key, or 0.
  [[nodiscard]] Address Find(Address dict, std::string_view key) const;

 private:
  const target::MemoryImage& memory_;
  const Layout& layout_;
};

}  // namespace pygc::cpython
