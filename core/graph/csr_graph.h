// Immutable directed graph in compressed-sparse-row form. Knows no Python and no memory of a target.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace pygc::graph {

/// A node: index 0 .. node_count() - 1.
using NodeId = std::uint32_t;
inline constexpr NodeId kNoNode = 0xFFFFFFFFu;

/// Immutable directed multigraph. Edges of a node keep the order in which they were added, duplicates included.
/// Memory: 4 bytes a node (8 where there are more than 2^32 edges) and 4 bytes an edge. The edges may lie in several blocks
/// (one for each thread that built them), so that building needs no serial join.
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
  explicit CsrGraph(std::vector<Block> blocks);

  [[nodiscard]] NodeId node_count() const noexcept { return node_count_; }
  [[nodiscard]] std::uint64_t edge_count() const noexcept { return edge_count_; }
  [[nodiscard]] std::span<const NodeId> Successors(NodeId node) const noexcept {
    const Block& b = blocks_[blocks_.size() == 1 ? 0 : BlockOf(node)];
    const NodeId i = node - b.first_node;
    return {b.edges.data() + b.offsets[i], b.edges.data() + b.offsets[i + 1]};
  }
  [[nodiscard]] std::span<const Block> blocks() const noexcept { return blocks_; }

 private:
  [[nodiscard]] std::size_t BlockOf(NodeId node) const noexcept;

  std::vector<Block> blocks_;
  NodeId node_count_ = 0;
  std::uint64_t edge_count_ = 0;
};

}  // namespace pygc::graph
