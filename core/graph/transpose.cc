#include "core/graph/transpose.h"

#include <limits>
#include <utility>
#include <vector>

namespace pygc::graph {
namespace {

constexpr std::uint64_t kMaxBlockEdges = std::numeric_limits<std::uint32_t>::max();

// Cuts the nodes into runs of 2^shift, the largest shift for which no run has more edges than a block can number.
Result<unsigned> ChooseShift(const std::vector<std::uint32_t>& in_degree, std::uint64_t edge_count) {
  if (edge_count <= kMaxBlockEdges) return 32u;
  for (unsigned shift = 22;; --shift) {
    std::uint64_t sum = 0, largest = 0;
    for (std::size_t i = 0; i < in_degree.size(); ++i) {
      if ((i & ((std::size_t{1} << shift) - 1)) == 0) sum = 0;
      sum += in_degree[i];
      if (sum > largest) largest = sum;
    }
    if (largest <= kMaxBlockEdges) return shift;
    if (shift == 0) return Fail(ErrorCode::kLimit, "cannot build the reverse graph: one node has {} referrers", largest);
  }
}

}  // namespace

Result<CsrGraph> Transpose(const CsrGraph& graph) {
  const std::size_t nodes = graph.node_count();
  std::vector<std::uint32_t> in_degree(nodes);
  for (const CsrGraph::Block& block : graph.blocks()) {
    for (const NodeId target : block.edges) {
      if (in_degree[target] == kMaxBlockEdges) {
        return Fail(ErrorCode::kLimit, "cannot build the reverse graph: node {} has more than {} referrers", target, kMaxBlockEdges);
      }
      ++in_degree[target];
    }
  }
  const Result<unsigned> shift = ChooseShift(in_degree, graph.edge_count());
  if (!shift) return tl::unexpected(shift.error());

  // `in_degree` becomes the write position of each node inside its block.
  std::vector<CsrGraph::Block> blocks;
  const std::uint64_t run = std::uint64_t{1} << *shift;
  for (std::uint64_t begin = 0; begin < nodes; begin += run) {
    const std::uint64_t end = begin + run < nodes ? begin + run : nodes;
    CsrGraph::Block& block = blocks.emplace_back();
    block.first_node = static_cast<NodeId>(begin);
    block.offsets.resize(end - begin + 1);
    std::uint32_t position = 0;
    for (std::uint64_t n = begin; n < end; ++n) {
      block.offsets[n - begin] = position;
      position += std::exchange(in_degree[n], position);
    }
    block.offsets[end - begin] = position;
    block.edges.resize(position);
  }
  for (const CsrGraph::Block& block : graph.blocks()) {
    for (std::size_t i = 0; i + 1 < block.offsets.size(); ++i) {
      const NodeId source = block.first_node + static_cast<NodeId>(i);
      for (std::uint32_t e = block.offsets[i]; e < block.offsets[i + 1]; ++e) {
        const NodeId target = block.edges[e];
        blocks[std::uint64_t{target} >> *shift].edges[in_degree[target]++] = source;
      }
    }
  }
  return CsrGraph(std::move(blocks));
}

}  // namespace pygc::graph
