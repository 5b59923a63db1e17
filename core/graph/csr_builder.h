// Builds a CsrGraph from edges in any order: count, then fill. For tests, induced subgraphs and other small work; the snapshot writes its blocks
// itself.
#pragma once

#include <utility>
#include <vector>

#include "core/graph/csr_graph.h"

namespace pygc::graph {

/// An edge: source, destination.
using Edge = std::pair<NodeId, NodeId>;

/// The graph with these edges, each below `node_count`; edges of one source keep their order. At most 2^32 - 1 edges.
[[nodiscard]] inline CsrGraph BuildGraph(NodeId node_count, const std::vector<Edge>& edges) {
  std::vector<std::uint32_t> offsets(std::size_t{node_count} + 1);
  for (const Edge& e : edges) ++offsets[std::size_t{e.first} + 1];
  for (std::size_t i = 1; i < offsets.size(); ++i) offsets[i] += offsets[i - 1];
  std::vector<NodeId> targets(edges.size());
  std::vector<std::uint32_t> next(offsets.begin(), offsets.end() - 1);
  for (const Edge& e : edges) targets[next[e.first]++] = e.second;
  return CsrGraph(std::move(offsets), std::move(targets));
}

}  // namespace pygc::graph
