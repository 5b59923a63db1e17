// PyTypeObject facts, read once for each type, and the choice of how its instances' referents are read.
// TypeTable maps the address of a type to its facts: reading is lock-free and a few nanoseconds, so that any number of threads can decode objects;
// a type that is met for the first time is read under a lock.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/base/limits.h"
#include "core/base/result.h"
#include "core/cpython/runtime.h"
#include "core/objects/known_owners.h"
#include "core/objects/offsets.h"
#include "core/objects/values.h"
#include "core/target/process.h"

namespace pygc::objects {

/// How exactly an object's referents are known (contract.md, traverse.md section 5).
enum class ReferentQuality : std::uint8_t { kExact, kExactTls, kExactWrote, kPartial, kApproximate, kUnknown };
[[nodiscard]] constexpr bool IsExact(ReferentQuality q) noexcept { return q <= ReferentQuality::kExactWrote; }
[[nodiscard]] const char* QualityName(ReferentQuality q) noexcept;  // "exact", "exact-tls", ...
/// The less exact of the two.
[[nodiscard]] constexpr ReferentQuality Worse(ReferentQuality a, ReferentQuality b) noexcept { return a > b ? a : b; }

/// Which reader serves a type. kNone: no traverse, no referents. kScan: the fallback. kMachine: interpretation of its tp_traverse.
enum class ReaderKind : std::uint8_t {
  kNone,
  kFields,          // TypeFacts::fields in order, then TypeFacts::tail
  kInstance,        // subtype_traverse: slots, dict, type, then base_reader
  kList,
  kTuple,
  kStructSequence,
  kDict,
  kSet,
  kType,            // fields, of heap types only
  kModule,
  kFrame,           // PyFrameObject up to 3.10
  kFrameProxy,      // PyFrameObject from 3.11 on
  kGenerator,       // generators, coroutines and async generators from 3.11 on (before: kFields)
  kDeque,
  kOrderedDict,
  kTeeData,
  kLruCache,
  kMachine,
  kScan,
};

enum class FinalizerKind : std::uint8_t { kNone, kDel, kTpFinalize, kTpDel };

/// How sys.getsizeof computes the size of instances: which type's __sizeof__ serves them.
enum class SizeRule : std::uint8_t {
  kUnknown,     // a __sizeof__ that is not known here, or Python code
  kObject,      // object.__sizeof__: tp_basicsize + ob_size * tp_itemsize (+ inline values)
  kList,
  kDict,
  kSet,
  kType,
  kFrame,
  kGenerator,
  kDeque,
  kOrderedDict,
  kInt,
  kStr,         // 3.x str, 2.7 unicode
  kBytes,       // 2.7 str
  kByteArray,
  kCode,
  kDecimal,
  kArray,
  kBytesIO,
  kBuffered,    // BufferedReader, BufferedWriter, BufferedRandom
  kStruct,      // struct.Struct
  kNumpyArray,
  kNumpyScalar,
};

/// What an instance owns beside what its tp_traverse visits, and whether that accounts for every word of its memory. For the audit of counts.
enum class BodyKind : std::uint8_t {
  kOpen,       // not known: any word of it may be a reference
  kClosed,     // nothing beyond what is visited
  kText,
  kByteArray,
  kCode,
  kDescriptor,
  kModule,
  kRange,
  kLongRangeIterator,
  kAbcData,
  kTypeObject,
  kList,
  kDict,       // and OrderedDict, defaultdict
  kSet,
  kDeque,
  kLruCache,
  kFrame,      // up to 3.10
  kGenerator,  // from 3.11 on
  kStructSequence,  // up to 3.7: items that no traversal shows. Later ones visit them all, and are closed
};

/// A field that a tp_traverse visits.
struct VisitedField {
  std::uint32_t offset = 0;
  const char* name = nullptr;  // as Python code sees it where it does ("__closure__"), else the C name; static text
  bool always = false;         // never NULL in a live, complete object
  bool items_go = false;       // the tuple there may lack items. CPython: zip_longest_next(), Modules/itertoolsmodule.c
  bool in_python = true;       // `name` is an attribute that gives the object
};

/// What a type says of its instances. Filled once; immutable afterwards.
struct TypeFacts {
  Address address = 0;
  std::uint32_t id = 0;             // index in the table
  std::string name;                 // as in <class 'NAME'>, raw UTF-8
  Address metatype = 0;
  std::uint64_t flags = 0;          // tp_flags
  std::int64_t basicsize = 0, itemsize = 0;
  std::int64_t dictoffset = 0, weaklistoffset = 0;
  Address tp_traverse = 0, tp_is_gc = 0, tp_base = 0, tp_finalize = 0, tp_del = 0;
  bool is_heap_type = false, have_gc = false, valid = false;
  bool from_file = false;           // the type object is missing: name and size are those that its module's file starts with, the rest is not known
  FinalizerKind finalizer = FinalizerKind::kNone;
  bool legacy_finalizer = false;
  bool object_decides_legacy_finalizer = false;  // 2.7 classic instances, generators
  ReaderKind reader{};              // of instances
  ReaderKind base_reader{};         // instances of heap types: what the base's traverse does after slots and dict
  ReferentQuality quality = ReferentQuality::kExact;
  std::string reason;               // why not exact
  std::vector<std::uint32_t> slot_offsets;  // __slots__ of the type and its bases, in subtype_traverse order
  std::vector<Address> slot_names;          // char* of each, for labels
  bool slots_after_items = false;           // slot_offsets count from the end of the items. CPython: _Py_AFTER_ITEMS, subclasses of tuple, 3.15+
  bool visits_dict = false, visits_type = false;  // subtype_traverse steps 2-4
  Address cached_keys = 0;          // ht_cached_keys

  std::string qualname;             // the name without the module; `module` + '.' + `qualname` == `name` except for builtins
  std::string module;
  const TypeFacts* traverse_base = nullptr;  // kInstance: the base whose own tp_traverse runs last; nullptr where none
  std::vector<VisitedField> fields;          // kFields, kType, kModule, kFrame, kFrameProxy, kGenerator
  ReaderKind tail = ReaderKind::kNone;       // kFields: what the function does after its own fields
  // What tp_traverse does, also where the type has no Py_TPFLAGS_HAVE_GC (then `reader` is kNone): subtype_traverse of a derived class calls it anyway.
  ReaderKind traverse_reader = ReaderKind::kNone;
  ReferentQuality traverse_quality = ReferentQuality::kExact;
  std::string traverse_reason;
  std::uint32_t fixed_bytes = 0;             // bytes from the object's address that hold every field and slot; at least PyObject
  std::uint32_t struct_sequence_fields = 0;  // of a struct sequence: n_fields, the hidden ones behind ob_size among them
  bool managed_dict = false, inline_values = false, has_preheader = false;
  bool is_type_object = false;               // instances are types (metatypes)
  bool is_classic_instance = false, is_generator = false;  // 2.7: how object_decides_legacy_finalizer is decided
  SizeRule size_rule = SizeRule::kUnknown;
  const KnownOwner* known_owner = nullptr;  // of the type, or of the nearest base that C code made; nullptr where instances are known without
  Address base_of_owner = 0;                // tp_base of the type that `known_owner` tells of
  std::uint32_t owner_bytes = 0;            // tp_basicsize of that type: a field that would end behind it is none of this release
  BodyKind body = BodyKind::kOpen;
  bool body_grows = false;  // C code added fields to the body that `body` tells of (ctypes' StgDict is a dict and more)
  mutable std::atomic<int> visits_own_type{0};  // kMachine: 1 yes, 2 no, 0 not looked at; see Ownership
};

/// Bytes of `items` items of an instance, up to the next pointer.
inline std::uint64_t ItemBytes(std::int64_t items, const TypeFacts& type) {
  return (static_cast<std::uint64_t>(items) * static_cast<std::uint64_t>(type.itemsize) + Offsets::kPointerBytes - 1) / Offsets::kPointerBytes * Offsets::kPointerBytes;
}

/// All types of one target. Thread-safe.
class TypeTable {
 public:
  /// `unknown_reader`: who reads the types that are not known here, kMachine or kScan.
  TypeTable(const target::Process& process, const cpython::Runtime& runtime, const Offsets& offsets, const Values& values, const Limits& limits,
            ReaderKind unknown_reader);
  ~TypeTable();
  TypeTable(const TypeTable&) = delete;
  TypeTable& operator=(const TypeTable&) = delete;

  /// Facts of the type at `type`; nullptr when it is not a type object.
  [[nodiscard]] const TypeFacts* Find(Address type) const {
    const Table* t = table_.load(std::memory_order_acquire);
    for (std::size_t i = Hash(type) & t->mask;; i = (i + 1) & t->mask) {
      const Address key = t->entries[i].key.load(std::memory_order_acquire);
      if (key == type) return t->entries[i].value.load(std::memory_order_relaxed);
      if (key == 0) return type == 0 ? nullptr : FindSlow(type);
    }
  }
  [[nodiscard]] std::vector<const TypeFacts*> All() const;
  /// PyType_Type.
  [[nodiscard]] Address type_type() const noexcept { return type_type_; }
  /// subtype_traverse, the tp_traverse of classes made by a class statement; 0 where no such class was found.
  [[nodiscard]] Address subtype_traverse() const;
 private:
  struct Entry {
    std::atomic<Address> key{0};
    std::atomic<const TypeFacts*> value{nullptr};
  };
  struct Table {
    explicit Table(std::size_t size) : mask(size - 1), entries(new Entry[size]) {}
    std::size_t mask;
    std::unique_ptr<Entry[]> entries;
  };
  struct Raw;  // the words of a PyTypeObject

  static std::size_t Hash(Address a) noexcept { return static_cast<std::size_t>((a >> 4) * 0x9E3779B97F4A7C15ull >> 20); }
  const TypeFacts* FindSlow(Address type) const;
  const TypeFacts* FindLocked(Address type) const;
  void InsertLocked(Address type, const TypeFacts* facts) const;

  [[nodiscard]] bool ReadRaw(Address type, Raw& out) const noexcept;
  [[nodiscard]] bool IsTypeObject(Address object) const noexcept;
  [[nodiscard]] bool HasClassStatementName(const Raw& raw) const noexcept;
  [[nodiscard]] std::unique_ptr<TypeFacts> Read(Address type) const;
  /// A static type whose object is not in the image, but that its module's file has there.
  [[nodiscard]] std::unique_ptr<TypeFacts> ReadFromFile(Address type) const;
  void ReadName(const Raw& raw, TypeFacts& facts) const;
  void NameStatic(const std::string& tp_name, TypeFacts& facts) const;
  static void NameWhole(TypeFacts& facts);
  void ReadFinalizer(const Raw& raw, TypeFacts& facts) const;
  void ReadSizeRule(const Raw& raw, TypeFacts& facts) const;
  [[nodiscard]] BodyKind ChooseBody(const Raw& raw, TypeFacts& facts) const;
  void ReadKnownOwner(const Raw& raw, TypeFacts& f) const;
  [[nodiscard]] BodyKind BodyOfLeafBase(const Raw& raw) const;
  [[nodiscard]] bool BodyGrows(const Raw& raw) const;
  [[nodiscard]] BodyKind BodyOfStatic(const Raw& raw, const TypeFacts& facts) const;
  void ChooseReader(const Raw& raw, TypeFacts& facts) const;
  void ReadInstance(const Raw& raw, TypeFacts& facts) const;
  void ReadSlots(const Raw& raw, TypeFacts& facts) const;
  bool ApplyKnownType(const Raw& raw, TypeFacts& facts) const;
  [[nodiscard]] bool HasClear(const Raw& raw) const;
  bool ApplyStructSequence(const Raw& raw, TypeFacts& facts) const;
  /// n_fields of a struct sequence; nullopt where the type is none.
  [[nodiscard]] std::optional<std::uint32_t> StructSequenceFields(const Raw& raw) const;
  [[nodiscard]] std::string RawName(const Raw& raw) const;
  [[nodiscard]] Address DictOf(const Raw& raw) const;
  [[nodiscard]] bool IsTrustedCode(Address function, const char* extension) const;
  void FindSubtypeTraverse();
  void ReadNamesFromModules();

  const target::Process* process_;
  const cpython::Runtime* runtime_;
  const Offsets* o_;
  Values values_;
  Limits limits_;
  ReaderKind unknown_reader_;
  Address type_type_ = 0;
  const target::Module* interpreter_module_ = nullptr;
  std::unordered_map<Address, std::string> names_from_modules_;  // static types by what module dicts call them, where .rodata is missing
  std::unordered_map<std::string, std::vector<std::size_t>> known_by_name_;
  std::uint32_t static_type_size_ = 0, static_type_type_ = 0, static_type_dict_ = 0;
  std::vector<Address> static_type_arrays_;  // of static_type_state, 3.12+

  mutable std::mutex mutex_;
  mutable std::atomic<Table*> table_;
  mutable std::vector<std::unique_ptr<Table>> tables_;  // the last one is in use; the earlier ones may still be read
  mutable std::size_t used_ = 0, negative_ = 0;
  mutable std::vector<std::unique_ptr<TypeFacts>> facts_;
  mutable std::unordered_map<Address, Address> own_sizeof_;  // type -> the __sizeof__ in its dict, 0 where there is none
  mutable Address subtype_traverse_ = 0;
};

}  // namespace pygc::objects
