// Shortest paths from roots, and their merged tree, on random heaps against distances computed naively.
#include <doctest/doctest.h>

#include <algorithm>
#include <limits>

#include "core/analysis/root_paths.h"
#include "tests/property/rounds.h"
#include "tests/support/graph_text.h"

namespace pygc::analysis {
namespace {

using graph::NodeId;

constexpr std::size_t kFar = std::numeric_limits<std::size_t>::max() / 4;

struct Case {
  test::TextHeap text;
  heap::RootSet roots;
  std::vector<bool> admitted, in_use;
};

Case RandomCase(std::mt19937_64& random) {
  const std::size_t n = 1 + random() % 16;
  std::string source;
  for (std::size_t i = 0; i < n; ++i) {
    source += "n" + std::to_string(i) + ":T refs=" + std::to_string(random() % 5) + " ->";
    for (std::size_t k = random() % 4; k-- > 0;) source += " n" + std::to_string(random() % n) + (k > 0 ? "," : "");
    source += "\n";
  }
  Case c{test::ParseHeap(source), {}, {}, {}};
  for (std::size_t k = random() % 3; k-- > 0;) c.roots.roots.push_back({c.text.heap.AddressOf(static_cast<NodeId>(random() % n)), {}, 0, {}, {}, {}});
  const bool all = random() % 2;
  for (std::size_t i = 0; i < n; ++i) {
    c.admitted.push_back(all || random() % 4);
    c.in_use.push_back(random() % 3);
  }
  return c;
}

// By relaxing every edge until nothing changes.
std::vector<std::size_t> Distances(const Case& c, const std::vector<NodeId>& from, const std::vector<std::size_t>& taken) {
  const heap::HeapSnapshot& heap = c.text.heap;
  std::vector<std::size_t> d(heap.size(), kFar);
  for (const NodeId n : from) {
    if (taken[n] == kFar) d[n] = 0;
  }
  for (bool again = true; again;) {
    again = false;
    for (NodeId n = 0; n < heap.size(); ++n) {
      if (d[n] == kFar || !c.admitted[n]) continue;
      for (const NodeId to : heap.graph.Successors(n)) {
        if (taken[to] == kFar && d[n] + 1 < d[to]) {
          d[to] = d[n] + 1;
          again = true;
        }
      }
    }
  }
  return d;
}

RootPaths Find(const Case& c) {
  SilentProgress progress;
  auto found = FindRootPaths(c.text.heap, c.roots, [&](NodeId n) { return c.in_use[n]; }, [&](NodeId n) { return c.admitted[n]; }, progress);
  REQUIRE(found);
  return *std::move(found);
}

// Nodes in use that no root reaches and that have more references than come from others of that kind.
std::vector<NodeId> HeldByCount(const Case& c, const std::vector<std::size_t>& by_root) {
  const heap::HeapSnapshot& heap = c.text.heap;
  std::vector<NodeId> held;
  for (NodeId n = 0; n < heap.size(); ++n) {
    if (by_root[n] != kFar || !c.in_use[n]) continue;
    std::uint64_t found = 0;
    for (NodeId m = 0; m < heap.size(); ++m) {
      for (const NodeId to : heap.graph.Successors(m)) found += to == n;
    }
    if (heap.refcount[n] > found) held.push_back(n);
  }
  return held;
}

TEST_CASE("each path is one, starts at a root and is as short as any; what no root reaches is held by its count or not at all") {
  test::ForSeeds(3000, [](std::mt19937_64& random) {
    const Case c = RandomCase(random);
    const heap::HeapSnapshot& heap = c.text.heap;
    INFO(test::GraphText(heap.graph));
    const RootPaths paths = Find(c);
    std::vector<NodeId> starts;
    for (const heap::Root& root : c.roots.roots) starts.push_back(heap.index.Find(root.object));
    const std::vector<std::size_t> nowhere(heap.size(), kFar);
    const std::vector<std::size_t> by_root = Distances(c, starts, nowhere);
    const std::vector<std::size_t> by_count = Distances(c, HeldByCount(c, by_root), by_root);
    for (NodeId n = 0; n < heap.size(); ++n) {
      const bool root = by_root[n] != kFar;
      const std::size_t wanted = root ? by_root[n] : by_count[n];
      REQUIRE(paths.Reaches(n) == (wanted != kFar));
      const std::vector<NodeId> path = paths.PathTo(n);
      REQUIRE(path.empty() == (wanted == kFar));
      if (path.empty()) continue;
      REQUIRE(path.size() == wanted + 1);
      REQUIRE(paths.DepthOf(n) == wanted);
      REQUIRE(paths.IsByCountOnly(n) == !root);
      REQUIRE(path.back() == n);
      for (std::size_t i = 0; i + 1 < path.size(); ++i) {
        REQUIRE(c.admitted[path[i]]);
        const auto successors = heap.graph.Successors(path[i]);
        REQUIRE(std::find(successors.begin(), successors.end(), path[i + 1]) != successors.end());
      }
      const std::uint32_t at = paths.RootOf(path.front());
      REQUIRE((at == RootPaths::kCountOnly) == !root);
      if (root) REQUIRE(starts[at] == path.front());
    }
  });
}

TEST_CASE("the merged tree holds each path, and each branch counts the objects in it") {
  test::ForSeeds(2000, [](std::mt19937_64& random) {
    const Case c = RandomCase(random);
    INFO(test::GraphText(c.text.heap.graph));
    const RootPaths paths = Find(c);
    std::vector<NodeId> targets;
    std::uint64_t unreached = 0;
    for (NodeId n = 0; n < c.text.heap.size(); ++n) {
      if (random() % 2 == 0) continue;
      targets.push_back(n);
      unreached += !paths.Reaches(n);
    }
    const PathTree tree = MergePaths(paths, targets);
    REQUIRE(tree.unreached == unreached);
    std::vector<std::uint64_t> counted(tree.branches.size(), 0);
    for (std::uint32_t i = 0; i < tree.branches.size(); ++i) {
      const PathTree::Branch& b = tree.branches[i];
      REQUIRE(b.parent <= i);
      const bool top = paths.ParentOf(b.node) == b.node;
      REQUIRE(top == (b.parent == i));
      if (!top) REQUIRE(paths.ParentOf(b.node) == tree.branches[b.parent].node);
      REQUIRE(b.is_target == (std::count(targets.begin(), targets.end(), b.node) == 1));
      if (!b.is_target) continue;
      for (std::uint32_t up = i;; up = tree.branches[up].parent) {
        ++counted[up];
        if (tree.branches[up].parent == up) break;
      }
    }
    std::size_t held = 0;
    for (std::uint32_t i = 0; i < tree.branches.size(); ++i) {
      REQUIRE(counted[i] == tree.branches[i].targets);
      held += tree.branches[i].is_target;
    }
    REQUIRE(held + unreached == targets.size());
  });
}

// As FindRootPaths() says: a queue, the roots in their order first.
std::vector<NodeId> ParentsByQueue(const Case& c) {
  const heap::HeapSnapshot& heap = c.text.heap;
  std::vector<NodeId> parent(heap.size(), heap::kNoNode), queue;
  const auto spread = [&](const std::vector<NodeId>& starts) {
    for (const NodeId n : starts) {
      if (parent[n] != heap::kNoNode) continue;
      parent[n] = n;
      queue.push_back(n);
    }
    for (std::size_t at = 0; at < queue.size(); ++at) {
      if (!c.admitted[queue[at]]) continue;
      for (const NodeId to : heap.graph.Successors(queue[at])) {
        if (parent[to] != heap::kNoNode) continue;
        parent[to] = queue[at];
        queue.push_back(to);
      }
    }
  };
  std::vector<NodeId> starts;
  for (const heap::Root& root : c.roots.roots) starts.push_back(heap.index.Find(root.object));
  spread(starts);
  std::vector<std::size_t> by_root(heap.size(), kFar);
  for (const NodeId n : queue) by_root[n] = 0;
  spread(HeldByCount(c, by_root));
  return parent;
}

TEST_CASE("of equally short paths the one that a queue finds first; levels, and what hangs below a node, are those of its tree") {
  test::ForSeeds(3000, [](std::mt19937_64& random) {
    const Case c = RandomCase(random);
    const NodeId size = c.text.heap.size();
    INFO(test::GraphText(c.text.heap.graph));
    const RootPaths paths = Find(c);
    const std::vector<NodeId> parent = ParentsByQueue(c);
    std::vector<NodeId> reached;
    for (NodeId n = 0; n < size; ++n) {
      REQUIRE(paths.Reaches(n) == (parent[n] != heap::kNoNode));
      if (!paths.Reaches(n)) continue;
      REQUIRE(paths.ParentOf(n) == parent[n]);
      REQUIRE(paths.order[paths.place[n]] == n);
      reached.push_back(n);
    }
    REQUIRE(paths.order.size() == reached.size());
    for (const NodeId a : reached) {
      for (const NodeId b : reached) {
        const auto rank = [&](NodeId n) { return std::pair(paths.IsByCountOnly(n), paths.DepthOf(n)); };
        REQUIRE((paths.LevelOf(a) < paths.LevelOf(b)) == (rank(a) < rank(b)));
      }
      // In any order: each answer is right whatever was asked before.
      Below below(paths, a);
      for (std::size_t k = 2 * reached.size(); k-- > 0;) {
        const NodeId n = reached[random() % reached.size()];
        NodeId up = n;
        while (up != a && parent[up] != up) up = parent[up];
        REQUIRE(below.Contains(paths.place[n]) == (up == a));
      }
    }
  });
}

}  // namespace
}  // namespace pygc::analysis
