// See target_objects.h. CPython: Objects/dictobject.c [all], Include/internal/pycore_dict.h [3.9+].
#include "core/cpython/target_objects.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace pygc::cpython {
namespace {

constexpr std::size_t kMaxTableSlots = 1u << 20;  // dicts searched here are those of modules: a few hundred entries

std::uint64_t Widen(std::uint64_t raw, std::uint32_t bytes, FieldKind kind) noexcept {
  if (bytes >= 8) return raw;
  const unsigned bits = bytes * 8;
  raw &= (1ull << bits) - 1;
  if (kind == FieldKind::kSigned && (raw >> (bits - 1)) & 1) raw |= ~0ull << bits;
  return raw;
}

}  // namespace

std::optional<std::uint64_t> TargetObjects::Get(Address structure, Field f) const {
  if (!layout_.Has(f)) return std::nullopt;
  const std::uint32_t width = std::min<std::uint32_t>(layout_.Width(f), 8);
  if (width != 1 && width != 2 && width != 4 && width != 8) return std::nullopt;
  const Address place = structure + layout_.Offset(f);
  std::uint64_t raw = 0;
  if (const std::byte* p = memory_.At(place, width)) {
    std::memcpy(&raw, p, width);
  } else {
    std::array<std::byte, 8> bytes{};
    const auto n = memory_.Read(place, std::span(bytes.data(), width));
    if (!n || *n != width) return std::nullopt;
    std::memcpy(&raw, bytes.data(), width);
  }
  return Widen(raw, width, KindOf(f));
}

std::optional<Address> TargetObjects::TypeOf(Address object) const {
  const auto type = Get(object, Field::PyObject_ob_type);
  if (!type || memory_.At(*type, layout_.Size(Struct::PyTypeObject)) == nullptr) return std::nullopt;
  return type;
}

bool TargetObjects::HasTypeFlags(Address object, Constant flags) const {
  const auto type = TypeOf(object);
  if (!type) return false;
  const auto value = Get(*type, Field::PyTypeObject_tp_flags);
  const auto wanted = static_cast<std::uint64_t>(layout_.Value(flags)) | static_cast<std::uint64_t>(layout_.Value(Constant::TPFLAGS_READY));
  return value && (*value & wanted) == wanted;
}

bool TargetObjects::TextIs(Address object, std::string_view text) const {
  Address data = 0;
  if (layout_.Has(Field::PyASCIIObject_state)) {
    const auto length = Get(object, Field::PyASCIIObject_length), state = Get(object, Field::PyASCIIObject_state);
    if (!length || !state || *length != text.size()) return false;
    const auto bit = [&](Constant shift) { return (*state >> layout_.Value(shift)) & 1; };
    if (!bit(Constant::UNICODE_COMPACT_SHIFT) || !bit(Constant::UNICODE_ASCII_SHIFT)) return false;
    data = object + layout_.Size(Struct::PyASCIIObject);
  } else {
    const auto length = Get(object, Field::PyVarObject_ob_size);
    if (!length || *length != text.size()) return false;
    data = object + layout_.Offset(Field::PyBytesObject_ob_sval);
  }
  const std::byte* bytes = memory_.At(data, text.size());
  return bytes != nullptr && std::memcmp(bytes, text.data(), text.size()) == 0;
}

std::optional<std::int64_t> TargetObjects::SmallInt(Address object) const {
  if (layout_.Has(Field::PyIntObject_ob_ival) && HasTypeFlags(object, Constant::TPFLAGS_INT_SUBCLASS)) {
    const auto value = Get(object, Field::PyIntObject_ob_ival);
    return value ? std::optional(static_cast<std::int64_t>(*value)) : std::nullopt;
  }
  if (!HasTypeFlags(object, Constant::TPFLAGS_LONG_SUBCLASS)) return std::nullopt;
  std::uint64_t digits = 0;
  bool negative = false;
  if (layout_.Has(Field::PyLongObject_lv_tag)) {
    const auto tag = Get(object, Field::PyLongObject_lv_tag);
    if (!tag) return std::nullopt;
    digits = *tag >> layout_.Value(Constant::INT_TAG_DIGITS_SHIFT, 3);
    negative = (*tag & 3) == 2;
  } else {
    const auto size = Get(object, Field::PyVarObject_ob_size);
    if (!size) return std::nullopt;
    negative = static_cast<std::int64_t>(*size) < 0;
    digits = negative ? 0 - *size : *size;
  }
  if (digits > 2) return std::nullopt;
  const std::uint32_t width = layout_.Width(Field::PyLongObject_ob_digit);
  std::uint64_t value = 0;
  for (std::uint64_t i = 0; i < digits; ++i) {
    const Address place = object + layout_.Offset(Field::PyLongObject_ob_digit) + i * width;
    std::uint64_t digit = 0;
    if (width == 4) {
      const auto read = memory_.ReadValue<std::uint32_t>(place);
      if (!read) return std::nullopt;
      digit = *read;
    } else {
      const auto read = memory_.ReadValue<std::uint16_t>(place);
      if (!read) return std::nullopt;
      digit = *read;
    }
    value |= digit << (i * static_cast<unsigned>(layout_.Value(Constant::INT_DIGIT_BITS, 30)));
  }
  return negative ? -static_cast<std::int64_t>(value) : static_cast<std::int64_t>(value);
}

void TargetObjects::VisitDict(Address dict, std::size_t max_entries, const std::function<bool(Address, Address)>& visit) const {
  max_entries = std::min(max_entries, kMaxTableSlots);
  if (layout_.Has(Field::PyDictObject_ma_table)) {  // 2.7: an open hash table
    const auto table = Get(dict, Field::PyDictObject_ma_table), mask = Get(dict, Field::PyDictObject_ma_mask);
    if (!table || !mask) return;
    const std::size_t slots = static_cast<std::size_t>(std::min<std::uint64_t>(*mask, max_entries - 1)) + 1;
    const std::uint32_t stride = layout_.Size(Struct::PyDictEntry);
    for (std::size_t i = 0; i < slots; ++i) {
      const auto key = Get(*table + i * stride, Field::PyDictEntry_me_key), value = Get(*table + i * stride, Field::PyDictEntry_me_value);
      if (!key || !value) return;
      if (*value != 0 && !visit(*key, *value)) return;
    }
    return;
  }
  const auto keys = Get(dict, Field::PyDictObject_ma_keys), values = Get(dict, Field::PyDictObject_ma_values);
  if (!keys || !values) return;
  const auto entries = Get(*keys, Field::PyDictKeysObject_dk_nentries);
  if (!entries || *entries > kMaxTableSlots) return;
  Address first = *keys + layout_.Offset(Field::PyDictKeysObject_dk_indices);
  bool unicode = false;
  if (layout_.Has(Field::PyDictKeysObject_dk_log2_index_bytes)) {
    const auto log2 = Get(*keys, Field::PyDictKeysObject_dk_log2_index_bytes), kind = Get(*keys, Field::PyDictKeysObject_dk_kind);
    if (!log2 || !kind || *log2 > 40) return;
    first += 1ull << *log2;
    unicode = *kind != static_cast<std::uint64_t>(layout_.Value(Constant::DICT_KEYS_GENERAL));
  } else {
    const auto size = Get(*keys, Field::PyDictKeysObject_dk_size);
    if (!size || *size > (1ull << 40)) return;
    first += *size * (*size <= 0xFF ? 1u : *size <= 0xFFFF ? 2u : *size <= 0xFFFFFFFFu ? 4u : 8u);
  }
  const std::uint32_t stride = layout_.Size(unicode ? Struct::PyDictUnicodeEntry : Struct::PyDictKeyEntry);
  const Field key_field = unicode ? Field::PyDictUnicodeEntry_me_key : Field::PyDictKeyEntry_me_key;
  const Field value_field = unicode ? Field::PyDictUnicodeEntry_me_value : Field::PyDictKeyEntry_me_value;
  const std::size_t count = std::min(static_cast<std::size_t>(*entries), max_entries);
  const Address split = *values == 0 ? 0 : *values + (layout_.Has(Struct::PyDictValues) ? layout_.Offset(Field::PyDictValues_values) : 0u);
  for (std::size_t i = 0; i < count; ++i) {
    const auto key = Get(first + i * stride, key_field);
    const auto value = split != 0 ? [&]() -> std::optional<std::uint64_t> {
      const auto read = memory_.ReadPointer(split + i * 8);
      return read ? std::optional(*read) : std::nullopt;
    }() : Get(first + i * stride, value_field);
    if (!key || !value) return;
    if (*value != 0 && !visit(*key, *value)) return;
  }
}

Address TargetObjects::Find(Address dict, std::string_view key) const {
  Address found = 0;
  if (!IsDict(dict)) return 0;
  VisitDict(dict, kMaxTableSlots, [&](Address k, Address v) {
    if (!TextIs(k, key)) return true;
    found = v;
    return false;
  });
  return found;
}

}  // namespace pygc::cpython
