#include "core/heap/heap_snapshot.h"

namespace pygc::heap {

void AppendOwned(std::span<const OwnedBeside> counts, std::span<const NodeId> targets, graph::CsrGraph::Block& block) {
  std::vector<NodeId> edges;
  edges.reserve(block.edges.size() + targets.size());
  std::size_t from = 0, at = 0, next = 0;
  const auto append = [&edges](std::span<const NodeId> some) { edges.insert(edges.end(), some.begin(), some.end()); };
  for (std::size_t i = 0; i + 1 < block.offsets.size(); ++i) {
    const std::size_t end = block.offsets[i + 1];
    append(std::span(block.edges).subspan(from, end - from));
    from = end;
    if (next < counts.size() && counts[next].node == block.first_node + i) {
      const std::size_t count = counts[next++].references;
      append(targets.subspan(at, count));
      at += count;
    }
    block.offsets[i + 1] = static_cast<std::uint32_t>(edges.size());
  }
  block.edges = std::move(edges);
}

}  // namespace pygc::heap
