// What would be freed with a node: the sum over its dominator subtree.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "core/graph/dominators.h"
#include "core/graph/node_set.h"
#include "core/graph/size_column.h"

namespace pygc::graph {

/// a + b, at most the largest number.
[[nodiscard]] inline std::uint64_t AddSaturated(std::uint64_t a, std::uint64_t b) noexcept {
  return __builtin_add_overflow(a, b, &a) ? std::numeric_limits<std::uint64_t>::max() : a;
}

/// By position in the tree: the sum of weight(node) over everything that the node there dominates, itself included. Sums saturate at 2^64 - 1. O(V). Memory while it runs: 8 bytes a node more.
template <typename Weight>
[[nodiscard]] RetainedColumn RetainedSizes(const DominatorTree& tree, Weight&& weight) {
  std::vector<std::uint64_t> sums(tree.size());
  for (NodeId p = 0; p < tree.size(); ++p) sums[p] = weight(tree.preorder[p]);
  // From the bottom up; the first child is the next position.
  for (NodeId p = tree.size(); p-- > 0;) tree.ForEachChild(p, [&](NodeId child) { sums[p] = AddSaturated(sums[p], sums[child]); });
  RetainedColumn out(tree.size());
  std::vector<RetainedColumn::Large> large;
  for (NodeId p = 0; p < tree.size(); ++p) {
    if (!out.Set(p, sums[p])) large.emplace_back(p, sums[p]);
  }
  out.AddLarge(large);
  return out;
}

/// What the nodes of `set` one by one retain, nothing counted twice: the sum of `retained` (as RetainedSizes() made it) over those of them that no other one
/// dominates. Saturates. O(V).
[[nodiscard]] std::uint64_t RetainedBySet(const DominatorTree& tree, const RetainedColumn& retained, const NodeSet& set);

}  // namespace pygc::graph
