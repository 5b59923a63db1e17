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
  std::vector<NodeId> above;      // per position in preorder: 1 + the position of its immediate dominator, 0 for the virtual root. Passes over the tree
                                  // take this one, because a dominator stands near
};

/// Semi-NCA (Georgiadis, Tarjan, Werneck 2006), iterative. `reverse` is the transpose of `graph`. `within`: only nodes of this set (nullptr: all).
/// Time O(E log V) at worst, nearly linear in practice; memory 24 bytes a node while it runs beside the result.
[[nodiscard]] DominatorTree BuildDominatorTree(const CsrGraph& graph, const CsrGraph& reverse, std::span<const NodeId> roots,
                                               const NodeSet* within = nullptr);

}  // namespace pygc::graph
