// The reverse graph: who refers to a node.
#pragma once

#include "core/base/result.h"
#include "core/graph/csr_graph.h"

namespace pygc::graph {

/// The graph with every edge turned round. Predecessors of a node come rising, duplicates kept.
/// Time O(V + E), memory that of the graph. Errors: kLimit where one node has more than 2^32 - 1 referrers.
[[nodiscard]] Result<CsrGraph> Transpose(const CsrGraph& graph);

}  // namespace pygc::graph
