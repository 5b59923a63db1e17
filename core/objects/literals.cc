#include "core/objects/literals.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace pygc::objects {
namespace {

// As in <class 'NAME'>. The repr of an object of just these types is an expression that gives an equal one.
constexpr std::array<std::string_view, 9> kAtoms = {"str", "unicode", "bytes", "int", "long", "bool", "NoneType", "ellipsis", "range"};

}  // namespace

Literals::Literals(const ObjectReader& reader)
    : reader_(&reader), offsets_(reader.runtime().layout), values_(reader.process().memory, offsets_, reader.runtime().lookdict), repr_(reader) {}

bool Literals::IsWritable(Address object, int depth) const {
  const TypeFacts* const type = reader_->Type(values_.TypeOf(object));
  if (type == nullptr || type->is_heap_type || depth > kMaxDepth) return false;
  if (std::find(kAtoms.begin(), kAtoms.end(), type->name) != kAtoms.end()) return true;
  if (type->name == "float" || type->name == "complex") return repr_.Of(object).text.find('n') == std::string::npos;  // nan, inf
  if (type->name != "tuple" && type->name != "frozenset") return false;
  ReferentBuffer items;
  if (repr_.LengthOf(object).value_or(kMaxItems + 1) > kMaxItems || !IsExact(reader_->Referents(object, *type, items))) return false;
  return std::all_of(items.begin(), items.end(), [&](Address item) { return IsWritable(item, depth + 1); });
}

// Printable ASCII and machine integers, also of derived classes that compare as these do.
std::optional<std::string> Literals::Plain(Address object, const TypeFacts& type) const {
  if (type.is_heap_type && (reader_->ClassDefines(type, "__hash__") || reader_->ClassDefines(type, "__eq__"))) return std::nullopt;
  if (const std::optional<TextUnits> units = values_.Units(object, kMaxText)) {
    std::string out = "'";
    for (std::uint64_t i = 0; i < units->count; ++i) {
      const std::uint32_t c = units->At(i);
      if (c < 0x20 || c >= 0x7F) return std::nullopt;
      if (c == '\'' || c == '\\') out += '\\';
      out += static_cast<char>(c);
    }
    return units->count == units->length ? std::optional(out + "'") : std::nullopt;
  }
  const std::optional<std::int64_t> number = type.name == "bool" ? std::nullopt : values_.Int(object);
  return number ? std::optional(std::to_string(*number)) : std::nullopt;
}

std::optional<std::string> Literals::Of(Address object) const {
  const TypeFacts* const type = reader_->Type(values_.TypeOf(object));
  if (type == nullptr) return std::nullopt;
  if (std::optional<std::string> plain = Plain(object, *type)) return plain;
  const bool may_be_infinite = type->name == "float" && !type->is_heap_type;
  if (!may_be_infinite && !IsWritable(object, 0)) return std::nullopt;
  ReprLimits limits;
  limits.max_items = kMaxItems;
  limits.max_text = limits.max_digits = kMaxText;
  limits.max_depth = kMaxDepth + 1;
  limits.max_total = kMaxTotal;
  ReprText text = repr_.Of(object, limits);
  if (!text.complete || !text.exact || text.text == "nan") return std::nullopt;
  return text.text == "inf" || text.text == "-inf" ? "float('" + text.text + "')" : std::move(text.text);
}

}  // namespace pygc::objects
