#include "core/graph/retained_size.h"

#include <limits>

namespace pygc::graph {

std::vector<std::uint64_t> RetainedSizes(const DominatorTree& tree, std::span<const std::uint64_t> weight) {
  std::vector<std::uint64_t> retained(tree.immediate.size());
  const auto add = [&](NodeId node, std::uint64_t amount) {
    if (__builtin_add_overflow(retained[node], amount, &retained[node])) retained[node] = std::numeric_limits<std::uint64_t>::max();
  };
  for (std::size_t i = tree.preorder.size(); i-- > 0;) {
    const NodeId node = tree.preorder[i];
    add(node, weight[node]);
    const NodeId above = tree.immediate[node];
    if (above != DominatorTree::kVirtualRoot) add(above, retained[node]);
  }
  return retained;
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
