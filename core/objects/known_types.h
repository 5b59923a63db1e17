// The types whose tp_traverse is known here, as data: how to recognise one, which fields its function visits and in which order.
// A type is recognised by the address of its exported type object where there are symbols, else by its tp_name, and then only when its tp_traverse lies
// in the interpreter's own module or in the extension module of the standard library that defines it. Never by the name of a Python class.
#pragma once

#include <cstdint>
#include <span>

#include "core/cpython/layout.h"
#include "core/objects/type_table.h"

namespace pygc::objects {

/// Whether a field of a live, complete object may be NULL. A wrong kOptional loses sight of damage; a wrong one of the others is a false alarm.
enum class Presence : std::uint8_t {
  kOptional,
  kUntilCleared,  // never, as long as its type has no tp_clear: nothing takes it away before the object goes
  kAlways,        // never, whatever its tp_clear does
  kItemsGo,       // it may, and so may items of the tuple that it leads to, which is the object's own: C code takes them out one by one
};

/// Whether Python code reaches what a field holds as an attribute of that name.
enum class Naming : std::uint8_t { kAttribute, kInC };

/// One visited field; fields that a release does not have are left out.
struct KnownField {
  cpython::Field field;
  const char* label;  // the attribute by which Python code gets the very object; nullptr: there is none, the C name says it
  Presence presence = Presence::kOptional;
  Naming naming = Naming::kAttribute;  // kInC: the label is none that Python code could use, in one release or type at least
};

struct KnownType {
  const char* symbol;    // exported type object, or nullptr
  const char* name;      // tp_name
  ReaderKind reader;
  ReaderKind tail;       // kFields: what runs after the fields
  std::span<const KnownField> fields;
  cpython::Field needs;  // the entry holds only where the layout has this field
  const char* module;    // extension module that may define it when it is not built in, or nullptr
};

[[nodiscard]] std::span<const KnownType> KnownTypes() noexcept;

}  // namespace pygc::objects
