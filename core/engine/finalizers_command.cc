#include <algorithm>
#include <map>

#include "core/engine/command.h"
#include "core/engine/facts.h"
#include "core/engine/labels.h"
#include "core/engine/resources.h"
#include "core/graph/scc.h"
#include "core/objects/frames.h"
#include "core/report/finalizer_kind.h"
#include "core/report/finalizers_report.h"

namespace pygc::engine {
namespace {

struct Row {
  report::FinalizerGroup group;
  std::vector<heap::NodeId> unreachable, others;  // at most as many as will be shown
};

bool HasFinalizer(const heap::HeapSnapshot& heap, heap::NodeId n) { return !report::FinalizerKind(heap.types[heap.type[n]], heap.flags[n]).empty(); }

// True for weakref.ref and its subclasses, by the chain of bases.
bool IsWeakReference(const objects::ObjectReader& reader, Address type, const Limits& limits) {
  for (std::size_t depth = 0; type != 0 && depth < limits.max_type_depth; ++depth) {
    const objects::TypeFacts* facts = reader.Type(type);
    if (facts == nullptr) return false;
    if (!facts->is_heap_type && (facts->name == "weakref" || facts->name == "weakref.ReferenceType" || facts->name == "weakref.ref")) return true;
    type = facts->tp_base;
  }
  return false;
}

// Callbacks that a full collection would call: of weak references that are in use, to objects that it would free. CPython: handle_weakrefs(),
// Modules/gcmodule.c [2.7-3.12], Python/gc.c [3.13+]. A weak reference that is unreachable itself is cleared without a call.
std::uint64_t CountWeakrefCallbacks(const CommandInput& in) {
  const cpython::Layout& layout = in.reader.runtime().layout;
  const std::uint32_t object_at = layout.Offset(cpython::Field::PyWeakReference_wr_object),
                      callback_at = layout.Offset(cpython::Field::PyWeakReference_wr_callback);
  const heap::HeapSnapshot& heap = in.heap;
  std::vector<bool> is_weakref(heap.types.size());
  for (std::size_t t = 0; t < heap.types.size(); ++t)
    is_weakref[t] = heap.types[t].address != 0 && IsWeakReference(in.reader, heap.types[t].address, in.request.limits);
  std::uint64_t callbacks = 0;
  heap.index.ForEach(0, heap.size(), [&](heap::NodeId n, Address address) {
    if (!is_weakref[heap.type[n]] || in.verdict.state[n] != analysis::State::kReachable) return;
    const target::MemoryImage& memory = in.reader.process().memory;
    if (memory.ReadPointer(address + callback_at).value_or(0) == 0) return;
    const heap::NodeId referent = heap.index.Find(memory.ReadPointer(address + object_at).value_or(0));
    callbacks += referent != heap::kNoNode && in.verdict.state[referent] != analysis::State::kReachable && !in.verdict.IsStuck(referent);
  });
  return callbacks;
}

// Everything but modules with their namespaces, classes, functions and frames: by way of these nearly everything is in one cycle, which no collection is about.
graph::NodeSet WithoutProgram(const CommandInput& in) {
  const heap::HeapSnapshot& heap = in.heap;
  std::vector<bool> is_program(heap.types.size());
  for (std::size_t t = 0; t < is_program.size(); ++t) {
    const objects::TypeFacts* const facts = heap.types[t].address == 0 ? nullptr : in.reader.Type(heap.types[t].address);
    const std::string& name = heap.types[t].name;
    is_program[t] = (facts != nullptr && facts->is_type_object) || name == "module" || name == "function" || name == "code" || name == "frame" || name == "classobj" || name == "builtin_function_or_method";
  }
  graph::NodeSet data(heap.size());
  for (heap::NodeId n = 0; n < heap.size(); ++n) {
    if (!is_program[heap.type[n]]) data.Insert(n);
  }
  if (in.roots == nullptr) return data;
  for (const heap::Root& root : in.roots->roots) {
    const heap::NodeId n = root.kind == heap::RootKind::kModule ? in.heap.index.Find(root.object) : heap::kNoNode;
    if (n != heap::kNoNode) data.Erase(n);
  }
  return data;
}

// Per node: it is unreachable or stuck, its finalizer has not run, and it shares a cycle with another such object. Only the part that nothing in use
// reaches counts: nearly all of a heap in use is one component (by way of types, functions and modules), which says nothing of any order.
std::vector<bool> FindUndefinedOrder(const heap::HeapSnapshot& heap, const analysis::Verdict& verdict) {
  graph::NodeSet dead(heap.size());
  const auto to_run = [&](heap::NodeId n) { return heap.IsTracked(n) && HasFinalizer(heap, n) && !(heap.flags[n] & heap::kFinalized); };
  for (heap::NodeId n = 0; n < heap.size(); ++n) {
    if (verdict.state[n] != analysis::State::kReachable) dead.Insert(n);
  }
  const graph::Components components = graph::StronglyConnectedComponents(heap.graph, &dead);
  std::vector<std::uint8_t> finalizers_in(components.count(), 0);  // 0, 1, 2: two or more
  dead.ForEach([&](heap::NodeId n) {
    std::uint8_t& found = finalizers_in[components.component_of[n]];
    if (found < 2 && to_run(n)) ++found;
  });
  std::vector<bool> undefined(heap.size());
  dead.ForEach([&](heap::NodeId n) { undefined[n] = finalizers_in[components.component_of[n]] > 1 && to_run(n); });
  return undefined;
}

// What may go on where it stands, by kind, code and line. False where the user stopped it.
bool FindSuspended(const CommandInput& in, std::uint64_t shown, report::FinalizersReport& r) {
  constexpr heap::NodeId kProgressStep = 4096;
  const heap::HeapSnapshot& heap = in.heap;
  const objects::FrameReader frames(in.reader);
  std::vector<bool> wanted(heap.types.size());
  for (std::size_t t = 0; t < wanted.size(); ++t) {
    const std::string& name = heap.types[t].name;
    wanted[t] = (name == "generator" || name == "coroutine" || name == "async_generator") && PassesFilters(in.request, name, {});
  }
  std::map<std::tuple<std::uint32_t, bool, Address, std::int64_t>, report::SuspendedGroup> groups;  // by type, begun or not, code and line
  for (heap::NodeId n = 0, seen = 0; n < heap.size(); ++n) {
    if (!wanted[heap.type[n]] || (in.request.generation && heap.Generation(n) != *in.request.generation)) continue;
    if (++seen % kProgressStep == 0 && !in.progress.Update("reading generators", seen, 0)) return false;
    const Address address = heap.AddressOf(n);
    const objects::GeneratorState state = frames.StateOf(address);
    if (state != objects::GeneratorState::kCreated && state != objects::GeneratorState::kSuspended) continue;
    const std::optional<objects::PythonFrame> frame = frames.FromGenerator(address);
    if (!frame || frame->code == 0) continue;
    const bool begun = state == objects::GeneratorState::kSuspended;
    report::SuspendedGroup& g = groups[{heap.type[n], begun, frame->code, begun ? frame->line : -1}];
    if (g.objects++ == 0) {
      g.type = heap.types[heap.type[n]].name;
      g.begun = begun;
      g.function = frames.QualifiedName(frame->code);
      g.file = frames.FileName(frame->code);
      g.line = begun ? frame->line : frames.FirstLine(frame->code);
    }
    g.unreachable += in.verdict.state[n] != analysis::State::kReachable;
    ++r.suspended_objects;
    if (g.addresses.size() < shown) g.addresses.push_back(address);
  }
  r.suspended_groups = groups.size();
  for (auto& [place, group] : groups) r.suspended.push_back(std::move(group));
  std::stable_sort(r.suspended.begin(), r.suspended.end(), [](const auto& a, const auto& b) {
    return std::tuple(b.objects, std::tie(a.file, a.line, a.function)) < std::tuple(a.objects, std::tie(b.file, b.line, b.function));
  });
  if (r.suspended.size() > shown) r.suspended.resize(static_cast<std::size_t>(shown));
  return true;
}

}  // namespace

Outcome RunFinalizers(const CommandInput& in) {
  const heap::HeapSnapshot& heap = in.heap;
  const Labels labels(in.reader, in.request.redact);
  const std::uint64_t shown = in.request.limit == 0 ? ~0ull : in.request.limit;
  report::FinalizersReport r;
  r.callbacks_known = in.reader.runtime().layout.Has(cpython::Field::PyWeakReference_wr_object);
  if (r.callbacks_known) r.callbacks = CountWeakrefCallbacks(in);
  r.runs_known = in.reader.runtime().gc_head.finalized_bit != 0 || in.reader.runtime().layout.flavor.free_threaded;

  const graph::NodeSet data = WithoutProgram(in);
  const graph::Components components = graph::StronglyConnectedComponents(heap.graph, &data);
  const std::vector<bool> order_undefined = FindUndefinedOrder(heap, in.verdict);
  std::map<std::tuple<std::optional<std::int64_t>, std::string, std::string>, Row> rows;  // by interpreter, type and kind
  for (heap::NodeId n = 0; n < heap.size(); ++n) {
    if (!heap.IsTracked(n) || !HasFinalizer(heap, n)) continue;
    if (in.request.generation && heap.Generation(n) != *in.request.generation) continue;
    const heap::TypeRecord& type = heap.types[heap.type[n]];
    // Classic instances share one type: their class's name has to be read. All others are named by their type.
    const std::string name = type.may_have_legacy_finalizer ? labels.TypeName(heap.AddressOf(n)) : type.name;
    const std::string kind(report::FinalizerKind(type, heap.flags[n]));
    const std::optional<std::int64_t> interpreter = heap.InterpreterIdOf(n);
    Row& row = rows[{interpreter, name, kind}];
    report::FinalizerGroup& g = row.group;
    const bool legacy = type.legacy_finalizer || (heap.flags[n] & heap::kLegacyFinalizer);
    if (g.objects++ == 0) {
      g.type = name;
      g.kind = kind;
      g.interpreter = interpreter;
      g.legacy = legacy;
    }
    const analysis::State state = in.verdict.state[n];
    const bool run = (heap.flags[n] & heap::kFinalized) != 0;
    g.run += run;
    g.pending += !run;
    g.resurrected += run && in.verdict.IsKnownInUse(n);
    const bool stuck = in.verdict.IsStuck(n);
    g.unreachable += !run && state != analysis::State::kReachable && !stuck;
    g.uncollectable += !run && stuck;
    const heap::NodeId c = components.component_of[n];
    if (c != heap::kNoNode && graph::IsCyclic(heap.graph, components, c)) ++g.in_cycles;
    g.order_undefined += order_undefined[n];
    std::vector<heap::NodeId>& list = state == analysis::State::kReachable ? row.others : row.unreachable;
    if (list.size() < shown) list.push_back(n);
  }
  for (auto& [key, row] : rows) {
    report::FinalizerGroup& g = row.group;
    if (!PassesFilters(in.request, g.type, {})) {
      ++r.groups_ignored;
      continue;
    }
    r.objects += g.objects;
    r.pending += g.pending;
    r.run += g.run;
    r.unreachable += g.unreachable;
    r.uncollectable += g.uncollectable;
    r.order_undefined += g.order_undefined;
    for (const std::vector<heap::NodeId>* list : {&row.unreachable, &row.others}) {
      for (const heap::NodeId n : *list) {
        if (g.addresses.size() < shown) g.addresses.push_back(heap.AddressOf(n));
      }
    }
    r.groups.push_back(std::move(g));
  }
  std::stable_sort(r.groups.begin(), r.groups.end(), [](const auto& a, const auto& b) {
    const auto weight = [](const report::FinalizerGroup& g) { return std::tuple(g.uncollectable, g.unreachable, g.kind == "__del__", g.objects); };
    return weight(a) > weight(b);
  });
  r.group_count = r.groups.size();
  Outcome outcome;
  outcome.interrupted = !FindSuspended(in, shown, r);
  ResourcesFound resources = FindResources(in, shown);
  r.resources = std::move(resources.rows);
  r.resource_count = resources.count;
  r.free_locks = resources.free_locks;
  r.closed = resources.closed;
  if (r.groups.size() > shown) r.groups.resize(shown);
  outcome.document = Render(in, in.header, r);
  return outcome;
}

}  // namespace pygc::engine
