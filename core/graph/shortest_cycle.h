// One short cycle through a strongly connected component, to be shown edge by edge.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/graph/csr_graph.h"
#include "core/graph/scc.h"

namespace pygc::graph {

/// A closed path: nodes[0] -> nodes[1] -> ... -> nodes[0]. Each node once; a self-reference is one node.
struct Cycle {
  std::vector<NodeId> nodes;
  bool proven_shortest = false;  // no cycle of the component is shorter. Otherwise: the shortest through the nodes that were tried
};

/// Bound of the search in nodes and edges looked at, beyond one full pass over the component.
inline constexpr std::uint64_t kCycleSearchBudget = 4u << 20;

/// Finds shortest cycles inside components of one graph; keeps its columns between calls, so that a million small components cost no allocation each.
class ShortestCycleSearch {
 public:
  /// Both must outlive the search.
  ShortestCycleSearch(const CsrGraph& graph, const Components& components);

  /// A shortest cycle through `node` that stays in its component; empty when there is none. Exact. Time O(V + E) of the component.
  [[nodiscard]] std::vector<NodeId> Through(NodeId node);

  /// A short cycle of the component; empty when it is not cyclic. Tries every member while the budget lasts, those in `preferred` first, each search
  /// cut at the length found so far; where the budget ends, the result is the shortest through those tried. Deterministic. A component that is one
  /// plain ring is proven by its edge count. Time O(V + E) of the component + budget.
  [[nodiscard]] Cycle Find(NodeId component, std::span<const NodeId> preferred = {}, std::uint64_t budget = kCycleSearchBudget);

 private:
  // Breadth first from `node` inside its component, not deeper than `limit` edges; cost in nodes and edges is added to `spent`.
  [[nodiscard]] std::vector<NodeId> Search(NodeId node, std::uint64_t limit, std::uint64_t& spent);

  const CsrGraph& graph_;
  const Components& components_;
  std::vector<NodeId> parent_;  // kNoNode between searches
  std::vector<NodeId> touched_;
};

}  // namespace pygc::graph
