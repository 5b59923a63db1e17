// Texts, numbers and dates as repr() writes them.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

#include "core/cpython/printable.h"
#include "core/objects/repr_writer.h"

namespace pygc::objects {

using cpython::Constant;
using cpython::Field;

namespace {

std::uint8_t ByteOf(const std::byte* p, std::size_t i) { return static_cast<std::uint8_t>(p[i]); }

// Decimal digits of a number given in digits of `bits` bits, lowest first. Quadratic, so callers bound the length.
std::string DecimalDigits(const std::byte* digits, std::uint64_t count, unsigned bytes, unsigned bits) {
  constexpr std::uint64_t kBase = 1'000'000'000;
  std::vector<std::uint32_t> parts;  // base 10^9, lowest first
  for (std::uint64_t i = count; i-- > 0;) {
    std::uint64_t carry = bytes == 2 ? LoadUnchecked<std::uint16_t>(digits + i * 2) : LoadUnchecked<std::uint32_t>(digits + i * 4);
    for (std::uint32_t& part : parts) {
      const std::uint64_t value = (std::uint64_t{part} << bits) + carry;
      part = static_cast<std::uint32_t>(value % kBase);
      carry = value / kBase;
    }
    for (; carry != 0; carry /= kBase) parts.push_back(static_cast<std::uint32_t>(carry % kBase));
  }
  if (parts.empty()) return "0";
  std::string out = std::to_string(parts.back());
  for (std::size_t i = parts.size() - 1; i-- > 0;) out += fmt::format("{:09}", parts[i]);
  return out;
}

// The digits and the exponent of the first one: 1.25e3 is "125", 3.
std::pair<std::string, int> ShortestDigits(double value) {
  char buffer[64];
  const std::to_chars_result end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
  const std::string_view text(buffer, static_cast<std::size_t>(end.ptr - buffer));
  const std::size_t e = text.find('e');
  std::string digits;
  for (const char c : text.substr(0, e)) {
    if (c != '.') digits += c;
  }
  int exponent = 0;
  std::string_view power = text.substr(e + 1);
  if (!power.empty() && power[0] == '+') power.remove_prefix(1);
  std::from_chars(power.data(), power.data() + power.size(), exponent);
  return {digits, exponent};
}

}  // namespace

std::string FloatRepr(double value, bool add_dot_0) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  const std::string sign = std::signbit(value) ? "-" : "";
  const auto [digits, exponent] = ShortestDigits(std::fabs(value));
  const auto count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    const std::string fraction = count > 1 ? "." + digits.substr(1) : "";
    return fmt::format("{}{}{}e{}{:02}", sign, digits[0], fraction, exponent < 0 ? "-" : "+", std::abs(exponent));
  }
  if (exponent < 0) return sign + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  if (count <= exponent + 1) return sign + digits + std::string(static_cast<std::size_t>(exponent + 1 - count), '0') + (add_dot_0 ? ".0" : "");
  return sign + digits.substr(0, static_cast<std::size_t>(exponent) + 1) + "." + digits.substr(static_cast<std::size_t>(exponent) + 1);
}

// ---- numbers

void ReprWriter::Bool(Address object, const TypeFacts&) {
  const std::optional<std::int64_t> value = t_.values.Int(object);
  value ? Put(*value != 0 ? "True" : "False") : Unreadable();
}

void ReprWriter::Int(Address object, const TypeFacts& type) {
  const bool is_long = t_.old() && (type.flags & t_.offsets.flag_long_subclass) != 0;
  if (const std::optional<std::int64_t> value = t_.values.Int(object)) return Put(fmt::format("{}{}", *value, is_long ? "L" : ""));
  const std::byte* const head = Bytes(object, t_.offsets.ob_digit);
  if (head == nullptr || t_.offsets.digit_bits == 0) return Unreadable();
  const std::uint64_t count = t_.values.IntDigits(head);
  if (count * t_.offsets.digit_bits > limits_.max_digits * 10 / 3 + 30) {  // a decimal digit has 3.32 bits
    complete_ = false;
    return Put(fmt::format("<int of {} bits>", count * t_.offsets.digit_bits));
  }
  const std::byte* const digits = Bytes(object + t_.offsets.ob_digit, count * t_.offsets.digit_bytes);
  if (digits == nullptr) return Unreadable();
  const bool negative = t_.offsets.lv_tag != kNoField ? (LoadUnchecked<std::uint64_t>(head + t_.offsets.lv_tag) & 3) == 2
                                                      : LoadUnchecked<std::int64_t>(head + t_.offsets.ob_size) < 0;
  Put((negative ? "-" : "") + DecimalDigits(digits, count, t_.offsets.digit_bytes, t_.offsets.digit_bits) + (is_long ? "L" : ""));
}

void ReprWriter::Float(Address object, const TypeFacts&) {
  const std::byte* const p = Bytes(object + t_.layout.Offset(Field::PyFloatObject_ob_fval), 8);
  p == nullptr ? Unreadable() : Put(FloatRepr(LoadUnchecked<double>(p)));
}

// CPython: complex_repr(), Objects/complexobject.c: 2j where the real part is +0, else (1+2j).
std::string ReprWriter::ComplexText(double real, double imaginary) {
  if (real == 0 && !std::signbit(real)) return FloatRepr(imaginary, false) + "j";
  const std::string second = FloatRepr(imaginary, false);
  return fmt::format("({}{}{}j)", FloatRepr(real, false), second[0] == '-' ? "" : "+", second);
}

void ReprWriter::Complex(Address object, const TypeFacts&) {
  const std::byte* const p = Bytes(object + t_.offsets.object_size, 16);
  p == nullptr ? Unreadable() : Put(ComplexText(LoadUnchecked<double>(p), LoadUnchecked<double>(p + 8)));
}

// ---- texts

void ReprWriter::Character(std::uint32_t c, char quote) {
  if (c == static_cast<std::uint32_t>(quote) || c == '\\') {
    const char escaped[] = {'\\', static_cast<char>(c)};
    return Put({escaped, 2});
  }
  if (c == '\n') return Put("\\n");
  if (c == '\t') return Put("\\t");
  if (c == '\r') return Put("\\r");
  if (cpython::IsPrintable(t_.layout.version, c)) {
    std::string out;
    AppendUtf8(out, c);
    return Put(out);
  }
  Put(c < 0x100 ? fmt::format("\\x{:02x}", c) : c < 0x10000 ? fmt::format("\\u{:04x}", c) : fmt::format("\\U{:08x}", c));
}

void ReprWriter::Str(Address object, const TypeFacts&) {
  const std::optional<TextUnits> units = t_.values.Units(object, limits_.max_text);
  units ? QuotedUnits(*units) : Unreadable();
}

// 'text', or u'text' and 'bytes' in 2.7; of what was cut off how much more there is.
void ReprWriter::QuotedUnits(const TextUnits& units) {
  if (units.bytes) return QuotedBytes(units.data, units.count, units.length, "");
  std::u32string characters;
  for (std::uint64_t i = 0; i < units.count; ++i) {
    std::uint32_t c = units.At(i);
    if (t_.old() && units.width == 2 && c >= 0xD800 && c < 0xDC00 && i + 1 < units.count && units.At(i + 1) >= 0xDC00 && units.At(i + 1) < 0xE000) {
      c = 0x10000 + ((c - 0xD800) << 10) + (units.At(++i) - 0xDC00);
    }
    characters += static_cast<char32_t>(c);
  }
  Put(t_.old() ? "u" : "");
  Quoted(characters);
  if (units.count < units.length) {
    Put(fmt::format("… {} more", units.length - units.count));
    complete_ = false;
  }
}

void ReprWriter::Quoted(std::u32string_view characters) {
  const char quote = characters.find(U'\'') != characters.npos && characters.find(U'"') == characters.npos ? '"' : '\'';
  Put({&quote, 1});
  for (const char32_t c : characters) {
    if (full_) break;
    Character(c, quote);
  }
  Put({&quote, 1});
}

void ReprWriter::QuotedBytes(const std::byte* data, std::uint64_t shown, std::uint64_t length, std::string_view prefix, bool always_escape_single) {
  bool single = false, twice = false;
  for (std::uint64_t i = 0; i < shown; ++i) {
    single = single || ByteOf(data, i) == '\'';
    twice = twice || ByteOf(data, i) == '"';
  }
  const char quote = single && !twice ? '"' : '\'';
  Put(prefix);
  Put({&quote, 1});
  for (std::uint64_t i = 0; i < shown && !full_; ++i) {
    const std::uint8_t c = ByteOf(data, i);
    if (c == '\'' && always_escape_single) {
      Put("\\'");
    } else if (c >= 0x20 && c < 0x7F) {
      Character(c, quote);
    } else {
      Put(c == '\n' ? "\\n" : c == '\t' ? "\\t" : c == '\r' ? "\\r" : fmt::format("\\x{:02x}", c));
    }
  }
  Put({&quote, 1});
  if (shown < length) {
    Put(fmt::format("… {} more", length - shown));
    complete_ = false;
  }
}

void ReprWriter::Bytes(Address object, const TypeFacts&) {
  const std::uint64_t length = VarSize(object), shown = std::min<std::uint64_t>(length, limits_.max_text);
  const std::byte* const data = Bytes(object + t_.offsets.bytes_data, shown);
  data == nullptr ? Unreadable() : QuotedBytes(data, shown, length, t_.old() ? "" : "b");
}

// CPython: bytearray_repr(), Objects/bytearrayobject.c: up to 3.14 it escapes single quotes also between double ones.
void ReprWriter::ByteArray(Address object, const TypeFacts& type) {
  const std::uint64_t length = VarSize(object), shown = std::min<std::uint64_t>(length, limits_.max_text);
  const Address start = t_.layout.Has(Field::PyByteArrayObject_ob_start) ? Pointer(object, Field::PyByteArrayObject_ob_start)
                                                                         : Pointer(object, Field::PyByteArrayObject_ob_bytes);
  const std::byte* const data = shown == 0 ? Bytes(object, 1) : Bytes(start, shown);
  if (data == nullptr) return Unreadable();
  Put(fmt::format("{}(", t_.style.own_names ? LastPart(type.name) : "bytearray"));
  QuotedBytes(data, shown, length, "b", t_.style.bytearray_escapes);
  Put(")");
}

// CPython: rangeobject, Objects/rangeobject.c [3.x]: start, stop, step, length after the head.
void ReprWriter::Range(Address object, const TypeFacts&) {
  const Address start = t_.values.Pointer(object + t_.offsets.object_size), stop = t_.values.Pointer(object + t_.offsets.object_size + 8),
                step = t_.values.Pointer(object + t_.offsets.object_size + 16);
  Put("range(");
  Object(start);
  Put(", ");
  Object(stop);
  if (t_.values.Int(step) != 1) {
    Put(", ");
    Object(step);
  }
  Put(")");
}

void ReprWriter::Slice(Address object, const TypeFacts&) {
  Put("slice(");
  Object(Pointer(object, Field::PySliceObject_start));
  Put(", ");
  Object(Pointer(object, Field::PySliceObject_stop));
  Put(", ");
  Object(Pointer(object, Field::PySliceObject_step));
  Put(")");
}

// ---- dates. CPython: Include/datetime.h [2.7, 3.x]: head, hash, hastzinfo, then bytes, most significant first; fold after the bytes (3.6+).

namespace {

constexpr std::uint32_t kHashBytes = 8, kDateAt = kHashBytes + 1;

unsigned Year(const std::byte* d) { return ByteOf(d, 0) * 256u + ByteOf(d, 1); }
unsigned Micro(const std::byte* d) { return (ByteOf(d, 0) * 256u + ByteOf(d, 1)) * 256u + ByteOf(d, 2); }

}  // namespace

void ReprWriter::Date(Address object, const TypeFacts& type) {
  const std::byte* const d = Bytes(object + t_.offsets.object_size + kDateAt, 4);
  if (d == nullptr) return Unreadable();
  Put(fmt::format("{}({}, {}, {})", NameInC(type), Year(d), ByteOf(d, 2), ByteOf(d, 3)));
}

// ", minute[, second[, microsecond]][, fold=1][, tzinfo=...])"; `d`: minute, second, three bytes of microsecond.
void ReprWriter::TimeFields(const std::byte* d, bool fold, Address tzinfo) {
  const unsigned second = ByteOf(d, 1), micro = Micro(d + 2);
  Put(fmt::format(", {}", ByteOf(d, 0)));
  if (second != 0 || micro != 0) Put(fmt::format(", {}", second));
  if (micro != 0) Put(fmt::format(", {}", micro));
  if (fold) Put(", fold=1");
  if (tzinfo != 0) {
    Put(", tzinfo=");
    Object(tzinfo);
  }
  Put(")");
}

void ReprWriter::DateTime(Address object, const TypeFacts& type) {
  const Address at = object + t_.offsets.object_size;
  const std::byte* const head = Bytes(at, kDateAt + 11);
  if (head == nullptr) return Unreadable();
  const std::byte* const d = head + kDateAt;
  const bool aware = ByteOf(head, kHashBytes) != 0;
  Put(fmt::format("{}({}, {}, {}, {}", NameInC(type), Year(d), ByteOf(d, 2), ByteOf(d, 3), ByteOf(d, 4)));
  TimeFields(d + 5, !t_.old() && ByteOf(d, 10) != 0, aware ? t_.values.Pointer((at + kDateAt + 11 + 7) & ~Address{7}) : 0);
}

void ReprWriter::Time(Address object, const TypeFacts& type) {
  const Address at = object + t_.offsets.object_size;
  const std::byte* const head = Bytes(at, kDateAt + 7);
  if (head == nullptr) return Unreadable();
  const std::byte* const d = head + kDateAt;
  const bool aware = ByteOf(head, kHashBytes) != 0;
  Put(fmt::format("{}({}", NameInC(type), ByteOf(d, 0)));
  TimeFields(d + 1, !t_.old() && ByteOf(d, 6) != 0, aware ? t_.values.Pointer((at + kDateAt + 7 + 7) & ~Address{7}) : 0);
}

void ReprWriter::TimeDelta(Address object, const TypeFacts& type) {
  const std::byte* const p = Bytes(object + t_.offsets.object_size + kHashBytes, 12);
  if (p == nullptr) return Unreadable();
  const auto days = LoadUnchecked<std::int32_t>(p), seconds = LoadUnchecked<std::int32_t>(p + 4), micros = LoadUnchecked<std::int32_t>(p + 8);
  if (!t_.style.timedelta_keywords) {
    Put(fmt::format("{}({}", NameInC(type), days));
    if (seconds != 0 || micros != 0) Put(fmt::format(", {}", seconds));
    if (micros != 0) Put(fmt::format(", {}", micros));
    return Put(")");
  }
  std::string fields;
  const auto add = [&fields](const char* name, std::int32_t value) {
    if (value != 0) fields += fmt::format("{}{}={}", fields.empty() ? "" : ", ", name, value);
  };
  add("days", days);
  add("seconds", seconds);
  add("microseconds", micros);
  Put(fmt::format("{}({})", NameInC(type), fields.empty() ? "0" : fields));
}

// CPython: timezone_repr(), Modules/_datetimemodule.c: offset and name after the head; utc is written as such.
void ReprWriter::TimeZone(Address object, const TypeFacts& type) {
  const Address offset = t_.values.Pointer(object + t_.offsets.object_size), name = t_.values.Pointer(object + t_.offsets.object_size + 8);
  const std::byte* const p = offset == 0 ? nullptr : Bytes(offset + t_.offsets.object_size + kHashBytes, 12);
  const bool zero = p != nullptr && LoadUnchecked<std::int32_t>(p) == 0 && LoadUnchecked<std::int32_t>(p + 4) == 0 && LoadUnchecked<std::int32_t>(p + 8) == 0;
  if (zero && name == 0) return Put(type.name + ".utc");
  Put(type.name + "(");
  Object(offset);
  if (name != 0) {
    Put(", ");
    Object(name);
  }
  Put(")");
}

// ---- decimals

namespace {

// The General Decimal Arithmetic Specification's to-scientific-string of `digits` times ten to the power of `exponent`.
std::string ScientificText(std::string digits, std::int64_t exponent) {
  constexpr std::int64_t kLeastPlain = -6;
  const auto count = static_cast<std::int64_t>(digits.size());
  const std::int64_t adjusted = exponent + count - 1;
  if (exponent > 0 || adjusted < kLeastPlain) {
    if (count > 1) digits.insert(1, ".");
    return fmt::format("{}E{:+}", digits, adjusted);
  }
  if (exponent == 0) return digits;
  if (count > -exponent) return digits.insert(static_cast<std::size_t>(count + exponent), ".");
  return "0." + std::string(static_cast<std::size_t>(-exponent - count), '0') + digits;
}

}  // namespace

// CPython: dec_repr(), PyDecObject, Modules/_decimal/_decimal.c: hash, then mpd_t: flags, exp, digits, len, alloc, data in words of 19 decimal digits.
void ReprWriter::Decimal(Address object, const TypeFacts& type) {
  constexpr std::int64_t kNumberBytes = 48, kOwnWords = 32;
  const TypeFacts* owner = nullptr;
  const Address method = ClassAttribute(type, "__repr__", &owner);
  const TypeFacts* const method_type = method == 0 ? nullptr : FactsOf(method);
  if (method_type != nullptr && method_type->name == "function") return LibraryName(method, *owner) == "decimal.Decimal.__repr__" ? PythonDecimal(object, type) : UnknownRepr(object, type);
  if (type.basicsize < static_cast<std::int64_t>(t_.offsets.object_size + kHashBytes) + kNumberBytes + kOwnWords) return UnknownRepr(object, type);
  constexpr std::uint8_t kNegative = 1, kInfinity = 2, kNan = 4, kSignalling = 8;
  constexpr std::uint32_t kDigitsPerWord = 19;
  const std::byte* const p = Bytes(object + t_.offsets.object_size + kHashBytes, 48);
  if (p == nullptr) return Unreadable();
  const std::uint8_t flags = ByteOf(p, 0);
  const auto exponent = LoadUnchecked<std::int64_t>(p + 8), digits = LoadUnchecked<std::int64_t>(p + 16), words = LoadUnchecked<std::int64_t>(p + 24);
  const auto data = LoadUnchecked<std::uint64_t>(p + 40);
  if (digits < 0 || words < 0 || static_cast<std::uint64_t>(words) > limits_.max_text / kDigitsPerWord + 1) {
    complete_ = false;
    return Put(fmt::format("<Decimal of {} digits>", digits));
  }
  std::string number;
  for (std::int64_t i = words; i-- > 0;) {
    const std::byte* const w = Bytes(data + static_cast<std::uint64_t>(i) * 8, 8);
    if (w == nullptr) return Unreadable();
    const auto value = LoadUnchecked<std::uint64_t>(w);
    number += number.empty() ? fmt::format("{}", value) : fmt::format("{:019}", value);
  }
  if (number.empty()) number = "0";
  const char* const sign = (flags & kNegative) != 0 ? "-" : "";
  if ((flags & kInfinity) != 0) return Put(fmt::format("Decimal('{}Infinity')", sign));
  if ((flags & (kNan | kSignalling)) != 0) return Put(fmt::format("Decimal('{}{}{}')", sign, (flags & kSignalling) != 0 ? "sNaN" : "NaN", digits > 0 ? number : ""));
  Put(fmt::format("Decimal('{}{}')", sign, ScientificText(number, exponent)));
}

// CPython: Decimal.__repr__, Decimal.__str__, Lib/decimal.py [2.7], Lib/_pydecimal.py [3.x]: slots _sign, _int (digits), and _exp: an int, or what is special about it.
void ReprWriter::PythonDecimal(Address object, const TypeFacts& type) {
  const TypeFacts* owner = nullptr;
  const Address digits = Attribute(object, type, "_int"), exponent = Attribute(object, type, "_exp");
  const std::optional<std::int64_t> negative = t_.values.Int(Attribute(object, type, "_sign"));
  const bool writes_itself = ClassAttribute(type, "__str__", &owner) != 0 && owner->name == "decimal.Decimal";
  const std::optional<TextUnits> units = digits == 0 ? std::nullopt : t_.values.Units(digits, 0);
  if (!writes_itself || !units || exponent == 0 || !negative) return UnknownRepr(object, type);
  if (units->length > limits_.max_text) {
    complete_ = false;
    return Put(fmt::format("<Decimal of {} digits>", units->length));
  }
  const char* const sign = *negative != 0 ? "-" : "";
  const std::string number = Text(digits, limits_.max_text), special = t_.values.IsText(exponent) ? Text(exponent) : "";
  if (special == "F") return Put(fmt::format("Decimal('{}Infinity')", sign));
  if (!special.empty()) return Put(fmt::format("Decimal('{}{}{}')", sign, special == "n" ? "NaN" : "sNaN", number));
  const std::optional<std::int64_t> power = t_.values.Int(exponent);
  if (!power) return UnknownRepr(object, type);
  Put(fmt::format("Decimal('{}{}')", sign, ScientificText(number, *power)));
}

}  // namespace pygc::objects
