#include "core/objects/numpy_array.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "core/objects/numpy_dtype.h"

namespace pygc::objects {

namespace {

// PyArrayObject_fields behind the object's head.
constexpr std::uint64_t kArrayData = 0, kArrayRank = 8, kArrayShape = 16, kArrayBase = 32, kArrayDescr = 40, kArrayFlags = 48, kArrayStrides = 24, kArrayBytes = 56;
constexpr std::uint32_t kOwnsData = 0x4;              // NPY_ARRAY_OWNDATA
constexpr std::int32_t kMostDimensions = 64;          // NPY_MAXDIMS of 2.x
constexpr std::uint64_t kMostArrayItems = std::uint64_t{1} << 48;
constexpr std::size_t kMostItemReferences = 1u << 16;
constexpr std::size_t kLongestName = 4096;
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
    const std::optional<NumpyDtype> d = level > kMostLevels ? std::nullopt : ReadNumpyDtype(values_.memory(), object_size_, descr);
    if (!d) return false;
    if (!d->holds_objects) return true;
    if (d->kind == 'O') {
      if (d->item_bytes != sizeof(Address) || out.size() >= kMostItemReferences) return false;
      out.push_back({offset, field});
      return true;
    }
    if (d->kind != 'V') return false;
    const std::optional<NumpySubarray> subarray = SubarrayOf(values_, *d);
    return subarray ? ReadArray(*subarray, d->item_bytes, offset, field, level) : ReadFields(*d, offset, field, level);
  }

  std::vector<NumpyReference> out;

 private:
  bool ReadArray(const NumpySubarray& subarray, std::uint64_t bytes, std::uint64_t offset, const std::string& field, int level) {
    const std::optional<NumpyDtype> d = ReadNumpyDtype(values_.memory(), object_size_, subarray.base);
    if (!d || d->item_bytes == 0 || bytes / d->item_bytes > kMostItemReferences) return false;
    std::vector<std::int64_t> shape;
    for (const Address length : values_.TupleItems(subarray.shape, static_cast<std::size_t>(kMostDimensions))) shape.push_back(values_.Int(length).value_or(0));
    for (std::uint64_t i = 0; i < bytes / d->item_bytes; ++i) {
      if (!Read(subarray.base, offset + i * d->item_bytes, field + SubscriptIn(shape, i), level + 1)) return false;
    }
    return true;
  }

  bool ReadFields(const NumpyDtype& dtype, std::uint64_t offset, const std::string& field, int level) {
    const std::optional<std::vector<NumpyField>> fields = FieldsOf(values_, dtype);
    if (!fields || fields->empty()) return false;
    for (const NumpyField& f : *fields) {
      if (!Read(f.dtype, offset + f.offset, field + "['" + values_.Text(f.name, kLongestName).value_or("") + "']", level + 1)) return false;
    }
    return true;
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
  const std::optional<NumpyDtype> descr = ReadNumpyDtype(memory, object_size, array.descr);
  if (rank < 0 || rank > kMostDimensions || !descr) return std::nullopt;
  array.kind = descr->kind;
  array.item_bytes = descr->item_bytes;
  array.holds_objects = descr->holds_objects;
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
