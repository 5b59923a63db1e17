// Finds the interpreter of a process: sites (interpreter_site), layout (layout_resolver), state (interpreter_state), then the few addresses that readers of
// objects need. The order matters: nothing is read through a layout before the layout was tested on the process.
#include "core/cpython/runtime.h"

#include <algorithm>

#include "core/cpython/interpreter_site.h"
#include "core/cpython/interpreter_state.h"
#include "core/cpython/layout_resolver.h"
#include "core/cpython/target_objects.h"

namespace pygc::cpython {
namespace {

struct Attempt {
  InterpreterSite site;
  LayoutChoice choice;
  std::size_t interpreters = 0;
  std::string state_lost = {};  // see Runtime::state_lost
  bool seen_to_fit = false;     // the process was read through the layout; choice.fits also where too much is missing to do that
};

std::string SiteBuildId(const InterpreterSite& site) {
  return site.module->build_id.empty() ? site.module->file_build_id : site.module->build_id;
}

// True where something may be missing that leads to the interpreters: they need not lie in the module's own data.
bool LacksMemory(const target::Process& process) {
  return std::any_of(process.missing_ranges.begin(), process.missing_ranges.end(),
                     [&](const target::MissingRange& m) { return m.use == target::MissingUse::kUsed || m.module >= process.modules.size(); });
}

Result<Attempt> TrySite(const target::Process& process, InterpreterSite site, const Limits& limits, const std::string& user_layout_file) {
  const BuildIdentity build{site.version, site.flavor, SiteBuildId(site), site.debug_offsets};
  const bool located = site.runtime != 0 || (site.interpreters_variable != 0 && site.generation0_variable != 0);
  const LayoutTest test = [&](const Layout& layout) {
    if (located) return LayoutFits(process, layout, site, limits);
    InterpreterSite guess = site;
    return FindRuntimeByStructure(process, layout, limits, guess) && LayoutFits(process, layout, guess, limits);
  };
  Result<LayoutChoice> choice = ResolveLayout(build, process.memory, test, user_layout_file);
  if (!choice) return tl::unexpected(choice.error());
  if (!choice->fits && !located && !site.flavor.trace_refs && site.version < PythonVersion{3, 8, 0, 0, 0}) {
    // Without a file nothing tells a Py_TRACE_REFS build (Debian's python2.7-dbg) from a release build but that its objects are found.
    InterpreterSite other = site;
    other.flavor.trace_refs = other.flavor.debug = true;
    if (Result<Attempt> attempt = TrySite(process, std::move(other), limits, user_layout_file); attempt && attempt->seen_to_fit) return attempt;
  }
  const bool seen_to_fit = choice->fits;
  if (std::string lost = choice->fits ? std::string() : LostState(process, choice->layout, site); !lost.empty()) {
    return Attempt{std::move(site), std::move(*choice), 0, std::move(lost)};
  }
  if (!located && !FindRuntimeByStructure(process, choice->layout, limits, site)) {
    if (LacksMemory(process)) return Attempt{std::move(site), std::move(*choice), 0, "what leads to the interpreters"};
    return Fail(ErrorCode::kNotAnalysable, "CPython {} is mapped from {}, but its interpreters were not found: {}", site.version.text(), site.module->path,
                site.module->file ? "no symbols, and nothing in its data looks like them" : "its file is missing; give --sysroot DIR or --module NAME=FILE");
  }
  const bool exact = choice->layout.Place(Field::PyInterpreterState_modules).provenance >= Provenance::kTableExact;
  if (!choice->fits && exact && IsComingOrGoing(process, choice->layout, site, limits)) {
    choice->fits = true;  // of this very version: what is not there is not there yet, or not any more
    choice->warnings.push_back("the interpreter was starting up or shutting down when the process stopped: some of its modules and dicts are not there");
  }
  if (!choice->fits && LacksWhatFits(process, choice->layout, site, limits)) {
    if (exact) {
      choice->fits = true;  // of this very version, and nothing that is there speaks against it
      choice->explanation.push_back(fmt::format("layout {} could not be tried on all of the interpreter's state: some of it is not in the image", choice->layout.name));
    } else {
      choice->warnings.push_back(fmt::format("layout {} is the nearest that is known, and too much is missing to try it on this process: results may be wrong", choice->layout.name));
    }
  } else if (!choice->fits && choice->certain) {
    choice->warnings.push_back(fmt::format("what layout {}, derived from this very build, should find is not there in all places: the memory is damaged",
                                           choice->layout.name));
  } else if (!choice->fits) {
    choice->fits = CorrectByStructure(process, site, limits, choice->layout, choice->warnings);
    if (!choice->fits) {
      choice->warnings.push_back(fmt::format("the process read through layout {} does not look right in all places: results may be wrong; "
                                             "scripts/gen_layout.py derives the layout of a build with debug information, --layout FILE uses it",
                                             choice->layout.name));
    }
  }
  Attempt attempt{std::move(site), std::move(*choice), 0, {}, seen_to_fit};
  attempt.interpreters = ListInterpreters(process.memory, attempt.choice.layout, attempt.site, limits).size();
  return attempt;
}

GcHeadFormat HeadFormat(const Layout& layout) {
  GcHeadFormat format;
  format.size = layout.Size(Struct::PyGC_Head);
  format.next_offset = layout.Offset(Field::PyGC_Head_gc_next);
  format.prev_offset = layout.Offset(Field::PyGC_Head_gc_prev);
  format.refs_offset = layout.Offset(Field::PyGC_Head_gc_refs);
  format.pointer_mask = static_cast<std::uint64_t>(layout.Value(Constant::GC_POINTER_MASK, -1));
  format.finalized_bit = static_cast<std::uint64_t>(
      layout.Value(layout.Has(Constant::GC_PREV_FINALIZED) ? Constant::GC_PREV_FINALIZED : Constant::GC_REFS_FINALIZED));
  format.collecting_bit = static_cast<std::uint64_t>(layout.Value(Constant::GC_PREV_COLLECTING));
  format.unreachable_bit = static_cast<std::uint64_t>(layout.Value(Constant::GC_NEXT_UNREACHABLE));
  return format;
}

// The function that dicts with a non-str key use for look-ups, out of such a dict: lookdict is a file static, and in a stripped file without a name.
// CPython: lookdict_unicode in Objects/dictobject.c [3.3-3.10] falls back to lookdict for good when it meets such a key.
Address LookdictOfSomeDict(const target::MemoryImage& memory, const Runtime& runtime) {
  constexpr std::size_t kMaxObjects = 1u << 18;
  const Layout& layout = runtime.layout;
  const TargetObjects objects(memory, layout);
  const Address dict_type = runtime.interpreters.empty() ? 0 : objects.TypeOf(runtime.interpreters.front().sysdict).value_or(0);
  if (dict_type == 0) return 0;
  std::size_t steps = 0;
  for (const Interpreter& interpreter : runtime.interpreters) {
    for (auto g = interpreter.generations.rbegin(); g != interpreter.generations.rend(); ++g) {
      auto node = memory.ReadPointer(g->head + runtime.gc_head.next_offset);
      while (node && (*node & runtime.gc_head.pointer_mask) != g->head && *node != 0 && ++steps < kMaxObjects) {
        const Address head = *node & runtime.gc_head.pointer_mask;
        const Address object = head + runtime.gc_head.size;
        const auto type = objects.Get(object, Field::PyObject_ob_type);
        if (type && *type == dict_type) {
          bool other_key = false;
          objects.VisitDict(object, 64, [&](Address key, Address) {
            other_key = !objects.HasTypeFlags(key, Constant::TPFLAGS_UNICODE_SUBCLASS);
            return !other_key;
          });
          const auto keys = other_key ? objects.Get(object, Field::PyDictObject_ma_keys) : std::nullopt;
          const auto lookup = keys ? objects.Get(*keys, Field::PyDictKeysObject_dk_lookup) : std::nullopt;
          if (lookup && *lookup != 0) return *lookup;
        }
        node = memory.ReadPointer(head + runtime.gc_head.next_offset);
      }
    }
  }
  return 0;
}

void FindLookdict(const target::Process& process, const InterpreterSite& site, Runtime& runtime) {
  if (!runtime.layout.Has(Constant::RULE_DICT_VISITS_KEYS_BY_LOOKDICT)) return;
  runtime.lookdict = SymbolAddress(*site.module, "lookdict").value_or(0);
  const Address seen = LookdictOfSomeDict(process.memory, runtime);
  if (runtime.lookdict != 0 && seen != 0 && seen != runtime.lookdict) {
    runtime.warnings.push_back(fmt::format("lookdict: the symbol says {:#x}, a dict with other keys than str uses {:#x}; taken: {:#x}", runtime.lookdict, seen, seen));
  }
  if (seen != 0 && runtime.lookdict == 0) runtime.explanation.push_back(fmt::format("lookdict at {:#x} by a dict that has other keys than str (no symbol)", seen));
  if (seen != 0) runtime.lookdict = seen;
  if (runtime.lookdict == 0) runtime.explanation.push_back("lookdict not found: no symbol, and no dict with other keys than str");
}

// 3.4+: _PySet_Dummy is a pointer to _dummy_struct. 2.7: a static str, made when the first set is; dictobject.c has a static of the same name and
// comes before setobject.c in the link, so the set's one has the higher address. (2.7 built with Py_REF_DEBUG has a function called _PySet_Dummy.)
void FindSetDummy(const target::Process& process, const InterpreterSite& site, Runtime& runtime) {
  if (runtime.layout.version.major != 2) {
    if (const auto pointer = SymbolAddress(*site.module, "_PySet_Dummy")) runtime.set_dummy = process.memory.ReadPointer(*pointer).value_or(0);
    return;
  }
  if (!site.module->file) return;
  const TargetObjects objects(process.memory, runtime.layout);
  for (const elf::Symbol& s : site.module->file->symbols()) {  // sorted by address: the last one wins
    if (s.is_function || s.is_undefined || s.name.substr(0, s.name.find('.')) != "dummy") continue;
    const auto value = process.memory.ReadPointer(s.address + static_cast<std::uint64_t>(site.module->load_bias));
    if (value && *value != 0 && objects.TextIs(*value, "<dummy key>")) runtime.set_dummy = *value;
  }
  if (runtime.set_dummy == 0) runtime.explanation.push_back("the dummy entry of sets has no symbol");
}

// PyType_Type, where no symbol and no object leads to it: the only static object that is its own type.
Address TypeOfItself(const target::Process& process, const target::Module& module, const Layout& layout) {
  const TargetObjects objects(process.memory, layout);
  const std::uint32_t offset = layout.Offset(Field::PyObject_ob_type);
  for (const AddressRange& range : WritableData(process, module)) {
    for (Address at = (range.begin + 7) & ~Address{7}; at < range.end; at += 8) {
      const auto type = process.memory.ReadPointer(at + offset);
      if (!type) at = (at | 4095) - 7;  // the next page
      if (type && *type == at && objects.HasTypeFlags(at, Constant::TPFLAGS_TYPE_SUBCLASS)) return at;
    }
  }
  return 0;
}

void FindWellKnown(const target::Process& process, const InterpreterSite& site, Runtime& runtime) {
  const TargetObjects objects(process.memory, runtime.layout);
  runtime.none_object = SymbolAddress(*site.module, "_Py_NoneStruct").value_or(0);
  if (const auto type = SymbolAddress(*site.module, "PyType_Type")) runtime.type_type = *type;
  if (runtime.type_type == 0 && !runtime.interpreters.empty()) {
    // The type of dict is type.
    const auto dict_type = objects.TypeOf(runtime.interpreters.front().modules);
    if (dict_type) runtime.type_type = objects.Get(*dict_type, Field::PyObject_ob_type).value_or(0);
  }
  if (runtime.type_type == 0) runtime.type_type = TypeOfItself(process, *site.module, runtime.layout);
  if (runtime.none_object == 0 && !runtime.interpreters.empty()) {
    runtime.none_object = objects.Find(runtime.interpreters.front().builtins, "None");  // 2.7 and 3.x both have it there
  }
  FindSetDummy(process, site, runtime);
  FindLookdict(process, site, runtime);
}

// sys.hexversion against what was found: an independent source, read through the layout.
void CheckHexVersion(const target::Process& process, Runtime& runtime) {
  if (runtime.interpreters.empty()) return;
  const TargetObjects objects(process.memory, runtime.layout);
  const Address value = objects.Find(runtime.interpreters.front().sysdict, "hexversion");
  const auto hex = value != 0 ? objects.SmallInt(value) : std::nullopt;
  if (!hex) {
    runtime.explanation.push_back("sys.hexversion could not be read");
  } else if (*hex != static_cast<std::int64_t>(runtime.layout.version.hex())) {
    runtime.warnings.push_back(fmt::format("version: {:#010x} found, sys.hexversion says {:#010x}; taken: {:#010x}", runtime.layout.version.hex(), *hex,
                                           runtime.layout.version.hex()));
  } else {
    runtime.explanation.push_back("sys.hexversion agrees");
  }
}

}  // namespace

Result<Runtime> LocateRuntime(const target::Process& process, const Limits& limits, const std::string& user_layout_file,
                              std::span<const std::string> chosen_files) {
  std::vector<InterpreterSite> sites = FindInterpreterSites(process);
  if (sites.empty()) {
    if (process.may_be_wrong && !process.missing.empty()) {
      return Fail(ErrorCode::kNotAnalysable, "{}; no interpreter state in what came out ({}): copy the file again, or take a new core", process.missing.front().reason,
                  DescribeProgram(process));
    }
    if (process.core_bytes_present < process.core_bytes_expected && process.core_bytes_expected >> 48 == 0) {  // the interpreter may be in the part that is gone: no word on what the program is
      return Fail(ErrorCode::kNotAnalysable,
                  "the core is truncated: {} of {} bytes are there, and no interpreter state among them ({}); write it again whole (ulimit -c unlimited; "
                  "enough room on the disk)",
                  process.core_bytes_present, process.core_bytes_expected, DescribeProgram(process));
    }
    return Fail(ErrorCode::kNotAnalysable, "{}{}", LacksFiles(process) ? "no CPython found: " : "not CPython: ", DescribeProgram(process));
  }

  // Several images may carry an interpreter (an executable that embeds one, and a library that does too); the used one has interpreters. Where several are
  // used, the first stands for the main program (FindInterpreterSites), unless the user names another.
  std::optional<Attempt> best;
  std::optional<Error> first_error;
  std::vector<OtherRuntime> others;
  const auto rank = [&](const Attempt& a) {
    const bool chosen = std::find(chosen_files.begin(), chosen_files.end(), a.site.module->file_path) != chosen_files.end();
    return (a.choice.fits ? 4 : 0) + (a.interpreters != 0 ? 2 : 0) + (chosen ? 1 : 0);
  };
  const auto leave = [&](const Attempt& a) {
    if (a.interpreters != 0) others.push_back({a.site.version.text(), a.site.module->path});
  };
  for (InterpreterSite& site : sites) {
    Result<Attempt> attempt = TrySite(process, std::move(site), limits, user_layout_file);
    if (!attempt) {
      if (!first_error) first_error = attempt.error();
    } else if (!best || rank(*attempt) > rank(*best)) {
      if (best) leave(*best);
      best = std::move(*attempt);
    } else {
      leave(*attempt);
    }
  }
  if (!best) return tl::unexpected(*first_error);

  Runtime runtime;
  runtime.layout = std::move(best->choice.layout);
  runtime.version_text = runtime.layout.version.text();
  runtime.build_text = best->site.build_text;
  runtime.runtime_address = best->site.runtime;
  runtime.module_index = static_cast<std::size_t>(best->site.module - process.modules.data());
  runtime.gc_head = HeadFormat(runtime.layout);
  runtime.refcount = static_cast<RefcountFormat>(std::clamp<std::int64_t>(runtime.layout.Value(Constant::REFCOUNT_FORMAT), 0, 3));
  runtime.layout_tried_on_real_process = runtime.layout.tried;
  runtime.explanation = std::move(best->site.explanation);
  runtime.explanation.insert(runtime.explanation.end(), best->choice.explanation.begin(), best->choice.explanation.end());
  runtime.warnings = std::move(best->choice.warnings);
  runtime.others = std::move(others);
  runtime.state_lost = std::move(best->state_lost);
  if (!runtime.state_lost.empty()) {
    runtime.explanation.push_back(fmt::format("interpreters not found: {} is missing", runtime.state_lost));
  } else if (const Result<void> read = ReadInterpreters(process, best->site, limits, runtime); !read) {
    return tl::unexpected(read.error());
  }
  FindWellKnown(process, best->site, runtime);
  CheckHexVersion(process, runtime);
  return runtime;
}

std::optional<Address> FindInterpreterSymbol(const target::Process& process, const Runtime& runtime, std::string_view name) {
  if (runtime.module_index >= process.modules.size()) return std::nullopt;
  return SymbolAddress(process.modules[runtime.module_index], name);
}

}  // namespace pygc::cpython
