#include "core/graph/dominators.h"

#include <algorithm>

namespace pygc::graph {
namespace {

constexpr NodeId kOffsetsAhead = 24, kEdgesAhead = 16, kNumbersAhead = 8;  // nodes
constexpr std::size_t kNumbersOfOne = 4;                                   // predecessors

// All columns but `number` are indexed by depth-first number; 0 is the virtual root, the first reached node is 1.
class SemiNca {
 public:
  SemiNca(const CsrGraph& graph, const CsrGraph& reverse, const NodeSet* within)
      : graph_(graph), reverse_(reverse), within_(within), number_(graph.node_count(), 0), is_root_(graph.node_count()) {}

  DominatorTree Run(std::span<const NodeId> roots) {
    Number(roots);
    Semidominators();
    NearestCommonAncestors();
    return Translate();
  }

 private:
  struct Frame {
    NodeId node;
    std::uint32_t next_edge;
  };

  [[nodiscard]] bool Admits(NodeId n) const noexcept { return within_ == nullptr || within_->Contains(n); }

  void Number(std::span<const NodeId> roots) {
    dominator_.push_back(0);
    vertex_.push_back(kNoNode);
    std::vector<Frame> path;
    const auto enter = [&](NodeId node, NodeId parent) {
      number_[node] = static_cast<NodeId>(vertex_.size());
      vertex_.push_back(node);
      dominator_.push_back(parent);  // until NearestCommonAncestors() corrects it
      path.push_back({node, 0});
    };
    for (const NodeId root : roots) {
      if (Admits(root)) is_root_.Insert(root);
    }
    for (const NodeId root : roots) {
      if (!Admits(root) || number_[root] != 0) continue;
      enter(root, 0);
      while (!path.empty()) {
        Frame& frame = path.back();
        const std::span<const NodeId> successors = graph_.Successors(frame.node);
        NodeId next = kNoNode;
        while (frame.next_edge < successors.size() && next == kNoNode) {
          const NodeId candidate = successors[frame.next_edge++];
          if (number_[candidate] == 0 && Admits(candidate)) next = candidate;
        }
        if (next == kNoNode) {
          path.pop_back();
        } else {
          enter(next, number_[frame.node]);
        }
      }
    }
  }

  // Of a linked node: what path compression changes, in one place in memory.
  struct Link {
    NodeId ancestor, label;
  };

  // The smallest semidominator among the linked ancestors of v and v itself (v's own number where it is not linked yet). Nodes from `first_linked` on
  // are linked. Compresses the path.
  NodeId Evaluate(NodeId v, NodeId first_linked) {
    if (link_[v].ancestor < first_linked) return link_[v].label;
    NodeId u = v;
    do {
      chain_.push_back(u);
      u = link_[u].ancestor;
    } while (link_[u].ancestor >= first_linked);
    const NodeId top = link_[u].ancestor;
    while (!chain_.empty()) {
      const NodeId w = chain_.back();
      chain_.pop_back();
      link_[w] = {top, std::min(link_[w].label, link_[u].label)};
      u = w;
    }
    return link_[v].label;
  }

  void Semidominators() {
    const NodeId count = static_cast<NodeId>(vertex_.size());
    link_.resize(count);
    for (NodeId i = 0; i < count; ++i) link_[i] = {dominator_[i], i};
    semi_.assign(count, 0);
    for (NodeId w = count - 1; w >= 1; --w) {
      if (w > kOffsetsAhead) reverse_.PrefetchOffsets(vertex_[w - kOffsetsAhead]);
      if (w > kEdgesAhead) reverse_.PrefetchEdges(vertex_[w - kEdgesAhead]);
      if (w > kNumbersAhead) {
        const std::span<const NodeId> predecessors = reverse_.Successors(vertex_[w - kNumbersAhead]);
        for (std::size_t i = 0; i < predecessors.size() && i < kNumbersOfOne; ++i) __builtin_prefetch(&number_[predecessors[i]]);
      }
      NodeId semi = is_root_.Contains(vertex_[w]) ? 0 : dominator_[w];
      if (semi != 0) {
        for (const NodeId predecessor : reverse_.Successors(vertex_[w])) {
          if (const NodeId v = number_[predecessor]; v != 0) semi = std::min(semi, Evaluate(v, w + 1));
        }
      }
      semi_[w] = link_[w].label = semi;
    }
    number_ = {};
    link_ = {};
  }

  void NearestCommonAncestors() {
    for (NodeId w = 1; w < vertex_.size(); ++w) {
      NodeId d = dominator_[w];
      while (d > semi_[w]) d = dominator_[d];
      dominator_[w] = d;
    }
    semi_ = {};
  }

  DominatorTree Translate() {
    DominatorTree tree;
    tree.immediate.assign(graph_.node_count(), kNoNode);
    for (NodeId w = 1; w < vertex_.size(); ++w)
      tree.immediate[vertex_[w]] = dominator_[w] == 0 ? DominatorTree::kVirtualRoot : vertex_[dominator_[w]];
    vertex_.erase(vertex_.begin());
    dominator_.erase(dominator_.begin());
    tree.preorder = std::move(vertex_);
    tree.above = std::move(dominator_);
    return tree;
  }

  const CsrGraph& graph_;
  const CsrGraph& reverse_;
  const NodeSet* within_;
  std::vector<NodeId> number_;  // by node: its depth-first number, 0 where not reached
  std::vector<NodeId> vertex_, dominator_, semi_, chain_;
  std::vector<Link> link_;
  NodeSet is_root_;
};

}  // namespace

DominatorTree BuildDominatorTree(const CsrGraph& graph, const CsrGraph& reverse, std::span<const NodeId> roots, const NodeSet* within) {
  return SemiNca(graph, reverse, within).Run(roots);
}

}  // namespace pygc::graph
