#include "core/graph/reachability.h"

#include <algorithm>
#include <utility>

namespace pygc::graph {
namespace {

// How many nodes ahead of the one in work the offsets and the edges are asked for (performance.md: knee at 8-16 for one thread).
constexpr std::size_t kOffsetsAhead = 16, kEdgesAhead = 8;

}  // namespace

void MarkReachable(const CsrGraph& graph, std::span<const NodeId> roots, NodeSet& visited) {
  std::vector<NodeId> level, next;
  for (const NodeId root : roots) {
    if (visited.InsertNew(root)) level.push_back(root);
  }
  while (!level.empty()) {
    next.clear();
    const std::size_t size = level.size();
    for (std::size_t i = 0; i < size; ++i) {
      if (i + kOffsetsAhead < size) graph.PrefetchOffsets(level[i + kOffsetsAhead]);
      if (i + kEdgesAhead < size) graph.PrefetchEdges(level[i + kEdgesAhead]);
      for (const NodeId target : graph.Successors(level[i])) {
        if (visited.InsertNew(target)) next.push_back(target);
      }
    }
    std::swap(level, next);
  }
}

std::vector<NodeId> ShortestPath(const CsrGraph& graph, std::span<const NodeId> from, NodeId to, const NodeSet* within) {
  std::vector<NodeId> parent(graph.node_count(), kNoNode), level, next;
  const auto admits = [&](NodeId n) { return within == nullptr || within->Contains(n); };
  const auto path = [&] {
    std::vector<NodeId> nodes{to};
    while (parent[nodes.back()] != nodes.back()) nodes.push_back(parent[nodes.back()]);
    std::reverse(nodes.begin(), nodes.end());
    return nodes;
  };
  for (const NodeId root : from) {
    if (!admits(root) || parent[root] != kNoNode) continue;
    parent[root] = root;
    if (root == to) return path();
    level.push_back(root);
  }
  while (!level.empty()) {
    next.clear();
    for (const NodeId node : level) {
      for (const NodeId target : graph.Successors(node)) {
        if (parent[target] != kNoNode || !admits(target)) continue;
        parent[target] = node;
        if (target == to) return path();
        next.push_back(target);
      }
    }
    std::swap(level, next);
  }
  return {};
}

}  // namespace pygc::graph
