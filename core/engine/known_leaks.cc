#include "core/engine/known_leaks.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "core/audit/left_threads.h"
#include "core/audit/reference_counter.h"
#include "core/audit/static_data.h"
#include "core/cpython/known_counts.h"

namespace pygc::engine {
namespace {

using analysis::CountFinding;
using analysis::CountFindingKind;

constexpr std::size_t kMaxCandidates = 4096;  // findings of a type that has a known leak
constexpr std::size_t kMaxJudged = 1u << 18;
constexpr std::size_t kMostLookedAt = 512;  // of one candidate: the place that its name is known by may be any of them
constexpr std::size_t kMaxNames = 1u << 18;  // items of lost tuples
constexpr std::size_t kMaxBases = 64;
constexpr std::size_t kMaxText = 64;
constexpr std::size_t kMaxSearches = 32;       // of the code of all modules
constexpr std::size_t kMaxDataSearches = 512;  // of their static data
constexpr std::size_t kMaxLiteralSearches = 512;  // of what is only read of one module
constexpr std::size_t kMaxOwnName = 256;
constexpr std::string_view kUfunc = "numpy.ufunc";
constexpr std::string_view kPyo3 = "pyo3_runtime";  // of the name of its PanicException, which each module that it made has
constexpr std::string_view kSipPackages[] = {"PyQt4.", "PyQt5.", "PyQt6.", "wx."};
constexpr std::string_view kMypyc = "__mypyc.";
constexpr std::string_view kSwig = "SWIG_PyInstanceMethod_New";  // a name in the table of functions of each module of its
constexpr std::string_view kCython = "cython_runtime";  // the module that each module of its makes
constexpr std::int64_t kLeastCachedInt = -5, kMostCachedInt = 256;  // NSMALLNEGINTS, NSMALLPOSINTS - 1
constexpr char kEmpty[] = "()";
constexpr std::uint64_t kHeldByThread = 8;  // objects of a type, and references to one, that the C functions of one thread have
constexpr std::size_t kMaxReferents = 64;  // of what has no name of its own

class Matcher {
 public:
  Matcher(const audit::AuditInput& in, const Labels& labels, const heap::ReferenceAudit& counts, const analysis::CountAudit& audit)
      : in_(in), labels_(labels), counts_(counts), audit_(audit), known_(cpython::KnownSurpluses(in.reader.runtime().layout.version)) {}

  [[nodiscard]] bool MayBeKnown(const CountFinding& f) const {
    if (f.freed) return false;
    const std::string type = TypeOf(f);
    return std::any_of(known_.begin(), known_.end(), [&](const cpython::KnownSurplus& k) { return (k.type.empty() || type == k.type) && IsWithin(f, k) && (!k.type.empty() || HasShape(f, k.shape)); });
  }
  // Empty where it is none.
  [[nodiscard]] std::string Cause(const CountFinding& f, const std::vector<audit::Holder>& holders) const {
    const std::string type = TypeOf(f);
    const std::string name = labels_.NameOf(f.address, type);
    for (const cpython::KnownSurplus& k : known_) {
      if ((!k.type.empty() && type != k.type) || !IsWithin(f, k)) continue;
      const bool named = k.name.empty() || name == k.name || std::any_of(holders.begin(), holders.end(), [&](const audit::Holder& h) { return h.place == k.name; });
      if (k.shape == cpython::KnownSurplus::Shape::kCythonSlice && std::none_of(holders.begin(), holders.end(), [&](const audit::Holder& h) { return h.holder != heap::kNoNode && IsInCythonData(in_.heap.AddressOf(h.holder)); })) continue;
      if (k.shape == cpython::KnownSurplus::Shape::kFreedByModule && !IsFreedBy(f.address, k.module)) continue;
      if (k.shape == cpython::KnownSurplus::Shape::kLiteral && (!IsLoaded(k.module) || !IsLiteralOf(f.address, k.module))) continue;
      if (k.shape == cpython::KnownSurplus::Shape::kConstant && (!IsLoaded(k.module) || std::none_of(holders.begin(), holders.end(), [&](const audit::Holder& h) { return h.holder != heap::kNoNode && ModuleOfDict(in_.heap.AddressOf(h.holder)) == k.text; }))) continue;
      if (k.shape == cpython::KnownSurplus::Shape::kUfuncIdentity && !std::any_of(holders.begin(), holders.end(), [&](const audit::Holder& h) { return h.holder != heap::kNoNode && in_.heap.types[in_.heap.type[h.holder]].name == kUfunc; })) continue;
      if (named && IsLoaded(k.module) && Has(f, k) && HasShape(f, k.shape) && (k.text.empty() || k.shape == cpython::KnownSurplus::Shape::kConstant || TextOf(f.address) == k.text)) return std::string(k.cause);
    }
    return "";
  }

 private:
  // Wrong in the direction of `k`, and not by more.
  [[nodiscard]] static bool IsWithin(const CountFinding& f, const cpython::KnownSurplus& k) {
    const bool is_deficit = f.kind == CountFindingKind::kDeficit;
    return is_deficit == k.is_deficit && (is_deficit ? f.known - f.recorded : f.recorded - f.known - f.possible) <= k.by;
  }
  // The name of the module whose dict it is; empty where it is none.
  [[nodiscard]] const std::string& ModuleOfDict(Address dict) const {
    const auto [known, is_new] = module_of_dict_.try_emplace(dict);
    const Address name = is_new && labels_.TypeName(dict) == "dict" ? RefersToA(dict, "['__name__']", "str") : 0;
    if (name != 0) known->second = in_.reader.Text(name, kMaxOwnName).value_or("");
    return known->second;
  }
  // A module that SIP made: PyQt, wxPython.
  [[nodiscard]] bool IsSipModule(Address module) const {
    const std::string name = labels_.NameOf(module, "module");
    const bool may_be = std::any_of(std::begin(kSipPackages), std::end(kSipPackages), [&](std::string_view p) { return name.starts_with(p); });
    return may_be && (IsLoaded("/sip.") || IsLoaded("/siplib."));
  }
  // What several Python modules that mypyc compiled share is one extension, NAME__mypyc.
  [[nodiscard]] bool IsInMypycData(Address object) const {
    return IsInData(object, [](const target::Module& m) { return m.path.find(kMypyc) != std::string::npos; });
  }
  [[nodiscard]] bool IsInCythonData(Address object) const {
    return IsInData(object, [this](const target::Module& m) { return !IsInterpreter(m) && IsMadeByCython(m); });
  }
  // True where static data of a module, of which `is_one` says so, have it.
  template <typename F>
  [[nodiscard]] bool IsInData(Address object, F&& is_one) const {
    const target::Process& process = in_.reader.process();
    if (++data_searches_ > kMaxDataSearches) return false;
    return std::any_of(process.memory.segments().begin(), process.memory.segments().end(), [&](const target::Segment& s) {
      const target::Module* const module = s.writable && s.bytes != nullptr ? ModuleOf(s.range.begin) : nullptr;
      if (module == nullptr) return false;
      for (Address at = (s.range.begin + 7) & ~Address{7}; at + 8 <= s.range.end; at += 8) {
        if (LoadUnchecked<std::uint64_t>(s.bytes + (at - s.range.begin)) == object) return is_one(*module);
      }
      return false;
    });
  }
  // True where what frees instances of the type lies in a module with that in its path.
  [[nodiscard]] bool IsFreedBy(Address type, std::string_view path) const {
    const Address code = PointerAt(type, cpython::Field::PyTypeObject_tp_dealloc);
    const target::Module* const module = code != 0 ? in_.reader.process().FindModule(code) : nullptr;
    return module != nullptr && module->path.find(path) != std::string::npos;
  }
  // How many objects of the type there are, those of derived classes not among them.
  [[nodiscard]] std::uint64_t InstancesOf(Address type) const {
    if (instances_.empty()) {
      std::vector<std::uint64_t> of_record(in_.heap.types.size());
      for (const std::uint32_t record : in_.heap.type) ++of_record[record];
      for (std::size_t i = 0; i < of_record.size(); ++i) instances_[in_.heap.types[i].address] += of_record[i];
    }
    const auto found = instances_.find(type);
    return found == instances_.end() ? 0 : found->second;
  }
  // An item of an enumeration of Shiboken: the type of its type says so.
  [[nodiscard]] bool IsShibokenEnumItem(Address object) const {
    return labels_.TypeName(PointerAt(object, cpython::Field::PyObject_ob_type)) == "Shiboken.EnumMeta";
  }
  [[nodiscard]] Address PointerAt(Address object, cpython::Field field) const {
    const cpython::Layout& layout = in_.reader.runtime().layout;
    return layout.Has(field) ? in_.reader.process().memory.ReadPointer(object + layout.Offset(field)).value_or(0) : 0;
  }
  [[nodiscard]] std::string TypeOf(const CountFinding& f) const {
    return f.object != heap::kNoNode ? in_.heap.types[in_.heap.type[f.object]].name : labels_.TypeName(f.address);
  }
  [[nodiscard]] std::string TextOf(Address a) const {
    const cpython::Layout& layout = in_.reader.runtime().layout;
    if (labels_.TypeName(a) == "bytes") {
      const std::uint64_t size = PointerAt(a, cpython::Field::PyVarObject_ob_size);
      const std::byte* const p = size <= kMaxText ? in_.reader.process().memory.At(a + layout.Offset(cpython::Field::PyBytesObject_ob_sval), size) : nullptr;
      return p == nullptr ? std::string() : std::string(reinterpret_cast<const char*>(p), size);
    }
    const std::vector<Address> items = ItemsOf(a);
    return in_.reader.Text(items.size() == 1 ? items.front() : a, kMaxText).value_or("");
  }
  [[nodiscard]] bool IsCythonCode(Address code) const {
    const std::string file = in_.reader.Text(PointerAt(code, cpython::Field::PyCodeObject_co_filename), 4096).value_or("");
    return file.ends_with(".pyx") || file.ends_with(".pxd") || file.ends_with(".pxi") || file == "<stringsource>" || file == "stringsource" || HasNoInstructions(code);
  }
  // Cython makes its code objects for tracebacks only, also those of .py files; nothing else makes one that cannot be run.
  [[nodiscard]] bool HasNoInstructions(Address code) const {
    const cpython::Layout& layout = in_.reader.runtime().layout;
    const Address size = layout.Has(cpython::Field::PyCodeObject_co_code) ? PointerAt(code, cpython::Field::PyCodeObject_co_code) : code;
    return size != 0 && in_.reader.process().memory.ReadValue<std::int64_t>(size + layout.Offset(cpython::Field::PyVarObject_ob_size)).value_or(-1) == 0;
  }
  [[nodiscard]] std::vector<Address> ItemsOf(Address tuple) const {
    const Address type_address = in_.reader.process().memory.ReadPointer(tuple + in_.reader.runtime().layout.Offset(cpython::Field::PyObject_ob_type)).value_or(0);
    const objects::TypeFacts* const type = in_.reader.Type(type_address);
    objects::ReferentBuffer items;
    if (type == nullptr || type->reader != objects::ReaderKind::kTuple || !objects::IsExact(in_.reader.Referents(tuple, *type, items))) return {};
    // tuple_traverse() goes from the last to the first.
    if (!items.empty() && PointerAt(tuple, cpython::Field::PyTupleObject_ob_item) == *(items.end() - 1)) return {std::make_reverse_iterator(items.end()), std::make_reverse_iterator(items.begin())};
    return {items.begin(), items.end()};
  }
  // HEURISTIC: Cython keeps each name that a module of its uses in the module's static data, and makes the tuple of a function's names of these. A wrong yes
  // is another lost tuple of strings which all are such names of one module; it stands among the known leaks then.
  [[nodiscard]] bool AreCythonNames(Address tuple) const {
    std::vector<Address> names = ItemsOf(tuple);
    std::erase_if(names, [&](Address a) { return IsCachedInt(a); });
    if (names.empty()) return false;
    if (!looked_for_names_) FindCythonNames();
    return std::any_of(names_of_module_.begin(), names_of_module_.end(), [&](const std::vector<Address>& of_module) {
      return std::all_of(names.begin(), names.end(), [&](Address a) { return std::binary_search(of_module.begin(), of_module.end(), a); });
    });
  }
  [[nodiscard]] bool IsCachedInt(Address a) const {
    const std::optional<std::int64_t> value = labels_.TypeName(a) == "int" ? in_.ownership.SmallInt(a) : std::nullopt;
    return value && *value >= kLeastCachedInt && *value <= kMostCachedInt;
  }
  void FindCythonNames() const {
    looked_for_names_ = true;
    std::vector<Address> wanted;
    for (const CountFinding& f : audit_.findings) {
      if (f.kind != CountFindingKind::kLost || wanted.size() >= kMaxNames || TypeOf(f) != "tuple") continue;
      for (const Address a : ItemsOf(f.address)) {
        if (in_.reader.Text(a, 1) || labels_.TypeName(a) == "bytes") wanted.push_back(a);
      }
    }
    std::sort(wanted.begin(), wanted.end());
    wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
    if (wanted.empty()) return;
    const target::Process& process = in_.reader.process();
    std::map<const target::Module*, std::vector<Address>> found;
    for (const target::Segment& s : process.memory.segments()) {
      const target::Module* const module = s.writable && s.bytes != nullptr ? ModuleOf(s.range.begin) : nullptr;
      if (module == nullptr || IsInterpreter(*module)) continue;
      const Address first = (s.range.begin + 7) & ~Address{7};
      for (Address at = first; at + 8 <= s.range.end; at += 8) {
        const auto word = LoadUnchecked<std::uint64_t>(s.bytes + (at - s.range.begin));
        if (word >= wanted.front() && word <= wanted.back() && std::binary_search(wanted.begin(), wanted.end(), word)) found[module].push_back(word);
      }
    }
    for (auto& [module, words] : found) {
      std::sort(words.begin(), words.end());
      names_of_module_.push_back(std::move(words));
    }
  }
  // The module in whose static data the address lies.
  [[nodiscard]] const target::Module* ModuleOf(Address a) const {
    return audit::ModuleOfData(in_.reader.process(), a);
  }
  [[nodiscard]] bool IsInterpreter(const target::Module& module) const {
    const std::uint32_t own = in_.reader.runtime().module_index;
    return own < in_.reader.process().modules.size() && &module == &in_.reader.process().modules[own];
  }
  [[nodiscard]] bool IsLoaded(std::string_view path) const {
    const std::vector<target::Module>& modules = in_.reader.process().modules;
    return path.empty() || std::any_of(modules.begin(), modules.end(), [&](const target::Module& m) { return m.path.find(path) != std::string::npos; });
  }
  [[nodiscard]] bool HasCython() const {
    return std::any_of(in_.heap.types.begin(), in_.heap.types.end(), [](const heap::TypeRecord& t) { return t.name.ends_with("cython_function_or_method"); });
  }
  [[nodiscard]] bool IsF2pyName(Address text) const {
    const std::string value = in_.reader.Text(text, 64).value_or("");
    return (value.starts_with("function ") || value.starts_with("scalar ") || value.starts_with("array ")) &&
           std::any_of(in_.heap.types.begin(), in_.heap.types.end(), [](const heap::TypeRecord& t) { return t.name == "fortran"; });
  }
  // The first object of `type` that it refers to by `label` (empty: any); 0 where there is none.
  [[nodiscard]] Address RefersToA(Address object, std::string_view label, std::string_view type) const {
    const objects::TypeFacts* const facts = TypeAt(object);
    if (facts == nullptr) return 0;
    std::vector<objects::LabelledReferent> labelled;
    in_.reader.LabelledReferents(object, *facts, labelled);
    const auto at = std::find_if(labelled.begin(), labelled.end(), [&](const objects::LabelledReferent& l) {
      return (label.empty() || in_.reader.LabelText(l) == label) && labels_.TypeName(l.referent) == type;
    });
    return at == labelled.end() ? 0 : at->referent;
  }
  // Its callback is a function of C code whose __self__ is the capsule with pybind11's record of it.
  [[nodiscard]] bool IsPybindWeakref(const CountFinding& f) const {
    if (f.kind != CountFindingKind::kLost) return false;
    const Address callback = RefersToA(f.address, ".__callback__", "builtin_function_or_method");
    return callback != 0 && RefersToA(callback, ".__self__", "PyCapsule") != 0;
  }
  // The __self__ of a function of builtins is the module of that name.
  [[nodiscard]] bool IsBuiltin(Address function) const {
    const Address type_address = PointerAt(function, cpython::Field::PyObject_ob_type);
    const objects::TypeFacts* const type = in_.reader.Type(type_address);
    if (type == nullptr) return false;
    std::vector<objects::LabelledReferent> labelled;
    in_.reader.LabelledReferents(function, *type, labelled);
    return std::any_of(labelled.begin(), labelled.end(), [&](const objects::LabelledReferent& l) {
      return in_.reader.LabelText(l) == ".__self__" && labels_.NameOf(l.referent, labels_.TypeName(l.referent)) == "builtins";
    });
  }
  // An instance of a class made by PyGObject of an enumeration: one of its bases is GEnum.
  [[nodiscard]] bool IsGEnumValue(const CountFinding& f) const {
    if (f.object == heap::kNoNode) return false;
    const objects::TypeFacts* type = in_.reader.Type(in_.heap.types[in_.heap.type[f.object]].address);
    for (std::size_t depth = 0; type != nullptr && depth < kMaxBases; ++depth) {
      if (type->name == "gobject.GEnum" || type->name == "gi._gi.GEnum") return true;
      type = type->tp_base != 0 ? in_.reader.Type(type->tp_base) : nullptr;
    }
    return false;
  }
  // A function of Cython's that has the class in whose body it was made: func_classobj, beside its own type the only one that it refers to.
  [[nodiscard]] bool IsCythonMethod(const CountFinding& f) const {
    if (f.object == heap::kNoNode || f.kind != CountFindingKind::kSurplus || !TypeOf(f).ends_with("cython_function_or_method")) return false;
    const Address own = in_.heap.types[in_.heap.type[f.object]].address;
    const std::span<const heap::NodeId> visited = in_.heap.Visited(f.object);
    return std::any_of(visited.begin(), visited.end(), [&](heap::NodeId to) {
      const objects::TypeFacts* const of = in_.heap.AddressOf(to) == own ? nullptr : in_.reader.Type(in_.heap.AddressOf(to));
      return of != nullptr && of->is_heap_type;
    });
  }
  // What frees its instances, or those of one of its bases, lies in a module that PyO3 made.
  [[nodiscard]] bool IsPyo3Type(Address type) const {
    for (std::size_t depth = 0; type != 0 && depth < kMaxBases; ++depth) {
      const Address code = PointerAt(type, cpython::Field::PyTypeObject_tp_dealloc);
      const target::Module* const module = code != 0 ? in_.reader.process().FindModule(code) : nullptr;
      if (module != nullptr && !IsInterpreter(*module) && IsMadeByPyo3(*module)) return true;
      type = PointerAt(type, cpython::Field::PyTypeObject_tp_base);
    }
    return false;
  }
  [[nodiscard]] bool IsMadeByPyo3(const target::Module& module) const { return HasText(module, kPyo3); }
  [[nodiscard]] bool IsMadeByCython(const target::Module& module) const { return HasText(module, kCython); }
  // True where the module's file has `text` in what is only read.
  [[nodiscard]] bool HasText(const target::Module& module, std::string_view text) const {
    const auto [known, is_new] = has_text_.try_emplace(std::pair(&module, text));
    if (!is_new) return known->second;
    return known->second = AnyOfReadOnly(module, [&](std::string_view bytes) { return bytes.find(text) != std::string_view::npos; });
  }
  // f(bytes) of what is only read of the module's file, until one says yes.
  template <typename F>
  [[nodiscard]] bool AnyOfReadOnly(const target::Module& module, F&& f) const {
    const auto segments = in_.reader.process().memory.segments();
    return std::any_of(segments.begin(), segments.end(), [&](const target::Segment& s) {
      return !s.writable && s.bytes != nullptr && in_.reader.process().FindModule(s.range.begin) == &module &&
             f(std::string_view(reinterpret_cast<const char*>(s.bytes), static_cast<std::size_t>(s.range.size())));
    });
  }
  // A str that begins like a literal of a module with that in its path; a short one is one.
  [[nodiscard]] bool IsLiteralOf(Address str, std::string_view path) const {
    std::string text = in_.reader.Text(str, kMaxText).value_or("");
    if (text.empty() || ++literal_searches_ > kMaxLiteralSearches) return false;
    if (text.size() < kMaxText) text += '\0';
    const std::vector<target::Module>& modules = in_.reader.process().modules;
    return std::any_of(modules.begin(), modules.end(), [&](const target::Module& m) {
      return m.path.find(path) != std::string::npos && AnyOfReadOnly(m, [&](std::string_view bytes) { return bytes.find(text) != std::string_view::npos; });
    });
  }
  // Its definition lies in the static data of a module that SWIG made.
  [[nodiscard]] bool IsSwigFunction(Address function) const {
    const target::Module* const module = ModuleOf(PointerAt(function, cpython::Field::PyCFunctionObject_m_ml));
    return module != nullptr && !IsInterpreter(*module) && HasText(*module, kSwig);
  }
  // HEURISTIC: the code of a module of Cython's gives a function of C that number. A wrong yes is a lost number of the program that such a module has as well.
  [[nodiscard]] bool IsCythonNumber(Address number) const {
    const std::optional<std::int64_t> value = cython_numbers_.size() < kMaxSearches ? in_.ownership.SmallInt(number) : std::nullopt;
    if (!value || *value != static_cast<std::int32_t>(*value)) return false;
    // mov edi, imm32 or mov rdi, simm32; call
    std::string code = *value >= 0 ? std::string("\xBF") : std::string("\x48\xC7\xC7");
    for (unsigned i = 0; i < 4; ++i) code += static_cast<char>(static_cast<std::uint32_t>(*value) >> (8 * i));
    code += '\xE8';
    std::set<Address>& with_value = cython_numbers_[*value];
    with_value.insert(number);
    const std::vector<target::Module>& modules = in_.reader.process().modules;
    const auto makers = std::count_if(modules.begin(), modules.end(), [&](const target::Module& m) {
      return !IsInterpreter(m) && IsMadeByCython(m) && AnyOfReadOnly(m, [&](std::string_view bytes) { return bytes.find(code) != std::string_view::npos; });
    });
    return with_value.size() <= static_cast<std::size_t>(makers);  // each makes one
  }
  // Ids are given out in order, and none twice. CPython: Include/internal/pycore_runtime.h (struct pyinterpreters: next_id follows main) [3.7-3.12].
  [[nodiscard]] std::uint64_t EndedInterpreters() const {
    const cpython::Runtime& runtime = in_.reader.runtime();
    if (runtime.runtime_address == 0 || !runtime.layout.Has(cpython::Field::PyRuntimeState_interpreters_main)) return 0;
    const std::uint32_t main = runtime.layout.Offset(cpython::Field::PyRuntimeState_interpreters_main);
    const std::int64_t next_id = in_.reader.process().memory.ReadValue<std::int64_t>(runtime.runtime_address + main + 8).value_or(0);
    const auto there = static_cast<std::int64_t>(runtime.interpreters.size());
    return next_id > there ? static_cast<std::uint64_t>(next_id - there) : 0;
  }
  // Tuples and dicts that can be in no cycle are not tracked in any process; what tells the others is that something in them would be (_PyObject_GC_MAY_BE_TRACKED).
  [[nodiscard]] bool IsLeftUntracked(const CountFinding& f) const {
    const cpython::GcHeadFormat& head = in_.reader.runtime().gc_head;
    const objects::TypeFacts* const type = TypeAt(f.address);
    if (type == nullptr || !type->have_gc || f.recorded - f.known - f.possible > ended_interpreters_ || in_.reader.process().memory.ReadPointer(f.address - head.size + head.next_offset) != Address{0}) return false;
    if (type->reader != objects::ReaderKind::kTuple && type->reader != objects::ReaderKind::kDict) return true;
    objects::ReferentBuffer items;
    if (!objects::IsExact(in_.reader.Referents(f.address, *type, items))) return false;
    const bool was_filled = type->reader == objects::ReaderKind::kDict && items.empty() && labels_.SizeOf(f.address) > static_cast<std::uint64_t>(type->basicsize) + in_.reader.runtime().gc_head.size;
    return was_filled || std::any_of(items.begin(), items.end(), [&](Address a) {
      const objects::TypeFacts* const of = TypeAt(a);
      return of != nullptr && of->have_gc && of->reader != objects::ReaderKind::kTuple;
    });
  }
  // Type and name, or value, or what it refers to; empty for what has none of these.
  [[nodiscard]] std::string WhatItIs(Address object, bool with_referents = true) const {
    const std::string type = labels_.TypeName(object, "");
    std::string name = labels_.NameOf(object, type);
    if (name.empty()) name = in_.reader.Text(object, kMaxOwnName).value_or("");
    const objects::TypeFacts* const facts = name.empty() && with_referents ? TypeAt(object) : nullptr;
    objects::ReferentBuffer referents;
    if (facts != nullptr && objects::IsExact(in_.reader.Referents(object, *facts, referents)) && referents.size() <= kMaxReferents) {
      for (const Address a : referents) name += WhatItIs(a, false) + ';';
      if (facts->reader == objects::ReaderKind::kTuple && referents.empty()) name = kEmpty;
    }
    if (const auto value = name.empty() && type == "int" ? in_.ownership.SmallInt(object) : std::nullopt) name = std::to_string(*value);
    return type.empty() || name.empty() ? "" : type + '\n' + name;
  }
  // HEURISTIC: a module that is initialised again makes the same objects again. A wrong yes is an object of the program that is wrongly held too high and is
  // called like one in a static variable.
  [[nodiscard]] bool IsReplaced(const CountFinding& f) const {
    const std::string what = WhatItIs(f.address);
    if (!looked_for_replacements_) FindReplacements();
    if (what.empty()) return IsNamelessReplaced(f);
    const auto at = std::lower_bound(replacements_.begin(), replacements_.end(), what, [](const auto& r, const std::string& w) { return r.first < w; });
    return at != replacements_.end() && at->first == what;
  }
  // What has neither name nor value here (a datetime, a decimal.Context): as many of a type as static data have, once for each interpreter that ended.
  [[nodiscard]] bool IsNamelessReplaced(const CountFinding& f) const {
    const auto there = nameless_.find(TypeOf(f));
    if (there == nameless_.end()) return false;
    std::set<Address>& taken = nameless_taken_[there->first];
    if (taken.size() < there->second.size() * ended_interpreters_) taken.insert(f.address);
    return taken.contains(f.address);
  }
  void FindReplacements() const {
    looked_for_replacements_ = true;
    const target::Process& process = in_.reader.process();
    std::set<std::string> names;
    std::vector<Address> types;  // of each interpreter: names, not addresses, tell which are the same
    for (const CountFinding& f : audit_.findings) {
      if (types.size() >= kMaxJudged) break;
      names.insert(TypeOf(f));
      types.push_back(PointerAt(f.address, cpython::Field::PyObject_ob_type));
    }
    for (const heap::TypeRecord& t : in_.heap.types) {
      if (names.contains(t.name)) types.push_back(t.address);
    }
    std::sort(types.begin(), types.end());
    types.erase(std::unique(types.begin(), types.end()), types.end());
    const std::uint32_t of_type = in_.reader.runtime().layout.Offset(cpython::Field::PyObject_ob_type);
    for (const target::Segment& s : process.memory.segments()) {
      const bool is_data = s.writable && s.bytes != nullptr && ModuleOf(s.range.begin) != nullptr;
      for (Address at = (s.range.begin + 7) & ~Address{7}; is_data && at + 8 <= s.range.end && replacements_.size() < kMaxNames; at += 8) {
        const auto word = LoadUnchecked<std::uint64_t>(s.bytes + (at - s.range.begin));
        if (word == 0 || word % 8 != 0 || !std::binary_search(types.begin(), types.end(), process.memory.ReadPointer(word + of_type).value_or(0))) continue;
        // The interpreter's own data always have an empty tuple.
        std::string what = WhatItIs(word);
        if (what.empty()) nameless_[labels_.TypeName(word)].insert(word);
        if (!what.empty() && !(what.ends_with(kEmpty) && IsInterpreter(*ModuleOf(s.range.begin)))) replacements_.emplace_back(std::move(what), word);
      }
    }
    std::sort(replacements_.begin(), replacements_.end());
  }
  // HEURISTIC: nothing tells whose reference it was. A wrong yes is another leak of few objects, in a child of fork() whose parent had threads; it stands among
  // the known leaks then.
  [[nodiscard]] bool IsLeftByThreads(const CountFinding& f) const {
    if (!left_threads_) {
      left_threads_ = audit::ThreadsLeftByFork(in_, counts_);
      for (const CountFinding& other : audit_.findings) {
        if (*left_threads_ != 0 && other.kind != CountFindingKind::kDeficit) ++findings_of_type_[TypeOf(other)];
      }
    }
    const std::uint64_t most = kHeldByThread * *left_threads_;
    if (most == 0 || f.recorded - f.known - f.possible > most) return false;
    const auto at = findings_of_type_.find(TypeOf(f));
    return at != findings_of_type_.end() && at->second <= most;
  }
  [[nodiscard]] const objects::TypeFacts* TypeAt(Address object) const { return in_.reader.Type(PointerAt(object, cpython::Field::PyObject_ob_type)); }
  [[nodiscard]] bool HasShape(const CountFinding& f, cpython::KnownSurplus::Shape shape) const {
    if (shape == cpython::KnownSurplus::Shape::kForeignSpecial) {
      const std::string name = labels_.NameOf(f.address, TypeOf(f));
      return name.starts_with("__") && name.ends_with("__") && HasShape(f, cpython::KnownSurplus::Shape::kForeignWrapper);
    }
    if (shape == cpython::KnownSurplus::Shape::kOfUfuncs) return RefersToA(f.address, "", kUfunc) != 0;
    if (shape == cpython::KnownSurplus::Shape::kPybindWeakref) return IsPybindWeakref(f);
    if (shape == cpython::KnownSurplus::Shape::kForeignWrapper) {
      // PyWrapperDescrObject.d_base follows the fields that all descriptors have.
      const cpython::Layout& layout = in_.reader.runtime().layout;
      const cpython::Field last = layout.Has(cpython::Field::PyDescrObject_d_qualname) ? cpython::Field::PyDescrObject_d_qualname : cpython::Field::PyDescrObject_d_name;
      const Address base = layout.Has(last) ? in_.reader.process().memory.ReadPointer(f.address + layout.Offset(last) + 8).value_or(0) : 0;
      const target::Module* const module = ModuleOf(base);
      return f.object != heap::kNoNode && module != nullptr && !IsInterpreter(*module);
    }
    if (shape == cpython::KnownSurplus::Shape::kCythonBuiltin) return f.kind == CountFindingKind::kSurplus && IsBuiltin(f.address) && HasCython();
    if (shape == cpython::KnownSurplus::Shape::kF2pyName) return f.kind != CountFindingKind::kDeficit && IsF2pyName(f.address);
    if (shape == cpython::KnownSurplus::Shape::kLost) return f.kind == CountFindingKind::kLost;
    if (shape == cpython::KnownSurplus::Shape::kReplacedStatic) return ended_interpreters_ != 0 && IsReplaced(f);
    if (shape == cpython::KnownSurplus::Shape::kCythonNumber) return f.kind == CountFindingKind::kLost && IsCythonNumber(f.address);
    if (shape == cpython::KnownSurplus::Shape::kSipModule) return f.kind == CountFindingKind::kSurplus && IsSipModule(f.address);
    if (shape == cpython::KnownSurplus::Shape::kMypycImport) return f.kind == CountFindingKind::kSurplus && IsInMypycData(f.address);
    if (shape == cpython::KnownSurplus::Shape::kTwiceOfInstances) return f.kind == CountFindingKind::kSurplus && f.recorded - f.known - f.possible <= InstancesOf(f.address);
    if (shape == cpython::KnownSurplus::Shape::kShibokenItem) return IsShibokenEnumItem(f.address);
    if (shape == cpython::KnownSurplus::Shape::kLeftByThreads) return IsLeftByThreads(f);
    if (shape == cpython::KnownSurplus::Shape::kLeftUntracked) return ended_interpreters_ != 0 && IsLeftUntracked(f);
    if (shape == cpython::KnownSurplus::Shape::kGEnumValue) return IsGEnumValue(f);
    if (shape == cpython::KnownSurplus::Shape::kCythonMethod) return IsCythonMethod(f);
    if (shape == cpython::KnownSurplus::Shape::kLiteral) return f.kind != CountFindingKind::kDeficit;
    if (shape == cpython::KnownSurplus::Shape::kSwigFunction) return f.kind == CountFindingKind::kSurplus && IsSwigFunction(f.address);
    if (shape == cpython::KnownSurplus::Shape::kPyo3Type) return IsPyo3Type(f.address);
    if (shape == cpython::KnownSurplus::Shape::kPyo3Attribute) return f.kind == CountFindingKind::kSurplus && IsPyo3Type(PointerAt(f.address, cpython::Field::PyObject_ob_type));
    if (shape == cpython::KnownSurplus::Shape::kCythonCode) return f.kind == CountFindingKind::kLost && IsCythonCode(f.address);
    if (shape == cpython::KnownSurplus::Shape::kNumpyPromoter) {
      const std::vector<Address> items = ItemsOf(f.address);
      if (f.kind != CountFindingKind::kSurplus || items.size() != 2 || labels_.TypeName(items[0]) != "tuple") return false;
      const std::string how = labels_.TypeName(items[1]);
      return how == "PyCapsule" || how == "numpy._ArrayMethod";
    }
    if (shape == cpython::KnownSurplus::Shape::kCythonNames) return f.kind == CountFindingKind::kLost && AreCythonNames(f.address);
    return true;
  }
  [[nodiscard]] bool Has(const CountFinding& f, const cpython::KnownSurplus& k) const {
    if (k.has.empty()) return true;
    const Address type_address = f.object != heap::kNoNode ? in_.heap.types[in_.heap.type[f.object]].address : PointerAt(f.address, cpython::Field::PyObject_ob_type);
    const objects::TypeFacts* const type = in_.reader.Type(type_address);
    if (type == nullptr) return false;
    std::vector<objects::LabelledReferent> labelled;
    in_.reader.LabelledReferents(f.address, *type, labelled);
    return std::any_of(labelled.begin(), labelled.end(), [&](const objects::LabelledReferent& l) { return in_.reader.LabelText(l) == k.has; });
  }

  const audit::AuditInput& in_;
  const Labels& labels_;
  const heap::ReferenceAudit& counts_;
  const analysis::CountAudit& audit_;
  mutable std::size_t data_searches_ = 0;     // see IsInData()
  mutable std::size_t literal_searches_ = 0;  // see IsLiteralOf()
  mutable std::map<std::int64_t, std::set<Address>> cython_numbers_;  // lost ints, by value
  mutable std::map<Address, std::string> module_of_dict_;
  mutable std::map<Address, std::uint64_t> instances_;  // by type; empty: not counted yet
  mutable std::optional<std::uint64_t> left_threads_;
  mutable std::map<std::string, std::uint64_t> findings_of_type_;  // where threads were left
  mutable std::vector<std::vector<Address>> names_of_module_;  // names of lost tuples that static data of a module has; sorted
  mutable bool looked_for_names_ = false;
  std::vector<cpython::KnownSurplus> known_;
  mutable std::map<std::pair<const target::Module*, std::string_view>, bool> has_text_;
  std::uint64_t ended_interpreters_ = EndedInterpreters();
  mutable std::map<std::string, std::set<Address>> nameless_, nameless_taken_;  // by type: those in static data, and findings that such ones replaced
  mutable std::vector<std::pair<std::string, Address>> replacements_;  // what static data have of the types of findings: type and name or value; sorted
  mutable bool looked_for_replacements_ = false;
};

}  // namespace

std::vector<KnownLeak> TakeKnownLeaks(const audit::AuditInput& input, const Labels& labels, const heap::ReferenceAudit& counts, analysis::CountAudit& audit, ProgressSink& progress) {
  const Matcher matcher(input, labels, counts, audit);
  std::vector<heap::NodeId> candidates;
  bool any = false;
  for (const CountFinding& f : audit.findings) {
    if (!matcher.MayBeKnown(f)) continue;
    any = true;
    if (f.object != heap::kNoNode && candidates.size() < kMaxCandidates) candidates.push_back(f.object);
  }
  if (!any) return {};
  std::sort(candidates.begin(), candidates.end());
  const std::vector<std::vector<audit::Holder>> holders =
      candidates.empty() ? std::vector<std::vector<audit::Holder>>{} : audit::FindHolders(input, candidates, kMostLookedAt, progress);
  // All are judged before one is taken out: what they are is told from the others, too.
  std::vector<KnownLeak> taken;
  std::vector<bool> is_known(audit.findings.size());
  std::size_t judged = 0;
  for (std::size_t i = 0; i < audit.findings.size() && judged < kMaxJudged; ++i) {
    const CountFinding& f = audit.findings[i];
    if (!matcher.MayBeKnown(f)) continue;
    ++judged;
    const auto at = std::lower_bound(candidates.begin(), candidates.end(), f.object);
    const bool has_holders = at != candidates.end() && *at == f.object;
    if (f.object != heap::kNoNode && !has_holders) continue;
    std::string cause = matcher.Cause(f, has_holders ? holders[static_cast<std::size_t>(at - candidates.begin())] : std::vector<audit::Holder>{});
    if (cause.empty()) continue;
    taken.push_back({f, std::move(cause)});
    is_known[i] = true;
  }
  std::size_t kept = 0;
  for (std::size_t i = 0; i < audit.findings.size(); ++i) {
    if (!is_known[i]) audit.findings[kept++] = audit.findings[i];
  }
  audit.findings.resize(kept);
  return taken;
}

}  // namespace pygc::engine
