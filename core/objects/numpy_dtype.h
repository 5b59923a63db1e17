// NumPy's dtypes: what the items of an array are. NumPy: PyArray_Descr [1.x], numpy/core/include/numpy/ndarraytypes.h; _PyArray_DescrNumPy2 and _PyArray_LegacyDescr
// [2.x], numpy/_core/include/numpy/ndarraytypes.h and dtype_api.h: public structures of its C API.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/base/address.h"
#include "core/objects/values.h"
#include "core/target/memory_image.h"

namespace pygc::objects {

/// An instance of numpy.dtype.
struct NumpyDtype {
  char kind = '?', order = '=';  // dtype.kind, dtype.byteorder
  std::uint64_t item_bytes = 0;
  std::uint64_t alignment = 1;   // bytes
  bool is_new = false;           // of 2.x
  bool holds_objects = false;    // dtype.hasobject
  bool is_aligned = false;       // dtype.isalignedstruct
  Address scalar_type = 0;       // dtype.type
  Address parts = 0;             // where subarray, fields and names are
};

/// An array that is an item: dtype.subdtype.
struct NumpySubarray {
  Address base = 0;   // a dtype
  Address shape = 0;  // a tuple
};

struct NumpyField {
  Address name = 0, dtype = 0;
  Address title = 0;  // 0: none
  std::uint64_t offset = 0;
};

/// The dtype at `object`; nullopt where it cannot be read, or says what none does. `object_size`: of PyObject.
[[nodiscard]] std::optional<NumpyDtype> ReadNumpyDtype(const target::MemoryImage& memory, std::uint32_t object_size, Address object);

/// Of a dtype of kind 'V'; nullopt: its items are no arrays.
[[nodiscard]] std::optional<NumpySubarray> SubarrayOf(const Values& values, const NumpyDtype& dtype);

/// The fields of a structured dtype in the order of dtype.names, kMostFields of them at most; empty: it is none. nullopt: they cannot be read.
[[nodiscard]] std::optional<std::vector<NumpyField>> FieldsOf(const Values& values, const NumpyDtype& dtype);

/// What numpy.datetime_data() says of a dtype of kind 'M' or 'm', as its name has it: "[ns]", "[25s]"; empty: it has no unit. nullopt: it cannot be read.
[[nodiscard]] std::optional<std::string> TimeUnitText(const Values& values, const NumpyDtype& dtype);

}  // namespace pygc::objects
