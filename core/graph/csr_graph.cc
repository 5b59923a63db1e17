#include "core/graph/csr_graph.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace pygc::graph {
namespace {

std::vector<CsrGraph::Block> OneBlock(std::vector<std::uint32_t> offsets, std::vector<NodeId> edges) {
  std::vector<CsrGraph::Block> blocks(1);
  blocks[0].offsets = std::move(offsets);
  blocks[0].edges = std::move(edges);
  return blocks;
}

}  // namespace

CsrGraph::CsrGraph(std::vector<std::uint32_t> offsets, std::vector<NodeId> edges) : CsrGraph(OneBlock(std::move(offsets), std::move(edges))) {}

CsrGraph::CsrGraph(std::vector<Block> blocks) {
  std::erase_if(blocks, [](const Block& b) { return b.offsets.size() < 2; });
  blocks_ = std::move(blocks);
  first_edge_.reserve(blocks_.size());
  for (Block& b : blocks_) {
    b.first_node = node_count_;
    first_edge_.push_back(edge_count_);
    node_count_ += static_cast<NodeId>(b.offsets.size() - 1);
    edge_count_ += b.edges.size();
  }
  if (blocks_.size() < 2) return;
  const std::size_t size = blocks_[0].offsets.size() - 1;
  shift_ = std::has_single_bit(size) ? static_cast<unsigned>(std::countr_zero(size)) : kIrregular;
  for (std::size_t i = 0; i < blocks_.size() && shift_ != kIrregular; ++i) {
    const std::size_t nodes = blocks_[i].offsets.size() - 1;
    if (i + 1 < blocks_.size() ? nodes != size : nodes > size) shift_ = kIrregular;
  }
}

std::size_t CsrGraph::SearchBlock(NodeId node) const noexcept {
  const auto after = std::upper_bound(blocks_.begin(), blocks_.end(), node, [](NodeId n, const Block& b) { return n < b.first_node; });
  return static_cast<std::size_t>(after - blocks_.begin()) - 1;
}

std::uint64_t CsrGraph::memory_bytes() const noexcept {
  std::uint64_t bytes = 0;
  for (const Block& b : blocks_) bytes += (b.offsets.capacity() + b.edges.capacity()) * sizeof(std::uint32_t);
  return bytes;
}

}  // namespace pygc::graph
