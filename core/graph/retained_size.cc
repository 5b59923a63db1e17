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

}  // namespace pygc::graph
