#include "core/objects/values.h"

#include <algorithm>

namespace pygc::objects {

namespace {

constexpr std::uint64_t kMaxTableEntries = std::uint64_t{1} << 40;  // beyond any memory; keeps products from wrapping

template <typename T>
T Load(const std::byte* p) noexcept {
  return LoadUnchecked<T>(p);
}

/// Length of the UTF-8 sequence at `s`, 0 when it is malformed.
std::size_t Utf8Length(std::string_view s) noexcept {
  const auto byte = [&s](std::size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned char c = byte(0);
  const std::size_t n = c < 0x80 ? 1 : c >= 0xC2 && c < 0xE0 ? 2 : c >= 0xE0 && c < 0xF0 ? 3 : c >= 0xF0 && c < 0xF5 ? 4 : 0;
  if (n == 0 || n > s.size()) return 0;
  for (std::size_t i = 1; i < n; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  if ((c == 0xE0 && byte(1) < 0xA0) || (c == 0xED && byte(1) >= 0xA0) || (c == 0xF0 && byte(1) < 0x90) || (c == 0xF4 && byte(1) >= 0x90)) return 0;
  return n;
}

std::string BytesText(std::string_view bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  while (!bytes.empty()) {
    if (const std::size_t n = Utf8Length(bytes)) {
      out.append(bytes.substr(0, n));
      bytes.remove_prefix(n);
    } else {
      const auto c = static_cast<unsigned char>(bytes[0]);
      out += {'\\', 'x', kHex[c >> 4], kHex[c & 15]};
      bytes.remove_prefix(1);
    }
  }
  return out;
}

}  // namespace

void AppendUtf8(std::string& out, std::uint32_t c) {
  if ((c >= 0xD800 && c < 0xE000) || c > 0x10FFFF) c = 0xFFFD;
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += {static_cast<char>(0xC0 | (c >> 6)), static_cast<char>(0x80 | (c & 0x3F))};
  } else if (c < 0x10000) {
    out += {static_cast<char>(0xE0 | (c >> 12)), static_cast<char>(0x80 | ((c >> 6) & 0x3F)), static_cast<char>(0x80 | (c & 0x3F))};
  } else {
    out += {static_cast<char>(0xF0 | (c >> 18)), static_cast<char>(0x80 | ((c >> 12) & 0x3F)), static_cast<char>(0x80 | ((c >> 6) & 0x3F)),
            static_cast<char>(0x80 | (c & 0x3F))};
  }
}

bool Values::IsText(Address object) const noexcept {
  const std::uint64_t flags = FlagsOf(TypeOf(object));
  return (flags & o_->flag_unicode_subclass) != 0 || (o_->dict_old && (flags & o_->flag_bytes_subclass) != 0);
}

bool Values::IsInterned(Address object) const noexcept {
  const std::uint64_t flags = FlagsOf(TypeOf(object));
  if (o_->str_state != kNoField && (flags & o_->flag_unicode_subclass)) {
    const std::byte* const head = memory_->At(object, o_->ascii_size);
    return head != nullptr && ((Load<std::uint32_t>(head + o_->str_state) >> o_->interned_shift) & o_->interned_mask) != 0;
  }
  if (o_->bytes_sstate == kNoField || !(flags & o_->flag_bytes_subclass)) return false;
  const std::byte* const head = memory_->At(object, o_->bytes_data);
  return head != nullptr && Load<std::uint32_t>(head + o_->bytes_sstate) != 0;
}

// 2.7: str is bytes; unicode is an array of Py_UNICODE somewhere else.
std::optional<TextUnits> Values::OldUnits(Address object, std::uint64_t flags, std::size_t max_units) const {
  TextUnits units;
  if (flags & o_->flag_bytes_subclass) {
    const std::byte* head = memory_->At(object, o_->bytes_data);
    if (!head || Load<std::int64_t>(head + o_->ob_size) < 0) return std::nullopt;
    units.length = Load<std::uint64_t>(head + o_->ob_size);
    units.count = std::min<std::uint64_t>(units.length, max_units);
    units.bytes = true;
    units.data = memory_->At(object + o_->bytes_data, units.count);
    return units.data ? std::optional(units) : std::nullopt;
  }
  if (!(flags & o_->flag_unicode_subclass) || o_->old_unicode_str == kNoField) return std::nullopt;
  const std::byte* head = memory_->At(object, o_->unicode_size);
  if (!head || Load<std::int64_t>(head + o_->old_unicode_length) < 0) return std::nullopt;
  units.length = Load<std::uint64_t>(head + o_->old_unicode_length);
  units.count = std::min<std::uint64_t>(units.length, max_units);
  // Width of Py_UNICODE: wide builds (UCS4) keep code points, narrow ones (UCS2) UTF-16. A text is NUL-terminated in its own width, which tells them apart.
  const Address data = Load<std::uint64_t>(head + o_->old_unicode_str);
  const std::byte* wide = memory_->At(data, (units.count + 1) * 4);
  bool is_wide = wide != nullptr;
  for (std::size_t i = 0; is_wide && i < units.count; ++i) is_wide = Load<std::uint32_t>(wide + i * 4) <= 0x10FFFF;
  if (is_wide && units.count == units.length) is_wide = Load<std::uint32_t>(wide + units.count * 4) == 0;
  units.width = is_wide ? 4 : 2;
  units.data = is_wide ? wide : memory_->At(data, units.count * 2);
  return units.data ? std::optional(units) : std::nullopt;
}

std::optional<TextUnits> Values::Units(Address object, std::size_t max_units) const {
  const std::uint64_t flags = FlagsOf(TypeOf(object));
  max_units = std::min<std::size_t>(max_units, std::size_t{1} << 40);
  if (o_->str_state == kNoField) return OldUnits(object, flags, max_units);
  if (!(flags & o_->flag_unicode_subclass)) return std::nullopt;
  const std::byte* head = memory_->At(object, o_->ascii_size);
  if (!head || Load<std::int64_t>(head + o_->str_length) < 0) return std::nullopt;
  TextUnits units;
  units.length = Load<std::uint64_t>(head + o_->str_length);
  const auto state = Load<std::uint32_t>(head + o_->str_state);
  units.width = (state >> o_->kind_shift) & 7;
  const bool compact = (state >> o_->compact_shift) & 1;
  const bool ascii = (state >> o_->ascii_shift) & 1;
  Address data;
  if (compact) {
    data = object + (ascii ? o_->ascii_size : o_->compact_size);
  } else {
    if (o_->str_data == kNoField) return std::nullopt;
    data = Pointer(object + o_->str_data);
  }
  if (units.width == 0) {  // wchar_t only (<= 3.11): a legacy string that was never made ready
    if (o_->str_wstr == kNoField || o_->wstr_length == kNoField) return std::nullopt;
    data = Pointer(object + o_->str_wstr);
    units.length = Pointer(object + o_->wstr_length);
    units.width = 4;
  }
  if (units.width != 1 && units.width != 2 && units.width != 4) return std::nullopt;
  units.count = std::min<std::uint64_t>(units.length, max_units);
  units.data = units.count == 0 ? head : memory_->At(data, units.count * units.width);
  return units.data ? std::optional(units) : std::nullopt;
}

std::optional<std::string> Values::Text(Address object, std::size_t max_code_points) const {
  const std::optional<TextUnits> units = Units(object, max_code_points);
  if (!units) return std::nullopt;
  if (units->bytes) return BytesText({reinterpret_cast<const char*>(units->data), units->count});
  std::string out;
  out.reserve(units->count);
  for (std::uint64_t i = 0; i < units->count; ++i) {
    std::uint32_t c = units->At(i);
    if (o_->str_state == kNoField && c >= 0xD800 && c < 0xDC00 && i + 1 < units->count) {  // UTF-16 of a narrow 2.7
      const std::uint32_t low = units->At(i + 1);
      if (low >= 0xDC00 && low < 0xE000) {
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
        ++i;
      }
    }
    AppendUtf8(out, c);
  }
  return out;
}

bool Values::TextEquals(Address object, std::string_view ascii) const {
  // The common shape without a copy: compact ASCII (3.x) or a byte string (2.7).
  const std::uint64_t flags = FlagsOf(TypeOf(object));
  if (o_->str_state != kNoField && (flags & o_->flag_unicode_subclass)) {
    const std::byte* head = memory_->At(object, o_->ascii_size);
    if (!head || Load<std::int64_t>(head + o_->str_length) != static_cast<std::int64_t>(ascii.size())) return false;
    const auto state = Load<std::uint32_t>(head + o_->str_state);
    if (((state >> o_->compact_shift) & 1) && ((state >> o_->ascii_shift) & 1)) {
      const std::byte* p = memory_->At(object + o_->ascii_size, ascii.size());
      return p && std::memcmp(p, ascii.data(), ascii.size()) == 0;
    }
  } else if (o_->dict_old && (flags & o_->flag_bytes_subclass)) {
    const std::byte* head = memory_->At(object, o_->bytes_data);
    if (!head || Load<std::int64_t>(head + o_->ob_size) != static_cast<std::int64_t>(ascii.size())) return false;
    const std::byte* p = memory_->At(object + o_->bytes_data, ascii.size());
    return p && std::memcmp(p, ascii.data(), ascii.size()) == 0;
  }
  const std::optional<std::string> text = Text(object, ascii.size() + 1);
  return text && *text == ascii;
}

std::uint64_t Values::IntDigits(const std::byte* object) const noexcept {
  if (o_->lv_tag != kNoField) return Load<std::uint64_t>(object + o_->lv_tag) >> o_->tag_shift;
  const auto size = Load<std::int64_t>(object + o_->ob_size);
  return size < 0 ? ~static_cast<std::uint64_t>(size) + 1 : static_cast<std::uint64_t>(size);  // the lowest number has no negative
}

std::optional<std::int64_t> Values::Int(Address object) const {
  const std::uint64_t flags = FlagsOf(TypeOf(object));
  if (o_->flag_int_subclass && (flags & o_->flag_int_subclass) && o_->int_ival != kNoField) {
    const std::byte* p = memory_->At(object, o_->int_ival + 8);
    return p ? std::optional<std::int64_t>(Load<std::int64_t>(p + o_->int_ival)) : std::nullopt;
  }
  if (!(flags & o_->flag_long_subclass) || o_->ob_digit == kNoField) return std::nullopt;
  const std::byte* p = memory_->At(object, o_->ob_digit);
  if (!p) return std::nullopt;
  bool negative = false;
  if (o_->lv_tag != kNoField) {
    const std::uint64_t sign = Load<std::uint64_t>(p + o_->lv_tag) & 3;
    if (sign == 1) return 0;
    negative = sign == 2;
  } else {
    negative = Load<std::int64_t>(p + o_->ob_size) < 0;
  }
  const std::uint64_t digits = IntDigits(p);
  if (digits > 8) return std::nullopt;
  const std::byte* d = memory_->At(object + o_->ob_digit, digits * o_->digit_bytes);
  if (!d) return std::nullopt;
  std::uint64_t value = 0;
  for (std::uint64_t i = digits; i-- > 0;) {
    if (value >> (63 - o_->digit_bits) != 0) return std::nullopt;  // does not fit
    value = (value << o_->digit_bits) | (o_->digit_bytes == 2 ? Load<std::uint16_t>(d + i * 2) : Load<std::uint32_t>(d + i * 4));
  }
  const auto magnitude = static_cast<std::int64_t>(value);
  return negative ? -magnitude : magnitude;
}

std::uint64_t Values::ReadableWords(Address from, std::uint64_t count) const noexcept {
  std::uint64_t n = 0;
  while (n < count) {
    const target::Segment* s = memory_->Find(from);
    if (!s) break;
    const std::uint64_t here = std::min<std::uint64_t>((s->range.end - from) / 8, count - n);
    if (here == 0) break;  // a word across two segments: the readers take whole words of one segment only
    n += here;
    from += here * 8;
  }
  return n;
}

std::optional<DictTable> Values::Keys(Address keys) const noexcept {
  const Offsets& o = *o_;
  if (o.dk_nentries == kNoField) return std::nullopt;
  const std::byte* k = memory_->At(keys, o.dk_indices);
  if (!k) return std::nullopt;
  DictTable t;
  const auto entries = Load<std::int64_t>(k + o.dk_nentries);
  std::uint64_t table_size = 0, index_bytes = 0;
  if (o.dk_log2_size != kNoField) {
    const auto log2_size = Load<std::uint8_t>(k + o.dk_log2_size);
    const auto log2_bytes = Load<std::uint8_t>(k + o.dk_log2_index_bytes);
    if (log2_size > 40 || log2_bytes > 44) return std::nullopt;
    table_size = std::uint64_t{1} << log2_size;
    index_bytes = std::uint64_t{1} << log2_bytes;
    const bool general = Load<std::uint8_t>(k + o.dk_kind) == o.kind_general;
    t.visits_keys = general;
    t.stride = general ? o.entry_size : o.unicode_entry_size;
    t.key = general ? o.entry_key : o.unicode_entry_key;
    t.value = general ? o.entry_value : o.unicode_entry_value;
  } else {
    const auto size = Load<std::int64_t>(k + o.dk_size);
    if (size < 0 || static_cast<std::uint64_t>(size) > kMaxTableEntries) return std::nullopt;
    table_size = static_cast<std::uint64_t>(size);
    index_bytes = table_size * (table_size <= 0xFF ? 1 : table_size <= 0xFFFF ? 2 : table_size <= 0xFFFFFFFF ? 4 : 8);
    t.visits_keys = lookdict_ != 0 && Load<std::uint64_t>(k + o.dk_lookup) == lookdict_;
    t.stride = o.entry_size;
    t.key = o.entry_key;
    t.value = o.entry_value;
  }
  if (entries < 0 || static_cast<std::uint64_t>(entries) > table_size || t.stride == 0) return std::nullopt;
  t.count = static_cast<std::uint64_t>(entries);
  const Address first = keys + o.dk_indices + index_bytes;
  t.entries = memory_->At(first, t.count * t.stride);
  if (!t.entries) {
    t.complete = false;
    const target::Segment* s = memory_->Find(first);
    t.count = s ? std::min<std::uint64_t>((s->range.end - first) / t.stride, t.count) : 0;
    t.entries = t.count ? memory_->At(first, t.count * t.stride) : nullptr;
    if (!t.entries) t.count = 0;
  }
  return t;
}

std::optional<DictTable> Values::Dict(Address dict) const noexcept {
  const Offsets& o = *o_;
  const std::byte* d = memory_->At(dict, o.dict_size);
  if (!d) return std::nullopt;
  if (o.dict_old) {
    DictTable t;
    const std::uint64_t mask = Load<std::uint64_t>(d + o.ma_mask);
    if (mask >= kMaxTableEntries || (mask & (mask + 1)) != 0 || o.old_entry_size == 0) return std::nullopt;
    t.count = mask + 1;
    t.stride = o.old_entry_size;
    t.key = o.old_entry_key;
    t.value = o.old_entry_value;
    t.visits_keys = t.keys_first = true;
    t.used = Load<std::uint64_t>(d + o.ma_used);
    const Address first = Load<std::uint64_t>(d + o.ma_table);
    t.entries = memory_->At(first, t.count * t.stride);
    if (!t.entries) {
      t.complete = false;
      const target::Segment* s = memory_->Find(first);
      t.count = s ? std::min<std::uint64_t>((s->range.end - first) / t.stride, t.count) : 0;
      t.entries = t.count ? memory_->At(first, t.count * t.stride) : nullptr;
      if (!t.entries) t.count = 0;
    }
    return t;
  }
  std::optional<DictTable> t = Keys(Load<std::uint64_t>(d + o.ma_keys));
  if (!t) return std::nullopt;
  t->used = Load<std::uint64_t>(d + o.ma_used);
  const Address values = Load<std::uint64_t>(d + o.ma_values);
  if (values == 0) return t;
  if (o.values_embedded != kNoField) {
    const std::byte* head = memory_->At(values, o.values_array);
    if (!head) {
      t->complete = false;
      t->count = 0;
      return t;
    }
    t->embedded = Load<std::uint8_t>(head + o.values_embedded) != 0;
    // The array has `capacity` places; the shared keys may have grown past that since.
    t->value_count = std::min<std::uint64_t>(t->count, Load<std::uint8_t>(head + o.values_capacity));
  } else {
    t->value_count = t->count;
  }
  t->values = memory_->At(values + o.values_array, t->value_count * 8);
  if (!t->values) {
    t->complete = false;
    t->count = t->value_count = 0;
  }
  return t;
}

Address Values::DictGet(Address dict, std::string_view ascii_key) const {
  const std::optional<DictTable> t = Dict(dict);
  if (!t) return 0;
  for (std::uint64_t i = 0; i < t->count; ++i) {
    const Address value = t->Value(i);
    if (value == 0) continue;
    if (TextEquals(t->Key(i), ascii_key)) return value;
  }
  return 0;
}

std::vector<Address> Values::TupleItems(Address tuple, std::size_t max) const {
  if (o_->tuple_item == kNoField || !(FlagsOf(TypeOf(tuple)) & o_->flag_tuple_subclass)) return {};
  const std::byte* head = memory_->At(tuple, o_->tuple_item);
  if (!head) return {};
  const auto size = Load<std::int64_t>(head + o_->ob_size);
  if (size <= 0) return {};
  std::uint64_t n = std::min<std::uint64_t>(static_cast<std::uint64_t>(size), max);
  const std::byte* items = memory_->At(tuple + o_->tuple_item, n * 8);
  if (!items) return {};
  std::vector<Address> out(n);
  for (std::uint64_t i = 0; i < n; ++i) out[i] = Load<std::uint64_t>(items + i * 8);
  return out;
}

}  // namespace pygc::objects
