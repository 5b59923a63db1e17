#include "core/analysis/root_paths.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <unordered_map>
#include <utility>

#include "core/analysis/in_degree.h"
#include "core/graph/node_set.h"

namespace pygc::analysis {
namespace {

using heap::NodeId;

constexpr std::uint64_t kProgressStep = 1u << 16;
constexpr std::size_t kOffsetsAhead = 16, kEdgesAhead = 8;

// First in, first out, in pieces that go as soon as they are empty: the nodes of one level can be half of the heap.
class NodeQueue {
 public:
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  void Push(NodeId n) {
    const std::size_t at = (front_ + size_++) % kPiece;
    if (at == 0 || pieces_.empty()) pieces_.push_back(std::make_unique_for_overwrite<NodeId[]>(kPiece));
    pieces_.back()[at] = n;
  }
  [[nodiscard]] NodeId At(std::size_t i) const { return pieces_[(front_ + i) / kPiece][(front_ + i) % kPiece]; }
  NodeId Pop() {
    const NodeId n = pieces_.front()[front_++];
    --size_;
    if (front_ == kPiece || size_ == 0) {
      pieces_.pop_front();
      front_ = 0;
    }
    return n;
  }

 private:
  static constexpr std::size_t kPiece = 1u << 16;

  std::deque<std::unique_ptr<NodeId[]>> pieces_;
  std::size_t front_ = 0, size_ = 0;  // place of the first one in the first piece
};

class Search {
 public:
  Search(const heap::HeapSnapshot& heap, const heap::RootSet& roots, const std::function<bool(NodeId)>& admits, ProgressSink& progress, bool with_depth)
      : heap_(heap), roots_(roots), admits_(admits), progress_(progress) {
    paths_.parent.assign(heap.size(), heap::kNoNode);
    if (with_depth) paths_.depth.assign(heap.size(), 0);
    paths_.count_only = graph::NodeSet(heap.size());
  }

  Result<RootPaths> Run(const std::function<bool(NodeId)>& in_use) {
    for (std::uint32_t i = 0; i < roots_.roots.size(); ++i) Start(heap_.index.Find(roots_.roots[i].object), i);
    if (!Spread()) return Stopped();
    paths_.reached = reached_;
    in_second_pass_ = true;
    for (const NodeId n : FindHeldByCount(heap_, Reached(), in_use)) Start(n, RootPaths::kCountOnly);
    if (!Spread()) return Stopped();
    paths_.by_count_only = reached_ - paths_.reached;
    SortStarts();
    return std::move(paths_);
  }

 private:
  static tl::unexpected<Error> Stopped() { return Fail(ErrorCode::kCancelled, "stopped while searching paths from the roots"); }

  void Start(NodeId n, std::uint32_t root) {
    if (n == heap::kNoNode || paths_.parent[n] != heap::kNoNode) return;
    paths_.parent[n] = n;
    starts_.emplace_back(n, root);
    waiting_.Push(n);
    if (in_second_pass_) paths_.count_only.Insert(n);
    ++reached_;
  }

  // Breadth first, so that every path is a shortest one.
  bool Spread() {
    while (waiting_.size() > 0) {
      if (waiting_.size() > kOffsetsAhead) heap_.graph.PrefetchOffsets(waiting_.At(kOffsetsAhead));
      if (waiting_.size() > kEdgesAhead) heap_.graph.PrefetchEdges(waiting_.At(kEdgesAhead));
      const NodeId node = waiting_.Pop();
      if (++steps_ % kProgressStep == 0 && !progress_.Update("searching paths from the roots", steps_, heap_.size())) return false;
      if (admits_ && !admits_(node)) continue;
      for (const NodeId target : heap_.graph.Successors(node)) {
        if (paths_.parent[target] != heap::kNoNode) continue;
        paths_.parent[target] = node;
        if (!paths_.depth.empty()) paths_.depth[target] = paths_.depth[node] + 1;
        if (in_second_pass_) paths_.count_only.Insert(target);
        waiting_.Push(target);
        ++reached_;
      }
    }
    return true;
  }

  [[nodiscard]] graph::NodeSet Reached() const {
    graph::NodeSet reached(heap_.size());
    for (NodeId n = 0; n < heap_.size(); ++n) {
      if (paths_.parent[n] != heap::kNoNode) reached.Insert(n);
    }
    return reached;
  }

  void SortStarts() {
    std::sort(starts_.begin(), starts_.end());
    for (const auto& [node, root] : starts_) {
      paths_.starts.push_back(node);
      paths_.root.push_back(root);
    }
  }

  const heap::HeapSnapshot& heap_;
  const heap::RootSet& roots_;
  const std::function<bool(NodeId)>& admits_;
  ProgressSink& progress_;
  RootPaths paths_;
  std::vector<std::pair<NodeId, std::uint32_t>> starts_;
  NodeQueue waiting_;
  std::uint64_t reached_ = 0, steps_ = 0;
  bool in_second_pass_ = false;
};

}  // namespace

std::vector<NodeId> RootPaths::PathTo(NodeId n) const {
  std::vector<NodeId> path;
  if (!Reaches(n)) return path;
  path.push_back(n);
  while (parent[path.back()] != path.back()) path.push_back(parent[path.back()]);
  std::reverse(path.begin(), path.end());
  return path;
}

std::uint32_t RootPaths::RootOf(NodeId start) const noexcept {
  const auto at = std::lower_bound(starts.begin(), starts.end(), start);
  return at != starts.end() && *at == start ? root[static_cast<std::size_t>(at - starts.begin())] : kCountOnly;
}

std::vector<NodeId> FindHeldByCount(const heap::HeapSnapshot& heap, const graph::NodeSet& reached, const std::function<bool(NodeId)>& in_use) {
  InDegree found(heap.size());
  for (const graph::CsrGraph::Block& block : heap.graph.blocks()) {
    for (const NodeId target : block.edges) {
      if (!reached.Contains(target)) found.Add(target);
    }
  }
  std::vector<NodeId> out;
  reached.Complement().ForEach([&](NodeId n) {
    if (!in_use(n)) return;
    if (heap.refcount[n] == heap::kImmortal || heap.refcount[n] == heap::kSaturated || heap.refcount[n] > found.Count(n)) out.push_back(n);
  });
  return out;
}

Result<RootPaths> FindRootPaths(const heap::HeapSnapshot& heap, const heap::RootSet& roots, const std::function<bool(NodeId)>& in_use,
                                const std::function<bool(NodeId)>& admits, ProgressSink& progress, bool with_depth) {
  return Search(heap, roots, admits, progress, with_depth).Run(in_use);
}

// Up to a node whose depth is known, and down again.
void AddDepths(RootPaths& paths) {
  constexpr std::uint32_t kUnknown = 0xFFFFFFFFu;
  if (!paths.depth.empty()) return;
  paths.depth.assign(paths.parent.size(), kUnknown);
  std::vector<NodeId> way;
  for (NodeId n = 0; n < paths.parent.size(); ++n) {
    if (!paths.Reaches(n)) continue;
    NodeId at = n;
    for (; paths.depth[at] == kUnknown && paths.parent[at] != at; at = paths.parent[at]) way.push_back(at);
    if (paths.depth[at] == kUnknown) paths.depth[at] = 0;
    for (std::uint32_t depth = paths.depth[at]; !way.empty(); way.pop_back()) paths.depth[way.back()] = ++depth;
  }
}

PathTree MergePaths(const RootPaths& paths, const std::vector<NodeId>& targets) {
  PathTree tree;
  // Every node of the paths, each once: a walk up ends where another one has been.
  graph::NodeSet seen(static_cast<NodeId>(paths.parent.size()));
  std::vector<NodeId> nodes;
  for (const NodeId target : targets) {
    if (!paths.Reaches(target)) {
      ++tree.unreached;
      continue;
    }
    for (NodeId n = target; seen.InsertNew(n); n = paths.parent[n]) nodes.push_back(n);
  }
  std::sort(nodes.begin(), nodes.end());
  const auto index_of = [&nodes](NodeId n) { return static_cast<std::uint32_t>(std::lower_bound(nodes.begin(), nodes.end(), n) - nodes.begin()); };
  std::vector<std::uint64_t> counts(nodes.size(), 0);
  std::vector<std::uint32_t> open(nodes.size(), 0);  // children that are not counted yet
  for (const NodeId n : nodes) {
    if (paths.parent[n] != n) ++open[index_of(paths.parent[n])];
  }
  for (const NodeId target : targets) {
    if (paths.Reaches(target)) ++counts[index_of(target)];
  }
  std::vector<std::uint32_t> order;  // children before parents
  for (std::uint32_t i = 0; i < nodes.size(); ++i) {
    if (open[i] == 0) order.push_back(i);
  }
  for (std::size_t at = 0; at < order.size(); ++at) {
    const NodeId n = nodes[order[at]];
    if (paths.parent[n] == n) continue;
    const std::uint32_t above = index_of(paths.parent[n]);
    counts[above] += counts[order[at]];
    if (--open[above] == 0) order.push_back(above);
  }
  std::vector<std::uint32_t> branch_of(nodes.size());
  std::reverse(order.begin(), order.end());
  std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    const bool root_a = paths.parent[nodes[a]] == nodes[a], root_b = paths.parent[nodes[b]] == nodes[b];
    if (root_a != root_b) return root_a;
    return root_a && (counts[a] != counts[b] ? counts[a] > counts[b] : a < b);
  });
  for (const std::uint32_t i : order) {
    const NodeId n = nodes[i];
    branch_of[i] = static_cast<std::uint32_t>(tree.branches.size());
    const std::uint32_t above = paths.parent[n] == n ? branch_of[i] : branch_of[index_of(paths.parent[n])];
    tree.branches.push_back({n, above, counts[i], std::binary_search(targets.begin(), targets.end(), n)});
  }
  return tree;
}

}  // namespace pygc::analysis
