// What repr() would print for an object, worked out from its memory alone. Nothing of the target runs, so a __repr__ written in Python, or by an extension
// that is not known here, cannot be asked: then the text is that of object.__repr__ and says so (ReprText::exact).
// Lengths are bounded; what was left out is marked by an ellipsis that Python would not print (ReprText::complete).
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/base/address.h"
#include "core/objects/object_reader.h"

namespace pygc::objects {

struct ReprLimits {
  std::size_t max_items = 10;           // of one container
  std::size_t max_text = 1000;          // characters of one str, bytes of one bytes object
  std::size_t max_digits = 1000;        // of one int; the time to write them grows with their square: 200,000 take about a second
  std::size_t max_depth = 6;            // containers inside containers
  std::size_t max_total = 1u << 16;     // bytes of the whole text
  bool hide_values = false;             // --redact: shapes and lengths only
};

struct ReprText {
  std::string text;      // UTF-8; not escaped for a terminal
  bool complete = true;  // false: a limit cut something off, or part of it cannot be read
  bool exact = true;     // false: the type's own __repr__ cannot be known here
};

/// Not thread-safe: remembers what types are.
class Repr {
 public:
  /// `reader` must outlive it.
  explicit Repr(const ObjectReader& reader);
  ~Repr();
  Repr(Repr&&) noexcept;
  Repr& operator=(Repr&&) noexcept;

  [[nodiscard]] ReprText Of(Address object, const ReprLimits& limits = {}) const;
  /// A numpy.dtype as str() of it: "float64", ">i4", "datetime64[ns]", "[('a', '<i4'), ('b', '<U3')]".
  [[nodiscard]] ReprText DtypeOf(Address dtype, const ReprLimits& limits = {}) const;
  /// The size of a container or text as len() says it, where it is one.
  [[nodiscard]] std::optional<std::uint64_t> LengthOf(Address object) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The shortest decimal that reads back as `value`, as repr() of a float writes it. CPython: PyOS_double_to_string(v, 'r', 0, Py_DTSF_ADD_DOT_0).
[[nodiscard]] std::string FloatRepr(double value, bool add_dot_0 = true);

}  // namespace pygc::objects
