#include "core/analysis/referrers.h"

namespace pygc::analysis {

std::vector<Referrer> FindReferrers(const heap::HeapSnapshot& heap, heap::NodeId target) {
  std::vector<Referrer> out;
  for (const graph::CsrGraph::Block& block : heap.graph.blocks()) {
    std::size_t node = 0;  // of the block; edges are looked at in order, so it only rises
    for (std::size_t e = 0; e < block.edges.size(); ++e) {
      if (block.edges[e] != target) continue;
      while (block.offsets[node + 1] <= e) ++node;
      const heap::NodeId source = block.first_node + static_cast<heap::NodeId>(node);
      if (!out.empty() && out.back().node == source) {
        ++out.back().references;
      } else {
        out.push_back({source, 1});
      }
    }
  }
  return out;
}

heap::NodeId LastNodeUpTo(const heap::HeapSnapshot& heap, Address address) {
  heap::NodeId low = 0, high = heap.index.size();  // the answer is low - 1 at the end
  while (low < high) {
    const heap::NodeId middle = low + (high - low) / 2;
    if (heap.AddressOf(middle) <= address) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low == 0 ? heap::kNoNode : low - 1;
}

}  // namespace pygc::analysis
