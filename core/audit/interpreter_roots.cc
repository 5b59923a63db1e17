#include "core/audit/interpreter_roots.h"

#include <algorithm>

#include "core/audit/free_lists.h"
#include "core/audit/static_variables.h"
#include "core/audit/unnamed_statics.h"

namespace pygc::audit {

namespace {

using cpython::Constant;
using cpython::Field;
using cpython::Struct;

constexpr std::uint64_t kMaxCacheEntries = 1u << 16;
constexpr std::uint64_t kMaxStaticTypes = 1u << 14;
constexpr std::uint64_t kNumberBlock = 1000;  // BLOCK_SIZE
constexpr std::uint64_t kTupleLists = 20 * 8;  // PyTuple_MAXSAVESIZE

// Variables of extension modules of the standard library that own what they point to: at `offset` and every `stride` bytes behind it.
struct ModuleStatic {
  const char* module;
  const char* symbol;
  std::uint32_t offset, stride;
};
constexpr ModuleStatic kModuleStatics[] = {
    // DecCondMap {name, fqname, flag, ex}; the first condition is a signal, whose reference it borrows. All up to 3.12. CPython: Modules/_decimal/_decimal.c.
    {"_decimal", "signal_map", 24, 32},
    {"_decimal", "cond_map", 56, 32},
    {"_decimal", "round_map", 0, 8},
    {"_decimal", "Rational", 0, 8},
};

class RootReader {
 public:
  RootReader(const target::Process& process, const cpython::Runtime& runtime) : process_(process), runtime_(runtime), layout_(runtime.layout) {}

  InterpreterRoots Read() {
    if (runtime_.runtime_address != 0) Members(Struct::PyRuntimeState, runtime_.runtime_address);
    for (const cpython::Interpreter& i : runtime_.interpreters) {
      Members(Struct::PyInterpreterState, i.address);
      StaticTypes(i.address, Field::PyInterpreterState_static_types);
      StaticTypes(i.address, Field::PyInterpreterState_static_extension_types);
      if (layout_.Has(Field::PyInterpreterState_type_cache)) {
        const cpython::FieldPlace place = layout_.Place(Field::PyInterpreterState_type_cache);
        TypeCache({i.address + place.offset, i.address + place.offset + place.bytes});
      }
      if (layout_.Has(Field::PyInterpreterState_interned_strings)) Interned(i.address + layout_.Offset(Field::PyInterpreterState_interned_strings));
      Identifiers(i.address);
      Borrowed(Field::PyInterpreterState_func_state, i.address);
      for (const cpython::PyThread& t : i.threads) Members(Struct::PyThreadState, t.tstate);
    }
    Statics();
    FreeLists lists = ReadFreeLists(process_, runtime_);
    roots_.closed.insert(roots_.closed.end(), lists.places.begin(), lists.places.end());
    roots_.waiting = std::move(lists.waiting);
    for (const Address slot : lists.types) Add(slot, "free list", "ob_type");
    std::sort(roots_.references.begin(), roots_.references.end(), [](const RootReference& a, const RootReference& b) { return a.slot < b.slot; });
    roots_.references.erase(std::unique(roots_.references.begin(), roots_.references.end(),
                                        [](const RootReference& a, const RootReference& b) { return a.slot == b.slot; }),
                            roots_.references.end());
    return std::move(roots_);
  }

 private:
  void Add(Address slot, std::string_view where, std::string_view member) {
    const Address a = process_.memory.ReadPointer(slot).value_or(0);
    if (a >= kLeastAddress) roots_.references.push_back({slot, a, where, member});
  }
  void Members(Struct structure, Address base) {
    if (!layout_.owned) return;
    for (const cpython::OwnedMember& m : *layout_.owned) {
      if (m.owner != structure) continue;
      for (std::uint64_t i = 0; i < m.count; ++i) Add(base + m.offset + i * m.stride, cpython::StructName(structure), m.path);
    }
  }
  // What it has beside a dict and a dict of subclasses is borrowed: the type, which is never freed, and its list of weak references.
  // CPython: managed_static_type_state of each static type, Include/internal/pycore_typeobject.h [3.12+].
  void StaticTypes(Address interpreter, Field array) {
    const std::uint64_t stride = layout_.Size(Struct::static_type_state);
    if (!layout_.Has(array) || stride == 0) return;
    const cpython::FieldPlace place = layout_.Place(array);
    for (std::uint64_t i = 0; i < std::min<std::uint64_t>(place.bytes / stride, kMaxStaticTypes); ++i) {
      const Address state = interpreter + place.offset + i * stride;
      roots_.closed.push_back({state, state + stride});
      for (const Field f : {Field::static_type_state_tp_dict, Field::static_type_state_tp_subclasses}) {
        if (layout_.Has(f)) Add(state + layout_.Offset(f), "static type", cpython::FieldName(f).substr(cpython::FieldName(f).find('.') + 1));
      }
    }
  }
  // CPython: struct type_cache_entry: the name is owned, the value borrowed. _PyType_Lookup(), Objects/typeobject.c.
  void TypeCache(AddressRange cache) {
    const std::uint64_t stride = layout_.Size(Struct::type_cache_entry);
    if (stride == 0 || !layout_.Has(Field::type_cache_entry_name) || cache.size() / stride > kMaxCacheEntries) return;
    if (process_.memory.At(cache.begin, cache.size()) == nullptr) return;
    for (Address entry = cache.begin; entry + stride <= cache.end; entry += stride) Add(entry + layout_.Offset(Field::type_cache_entry_name), "type cache", "name");
    roots_.closed.push_back(cache);
  }
  // The empty tuple's place among the lists of tuples. CPython: Objects/tupleobject.c [2.7-3.9].
  void EmptyTuple() {
    ForEachStaticVariable(process_, runtime_, "free_list", [this](AddressRange list) {
      if (list.size() == kTupleLists) Add(list.begin, "static", "free_list[0]");
    });
  }
  // Ints and floats lie in blocks of 1,000 bytes, each with the address of the next one in front, and refer to nothing; what is left of freed ones is stale.
  // CPython: PyIntBlock, PyFloatBlock, Objects/intobject.c, floatobject.c [2.7].
  void NumberBlocks() {
    const std::uint64_t number = layout_.Size(Struct::PyIntObject);
    if (!layout_.Has(Struct::PyIntObject) || number == 0) return;
    const std::uint64_t bytes = 8 + (kNumberBlock - 8) / number * number;
    std::uint64_t budget = 0;  // blocks that the memory has room for
    for (const target::Segment& s : process_.memory.segments()) budget += s.range.size() / bytes;
    ForEachStaticVariable(process_, runtime_, "block_list", [&](AddressRange head) {
      Address block = head.size() == 8 ? process_.memory.ReadPointer(head.begin).value_or(0) : 0;
      for (; block != 0 && budget > 0 && process_.memory.At(block, bytes) != nullptr; --budget) {
        roots_.closed.push_back({block, block + bytes});
        block = process_.memory.ReadPointer(block).value_or(0);
      }
    });
  }
  // Objects that are found again as long as they live. CPython: struct _py_func_state, _PyFunction_LookupByVersion(), Objects/funcobject.c.
  void Borrowed(Field part, Address base) {
    if (layout_.Has(part)) roots_.closed.push_back({base + layout_.Offset(part), base + layout_.Offset(part) + layout_.Width(part)});
  }
  void Interned(Address slot) {
    if (const Address dict = process_.memory.ReadPointer(slot).value_or(0)) roots_.uncounted_tables.push_back(dict);
  }
  // Strings of _Py_Identifier. CPython: struct _Py_unicode_ids, Include/internal/pycore_unicodeobject.h [3.10+].
  void Identifiers(Address interpreter) {
    if (!layout_.Has(Field::PyInterpreterState_unicode_ids_array) || !layout_.Has(Field::PyInterpreterState_unicode_ids_size)) return;
    const Address array = process_.memory.ReadPointer(interpreter + layout_.Offset(Field::PyInterpreterState_unicode_ids_array)).value_or(0);
    const std::uint64_t size = process_.memory.ReadPointer(interpreter + layout_.Offset(Field::PyInterpreterState_unicode_ids_size)).value_or(0);
    if (array == 0 || size > kMaxCacheEntries) return;
    for (std::uint64_t i = 0; i < size; ++i) Add(array + i * 8, "identifiers", "object");
  }
  // File statics of releases that keep this outside of the interpreter's structures. By their symbols; without them some are found by what they hold, and
  // the words of the others are possible references.
  void Statics() {
    if (runtime_.refcount == cpython::RefcountFormat::kPlain && Static("slotdefs").empty()) {  // later ones keep these in the runtime's state, immortal
      const UnnamedStatics found = FindUnnamedStatics(process_, runtime_);
      for (const UnnamedStatics::Slot& slot : found.owned) Add(slot.slot, "static", slot.name);
      if (!found.type_cache.empty()) TypeCache(found.type_cache);
      roots_.closed.insert(roots_.closed.end(), found.free_lists.begin(), found.free_lists.end());
      roots_.uncounted_tables.insert(roots_.uncounted_tables.end(), found.interned.begin(), found.interned.end());
    }
    if (!layout_.Has(Field::PyInterpreterState_interned_strings)) {
      if (const std::optional<Address> slot = cpython::FindInterpreterSymbol(process_, runtime_, "interned")) Interned(*slot);
    }
    if (!layout_.Has(Field::PyInterpreterState_type_cache)) {
      // CPython: method_cache[1 << MCACHE_SIZE_EXP], Objects/typeobject.c [2.7-3.9].
      const AddressRange cache = Static("method_cache");
      if (!cache.empty()) TypeCache(cache);
    }
    // Caches of small objects, each with a reference of its own. CPython: Objects/intobject.c, stringobject.c, bytesobject.c, unicodeobject.c [2.7-3.8].
    for (const char* name : {"characters", "nullstring", "unicode_latin1", "unicode_empty"}) Pointers(name);
    if (layout_.Has(Struct::PyIntObject)) Pointers("small_ints");  // 3.x: an array of the objects themselves
    Pointers("global_ast_state");  // the first of its words is a flag. CPython: Python/Python-ast.c [3.9]
    Pointers("extensions");        // what single-phase modules left for their next import. CPython: Python/import.c [2.7-3.11]
    for (const ModuleStatic& s : kModuleStatics) OfModule(s);
    EmptyTuple();
    NumberBlocks();
    SlotNames();
    ArgumentParsers();
    if (layout_.Has(Field::Py_Identifier_object)) {
      Address id = 0;
      if (const AddressRange head = Static("static_strings"); head.size() == 8) id = process_.memory.ReadPointer(head.begin).value_or(0);
      for (std::uint64_t i = 0; id != 0 && i < kMaxCacheEntries; ++i) {
        Add(id + layout_.Offset(Field::Py_Identifier_object), "_Py_Identifier", "object");
        id = process_.memory.ReadPointer(id + layout_.Offset(Field::Py_Identifier_next)).value_or(0);
      }
    }
  }
  // CPython: slotdefs[], Objects/typeobject.c [<= 3.11]: init_slotdefs() interns each name.
  void SlotNames() {
    const AddressRange slots = Static("slotdefs");
    const std::uint64_t stride = layout_.Size(Struct::wrapperbase);
    if (stride == 0 || !layout_.Has(Field::wrapperbase_name_strobj)) return;
    for (Address slot = slots.begin; slot + stride <= slots.end; slot += stride) Add(slot + layout_.Offset(Field::wrapperbase_name_strobj), "slotdefs", "name_strobj");
  }
  // CPython: struct _PyArg_Parser, Include/modsupport.h [3.6-3.11]: behind four pointers and three ints the tuple of keywords, and the next parser.
  void ArgumentParsers() {
    constexpr std::uint32_t kKwTuple = 48, kNext = 56;
    const AddressRange head = Static("static_arg_parsers");
    Address parser = head.size() == 8 ? process_.memory.ReadPointer(head.begin).value_or(0) : 0;
    for (std::uint64_t i = 0; parser != 0 && i < kMaxCacheEntries; ++i) {
      Add(parser + kKwTuple, "_PyArg_Parser", "kwtuple");
      parser = process_.memory.ReadPointer(parser + kNext).value_or(0);
    }
  }
  void OfModule(const ModuleStatic& s) {
    const std::string prefix = std::string(s.module) + ".";
    for (const target::Module& m : process_.modules) {
      if (!m.file || m.path.compare(m.path.rfind('/') + 1, prefix.size(), prefix) != 0) continue;
      const AddressRange range = Variable(m, s.symbol);
      if (range.size() > kMaxCacheEntries * 8) continue;
      for (Address slot = range.begin + s.offset; slot + 8 <= range.end; slot += s.stride) Add(slot, s.module, s.symbol);
    }
  }
  void Pointers(const char* symbol) {
    const AddressRange range = Static(symbol);
    if (range.size() > kMaxCacheEntries * 8) return;
    for (Address a = range.begin; a + 8 <= range.end; a += 8) Add(a, "static", symbol);
  }
  // The variable of that name in the interpreter's module; empty where there is none, or more than one.
  [[nodiscard]] AddressRange Static(std::string_view name) const {
    if (runtime_.module_index >= process_.modules.size() || !process_.modules[runtime_.module_index].file) return {};
    return Variable(process_.modules[runtime_.module_index], name);
  }
  [[nodiscard]] static AddressRange Variable(const target::Module& module, std::string_view name) {
    AddressRange found;
    for (const elf::Symbol& s : module.file->symbols()) {
      if (s.name != name || !s.is_object || s.size == 0) continue;
      const Address begin = s.address + static_cast<Address>(module.load_bias);
      if (!found.empty() && found.begin != begin) return {};
      found = {begin, begin + s.size};
    }
    return found;
  }

  const target::Process& process_;
  const cpython::Runtime& runtime_;
  const cpython::Layout& layout_;
  InterpreterRoots roots_;
};

}  // namespace

InterpreterRoots ReadInterpreterRoots(const target::Process& process, const cpython::Runtime& runtime) { return RootReader(process, runtime).Read(); }

}  // namespace pygc::audit
