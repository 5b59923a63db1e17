// Small values out of the target's memory: the text of a str, an int, the entries of a dict, the items of a tuple.
// For types, names and labels; the hot loops of visit.h do not go through here. Every loop is bounded by the table's own size and by readable memory.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/cpython/runtime.h"
#include "core/objects/offsets.h"
#include "core/target/memory_image.h"

namespace pygc::objects {

/// The entries of a dict, wherever this release keeps them. Invalid where the dict cannot be read.
struct DictTable {
  const std::byte* entries = nullptr;  // `count` entries of `stride` bytes
  const std::byte* values = nullptr;   // split table: `value_count` pointers; then the entries' own values are not used
  std::uint64_t count = 0;             // entries with holes; clamped to what is readable
  std::uint64_t value_count = 0;
  std::uint64_t used = 0;              // entries with a value, by the dict's own count (only of a dict's own table)
  std::uint32_t stride = 0, key = 0, value = 0;
  bool visits_keys = false;            // dict_traverse reports keys
  bool keys_first = false;             // ... before the value (2.7), else after it
  bool embedded = false;               // the values lie inside the owner of this __dict__ (3.13+)
  bool complete = true;                // false: the table is damaged or cut off

  [[nodiscard]] Address Key(std::uint64_t i) const noexcept { return LoadUnchecked<std::uint64_t>(entries + i * stride + key); }
  [[nodiscard]] Address Value(std::uint64_t i) const noexcept {
    if (values) return i < value_count ? LoadUnchecked<std::uint64_t>(values + i * 8) : 0;
    return LoadUnchecked<std::uint64_t>(entries + i * stride + value);
  }
};

/// The characters of a str (2.7: str, unicode), wherever this release keeps them: `count` units of `width` bytes at `data`.
struct TextUnits {
  const std::byte* data = nullptr;
  std::uint64_t count = 0;      // clamped to what was asked for
  std::uint64_t length = 0;     // of the whole text
  unsigned width = 1;           // 1: Latin-1, or bytes where `bytes`; 2: UCS2 (2.7: UTF-16); 4: UCS4
  bool bytes = false;           // 2.7 str: bytes without an encoding

  [[nodiscard]] std::uint32_t At(std::uint64_t i) const noexcept {
    return width == 1   ? static_cast<std::uint32_t>(LoadUnchecked<std::uint8_t>(data + i))
           : width == 2 ? static_cast<std::uint32_t>(LoadUnchecked<std::uint16_t>(data + i * 2))
                        : LoadUnchecked<std::uint32_t>(data + i * 4);
  }
};

/// Reads values of one target. Cheap to copy; const and thread-safe.
class Values {
 public:
  Values(const target::MemoryImage& memory, const Offsets& offsets, Address lookdict) noexcept : memory_(&memory), o_(&offsets), lookdict_(lookdict) {}

  [[nodiscard]] const target::MemoryImage& memory() const noexcept { return *memory_; }
  [[nodiscard]] Address Pointer(Address a) const noexcept {
    const std::byte* p = memory_->At(a, 8);
    return p ? LoadUnchecked<std::uint64_t>(p) : 0;
  }
  /// ob_type, or 0 when unreadable.
  [[nodiscard]] Address TypeOf(Address object) const noexcept { return object ? Pointer(object + o_->ob_type) : 0; }
  /// tp_flags of the type at `type`, or 0 when unreadable.
  [[nodiscard]] std::uint64_t FlagsOf(Address type) const noexcept { return type ? Pointer(type + o_->tp_flags) : 0; }

  /// True for str (2.7: str and unicode) and its subclasses.
  [[nodiscard]] bool IsText(Address object) const noexcept;
  /// The text as UTF-8, at most `max_code_points` of it; nullopt when the object is none or cannot be read.
  /// Lone surrogates become U+FFFD; bytes of a 2.7 str that are not UTF-8 become \xNN.
  [[nodiscard]] std::optional<std::string> Text(Address object, std::size_t max_code_points) const;
  /// The first `max_units` units of it, as they are; nullopt likewise.
  [[nodiscard]] std::optional<TextUnits> Units(Address object, std::size_t max_units) const;
  /// True when the object is a str (2.7: str or unicode) that the interpreter interned, which it does with the names and the name-like constants of code.
  /// CPython: all_name_chars() in Objects/codeobject.c; state.interned in Include/cpython/unicodeobject.h [3.3+], ob_sstate in Include/stringobject.h [2.7].
  [[nodiscard]] bool IsInterned(Address object) const noexcept;
  /// True when the object is a text of exactly these ASCII characters.
  [[nodiscard]] bool TextEquals(Address object, std::string_view ascii) const;
  /// The value of an int (2.7: int or long) that fits.
  [[nodiscard]] std::optional<std::int64_t> Int(Address object) const;
  /// Digits of an int of 3.x or a long of 2.7.
  [[nodiscard]] std::uint64_t IntDigits(const std::byte* object) const noexcept;

  /// The table of the dict at `dict` (any object that starts with PyDictObject). nullopt when it cannot be read at all.
  [[nodiscard]] std::optional<DictTable> Dict(Address dict) const noexcept;
  /// The entries of a PyDictKeysObject (ht_cached_keys); the values member stays empty.
  [[nodiscard]] std::optional<DictTable> Keys(Address keys) const noexcept;
  /// The value under an ASCII key, or 0.
  [[nodiscard]] Address DictGet(Address dict, std::string_view ascii_key) const;

  /// Items of a tuple, at most `max`; empty when it is none.
  [[nodiscard]] std::vector<Address> TupleItems(Address tuple, std::size_t max) const;
  /// How many whole pointers of `count` at `from` can be read; walks on over borders of segments.
  [[nodiscard]] std::uint64_t ReadableWords(Address from, std::uint64_t count) const noexcept;

 private:
  [[nodiscard]] std::optional<TextUnits> OldUnits(Address object, std::uint64_t flags, std::size_t max_units) const;

  const target::MemoryImage* memory_;
  const Offsets* o_;
  Address lookdict_;
};

/// Appends `code_point` as UTF-8; U+FFFD for surrogates and numbers above U+10FFFF.
void AppendUtf8(std::string& out, std::uint32_t code_point);

}  // namespace pygc::objects
