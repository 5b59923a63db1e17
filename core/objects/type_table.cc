#include "core/objects/type_table.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/objects/known_types.h"

namespace pygc::objects {

using cpython::Field;
using cpython::Struct;

namespace {

constexpr std::int64_t kMaxBasicSize = std::int64_t{1} << 28;  // a struct of 256 MiB is no Python object
constexpr std::int64_t kMaxStaticBasicSize = std::int64_t{1} << 20;  // of a type that C code defines; an interpreter's state is no object
constexpr std::int64_t kMaxItemSize = std::int64_t{1} << 24;
constexpr std::size_t kMaxNegative = std::size_t{1} << 20;     // addresses remembered as "no type"
constexpr std::size_t kMaxModules = 100000;
constexpr std::uint64_t kMaxEntriesForSearch = 1u << 16;       // of one module dict
constexpr int kEnoughVotes = 16;

std::string_view AfterLast(std::string_view s, char c) {
  const std::size_t i = s.rfind(c);
  return i == std::string_view::npos ? s : s.substr(i + 1);
}

/// What the attributes of the `types` module (and others) are called as types. [2.7, 3.6+]
struct ModuleAttribute {
  const char* module;
  const char* attribute;
  const char* tp_name;
};
constexpr ModuleAttribute kModuleAttributes[] = {
    {"types", "FunctionType", "function"},
    {"types", "GeneratorType", "generator"},
    {"types", "CoroutineType", "coroutine"},
    {"types", "AsyncGeneratorType", "async_generator"},
    {"types", "MethodType", "method"},
    {"types", "BuiltinFunctionType", "builtin_function_or_method"},
    {"types", "WrapperDescriptorType", "wrapper_descriptor"},
    {"types", "MethodWrapperType", "method-wrapper"},
    {"types", "MethodDescriptorType", "method_descriptor"},
    {"types", "ClassMethodDescriptorType", "classmethod_descriptor"},
    {"types", "GetSetDescriptorType", "getset_descriptor"},
    {"types", "MemberDescriptorType", "member_descriptor"},
    {"types", "ModuleType", "module"},
    {"types", "TracebackType", "traceback"},
    {"types", "FrameType", "frame"},
    {"types", "CodeType", "code"},
    {"types", "CellType", "cell"},
    {"types", "MappingProxyType", "mappingproxy"},
    {"types", "SimpleNamespace", "types.SimpleNamespace"},
    {"types", "GenericAlias", "types.GenericAlias"},
    {"types", "InstanceType", "instance"},
    {"types", "ClassType", "classobj"},
    {"types", "NoneType", "NoneType"},
    {"_weakref", "ref", "weakref"},
    {"_weakref", "ProxyType", "weakproxy"},
    {"_weakref", "CallableProxyType", "weakcallableproxy"},
    {"_collections", "deque", "collections.deque"},
    {"_collections", "defaultdict", "collections.defaultdict"},
    {"_collections", "OrderedDict", "collections.OrderedDict"},
    {"_functools", "partial", "functools.partial"},
};

}  // namespace

const char* QualityName(ReferentQuality q) noexcept {
  switch (q) {
    case ReferentQuality::kExact: return "exact";
    case ReferentQuality::kExactTls: return "exact-tls";
    case ReferentQuality::kExactWrote: return "exact-wrote";
    case ReferentQuality::kPartial: return "partial";
    case ReferentQuality::kApproximate: return "approximate";
    case ReferentQuality::kUnknown: return "unknown";
  }
  return "unknown";
}

/// The words of a PyTypeObject that are used here.
struct TypeTable::Raw {
  Address address = 0, metatype = 0, tp_name = 0, tp_dealloc = 0, tp_traverse = 0, tp_base = 0, tp_dict = 0, tp_is_gc = 0, tp_mro = 0, tp_subclasses = 0,
          tp_del = 0, tp_finalize = 0;
  std::uint64_t flags = 0;
  std::int64_t size = 0, basicsize = 0, itemsize = 0, weaklistoffset = 0, dictoffset = 0;
};

TypeTable::TypeTable(const target::Process& process, const cpython::Runtime& runtime, const Offsets& offsets, const Values& values, const Limits& limits,
                     ReaderKind unknown_reader)
    : process_(&process), runtime_(&runtime), o_(&offsets), values_(values), limits_(limits), unknown_reader_(unknown_reader) {
  tables_.push_back(std::make_unique<Table>(1024));
  table_.store(tables_.back().get(), std::memory_order_release);

  type_type_ = runtime.type_type;
  if (type_type_ == 0) type_type_ = cpython::FindInterpreterSymbol(process, runtime, "PyType_Type").value_or(0);
  if (type_type_ == 0 && !runtime.interpreters.empty()) {  // the type of the type of any object, where that is a fixed point
    Address a = values_.TypeOf(runtime.interpreters.front().modules);
    for (int i = 0; i < 8 && a != 0 && values_.TypeOf(a) != a; ++i) a = values_.TypeOf(a);
    type_type_ = a;
  }
  interpreter_module_ = process.FindModule(type_type_);
  const std::span<const KnownType> known = KnownTypes();
  for (std::size_t i = 0; i < known.size(); ++i) known_by_name_[known[i].name].push_back(i);

  const cpython::Layout& layout = runtime.layout;
  if (layout.Has(Struct::static_type_state) && layout.Has(Field::static_type_state_tp_dict) && !runtime.interpreters.empty()) {
    static_type_size_ = layout.Size(Struct::static_type_state);
    static_type_type_ = layout.Offset(Field::static_type_state_type);
    static_type_dict_ = layout.Offset(Field::static_type_state_tp_dict);
    const Address interpreter = runtime.interpreters.front().address;
    for (const Field f : {Field::PyInterpreterState_static_types, Field::PyInterpreterState_static_extension_types}) {
      if (layout.Has(f)) static_type_arrays_.push_back(interpreter + layout.Offset(f));
    }
  }
  Raw type;
  if (ReadRaw(type_type_, type) && !process.memory.ReadCString(type.tp_name, 8)) ReadNamesFromModules();
  FindSubtypeTraverse();
}

TypeTable::~TypeTable() = default;

Address TypeTable::subtype_traverse() const {
  const std::lock_guard lock(mutex_);
  return subtype_traverse_;
}

std::vector<const TypeFacts*> TypeTable::All() const {
  const std::lock_guard lock(mutex_);
  std::vector<const TypeFacts*> out;
  out.reserve(facts_.size());
  for (const auto& f : facts_) out.push_back(f.get());
  return out;
}

const TypeFacts* TypeTable::FindSlow(Address type) const {
  const std::lock_guard lock(mutex_);
  return FindLocked(type);
}

const TypeFacts* TypeTable::FindLocked(Address type) const {
  const Table* t = table_.load(std::memory_order_relaxed);
  for (std::size_t i = Hash(type) & t->mask;; i = (i + 1) & t->mask) {
    const Address key = t->entries[i].key.load(std::memory_order_relaxed);
    if (key == type) return t->entries[i].value.load(std::memory_order_relaxed);
    if (key == 0) break;
  }
  std::unique_ptr<TypeFacts> facts = facts_.size() < limits_.max_types ? Read(type) : nullptr;
  if (!facts) {
    if (negative_ < kMaxNegative) {
      ++negative_;
      InsertLocked(type, nullptr);
    }
    return nullptr;
  }
  facts->id = static_cast<std::uint32_t>(facts_.size());
  const TypeFacts* result = facts.get();
  facts_.push_back(std::move(facts));
  InsertLocked(type, result);
  return result;
}

void TypeTable::InsertLocked(Address type, const TypeFacts* facts) const {
  Table* t = table_.load(std::memory_order_relaxed);
  const auto put = [](Table& table, Address key, const TypeFacts* value) {
    std::size_t i = Hash(key) & table.mask;
    while (table.entries[i].key.load(std::memory_order_relaxed) != 0) i = (i + 1) & table.mask;
    table.entries[i].value.store(value, std::memory_order_relaxed);
    table.entries[i].key.store(key, std::memory_order_release);  // a reader that sees the key sees the value
  };
  if ((used_ + 1) * 2 > t->mask + 1) {
    // Readers may still walk the old table, so it stays; all of them together are as large as the newest one.
    auto larger = std::make_unique<Table>((t->mask + 1) * 2);
    for (std::size_t i = 0; i <= t->mask; ++i) {
      const Address key = t->entries[i].key.load(std::memory_order_relaxed);
      if (key != 0) put(*larger, key, t->entries[i].value.load(std::memory_order_relaxed));
    }
    t = larger.get();
    tables_.push_back(std::move(larger));
    table_.store(t, std::memory_order_release);
  }
  put(*t, type, facts);
  ++used_;
}

bool TypeTable::ReadRaw(Address type, Raw& r) const noexcept {
  if (type == 0 || type % 8 != 0) return false;
  const std::byte* p = process_->memory.At(type, o_->type_size);
  if (!p) return false;
  const auto word = [p](std::uint32_t offset) { return LoadUnchecked<std::uint64_t>(p + offset); };
  r.address = type;
  r.metatype = word(o_->ob_type);
  r.size = static_cast<std::int64_t>(word(o_->ob_size));
  r.tp_name = word(o_->tp_name);
  r.basicsize = static_cast<std::int64_t>(word(o_->tp_basicsize));
  r.itemsize = static_cast<std::int64_t>(word(o_->tp_itemsize));
  r.tp_dealloc = word(o_->tp_dealloc);
  r.flags = word(o_->tp_flags);
  r.tp_traverse = word(o_->tp_traverse);
  r.weaklistoffset = static_cast<std::int64_t>(word(o_->tp_weaklistoffset));
  r.tp_base = word(o_->tp_base);
  r.tp_dict = word(o_->tp_dict);
  r.dictoffset = static_cast<std::int64_t>(word(o_->tp_dictoffset));
  r.tp_is_gc = word(o_->tp_is_gc);
  r.tp_mro = word(o_->tp_mro);
  r.tp_subclasses = word(o_->tp_subclasses);
  r.tp_del = word(o_->tp_del);
  r.tp_finalize = o_->tp_finalize == kNoField ? 0 : word(o_->tp_finalize);
  return true;
}

bool TypeTable::IsTypeObject(Address object) const noexcept {
  // Each object on the way up the metatype chain must be an instance of a subclass of `type`; the chain ends in `type` itself.
  for (std::size_t depth = 0; depth < limits_.max_type_depth; ++depth) {  // LIMIT: max_type_depth
    const Address metatype = values_.TypeOf(object);
    if (metatype == type_type_) return metatype != 0;
    if (metatype == object || metatype % 8 != 0 || !(values_.FlagsOf(metatype) & o_->flag_type_subclass)) return false;
    object = metatype;
  }
  return false;
}

std::unique_ptr<TypeFacts> TypeTable::Read(Address type) const {
  Raw raw;
  if (!ReadRaw(type, raw)) return ReadFromFile(type);
  if (!IsTypeObject(type)) return nullptr;
  // A class statement's instances have at least object's fields; a static type of 2.7 may never have been made ready.
  const std::int64_t least = raw.flags & o_->flag_heap_type ? static_cast<std::int64_t>(o_->object_size) : 0;
  if (raw.basicsize < least || raw.basicsize > kMaxBasicSize || raw.itemsize < 0 || raw.itemsize > kMaxItemSize) return nullptr;
  auto facts = std::make_unique<TypeFacts>();
  TypeFacts& f = *facts;
  f.address = type;
  f.metatype = raw.metatype;
  f.flags = raw.flags;
  f.basicsize = raw.basicsize;
  f.itemsize = raw.itemsize;
  f.dictoffset = raw.dictoffset;
  f.weaklistoffset = raw.weaklistoffset;
  f.tp_traverse = raw.tp_traverse;
  f.tp_is_gc = raw.tp_is_gc;
  f.tp_base = raw.tp_base;
  f.tp_finalize = raw.tp_finalize;
  f.tp_del = raw.tp_del;
  f.is_heap_type = (raw.flags & o_->flag_heap_type) != 0;
  f.have_gc = (raw.flags & o_->flag_have_gc) != 0;
  f.managed_dict = (raw.flags & o_->flag_managed_dict) != 0;
  f.inline_values = (raw.flags & o_->flag_inline_values) != 0;
  f.has_preheader = (raw.flags & o_->flag_preheader) != 0;
  f.is_type_object = (raw.flags & o_->flag_type_subclass) != 0;
  f.fixed_bytes = static_cast<std::uint32_t>(std::max<std::int64_t>(raw.basicsize, o_->object_size));
  if (f.is_heap_type && o_->ht_cached_keys != kNoField) f.cached_keys = values_.Pointer(type + o_->ht_cached_keys);
  f.valid = true;
  ReadName(raw, f);
  ReadFinalizer(raw, f);
  ChooseReader(raw, f);
  f.traverse_reader = f.reader;
  f.traverse_quality = f.quality;
  f.traverse_reason = f.reason;
  if (!f.have_gc) {  // no referents that the collector sees. CPython: gc_get_referents(), visit_decref()
    f.reader = ReaderKind::kNone;
    f.quality = ReferentQuality::kExact;
    f.reason.clear();
  }
  ReadSizeRule(raw, f);
  f.body = ChooseBody(raw, f);
  ReadKnownOwner(raw, f);
  return facts;
}

std::unique_ptr<TypeFacts> TypeTable::ReadFromFile(Address type) const {
  const target::Module* const module = type == 0 || type % 8 != 0 ? nullptr : process_->FindModule(type);
  if (module == nullptr || !module->file) return nullptr;
  if (process_->memory.At(type, o_->object_size) != nullptr && !IsTypeObject(type)) return nullptr;  // its head is there, the rest may be cut off
  const Address link_address = type - static_cast<Address>(module->load_bias);
  const auto bytes = module->file->BytesAt(link_address);
  if (bytes.size() < o_->type_size) return nullptr;
  const auto word = [&](std::uint32_t offset) { return LoadUnchecked<std::uint64_t>(bytes.data() + offset); };
  Raw raw;
  raw.address = type;
  raw.metatype = type_type_;
  raw.basicsize = static_cast<std::int64_t>(word(o_->tp_basicsize));
  raw.itemsize = static_cast<std::int64_t>(word(o_->tp_itemsize));
  if (raw.basicsize < o_->object_size || raw.basicsize > kMaxStaticBasicSize || raw.itemsize < 0 || raw.itemsize > kMaxStaticBasicSize) return nullptr;
  const auto symbol = module->file->SymbolAt(link_address);
  if (symbol && (symbol->address != link_address || symbol->is_function || (symbol->size != 0 && symbol->size < o_->type_size))) return nullptr;
  // tp_name: a relocation puts it there, in a program at a fixed address the linker has.
  const auto relocations = module->file->relocations();
  const auto at = std::lower_bound(relocations.begin(), relocations.end(), link_address + o_->tp_name,
                                   [](const elf::Relocation& r, std::uint64_t address) { return r.address < address; });
  const bool relocated = at != relocations.end() && at->address == link_address + o_->tp_name;
  const auto text = module->file->BytesAt(relocated ? static_cast<std::uint64_t>(at->addend) : word(o_->tp_name));
  const std::string_view chars(reinterpret_cast<const char*>(text.data()), std::min(text.size(), limits_.max_name_bytes));
  auto facts = std::make_unique<TypeFacts>();
  facts->address = type;
  facts->metatype = type_type_;
  facts->basicsize = raw.basicsize;
  facts->itemsize = raw.itemsize;
  facts->have_gc = (word(o_->tp_flags) & o_->flag_have_gc) != 0;  // before what PyType_Ready() inherits
  facts->valid = facts->from_file = true;
  facts->fixed_bytes = static_cast<std::uint32_t>(raw.basicsize);
  facts->reader = facts->traverse_reader = ReaderKind::kScan;
  facts->quality = facts->traverse_quality = ReferentQuality::kApproximate;
  facts->reason = facts->traverse_reason = "its type object is missing; its memory was searched for objects";
  NameStatic(chars.find('\0') == 0 || chars.find('\0') == std::string_view::npos ? RawName(raw) : std::string(chars.substr(0, chars.find('\0'))), *facts);
  return facts;
}

// ---- Names -------------------------------------------------------------------------------------------------------------------------

std::string TypeTable::RawName(const Raw& raw) const {
  const Result<std::string> name = process_->memory.ReadCString(raw.tp_name, limits_.max_name_bytes);
  if (name && !name->empty()) return *name;
  if (const auto found = names_from_modules_.find(raw.address); found != names_from_modules_.end()) return found->second;
  // .rodata of the module is not to be had; the name of the type object's symbol may be.
  if (const target::Module* module = process_->FindModule(raw.address); module && module->file) {
    const auto link_address = raw.address - static_cast<Address>(module->load_bias);
    if (const auto symbol = module->file->SymbolAt(link_address); symbol && symbol->address == link_address) {
      for (const KnownType& known : KnownTypes()) {
        if (known.symbol && symbol->name == known.symbol) return known.name;
      }
      return std::string(symbol->name);
    }
  }
  return {};
}

Address TypeTable::DictOf(const Raw& raw) const {
  if (raw.tp_dict != 0 || !(raw.flags & o_->flag_static_builtin) || raw.tp_subclasses == 0) return raw.tp_dict;
  // CPython: _PyStaticType_GetState(), Objects/typeobject.c [3.12+]: tp_subclasses holds the index + 1.
  const std::uint64_t index = raw.tp_subclasses - 1;
  if (index >= 4096 || static_type_size_ == 0) return 0;
  for (const Address array : static_type_arrays_) {
    const Address state = array + index * static_type_size_;
    if (values_.Pointer(state + static_type_type_) == raw.address) return values_.Pointer(state + static_type_dict_);
  }
  return 0;
}

void TypeTable::ReadName(const Raw& raw, TypeFacts& f) const {
  // CPython: type_module(), type_qualname() in Objects/typeobject.c.
  if (f.is_heap_type) {
    const std::uint32_t name_field = o_->ht_qualname != kNoField ? o_->ht_qualname : o_->ht_name;
    f.qualname = values_.Text(values_.Pointer(raw.address + name_field), limits_.max_name_bytes).value_or("");
    if (f.qualname.empty()) f.qualname = std::string(AfterLast(RawName(raw), '.'));
    if (const Address module = values_.DictGet(raw.tp_dict, "__module__")) f.module = values_.Text(module, limits_.max_name_bytes).value_or("");
  } else {
    return NameStatic(RawName(raw), f);
  }
  NameWhole(f);
}

void TypeTable::NameStatic(const std::string& tp_name, TypeFacts& f) const {
  f.qualname = std::string(AfterLast(tp_name, '.'));
  f.module = f.qualname.size() < tp_name.size() ? tp_name.substr(0, tp_name.size() - f.qualname.size() - 1) : o_->dict_old ? "__builtin__" : "builtins";
  NameWhole(f);
}

void TypeTable::NameWhole(TypeFacts& f) {
  if (f.qualname.empty()) f.qualname = fmt::format("type@{:#x}", f.address);
  f.name = f.module.empty() || f.module == "builtins" || f.module == "__builtin__" ? f.qualname : f.module + "." + f.qualname;
}

void TypeTable::ReadNamesFromModules() {
  if (runtime_->interpreters.empty()) return;
  const std::optional<DictTable> modules = values_.Dict(runtime_->interpreters.front().modules);
  if (!modules) return;
  for (std::uint64_t i = 0; i < std::min<std::uint64_t>(modules->count, kMaxModules); ++i) {
    const Address module = modules->Value(i);
    if (module == 0) continue;
    const std::string module_name = values_.Text(modules->Key(i), 64).value_or("");
    const bool builtins = module_name == "builtins" || module_name == "__builtin__";
    const bool qualified = module_name == "itertools" || module_name == "exceptions";
    const bool listed = std::any_of(std::begin(kModuleAttributes), std::end(kModuleAttributes), [&](const ModuleAttribute& a) { return module_name == a.module; });
    if (!builtins && !qualified && !listed) continue;
    const std::optional<DictTable> dict = values_.Dict(values_.Pointer(module + o_->md_dict));
    if (!dict) continue;
    for (std::uint64_t j = 0; j < std::min(dict->count, kMaxEntriesForSearch); ++j) {
      const Address value = dict->Value(j);
      if (value == 0 || !IsTypeObject(value)) continue;
      const std::string name = values_.Text(dict->Key(j), 64).value_or("");
      if (name.empty()) continue;
      if (builtins) {
        names_from_modules_.emplace(value, name);
      } else if (qualified) {
        names_from_modules_.emplace(value, fmt::format("{}.{}", module_name, name));
      } else {
        for (const ModuleAttribute& a : kModuleAttributes) {
          if (module_name == a.module && name == a.attribute) names_from_modules_.emplace(value, a.tp_name);
        }
      }
    }
  }
}

// ---- subtype_traverse ---------------------------------------------------------------------------------------------------------------

bool TypeTable::HasClassStatementName(const Raw& raw) const noexcept {
  // type_new() lets tp_name point at the characters of ht_name; types made from C have a name of their own.
  if (!(raw.flags & o_->flag_heap_type) || !(raw.flags & o_->flag_have_gc) || o_->ht_name == kNoField) return false;
  const Address name = values_.Pointer(raw.address + o_->ht_name);
  return name != 0 && raw.tp_name == name + (o_->dict_old ? o_->bytes_data : o_->ascii_size);
}

void TypeTable::FindSubtypeTraverse() {
  // The function has no exported name. Every class made by a class statement has it, and such classes lie in module dicts. HEURISTIC: the function that
  // most of them have. A wrong one would need a majority of classes whose tp_traverse C code replaced after they were made.
  std::unordered_map<Address, int> votes;
  if (!runtime_->interpreters.empty()) {
    if (const std::optional<DictTable> modules = values_.Dict(runtime_->interpreters.front().modules)) {
      for (std::uint64_t i = 0; i < std::min<std::uint64_t>(modules->count, kMaxModules); ++i) {
        const Address module = modules->Value(i);
        if (module == 0) continue;
        const std::optional<DictTable> dict = values_.Dict(values_.Pointer(module + o_->md_dict));
        if (!dict) continue;
        bool enough = false;
        for (std::uint64_t j = 0; j < std::min(dict->count, kMaxEntriesForSearch) && !enough; ++j) {
          Raw raw;
          const Address value = dict->Value(j);
          if (value == 0 || !IsTypeObject(value) || !ReadRaw(value, raw) || !HasClassStatementName(raw) || raw.tp_traverse == 0) continue;
          enough = ++votes[raw.tp_traverse] >= kEnoughVotes;
        }
        if (enough) break;
      }
    }
  }
  int most = 0;
  for (const auto& [address, count] : votes) {
    if (count > most || (count == most && address < subtype_traverse_)) {
      most = count;
      subtype_traverse_ = address;
    }
  }
  if (subtype_traverse_ == 0) subtype_traverse_ = cpython::FindInterpreterSymbol(*process_, *runtime_, "subtype_traverse").value_or(0);
}

// ---- Readers ------------------------------------------------------------------------------------------------------------------------

bool TypeTable::IsTrustedCode(Address function, const char* extension) const {
  const target::Module* module = process_->FindModule(function);
  if (!module) return false;
  if (module == interpreter_module_) return true;
  if (!extension) return false;
  std::string_view file = AfterLast(module->path, '/');
  file = file.substr(0, file.find('.'));
  return file == extension || file == std::string(extension) + "module";
}

void TypeTable::ChooseReader(const Raw& raw, TypeFacts& f) const {
  f.reader = ReaderKind::kNone;
  if (raw.tp_traverse == 0) return;
  if (subtype_traverse_ == 0 && HasClassStatementName(raw) && IsTrustedCode(raw.tp_traverse, nullptr)) subtype_traverse_ = raw.tp_traverse;
  if (raw.tp_traverse == subtype_traverse_) {
    ReadInstance(raw, f);
    return;
  }
  if (ApplyKnownType(raw, f) || ApplyStructSequence(raw, f)) return;
  f.reader = unknown_reader_;
  if (f.reader == ReaderKind::kScan) {
    f.quality = ReferentQuality::kApproximate;
    f.reason = "its tp_traverse is C code that was not read; its memory was searched for objects";
  }
}

bool TypeTable::ApplyKnownType(const Raw& raw, TypeFacts& f) const {
  // The type itself or the base that it inherits the function from: whichever is known by name.
  Raw r = raw;
  const cpython::Layout& layout = runtime_->layout;
  for (std::size_t depth = 0; depth < limits_.max_type_depth; ++depth) {
    if (!HasClassStatementName(r)) {
      if (const auto found = known_by_name_.find(RawName(r)); found != known_by_name_.end()) {
        for (const std::size_t index : found->second) {
          const KnownType& known = KnownTypes()[index];
          if (!layout.Has(known.needs) || !IsTrustedCode(raw.tp_traverse, known.module)) continue;
          f.reader = known.reader;
          f.tail = known.tail;
          // From 3.9 on the traverse function of a heap type visits the type of the object first.
          if ((r.flags & o_->flag_heap_type) && o_->heap_traverse_visits_type) f.fields.push_back({o_->ob_type, "__class__"});
          for (const KnownField& field : known.fields) {
            if (!layout.Has(field.field)) continue;
            const char* label = field.label;
            if (!label) {
              const std::string_view name = cpython::FieldName(field.field);
              label = name.data() + (name.find('.') == std::string_view::npos ? 0 : name.find('.') + 1);
            }
            f.fields.push_back({layout.Offset(field.field), label, field.presence == Presence::kAlways || (field.presence == Presence::kUntilCleared && !HasClear(r)),
                                field.presence == Presence::kItemsGo, field.label != nullptr && field.naming == Naming::kAttribute});
            f.fixed_bytes = std::max(f.fixed_bytes, layout.Offset(field.field) + Offsets::kPointerBytes);
          }
          const std::string_view name = known.name;
          f.is_classic_instance = o_->legacy_del && name == "instance";
          f.is_generator = o_->legacy_del && name == "generator";
          f.object_decides_legacy_finalizer = f.is_classic_instance || f.is_generator;
          if (known.reader == ReaderKind::kDict && o_->dict_keys_by_lookdict && runtime_->lookdict == 0) {
            f.quality = ReferentQuality::kApproximate;
            f.reason = "which dicts hold keys that are no str could not be told (lookdict was not found); keys of none were counted";
          }
          return true;
        }
      }
    }
    if (r.tp_base == 0 || !ReadRaw(r.tp_base, r) || r.tp_traverse != raw.tp_traverse) return false;
  }
  return false;
}

bool TypeTable::HasClear(const Raw& raw) const {
  const cpython::Layout& layout = runtime_->layout;
  return !layout.Has(cpython::Field::PyTypeObject_tp_clear) || values_.Pointer(raw.address + layout.Offset(cpython::Field::PyTypeObject_tp_clear)) != 0;
}

bool TypeTable::ApplyStructSequence(const Raw& raw, TypeFacts& f) const {
  // CPython: structseq_traverse() in Objects/structseq.c [3.8+]. Before, the types inherit tuple's.
  if (!(raw.flags & o_->flag_tuple_subclass) || !IsTrustedCode(raw.tp_traverse, nullptr)) return false;
  const std::optional<std::uint32_t> fields = StructSequenceFields(raw);
  if (!fields) return false;
  f.reader = ReaderKind::kStructSequence;
  f.struct_sequence_fields = *fields;
  f.visits_type = o_->structseq_visits_type && f.is_heap_type;
  return true;
}

std::optional<std::uint32_t> TypeTable::StructSequenceFields(const Raw& raw) const {
  // CPython: PyStructSequence_InitType() in Objects/structseq.c puts both into the type's dict.
  const Address dict = DictOf(raw);
  if (values_.DictGet(dict, "n_sequence_fields") == 0) return std::nullopt;
  const std::optional<std::int64_t> n = values_.Int(values_.DictGet(dict, "n_fields"));
  if (!n || *n < 0 || *n > static_cast<std::int64_t>(limits_.max_slots_per_type)) return std::nullopt;
  return static_cast<std::uint32_t>(*n);
}

void TypeTable::ReadSlots(const Raw& raw, TypeFacts& f) const {
  // CPython: traverse_slots(). The PyMemberDef records of a heap type lie behind the type object, at its metatype's basicsize.
  if (raw.size <= 0) return;
  const auto damaged = [&f] {
    f.quality = Worse(f.quality, ReferentQuality::kPartial);
    f.reason = "the table of its __slots__ is damaged";
  };
  Raw meta;
  if (static_cast<std::uint64_t>(raw.size) > limits_.max_slots_per_type || o_->member_size == 0 || !ReadRaw(raw.metatype, meta) || meta.basicsize < 0 ||
      meta.basicsize > kMaxBasicSize) {  // LIMIT: max_slots_per_type
    return damaged();
  }
  const auto n = static_cast<std::uint64_t>(raw.size);
  const std::byte* members = process_->memory.At(raw.address + static_cast<Address>(meta.basicsize), n * o_->member_size);
  if (!members) return damaged();
  for (std::uint64_t i = 0; i < n; ++i) {
    const std::byte* m = members + i * o_->member_size;
    if (LoadUnchecked<std::int32_t>(m + o_->member_type) != o_->member_object_ex) continue;
    const auto offset = LoadUnchecked<std::int64_t>(m + o_->member_offset);
    if (offset < o_->object_size || offset > raw.basicsize - 8 || f.slot_offsets.size() >= limits_.max_slots_per_type) {
      damaged();
      continue;
    }
    f.slots_after_items = f.slots_after_items || (LoadUnchecked<std::int32_t>(m + o_->member_flags) & o_->member_after_items) != 0;
    f.slot_offsets.push_back(static_cast<std::uint32_t>(offset));
    f.slot_names.push_back(LoadUnchecked<std::uint64_t>(m + o_->member_name));
  }
}

void TypeTable::ReadInstance(const Raw& raw, TypeFacts& f) const {
  // CPython: subtype_traverse() in Objects/typeobject.c.
  f.reader = ReaderKind::kInstance;
  Raw base = raw;
  bool have_base = true;
  for (std::size_t depth = 0; base.tp_traverse == subtype_traverse_; ++depth) {  // LIMIT: max_type_depth
    ReadSlots(base, f);
    if (depth >= limits_.max_type_depth) {
      f.quality = Worse(f.quality, ReferentQuality::kPartial);
      f.reason = "its chain of base classes is too long";
      have_base = false;
      break;
    }
    if (base.tp_base == 0 || !ReadRaw(base.tp_base, base)) {
      if (base.tp_base != 0) {
        f.quality = Worse(f.quality, ReferentQuality::kPartial);
        f.reason = "its base class cannot be read";
      }
      have_base = false;
      break;
    }
  }
  const Address base_traverse = have_base ? base.tp_traverse : 0;
  f.visits_dict = raw.dictoffset != (have_base ? base.dictoffset : 0);
  f.visits_type = f.is_heap_type && (o_->heap_type_visited_always || (o_->heap_traverse_visits_type &&
                                                                      (base_traverse == 0 || !(base.flags & o_->flag_heap_type))));
  f.base_reader = ReaderKind::kNone;
  if (base_traverse == 0) return;
  f.traverse_base = FindLocked(base.address);  // at most one level: this base's traverse is another function
  if (!f.traverse_base) {
    f.base_reader = ReaderKind::kNone;
    f.quality = Worse(f.quality, ReferentQuality::kPartial);
    f.reason = "its base class cannot be read";
    return;
  }
  f.base_reader = f.traverse_base->traverse_reader;
  f.fixed_bytes = std::max(f.fixed_bytes, f.traverse_base->fixed_bytes);
  if (f.traverse_base->traverse_quality != ReferentQuality::kExact) {
    f.quality = Worse(f.quality, f.traverse_base->traverse_quality);
    f.reason = fmt::format("its base {}: {}", f.traverse_base->name, f.traverse_base->traverse_reason);
  }
}

// ---- Bodies ---------------------------------------------------------------------------------------------------------------------------

BodyKind TypeTable::BodyOfStatic(const Raw& raw, const TypeFacts& f) const {
  // CPython: code_traverse(), Objects/codeobject.c [3.13t+]: what it owns is what code objects without a traversal own.
  if (f.traverse_reader != ReaderKind::kNone && RawName(raw) == "code" && process_->FindModule(raw.address) == interpreter_module_) return BodyKind::kCode;
  switch (f.traverse_reader) {
    case ReaderKind::kList: return BodyKind::kList;
    case ReaderKind::kDict:
    case ReaderKind::kOrderedDict: return BodyKind::kDict;
    case ReaderKind::kSet: return BodyKind::kSet;
    case ReaderKind::kType: return BodyKind::kTypeObject;
    case ReaderKind::kModule: return BodyKind::kModule;
    case ReaderKind::kFrame: return BodyKind::kFrame;
    case ReaderKind::kGenerator: return BodyKind::kGenerator;
    case ReaderKind::kDeque: return BodyKind::kDeque;
    case ReaderKind::kLruCache: return BodyKind::kLruCache;
    case ReaderKind::kFields:
      if (f.tail == ReaderKind::kDict) return BodyKind::kDict;
      for (const VisitedField& field : f.fields) {
        if (field.name == std::string_view("__objclass__")) return BodyKind::kDescriptor;
      }
      return BodyKind::kClosed;
    case ReaderKind::kTuple:
    case ReaderKind::kStructSequence:
    case ReaderKind::kFrameProxy:
    case ReaderKind::kTeeData: return BodyKind::kClosed;
    case ReaderKind::kMachine:
    case ReaderKind::kScan:
    case ReaderKind::kInstance: return BodyKind::kOpen;
    case ReaderKind::kNone: break;
  }
  struct Named {
    const char* name;
    BodyKind body;
  };
  static constexpr Named kLeaves[] = {{"int", BodyKind::kClosed},      {"long", BodyKind::kClosed},        {"bool", BodyKind::kClosed},
                                      {"float", BodyKind::kClosed},    {"complex", BodyKind::kClosed},     {"bytes", BodyKind::kClosed},
                                      {"NoneType", BodyKind::kClosed}, {"ellipsis", BodyKind::kClosed},    {"NotImplementedType", BodyKind::kClosed},
                                      {"unicode", BodyKind::kText},    {"bytearray", BodyKind::kByteArray}, {"code", BodyKind::kCode},
                                      {"range", BodyKind::kRange},     {"xrange", BodyKind::kClosed},      {"range_iterator", BodyKind::kClosed},
                                      {"rangeiterator", BodyKind::kClosed}, {"longrange_iterator", BodyKind::kLongRangeIterator}, {"_abc_data", BodyKind::kAbcData}, {"_abc._abc_data", BodyKind::kAbcData},
                                      {"object", BodyKind::kClosed}};
  const std::string name = RawName(raw);
  if (name == "functools._lru_list_elem") return BodyKind::kClosed;  // its key and result are visited by the cache
  if (process_->FindModule(raw.address) != interpreter_module_) return BodyKind::kOpen;
  if (name == "str") return o_->dict_old ? BodyKind::kClosed : BodyKind::kText;
  for (const Named& leaf : kLeaves) {
    if (name == leaf.name) return leaf.body;
  }
  return BodyKind::kOpen;
}

bool TypeTable::BodyGrows(const Raw& raw) const {
  // A type that inherits the function of a base and is larger than it. (Classes that subtype_traverse serves come here with their base.)
  Raw base;
  return raw.tp_traverse != 0 && raw.tp_base != 0 && ReadRaw(raw.tp_base, base) && base.tp_traverse == raw.tp_traverse && base.basicsize < raw.basicsize;
}

BodyKind TypeTable::ChooseBody(const Raw& raw, TypeFacts& f) const {
  if (f.traverse_reader == ReaderKind::kInstance) {
    f.body_grows = f.traverse_base != nullptr && f.traverse_base->body_grows;
    return f.traverse_base != nullptr ? f.traverse_base->body : BodyOfLeafBase(raw);
  }
  // CPython: structseq_dealloc() gives up n_fields items; tuple's tp_traverse shows ob_size of them [3.6, 3.7], and the objects of 2.7 have none.
  if (!f.is_heap_type && f.traverse_reader != ReaderKind::kStructSequence && IsTrustedCode(raw.tp_dealloc, nullptr)) {
    if (const std::optional<std::uint32_t> fields = StructSequenceFields(raw)) {
      f.struct_sequence_fields = *fields;
      return BodyKind::kStructSequence;
    }
  }
  f.body_grows = BodyGrows(raw);
  if (!f.is_heap_type || f.traverse_reader != ReaderKind::kNone) return BodyOfStatic(raw, f);
  return BodyOfLeafBase(raw);
}

void TypeTable::ReadKnownOwner(const Raw& raw, TypeFacts& f) const {
  if (f.body != BodyKind::kOpen && !f.body_grows) return;
  Raw base = raw;
  for (std::size_t depth = 0; base.flags & o_->flag_heap_type; ++depth) {  // LIMIT: max_type_depth
    if (depth >= limits_.max_type_depth || base.tp_base == 0 || !ReadRaw(base.tp_base, base)) return;
  }
  const KnownOwner* const owner = FindKnownOwner(RawName(base));
  const target::Module* const module = owner == nullptr ? nullptr : process_->FindModule(base.address);
  if (module == nullptr) return;
  const std::string_view file = std::string_view(module->path).substr(module->path.rfind('/') + 1);
  const bool defines = owner->module != nullptr && file.starts_with(owner->module) && file.substr(std::string_view(owner->module).size()).starts_with('.');
  if (module != interpreter_module_ && !defines) return;
  f.known_owner = owner;
  f.base_of_owner = base.tp_base;
  f.owner_bytes = static_cast<std::uint32_t>(std::max<std::int64_t>(base.basicsize, 0));
}

BodyKind TypeTable::BodyOfLeafBase(const Raw& raw) const {
  // A class without tp_traverse of its own, or one whose slots and dict subtype_traverse visits: the rest is the part of its nearest base that C code made.
  Raw base = raw;
  for (std::size_t depth = 0; depth < limits_.max_type_depth; ++depth) {  // LIMIT: max_type_depth
    const bool from_class_statement = base.tp_traverse == subtype_traverse_ && subtype_traverse_ != 0;
    if (!(base.flags & o_->flag_heap_type)) {
      TypeFacts facts;
      facts.traverse_reader = base.tp_traverse == 0 ? ReaderKind::kNone : ReaderKind::kScan;
      return BodyOfStatic(base, facts);
    }
    if (RawName(base) == "functools._lru_list_elem") return BodyKind::kClosed;
    const std::int64_t size = base.basicsize;
    if (base.tp_base == 0 || !ReadRaw(base.tp_base, base)) return BodyKind::kOpen;
    if (!from_class_statement && base.basicsize != size) return BodyKind::kOpen;  // C code added fields
  }
  return BodyKind::kOpen;
}

// ---- Finalizers, sizes --------------------------------------------------------------------------------------------------------------

void TypeTable::ReadFinalizer(const Raw& raw, TypeFacts& f) const {
  // A __del__ of Python code is a function in some class dict; one of C code shows as a slot wrapper there, or not at all.
  const auto has_python_del = [&] {
    for (const Address type : values_.TupleItems(raw.tp_mro, limits_.max_type_depth)) {
      Raw r;
      if (!ReadRaw(type, r) || !IsTypeObject(type)) continue;
      const Address del = values_.DictGet(DictOf(r), "__del__");
      if (del == 0) continue;
      Raw kind;
      return (r.flags & o_->flag_heap_type) && ReadRaw(values_.TypeOf(del), kind) && RawName(kind) != "wrapper_descriptor";
    }
    return false;
  };
  if (o_->legacy_del) {
    // CPython: has_finalizer(), Modules/gcmodule.c [2.7].
    f.legacy_finalizer = f.is_heap_type && raw.tp_del != 0;
    if (f.legacy_finalizer) f.finalizer = has_python_del() ? FinalizerKind::kDel : FinalizerKind::kTpDel;
    return;
  }
  f.legacy_finalizer = raw.tp_del != 0;  // CPython: has_legacy_finalizer() [3.4+]
  if (raw.tp_finalize != 0 && (!o_->finalize_needs_flag || (raw.flags & o_->flag_have_finalize))) {
    f.finalizer = has_python_del() ? FinalizerKind::kDel : FinalizerKind::kTpFinalize;
  } else if (raw.tp_del != 0) {
    f.finalizer = FinalizerKind::kTpDel;
  }
}

void TypeTable::ReadSizeRule(const Raw& raw, TypeFacts& f) const {
  // sys.getsizeof() calls the type's __sizeof__: the first one in the mro.
  struct Named {
    const char* name;
    SizeRule rule;
  };
  static constexpr Named kRules[] = {
      {"object", SizeRule::kObject},    {"list", SizeRule::kList},           {"dict", SizeRule::kDict},
      {"set", SizeRule::kSet},          {"frozenset", SizeRule::kSet},       {"type", SizeRule::kType},
      {"frame", SizeRule::kFrame},      {"generator", SizeRule::kGenerator}, {"coroutine", SizeRule::kGenerator},
      {"async_generator", SizeRule::kGenerator}, {"collections.deque", SizeRule::kDeque}, {"collections.OrderedDict", SizeRule::kOrderedDict},
      {"int", SizeRule::kInt},          {"long", SizeRule::kInt},            {"str", SizeRule::kStr},
      {"unicode", SizeRule::kStr},      {"bytearray", SizeRule::kByteArray}, {"frozendict", SizeRule::kDict},
      {"code", SizeRule::kCode},        {"decimal.Decimal", SizeRule::kDecimal}, {"array.array", SizeRule::kArray}, {"_io.BytesIO", SizeRule::kBytesIO},
      {"_io.BufferedReader", SizeRule::kBuffered}, {"_io.BufferedWriter", SizeRule::kBuffered}, {"_io.BufferedRandom", SizeRule::kBuffered},
      {"_struct.Struct", SizeRule::kStruct}, {"Struct", SizeRule::kStruct},
      {"numpy.ndarray", SizeRule::kNumpyArray}, {"numpy.generic", SizeRule::kNumpyScalar}};
  f.size_rule = SizeRule::kUnknown;
  const auto choose = [&](const std::string& name) {
    for (const Named& rule : kRules) {
      if (name == rule.name) f.size_rule = rule.rule;
    }
    if (o_->dict_old && name == "str") f.size_rule = SizeRule::kBytes;
  };
  if (!f.is_heap_type && raw.tp_mro == 0 && raw.tp_base == 0) {
    // A static type of 2.7 that was never made ready, which sys.getsizeof does: then it is a child of object with what its method table says.
    const cpython::Layout& layout = runtime_->layout;
    const std::uint32_t stride = layout.Size(Struct::PyMethodDef);
    Address method = values_.Pointer(raw.address + layout.Offset(Field::PyTypeObject_tp_methods));
    for (int i = 0; method != 0 && stride != 0 && i < 4096; ++i, method += stride) {
      const Address name = values_.Pointer(method + layout.Offset(Field::PyMethodDef_ml_name));
      if (name == 0) break;
      const Result<std::string> text = process_->memory.ReadCString(name, 16);
      if (text && *text == "__sizeof__") choose(RawName(raw));
      if (!text || *text == "__sizeof__") return;
    }
    f.size_rule = SizeRule::kObject;
    return;
  }
  const auto is_there = [&](Address object) { return object == 0 || process_->memory.At(object, o_->object_size) != nullptr; };
  if (!is_there(raw.tp_mro)) {  // of a part: what the interpreter's own types define is known without their dicts
    if (!f.is_heap_type) choose(RawName(raw));
    return;
  }
  for (const Address type : values_.TupleItems(raw.tp_mro, limits_.max_type_depth)) {
    Raw r;
    if (!ReadRaw(type, r) || !IsTypeObject(type)) {
      // 2.7: a classic class among the bases. What it defines is Python code.
      if (o_->cl_dict != kNoField && values_.DictGet(values_.Pointer(type + o_->cl_dict), "__sizeof__") != 0) return;
      continue;
    }
    if (!is_there(DictOf(r))) {
      if ((r.flags & o_->flag_heap_type) == 0) choose(RawName(r));
      return;
    }
    auto [own, is_new] = own_sizeof_.try_emplace(type, 0);
    if (is_new) own->second = values_.DictGet(DictOf(r), "__sizeof__");
    if (own->second == 0) continue;
    if (HasClassStatementName(r)) return;  // Python code
    choose(RawName(r));
    return;
  }
}

}  // namespace pygc::objects
