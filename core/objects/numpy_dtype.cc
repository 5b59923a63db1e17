#include "core/objects/numpy_dtype.h"

#include <fmt/format.h>

#include <iterator>

namespace pygc::objects {

namespace {

constexpr std::uint64_t kLargestDtypeItem = std::uint64_t{1} << 31;
constexpr std::size_t kMostFields = 4096;
// Behind the object's head: typeobj, kind, type, byteorder, flags, type_num, then elsize and alignment, each an int [1.x]; flags of 64 bits, elsize and alignment, each a
// word [2.x]. No alignment is 0, and the upper half of those flags is.
constexpr std::uint64_t kType = 0, kKind = 8, kOrder = 10, kSize = 16, kAlignment = 20, kNewSize = 24, kNewAlignment = 32, kHeadBytes = 40;
// In the flags of 8 [1.x] or 64 bits [2.x]. NPY_ITEM_REFCOUNT: all of the item is a reference, or some of its fields are.
constexpr std::uint64_t kFlags = 11, kNewFlags = 16;
constexpr std::uint8_t kItemRefcount = 0x1, kAlignedStruct = 0x80;
// PyArray_ArrayDescr* subarray, PyObject* fields and names, c_metadata; of 2.x in _PyArray_LegacyDescr, which all of these kinds are. PyArray_ArrayDescr: base, shape.
constexpr std::uint64_t kParts = 24, kNewParts = 72, kFields = 8, kNames = 16, kMetadata = 40, kNewMetadata = 24, kSubarrayShape = 8;
// PyArray_DatetimeDTypeMetaData: NpyAuxData, of two functions and two words, then the unit and its count, each an int.
constexpr std::uint64_t kTimeUnit = 32, kTimeCount = 36;
constexpr const char* kTimeUnits[] = {"Y", "M", "W", nullptr, "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as", ""};  // NPY_DATETIMEUNIT; the last: generic

}  // namespace

std::optional<NumpyDtype> ReadNumpyDtype(const target::MemoryImage& memory, std::uint32_t object_size, Address object) {
  const Address fields = object + object_size;
  const std::byte* const p = memory.At(fields, kHeadBytes);
  if (p == nullptr) return std::nullopt;
  NumpyDtype d;
  d.kind = static_cast<char>(LoadUnchecked<std::uint8_t>(p + kKind));
  d.order = static_cast<char>(LoadUnchecked<std::uint8_t>(p + kOrder));
  d.is_new = LoadUnchecked<std::int32_t>(p + kAlignment) == 0;
  d.item_bytes = d.is_new ? LoadUnchecked<std::uint64_t>(p + kNewSize) : LoadUnchecked<std::uint32_t>(p + kSize);
  d.alignment = d.is_new ? LoadUnchecked<std::uint64_t>(p + kNewAlignment) : LoadUnchecked<std::uint32_t>(p + kAlignment);
  const auto flags = LoadUnchecked<std::uint8_t>(p + (d.is_new ? kNewFlags : kFlags));
  d.holds_objects = (flags & kItemRefcount) != 0;
  d.is_aligned = (flags & kAlignedStruct) != 0;
  d.scalar_type = LoadUnchecked<std::uint64_t>(p + kType);
  d.parts = fields + (d.is_new ? kNewParts : kParts);
  return d.kind < 'A' || d.kind > 'z' || d.item_bytes > kLargestDtypeItem ? std::nullopt : std::optional(d);
}

std::optional<NumpySubarray> SubarrayOf(const Values& values, const NumpyDtype& dtype) {
  const Address subarray = dtype.kind == 'V' ? values.Pointer(dtype.parts) : 0;
  if (subarray == 0) return std::nullopt;
  return NumpySubarray{values.Pointer(subarray), values.Pointer(subarray + kSubarrayShape)};
}

// dtype.fields: {name: (dtype, offset) or (dtype, offset, title)}, beside them the titles as names of their own; dtype.names has the names.
std::optional<std::vector<NumpyField>> FieldsOf(const Values& values, const NumpyDtype& dtype) {
  std::vector<NumpyField> out;
  const Address fields = dtype.kind == 'V' ? values.Pointer(dtype.parts + kFields) : 0;
  if (fields == 0) return out;
  for (const Address name : values.TupleItems(values.Pointer(dtype.parts + kNames), kMostFields)) {
    const std::optional<std::string> text = values.Text(name, kMostFields);
    const std::vector<Address> entry = text ? values.TupleItems(values.DictGet(fields, *text), 3) : std::vector<Address>{};
    const std::optional<std::int64_t> at = entry.size() < 2 ? std::nullopt : values.Int(entry[1]);
    if (!at || *at < 0 || static_cast<std::uint64_t>(*at) > kLargestDtypeItem) return std::nullopt;
    out.push_back({name, entry[0], entry.size() > 2 ? entry[2] : 0, static_cast<std::uint64_t>(*at)});
  }
  return out;
}

std::optional<std::string> TimeUnitText(const Values& values, const NumpyDtype& dtype) {
  const std::byte* const p = values.memory().At(values.Pointer(dtype.parts + (dtype.is_new ? kNewMetadata : kMetadata)) + kTimeUnit, 8);
  const std::uint32_t unit = p == nullptr ? std::uint32_t{~0u} : LoadUnchecked<std::uint32_t>(p);
  if (unit >= std::size(kTimeUnits) || kTimeUnits[unit] == nullptr) return std::nullopt;
  const auto count = LoadUnchecked<std::int32_t>(p + (kTimeCount - kTimeUnit));
  if (kTimeUnits[unit][0] == '\0') return "";
  return count == 1 ? fmt::format("[{}]", kTimeUnits[unit]) : fmt::format("[{}{}]", count, kTimeUnits[unit]);
}

}  // namespace pygc::objects
