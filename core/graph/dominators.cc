#include "core/graph/dominators.h"

#include <algorithm>
#include <atomic>
#include <limits>

#include "core/base/free_memory.h"
#include "core/base/parallel.h"

namespace pygc::graph {
namespace {

constexpr std::uint64_t kProgressStep = 1u << 18;
constexpr unsigned kRunShift = 16;  // numbers of a run, whose rows of predecessors are found by 32 bits from its base
constexpr NodeId kRunMask = (NodeId{1} << kRunShift) - 1;
constexpr std::uint64_t kMostOfRun = std::numeric_limits<std::uint32_t>::max();
constexpr std::size_t kEdgesAhead = 24, kNumbersAhead = 8, kLinksAhead = 16, kNodesAhead = 16;
constexpr unsigned kMostCounters = 4;  // threads with sets of their own

tl::unexpected<Error> Stopped() { return Fail(ErrorCode::kCancelled, "stopped while finding dominators"); }

}  // namespace

DominatorFinder::DominatorFinder(const CsrGraph& graph, unsigned threads)
    : graph_(graph), threads_(threads), is_root_(graph.node_count()), single_(graph.node_count()), single_reached_(graph.node_count()), number_(graph.node_count(), 0) {
  FindSingles();
  const std::size_t most = graph.node_count() - single_.Count() + 1;
  vertex_.reserve(most);
  link_.reserve(most);
  Enter(kNoNode, 0);
}

void DominatorFinder::FindSingles() {
  for (const CsrGraph::Block& block : graph_.blocks()) {
    for (std::size_t i = 0; i + 1 < block.offsets.size(); ++i) {
      if (block.offsets[i] == block.offsets[i + 1]) single_.Insert(block.first_node + static_cast<NodeId>(i));
    }
  }
  // Each thread looks at blocks of its own: what two of them see was referred to twice.
  const std::span<const CsrGraph::Block> blocks = graph_.blocks();
  const unsigned threads = std::min(ThreadCount(threads_, blocks.size()), kMostCounters);
  struct Seen {
    NodeSet once, more;
  };
  std::vector<Seen> seen(threads, {NodeSet(graph_.node_count()), NodeSet(graph_.node_count())});
  ForEachPiece(
      blocks.size(), threads,
      [&](std::size_t piece, unsigned thread) {
        Seen& mine = seen[thread];
        for (const NodeId target : blocks[piece].edges) {
          if (single_.Contains(target) && !mine.once.InsertNew(target)) mine.more.Insert(target);
        }
        return true;
      },
      [](std::size_t) { return true; });
  NodeSet once(graph_.node_count());
  for (const Seen& part : seen) {
    NodeSet twice = once;
    twice.Intersect(part.once);
    once.Unite(part.once);
    single_.Subtract(part.more);
    single_.Subtract(twice);
  }
  single_.Intersect(once);
}

void DominatorFinder::Enter(NodeId node, NodeId parent) {
  if (node != kNoNode) number_[node] = static_cast<NodeId>(vertex_.size());
  vertex_.push_back(node);
  link_.push_back({parent, 0});
}

Result<void> DominatorFinder::AddRoots(std::span<const NodeId> roots, ProgressSink& progress) {
  for (const NodeId root : roots) {
    is_root_.Insert(root);
    single_.Erase(root);
  }
  for (const NodeId root : roots) {
    if (number_[root] != 0) continue;
    pending_.push_back({root, 0});
    if (!Spread(progress)) return Stopped();
    if (!single_reached_.Contains(root)) continue;
    single_reached_.Erase(root);  // until now it took no part: its referrer counts from here on
    Count(number_[root]);
  }
  return {};
}

// Depth first: the last reference found to a node that has no number yet is followed first, so each reference waits with the node that it came from.
bool DominatorFinder::Spread(ProgressSink& progress) {
  while (!pending_.empty()) {
    const auto [node, parent] = pending_.back();
    pending_.pop_back();
    if (!pending_.empty()) graph_.PrefetchEdges(pending_.back().node);
    if (const NodeId known = number_[node]; known != 0) {
      if (link_[known].ancestor != parent) Count(known);
      continue;
    }
    const auto number = static_cast<NodeId>(vertex_.size());
    Enter(node, parent);
    const std::span<const NodeId> successors = graph_.Successors(node);
    for (std::size_t i = successors.size(); i-- > 0;) {
      const NodeId next = successors[i];
      if (single_.Contains(next)) {
        single_reached_.Insert(next);
      } else if (const NodeId known = number_[next]; known == 0) {
        graph_.PrefetchOffsets(next);
        pending_.push_back({next, number});
      } else if (known != number) {
        Count(known);
      }
    }
    if (++steps_ % kProgressStep == 0 && !progress.Update("finding dominators: numbering", steps_, graph_.node_count())) return false;
  }
  return true;
}

NodeSet DominatorFinder::Reached() const {
  NodeSet reached = single_reached_;
  for (NodeId n = 0; n < number_.size(); ++n) {
    if (number_[n] != 0) reached.Insert(n);
  }
  return reached;
}

Result<DominatorTree> DominatorFinder::Run(ProgressSink& progress) {
  NodeSet reached = Reached();
  if (const Result<void> done = NumberPredecessors(progress); !done) return tl::unexpected(done.error());
  if (!FindSemidominators(progress)) return Stopped();
  FindDominators();
  DominatorTree tree = MakeTree();
  tree.reached = std::move(reached);
  return tree;
}

// Predecessors of each number as numbers, but for its parent in the depth-first tree. They lie in rows, by number; the order within a row is of no account.
Result<void> DominatorFinder::NumberPredecessors(ProgressSink& progress) {
  std::uint64_t total = 0;
  for (std::size_t first = 0; first < link_.size(); first += std::size_t{1} << kRunShift) {
    row_base_.push_back(total);
    std::uint64_t of_run = 0;
    for (std::size_t n = first; n < std::min(link_.size(), first + (std::size_t{1} << kRunShift)); ++n) {
      of_run += std::exchange(link_[n].label, static_cast<NodeId>(of_run));
    }
    if (of_run > kMostOfRun) return Fail(ErrorCode::kLimit, "cannot find dominators: {} references to {} objects", of_run, std::size_t{1} << kRunShift);
    total += of_run;
  }
  if (total != counted_) return Fail(ErrorCode::kLimit, "cannot find dominators: more than {} references to one object", kMostOfRun);
  predecessors_.resize(total);
  const std::span<const CsrGraph::Block> blocks = graph_.blocks();
  std::vector<std::vector<Single>> singles(blocks.size());
  const unsigned threads = ThreadCount(threads_, blocks.size());
  const bool finished = ForEachPiece(
      blocks.size(), threads,
      [&](std::size_t piece, unsigned) {
        threads > 1 ? AddPredecessorsOf<true>(blocks[piece], singles[piece]) : AddPredecessorsOf<false>(blocks[piece], singles[piece]);
        return true;
      },
      [&](std::size_t done) { return progress.Update("finding dominators: predecessors", done, blocks.size()); });
  if (!finished) return Stopped();
  std::size_t count = 0;
  for (const std::vector<Single>& part : singles) count += part.size();
  singles_.reserve(count);
  for (std::vector<Single>& part : singles) {
    singles_.insert(singles_.end(), part.begin(), part.end());
    FreeMemory(part);
  }
  FreeMemory(number_);
  return {};
}

template <bool kShared>
void DominatorFinder::AddPredecessorsOf(const CsrGraph::Block& block, std::vector<Single>& singles) {
  const std::vector<NodeId>& edges = block.edges;
  for (std::size_t i = 0; i + 1 < block.offsets.size(); ++i) {
    const NodeId source = number_[block.first_node + i];
    if (source == 0) continue;
    for (std::size_t e = block.offsets[i]; e < block.offsets[i + 1]; ++e) {
      if (e + kEdgesAhead < edges.size()) __builtin_prefetch(&number_[edges[e + kEdgesAhead]]);
      if (e + kNumbersAhead < edges.size()) __builtin_prefetch(&link_[number_[edges[e + kNumbersAhead]]], 1);
      if (single_.Contains(edges[e])) {
        singles.push_back({edges[e], source});
        continue;
      }
      const NodeId target = number_[edges[e]];
      Link& link = link_[target];
      if (target == source || target == 0 || link.ancestor == source) continue;
      const NodeId at = kShared ? std::atomic_ref<NodeId>(link.label).fetch_add(1, std::memory_order_relaxed) : link.label++;
      predecessors_[row_base_[target >> kRunShift] + at] = source;
    }
  }
}

// The smallest semidominator among the linked ancestors of v and v itself (v's own number where it is not linked yet). Nodes from `first_linked` on are
// linked. Compresses the path.
NodeId DominatorFinder::Evaluate(NodeId v, NodeId first_linked) {
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

bool DominatorFinder::FindSemidominators(ProgressSink& progress) {
  const auto count = static_cast<NodeId>(vertex_.size());
  semi_.resize(count);
  tree_moves_.reserve(2 * std::size_t{count});
  chain_.assign(1, 0);  // the way down to the last one
  for (NodeId n = 0; n < count; ++n) {
    semi_[n] = std::exchange(link_[n].label, n);  // the end of its row, until its semidominator is known
    if (n == 0) continue;
    for (; chain_.back() != link_[n].ancestor; chain_.pop_back()) tree_moves_.push_back(false);
    tree_moves_.push_back(true);
    chain_.push_back(n);
  }
  FreeMemory(chain_);
  for (NodeId w = count - 1; w >= 1; --w) {
    const std::uint64_t base = row_base_[w >> kRunShift], begin = base + ((w & kRunMask) == 0 ? 0 : semi_[w - 1]);
    NodeId semi = is_root_.Contains(vertex_[w]) ? 0 : link_[w].ancestor;
    for (std::uint64_t i = base + semi_[w]; i-- > begin;) {
      if (i >= kLinksAhead) __builtin_prefetch(&link_[predecessors_[i - kLinksAhead]]);
      const NodeId v = predecessors_[i];
      if (semi != 0) semi = std::min(semi, v < w ? v : Evaluate(v, w + 1));
    }
    semi_[w] = link_[w].label = semi;
    if (w % kProgressStep == 0 && !progress.Update("finding dominators", count - w, count)) return false;
  }
  FreeMemory(link_);
  FreeMemory(predecessors_);
  return true;
}

void DominatorFinder::FindDominators() {
  dominator_.resize(vertex_.size());
  chain_.assign(1, 0);
  std::size_t move = 0;
  for (NodeId w = 1; w < vertex_.size(); ++w) {
    for (; !tree_moves_[move]; ++move) chain_.pop_back();
    ++move;
    NodeId d = chain_.back();  // its parent
    chain_.push_back(w);
    while (d > semi_[w]) d = dominator_[d];
    dominator_[w] = d;
  }
  FreeMemory(chain_);
  FreeMemory(tree_moves_);
}

// A node's dominator has a smaller number. Sizes from the bottom up; then each node takes the next free positions of its dominator's.
DominatorTree DominatorFinder::MakeTree() {
  const auto count = static_cast<NodeId>(vertex_.size());
  std::vector<NodeId>& at = semi_;
  std::vector<NodeId> size(count, 1);
  for (const Single& s : singles_) ++size[s.owner];
  for (NodeId w = count; w-- > 1;) size[dominator_[w]] += size[w];
  at[0] = 0;
  for (NodeId w = 1; w < count; ++w) {
    NodeId& free = at[dominator_[w]];
    at[w] = free + 1;
    free += size[w];
  }
  FreeMemory(dominator_);
  DominatorTree tree;
  tree.preorder.resize(size[0] - 1);
  tree.subtree.resize(size[0] - 1);
  // What is free now is behind a node's dominated ones: its leaves take their places from there, and its own place is found by its size.
  for (const Single& s : singles_) {
    const NodeId p = at[s.owner]++;
    tree.preorder[p] = s.leaf;
    tree.subtree[p] = 1;
  }
  for (NodeId w = 1; w < count; ++w) {
    const NodeId p = at[w] - size[w];
    tree.preorder[p] = vertex_[w];
    tree.subtree[p] = size[w];
  }
  FreeMemory(vertex_);
  FreeMemory(semi_);
  FreeMemory(size);
  FreeMemory(singles_);
  return tree;
}

void DominatorTree::AddPositions() {
  if (!position.empty()) return;
  position.assign(reached.node_count(), kNoNode);
  for (NodeId p = 0; p < size(); ++p) {
    if (p + kNodesAhead < size()) __builtin_prefetch(&position[preorder[p + kNodesAhead]], 1);
    position[preorder[p]] = p;
  }
}

std::vector<NodeId> ImmediateDominators(const DominatorTree& tree) {
  std::vector<NodeId> out(tree.reached.node_count(), kNoNode);
  tree.ForEachWithDominator([&](NodeId p, NodeId above) { out[tree.preorder[p]] = above == DominatorTree::kVirtualRoot ? above : tree.preorder[above]; });
  return out;
}

Result<DominatorTree> BuildDominatorTree(const CsrGraph& graph, std::span<const NodeId> roots) {
  SilentProgress progress;
  DominatorFinder finder(graph, 1);
  if (const Result<void> added = finder.AddRoots(roots, progress); !added) return tl::unexpected(added.error());
  return finder.Run(progress);
}

}  // namespace pygc::graph
