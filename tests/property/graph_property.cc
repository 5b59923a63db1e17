// Components, dominators, reverse graph, paths and shortest cycles of random graphs against the definitions, computed naively.
#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <map>

#include "core/graph/dominators.h"
#include "core/graph/reachability.h"
#include "core/graph/retained_size.h"
#include "core/graph/scc.h"
#include "core/graph/shortest_cycle.h"
#include "core/graph/transpose.h"
#include "tests/property/rounds.h"
#include "tests/support/graph_text.h"

namespace pygc::graph {
namespace {

constexpr std::size_t kFar = std::numeric_limits<std::size_t>::max() / 4;

// Lengths of shortest paths between all pairs, 0 for a node to itself (Floyd and Warshall). `removed` takes no part.
std::vector<std::vector<std::size_t>> Distances(const CsrGraph& g, const NodeSet& within) {
  const NodeId n = g.node_count();
  std::vector<std::vector<std::size_t>> d(n, std::vector<std::size_t>(n, kFar));
  for (NodeId i = 0; i < n; ++i) {
    if (!within.Contains(i)) continue;
    d[i][i] = 0;
    for (const NodeId s : g.Successors(i)) {
      if (within.Contains(s) && s != i) d[i][s] = 1;
    }
  }
  for (NodeId k = 0; k < n; ++k) {
    for (NodeId i = 0; i < n; ++i) {
      for (NodeId j = 0; j < n; ++j) d[i][j] = std::min(d[i][j], d[i][k] + d[k][j]);
    }
  }
  return d;
}

struct Case {
  CsrGraph graph;
  NodeSet within;
};

Case RandomCase(std::mt19937_64& random) {
  const NodeId n = static_cast<NodeId>(1 + random() % 14);
  Case c{test::RandomGraph(random, n, random() % (3 * n)), NodeSet(n)};
  const bool all = random() % 2;
  for (NodeId i = 0; i < n; ++i) {
    if (all || random() % 4) c.within.Insert(i);
  }
  return c;
}

bool HasEdge(const CsrGraph& g, NodeId from, NodeId to) {
  const auto successors = g.Successors(from);
  return std::find(successors.begin(), successors.end(), to) != successors.end();
}

TEST_CASE("components are the classes of mutual reachability, in reverse topological order") {
  test::ForSeeds(3000, [](std::mt19937_64& random) {
    const Case c = RandomCase(random);
    INFO(test::GraphText(c.graph));
    const Components components = StronglyConnectedComponents(c.graph, &c.within);
    const auto d = Distances(c.graph, c.within);
    std::size_t seen = 0;
    for (NodeId k = 0; k < components.count(); ++k) {
      REQUIRE(!components.Members(k).empty());
      REQUIRE(std::is_sorted(components.Members(k).begin(), components.Members(k).end()));
      for (const NodeId m : components.Members(k)) REQUIRE(components.component_of[m] == k);
      seen += components.Members(k).size();
    }
    REQUIRE(seen == c.within.Count());
    for (NodeId i = 0; i < c.graph.node_count(); ++i) {
      if (!c.within.Contains(i)) {
        REQUIRE(components.component_of[i] == kNoNode);
        continue;
      }
      for (NodeId j = 0; j < c.graph.node_count(); ++j) {
        if (!c.within.Contains(j)) continue;
        REQUIRE((components.component_of[i] == components.component_of[j]) == (d[i][j] < kFar && d[j][i] < kFar));
        if (HasEdge(c.graph, i, j)) REQUIRE(components.component_of[i] >= components.component_of[j]);
      }
    }
  });
}

TEST_CASE("the shortest cycle of a component has the length that all pairs give, and is a cycle") {
  test::ForSeeds(3000, [](std::mt19937_64& random) {
    const Case c = RandomCase(random);
    INFO(test::GraphText(c.graph));
    const Components components = StronglyConnectedComponents(c.graph, &c.within);
    const auto d = Distances(c.graph, c.within);
    ShortestCycleSearch search(c.graph, components);
    const auto check = [&](const std::vector<NodeId>& cycle, NodeId component) {
      for (std::size_t i = 0; i < cycle.size(); ++i) {
        REQUIRE(components.component_of[cycle[i]] == component);
        REQUIRE(HasEdge(c.graph, cycle[i], cycle[(i + 1) % cycle.size()]));
        REQUIRE(std::count(cycle.begin(), cycle.end(), cycle[i]) == 1);
      }
    };
    for (NodeId k = 0; k < components.count(); ++k) {
      std::size_t shortest = kFar;
      for (const NodeId m : components.Members(k)) {
        std::size_t through = kFar;
        for (const NodeId s : c.graph.Successors(m)) {
          if (c.within.Contains(s)) through = std::min(through, d[s][m] + 1);
        }
        const std::vector<NodeId> cycle = search.Through(m);
        REQUIRE(cycle.size() == (through == kFar ? 0 : through));
        check(cycle, k);
        shortest = std::min(shortest, through);
      }
      const Cycle best = search.Find(k);
      REQUIRE(best.nodes.size() == (shortest == kFar ? 0 : shortest));
      if (!best.nodes.empty()) REQUIRE(best.proven_shortest);
      check(best.nodes, k);
      // With a budget of nothing the claim of a proof must still be true.
      const Cycle cut = search.Find(k, {}, 0);
      check(cut.nodes, k);
      if (cut.proven_shortest) REQUIRE(cut.nodes.size() == shortest);
      REQUIRE(cut.nodes.empty() == best.nodes.empty());
    }
  });
}

TEST_CASE("a node dominates what cannot be reached without it") {
  test::ForSeeds(4000, [](std::mt19937_64& random) {
    const Case c = RandomCase(random);
    INFO(test::GraphText(c.graph));
    const NodeId n = c.graph.node_count();
    std::vector<NodeId> roots, more;
    for (int i = 0; i < 1 + static_cast<int>(random() % 3); ++i) roots.push_back(static_cast<NodeId>(random() % n));
    for (int i = 0; i < static_cast<int>(random() % 3); ++i) more.push_back(static_cast<NodeId>(random() % n));
    SilentProgress progress;
    DominatorFinder finder(c.graph, 1 + static_cast<unsigned>(random() % 2));
    REQUIRE(finder.AddRoots(roots, progress));
    const auto reached_without = [&](NodeId removed) {
      NodeSet visited(n);
      if (removed != kNoNode) visited.Insert(removed);
      MarkReachable(c.graph, roots, visited);
      if (removed != kNoNode) visited.Erase(removed);
      return visited;
    };
    REQUIRE(finder.Reached() == reached_without(kNoNode));
    REQUIRE(finder.AddRoots(more, progress));  // some of them reached already, some of those leaves
    roots.insert(roots.end(), more.begin(), more.end());
    const NodeSet reached = reached_without(kNoNode);
    REQUIRE(finder.Reached() == reached);
    Result<DominatorTree> made = finder.Run(progress);
    REQUIRE(made);
    made->AddPositions();
    const DominatorTree& tree = *made;
    REQUIRE(tree.reached == reached);
    const std::vector<NodeId> immediate = ImmediateDominators(tree);
    std::vector<std::uint64_t> weight(n);
    for (NodeId i = 0; i < n; ++i) weight[i] = random() % 100 + (random() % 16 == 0 ? std::uint64_t{1} << 32 : 0);
    const RetainedColumn retained = RetainedSizes(tree, [&](NodeId i) { return weight[i]; });
    for (NodeId i = 0; i < n; ++i) {
      REQUIRE((immediate[i] != kNoNode) == reached.Contains(i));
      REQUIRE((tree.position[i] != kNoNode) == reached.Contains(i));
      if (!reached.Contains(i)) continue;
      REQUIRE(tree.preorder[tree.position[i]] == i);
      NodeSet lost = reached;
      lost.Subtract(reached_without(i));
      std::uint64_t expected = 0;
      NodeSet below(n);  // by position
      for (NodeId p = tree.position[i]; p < tree.position[i] + tree.CountBelow(i); ++p) below.Insert(tree.preorder[p]);
      REQUIRE(below == lost);
      lost.ForEach([&](NodeId j) {
        expected += weight[j];
        bool above = false;
        for (NodeId k = j; k != DominatorTree::kVirtualRoot && !above; k = immediate[k]) above = k == i;
        REQUIRE(above);
      });
      REQUIRE(retained[tree.position[i]] == expected);
    }
    NodeSet chosen(n);
    for (NodeId i = 0; i < n; ++i) {
      if (random() % 3 == 0) chosen.Insert(i);
    }
    std::uint64_t of_set = 0;  // naively: weights of all that have a member of the set on their way up
    for (NodeId i = 0; i < n; ++i) {
      bool kept = false;
      for (NodeId k = i; immediate[i] != kNoNode && k != DominatorTree::kVirtualRoot && !kept; k = immediate[k]) kept = chosen.Contains(k);
      of_set += kept ? weight[i] : 0;
    }
    REQUIRE(RetainedBySet(tree, retained, chosen) == of_set);
  });
}

TEST_CASE("the reverse of the reverse is the graph with sorted edges, and paths are shortest") {
  test::ForSeeds(1000, [](std::mt19937_64& random) {
    const Case c = RandomCase(random);
    INFO(test::GraphText(c.graph));
    const auto once = Transpose(c.graph);
    REQUIRE(once);
    const auto twice = Transpose(*once);
    REQUIRE(twice);
    for (NodeId i = 0; i < c.graph.node_count(); ++i) {
      std::vector<NodeId> expected(c.graph.Successors(i).begin(), c.graph.Successors(i).end());
      std::sort(expected.begin(), expected.end());
      REQUIRE(std::vector<NodeId>(twice->Successors(i).begin(), twice->Successors(i).end()) == expected);
    }
    const auto d = Distances(c.graph, c.within);
    const NodeId from = static_cast<NodeId>(random() % c.graph.node_count()), to = static_cast<NodeId>(random() % c.graph.node_count());
    const std::vector<NodeId> path = ShortestPath(c.graph, std::vector<NodeId>{from}, to, &c.within);
    REQUIRE(path.size() == (d[from][to] == kFar ? 0 : d[from][to] + 1));
    for (std::size_t i = 1; i < path.size(); ++i) REQUIRE(HasEdge(c.graph, path[i - 1], path[i]));
  });
}

// Wide levels are shared between threads; the same nodes are reached.
TEST_CASE("several threads mark what one does") {
  test::ForSeeds(3, [](std::mt19937_64& random) {
    constexpr NodeId kNodes = 400000;
    const CsrGraph graph = test::RandomGraph(random, kNodes, kNodes * 3 / 2);
    NodeSet closed(kNodes);
    for (NodeId i = 0; i < kNodes / 10; ++i) closed.Insert(static_cast<NodeId>(random() % kNodes));
    std::vector<NodeId> roots;
    for (NodeId i = 0; i < 100000; ++i) roots.push_back(static_cast<NodeId>(random() % kNodes));
    NodeSet by_one = closed, by_several = closed;
    MarkReachable(graph, roots, by_one);
    MarkReachable(graph, roots, by_several, 4);
    CHECK(by_one == by_several);
    CHECK(by_one.Count() > closed.Count() + 100000 / 2);
  });
}

}  // namespace
}  // namespace pygc::graph
