#include "core/analysis/root_paths.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "core/graph/node_set.h"

namespace pygc::analysis {
namespace {

using heap::NodeId;

constexpr std::uint64_t kProgressStep = 1u << 16;
// How many steps ahead the offsets of a node, its edges, and the marks of what these lead to are asked for.
constexpr std::size_t kOffsetsAhead = 16, kEdgesAhead = 8;

class Search {
 public:
  Search(const heap::HeapSnapshot& heap, const heap::RootSet& roots, const std::function<bool(NodeId)>& admits, ProgressSink& progress)
      : heap_(heap), roots_(roots), admits_(admits), progress_(progress), reached_(heap.size()) {
    paths_.order.reserve(heap.size());
    paths_.above.reserve(heap.size());
  }

  Result<RootPaths> Run(const std::function<bool(NodeId)>& in_use) {
    for (std::uint32_t i = 0; i < roots_.roots.size(); ++i) Start(heap_.index.Find(roots_.roots[i].object), i);
    if (!Spread()) return Stopped();
    paths_.root_levels = static_cast<std::uint32_t>(paths_.levels.size());
    for (const NodeId n : FindHeldByCount(heap_, reached_, Expanded(), in_use)) Start(n, RootPaths::kCountOnly);
    if (!Spread()) return Stopped();
    SortStarts();
    return std::move(paths_);
  }

 private:
  static tl::unexpected<Error> Stopped() { return Fail(ErrorCode::kCancelled, "stopped while searching paths from the roots"); }

  void Start(NodeId n, std::uint32_t root) {
    if (n == heap::kNoNode || !reached_.InsertNew(n)) return;
    starts_.emplace_back(n, root);
    paths_.above.push_back(static_cast<std::uint32_t>(paths_.order.size()));
    paths_.order.push_back(n);
  }

  // Breadth first, so that every path is a shortest one.
  bool Spread() {
    std::vector<NodeId>& order = paths_.order;
    while (at_ < order.size()) {
      const std::size_t end = order.size();
      paths_.levels.push_back(static_cast<std::uint32_t>(at_));
      for (; at_ < end; ++at_) {
        if (at_ + kOffsetsAhead < end) heap_.graph.PrefetchOffsets(order[at_ + kOffsetsAhead]);
        if (at_ + kEdgesAhead < end) heap_.graph.PrefetchEdges(order[at_ + kEdgesAhead]);
        if (at_ % kProgressStep == 0 && !progress_.Update("searching paths from the roots", at_, heap_.size())) return false;
        if (admits_ && !admits_(order[at_])) continue;
        for (const NodeId target : heap_.graph.Successors(order[at_])) {
          if (!reached_.InsertNew(target)) continue;
          order.push_back(target);
          paths_.above.push_back(static_cast<std::uint32_t>(at_));
        }
      }
    }
    return true;
  }

  [[nodiscard]] graph::NodeSet Expanded() const {
    graph::NodeSet expanded = reached_;
    if (!admits_) return expanded;
    for (const NodeId n : paths_.order) {
      if (!admits_(n)) expanded.Erase(n);
    }
    return expanded;
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
  graph::NodeSet reached_;
  std::vector<std::pair<NodeId, std::uint32_t>> starts_;
  std::size_t at_ = 0;  // place of the next one to expand
};

}  // namespace

void RootPaths::AddPlaces(NodeId node_count) {
  if (!place.empty()) return;
  place.assign(node_count, kNotReached);
  for (std::uint32_t at = 0; at < order.size(); ++at) place[order[at]] = at;
}

std::uint32_t RootPaths::PlaceByOrder(NodeId n) const noexcept {
  const auto at = std::find(order.begin(), order.end(), n);
  return at == order.end() ? kNotReached : static_cast<std::uint32_t>(at - order.begin());
}

std::uint32_t RootPaths::LevelOf(NodeId n) const noexcept {
  return static_cast<std::uint32_t>(std::upper_bound(levels.begin(), levels.end(), PlaceOf(n)) - levels.begin()) - 1;
}

std::uint32_t RootPaths::DepthOf(NodeId n) const noexcept {
  const std::uint32_t level = LevelOf(n);
  return level < root_levels ? level : level - root_levels;
}

std::vector<NodeId> RootPaths::PathTo(NodeId n) const {
  const std::uint32_t at = PlaceOf(n);
  return at == kNotReached ? std::vector<NodeId>{} : PathToPlace(at);
}

std::vector<NodeId> RootPaths::PathToPlace(std::uint32_t at) const {
  std::vector<NodeId> path{order[at]};
  for (; above[at] != at; path.push_back(order[at])) at = above[at];
  std::reverse(path.begin(), path.end());
  return path;
}

std::uint32_t RootPaths::RootOf(NodeId start) const noexcept {
  const auto at = std::lower_bound(starts.begin(), starts.end(), start);
  return at != starts.end() && *at == start ? root[static_cast<std::size_t>(at - starts.begin())] : kCountOnly;
}

namespace {

// The places of a level end where the next one's begin.
std::uint32_t FirstOf(const RootPaths& paths, std::size_t level) {
  return level < paths.levels.size() ? paths.levels[level] : static_cast<std::uint32_t>(paths.order.size());
}

}  // namespace

Below::Below(const RootPaths& paths, NodeId top)
    : paths_(paths), runs_{{paths.place[top], paths.place[top] + 1}}, gap_{0, paths.place[top]}, level_(paths.LevelOf(top)), covered_(FirstOf(paths, level_ + 1)) {}

// In each level `above` rises, so the children of a run are a run.
bool Below::Extend() {
  if (covered_ == paths_.order.size()) return false;
  const auto first = paths_.above.begin() + covered_, last = paths_.above.begin() + FirstOf(paths_, level_ + 2);
  const auto begin = std::lower_bound(first, last, runs_.back().begin), end = std::lower_bound(begin, last, runs_.back().end);
  if (begin == end) {
    covered_ = static_cast<std::uint32_t>(paths_.order.size());
    return false;
  }
  runs_.push_back({static_cast<std::uint32_t>(begin - paths_.above.begin()), static_cast<std::uint32_t>(end - paths_.above.begin())});
  covered_ = FirstOf(paths_, ++level_ + 1);
  return true;
}

bool Below::InRun(std::uint32_t place) noexcept {
  const auto after = std::upper_bound(runs_.begin(), runs_.end(), place, [](std::uint32_t p, const Run& run) { return p < run.begin; });
  if (after != runs_.begin() && place < (after - 1)->end) return true;
  gap_ = {after == runs_.begin() ? 0 : (after - 1)->end, after == runs_.end() ? covered_ : after->begin};
  return false;
}

std::vector<NodeId> FindHeldByCount(const heap::HeapSnapshot& heap, const graph::NodeSet& reached, const graph::NodeSet& expanded,
                                    const std::function<bool(NodeId)>& in_use) {
  graph::NodeSet candidates(heap.size());
  reached.Complement().ForEach([&](NodeId n) {
    if (in_use(n)) candidates.Insert(n);
  });
  const graph::NodeRanks ranks(candidates);
  std::vector<std::uint32_t> found(candidates.Count(), 0);  // references to each
  expanded.Complement().ForEach([&](NodeId n) {
    for (const NodeId target : heap.graph.Successors(n)) {
      if (!candidates.Contains(target)) continue;
      std::uint32_t& references = found[ranks.Of(target)];
      if (references < std::numeric_limits<std::uint32_t>::max()) ++references;
    }
  });
  std::vector<NodeId> out;
  std::size_t at = 0;
  candidates.ForEach([&](NodeId n) {
    const std::uint32_t references = found[at++];
    if (heap.refcount[n] == heap::kImmortal || heap.refcount[n] == heap::kSaturated || heap.refcount[n] > references) out.push_back(n);
  });
  return out;
}

Result<RootPaths> FindRootPaths(const heap::HeapSnapshot& heap, const heap::RootSet& roots, const std::function<bool(NodeId)>& in_use,
                                const std::function<bool(NodeId)>& admits, ProgressSink& progress, bool with_places) {
  Result<RootPaths> paths = Search(heap, roots, admits, progress).Run(in_use);
  if (paths && with_places) paths->AddPlaces(heap.size());
  return paths;
}

PathTree MergePaths(const RootPaths& paths, const std::vector<NodeId>& targets) {
  PathTree tree;
  // Every node of the paths, each once: a walk up ends where another one has been.
  graph::NodeSet seen(static_cast<NodeId>(paths.place.size()));
  std::vector<NodeId> nodes;
  for (const NodeId target : targets) {
    if (!paths.Reaches(target)) {
      ++tree.unreached;
      continue;
    }
    for (NodeId n = target; seen.InsertNew(n); n = paths.ParentOf(n)) nodes.push_back(n);
  }
  std::sort(nodes.begin(), nodes.end());
  const auto index_of = [&nodes](NodeId n) { return static_cast<std::uint32_t>(std::lower_bound(nodes.begin(), nodes.end(), n) - nodes.begin()); };
  std::vector<std::uint64_t> counts(nodes.size(), 0);
  std::vector<std::uint32_t> open(nodes.size(), 0);  // children that are not counted yet
  for (const NodeId n : nodes) {
    if (paths.ParentOf(n) != n) ++open[index_of(paths.ParentOf(n))];
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
    if (paths.ParentOf(n) == n) continue;
    const std::uint32_t above = index_of(paths.ParentOf(n));
    counts[above] += counts[order[at]];
    if (--open[above] == 0) order.push_back(above);
  }
  std::vector<std::uint32_t> branch_of(nodes.size());
  std::reverse(order.begin(), order.end());
  std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    const bool root_a = paths.ParentOf(nodes[a]) == nodes[a], root_b = paths.ParentOf(nodes[b]) == nodes[b];
    if (root_a != root_b) return root_a;
    return root_a && (counts[a] != counts[b] ? counts[a] > counts[b] : a < b);
  });
  for (const std::uint32_t i : order) {
    const NodeId n = nodes[i];
    branch_of[i] = static_cast<std::uint32_t>(tree.branches.size());
    const std::uint32_t above = paths.ParentOf(n) == n ? branch_of[i] : branch_of[index_of(paths.ParentOf(n))];
    tree.branches.push_back({n, above, counts[i], std::binary_search(targets.begin(), targets.end(), n)});
  }
  return tree;
}

}  // namespace pygc::analysis
