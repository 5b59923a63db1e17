#include "core/audit/interpreter_roots.h"

#include <algorithm>

namespace pygc::audit {

namespace {

using cpython::Constant;
using cpython::Field;
using cpython::Struct;

constexpr std::uint64_t kMaxCacheEntries = 1u << 16;
constexpr std::uint64_t kMaxStaticTypes = 1u << 14;

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
      for (const cpython::PyThread& t : i.threads) Members(Struct::PyThreadState, t.tstate);
    }
    Statics();
    std::sort(roots_.references.begin(), roots_.references.end(), [](const RootReference& a, const RootReference& b) { return a.slot < b.slot; });
    roots_.references.erase(std::unique(roots_.references.begin(), roots_.references.end(),
                                        [](const RootReference& a, const RootReference& b) { return a.slot == b.slot; }),
                            roots_.references.end());
    return std::move(roots_);
  }

 private:
  void Add(Address slot, std::string_view where, std::string_view member) {
    const Address a = process_.memory.ReadPointer(slot).value_or(0);
    if (a != 0) roots_.references.push_back({slot, a, where, member});
  }
  void Members(Struct structure, Address base) {
    if (!layout_.owned) return;
    for (const cpython::OwnedMember& m : *layout_.owned) {
      if (m.owner != structure) continue;
      for (std::uint64_t i = 0; i < m.count; ++i) Add(base + m.offset + i * m.stride, cpython::StructName(structure), m.path);
    }
  }
  // CPython: managed_static_type_state of each static type, Include/internal/pycore_typeobject.h [3.12+].
  void StaticTypes(Address interpreter, Field array) {
    const std::uint64_t stride = layout_.Size(Struct::static_type_state);
    if (!layout_.Has(array) || stride == 0) return;
    const cpython::FieldPlace place = layout_.Place(array);
    for (std::uint64_t i = 0; i < std::min<std::uint64_t>(place.bytes / stride, kMaxStaticTypes); ++i) {
      const Address state = interpreter + place.offset + i * stride;
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
  void Interned(Address slot) {
    if (const Address dict = process_.memory.ReadPointer(slot).value_or(0)) roots_.uncounted_tables.push_back(dict);
  }
  // File statics of releases that keep this outside of the interpreter's structures.
  void Statics() {
    if (!layout_.Has(Field::PyInterpreterState_interned_strings)) {
      if (const std::optional<Address> slot = cpython::FindInterpreterSymbol(process_, runtime_, "interned")) Interned(*slot);
    }
    if (!layout_.Has(Field::PyInterpreterState_type_cache)) {
      // CPython: method_cache[1 << MCACHE_SIZE_EXP], Objects/typeobject.c: 4096 entries [3.6-3.10], 1024 [2.7].
      const std::optional<Address> cache = cpython::FindInterpreterSymbol(process_, runtime_, "method_cache");
      const std::uint64_t entries = layout_.Value(Constant::RULE_LEGACY_DEL) != 0 ? 1024 : 4096;
      if (cache) TypeCache({*cache, *cache + entries * layout_.Size(Struct::type_cache_entry)});
    }
  }

  const target::Process& process_;
  const cpython::Runtime& runtime_;
  const cpython::Layout& layout_;
  InterpreterRoots roots_;
};

}  // namespace

InterpreterRoots ReadInterpreterRoots(const target::Process& process, const cpython::Runtime& runtime) { return RootReader(process, runtime).Read(); }

}  // namespace pygc::audit
