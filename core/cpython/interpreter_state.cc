// See interpreter_state.h. CPython: Include/internal/pycore_interp.h, pycore_gc.h, pycore_runtime.h [3.7+]; Python/pystate.c, Modules/gcmodule.c [2.7, 3.6].
#include "core/cpython/interpreter_state.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "core/cpython/accessor.h"
#include "core/cpython/static_collector.h"
#include "core/cpython/target_objects.h"

namespace pygc::cpython {
namespace {

constexpr int kGenerations = 3;

std::uint64_t Masked(const Layout& layout, std::uint64_t word) noexcept {
  return word & static_cast<std::uint64_t>(layout.Value(Constant::GC_POINTER_MASK, -1));
}

bool IsFreeThreaded(const Layout& layout) noexcept { return layout.Value(Constant::GC_COLLECTOR) == 2; }

// The collector's state of an interpreter, or the process-wide one of 3.7 and 3.8; 0 up to 3.6.
Address CollectorAddress(const Layout& layout, const InterpreterSite& site, Address interpreter) noexcept {
  if (layout.Has(Field::PyInterpreterState_gc)) return interpreter + layout.Offset(Field::PyInterpreterState_gc);
  if (layout.Has(Field::PyRuntimeState_gc)) return site.runtime + layout.Offset(Field::PyRuntimeState_gc);
  return 0;
}

// Address of generations[0].
Address GenerationsAddress(const target::MemoryImage& memory, const Layout& layout, const InterpreterSite& site, Address interpreter) {
  const Address gc = CollectorAddress(layout, site, interpreter);
  if (gc != 0) return gc + layout.Offset(Field::gc_runtime_state_generations);
  if (site.generation0_variable == 0) return 0;
  const auto head = memory.ReadPointer(site.generation0_variable);
  return head ? *head : 0;
}

bool GenerationsHold(const target::MemoryImage& memory, const Layout& layout, Address first) {
  if (first == 0) return false;
  const std::uint32_t stride = layout.Size(Struct::gc_generation);
  for (std::uint32_t i = 0; i < kGenerations; ++i) {
    const auto threshold = memory.ReadValue<std::int32_t>(first + i * stride + layout.Offset(Field::gc_generation_threshold));
    const auto count = memory.ReadValue<std::int32_t>(first + i * stride + layout.Offset(Field::gc_generation_count));
    if (!threshold || !count || *threshold < 0) return false;
    if (!RingHolds(memory, layout, first + i * stride)) return false;
  }
  return true;
}

// The first thread state of `interpreter` points back at it. The main interpreter always has one; others may have none.
bool ThreadsHold(const TargetObjects& objects, Address interpreter) {
  const auto head = objects.Get(interpreter, Field::PyInterpreterState_threads_head);
  if (!head || *head == 0) return false;
  const auto owner = objects.Get(*head, Field::PyThreadState_interp);
  return owner && *owner == interpreter;
}

// Free-threaded: the four heaps of the main interpreter's first thread point at their tld and carry the tags 0 to 3. Tells mimalloc 2.1 from 2.5,
// which changed inside the 3.14 and 3.15 series. CPython: struct _mimalloc_thread_state, pycore_mimalloc.h.
bool HeapsHold(const TargetObjects& objects, const Layout& layout, Address interpreter) {
  const auto thread = objects.Get(interpreter, Field::PyInterpreterState_threads_head);
  if (!thread || !layout.Has(Field::PyThreadStateImpl_mimalloc)) return false;
  const Address mimalloc = *thread + layout.Offset(Field::PyThreadStateImpl_mimalloc);
  const auto initialized = objects.Get(mimalloc, Field::mimalloc_thread_state_initialized);
  const Address first = mimalloc + layout.Offset(Field::mimalloc_thread_state_heaps);
  if (!initialized || *initialized > 1) return false;
  const auto current = objects.Get(mimalloc, Field::mimalloc_thread_state_current_object_heap);
  if (*initialized == 0) return objects.Get(first, Field::mi_heap_tld) == 0 && current == 0;  // a thread that never ran
  if (!current || *current < first || *current >= first + 4 * std::uint64_t{layout.Size(Struct::mi_heap)}) return false;
  for (std::uint32_t i = 0; i < 4; ++i) {
    const Address heap = first + i * layout.Size(Struct::mi_heap);
    if (objects.Get(heap, Field::mi_heap_tld) != mimalloc + layout.Offset(Field::mimalloc_thread_state_tld)) return false;
    if (objects.Get(heap, Field::mi_heap_tag) != i) return false;
  }
  return true;
}

// All three are dicts; or none is there, before the interpreter is set up and after it is torn down.
bool DictsHold(const TargetObjects& objects, Address interpreter) {
  int dicts = 0, absent = 0;
  for (const Field f : {Field::PyInterpreterState_modules, Field::PyInterpreterState_sysdict, Field::PyInterpreterState_builtins}) {
    const auto dict = objects.Get(interpreter, f);
    if (dict && *dict == 0) ++absent;
    else if (dict && objects.IsDict(*dict)) ++dicts;
  }
  return dicts == 3 || absent == 3;
}

bool IsMissing(const target::Process& process, Address a) {
  return std::any_of(process.missing_ranges.begin(), process.missing_ranges.end(), [a](const target::MissingRange& m) { return m.range.Contains(a); });
}

// A list whose first or last member is in memory that is missing: the list is said to be broken, its head is not.
bool LeadsIntoMissing(const target::Process& process, const Layout& layout, Address head) {
  for (const Field link : {Field::PyGC_Head_gc_next, Field::PyGC_Head_gc_prev}) {
    const auto node = process.memory.ReadPointer(head + layout.Offset(link));
    if (node && IsMissing(process, Masked(layout, *node))) return true;
  }
  return false;
}

// The same where dicts, or their types, may be in memory that is missing. One that is there must be one.
bool DictsHoldOrMissing(const target::Process& process, const TargetObjects& objects, Address interpreter) {
  if (DictsHold(objects, interpreter)) return true;
  for (const Field f : {Field::PyInterpreterState_modules, Field::PyInterpreterState_sysdict, Field::PyInterpreterState_builtins}) {
    const auto dict = objects.Get(interpreter, f);
    if (!dict || *dict == 0) return false;
    const auto type = objects.TypeOf(*dict);
    const bool missing = type ? !objects.Get(*type, Field::PyTypeObject_tp_flags) && IsMissing(process, *type) : IsMissing(process, *dict);
    if (!missing && !objects.IsDict(*dict)) return false;
  }
  return true;
}

Address MainInterpreter(const target::MemoryImage& memory, const Layout& layout, const InterpreterSite& site, const std::vector<Address>& list) {
  if (site.runtime != 0 && layout.Has(Field::PyRuntimeState_interpreters_main)) {
    const auto main = memory.ReadPointer(site.runtime + layout.Offset(Field::PyRuntimeState_interpreters_main));
    if (main && std::find(list.begin(), list.end(), *main) != list.end()) return *main;
  }
  return list.empty() ? 0 : list.back();  // the list is newest first
}

void ReadThreads(const TargetObjects& objects, const Limits& limits, Interpreter& out, std::vector<std::string>& warnings) {
  std::unordered_set<Address> seen;
  auto next = objects.Get(out.address, Field::PyInterpreterState_threads_head);
  while (next && *next != 0) {
    if (out.threads.size() >= limits.max_threads || !seen.insert(*next).second) {
      warnings.push_back(fmt::format("the thread list of interpreter {} does not end: read up to {:#x}, {} threads", out.id, *next, out.threads.size()));
      return;
    }
    const auto owner = objects.Get(*next, Field::PyThreadState_interp);
    if (!owner) break;
    if (*owner != out.address) {
      warnings.push_back(fmt::format("the thread list of interpreter {} is cut at {:#x}: not a thread state of it", out.id, *next));
      return;
    }
    PyThread thread;
    thread.tstate = *next;
    thread.thread_id = objects.Get(*next, Field::PyThreadState_thread_id).value_or(0);
    thread.native_thread_id = objects.Get(*next, Field::PyThreadState_native_thread_id);
    out.threads.push_back(thread);
    next = objects.Get(*next, Field::PyThreadState_next);
  }
  if (!next || *next != 0) {
    warnings.push_back(fmt::format("the thread list of interpreter {} leads into memory that is missing: {} of its threads were read", out.id, out.threads.size()));
  }
}

GcGeneration ReadGeneration(const target::MemoryImage& memory, const Layout& layout, Address address) {
  GcGeneration g;
  g.head = address + layout.Offset(Field::gc_generation_head);
  g.threshold = memory.ReadValue<std::int32_t>(address + layout.Offset(Field::gc_generation_threshold)).value_or(0);
  g.count = memory.ReadValue<std::int32_t>(address + layout.Offset(Field::gc_generation_count)).value_or(0);
  return g;
}

Interpreter::Stats ReadStatsItem(const TargetObjects& objects, Address item) {
  Interpreter::Stats s;
  s.collections = static_cast<std::int64_t>(objects.Get(item, Field::gc_generation_stats_collections).value_or(0));
  s.collected = static_cast<std::int64_t>(objects.Get(item, Field::gc_generation_stats_collected).value_or(0));
  s.uncollectable = static_cast<std::int64_t>(objects.Get(item, Field::gc_generation_stats_uncollectable).value_or(0));
  return s;
}

// An array of three up to 3.14; 3.15: rings of records behind a pointer, the one at `index` is the latest and holds running totals.
std::vector<Interpreter::Stats> ReadStats(const target::MemoryImage& memory, const Layout& layout, const TargetObjects& objects, Address place) {
  std::vector<Interpreter::Stats> stats;
  const std::uint32_t stride = layout.Size(Struct::gc_generation_stats);
  if (stride == 0) return stats;
  if (layout.Value(Constant::GC_STATS_IS_POINTER) == 0) {
    for (std::uint32_t i = 0; i < kGenerations; ++i) stats.push_back(ReadStatsItem(objects, place + i * stride));
    return stats;
  }
  const auto block = memory.ReadPointer(place);
  if (!block || *block == 0) return stats;
  const auto one = [&](Address buffer, Field items, Field index) {
    const auto i = objects.Get(buffer, index);
    const std::uint32_t count = layout.Width(items) / stride;
    if (i && *i < count) stats.push_back(ReadStatsItem(objects, buffer + layout.Offset(items) + *i * stride));
  };
  one(*block + layout.Offset(Field::gc_stats_young), Field::gc_young_stats_buffer_items, Field::gc_young_stats_buffer_index);
  for (std::uint32_t i = 0; i < 2; ++i) {
    one(*block + layout.Offset(Field::gc_stats_old) + i * layout.Size(Struct::gc_old_stats_buffer), Field::gc_old_stats_buffer_items,
        Field::gc_old_stats_buffer_index);
  }
  if (stats.size() != kGenerations) stats.clear();
  return stats;
}

void ReadCollector(const target::MemoryImage& memory, const Layout& layout, const TargetObjects& objects, Address gc, bool with_lists, Interpreter& out) {
  const auto number = [&](Field f) { return static_cast<std::int64_t>(objects.Get(gc, f).value_or(0)); };
  out.enabled = number(Field::gc_runtime_state_enabled) != 0;
  out.debug = static_cast<std::int32_t>(number(Field::gc_runtime_state_debug));
  out.collecting = number(Field::gc_runtime_state_collecting) != 0;
  out.garbage = objects.Get(gc, Field::gc_runtime_state_garbage).value_or(0);
  out.callbacks = objects.Get(gc, Field::gc_runtime_state_callbacks).value_or(0);
  out.long_lived_total = number(Field::gc_runtime_state_long_lived_total);
  out.long_lived_pending = number(Field::gc_runtime_state_long_lived_pending);
  if (layout.Has(Field::gc_runtime_state_generation_stats)) {
    out.stats = ReadStats(memory, layout, objects, gc + layout.Offset(Field::gc_runtime_state_generation_stats));
  }
  if (!with_lists && out.collector != CollectorKind::kFreeThreaded) return;
  const Address first = gc + layout.Offset(Field::gc_runtime_state_generations);
  for (std::uint32_t i = 0; i < kGenerations; ++i) {
    out.generations.push_back(ReadGeneration(memory, layout, first + i * layout.Size(Struct::gc_generation)));
    if (!with_lists) {  // thresholds and counts are in use, the lists are not
      out.generations.back().head = 0;
      continue;
    }
    // gc.get_objects(generation=2) is both old spaces of the incremental collector, generation=1 is always empty.
    out.generation_number.push_back(static_cast<std::uint8_t>(out.collector == CollectorKind::kIncremental && i == 1 ? 2 : i));
  }
  if (with_lists && layout.Has(Field::gc_runtime_state_permanent_generation)) {
    out.permanent = ReadGeneration(memory, layout, gc + layout.Offset(Field::gc_runtime_state_permanent_generation));
  }
}

void SetProbed(Layout& layout, Field f, std::uint32_t offset, std::vector<std::string>& warnings) {
  if (layout.Has(f) && layout.Offset(f) == offset) return;
  warnings.push_back(fmt::format("{}: {} says {}, the memory's structure says {}; taken: {}", FieldName(f), layout.name,
                                 layout.Has(f) ? fmt::format("{}", layout.Offset(f)) : "nothing", offset, offset));
  layout.Set(f, FieldPlace{offset, std::max<std::uint32_t>(layout.Width(f), 8), Provenance::kProbed});
}

// Offsets 0, 8, -8, 16, ... around `center` up to `reach`, nearest first, for which `holds` is true.
template <typename Holds>
std::optional<std::uint32_t> NearestOffset(std::uint32_t center, std::uint32_t reach, std::uint32_t step, const Holds& holds) {
  for (std::uint32_t d = 0; d <= reach; d += step) {
    if (holds(center + d)) return center + d;
    if (d != 0 && d <= center && holds(center - d)) return center - d;
  }
  return std::nullopt;
}

}  // namespace

bool RingHolds(const target::MemoryImage& memory, const Layout& layout, Address head) {
  const std::uint32_t next_offset = layout.Offset(Field::PyGC_Head_gc_next), prev_offset = layout.Offset(Field::PyGC_Head_gc_prev);
  const auto next = memory.ReadPointer(head + next_offset), prev = memory.ReadPointer(head + prev_offset);
  if (!next || !prev || *next == 0 || *prev == 0) return false;
  const auto back = memory.ReadPointer(Masked(layout, *next) + prev_offset), forth = memory.ReadPointer(Masked(layout, *prev) + next_offset);
  if (!back || !forth) return false;
  // While a collection runs, gc_prev of the members holds counts: then only the forward links speak.
  return Masked(layout, *forth) == head || (Masked(layout, *back) == head && Masked(layout, *next) != head);
}

std::vector<Address> ListInterpreters(const target::MemoryImage& memory, const Layout& layout, const InterpreterSite& site, const Limits& limits) {
  std::vector<Address> list;
  const Address variable = site.runtime != 0 ? site.runtime + layout.Offset(Field::PyRuntimeState_interpreters_head) : site.interpreters_variable;
  if (variable == 0 || (site.runtime != 0 && !layout.Has(Field::PyRuntimeState_interpreters_head))) return list;
  std::unordered_set<Address> seen;
  auto next = memory.ReadPointer(variable);
  while (next && *next != 0 && list.size() < limits.max_interpreters && seen.insert(*next).second) {
    const Address interpreter = *next;
    next = memory.ReadPointer(interpreter + layout.Offset(Field::PyInterpreterState_next));
    if (!next) break;
    list.push_back(interpreter);
  }
  return list;
}

bool LayoutFits(const target::Process& process, const Layout& layout, const InterpreterSite& site, const Limits& limits) {
  const target::MemoryImage& memory = process.memory;
  const TargetObjects objects(memory, layout);
  const std::vector<Address> list = ListInterpreters(memory, layout, site, limits);
  if (list.empty()) return false;
  const Address main = MainInterpreter(memory, layout, site, list);
  if (!ThreadsHold(objects, main) || !DictsHold(objects, main)) return false;
  if (IsFreeThreaded(layout)) return HeapsHold(objects, layout, main);
  return GenerationsHold(memory, layout, GenerationsAddress(memory, layout, site, main));
}

bool LacksWhatFits(const target::Process& process, const Layout& layout, const InterpreterSite& site, const Limits& limits) {
  const target::MemoryImage& memory = process.memory;
  const TargetObjects objects(memory, layout);
  const std::vector<Address> list = ListInterpreters(memory, layout, site, limits);
  if (list.empty()) return false;  // LostState() tells
  const Address main = MainInterpreter(memory, layout, site, list);
  const auto thread = objects.Get(main, Field::PyInterpreterState_threads_head);
  if (!thread || (*thread != 0 && !objects.Get(*thread, Field::PyThreadState_interp))) return true;
  for (const Field f : {Field::PyInterpreterState_modules, Field::PyInterpreterState_sysdict, Field::PyInterpreterState_builtins}) {
    const auto dict = objects.Get(main, f);
    const auto type = dict && *dict != 0 ? objects.TypeOf(*dict) : std::optional<Address>(0);
    if (!dict || !type || (*type != 0 && !objects.Get(*type, Field::PyTypeObject_tp_flags))) return true;
  }
  if (IsFreeThreaded(layout)) {
    return layout.Has(Field::PyThreadStateImpl_mimalloc) && *thread != 0 &&
           memory.At(*thread + layout.Offset(Field::PyThreadStateImpl_mimalloc), layout.Size(Struct::mi_heap)) == nullptr;
  }
  const Address first = GenerationsAddress(memory, layout, site, main);
  for (int i = 0; first != 0 && i < kGenerations; ++i) {
    const Address head = first + static_cast<std::uint32_t>(i) * layout.Size(Struct::gc_generation);
    for (const Field link : {Field::PyGC_Head_gc_next, Field::PyGC_Head_gc_prev}) {
      const auto node = memory.ReadPointer(head + layout.Offset(link));
      if (!node || (*node != 0 && memory.At(Masked(layout, *node), layout.Size(Struct::PyGC_Head)) == nullptr && IsMissing(process, Masked(layout, *node)))) return true;
    }
  }
  return first == 0 && site.generation0_variable != 0;
}

bool IsComingOrGoing(const target::Process& process, const Layout& layout, const InterpreterSite& site, const Limits& limits) {
  const TargetObjects objects(process.memory, layout);
  const std::vector<Address> list = ListInterpreters(process.memory, layout, site, limits);
  if (list.empty()) return false;
  const Address main = MainInterpreter(process.memory, layout, site, list);
  const auto is_absent = [&](Field f) { return objects.Get(main, f) == 0; };
  return is_absent(Field::PyInterpreterState_modules) || is_absent(Field::PyInterpreterState_sysdict) || is_absent(Field::PyInterpreterState_builtins) ||
         is_absent(Field::PyInterpreterState_threads_head);
}

bool CorrectByStructure(const target::Process& process, const InterpreterSite& site, const Limits& limits, Layout& layout, std::vector<std::string>& warnings) {
  const target::MemoryImage& memory = process.memory;
  const std::vector<Address> list = ListInterpreters(memory, layout, site, limits);
  if (list.empty()) return false;
  const Address main = MainInterpreter(memory, layout, site, list);
  const std::uint32_t reach = 512;
  if (const TargetObjects objects(memory, layout); !ThreadsHold(objects, main)) {
    const auto found = NearestOffset(layout.Offset(Field::PyInterpreterState_threads_head), reach, 8, [&](std::uint32_t offset) {
      const auto head = memory.ReadPointer(main + offset);
      if (!head || *head == 0) return false;
      const auto owner = objects.Get(*head, Field::PyThreadState_interp);
      return owner && *owner == main;
    });
    if (found) SetProbed(layout, Field::PyInterpreterState_threads_head, *found, warnings);
  }
  if (const TargetObjects objects(memory, layout); !DictsHold(objects, main)) {
    const auto is_dict = [&](std::uint32_t offset) {
      const auto p = memory.ReadPointer(main + offset);
      return p && *p != 0 && objects.IsDict(*p);
    };
    const auto is_list = [&](std::uint32_t offset) {
      const auto p = memory.ReadPointer(main + offset);
      return p && *p != 0 && objects.IsList(*p);
    };
    // modules is followed by the list modules_by_index (3.x), builtins by ... nothing sure, but sysdict comes right before builtins everywhere.
    const auto modules = NearestOffset(layout.Offset(Field::PyInterpreterState_modules), reach, 8,
                                       [&](std::uint32_t o) { return is_dict(o) && (is_list(o + 8) || is_dict(o + 8)); });
    if (modules) SetProbed(layout, Field::PyInterpreterState_modules, *modules, warnings);
    const auto sysdict = NearestOffset(layout.Offset(Field::PyInterpreterState_sysdict), reach, 8,
                                       [&](std::uint32_t o) { return is_dict(o) && is_dict(o + 8); });
    if (sysdict) {
      SetProbed(layout, Field::PyInterpreterState_sysdict, *sysdict, warnings);
      SetProbed(layout, Field::PyInterpreterState_builtins, *sysdict + 8, warnings);
    }
  }
  if (!IsFreeThreaded(layout) && !GenerationsHold(memory, layout, GenerationsAddress(memory, layout, site, main))) {
    const Address gc = CollectorAddress(layout, site, main);
    if (gc != 0) {
      // Heads lie 4-aligned in builds with a patched PyGC_Head (Debian 3.13).
      const Field container = layout.Has(Field::PyInterpreterState_gc) ? Field::PyInterpreterState_gc : Field::PyRuntimeState_gc;
      const std::uint32_t inner = layout.Offset(Field::gc_runtime_state_generations);
      const Address base = gc - layout.Offset(container);
      const auto found = NearestOffset(layout.Offset(container) + inner, 4096, 4, [&](std::uint32_t o) { return GenerationsHold(memory, layout, base + o); });
      if (found) {
        const std::uint32_t expected = layout.Offset(container) + inner;
        if (*found + 8 > expected && *found < expected + 8) {  // the whole state did not move, only the heads in it
          SetProbed(layout, Field::gc_runtime_state_generations, inner + *found - expected, warnings);
        } else if (*found >= inner) {
          SetProbed(layout, container, *found - inner, warnings);
        }
      }
    }
  }
  return LayoutFits(process, layout, site, limits);
}

bool FindRuntimeByAccessor(const target::Process& process, const Layout& layout, const Limits& limits, InterpreterSite& site) {
  if (!layout.Has(Field::PyRuntimeState_interpreters_head) || !SymbolAddress(*site.module, "PyInterpreterState_Head")) return false;
  const auto head = Accessors(process, *site.module).Returned("PyInterpreterState_Head", 8);
  const std::uint32_t inner = layout.Offset(Field::PyRuntimeState_interpreters_head);
  if (!head || *head < inner) return false;
  InterpreterSite guess = site;
  guess.runtime = *head - inner;
  if (!LayoutFits(process, layout, guess, limits)) return false;
  site.runtime = guess.runtime;
  site.explanation.push_back(fmt::format("_PyRuntime at {:#x} by running the accessor PyInterpreterState_Head of {} (no symbol)", site.runtime, site.module->path));
  return true;
}

bool FindRuntimeByStructure(const target::Process& process, const Layout& layout, const Limits& limits, InterpreterSite& site) {
  const target::MemoryImage& memory = process.memory;
  const bool statics = !layout.Has(Field::PyRuntimeState_interpreters_head);
  if (FindRuntimeByAccessor(process, layout, limits, site)) return true;
  for (const AddressRange& range : WritableData(process, *site.module)) {
    if (range.size() > (256u << 20)) continue;
    for (Address at = (range.begin + 7) & ~Address{7}; at + 8 <= range.end; at += 8) {
      const auto head = memory.ReadPointer(at);
      if (!head) {
        at = ((at + 4096) & ~Address{4095}) - 8;
        continue;
      }
      if (*head < 4096 || (*head & 7) != 0 || memory.At(*head, 64) == nullptr) continue;
      InterpreterSite guess = site;
      if (statics) {
        guess.interpreters_variable = at;
      } else {
        const std::uint32_t inner = layout.Offset(Field::PyRuntimeState_interpreters_head);
        if (at < inner) continue;
        guess.runtime = at - inner;
        const auto main = memory.ReadPointer(guess.runtime + layout.Offset(Field::PyRuntimeState_interpreters_main));
        if (!main || *main == 0 || memory.At(*main, 64) == nullptr) continue;
      }
      const TargetObjects objects(memory, layout);
      const auto thread = objects.Get(*head, Field::PyInterpreterState_threads_head);
      if (!thread || *thread == 0 || !ThreadsHold(objects, *head) || !DictsHoldOrMissing(process, objects, *head)) continue;
      const auto modules = objects.Get(*head, Field::PyInterpreterState_modules);
      if (!modules || *modules == 0) continue;
      if (!statics && !LayoutFits(process, layout, guess, limits) && !LacksWhatFits(process, layout, guess, limits)) continue;
      site.runtime = guess.runtime;
      site.interpreters_variable = guess.interpreters_variable;
      site.explanation.push_back(fmt::format("{} at {:#x} by its structure in the data of {} (no symbols)", statics ? "interp_head" : "_PyRuntime",
                                             statics ? at : guess.runtime, site.module->path));
      if (!statics) return true;
      // _PyGC_generation0 is a pointer to the first of three generations with descending default thresholds.
      for (Address g = (range.begin + 7) & ~Address{7}; g + 8 <= range.end; g += 8) {
        const auto first = memory.ReadPointer(g);
        if (first && range.Contains(*first) && GenerationsHold(memory, layout, *first) && ReadGeneration(memory, layout, *first).threshold > 0) {
          site.generation0_variable = g;
          return true;
        }
      }
      return false;
    }
  }
  return false;
}

Result<void> ReadInterpreters(const target::Process& process, const InterpreterSite& site, const Limits& limits, Runtime& runtime) {
  const target::MemoryImage& memory = process.memory;
  const Layout& layout = runtime.layout;
  const TargetObjects objects(memory, layout);
  std::vector<Address> list = ListInterpreters(memory, layout, site, limits);
  if (list.empty()) {
    return Fail(ErrorCode::kNotAnalysable, "{} has CPython {} mapped, but no interpreter is initialised in it: Python has not started yet, has ended, or was never used (the list in {} is empty)",
                process.executable.empty() ? "the process" : process.executable, runtime.version_text, site.module->path);
  }
  if (list.size() >= limits.max_interpreters) runtime.warnings.push_back(fmt::format("only the first {} interpreters are read (limit max_interpreters)", list.size()));
  const Address main = MainInterpreter(memory, layout, site, list);
  std::reverse(list.begin(), list.end());  // ids rise with age
  const auto kind = static_cast<CollectorKind>(std::clamp<std::int64_t>(layout.Value(Constant::GC_COLLECTOR), 0, 2));
  for (std::size_t i = 0; i < list.size(); ++i) {
    Interpreter one;
    one.address = list[i];
    one.id = static_cast<std::int64_t>(objects.Get(list[i], Field::PyInterpreterState_id).value_or(i));
    one.collector = kind;
    one.modules = objects.Get(list[i], Field::PyInterpreterState_modules).value_or(0);
    one.sysdict = objects.Get(list[i], Field::PyInterpreterState_sysdict).value_or(0);
    one.builtins = objects.Get(list[i], Field::PyInterpreterState_builtins).value_or(0);
    ReadThreads(objects, limits, one, runtime.warnings);
    // Up to 3.8 one collector serves all interpreters: its lists are read once, with the main interpreter.
    const bool with_lists = kind != CollectorKind::kFreeThreaded && (layout.Has(Field::PyInterpreterState_gc) || list[i] == main);
    if (const Address gc = CollectorAddress(layout, site, list[i]); gc != 0) {
      ReadCollector(memory, layout, objects, gc, with_lists, one);
    } else {
      ReadStaticCollector(process, site, with_lists, runtime, one);
    }
    runtime.interpreters.push_back(std::move(one));
  }
  std::stable_sort(runtime.interpreters.begin(), runtime.interpreters.end(), [&](const Interpreter& a, const Interpreter& b) {
    if ((a.address == main) != (b.address == main)) return a.address == main;
    return a.id < b.id;
  });
  for (const Interpreter& one : runtime.interpreters) {
    for (std::size_t g = 0; g < one.generations.size(); ++g) {
      if (one.generations[g].head != 0 && !RingHolds(memory, layout, one.generations[g].head) && !LeadsIntoMissing(process, layout, one.generations[g].head)) {
        runtime.warnings.push_back(fmt::format("generation {} of interpreter {}: the list head at {:#x} is not part of a ring{}", g, one.id,
                                               one.generations[g].head, one.collecting ? " (a collection is running)" : ""));
      }
    }
  }
  return {};
}

}  // namespace pygc::cpython
