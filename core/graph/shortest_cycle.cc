#include "core/graph/shortest_cycle.h"

#include <algorithm>
#include <limits>

namespace pygc::graph {

ShortestCycleSearch::ShortestCycleSearch(const CsrGraph& graph, const Components& components)
    : graph_(graph), components_(components), parent_(graph.node_count(), kNoNode) {}

std::vector<NodeId> ShortestCycleSearch::Through(NodeId node) {
  std::uint64_t spent = 0;
  return Search(node, std::numeric_limits<std::uint64_t>::max(), spent);
}

Cycle ShortestCycleSearch::Find(NodeId component, std::span<const NodeId> preferred, std::uint64_t budget) {
  Cycle best;
  const std::span<const NodeId> members = components_.Members(component);
  std::uint64_t limit = std::numeric_limits<std::uint64_t>::max(), spent = 0;
  const auto attempt = [&](NodeId node) {
    std::vector<NodeId> found = Search(node, limit, spent);
    if (found.empty()) return;
    limit = found.size() - 1;
    best.nodes = std::move(found);
  };
  // The first search is always done in full; it counts against the budget like the others.
  for (const NodeId node : preferred) {
    if (limit > 0 && (best.nodes.empty() || spent < budget)) attempt(node);
  }
  bool all = true;
  for (const NodeId node : members) {
    if (limit == 0) break;
    if (!best.nodes.empty() && spent >= budget) {
      all = false;
      break;
    }
    attempt(node);
    if (best.nodes.empty()) return best;  // from any node of a cyclic component a cycle is found
  }
  // A cycle through all members, and no member with a second edge inside: the only cycle there is. Looked at only where the search was cut.
  best.proven_shortest = all || best.nodes.size() == 1;
  if (!best.proven_shortest && best.nodes.size() == members.size()) {
    best.proven_shortest = std::all_of(members.begin(), members.end(), [&](NodeId n) {
      const std::span<const NodeId> successors = graph_.Successors(n);
      return std::count_if(successors.begin(), successors.end(), [&](NodeId s) { return components_.component_of[s] == component; }) == 1;
    });
  }
  return best;
}

std::vector<NodeId> ShortestCycleSearch::Search(NodeId node, std::uint64_t limit, std::uint64_t& spent) {
  const NodeId component = components_.component_of[node];
  std::vector<NodeId> cycle;
  touched_.assign(1, node);
  parent_[node] = node;
  std::size_t level_begin = 0;
  for (std::uint64_t depth = 1; depth <= limit && level_begin < touched_.size() && cycle.empty(); ++depth) {
    const std::size_t level_end = touched_.size();
    for (; level_begin < level_end && cycle.empty(); ++level_begin) {
      const NodeId from = touched_[level_begin];
      const std::span<const NodeId> successors = graph_.Successors(from);
      spent += 1 + successors.size();
      for (const NodeId to : successors) {
        if (to == node) {
          for (NodeId n = from; n != node; n = parent_[n]) cycle.push_back(n);
          cycle.push_back(node);
          std::reverse(cycle.begin(), cycle.end());
          break;
        }
        if (components_.component_of[to] != component || parent_[to] != kNoNode) continue;
        parent_[to] = from;
        touched_.push_back(to);
      }
    }
  }
  for (const NodeId n : touched_) parent_[n] = kNoNode;
  return cycle;
}

}  // namespace pygc::graph
