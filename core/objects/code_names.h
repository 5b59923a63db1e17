// What a function, a generator or a frame is called in the source of the program: the same in every process of it, whatever the addresses.
// For telling structures apart and for fingerprints; not for reports, which print the short name.
#pragma once

#include <string>
#include <string_view>

#include "core/objects/object_reader.h"

namespace pygc::objects {

/// True for the types whose objects have such a name, by the name of the type: function, method, generator, coroutine, async_generator, frame.
[[nodiscard]] bool HasCodeName(std::string_view type) noexcept;

/// "make.<locals>.handler app.py" of an object of type `type` (its name): the qualified name and the last part of the file, without digits, so that functions
/// that a program numbers have one name. Of a function without the classes that it lies in (namedtuple and dataclass write their class's name into each
/// function: "Point.__new__" is "__new__"), because classes made at run time by one piece of code are one structure, whatever they are called. Frames up to 3.10 and all of 2.7 have no qualified name: the plain one. Empty where
/// `type` has none or it cannot be read.
/// CPython: func_qualname in Include/cpython/funcobject.h [3.3+], gi_qualname [3.5+], co_qualname [3.11+].
[[nodiscard]] std::string CodeNameOf(const ObjectReader& reader, Address object, std::string_view type);

/// The two pointers that CodeNameOf() makes its text of, for tables that spell each once; {0, 0} where there is nothing.
struct CodeNameSource {
  Address name = 0;  // a str
  Address code = 0;
  friend bool operator==(const CodeNameSource&, const CodeNameSource&) = default;
};
[[nodiscard]] CodeNameSource CodeNameSourceOf(const ObjectReader& reader, Address object, std::string_view type);
[[nodiscard]] std::string CodeNameOf(const ObjectReader& reader, const CodeNameSource& source, std::string_view type);

}  // namespace pygc::objects
