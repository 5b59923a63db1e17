// Dominators: which node every path from the roots to a node passes through.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "core/base/progress.h"
#include "core/base/result.h"
#include "core/graph/csr_graph.h"
#include "core/graph/node_set.h"

namespace pygc::graph {

/// The dominator tree below a virtual root that refers to every root, by position in its preorder: what the node at position p dominates are exactly the
/// nodes at p .. p + subtree[p] - 1. Memory: 8 bytes a node, 12 with positions.
struct DominatorTree {
  /// Position of the virtual root, as a dominator. No node has it.
  static constexpr NodeId kVirtualRoot = kNoNode - 1;

  std::vector<NodeId> preorder;  // by position: the node; only nodes reached from the roots
  std::vector<NodeId> subtree;   // by position: how many nodes it dominates, itself included
  NodeSet reached;               // by node
  std::vector<NodeId> position;  // by node; kNoNode where not reached. Empty until AddPositions()

  [[nodiscard]] NodeId size() const noexcept { return static_cast<NodeId>(preorder.size()); }
  /// Fills `position` where it is empty. O(V).
  void AddPositions();
  /// How many nodes `node` dominates, itself included; 0 where it is not reached. Needs AddPositions().
  [[nodiscard]] NodeId CountBelow(NodeId node) const noexcept { return position[node] == kNoNode ? 0 : subtree[position[node]]; }

  /// Calls visit(position) for each node that only the virtual root dominates, rising.
  template <typename Visit>
  void ForEachTop(Visit&& visit) const {
    for (NodeId p = 0; p < preorder.size(); p += subtree[p]) visit(p);
  }
  /// Calls visit(position) for each node that the one at `parent` dominates immediately, rising.
  template <typename Visit>
  void ForEachChild(NodeId parent, Visit&& visit) const {
    for (NodeId p = parent + 1; p < parent + subtree[parent]; p += subtree[p]) visit(p);
  }
  /// Calls visit(position, position of the immediate dominator or kVirtualRoot) for all, rising. Memory: 8 bytes for each level of the tree while it runs.
  template <typename Visit>
  void ForEachWithDominator(Visit&& visit) const {
    std::vector<std::pair<NodeId, NodeId>> above;  // position, and the first one behind its subtree
    for (NodeId p = 0; p < preorder.size(); ++p) {
      while (!above.empty() && above.back().second <= p) above.pop_back();
      visit(p, above.empty() ? kVirtualRoot : above.back().first);
      if (subtree[p] > 1) above.emplace_back(p, p + subtree[p]);
    }
  }
};

/// By node: its immediate dominator; DominatorTree::kVirtualRoot; kNoNode where not reached.
[[nodiscard]] std::vector<NodeId> ImmediateDominators(const DominatorTree& tree);

/// Makes the dominator tree: numbers everything that roots reach, then Run(). Semi-NCA (Georgiadis, Tarjan, Werneck 2006) without recursion, over the
/// predecessors that the depth-first tree does not already give. A node that refers to nothing and has one reference takes no part: its referrer dominates it.
/// Time O(E log V) at worst, nearly linear in practice. Memory while it runs: 16 bytes for each node that takes part, 4 for each reference that is
/// none of the depth-first tree. The graph outlives it.
class DominatorFinder {
 public:
  /// `threads`: as Limits::threads.
  DominatorFinder(const CsrGraph& graph, unsigned threads);

  /// Errors: kCancelled.
  [[nodiscard]] Result<void> AddRoots(std::span<const NodeId> roots, ProgressSink& progress);
  /// Nodes that the roots so far reach.
  [[nodiscard]] NodeSet Reached() const;
  /// Once. Errors: kCancelled; kLimit: more than 2^32 references to 65,536 nodes.
  [[nodiscard]] Result<DominatorTree> Run(ProgressSink& progress);

 private:
  struct Pending {
    NodeId node, parent;  // its parent by number
  };
  // Of a number: at first its parent in the depth-first tree and the end of its row of predecessors, then what path compression changes.
  struct Link {
    NodeId ancestor, label;
  };
  struct Single {
    NodeId leaf, owner;  // its only referrer, by number
  };

  void FindSingles();
  bool Spread(ProgressSink& progress);
  void Enter(NodeId node, NodeId parent);
  void Count(NodeId number) {
    ++link_[number].label;
    ++counted_;
  }
  Result<void> NumberPredecessors(ProgressSink& progress);
  template <bool kShared>
  void AddPredecessorsOf(const CsrGraph::Block& block, std::vector<Single>& singles);
  bool FindSemidominators(ProgressSink& progress);
  NodeId Evaluate(NodeId v, NodeId first_linked);
  void FindDominators();
  DominatorTree MakeTree();

  const CsrGraph& graph_;
  unsigned threads_;
  NodeSet is_root_, single_, single_reached_;  // leaves with one reference; those that a numbered node refers to
  std::vector<NodeId> number_;                 // by node: its depth-first number from 1; 0 where it has none
  std::vector<NodeId> vertex_;                 // from here on by number; 0 is the virtual root
  std::vector<Link> link_;
  std::vector<bool> tree_moves_;  // the depth-first tree in two bits a node: for each number, how often up (false) before down to it (true)
  std::vector<NodeId> dominator_, semi_;
  std::vector<std::uint64_t> row_base_;  // of each run of numbers, into predecessors_
  std::vector<NodeId> predecessors_;     // by number
  std::vector<Single> singles_;
  std::vector<Pending> pending_;
  std::vector<NodeId> chain_;
  std::uint64_t counted_ = 0, steps_ = 0;  // references outside of the depth-first tree; nodes numbered
};

/// The tree of one set of roots, on one thread and without progress. Errors: kLimit.
[[nodiscard]] Result<DominatorTree> BuildDominatorTree(const CsrGraph& graph, std::span<const NodeId> roots);

}  // namespace pygc::graph
