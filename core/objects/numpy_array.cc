#include "core/objects/numpy_array.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace pygc::objects {

namespace {

// PyArrayObject_fields behind the object's head.
constexpr std::uint64_t kArrayData = 0, kArrayRank = 8, kArrayShape = 16, kArrayBase = 32, kArrayDescr = 40, kArrayFlags = 48, kArrayBytes = 56;
constexpr std::uint32_t kOwnsData = 0x4;              // NPY_ARRAY_OWNDATA
constexpr std::int32_t kMostDimensions = 64;          // NPY_MAXDIMS of 2.x
constexpr std::uint64_t kMostArrayItems = std::uint64_t{1} << 48, kLargestArrayItem = std::uint64_t{1} << 31;
// PyArray_Descr behind the object's head: typeobj, kind, type, byteorder, flags, type_num, then elsize and alignment, each an int [1.x]; flags of 64 bits, elsize and
// alignment, each a word [2.x]. No alignment is 0, and the upper half of those flags is.
constexpr std::uint64_t kDescrKind = 8, kDescrOrder = 10, kDescrSize = 16, kDescrAlignment = 20, kDescrNewSize = 24, kDescrBytes = 32;

struct ScalarSize {
  std::string_view name;
  std::uint64_t bytes;
};
constexpr ScalarSize kScalarSizes[] = {
    {"numpy.bool_", 1},   {"numpy.bool", 1},     {"numpy.int8", 1},      {"numpy.uint8", 1},      {"numpy.int16", 2},      {"numpy.uint16", 2},    {"numpy.int32", 4},      {"numpy.uint32", 4},
    {"numpy.int64", 8},   {"numpy.uint64", 8},   {"numpy.intc", 4},      {"numpy.uintc", 4},      {"numpy.longlong", 8},   {"numpy.ulonglong", 8}, {"numpy.float16", 2},    {"numpy.float32", 4},
    {"numpy.float64", 8}, {"numpy.complex64", 8}, {"numpy.complex128", 16}, {"numpy.float128", 16}, {"numpy.longdouble", 16}, {"numpy.complex256", 32}, {"numpy.clongdouble", 32}, {"numpy.datetime64", 8},
    {"numpy.timedelta64", 8}};

std::string DtypeName(char kind, std::uint64_t bytes, char order) {
  const char* const word = kind == 'b' ? "bool" : kind == 'i' ? "int" : kind == 'u' ? "uint" : kind == 'f' ? "float" : kind == 'c' ? "complex" : kind == 'O' ? "object" : kind == 'M' ? "datetime64" : kind == 'm' ? "timedelta64" : nullptr;
  if (kind == 'b' || kind == 'O') return word;
  if (order == '>' && kind != 'S' && kind != 'V') return fmt::format(">{}{}", kind, kind == 'U' ? bytes / 4 : bytes);
  if (kind == 'U') return fmt::format("<U{}", bytes / 4);
  if (word == nullptr) return fmt::format("|{}{}", kind, bytes);
  return kind == 'M' || kind == 'm' ? word : fmt::format("{}{}", word, bytes * 8);
}

// The type of the items, and their size.
bool ReadDescr(const target::MemoryImage& memory, Address fields, NumpyArray& array) {
  const std::byte* const p = memory.At(fields, kDescrBytes);
  if (p == nullptr) return false;
  array.kind = static_cast<char>(LoadUnchecked<std::uint8_t>(p + kDescrKind));
  const auto alignment = LoadUnchecked<std::int32_t>(p + kDescrAlignment);
  array.item_bytes = alignment != 0 ? LoadUnchecked<std::uint32_t>(p + kDescrSize) : LoadUnchecked<std::uint64_t>(p + kDescrNewSize);
  if (array.kind < 'A' || array.kind > 'z' || array.item_bytes > kLargestArrayItem) return false;
  array.dtype = DtypeName(array.kind, array.item_bytes, static_cast<char>(LoadUnchecked<std::uint8_t>(p + kDescrOrder)));
  return true;
}

}  // namespace

std::string NumpyArray::ShapeText() const {
  std::string out = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) out += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return out + (shape.size() == 1 ? ",)" : ")");
}

std::optional<NumpyArray> ReadNumpyArray(const target::MemoryImage& memory, std::uint32_t object_size, Address object) {
  const std::byte* const p = memory.At(object + object_size, kArrayBytes);
  if (p == nullptr) return std::nullopt;
  NumpyArray array;
  array.data = LoadUnchecked<std::uint64_t>(p + kArrayData);
  array.base = LoadUnchecked<std::uint64_t>(p + kArrayBase);
  array.descr = LoadUnchecked<std::uint64_t>(p + kArrayDescr);
  array.owns_data = (LoadUnchecked<std::uint32_t>(p + kArrayFlags) & kOwnsData) != 0;
  const auto rank = LoadUnchecked<std::int32_t>(p + kArrayRank);
  if (rank < 0 || rank > kMostDimensions || !ReadDescr(memory, array.descr + object_size, array)) return std::nullopt;
  const Address shape = LoadUnchecked<std::uint64_t>(p + kArrayShape);
  const std::byte* const lengths = rank == 0 ? p : memory.At(shape, static_cast<std::uint64_t>(rank) * sizeof(std::int64_t));
  if (lengths == nullptr) return std::nullopt;
  array.items = 1;
  bool empty = false;
  for (std::int32_t i = 0; i < rank; ++i) {
    const auto length = LoadUnchecked<std::int64_t>(lengths + static_cast<std::uint64_t>(i) * sizeof(std::int64_t));
    if (length < 0 || static_cast<std::uint64_t>(length) > kMostArrayItems) return std::nullopt;
    array.shape.push_back(length);
    empty = empty || length == 0;
    if (!empty && array.items > kMostArrayItems / static_cast<std::uint64_t>(length)) return std::nullopt;
    array.items = empty ? 0 : array.items * static_cast<std::uint64_t>(length);
  }
  return array;
}

std::optional<std::uint64_t> NumpyScalarBytes(std::string_view name) {
  const auto* const at = std::find_if(std::begin(kScalarSizes), std::end(kScalarSizes), [name](const ScalarSize& s) { return s.name == name; });
  return at == std::end(kScalarSizes) ? std::nullopt : std::optional(at->bytes);
}

}  // namespace pygc::objects
