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
  int order;                                                   // of the state: uncollectable, unreachable, reachable, not known
  std::optional<std::int64_t> interpreter;                     // of its first member; components do not cross interpreters
  std::vector<std::pair<std::uint32_t, std::uint32_t>> types;  // index into TypeNames, count
  friend bool operator<(const Look& a, const Look& b) { return std::tie(a.order, a.interpreter, a.types) < std::tie(b.order, b.interpreter, b.types); }
};

struct Group {
  std::vector<NodeId> components;
  std::uint64_t objects = 0;
};

const char* StateName(int order) { return order == 0 ? "uncollectable" : order == 1 ? "unreachable" : order == 2 ? "reachable" : ""; }

// Names of types as shown. Classic instances [2.7] share one type: each of their classes gets a number of its own behind those of the snapshot.
class TypeNames {
 public:
  TypeNames(const CommandInput& in, const Labels& labels) : in_(in), labels_(labels) {
    for (const heap::TypeRecord& type : in.heap.types) names_.push_back(type.name);
  }
  [[nodiscard]] std::uint32_t Of(NodeId n) {
    const std::uint32_t type = in_.heap.type[n];
    if (!in_.heap.types[type].may_have_legacy_finalizer) return type;
    const auto [found, fresh] = classes_.try_emplace(labels_.TypeName(in_.heap.AddressOf(n)), static_cast<std::uint32_t>(names_.size()));
    if (fresh) names_.push_back(found->first);
    return found->second;
  }
  [[nodiscard]] const std::string& Name(std::uint32_t type) const { return names_[type]; }

 private:
  const CommandInput& in_;
  const Labels& labels_;
  std::vector<std::string> names_;
  std::map<std::string, std::uint32_t> classes_;
};

Look LookOf(const CommandInput& in, std::span<const NodeId> members, TypeNames& names) {
  Look look;
  look.order = in.verdict.IsStuck(members[0]) ? 0 : in.verdict.state[members[0]] != analysis::State::kReachable ? 1 : 2;
  if (look.order == 2 && std::none_of(members.begin(), members.end(), [&](NodeId n) { return in.verdict.IsKnownInUse(n); })) look.order = 3;
  look.interpreter = in.heap.InterpreterIdOf(members[0]);
  std::vector<std::uint32_t> types;
  types.reserve(members.size());
  for (const NodeId n : members) types.push_back(names.Of(n));
  std::sort(types.begin(), types.end());
  for (const std::uint32_t t : types) {
    if (look.types.empty() || look.types.back().first != t) look.types.emplace_back(t, 0);
    ++look.types.back().second;
  }
  return look;
}

// The member after which a reader would name the component: of the type that says most, the rarest of such; the lowest address of those.
NodeId HeadOf(std::span<const NodeId> members, const Look& look, TypeNames& names) {
  const auto key = [&](const std::pair<std::uint32_t, std::uint32_t>& t) {
    return std::tuple(report::NameRank(names.Name(t.first)), t.second, names.Name(t.first));
  };
  const auto best = std::min_element(look.types.begin(), look.types.end(), [&](const auto& a, const auto& b) { return key(a) < key(b); });
  for (const NodeId n : members) {
    if (names.Of(n) == best->first) return n;
  }
  return members[0];
}

bool HasGeneration(const CommandInput& in, std::span<const NodeId> members) {
  return std::any_of(members.begin(), members.end(),
                     [&](NodeId n) { return in.heap.IsTracked(n) && in.heap.Generation(n) == *in.request.generation; });
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
  addresses.reserve(path.size());
  for (const NodeId n : path) addresses.push_back(in.heap.AddressOf(n));
  return addresses;
}

}  // namespace

Outcome RunCycles(const CommandInput& in) {
  const heap::HeapSnapshot& heap = in.heap;
  const Labels labels(in.reader, in.request.redact);
  const std::uint64_t shown = in.request.limit == 0 ? ~0ull : in.request.limit;
  report::CyclesReport r;
  r.reachable_exact = in.header.complete && in.header.certainty == report::Certainty::kExact && heap.coverage.approximate_objects == 0;

  const Components components = graph::StronglyConnectedComponents(heap.graph);
  TypeNames names(in, labels);
  std::map<Look, Group> looks;
  for (NodeId c = 0; c < components.count(); ++c) {
    const auto members = components.Members(c);
    if (!graph::IsCyclic(heap.graph, components, c)) continue;
    if (in.request.generation && !HasGeneration(in, members)) continue;
    const Look look = LookOf(in, members, names);
    (look.order < 2 ? r.unreachable_components : look.order == 2 ? r.reachable_components : r.unknown_components) += 1;
    (look.order < 2 ? r.unreachable_objects : look.order == 2 ? r.reachable_objects : r.unknown_objects) += members.size();
    Group& group = looks[look];
    group.components.push_back(c);
    group.objects += members.size();
  }
  std::vector<std::pair<const Look*, const Group*>> sorted;
  for (const auto& [look, group] : looks) {
    std::vector<std::string> types;
    for (const auto& [type, count] : look.types) types.push_back(names.Name(type));
    const std::string head = labels.TypeName(heap.AddressOf(HeadOf(components.Members(group.components.front()), look, names)));
    if (PassesFilters(in.request, head, types)) {
      sorted.emplace_back(&look, &group);
    } else {
      ++r.groups_ignored;
    }
  }
  std::stable_sort(sorted.begin(), sorted.end(), [&](const auto& a, const auto& b) {
    const bool reachable_a = a.first->order >= 2, reachable_b = b.first->order >= 2;
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
    for (const NodeId c : group->components) heads.push_back(HeadOf(components.Members(c), *look, names));
    std::sort(heads.begin(), heads.end());
    report::ComponentGroup g;
    g.state = StateName(look->order);
    g.type = labels.TypeName(heap.AddressOf(heads.front()));
    g.interpreter = look->interpreter;
    g.count = group->components.size();
    std::vector<Address> head_addresses;
    head_addresses.reserve(heads.size());
    for (const NodeId n : heads) head_addresses.push_back(heap.AddressOf(n));
    g.name = labels.NamesOf(head_addresses, g.type);
    g.objects = group->objects;
    g.cycle = labels.CycleOf(CycleThrough(in, components, heads.front()), g.type);
    for (const auto& [type, count] : look->types) g.members.push_back({names.Name(type), count, 0, ""});
    std::stable_sort(g.members.begin(), g.members.end(),
                     [](const auto& a, const auto& b) { return a.objects != b.objects ? a.objects > b.objects : a.type < b.type; });
    for (const NodeId n : heads) {
      if (g.addresses.size() < shown) g.addresses.push_back(heap.AddressOf(n));
    }
    r.groups.push_back(std::move(g));
  }
  outcome.document = Render(in, in.header, r);
  return outcome;
}

}  // namespace pygc::engine
