// Types of CPython whose instances own references that no tp_traverse shows, in C structures that are in no layout, as data. A type is recognised by its
// tp_name, and only where it is no class of Python code and lies in the interpreter's own module or in the extension module (of the standard library, of NumPy) that
// defines it; classes derived from it have the same fields. A wrong entry is a false alarm; a missing one leaves words that may be references.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace pygc::objects {

struct OwnedField {
  std::uint32_t offset;  // bytes behind the part that `KnownOwner::behind` names
  const char* name;      // as CPython spells the field
};

struct KnownOwner {
  /// What the offsets are counted from: it has another size in each release and build, and the fields behind it have not.
  enum class Behind : std::uint8_t { kObjectHead, kVarObjectHead, kBase };

  std::string_view name;  // tp_name
  const char* module;     // extension module that may define it when it is not built in, or nullptr
  Behind behind;
  std::span<const OwnedField> fields;
  bool complete;  // no other word of an instance of the very type is a reference
  bool has_start_count = false;  // its initializer sets ob_refcnt to 1 for nobody: wherever it lies, it is never freed
};

/// A type whose instances have a block of plain bytes: what was read or is to be written, and behind that whatever lay there before.
struct BytesOwner {
  std::string_view name;   // tp_name
  std::uint32_t buffer;    // bytes behind the object head: the pointer
  std::uint32_t size;      // bytes behind the object head: how many bytes it leads to
  std::uint32_t bytes = 0;     // or how many it leads to in each instance; then `size` means nothing
  std::uint32_t instance = 0;  // bytes of an instance behind the object head where it is one that has such a pointer; 0: all have
};

/// True for the tp_name of a type whose instances no pointer to their middle holds: one that has a stream of a library there (zlib, bz2, lzma), which what the library
/// allocated for it leads back to, a task, whose neighbours in the list of all tasks lead to it, and data of ctypes, to
/// which addresses in other data lead. CPython: TaskObj.task_node, Modules/_asynciomodule.c (3.14+); CDataObject.b_value, Modules/_ctypes/ctypes.h.
[[nodiscard]] bool HasBorrowedMiddle(std::string_view name) noexcept;

/// The entry for that tp_name, or nullptr. Valid from 3.6 on.
[[nodiscard]] const BytesOwner* FindBytesOwner(std::string_view name) noexcept;

/// The entry for that tp_name, or nullptr.
[[nodiscard]] const KnownOwner* FindKnownOwner(std::string_view name) noexcept;

}  // namespace pygc::objects
