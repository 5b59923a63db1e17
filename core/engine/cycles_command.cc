#include <algorithm>
#include <map>

#include "core/engine/command.h"
#include "core/engine/labels.h"
#include "core/graph/reachability.h"
#include "core/graph/scc.h"
#include "core/report/cycles_report.h"

namespace pygc::engine {
namespace {

using graph::Components;
using graph::NodeId;

// Components that look the same: the state and how many objects of each type.
struct Look {
  int order;  // of the state: uncollectable, unreachable, reachable
  std::vector<std::pair<std::uint32_t, std::uint32_t>> types;
  friend bool operator<(const Look& a, const Look& b) { return std::tie(a.order, a.types) < std::tie(b.order, b.types); }
};

struct Group {
  std::vector<NodeId> components;
  std::uint64_t objects = 0;
};

const char* StateName(int order) { return order == 0 ? "uncollectable" : order == 1 ? "unreachable" : "reachable"; }

Look LookOf(const CommandInput& in, std::span<const NodeId> members) {
  Look look;
  const analysis::State state = in.verdict.state[members[0]];
  look.order = state == analysis::State::kUncollectable ? 0 : state == analysis::State::kUnreachable ? 1 : 2;
  std::vector<std::uint32_t> types;
  types.reserve(members.size());
  for (const NodeId n : members) types.push_back(in.heap.type[n]);
  std::sort(types.begin(), types.end());
  for (const std::uint32_t t : types) {
    if (look.types.empty() || look.types.back().first != t) look.types.emplace_back(t, 0);
    ++look.types.back().second;
  }
  return look;
}

// The member after which a reader would name the component: an instance of a class with a module, else the rarest type; the lowest address of those.
NodeId HeadOf(const CommandInput& in, std::span<const NodeId> members, const Look& look) {
  std::uint32_t best = look.types.front().first, best_count = ~0u;
  bool best_dotted = false;
  for (const auto& [type, count] : look.types) {
    const bool dotted = in.heap.types[type].name.find('.') != std::string::npos;
    if (dotted > best_dotted || (dotted == best_dotted && count < best_count)) {
      best = type;
      best_count = count;
      best_dotted = dotted;
    }
  }
  for (const NodeId n : members) {
    if (in.heap.type[n] == best) return n;
  }
  return members[0];
}

// A shortest cycle through `head` inside its component.
std::vector<Address> CycleThrough(const CommandInput& in, const Components& components, NodeId head) {
  const NodeId c = components.component_of[head];
  graph::NodeSet within(in.heap.size());
  for (const NodeId n : components.Members(c)) within.Insert(n);
  std::vector<NodeId> starts;
  for (const NodeId n : in.heap.graph.Successors(head)) {
    if (within.Contains(n)) starts.push_back(n);
  }
  std::vector<NodeId> path = graph::ShortestPath(in.heap.graph, starts, head, &within);
  if (!path.empty()) std::rotate(path.begin(), path.end() - 1, path.end());  // from ... -> head becomes head -> from ...
  std::vector<Address> addresses;
  for (const NodeId n : path) addresses.push_back(in.heap.AddressOf(n));
  return addresses;
}

}  // namespace

Outcome RunCycles(const CommandInput& in) {
  const heap::HeapSnapshot& heap = in.heap;
  const Labels labels(in.reader, in.request.redact);
  const std::uint64_t shown = in.request.limit == 0 ? ~0ull : in.request.limit;
  report::CyclesReport r;

  const Components components = graph::StronglyConnectedComponents(heap.graph);
  std::map<Look, Group> looks;
  for (NodeId c = 0; c < components.count(); ++c) {
    const auto members = components.Members(c);
    if (!graph::IsCyclic(heap.graph, components, c)) continue;
    const Look look = LookOf(in, members);
    (look.order == 2 ? r.reachable_components : r.unreachable_components) += 1;
    (look.order == 2 ? r.reachable_objects : r.unreachable_objects) += members.size();
    Group& group = looks[look];
    group.components.push_back(c);
    group.objects += members.size();
  }
  std::vector<std::pair<const Look*, const Group*>> sorted;
  for (const auto& [look, group] : looks) {
    std::vector<std::string> types;
    for (const auto& [type, count] : look.types) types.push_back(heap.types[type].name);
    const std::string head = labels.TypeName(heap.AddressOf(HeadOf(in, components.Members(group.components.front()), look)));
    if (PassesFilters(in.request, head, types)) {
      sorted.emplace_back(&look, &group);
    } else {
      ++r.groups_ignored;
    }
  }
  std::stable_sort(sorted.begin(), sorted.end(), [&](const auto& a, const auto& b) {
    const bool reachable_a = a.first->order == 2, reachable_b = b.first->order == 2;
    if (reachable_a != reachable_b) return reachable_b;
    if (a.second->objects != b.second->objects) return a.second->objects > b.second->objects;
    return components.Members(a.second->components[0])[0] < components.Members(b.second->components[0])[0];
  });
  r.group_count = sorted.size();
  Outcome outcome;
  for (const auto& [look, group] : sorted) {
    if (r.groups.size() == shown) break;
    if (!in.progress.Update("describing cycles", r.groups.size(), std::min<std::uint64_t>(shown, sorted.size()))) {
      outcome.interrupted = true;
      break;
    }
    std::vector<NodeId> heads;
    for (const NodeId c : group->components) heads.push_back(HeadOf(in, components.Members(c), *look));
    std::sort(heads.begin(), heads.end());
    report::ComponentGroup g;
    g.state = StateName(look->order);
    g.type = labels.TypeName(heap.AddressOf(heads.front()));
    g.count = group->components.size();
    g.objects = group->objects;
    g.cycle = labels.CycleOf(CycleThrough(in, components, heads.front()));
    for (const auto& [type, count] : look->types) g.members.push_back({heap.types[type].name, count, 0, ""});
    std::stable_sort(g.members.begin(), g.members.end(), [](const auto& a, const auto& b) { return a.objects != b.objects ? a.objects > b.objects : a.type < b.type; });
    for (const NodeId n : heads) {
      if (g.addresses.size() < shown) g.addresses.push_back(heap.AddressOf(n));
    }
    r.groups.push_back(std::move(g));
  }
  outcome.document = Render(in.request, in.header, r, in.colour);
  return outcome;
}

}  // namespace pygc::engine
