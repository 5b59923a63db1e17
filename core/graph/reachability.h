// Who is reached from where: marks from roots, and shortest paths.
#pragma once

#include <span>
#include <vector>

#include "core/graph/csr_graph.h"
#include "core/graph/node_set.h"

namespace pygc::graph {

/// Adds to `visited` the roots and everything reachable from them. Nodes that are in `visited` already are neither entered nor expanded, so a caller
/// closes parts of the graph by inserting them first. Breadth first with look-ahead prefetch. Time O(V + E), memory O(widest level).
/// `threads`: at least 1; more of them share wide levels, with the same result.
void MarkReachable(const CsrGraph& graph, std::span<const NodeId> roots, NodeSet& visited, unsigned threads = 1);

/// The same, but nodes of `closed` are entered and not expanded; those that were new are appended to `met`.
void MarkReachableUpTo(const CsrGraph& graph, std::span<const NodeId> roots, const NodeSet& closed, NodeSet& visited, std::vector<NodeId>& met, unsigned threads = 1);

/// A shortest path from any of `from` to `to`, both ends included; empty when there is none. Among equally short paths the one found first when roots
/// are taken in the order given and edges in graph order. `within`: only nodes of this set are entered (nullptr: all). Time O(V + E), memory 4 bytes
/// a node.
[[nodiscard]] std::vector<NodeId> ShortestPath(const CsrGraph& graph, std::span<const NodeId> from, NodeId to, const NodeSet* within = nullptr);

}  // namespace pygc::graph
