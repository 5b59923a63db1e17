#include "core/analysis/groups.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>
#include <utility>

#include "core/analysis/fingerprint.h"
#include "core/base/parallel.h"
#include "core/graph/scc.h"
#include "core/graph/shortest_cycle.h"

namespace pygc::analysis {
namespace {

using graph::kNoNode;
using graph::NodeId;
using heap::Excerpt;
using heap::TypeRecord;

// A component that stands at the head of something: a cycle, or a single object that nothing else of the excerpt leads to.
struct Unit {
  NodeId component = 0;
  bool cyclic = false;
  bool definite = false;
  GroupReason reason = GroupReason::kCycle;
  std::uint8_t interpreter = 0;
  std::uint64_t fingerprint = 0;
  Address address = 0;  // the lowest
};

// How well an object serves as the name of a structure; smaller is better.
// HEURISTIC: by type names. A wrong choice costs a less telling name and a cycle shown through another object of the same component; no figure
// depends on it.
int NameRank(const TypeRecord& type, bool has_finalizer) {
  const std::string_view name = type.name;
  static constexpr std::string_view kPlain[] = {
      "dict", "list", "tuple", "set", "frozenset", "cell", "dict_keys", "weakref", "getset_descriptor", "builtin_function_or_method"};
  static constexpr std::string_view kCode[] = {"function",  "method",          "instancemethod", "generator",
                                               "coroutine", "async_generator", "frame",          "traceback"};
  if (std::find(std::begin(kPlain), std::end(kPlain), name) != std::end(kPlain)) return 6;
  if (name == "type" || name == "classobj" || name.ends_with("Meta")) return 5;
  if (std::find(std::begin(kCode), std::end(kCode), name) != std::end(kCode)) return 4;
  if (name.find('.') == std::string_view::npos || !type.module_file.empty()) return has_finalizer ? 2 : 3;
  return has_finalizer ? 0 : 1;
}

class GroupBuilder {
 public:
  GroupBuilder(const heap::HeapSnapshot& heap, const Verdict& verdict, const Excerpt& excerpt, ProgressSink& progress, unsigned threads)
      : heap_(heap),
        verdict_(verdict),
        excerpt_(excerpt),
        progress_(progress),
        threads_(threads),
        fingerprinter_(excerpt),
        cycles_(excerpt.graph, excerpt.components),
        type_slot_(excerpt.types.size()) {}

  Result<Groups> Run() {
    const NodeId components = excerpt_.components.count();
    FindUnits();
    if (!DescribeAll()) return Cancelled();
    CollectEqualUnits();
    Distribute(components);
    for (std::size_t g = 0; g < result_.groups.size(); ++g) {
      if (g % 1024 == 0 && !progress_.Update("describing groups", g, result_.groups.size())) return Cancelled();
      Name(result_.groups[g]);
    }
    CountObjects();
    Sort();
    return std::move(result_);
  }

 private:
  [[nodiscard]] static tl::unexpected<Error> Cancelled() { return Fail(ErrorCode::kCancelled, "stopped while grouping structures"); }

  [[nodiscard]] NodeId HeapNode(NodeId n) const { return excerpt_.node[n]; }
  [[nodiscard]] bool IsLegacy(NodeId n) const {
    return (excerpt_.flags[n] & heap::kLegacyFinalizer) || excerpt_.types[excerpt_.type[n]].legacy_finalizer;
  }
  [[nodiscard]] bool HasFinalizer(NodeId n) const {
    return IsLegacy(n) || excerpt_.types[excerpt_.type[n]].finalizer != TypeRecord::Finalizer::kNone;
  }
  [[nodiscard]] bool HasRun(NodeId n) const { return excerpt_.flags[n] & heap::kFinalized; }
  [[nodiscard]] bool InGarbage(NodeId n) const { return HeapNode(n) != kNoNode && verdict_.in_garbage[HeapNode(n)]; }

  // Components with a cycle, and those that no other component leads to.
  void FindUnits() {
    const graph::Components& components = excerpt_.components;
    std::vector<bool> entered(components.count());
    for (NodeId n = 0; n < excerpt_.size(); ++n) {
      for (const NodeId to : excerpt_.graph.Successors(n)) {
        if (components.component_of[to] != components.component_of[n]) entered[components.component_of[to]] = true;
      }
    }
    for (NodeId c = 0; c < components.count(); ++c) {
      const bool cyclic = graph::IsCyclic(excerpt_.graph, components, c);
      if (!cyclic && entered[c]) continue;
      Unit& unit = units_.emplace_back();
      unit.component = c;
      unit.cyclic = cyclic;
      unit.address = excerpt_.address[components.Members(c)[0]];
    }
    std::sort(units_.begin(), units_.end(), [](const Unit& a, const Unit& b) { return a.address < b.address; });
  }

  bool DescribeAll() {
    const std::size_t pieces = (units_.size() + kUnitsOfPiece - 1) / kUnitsOfPiece;
    return ForEachPiece(
        pieces, ThreadCount(threads_, pieces),
        [this](std::size_t piece, unsigned) {
          for (std::size_t i = piece * kUnitsOfPiece; i < std::min(units_.size(), (piece + 1) * kUnitsOfPiece); ++i) Describe(units_[i]);
          return true;
        },
        [this](std::size_t done) { return progress_.Update("comparing structures", done * kUnitsOfPiece, units_.size()); });
  }
  void Describe(Unit& unit) {
    bool legacy = false, in_garbage = false, pending_finalizer = false, stuck = false, frozen = false, by_garbage = false;
    for (const NodeId n : excerpt_.components.Members(unit.component)) {
      legacy = legacy || IsLegacy(n);
      in_garbage = in_garbage || InGarbage(n);
      pending_finalizer = pending_finalizer || (HasFinalizer(n) && !HasRun(n));
      const NodeId node = HeapNode(n);
      if (node == kNoNode) continue;
      stuck = stuck || verdict_.IsStuck(node);
      by_garbage = by_garbage || verdict_.held_by_garbage.Contains(node);
      frozen = frozen || (verdict_.held_by_frozen.Contains(node) && !verdict_.unreachable_set.Contains(node));
    }
    const NodeId first = HeapNode(excerpt_.components.Members(unit.component)[0]);
    unit.interpreter = first == kNoNode ? heap::kNoInterpreter : heap_.interpreter.empty() ? 0 : heap_.interpreter[first];
    unit.definite = stuck || by_garbage || frozen;
    unit.reason = legacy && (stuck || by_garbage) ? GroupReason::kLegacyFinalizer
                  : in_garbage                    ? GroupReason::kInGarbage
                  : by_garbage                    ? GroupReason::kHeldByGarbage
                  : stuck                         ? GroupReason::kHeldByLegacy
                  : frozen                        ? GroupReason::kFrozen
                  : pending_finalizer             ? GroupReason::kFinalizer
                                                  : GroupReason::kCycle;
    unit.fingerprint = fingerprinter_.Of(unit.component, kRefinementRounds);
  }

  // Groups in the order of their lowest address.
  void CollectEqualUnits() {
    using Key = std::tuple<std::uint64_t, GroupReason, bool, std::uint8_t>;
    std::map<Key, std::uint32_t> known;
    unit_group_.assign(excerpt_.components.count(), kNone);
    for (const Unit& unit : units_) {
      const auto [found, fresh] =
          known.try_emplace({unit.fingerprint, unit.reason, unit.definite, unit.interpreter}, static_cast<std::uint32_t>(result_.groups.size()));
      if (fresh) {
        Group& group = result_.groups.emplace_back();
        group.definite = unit.definite;
        group.reason = unit.reason;
        group.interpreter = unit.interpreter;
        group.fingerprint = unit.fingerprint;
      }
      Group& group = result_.groups[found->second];
      ++group.count;
      group.components.push_back(unit.component);
      unit_group_[unit.component] = found->second;
    }
  }

  // Hands every component that is no unit to the group that alone leads to it, or to the first of those that do. Components are numbered in reverse
  // topological order, so from the highest number down all that lead to one were seen before it.
  void Distribute(NodeId components) {
    owner_.assign(components, kNone);
    shared_.assign(components, false);
    for (NodeId c = components; c-- > 0;) {
      if (unit_group_[c] != kNone) owner_[c] = unit_group_[c];
      for (const NodeId n : excerpt_.components.Members(c)) {
        for (const NodeId to : excerpt_.graph.Successors(n)) {
          const NodeId t = excerpt_.components.component_of[to];
          if (t == c || unit_group_[t] != kNone) continue;
          const bool through_shared = unit_group_[c] == kNone && shared_[c];
          if (owner_[t] == kNone) {
            owner_[t] = owner_[c];
          } else if (owner_[t] != owner_[c]) {
            NoteSharing(owner_[t], owner_[c]);
            owner_[t] = std::min(owner_[t], owner_[c]);
            shared_[t] = true;
          }
          if (through_shared) shared_[t] = true;
        }
      }
    }
  }
  void NoteSharing(std::uint32_t a, std::uint32_t b) {
    std::vector<std::uint32_t>& with = result_.groups[std::min(a, b)].shared_with;
    const std::uint32_t other = std::max(a, b);
    if (with.size() < Group::kMaxSharedWith && std::find(with.begin(), with.end(), other) == with.end()) with.push_back(other);
  }

  // Which object names the group, where it lies in each structure, and the cycle through the first.
  void Name(Group& group) {
    const auto rank = [&](NodeId n) {
      return std::tuple(NameRank(excerpt_.types[excerpt_.type[n]], HasFinalizer(n)), std::string_view(excerpt_.types[excerpt_.type[n]].name),
                        fingerprinter_.ColourOf(n), excerpt_.address[n]);  // the same object of the structure in every process
    };
    const auto best_of = [&](NodeId component) {
      const std::span<const NodeId> members = excerpt_.components.Members(component);
      return *std::min_element(members.begin(), members.end(), [&](NodeId a, NodeId b) { return rank(a) < rank(b); });
    };
    for (const NodeId c : group.components) group.heads.push_back(best_of(c));
    std::vector<std::size_t> order(group.heads.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return group.heads[a] < group.heads[b]; });
    std::vector<NodeId> heads, components;
    for (const std::size_t i : order) {
      heads.push_back(group.heads[i]);
      components.push_back(group.components[i]);
    }
    group.heads = std::move(heads);
    group.components = std::move(components);
    group.type = excerpt_.type[group.heads.front()];
    const std::vector<NodeId> cycle = cycles_.Through(group.heads.front());
    for (std::size_t i = 0; i < cycle.size(); ++i) {
      const std::span<const NodeId> successors = excerpt_.graph.Successors(cycle[i]);
      const auto edge = std::find(successors.begin(), successors.end(), cycle[(i + 1) % cycle.size()]);
      const auto position = static_cast<std::uint32_t>(edge - successors.begin());
      group.cycle.push_back({cycle[i], position, excerpt_.label[excerpt_.graph.FirstEdge(cycle[i]) + position]});
    }
    // One structure's members by type; all structures are equal.
    for (const NodeId n : excerpt_.components.Members(group.components.front())) {
      const std::uint32_t type = excerpt_.type[n];
      if (type_slot_[type] == 0) {
        group.members.push_back({type, 0, 0});
        type_slot_[type] = static_cast<std::uint32_t>(group.members.size());
      }
      GroupTypeCount& count = group.members[type_slot_[type] - 1];
      ++count.objects;
      count.bytes += SizeOf(n);
    }
    for (const GroupTypeCount& count : group.members) type_slot_[count.type] = 0;
    SortByName(group.members);
    std::stable_sort(group.members.begin(), group.members.end(), [](const auto& a, const auto& b) { return a.objects > b.objects; });
    for (const NodeId c : group.components) {
      std::uint64_t to_run = 0;
      for (const NodeId n : excerpt_.components.Members(c)) to_run += HasFinalizer(n) && !HasRun(n);
      group.order_undefined = group.order_undefined || to_run > 1;
    }
  }

  [[nodiscard]] std::uint64_t SizeOf(NodeId n) const { return excerpt_.size_bytes[n] == heap::kUnknownSize ? 0 : excerpt_.size_bytes[n]; }

  void SortByName(std::vector<GroupTypeCount>& counts) const {
    std::sort(counts.begin(), counts.end(), [&](const auto& a, const auto& b) {
      return std::tie(excerpt_.types[a.type].name, a.type) < std::tie(excerpt_.types[b.type].name, b.type);
    });
  }

  void CountObjects() {
    result_.group_of.resize(excerpt_.size());
    std::vector<std::map<std::uint32_t, GroupTypeCount>> held(result_.groups.size());
    std::vector<std::map<std::uint32_t, GroupFinalizerCount>> finalizers(result_.groups.size()), held_finalizers(result_.groups.size());
    for (NodeId n = 0; n < excerpt_.size(); ++n) {
      const NodeId component = excerpt_.components.component_of[n];
      const std::uint32_t g = owner_[component];
      result_.group_of[n] = g;
      Group& group = result_.groups[g];
      const std::uint64_t bytes = SizeOf(n);
      group.unknown_sizes += excerpt_.size_bytes[n] == heap::kUnknownSize;
      const bool member = unit_group_[component] != kNone;
      if (HasFinalizer(n)) {
        GroupFinalizerCount& count = (member ? finalizers : held_finalizers)[g][excerpt_.type[n]];
        count.type = excerpt_.type[n];
        count.legacy = count.legacy || IsLegacy(n);
        ++(HasRun(n) ? count.run : count.pending);
      }
      if (member) {
        ++group.objects;
        group.bytes += bytes;
        group.in_garbage += InGarbage(n);
        group.approximate = group.approximate || (excerpt_.flags[n] & heap::kApproximate);
        const std::uint8_t generation = excerpt_.flags[n] & heap::kGenerationMask;
        if (generation < group.generations.size()) ++group.generations[generation];
        continue;
      }
      ++group.held_objects;
      group.held_bytes += bytes;
      if (shared_[component]) {
        ++group.shared_objects;
        group.shared_bytes += bytes;
      }
      GroupTypeCount& count = held[g][excerpt_.type[n]];
      count.type = excerpt_.type[n];
      ++count.objects;
      count.bytes += bytes;
    }
    for (std::size_t g = 0; g < result_.groups.size(); ++g) {
      Group& group = result_.groups[g];
      for (const auto& [type, count] : held[g]) group.held.push_back(count);
      SortByName(group.held);
      std::stable_sort(group.held.begin(), group.held.end(),
                       [](const auto& a, const auto& b) { return std::tie(a.bytes, a.objects) > std::tie(b.bytes, b.objects); });
      for (const auto& [type, count] : finalizers[g]) group.finalizers.push_back(count);
      for (const auto& [type, count] : held_finalizers[g]) group.held_finalizers.push_back(count);
    }
  }

  void Sort() {
    std::vector<std::uint32_t> order(result_.groups.size()), position(result_.groups.size());
    std::iota(order.begin(), order.end(), 0u);
    const auto key = [&](std::uint32_t g) {
      const Group& group = result_.groups[g];
      return std::tuple(!group.definite, ~(group.bytes + group.held_bytes), ~(group.objects + group.held_objects),
                        excerpt_.address[group.heads.front()]);
    };
    std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) { return key(a) < key(b); });
    std::vector<Group> sorted;
    sorted.reserve(order.size());
    for (const std::uint32_t g : order) {
      position[g] = static_cast<std::uint32_t>(sorted.size());
      sorted.push_back(std::move(result_.groups[g]));
    }
    result_.groups = std::move(sorted);
    for (Group& group : result_.groups) {
      for (std::uint32_t& other : group.shared_with) other = position[other];
      std::sort(group.shared_with.begin(), group.shared_with.end());
    }
    for (std::uint32_t& g : result_.group_of) g = position[g];
  }

  static constexpr std::uint32_t kNone = 0xFFFFFFFFu;
  static constexpr std::size_t kUnitsOfPiece = 512;

  const heap::HeapSnapshot& heap_;
  const Verdict& verdict_;
  const Excerpt& excerpt_;
  ProgressSink& progress_;
  unsigned threads_;
  Fingerprinter fingerprinter_;
  graph::ShortestCycleSearch cycles_;
  std::vector<std::uint32_t> type_slot_;  // by type, while one structure is counted: place in Group::members + 1
  std::vector<Unit> units_;
  std::vector<std::uint32_t> unit_group_;  // by component; kNone: no unit
  std::vector<std::uint32_t> owner_;       // by component: group
  std::vector<bool> shared_;               // by component: other groups lead to it too
  Groups result_;
};

}  // namespace

graph::NodeSet LeakedNodes(const Verdict& verdict) {
  graph::NodeSet nodes = verdict.unreachable_set;
  nodes.Unite(verdict.held_by_garbage);
  nodes.Unite(verdict.held_by_frozen);
  return nodes;
}

Result<Groups> GroupStructures(const heap::HeapSnapshot& heap, const Verdict& verdict, const heap::Excerpt& excerpt, ProgressSink& progress,
                               unsigned threads) {
  return GroupBuilder(heap, verdict, excerpt, progress, threads).Run();
}

}  // namespace pygc::analysis
