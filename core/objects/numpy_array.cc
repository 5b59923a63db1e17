#include "core/objects/numpy_array.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace pygc::objects {

namespace {

// PyArrayObject_fields behind the object's head.
constexpr std::uint64_t kArrayData = 0, kArrayRank = 8, kArrayShape = 16, kArrayBase = 32, kArrayDescr = 40, kArrayFlags = 48, kArrayStrides = 24, kArrayBytes = 56;
constexpr std::uint32_t kOwnsData = 0x4;              // NPY_ARRAY_OWNDATA
constexpr std::int32_t kMostDimensions = 64;          // NPY_MAXDIMS of 2.x
constexpr std::uint64_t kMostArrayItems = std::uint64_t{1} << 48, kLargestArrayItem = std::uint64_t{1} << 31;
// PyArray_Descr behind the object's head: typeobj, kind, type, byteorder, flags, type_num, then elsize and alignment, each an int [1.x]; flags of 64 bits, elsize and
// alignment, each a word [2.x]. No alignment is 0, and the upper half of those flags is.
constexpr std::uint64_t kDescrKind = 8, kDescrOrder = 10, kDescrSize = 16, kDescrAlignment = 20, kDescrNewSize = 24, kDescrBytes = 32;
// NPY_ITEM_REFCOUNT, in the flags of 8 [1.x] or 64 bits [2.x]: all of the item is a reference, or some of its fields are.
constexpr std::uint64_t kDescrFlags = 11, kDescrNewFlags = 16;
constexpr std::uint8_t kItemRefcount = 0x1;
// PyArray_ArrayDescr* subarray, PyObject* fields and names; of 2.x in _PyArray_LegacyDescr, which structured dtypes are. PyArray_ArrayDescr: base, shape.
constexpr std::uint64_t kDescrSubarray = 24, kDescrNewSubarray = 72, kFieldsBehind = 8, kNamesBehind = 16, kSubarrayShape = 8;
constexpr std::size_t kMostFields = 4096, kMostItemReferences = 1u << 16;
constexpr int kMostLevels = 16;  // of structures in structures

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

struct Descr {
  char kind = '?', order = '=';
  std::uint64_t item_bytes = 0;
  bool is_new = false;  // of 2.x
  bool holds_objects = false;
};

// `fields`: behind the object's head.
std::optional<Descr> ReadDescr(const target::MemoryImage& memory, Address fields) {
  const std::byte* const p = memory.At(fields, kDescrBytes);
  if (p == nullptr) return std::nullopt;
  Descr d;
  d.kind = static_cast<char>(LoadUnchecked<std::uint8_t>(p + kDescrKind));
  d.order = static_cast<char>(LoadUnchecked<std::uint8_t>(p + kDescrOrder));
  d.is_new = LoadUnchecked<std::int32_t>(p + kDescrAlignment) == 0;
  d.item_bytes = d.is_new ? LoadUnchecked<std::uint64_t>(p + kDescrNewSize) : LoadUnchecked<std::uint32_t>(p + kDescrSize);
  d.holds_objects = (LoadUnchecked<std::uint8_t>(p + (d.is_new ? kDescrNewFlags : kDescrFlags)) & kItemRefcount) != 0;
  return d.kind < 'A' || d.kind > 'z' || d.item_bytes > kLargestArrayItem ? std::nullopt : std::optional(d);
}

// "[7]", "[1, 2]", "[()]": `index` in C's order in an array of that shape.
std::string SubscriptIn(const std::vector<std::int64_t>& shape, std::uint64_t index) {
  std::string text;
  for (std::size_t d = shape.size(); d-- > 0;) {
    const auto length = static_cast<std::uint64_t>(std::max<std::int64_t>(shape[d], 1));
    text = std::to_string(index % length) + (text.empty() ? "" : ", ") + text;
    index /= length;
  }
  return "[" + (shape.empty() ? "()" : text) + "]";
}

// Goes down into structures and arrays in them.
class ItemReader {
 public:
  ItemReader(const Values& values, std::uint32_t object_size) : values_(values), object_size_(object_size) {}

  bool Read(Address descr, std::uint64_t offset, const std::string& field, int level) {
    const std::optional<Descr> d = level > kMostLevels ? std::nullopt : ReadDescr(values_.memory(), descr + object_size_);
    if (!d) return false;
    if (!d->holds_objects) return true;
    if (d->kind == 'O') {
      if (d->item_bytes != sizeof(Address) || out.size() >= kMostItemReferences) return false;
      out.push_back({offset, field});
      return true;
    }
    const Address at = descr + object_size_ + (d->is_new ? kDescrNewSubarray : kDescrSubarray);
    const Address subarray = values_.Pointer(at), fields = values_.Pointer(at + kFieldsBehind), names = values_.Pointer(at + kNamesBehind);
    if (d->kind != 'V') return false;
    return subarray != 0 ? ReadArray(subarray, d->item_bytes, offset, field, level) : ReadFields(fields, names, offset, field, level);
  }

  std::vector<NumpyReference> out;

 private:
  bool ReadArray(Address subarray, std::uint64_t bytes, std::uint64_t offset, const std::string& field, int level) {
    const Address base = values_.Pointer(subarray);
    const std::optional<Descr> d = ReadDescr(values_.memory(), base + object_size_);
    if (!d || d->item_bytes == 0 || bytes / d->item_bytes > kMostItemReferences) return false;
    std::vector<std::int64_t> shape;
    for (const Address length : values_.TupleItems(values_.Pointer(subarray + kSubarrayShape), static_cast<std::size_t>(kMostDimensions))) shape.push_back(values_.Int(length).value_or(0));
    for (std::uint64_t i = 0; i < bytes / d->item_bytes; ++i) {
      if (!Read(base, offset + i * d->item_bytes, field + SubscriptIn(shape, i), level + 1)) return false;
    }
    return true;
  }

  // dtype.fields: {name: (dtype, offset) or (dtype, offset, title)}, beside them the titles as names of their own; dtype.names has the names.
  bool ReadFields(Address fields, Address names, std::uint64_t offset, const std::string& field, int level) {
    const std::vector<Address> all = values_.TupleItems(names, kMostFields);
    for (const Address name : all) {
      const std::optional<std::string> text = values_.Text(name, kMostFields);
      const std::vector<Address> entry = text ? values_.TupleItems(values_.DictGet(fields, *text), 3) : std::vector<Address>{};
      const std::optional<std::int64_t> at = entry.size() < 2 ? std::nullopt : values_.Int(entry[1]);
      if (!at || *at < 0 || static_cast<std::uint64_t>(*at) > kLargestArrayItem) return false;
      if (!Read(entry[0], offset + static_cast<std::uint64_t>(*at), field + "['" + *text + "']", level + 1)) return false;
    }
    return !all.empty();
  }

  const Values& values_;
  std::uint32_t object_size_;
};

}  // namespace

std::string NumpyArray::ShapeText() const {
  std::string out = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) out += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return out + (shape.size() == 1 ? ",)" : ")");
}

// The widest stride first: each of the others is a part of it.
std::string NumpyArray::IndexText(std::uint64_t offset) const {
  std::vector<std::size_t> order;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] > 1 && strides[d] > 0) order.push_back(d);
  }
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return strides[a] > strides[b]; });
  std::vector<std::uint64_t> index(shape.size(), 0);
  for (const std::size_t d : order) {
    index[d] = offset / static_cast<std::uint64_t>(strides[d]);
    offset %= static_cast<std::uint64_t>(strides[d]);
  }
  std::string text;
  for (std::size_t d = 0; d < index.size(); ++d) text += (d == 0 ? "" : ", ") + std::to_string(index[d]);
  return "[" + (index.empty() ? "()" : text) + "]";
}

std::optional<std::vector<NumpyReference>> ReferencesInItem(const Values& values, std::uint32_t object_size, const NumpyArray& array) {
  ItemReader reader(values, object_size);
  if (!reader.Read(array.descr, 0, "", 0)) return std::nullopt;
  std::stable_sort(reader.out.begin(), reader.out.end(), [](const NumpyReference& a, const NumpyReference& b) { return a.offset < b.offset; });
  return std::move(reader.out);
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
  const std::optional<Descr> descr = ReadDescr(memory, array.descr + object_size);
  if (rank < 0 || rank > kMostDimensions || !descr) return std::nullopt;
  array.kind = descr->kind;
  array.item_bytes = descr->item_bytes;
  array.holds_objects = descr->holds_objects;
  array.dtype = DtypeName(descr->kind, descr->item_bytes, descr->order);
  const Address shape = LoadUnchecked<std::uint64_t>(p + kArrayShape);
  const std::byte* const lengths = rank == 0 ? p : memory.At(shape, static_cast<std::uint64_t>(rank) * sizeof(std::int64_t));
  const std::byte* const strides = rank == 0 ? p : memory.At(LoadUnchecked<std::uint64_t>(p + kArrayStrides), static_cast<std::uint64_t>(rank) * sizeof(std::int64_t));
  if (lengths == nullptr || strides == nullptr) return std::nullopt;
  array.items = 1;
  bool empty = false;
  for (std::int32_t i = 0; i < rank; ++i) {
    const auto length = LoadUnchecked<std::int64_t>(lengths + static_cast<std::uint64_t>(i) * sizeof(std::int64_t));
    if (length < 0 || static_cast<std::uint64_t>(length) > kMostArrayItems) return std::nullopt;
    array.shape.push_back(length);
    array.strides.push_back(LoadUnchecked<std::int64_t>(strides + static_cast<std::uint64_t>(i) * sizeof(std::int64_t)));
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
