#include <algorithm>
#include <map>
#include <tuple>

#include "core/engine/command.h"
#include "core/engine/facts.h"
#include "core/engine/labels.h"
#include "core/report/finalizer_kind.h"
#include "core/report/garbage_report.h"

namespace pygc::engine {
namespace {

constexpr std::int32_t kDebugSaveAll = 32;  // CPython: gc.DEBUG_SAVEALL, all versions

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
                                    : interpreter.debug & kDebugSaveAll ? report::Reason::kSaveAll
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
  Outcome outcome;
  outcome.definite = !r.groups.empty();
  if (in.request.limit != 0 && r.groups.size() > in.request.limit) r.groups.resize(in.request.limit);
  outcome.document = Render(in.request, in.header, r, in.colour);
  return outcome;
}

}  // namespace pygc::engine
