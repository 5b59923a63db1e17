#include "core/graph/retained_size.h"

#include <limits>

namespace pygc::graph {

namespace {

constexpr std::size_t kAhead = 16;  // positions

/// Sums over each dominator subtree, by position: `sums` holds the weights before, and the sums after. Bottom up, each dominator stands before what it dominates.
template <typename T>
void SumUp(const DominatorTree& tree, std::vector<T>& sums) {
  for (std::size_t i = sums.size(); i-- > 0;) {
    if (tree.above[i] == 0) continue;
    T& above = sums[tree.above[i] - 1];
    if (__builtin_add_overflow(above, sums[i], &above)) above = std::numeric_limits<T>::max();
  }
}

template <typename T>
std::vector<T> ByNode(const DominatorTree& tree, const std::vector<T>& by_position) {
  std::vector<T> out(tree.immediate.size());
  for (std::size_t i = 0; i < by_position.size(); ++i) {
    if (i + kAhead < by_position.size()) __builtin_prefetch(&out[tree.preorder[i + kAhead]], 1);
    out[tree.preorder[i]] = by_position[i];
  }
  return out;
}

}  // namespace

std::vector<std::uint64_t> RetainedSizes(const DominatorTree& tree, std::span<const std::uint64_t> weight) {
  std::vector<std::uint64_t> sums(tree.preorder.size());
  for (std::size_t i = 0; i < sums.size(); ++i) {
    if (i + kAhead < sums.size()) __builtin_prefetch(&weight[tree.preorder[i + kAhead]]);
    sums[i] = weight[tree.preorder[i]];
  }
  SumUp(tree, sums);
  return ByNode(tree, sums);
}

std::vector<NodeId> RetainedCounts(const DominatorTree& tree) {
  std::vector<NodeId> sums(tree.preorder.size(), 1);
  SumUp(tree, sums);
  return ByNode(tree, sums);
}

std::uint64_t RetainedBySet(const DominatorTree& tree, std::span<const std::uint64_t> retained, const NodeSet& set) {
  NodeSet below(static_cast<NodeId>(tree.immediate.size()));  // in the set, or dominated by one that is
  std::uint64_t sum = 0;
  for (const NodeId node : tree.preorder) {
    const NodeId above = tree.immediate[node];
    const bool counted = above != DominatorTree::kVirtualRoot && below.Contains(above);
    if (!counted && set.Contains(node) && __builtin_add_overflow(sum, retained[node], &sum)) return std::numeric_limits<std::uint64_t>::max();
    if (counted || set.Contains(node)) below.Insert(node);
  }
  return sum;
}

}  // namespace pygc::graph
