#include "core/graph/retained_size.h"

namespace pygc::graph {

std::uint64_t RetainedBySet(const DominatorTree& tree, const RetainedColumn& retained, const NodeSet& set) {
  std::uint64_t sum = 0;
  for (NodeId p = 0; p < tree.size();) {
    const bool counts = set.Contains(tree.preorder[p]);
    if (counts) sum = AddSaturated(sum, retained[p]);
    p += counts ? tree.subtree[p] : 1;
  }
  return sum;
}

}  // namespace pygc::graph
