// Dominators: which node every path from the roots to a node passes through.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/graph/csr_graph.h"
#include "core/graph/node_set.h"

namespace pygc::graph {

/// Immediate dominators below a virtual root that refers to every root.
struct DominatorTree {
  /// Value of `immediate` for nodes that only the virtual root dominates. No node has this id.
  static constexpr NodeId kVirtualRoot = kNoNode - 1;

  std::vector<NodeId> immediate;  // per node; kVirtualRoot; kNoNode where not reached from the roots
  std::vector<NodeId> preorder;   // reached nodes in depth-first order: a dominator stands before what it dominates
};

/// Semi-NCA (Georgiadis, Tarjan, Werneck 2006), iterative. `reverse` is the transpose of `graph`. `within`: only nodes of this set (nullptr: all).
/// Time O(E log V) at worst, nearly linear in practice; memory 24 bytes a node while it runs.
[[nodiscard]] DominatorTree BuildDominatorTree(const CsrGraph& graph, const CsrGraph& reverse, std::span<const NodeId> roots,
                                               const NodeSet* within = nullptr);

}  // namespace pygc::graph
