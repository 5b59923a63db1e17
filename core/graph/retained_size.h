// What would be freed with a node: the sum over its dominator subtree.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/graph/dominators.h"

namespace pygc::graph {

/// Per node the sum of `weight` over everything it dominates, itself included; 0 for nodes not reached. Sums saturate at 2^64 - 1. O(V).
[[nodiscard]] std::vector<std::uint64_t> RetainedSizes(const DominatorTree& tree, std::span<const std::uint64_t> weight);

/// Per node the number of nodes that it dominates, itself included; 0 for nodes not reached. O(V).
[[nodiscard]] std::vector<NodeId> RetainedCounts(const DominatorTree& tree);

/// What the nodes of `set` one by one retain, nothing counted twice: the sum of `retained` over those of them that no other one dominates. Saturates. O(V).
[[nodiscard]] std::uint64_t RetainedBySet(const DominatorTree& tree, std::span<const std::uint64_t> retained, const NodeSet& set);

}  // namespace pygc::graph
