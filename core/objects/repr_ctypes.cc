// What ctypes makes of C's values, as repr() writes it; and NumPy's arrays and numbers, which are written by what is known of them.
// CPython: CDataObject, Modules/_ctypes/ctypes.h: behind the object's head the address of the value; the same since 2.5.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <iterator>

#include "core/objects/repr_writer.h"

namespace pygc::objects {

using cpython::Field;

namespace {

struct SimpleCode {
  char code;            // of the struct module, and ctypes' own
  unsigned size;        // bytes; x86-64, AArch64
  bool is_signed;
  bool is_long;         // a long in 2.7
};
// CPython: formattable[], Modules/_ctypes/cfield.c.
constexpr std::array<SimpleCode, 11> kIntegers = {{{'b', 1, true, false},
                                                   {'B', 1, false, false},
                                                   {'h', 2, true, false},
                                                   {'H', 2, false, false},
                                                   {'i', 4, true, false},
                                                   {'I', 4, false, true},
                                                   {'l', 8, true, false},
                                                   {'L', 8, false, true},
                                                   {'q', 8, true, true},
                                                   {'Q', 8, false, true},
                                                   {'P', 8, false, false}}};

}  // namespace

const std::byte* ReprWriter::ValueInC(Address object, std::uint64_t bytes) const { return Bytes(t_.values.Pointer(object + t_.offsets.object_size), bytes); }

// CPython: Simple_repr(), Modules/_ctypes/_ctypes.c: c_int(5) of the types that ctypes itself makes, <Own object at 0x...> of what is derived from them.
void ReprWriter::SimpleCData(Address object, const TypeFacts& type) {
  const TypeFacts* const base = t_.reader.Type(type.tp_base);
  if (base == nullptr || base->name != "_ctypes._SimpleCData") {
    Put(fmt::format("<{} object", NameInC(type)));
    return At(object);
  }
  const std::string code = Text(ClassAttribute(type, "_type_"));
  const Address little = ClassAttribute(type, "__ctype_le__");
  const bool swapped = little != 0 && little != type.address;  // ASSUMES: a little-endian target
  const std::optional<std::string> value = SimpleValue(object, code, swapped);
  if (code == "O") {
    const std::byte* const at = ValueInC(object, sizeof(Address));
    const Address held = at == nullptr ? 0 : LoadUnchecked<std::uint64_t>(at);
    if (held == 0) return Put(fmt::format("{}(<NULL>)", NameInC(type)));
    if (!Enter(object, "…")) return;
    Put(NameInC(type) + "(");
    Object(held);
    Put(")");
    return Leave();
  }
  if (!value) return UnknownRepr(object, type);
  Put(fmt::format("{}({})", NameInC(type), *value));
}

// repr() of `.value`; nullopt of codes that are not known here.
std::optional<std::string> ReprWriter::SimpleValue(Address object, std::string_view codes, bool swapped) {
  const Address at = t_.values.Pointer(object + t_.offsets.object_size);
  return at == 0 ? std::nullopt : ValueAt(at, codes, swapped);
}

std::optional<std::string> ReprWriter::ValueAt(Address address, std::string_view codes, bool swapped) {
  if (codes == "D" || codes == "Zd" || codes == "F" || codes == "Zf") {  // complex numbers [3.14+]; the longer codes from 3.15 on
    const bool wide = codes.back() == 'D' || codes.back() == 'd';
    const std::byte* const parts = swapped ? nullptr : Bytes(address, wide ? 2 * sizeof(double) : 2 * sizeof(float));
    if (parts == nullptr) return std::nullopt;
    return wide ? ComplexText(LoadUnchecked<double>(parts), LoadUnchecked<double>(parts + sizeof(double)))
                : ComplexText(LoadUnchecked<float>(parts), LoadUnchecked<float>(parts + sizeof(float)));
  }
  if (codes.size() != 1) return std::nullopt;
  const char code = codes[0];
  std::array<std::byte, 16> bytes{};
  const auto integer = std::find_if(kIntegers.begin(), kIntegers.end(), [code](const SimpleCode& i) { return i.code == code; });
  const bool is_integer = integer != kIntegers.end();
  const unsigned size = is_integer ? integer->size : code == '?' || code == 'c' ? 1 : code == 'u' || code == 'f' ? 4 : code == 'd' ? 8 : 0;
  const std::byte* const at = size == 0 ? nullptr : Bytes(address, size);
  if (at == nullptr) return std::nullopt;
  std::copy_n(at, size, bytes.begin());
  if (swapped) std::reverse(bytes.begin(), bytes.begin() + size);
  std::uint64_t number = 0;
  std::memcpy(&number, bytes.data(), size);
  switch (code) {
    case '?': return number != 0 ? "True" : "False";
    case 'f': return FloatRepr(std::bit_cast<float>(static_cast<std::uint32_t>(number)));
    case 'd': return FloatRepr(std::bit_cast<double>(number));
    case 'c':
    case 'u': {
      ReprWriter text(t_, limits_);
      const auto character = static_cast<char32_t>(number);
      if (code == 'u') text.Put(t_.old() ? "u" : "");
      code == 'c' ? text.QuotedBytes(bytes.data(), 1, 1, t_.old() ? "" : "b") : text.Quoted({&character, 1});
      return text.out_;
    }
    case 'P':
      if (number == 0) return "None";
      break;
    default: break;
  }
  const unsigned unused = 64 - 8 * size;
  const std::string text = integer->is_signed ? std::to_string(static_cast<std::int64_t>(number << unused) >> unused) : std::to_string(number);
  const bool is_long = integer->is_long || (code == 'P' && static_cast<std::int64_t>(number) < 0);
  return text + (t_.old() && is_long ? "L" : "");
}

// CPython: c_char_p.__repr__, c_wchar_p.__repr__, Lib/ctypes/__init__.py: c_char_p(140123), the address.
void ReprWriter::CharacterPointer(Address object, const TypeFacts& type) {
  const std::byte* const at = ValueInC(object, sizeof(Address));
  if (at == nullptr) return Unreadable();
  const auto address = LoadUnchecked<std::uint64_t>(at);
  Put(fmt::format("{}({})", LastPart(type.name), address == 0 ? "None" : std::to_string(address)));
}

// CPython: CDLL.__repr__, Lib/ctypes/__init__.py: <CDLL 'libm.so.6', handle 55d0 at 0x7f...>.
void ReprWriter::Library(Address object, const TypeFacts& type) {
  const Address name = PlainAttribute(object, type, "_name"), handle = PlainAttribute(object, type, "_handle");
  const TypeFacts* const name_type = name == 0 ? nullptr : FactsOf(name);
  const std::optional<std::int64_t> number = t_.values.Int(handle);
  if (name_type == nullptr || !number || !(name_type->name == "NoneType" || t_.values.IsText(name))) return UnknownRepr(object, type);
  Put(fmt::format("<{} '{}', handle {:x} at {}{:x}>", LastPart(type.name), t_.values.IsText(name) ? Text(name) : "None", static_cast<std::uint64_t>(*number), t_.old() ? "" : "0x", object));
}

// CPython: PyCFuncPtr_repr(), Modules/_ctypes/_ctypes.c.
void ReprWriter::FunctionInC(Address object, const TypeFacts& type) {
  Put(fmt::format("<{} object", NameInC(type)));
  At(object);
}

}  // namespace pygc::objects
