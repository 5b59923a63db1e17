#include "core/graph/reachability.h"

#include <algorithm>
#include <utility>

#include "core/base/parallel.h"

namespace pygc::graph {
namespace {

// How many nodes ahead of the one in work the offsets and the edges are asked for (performance.md: knee at 8-16 for one thread).
constexpr std::size_t kOffsetsAhead = 16, kListsAhead = 8;
constexpr std::size_t kPiece = 1u << 13;         // nodes of a level that a thread takes at once
constexpr std::size_t kParallelFrom = 1u << 15;  // nodes of a level for which threads are worth their start

/// Adds to `found` what `level` leads to and `insert` says is new.
template <typename Insert>
void Expand(const CsrGraph& graph, std::span<const NodeId> level, const Insert& insert, std::vector<NodeId>& found) {
  const std::size_t size = level.size();
  for (std::size_t i = 0; i < size; ++i) {
    if (i + kOffsetsAhead < size) graph.PrefetchOffsets(level[i + kOffsetsAhead]);
    if (i + kListsAhead < size) graph.PrefetchEdges(level[i + kListsAhead]);
    for (const NodeId target : graph.Successors(level[i])) {
      if (insert(target)) found.push_back(target);
    }
  }
}

/// `trim`: called with each level before it is expanded; what it takes out is not.
template <typename Trim>
void MarkLevels(const CsrGraph& graph, std::span<const NodeId> roots, NodeSet& visited, unsigned threads, const Trim& trim) {
  std::vector<NodeId> level, next;
  for (const NodeId root : roots) {
    if (visited.InsertNew(root)) level.push_back(root);
  }
  std::vector<std::vector<NodeId>> found(threads);
  for (trim(level); !level.empty(); trim(level)) {
    next.clear();
    if (threads > 1 && level.size() >= kParallelFrom) {
      const std::size_t pieces = (level.size() + kPiece - 1) / kPiece;
      const auto expand = [&](std::size_t piece, unsigned thread) {
        const auto insert = [&](NodeId n) { return visited.InsertNewShared(n); };
        Expand(graph, std::span(level).subspan(piece * kPiece, std::min(kPiece, level.size() - piece * kPiece)), insert, found[thread]);
        return true;
      };
      ForEachPiece(pieces, ThreadCount(threads, pieces), expand, [](std::size_t) { return true; });
      for (std::vector<NodeId>& part : found) {
        next.insert(next.end(), part.begin(), part.end());
        part.clear();
      }
    } else {
      Expand(
          graph, level, [&](NodeId n) { return visited.InsertNew(n); }, next);
    }
    std::swap(level, next);
  }
}

}  // namespace

void MarkReachable(const CsrGraph& graph, std::span<const NodeId> roots, NodeSet& visited, unsigned threads) {
  MarkLevels(graph, roots, visited, threads, [](std::vector<NodeId>&) {});
}

void MarkReachableUpTo(const CsrGraph& graph, std::span<const NodeId> roots, const NodeSet& closed, NodeSet& visited, std::vector<NodeId>& met, unsigned threads) {
  MarkLevels(graph, roots, visited, threads, [&](std::vector<NodeId>& level) {
    const auto open = std::stable_partition(level.begin(), level.end(), [&](NodeId n) { return !closed.Contains(n); });
    met.insert(met.end(), open, level.end());
    level.erase(open, level.end());
  });
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
