// Immutable directed graph in compressed-sparse-row form. Knows no Python and no memory of a target.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace pygc::graph {

/// A node: index 0 .. node_count() - 1.
using NodeId = std::uint32_t;
inline constexpr NodeId kNoNode = 0xFFFFFFFFu;

/// Immutable directed multigraph. Edges of a node keep the order in which they were added, duplicates included.
/// Memory: 4 bytes a node and 4 bytes an edge. The edges may lie in several blocks (one for each piece of work that built them), so that
/// building needs no serial join; more than 2^32 edges take more than one block.
class CsrGraph {
 public:
  CsrGraph() = default;
  /// `offsets` has node_count + 1 entries, rising, the last one edges.size(). Every edge < node_count.
  CsrGraph(std::vector<std::uint32_t> offsets, std::vector<NodeId> edges);

  /// A run of nodes whose edges lie together. Nodes of block i precede those of block i + 1.
  struct Block {
    NodeId first_node = 0;
    std::vector<std::uint32_t> offsets;  // one more than nodes of the block, into `edges`
    std::vector<NodeId> edges;
  };
  /// Blocks without nodes are dropped. Blocks of one size that is a power of two (the last may be smaller) are found fastest.
  explicit CsrGraph(std::vector<Block> blocks);

  [[nodiscard]] NodeId node_count() const noexcept { return node_count_; }
  [[nodiscard]] std::uint64_t edge_count() const noexcept { return edge_count_; }
  [[nodiscard]] std::span<const NodeId> Successors(NodeId node) const noexcept {
    const Block& b = blocks_[BlockOf(node)];
    const NodeId i = node - b.first_node;
    return {b.edges.data() + b.offsets[i], b.edges.data() + b.offsets[i + 1]};
  }
  [[nodiscard]] std::span<const Block> blocks() const noexcept { return blocks_; }
  /// Gives the blocks away, to make another graph of them; this one is empty then.
  [[nodiscard]] std::vector<Block> TakeBlocks() noexcept {
    std::vector<Block> blocks = std::move(blocks_);
    *this = CsrGraph();
    return blocks;
  }
  /// Number of all edges of nodes before `node`: with the position among its Successors, the index of an edge in a column of edges.
  [[nodiscard]] std::uint64_t FirstEdge(NodeId node) const noexcept {
    const std::size_t b = BlockOf(node);
    return first_edge_[b] + blocks_[b].offsets[node - blocks_[b].first_node];
  }

  /// Hints for walks that know some steps ahead which node comes: first its offsets, some steps later its edges.
  void PrefetchOffsets(NodeId node) const noexcept {
    const Block& b = blocks_[BlockOf(node)];
    __builtin_prefetch(b.offsets.data() + (node - b.first_node));
  }
  void PrefetchEdges(NodeId node) const noexcept {
    const Block& b = blocks_[BlockOf(node)];
    __builtin_prefetch(b.edges.data() + b.offsets[node - b.first_node]);
  }
  [[nodiscard]] std::uint64_t memory_bytes() const noexcept;

 private:
  static constexpr unsigned kIrregular = 255;

  [[nodiscard]] std::size_t BlockOf(NodeId node) const noexcept {
    return shift_ != kIrregular ? static_cast<std::size_t>(std::uint64_t{node} >> shift_) : SearchBlock(node);
  }
  [[nodiscard]] std::size_t SearchBlock(NodeId node) const noexcept;

  std::vector<Block> blocks_;
  std::vector<std::uint64_t> first_edge_;  // of each block
  NodeId node_count_ = 0;
  std::uint64_t edge_count_ = 0;
  unsigned shift_ = 32;  // block of a node = node >> shift_
};

}  // namespace pygc::graph
