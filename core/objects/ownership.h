// What objects own beyond what their tp_traverse visits, and where their memory lies: the other half of a reference count. A traverse function leaves out
// what can be in no cycle (names, keys of dicts, code objects' constants), and some visit what they hold no count to.
// For the audit of counts, and for who holds what; the collector's verdict needs none of this.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/objects/known_owners.h"
#include "core/objects/numpy_array.h"
#include "core/objects/object_reader.h"
#include "core/objects/offsets.h"

namespace pygc::objects {

/// A reference that counts and that no tp_traverse shows.
struct OwnedSlot {
  Address slot = 0;            // where the pointer lies; 0 where it has no one place
  Address referent = 0;
  const char* name = nullptr;  // static text, as CPython spells the field
};

/// Const and thread-safe. Every loop is bounded by readable memory, as in ObjectReader.
class Ownership {
 public:
  /// `reader` outlives it. `machine`: what the reader uses, or nullptr.
  Ownership(const ObjectReader& reader, const TraverseInterpreter* machine);

  /// Appends the references that the object owns and its tp_traverse does not visit, ob_type of an instance of a heap type among them. Not those of a key
  /// table that several dicts share: see SharedKeys().
  void NotVisited(Address object, const TypeFacts& type, std::vector<OwnedSlot>& out) const;
  /// The same with the places as reports write them, and behind them, where `with_shared_keys`, those of the key table that the object has together with others.
  void LabelledNotVisited(Address object, const TypeFacts& type, bool with_shared_keys, std::vector<LabelledReferent>& out, const ReferentFilter& filter = {}) const;
  /// True where a text owns another object: the encoded form of a unicode. CPython: PyUnicodeObject.defenc [2.7].
  [[nodiscard]] bool TextOwns() const noexcept { return o_.old_unicode_defenc != kNoField; }
  /// Appends referents that tp_traverse visits although the object holds no count for them. CPython: lru_cache_tp_traverse() visits the type of each link
  /// [3.10+]; odict_traverse() visited od_weakreflist [<= 3.8].
  void NotOwned(Address object, const TypeFacts& type, ReferentBuffer& out) const;
  /// The key table that the object shares with others: of a class for its instances' attributes, or of a dict that has one. 0: none.
  [[nodiscard]] Address SharedKeys(Address object, const TypeFacts& type) const;
  /// Appends the keys that the table owns. One reference each, however many dicts share it.
  void KeysOf(Address table, std::vector<OwnedSlot>& out) const;

  /// Appends where in the object's own memory its visited references lie, as far as that is known.
  void VisitedSlots(Address object, const TypeFacts& type, std::vector<Address>& out) const;

  /// Appends the keys that a dict owns and its tp_traverse does not visit, and the blocks that belong to it, as NotVisited() and Buffers() would.
  /// `shared`: the key table that it has together with others, or 0; its keys are not among them.
  void DictMemory(Address object, const TypeFacts& type, ReferentBuffer& keys, std::vector<AddressRange>& buffers, Address& shared) const;

  /// What holds for every instance of a type, so that a loop over many objects asks of each only what may differ.
  struct OfAll {
    bool closed = false;     // IsClosed()
    bool owns_type = false;  // NotVisited() names ob_type
    bool owns_more = true;   // it may name something else, beside keys of dicts; or whether it names ob_type depends on the object
    bool borrows = true;     // NotOwned() may name something
    bool buffers = true;     // Buffers() or SharedKeys() may
  };
  [[nodiscard]] OfAll OfInstances(const TypeFacts& type) const;
  /// True where NotVisited() or SharedKeys() may name something for an instance of the type.
  [[nodiscard]] bool MayOwnMore(const TypeFacts& type) const {
    const OfAll all = OfInstances(type);
    return all.owns_type || all.owns_more || type.body == BodyKind::kDict;
  }

  /// True when the type's tp_traverse shows the object's own type; also where that cannot be told.
  [[nodiscard]] bool VisitsOwnType(Address object, const TypeFacts& type) const;
  /// The value of an int, where it fits: it may be the address of something that C code made.
  [[nodiscard]] std::optional<std::int64_t> SmallInt(Address object) const { return values_.Int(object); }

  /// False where the int is surely less than `lowest`: SmallInt() need not be asked.
  [[nodiscard]] bool MayReach(Address object, const TypeFacts& type, Address lowest) const {
    if (o_.int_ival != kNoField || o_.digit_bits >= 64 || std::uint64_t{1} << o_.digit_bits > lowest) return true;
    const std::byte* const p = type.fixed_bytes >= o_.object_size + 8 ? memory_->At(object, type.fixed_bytes) : nullptr;
    return p == nullptr || values_.IntDigits(p) > 1;
  }

  /// True when NotVisited() and tp_traverse together know every reference in the object's memory, so that its other words mean nothing.
  [[nodiscard]] bool IsClosed(Address object, const TypeFacts& type) const;
  /// True when one of each instance's count is nobody's, in a static variable or elsewhere: KnownOwner::has_start_count.
  [[nodiscard]] bool HasStartCount(const TypeFacts& type) const;
  /// True while a thread runs the object's frame: what its stack slots hold is not what they say.
  [[nodiscard]] bool IsExecuting(Address object, const TypeFacts& type) const;
  /// The object's own memory with its heads, as far as its type says; not clipped to readable memory.
  [[nodiscard]] AddressRange Body(Address object, const TypeFacts& type) const;
  /// Appends blocks outside of the body that belong to it alone (or that it shares) and whose every reference is known: items, tables, nodes. The start of
  /// each is exact; the end may be too low, never too high.
  void Buffers(Address object, const TypeFacts& type, std::vector<AddressRange>& out) const;
  void KeysBuffer(Address table, std::vector<AddressRange>& out) const;
  /// Appends where the texts begin that a class made at run time has for itself, each in a block of its own: its docstring, and the name in its specification.
  /// CPython: type_new_set_doc() [3.11+; before: type_new()] and PyType_FromMetaclass() [3.12+; before: PyType_FromSpec...()] in Objects/typeobject.c;
  /// PyHeapTypeObject._ht_tpname [3.11+].
  void TextsOfClass(Address object, const TypeFacts& type, std::vector<Address>& out) const;
  /// A word of a code object that nobody has ever written, or 0. CPython: PyCodeObject._co_unique_id in builds with the GIL, init_code() in
  /// Objects/codeobject.c [3.14]: the last but two of the words before the instructions.
  [[nodiscard]] Address UnwrittenWord(Address object, const TypeFacts& type) const;
  /// Appends where the object's own memory leads to objects and holds none: the list of its weak references, and what a function of Cython's has for its `self`, which is
  /// the function. Cython: __Pyx_CyFunction_Init(), Cython/Utility/CythonFunction.c [0.29-3.1].
  void BorrowedSlots(Address object, const TypeFacts& type, std::vector<Address>& out) const;
  /// A module's state, as long as its definition asked for it (0 bytes too); begin 0 where it has none or that cannot be told.
  /// CPython: PyModule_ExecDef() [3.5+] and PyModule_Create2() in Objects/moduleobject.c: PyMem_Malloc(m_size).
  [[nodiscard]] AddressRange StateOfModule(Address object, const TypeFacts& type) const;

 private:
  /// Whose tp_traverse shows the object's own type, where subtype_traverse() does not; nullptr where none does.
  [[nodiscard]] static const TypeFacts* TraverseBehind(const TypeFacts& type) noexcept;
  void KeysBuffer(Address table, const DictTable& entries, std::vector<AddressRange>& out) const;
  struct FieldList {
    struct Entry {
      std::uint32_t offset;
      const char* name;
    };
    std::vector<Entry> entries;
    std::uint32_t bytes = 0;  // that hold them all
  };
  [[nodiscard]] FieldList Fields(std::initializer_list<cpython::Field> fields) const;
  void Append(Address base, const FieldList& fields, std::vector<OwnedSlot>& out) const;
  void One(Address slot, const char* name, std::vector<OwnedSlot>& out) const;
  void OwnedFields(Address object, const TypeFacts& type, std::vector<OwnedSlot>& out) const;
  void TypeObject(Address object, std::vector<OwnedSlot>& out) const;
  void DictKeys(Address object, std::vector<OwnedSlot>& out) const;
  void LruLinks(Address object, std::vector<OwnedSlot>& out) const;
  struct ObjectsInArray {
    NumpyArray array;
    std::vector<NumpyReference> in_item;
  };
  /// Where the type is numpy.ndarray or derived from it, and the items are the array's own and hold objects.
  [[nodiscard]] std::optional<ObjectsInArray> ArrayOfObjects(Address object, const TypeFacts& type) const;
  /// Items of a struct sequence that its tp_traverse does not show.
  void HiddenItems(Address object, const TypeFacts& type, std::vector<OwnedSlot>& out) const;
  template <typename F>
  void ForEachLink(Address cache, F&& f) const;
  [[nodiscard]] bool IsManagedStatic(std::uint64_t flags) const noexcept { return (flags & static_builtin_) != 0; }
  [[nodiscard]] BodyKind KindOf(const TypeFacts& type) const noexcept { return type.body; }

  const ObjectReader* reader_;
  const TraverseInterpreter* machine_;
  const target::MemoryImage* memory_;
  Offsets o_;
  Values values_;
  FieldList code_, cached_, descriptor_, module_, range_, long_range_, abc_data_, heap_type_, static_type_, managed_type_, byte_array_;
  std::uint32_t co_cached_, zombie_frame_, od_fast_nodes_, f_state_;
  std::uint64_t static_builtin_;
  std::int64_t frame_executing_;
  bool instances_own_type_, cached_frame_owns_code_, old_frame_state_;
};

}  // namespace pygc::objects
