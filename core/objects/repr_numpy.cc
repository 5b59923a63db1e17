// Arrays, numbers and dtypes of NumPy.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "core/objects/numpy_array.h"
#include "core/objects/numpy_dtype.h"
#include "core/objects/repr_writer.h"

namespace pygc::objects {

namespace {

constexpr int kDeepestDtype = 16;  // structures in structures

const char* StemOf(char kind) {
  switch (kind) {
    case 'b': return "bool";
    case 'i': return "int";
    case 'u': return "uint";
    case 'f': return "float";
    case 'c': return "complex";
    case 'O': return "object";
    case 'M': return "datetime64";
    case 'm': return "timedelta64";
    default: return nullptr;
  }
}

std::uint64_t RoundedUp(std::uint64_t offset, std::uint64_t alignment) { return alignment == 0 ? offset : (offset + alignment - 1) / alignment * alignment; }

}  // namespace

// An array by its shape and the type of its items: repr() would lay out these, as its print options say.
void ReprWriter::NumpyItems(Address object, const TypeFacts& type) {
  const std::optional<NumpyArray> array = ReadNumpyArray(t_.values.memory(), t_.offsets.object_size, object);
  if (!array) return UnknownRepr(object, type);
  exact_ = false;
  Put(fmt::format("<{} of shape {} and dtype ", type.name, array->ShapeText()));
  DtypeText(array->descr);
  At(object);
}

ReprText ReprWriter::RunDtypeText(Address dtype) {
  DtypeText(dtype);
  if (full_) out_ += "…";
  return {std::move(out_), complete_, exact_};
}

// NumPy: __repr__, numpy/_core/_dtype.py: dtype('float64'), dtype([('a', '<i4')], align=True).
void ReprWriter::Dtype(Address object, const TypeFacts& type) {
  const std::optional<NumpyDtype> dtype = ReadNumpyDtype(t_.values.memory(), t_.offsets.object_size, object);
  if (!dtype) return UnknownRepr(object, type);
  if (dtype->kind == 'T') return Put("StringDType()");
  Put("dtype(");
  DtypeArgument(object, /*is_short=*/false, /*with_align=*/false, 0);
  Put(dtype->is_aligned ? ", align=True)" : ")");
}

// NumPy: __str__, numpy/_core/_dtype.py: "float64", ">i4", "<U3", "datetime64[ns]", "[('a', '<i4')]".
void ReprWriter::DtypeText(Address object) {
  const std::optional<NumpyDtype> dtype = ReadNumpyDtype(t_.values.memory(), t_.offsets.object_size, object);
  if (!dtype) return Unreadable();
  const std::optional<std::vector<NumpyField>> fields = FieldsOf(t_.values, *dtype);
  if (!fields) return Unreadable();
  if (!fields->empty()) return DtypeFields(*dtype, *fields, /*with_align=*/true, 0);
  if (SubarrayOf(t_.values, *dtype)) return DtypeArgument(object, true, false, 0);
  if (dtype->kind == 'T') return Put("StringDType()");
  const char* const stem = StemOf(dtype->kind);
  const bool is_time = dtype->kind == 'M' || dtype->kind == 'm';
  const std::string unit = is_time ? TimeUnitText(t_.values, *dtype).value_or("") : "";
  const bool is_native = dtype->order != '>';
  if (stem == nullptr || !is_native) {
    const char order = !is_native ? '>' : dtype->kind == 'U' ? '<' : '|';
    return Put(fmt::format("{}{}{}{}", order, dtype->kind, dtype->kind == 'U' ? dtype->item_bytes / 4 : dtype->item_bytes, unit));
  }
  Put(dtype->kind == 'b' || dtype->kind == 'O' || is_time ? stem + unit : fmt::format("{}{}", stem, dtype->item_bytes * 8));
}

// NumPy: _construction_repr(), numpy/_core/_dtype.py.
void ReprWriter::DtypeArgument(Address object, bool is_short, bool with_align, int level) {
  const std::optional<NumpyDtype> dtype = level > kDeepestDtype ? std::nullopt : ReadNumpyDtype(t_.values.memory(), t_.offsets.object_size, object);
  const std::optional<std::vector<NumpyField>> fields = dtype ? FieldsOf(t_.values, *dtype) : std::nullopt;
  if (!fields || full_) return Unreadable();
  if (!fields->empty()) return DtypeFields(*dtype, *fields, with_align, level);
  if (const std::optional<NumpySubarray> subarray = SubarrayOf(t_.values, *dtype)) {
    Put("(");
    DtypeArgument(subarray->base, true, false, level + 1);
    Put(", ");
    Object(subarray->shape);
    return Put(")");
  }
  const std::string order = dtype->order == '|' ? "" : dtype->order == '>' ? ">" : "<";
  const std::string bytes = dtype->item_bytes == 0 ? "" : std::to_string(dtype->kind == 'U' ? dtype->item_bytes / 4 : dtype->item_bytes);
  switch (dtype->kind) {
    case 'b': return Put(is_short ? "'?'" : "'bool'");
    case 'O': return Put("'O'");
    case 'T': return Put("'T'");
    case 'S':
    case 'V': return Put(fmt::format("'{}{}'", dtype->kind, bytes));
    case 'U': return Put(fmt::format("'{}U{}'", order, bytes));
    case 'M':
    case 'm': return Put(fmt::format("'{}{}8{}'", order, dtype->kind, TimeUnitText(t_.values, *dtype).value_or("")));
    default: break;
  }
  const char* const stem = StemOf(dtype->kind);
  if (stem == nullptr) return Unreadable();
  Put(is_short || dtype->order == '>' ? fmt::format("'{}{}{}'", order, dtype->kind, dtype->item_bytes) : fmt::format("'{}{}'", stem, dtype->item_bytes * 8));
}

// NumPy: _struct_str(), numpy/_core/_dtype.py: a list where the offsets follow from the fields, else a dict.
void ReprWriter::DtypeFields(const NumpyDtype& dtype, const std::vector<NumpyField>& fields, bool with_align, int level) {
  const TypeFacts* const scalar = t_.reader.Type(dtype.scalar_type);
  const bool is_void = scalar == nullptr || scalar->name == "numpy.void";
  if (!is_void) Put(fmt::format("({}, ", scalar->name));
  if (!(with_align && dtype.is_aligned) && FieldsArePacked(dtype, fields)) {
    Put("[");
    for (std::size_t i = 0; i < fields.size() && !full_; ++i) DtypeListField(fields[i], i == 0, level);
    Put("]");
  } else {
    DtypeDict(dtype, fields, with_align, level);
  }
  if (!is_void) Put(")");
}

void ReprWriter::DtypeListField(const NumpyField& field, bool is_first, int level) {
  Put(is_first ? "(" : ", (");
  if (field.title != 0) {
    Put("(");
    Object(field.title);
    Put(", ");
  }
  Object(field.name);
  Put(field.title != 0 ? "), " : ", ");
  const std::optional<NumpyDtype> dtype = ReadNumpyDtype(t_.values.memory(), t_.offsets.object_size, field.dtype);
  const std::optional<NumpySubarray> subarray = dtype ? SubarrayOf(t_.values, *dtype) : std::nullopt;
  DtypeArgument(subarray ? subarray->base : field.dtype, true, false, level + 1);
  if (subarray) {
    Put(", ");
    Object(subarray->shape);
  }
  Put(")");
}

void ReprWriter::DtypeDict(const NumpyDtype& dtype, const std::vector<NumpyField>& fields, bool with_align, int level) {
  const auto list = [&](const char* key, const auto& put) {
    Put(fmt::format("'{}': [", key));
    for (std::size_t i = 0; i < fields.size() && !full_; ++i) {
      if (i > 0) Put(", ");
      put(fields[i]);
    }
    Put("], ");
  };
  Put("{");
  list("names", [&](const NumpyField& f) { Object(f.name); });
  list("formats", [&](const NumpyField& f) { DtypeArgument(f.dtype, true, false, level + 1); });
  list("offsets", [&](const NumpyField& f) { Put(std::to_string(f.offset)); });
  if (std::any_of(fields.begin(), fields.end(), [](const NumpyField& f) { return f.title != 0; })) {
    list("titles", [&](const NumpyField& f) { f.title == 0 ? Put("None") : Object(f.title); });
  }
  Put(fmt::format("'itemsize': {}{}}}", dtype.item_bytes, with_align && dtype.is_aligned ? ", 'aligned': True" : ""));
}

// NumPy: _is_packed(), numpy/_core/_dtype.py.
bool ReprWriter::FieldsArePacked(const NumpyDtype& dtype, const std::vector<NumpyField>& fields) const {
  std::uint64_t end = 0, widest = 1;
  for (const NumpyField& field : fields) {
    const std::optional<NumpyDtype> d = ReadNumpyDtype(t_.values.memory(), t_.offsets.object_size, field.dtype);
    if (!d) return false;
    if (dtype.is_aligned) {
      end = RoundedUp(end, d->alignment);
      widest = std::max(widest, d->alignment);
    }
    if (field.offset != end) return false;
    end += d->item_bytes;
  }
  return (dtype.is_aligned ? RoundedUp(end, widest) : end) == dtype.item_bytes;
}

// A number of NumPy, whose repr() depends on its release: "1.5" [1.x], "np.float64(1.5)" [2.x]. False where it is none.
bool ReprWriter::NumpyNumber(Address object, const TypeFacts& type) {
  struct Named {
    std::string_view name;
    const char* codes;  // as ctypes' types have them
  };
  static constexpr Named kNumbers[] = {{"numpy.bool_", "?"},  {"numpy.bool", "?"},   {"numpy.int8", "b"},    {"numpy.uint8", "B"},   {"numpy.int16", "h"},      {"numpy.uint16", "H"}, {"numpy.int32", "i"},
                                       {"numpy.uint32", "I"}, {"numpy.intc", "i"},   {"numpy.uintc", "I"},   {"numpy.int64", "l"},   {"numpy.uint64", "Q"},     {"numpy.longlong", "l"}, {"numpy.ulonglong", "Q"},
                                       {"numpy.float32", "f"}, {"numpy.float64", "d"}, {"numpy.complex64", "F"}, {"numpy.complex128", "D"}};
  if (type.is_heap_type || !type.name.starts_with("numpy.")) return false;
  const auto* const known = std::find_if(std::begin(kNumbers), std::end(kNumbers), [&](const Named& n) { return n.name == type.name; });
  if (known == std::end(kNumbers)) return false;
  const std::optional<std::string> text = ValueAt(object + t_.offsets.object_size, known->codes, false);
  if (!text) return false;
  Put(fmt::format("{}({})", type.name, *text));
  return true;
}

}  // namespace pygc::objects
