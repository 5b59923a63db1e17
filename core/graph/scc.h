// Strongly connected components.
#pragma once

#include <span>
#include <vector>

#include "core/graph/csr_graph.h"
#include "core/graph/node_set.h"

namespace pygc::graph {

/// The strongly connected components of a graph or of the part of it that a set induces.
struct Components {
  std::vector<NodeId> component_of;  // per node; kNoNode for nodes outside the set
  std::vector<NodeId> members;       // nodes by component, rising within one
  std::vector<NodeId> offsets;       // component c has members[offsets[c]] .. members[offsets[c + 1] - 1]

  [[nodiscard]] NodeId count() const noexcept { return offsets.empty() ? 0 : static_cast<NodeId>(offsets.size() - 1); }
  [[nodiscard]] std::span<const NodeId> Members(NodeId component) const noexcept {
    return {members.data() + offsets[component], members.data() + offsets[component + 1]};
  }
};

/// Components, numbered in reverse topological order: an edge between two of them goes from the higher number to the lower.
/// `within`: only these nodes and the edges between them (nullptr: all).
/// Tarjan 1972 in the form of Pearce 2016 (one number a node), iterative: targets hold linked chains of 10^7 objects and recursion would overflow the
/// host's stack. Time O(V + E), memory 8 bytes a node for the result and up to 12 for the longest path while it runs.
[[nodiscard]] Components StronglyConnectedComponents(const CsrGraph& graph, const NodeSet* within = nullptr);

/// True when the component is a cycle: more than one node, or one with an edge to itself.
[[nodiscard]] bool IsCyclic(const CsrGraph& graph, const Components& components, NodeId component);

}  // namespace pygc::graph
