#include "core/graph/scc.h"

#include <algorithm>

namespace pygc::graph {
namespace {

// Pearce, "A space-efficient algorithm for finding strongly connected components" (2016), PEA_FIND_SCC2.
// mark[v]: 0 not met; rising visit numbers while v's component is open; node_count - 1 - c once it is component c, so that closed components compare
// greater than every open visit number and need no flag of their own.
class ComponentSearch {
 public:
  ComponentSearch(const CsrGraph& graph, const NodeSet* within)
      : graph_(graph), within_(within), mark_(graph.node_count()), not_root_(graph.node_count()), next_component_(graph.node_count() - 1) {}

  void Run() {
    for (NodeId v = 0; v < graph_.node_count(); ++v) {
      if (mark_[v] == 0 && Admits(v)) Visit(v);
    }
  }
  Components Result() && {
    Components result;
    const NodeId nodes = graph_.node_count();
    const NodeId count = nodes - 1 - next_component_;
    result.offsets.assign(std::size_t{count} + 1, 0);
    for (NodeId v = 0; v < nodes; ++v) {
      if (!Admits(v)) {
        mark_[v] = kNoNode;
        continue;
      }
      mark_[v] = nodes - 1 - mark_[v];
      ++result.offsets[std::size_t{mark_[v]} + 1];
    }
    for (std::size_t c = 1; c < result.offsets.size(); ++c) result.offsets[c] += result.offsets[c - 1];
    result.members.resize(result.offsets.back());
    for (NodeId v = 0; v < nodes; ++v) {  // offsets serve as write positions and are moved back afterwards
      if (mark_[v] != kNoNode) result.members[result.offsets[mark_[v]]++] = v;
    }
    for (std::size_t c = result.offsets.size() - 1; c > 0; --c) result.offsets[c] = result.offsets[c - 1];
    result.offsets[0] = 0;
    result.component_of = std::move(mark_);
    return result;
  }

 private:
  struct Frame {
    NodeId node;
    std::uint32_t next_edge;
  };

  [[nodiscard]] bool Admits(NodeId v) const noexcept { return within_ == nullptr || within_->Contains(v); }

  void Visit(NodeId start) {
    Open(start);
    while (!path_.empty()) {
      Frame& frame = path_.back();
      const NodeId v = frame.node;
      const std::span<const NodeId> successors = graph_.Successors(v);
      bool descended = false;
      while (frame.next_edge < successors.size()) {
        const NodeId w = successors[frame.next_edge++];
        if (!Admits(w)) continue;
        if (mark_[w] == 0) {
          Open(w);  // invalidates `frame`; on the way back Close() folds w's number into v's
          descended = true;
          break;
        }
        Fold(v, w);
      }
      if (!descended) Close(v);
    }
  }
  void Open(NodeId v) {
    mark_[v] = next_visit_++;
    path_.push_back({v, 0});
  }
  void Fold(NodeId v, NodeId w) {
    if (mark_[w] < mark_[v]) {
      mark_[v] = mark_[w];
      not_root_.Insert(v);
    }
  }
  void Close(NodeId v) {
    path_.pop_back();
    if (not_root_.Contains(v)) {
      open_.push_back(v);
    } else {
      --next_visit_;
      while (!open_.empty() && mark_[v] <= mark_[open_.back()]) {
        mark_[open_.back()] = next_component_;
        open_.pop_back();
        --next_visit_;
      }
      mark_[v] = next_component_--;
    }
    if (!path_.empty()) Fold(path_.back().node, v);
  }

  const CsrGraph& graph_;
  const NodeSet* within_;
  std::vector<NodeId> mark_;
  NodeSet not_root_;
  std::vector<Frame> path_;
  std::vector<NodeId> open_;
  NodeId next_visit_ = 1;
  NodeId next_component_;
};

}  // namespace

Components StronglyConnectedComponents(const CsrGraph& graph, const NodeSet* within) {
  ComponentSearch search(graph, within);
  search.Run();
  return std::move(search).Result();
}

bool IsCyclic(const CsrGraph& graph, const Components& components, NodeId component) {
  const std::span<const NodeId> members = components.Members(component);
  if (members.size() != 1) return true;
  const std::span<const NodeId> successors = graph.Successors(members[0]);
  return std::find(successors.begin(), successors.end(), members[0]) != successors.end();
}

}  // namespace pygc::graph
