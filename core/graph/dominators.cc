#include "core/graph/dominators.h"

#include <algorithm>

namespace pygc::graph {
namespace {

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

  // The smallest semidominator among the linked ancestors of v and v itself (v's own number where it is not linked yet). Nodes from `first_linked` on
  // are linked. Compresses the path.
  NodeId Evaluate(NodeId v, NodeId first_linked) {
    if (ancestor_[v] < first_linked) return label_[v];
    NodeId u = v;
    do {
      chain_.push_back(u);
      u = ancestor_[u];
    } while (ancestor_[u] >= first_linked);
    const NodeId top = ancestor_[u];
    while (!chain_.empty()) {
      const NodeId w = chain_.back();
      chain_.pop_back();
      label_[w] = std::min(label_[w], label_[u]);
      ancestor_[w] = top;
      u = w;
    }
    return label_[v];
  }

  void Semidominators() {
    const NodeId count = static_cast<NodeId>(vertex_.size());
    ancestor_ = dominator_;
    label_.resize(count);
    for (NodeId i = 0; i < count; ++i) label_[i] = i;
    semi_.assign(count, 0);
    for (NodeId w = count - 1; w >= 1; --w) {
      NodeId semi = is_root_.Contains(vertex_[w]) ? 0 : dominator_[w];
      if (semi != 0) {
        for (const NodeId predecessor : reverse_.Successors(vertex_[w])) {
          if (const NodeId v = number_[predecessor]; v != 0) semi = std::min(semi, Evaluate(v, w + 1));
        }
      }
      semi_[w] = label_[w] = semi;
    }
  }

  void NearestCommonAncestors() {
    for (NodeId w = 1; w < vertex_.size(); ++w) {
      NodeId d = dominator_[w];
      while (d > semi_[w]) d = dominator_[d];
      dominator_[w] = d;
    }
  }

  DominatorTree Translate() {
    DominatorTree tree;
    tree.immediate.assign(graph_.node_count(), kNoNode);
    for (NodeId w = 1; w < vertex_.size(); ++w)
      tree.immediate[vertex_[w]] = dominator_[w] == 0 ? DominatorTree::kVirtualRoot : vertex_[dominator_[w]];
    tree.preorder.assign(vertex_.begin() + 1, vertex_.end());
    return tree;
  }

  const CsrGraph& graph_;
  const CsrGraph& reverse_;
  const NodeSet* within_;
  std::vector<NodeId> number_;  // by node: its depth-first number, 0 where not reached
  std::vector<NodeId> vertex_, dominator_, ancestor_, label_, semi_, chain_;
  NodeSet is_root_;
};

}  // namespace

DominatorTree BuildDominatorTree(const CsrGraph& graph, const CsrGraph& reverse, std::span<const NodeId> roots, const NodeSet* within) {
  return SemiNca(graph, reverse, within).Run(roots);
}

}  // namespace pygc::graph
