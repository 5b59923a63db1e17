#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "core/cpython/gc_debug_style.h"
#include "core/engine/command.h"
#include "core/engine/facts.h"
#include "core/engine/labels.h"
#include "core/engine/resources.h"
#include "core/report/finalizer_kind.h"
#include "core/report/garbage_report.h"

namespace pygc::engine {
namespace {

// Files, sockets and locks among the items of gc.garbage, what only they keep alive, and the untracked objects that these refer to.
void AddResources(const CommandInput& in, report::GarbageReport& r) {
  const objects::ResourceReader reader(in.reader);
  std::set<Address> seen;
  const auto look = [&](Address address) {
    const std::optional<objects::Resource> found = seen.insert(address).second ? reader.Of(address) : std::nullopt;
    if (!found || !found->IsHeld()) return;
    ++r.resource_count;
    if (in.request.limit != 0 && r.resources.size() >= in.request.limit) return;
    if (std::optional<report::ResourceRow> row = ResourceAt(in, reader, address)) r.resources.push_back(std::move(*row));
  };
  graph::NodeSet nodes(in.heap.size());
  in.verdict.held_by_garbage.ForEach([&](heap::NodeId n) { nodes.Insert(n); });
  for (const heap::InterpreterRecord& interpreter : in.heap.interpreters) {
    for (const heap::NodeId n : interpreter.garbage) {
      if (n != heap::kNoNode) nodes.Insert(n);
    }
  }
  objects::ReferentBuffer referents;
  nodes.ForEach([&](heap::NodeId n) {
    const Address address = in.heap.AddressOf(n);
    look(address);
    const Result<Address> type = in.reader.process().memory.ReadPointer(address + in.reader.runtime().layout.Offset(cpython::Field::PyObject_ob_type));
    const objects::TypeFacts* const facts = type ? in.reader.Type(*type) : nullptr;
    if (facts == nullptr) return;
    referents.clear();
    (void)in.reader.Referents(address, *facts, referents);
    for (const Address referent : referents) {
      if (in.heap.index.Find(referent) == heap::kNoNode) look(referent);
    }
  });
}

}  // namespace

Outcome RunGarbage(const CommandInput& in) {
  const heap::HeapSnapshot& heap = in.heap;
  const Labels labels(in.reader, in.request.redact);
  report::GarbageReport r;
  r.legacy_instances = HasLegacyInstances(in.reader.runtime());
  r.in_garbage = in.verdict.garbage_count;

  std::map<std::tuple<std::int64_t, std::string, report::Reason>, report::GarbageGroup> groups;
  for (const heap::InterpreterRecord& interpreter : heap.interpreters) {
    for (std::size_t i = 0; i < std::max(interpreter.garbage.size(), interpreter.garbage_addresses.size()); ++i) {
      const heap::NodeId node = i < interpreter.garbage.size() ? interpreter.garbage[i] : heap::kNoNode;
      const Address address = node != heap::kNoNode ? heap.AddressOf(node) : interpreter.garbage_addresses[i];
      const std::string type = labels.TypeName(address);
      const bool legacy = node != heap::kNoNode && ((heap.flags[node] & heap::kLegacyFinalizer) || heap.types[heap.type[node]].legacy_finalizer);
      const report::Reason reason = legacy                              ? report::Reason::kLegacyFinalizer
                                    : interpreter.debug & cpython::kDebugSaveAll ? report::Reason::kSaveAll
                                                                        : report::Reason::kInGarbage;
      report::GarbageGroup& g = groups[{interpreter.id, type, reason}];
      if (g.objects++ == 0) {
        g.type = type;
        g.reason = reason;
        g.interpreter = interpreter.id;
        if (legacy) g.finalizer = report::FinalizerKind(heap.types[heap.type[node]], heap.flags[node]);
      }
      g.bytes += labels.SizeOf(address);
      g.addresses.push_back(address);
    }
  }
  // What nothing but gc.garbage keeps alive, without the items themselves.
  in.verdict.held_by_garbage.ForEach([&](heap::NodeId n) { r.held += heap.IsTracked(n) && !in.verdict.in_garbage[n]; });

  for (auto& [key, g] : groups) {
    if (!PassesFilters(in.request, g.type, {})) {
      ++r.groups_ignored;
      continue;
    }
    std::sort(g.addresses.begin(), g.addresses.end());
    if (in.request.limit != 0 && g.addresses.size() > in.request.limit) g.addresses.resize(in.request.limit);
    r.groups.push_back(std::move(g));
  }
  std::stable_sort(r.groups.begin(), r.groups.end(),
                   [](const auto& a, const auto& b) { return a.objects != b.objects ? a.objects > b.objects : a.type < b.type; });
  r.group_count = r.groups.size();
  AddResources(in, r);
  Outcome outcome;
  outcome.definite = !r.groups.empty();
  if (in.request.limit != 0 && r.groups.size() > in.request.limit) r.groups.resize(in.request.limit);
  outcome.document = Render(in, in.header, r);
  return outcome;
}

}  // namespace pygc::engine
