// See static_collector.h. CPython: Modules/gcmodule.c [2.7, 3.6].
#include "core/cpython/static_collector.h"

#include <algorithm>
#include <cstdlib>

#include "core/cpython/accessor.h"
#include "core/cpython/target_objects.h"

namespace pygc::cpython {
namespace {

constexpr std::uint64_t kUnitBytes = 8192;  // the statics of one file lie within this (generation_stats and all: 0x98 bytes)

// The symbol `name` nearest to `anchor`: "debug", "enabled" and "garbage" are names that several files have.
// LTO appends ".lto_priv.0" and the like, so names are cut at the first dot.
std::optional<Address> StaticNear(const target::Module& module, std::string_view name, std::string_view anchor) {
  if (!module.file) return std::nullopt;
  const auto origin = module.file->FindSymbol(anchor);
  if (!origin || origin->is_undefined) return std::nullopt;
  std::optional<std::uint64_t> best;
  for (const elf::Symbol& s : module.file->symbols()) {
    if (s.is_undefined || s.is_function || s.name.substr(0, s.name.find('.')) != name) continue;
    const auto distance = [&](std::uint64_t a) { return a > origin->address ? a - origin->address : origin->address - a; };
    if (distance(s.address) <= kUnitBytes && (!best || distance(s.address) < distance(*best))) best = s.address;
  }
  if (!best) return std::nullopt;
  return *best + static_cast<std::uint64_t>(module.load_bias);
}

// The int that a function of the gc module (a builtin function object in its dict) reads first.
std::optional<Address> StaticOfGcFunction(Accessors& accessors, const TargetObjects& objects, Address gc_dict, std::string_view function) {
  const Address object = objects.Find(gc_dict, function);
  if (object == 0) return std::nullopt;
  const auto method = objects.Get(object, Field::PyCFunctionObject_m_ml);
  const auto code = method ? objects.Get(*method, Field::PyMethodDef_ml_meth) : std::nullopt;
  return code ? accessors.Read(*code, 4) : std::nullopt;
}

bool InWritableData(const target::Process& process, const target::Module& module, Address a) {
  const auto ranges = WritableData(process, module);
  return std::any_of(ranges.begin(), ranges.end(), [&](const AddressRange& r) { return r.Contains(a, 4); });
}

}  // namespace

void ReadStaticCollector(const target::Process& process, const InterpreterSite& site, bool with_lists, Runtime& runtime, Interpreter& out) {
  const target::MemoryImage& memory = process.memory;
  const Layout& layout = runtime.layout;
  const TargetObjects objects(memory, layout);
  const target::Module& module = *site.module;

  Address gc_dict = 0;
  if (const Address gc_module = objects.Find(out.modules, "gc"); gc_module != 0) {
    gc_dict = objects.Get(gc_module, Field::PyModuleObject_md_dict).value_or(0);
  }
  const auto int_of = [&](std::optional<Address> a) -> std::optional<std::int32_t> {
    if (!a || !InWritableData(process, module, *a)) return std::nullopt;
    const auto value = memory.ReadValue<std::int32_t>(*a);
    return value ? std::optional(*value) : std::nullopt;
  };
  std::optional<Accessors> made;  // only where a symbol is missing
  const auto accessors = [&]() -> Accessors& { return made ? *made : made.emplace(process, module); };
  const auto say = [&](std::string text) {
    if (with_lists) runtime.explanation.push_back(std::move(text));
  };

  // enabled is initialised (.data, beside generations); the others are zero at start (.bss, beside long_lived_pending).
  auto enabled = int_of(StaticNear(module, "enabled", "generations"));
  if (!enabled || (*enabled != 0 && *enabled != 1)) {
    enabled = int_of(StaticOfGcFunction(accessors(), objects, gc_dict, "isenabled"));
    if (enabled && *enabled != 0 && *enabled != 1) enabled.reset();
    if (enabled) say("collector on/off by running the accessor gc.isenabled (no symbol)");
  }
  if (enabled) out.enabled = *enabled != 0;
  else if (gc_dict == 0) say("collector on: the gc module was never imported, nothing else switches it off");
  else {
    out.enabled_known = false;
    if (with_lists) runtime.warnings.push_back("whether the collector is on is not known, as the interpreter's own file is not here: a new process has it on");
  }

  auto debug = int_of(StaticNear(module, "debug", "long_lived_pending"));
  if (!debug) {
    debug = int_of(StaticOfGcFunction(accessors(), objects, gc_dict, "get_debug"));
    if (debug) say("debug flags by running the accessor gc.get_debug (no symbol)");
  }
  if (!debug) {  // CPython: _PyGC_DumpShutdownStats(), Modules/gcmodule.c [3.4+], asks for the debug flags first and then for the garbage
    debug = int_of(accessors().Read("_PyGC_DumpShutdownStats", 4));
    if (debug) say("debug flags by running the accessor _PyGC_DumpShutdownStats (no symbol)");
  }
  if (debug && (*debug & ~0x3F) == 0) out.debug = *debug;
  else if (gc_dict != 0) say("debug flags of the collector are not known (no symbols); taken as none");

  auto collecting = int_of(StaticNear(module, "collecting", "long_lived_pending"));
  if (!collecting) {
    collecting = int_of(accessors().Read("PyGC_Collect", 4));  // it asks first whether a collection runs [2.7-3.6]
    if (collecting) say("whether a collection is running by running the accessor PyGC_Collect (no symbol)");
  }
  if (collecting && (*collecting == 0 || *collecting == 1)) out.collecting = *collecting != 0;
  else say("whether a collection is running is not known (no symbols)");

  const auto pointer_of = [&](std::string_view name) -> Address {
    const auto place = StaticNear(module, name, "long_lived_pending");
    const auto value = place ? memory.ReadPointer(*place) : Result<Address>(0);
    return value && (*value == 0 || objects.IsList(*value)) ? *value : 0;
  };
  out.garbage = pointer_of("garbage");
  if (out.garbage == 0 && gc_dict != 0) out.garbage = objects.Find(gc_dict, "garbage");
  bool garbage_known = out.garbage != 0 || StaticNear(module, "garbage", "long_lived_pending").has_value();
  if (!garbage_known) {
    // The garbage list is there without the module where an automatic collection found something to keep.
    const auto place = accessors().Read("_PyGC_DumpShutdownStats", 8);
    const auto value = place ? memory.ReadPointer(*place) : Result<Address>(0);
    garbage_known = place && value && (*value == 0 || objects.IsList(*value));
    if (garbage_known) out.garbage = *value;
    if (garbage_known) say("gc.garbage by running the accessor _PyGC_DumpShutdownStats (no symbol)");
  }
  out.callbacks = pointer_of("callbacks");
  if (out.callbacks == 0 && gc_dict != 0) out.callbacks = objects.Find(gc_dict, "callbacks");
  if (!garbage_known) {
    say("gc.garbage is not known: no symbols, and the gc module was never imported");
  }

  const auto count_of = [&](std::string_view name) -> std::int64_t {
    const auto place = StaticNear(module, name, "generations");
    const auto near_bss = place ? place : StaticNear(module, name, "long_lived_pending");
    return near_bss ? memory.ReadValue<std::int64_t>(*near_bss).value_or(0) : 0;
  };
  out.long_lived_total = count_of("long_lived_total");
  out.long_lived_pending = count_of("long_lived_pending");
  if (layout.Has(Struct::gc_generation_stats)) {  // 3.6: a static array of three
    if (const auto place = StaticNear(module, "generation_stats", "long_lived_pending")) {
      for (std::uint32_t i = 0; i < 3; ++i) {
        const Address item = *place + i * layout.Size(Struct::gc_generation_stats);
        Interpreter::Stats s;
        s.collections = static_cast<std::int64_t>(objects.Get(item, Field::gc_generation_stats_collections).value_or(0));
        s.collected = static_cast<std::int64_t>(objects.Get(item, Field::gc_generation_stats_collected).value_or(0));
        s.uncollectable = static_cast<std::int64_t>(objects.Get(item, Field::gc_generation_stats_uncollectable).value_or(0));
        out.stats.push_back(s);
      }
    }
  }

  if (!with_lists || site.generation0_variable == 0) return;
  const auto first = memory.ReadPointer(site.generation0_variable);
  if (!first) return;
  for (std::uint32_t i = 0; i < 3; ++i) {
    const Address generation = *first + i * layout.Size(Struct::gc_generation);
    GcGeneration g;
    g.head = generation + layout.Offset(Field::gc_generation_head);
    g.threshold = memory.ReadValue<std::int32_t>(generation + layout.Offset(Field::gc_generation_threshold)).value_or(0);
    g.count = memory.ReadValue<std::int32_t>(generation + layout.Offset(Field::gc_generation_count)).value_or(0);
    out.generations.push_back(g);
    out.generation_number.push_back(static_cast<std::uint8_t>(i));
  }
}

}  // namespace pygc::cpython
