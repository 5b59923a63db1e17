#include "core/analysis/lost_structures.h"

#include <algorithm>

#include "core/graph/scc.h"

namespace pygc::analysis {

namespace {

using heap::LinkKind;
using graph::NodeId;

class Finder {
 public:
  Finder(const heap::LostPart& part, const CountAudit& audit) : part_(part), graph_(part.graph), audit_(audit), components_(graph::StronglyConnectedComponents(graph_)) {}

  std::vector<LostStructure> Run() {
    FindHeads();
    owner_.assign(part_.items.size(), false);
    // What has a count of its own too high is a head, whatever else leads to it; it hangs on nothing.
    for (std::uint32_t i = 0; i < part_.items.size(); ++i) owner_[i] = head_[i];
    for (std::uint32_t i = 0; i < part_.items.size(); ++i) {
      if (head_[i]) AddLost(i);
    }
    // A hidden cycle keeps itself alive, whatever else leads to it: another one, or a word that was left in its memory. So none hangs on another.
    for (NodeId c = 0; c < components_.count(); ++c) {
      if (graph::IsCyclic(graph_, components_, c)) AddHidden(c);
    }
    for (LostStructure& s : found_) {
      if (s.kind == CountFindingKind::kHiddenCycle) Take({components_.Members(components_.component_of[s.head]).begin(), components_.Members(components_.component_of[s.head]).end()}, s.held);
    }
    return std::move(found_);
  }

 private:
  void FindHeads() {
    head_.assign(part_.items.size(), false);
    for (const CountFinding& f : audit_.findings) {
      if (f.kind != CountFindingKind::kLost) continue;
      if (const std::uint32_t i = ItemOf(f); i < part_.items.size()) head_[i] = true;
    }
  }
  [[nodiscard]] std::uint32_t ItemOf(const CountFinding& f) const {
    const auto none = static_cast<std::uint32_t>(part_.items.size());
    // Objects by id, then blocks by address.
    const auto at = std::lower_bound(part_.items.begin(), part_.items.end(), f, [](const heap::LostPart::Item& i, const CountFinding& x) {
      return i.object != x.object ? i.object < x.object : i.object == graph::kNoNode && i.memory.end <= x.address;
    });
    if (at == part_.items.end() || at->object != f.object) return none;
    if (f.object == graph::kNoNode && !(at->is_object && at->memory.begin == f.address)) return none;
    return static_cast<std::uint32_t>(at - part_.items.begin());
  }
  // Everything that `from` leads to and that has no owner yet.
  void Take(std::vector<std::uint32_t> from, std::vector<std::uint32_t>& held) {
    while (!from.empty()) {
      const std::uint32_t i = from.back();
      from.pop_back();
      for (const NodeId to : graph_.Successors(i)) {
        if (owner_[to]) continue;
        owner_[to] = true;
        if (part_.items[to].is_object) held.push_back(to);
        from.push_back(to);
      }
    }
    std::sort(held.begin(), held.end());
  }
  void AddLost(std::uint32_t head) {
    LostStructure& s = found_.emplace_back();
    s.head = head;
    s.members = {head};
    Take({head}, s.held);
  }

  // What may be visited, for all that is known, is not hidden for certain: nothing of an object whose traversal was guessed, and where there is one in the
  // component nothing of untracked objects and of memory, because that traversal may go through these.
  [[nodiscard]] bool IsHidden(std::uint32_t from, std::size_t edge, bool any_guessed) const {
    if (part_.items[from].object == graph::kNoNode) return !any_guessed;
    return !part_.items[from].traversal_guessed && part_.link[graph_.FirstEdge(from) + edge] != LinkKind::kVisited;
  }
  void AddHidden(NodeId c) {
    // A reference inside of the component that no traversal shows; without one the collector would see it all, and what keeps it is not known.
    const auto members = components_.Members(c);
    if (std::any_of(members.begin(), members.end(), [&](NodeId n) { return owner_[n] || part_.items[n].count_unexplained; })) return;
    const bool any_guessed = std::any_of(members.begin(), members.end(), [&](NodeId n) { return part_.items[n].traversal_guessed; });
    for (const NodeId from : members) {
      const auto successors = graph_.Successors(from);
      for (std::size_t e = 0; e < successors.size(); ++e) {
        if (!part_.items[from].is_object || components_.component_of[successors[e]] != c || !IsHidden(from, e, any_guessed)) continue;
        LostStructure& s = found_.emplace_back();
        s.kind = CountFindingKind::kHiddenCycle;
        s.head = from;
        s.cycle = Cycle(from, successors[e], c);
        for (const NodeId n : components_.Members(c)) {
          owner_[n] = true;
          if (part_.items[n].is_object) s.members.push_back(n);
        }
        return;
      }
    }
  }
  // from -> to -> ... -> from, the way back as short as can be.
  [[nodiscard]] std::vector<std::uint32_t> Cycle(NodeId from, NodeId to, NodeId c) const {
    std::vector<NodeId> queue{to};
    std::vector<std::pair<NodeId, NodeId>> parent;  // (node, where it was reached from), in the order of the queue
    std::vector<bool> seen(part_.items.size());
    seen[to] = true;
    parent.emplace_back(to, graph::kNoNode);
    if (from == to) return {from};
    for (std::size_t i = 0; i < queue.size() && !seen[from]; ++i) {
      for (const NodeId next : graph_.Successors(queue[i])) {
        if (seen[next] || components_.component_of[next] != c) continue;
        seen[next] = true;
        parent.emplace_back(next, static_cast<NodeId>(i));
        queue.push_back(next);
      }
    }
    std::vector<std::uint32_t> path;
    auto at = std::find(queue.begin(), queue.end(), from);
    for (std::size_t i = at == queue.end() ? queue.size() : static_cast<std::size_t>(at - queue.begin()); i < queue.size() && parent[i].second != graph::kNoNode;) {
      i = parent[i].second;
      path.push_back(queue[i]);
    }
    path.push_back(from);
    std::reverse(path.begin(), path.end());
    return path;
  }

  const heap::LostPart& part_;
  const graph::CsrGraph& graph_;
  const CountAudit& audit_;
  graph::Components components_;
  std::vector<bool> head_, owner_;  // by item
  std::vector<LostStructure> found_;
};

}  // namespace

std::vector<LostStructure> FindLostStructures(const heap::ReferenceAudit& counts, const CountAudit& audit) {
  if (counts.lost.items.empty() || !counts.surplus_doubts.empty()) return {};
  return Finder(counts.lost, audit).Run();
}

}  // namespace pygc::analysis
