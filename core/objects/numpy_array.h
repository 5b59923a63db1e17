// NumPy's arrays and scalars: their shape, what their items are, and where these lie. For sizes, for who holds what, and for what `show` says of one.
// NumPy: PyArrayObject_fields, numpy/core/include/numpy/ndarraytypes.h [1.x], numpy/_core/include/numpy/ndarraytypes.h [2.x]: a public structure of its C API, whose
// first fields are where they were in 1.0.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/address.h"
#include "core/objects/values.h"
#include "core/target/memory_image.h"

namespace pygc::objects {

/// A reference in each item of an array.
struct NumpyReference {
  std::uint64_t offset = 0;  // bytes from the item's start
  std::string field;         // what Python code writes behind the item: "", "['name']", "['name'][1, 2]"
};

/// An instance of numpy.ndarray, or of a class derived from it.
struct NumpyArray {
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> strides;  // bytes between neighbours of each dimension
  char kind = '?';              // dtype.kind
  std::uint64_t item_bytes = 0;
  std::uint64_t items = 0;      // product of the shape
  Address data = 0;             // of the first item
  Address base = 0;             // whose memory the items are, where they are not its own
  Address descr = 0;            // the dtype
  bool owns_data = false;
  bool holds_objects = false;   // items are references, or structures with some; where dtype.hasobject

  [[nodiscard]] std::uint64_t bytes() const noexcept { return items * item_bytes; }
  /// As Python writes it: "(500, 400)", "(3,)", "()".
  [[nodiscard]] std::string ShapeText() const;
  /// The index of the item that begins `offset` bytes behind the first one, as Python writes it: "[7]", "[1, 2]", "[()]".
  [[nodiscard]] std::string IndexText(std::uint64_t offset) const;
};

/// The array at `object`, an instance of numpy.ndarray; nullopt where it cannot be read, or says what no array does. `object_size`: of PyObject.
[[nodiscard]] std::optional<NumpyArray> ReadNumpyArray(const target::MemoryImage& memory, std::uint32_t object_size, Address object);

/// The references in one item of an array that holds objects, rising; nullopt where its structure cannot be read. Titles are no fields of their own.
[[nodiscard]] std::optional<std::vector<NumpyReference>> ReferencesInItem(const Values& values, std::uint32_t object_size, const NumpyArray& array);

/// Bytes of the value of an instance of one of NumPy's scalar types, by tp_name ("numpy.float64"); nullopt of other names, and of those whose instances differ in it.
[[nodiscard]] std::optional<std::uint64_t> NumpyScalarBytes(std::string_view name);

}  // namespace pygc::objects
