// Objects read from memory: header, type, referents exactly as the type's tp_traverse visits them, size, labels.
// Prepared once from a Runtime; const and thread-safe afterwards except for types that are met for the first time (an internal lock).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/cpython/object_header.h"
#include "core/cpython/runtime.h"
#include "core/objects/type_table.h"
#include "core/target/process.h"

namespace pygc::objects {

/// Grows, is cleared and reused: the referents of one object.
using ReferentBuffer = std::vector<Address>;

class TraverseInterpreter;
struct NotExactReason;

/// What a referent is to its owner, for labels.
enum class SlotKind : std::uint8_t {
  kField,       // a C field that Python code reaches as the attribute `name`
  kCField,      // a C field that it does not reach: `name`
  kItem,        // [index]
  kDictKey,     // the key itself, entry `index`
  kDictValue,   // value of the key object at `key`
  kSetEntry,    // element of a set
  kAttribute,   // instance attribute whose name is the str object at `key` (inline values, split tables)
  kSlot,        // __slots__ member, `name`
  kLocal,       // local variable `index` of a frame; name object at `key` where known
  kStackItem,   // value stack of a frame
  kType,        // ob_type
  kUnknown,     // found at byte `index` of the object, or at the place that `text` says, by a scan or by running tp_traverse
};

/// One reference with its place.
struct LabelledReferent {
  Address referent = 0;
  SlotKind kind = SlotKind::kUnknown;
  const char* name = nullptr;  // static text: "__self__", "__closure__"
  std::string text;            // names read from the target (slot names); kItem: the subscript, where it is no index alone; kUnknown: the place, where it is not in the object
  Address key = 0;             // key or name object
  std::uint64_t index = 0;
};

/// Which of an object's references are wanted: large containers have millions.
struct ReferentFilter {
  Address only = 0;                    // not 0: those that lead there
  std::optional<SlotKind> kind = {};   // those in a place of this kind
  std::size_t max = ~std::size_t{0};   // stop storing after so many
};

/// Reads objects of one target.
class ObjectReader {
 public:
  /// `machine`: who reads types that no native reader knows; nullptr: their memory is scanned. Must outlive the reader, as must `process` and `runtime`.
  ObjectReader(const target::Process& process, const cpython::Runtime& runtime, const Limits& limits, const TraverseInterpreter* machine = nullptr);
  ~ObjectReader();

  /// Facts of the type at `type`, read at the first call. nullptr when it is not a type object (fault, metatype chain does not end in `type`, nonsense fields).
  [[nodiscard]] const TypeFacts* Type(Address type) const;
  /// All types met so far, by id. The pointers stay valid.
  [[nodiscard]] std::vector<const TypeFacts*> Types() const;

  /// Appends every referent of the object, in the order and number in which the type's tp_traverse visits them; NULL is left out.
  /// Returns how exact they are; kUnknown where the object cannot be read. Clears nothing.
  ReferentQuality Referents(Address object, const TypeFacts& type, ReferentBuffer& out) const;
  /// True when stack slots of this build can hold references without a count (3.14+).
  [[nodiscard]] bool HasBorrowedReferents() const noexcept;
  /// Appends those of Referents() that hold no count: a suspended generator's or a frame object's stack slots that only borrow. The collector's visit_decref()
  /// passes over them, every other visitor sees them. CPython: _PyGC_VisitStackRef(), Include/internal/pycore_stackref.h [3.14+].
  void BorrowedReferents(Address object, const TypeFacts& type, ReferentBuffer& out) const;
  /// How many members of the object are NULL that a live, complete object of its type always has: items that a container counts, keys of its entries,
  /// attribute values that are counted, fields that nothing takes away (known_types.h). Half-made objects lack some too. 0 where the object cannot be read.
  [[nodiscard]] std::uint64_t AbsentMembers(Address object, const TypeFacts& type) const;
  /// Where the last items of a list lie that are all NULL, as in one that C code made and has not filled to its end; empty where there are none, or where the
  /// list cannot come from there: of a derived class, or with room for more. CPython: PyList_New(), Objects/listobject.c [2.7, 3.6+].
  [[nodiscard]] AddressRange UnfilledItems(Address object, const TypeFacts& type) const;
  /// Asks the processor to load what Referents() will read outside of the object: items, tables, values. Reads the object's fixed part itself, so ask for
  /// that some objects earlier. For loops over many objects; changes nothing.
  void PrefetchReferents(Address object, const TypeFacts& type) const noexcept;
  /// The same references, each with its place. Slower; for reported objects.
  ReferentQuality LabelledReferents(Address object, const TypeFacts& type, std::vector<LabelledReferent>& out, const ReferentFilter& filter = {}) const;

  /// Why referents of objects of this type that were read so far are not exact, with a code for scripts: "not-interpreted" (their memory was searched),
  /// "type" (the type itself is damaged), "unreadable" (an object is), or what stopped the machine ("untrusted-code").
  [[nodiscard]] NotExactReason WhyNotExact(const TypeFacts& type) const;
  /// Of the objects read so far by running their tp_traverse, those for which it visited what can be no object, in the order of addresses.
  [[nodiscard]] std::vector<Address> ObjectsAstray() const;

  /// True when the collector sees the object as one of its own: Py_TPFLAGS_HAVE_GC and tp_is_gc. CPython: _PyObject_IS_GC.
  [[nodiscard]] bool IsGc(Address object, const TypeFacts& type) const;
  /// What sys.getsizeof says (with the GC head), or nullopt where the type's own __sizeof__ is not known here.
  [[nodiscard]] std::optional<std::uint64_t> SizeOf(Address object, const TypeFacts& type) const;
  /// Whether the object holds the same beside its references as in `other`, an earlier image of the same process (or of one that it was forked from): its own
  /// fields that are no addresses, its text, number or buffer, of each piece the first 64 KiB. Of a container and of what the interpreter runs (code, frames,
  /// types) nothing: true. Not compared: the count, links of the collector, hashes that were not asked for yet, where a buffer lies. nullopt where the memory is not in both.
  [[nodiscard]] std::optional<bool> HasSameContent(Address object, const TypeFacts& type, const target::MemoryImage& other) const;
  /// 2.7: does this object have a finalizer that keeps its cycle from being freed. CPython: has_finalizer(), Modules/gcmodule.c [2.7].
  [[nodiscard]] bool HasLegacyFinalizer(Address object, const TypeFacts& type) const;

  /// The name that a report shows for the object's type: the class name for classic instances (2.7), else type.name.
  [[nodiscard]] std::string DisplayTypeName(Address object, const TypeFacts& type) const;
  /// Decodes a str (2.7: str or unicode) to UTF-8, at most `max_code_points`; nullopt when it is none or cannot be read.
  [[nodiscard]] std::optional<std::string> Text(Address str_object, std::size_t max_code_points) const;
  /// The label of a reference as reports show it: ".attr", "['key']", "[3]", ".__self__", ".__closure__", "local x". Escaped by the writers, not here.
  [[nodiscard]] std::string LabelText(const LabelledReferent& referent) const;
  /// The object as a program would write it, where a short line of source gives an equal one (literals.h): "'key'", "b'x'", "(1, 'a')". For keys.
  [[nodiscard]] std::optional<std::string> LiteralOf(Address object) const;
  /// True where a class statement gave instances of `type` a `name` of their own: one of the classes in its MRO before the first that was made in C has it.
  [[nodiscard]] bool ClassDefines(const TypeFacts& type, std::string_view name) const;
  /// tuple and what derives from it, struct sequences among them.
  [[nodiscard]] bool IsTuple(const TypeFacts& type) const noexcept;
  /// Items of the list object at `list` (gc.garbage), at most `max`. Errors: kFault, kCorrupt.
  [[nodiscard]] Result<std::vector<Address>> ListItems(Address list, std::size_t max) const;

  [[nodiscard]] const cpython::Runtime& runtime() const noexcept;
  [[nodiscard]] const target::Process& process() const noexcept;

  struct Impl;  // core/objects only

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace pygc::objects
