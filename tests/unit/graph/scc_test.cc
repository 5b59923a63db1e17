#include "core/graph/scc.h"

#include <doctest/doctest.h>

#include <numeric>

#include "core/graph/dominators.h"
#include "core/graph/reachability.h"
#include "core/graph/retained_size.h"
#include "core/graph/shortest_cycle.h"
#include "core/graph/transpose.h"
#include "tests/support/graph_text.h"

namespace pygc::graph {
namespace {

using test::ParseGraph;
using test::TextGraph;

std::string ComponentsText(const TextGraph& text, const NodeSet* within = nullptr) {
  const Components components = StronglyConnectedComponents(text.graph, within);
  std::string result;
  for (NodeId c = 0; c < components.count(); ++c) {
    const auto members = components.Members(c);
    result += "{" + text.Names({members.begin(), members.end()}) + "}" + (IsCyclic(text.graph, components, c) ? "*" : "");
  }
  return result;
}

TEST_CASE("components come in reverse topological order") {
  CHECK(ComponentsText(ParseGraph("a -> b\nb -> c\nc -> a d\nd -> e\ne -> d\n")) == "{d e}*{a b c}*");
  CHECK(ComponentsText(ParseGraph("a -> b\nb -> c\n")) == "{c}{b}{a}");
}

TEST_CASE("a node is cyclic alone only when it refers to itself") { CHECK(ComponentsText(ParseGraph("a -> a\nb -> a\n")) == "{a}*{b}"); }

TEST_CASE("a component restricted to some nodes ignores ways through others") {
  const TextGraph text = ParseGraph("a -> b\nb -> c\nc -> a b\n");
  NodeSet within(3);
  within.Insert(text.Node("b"));
  within.Insert(text.Node("c"));
  CHECK(ComponentsText(text, &within) == "{b c}*");
  within.Erase(text.Node("c"));
  CHECK(ComponentsText(text, &within) == "{b}");
}

CsrGraph Ring(NodeId n, bool closed) {
  std::vector<std::uint32_t> offsets(std::size_t{n} + 1);
  std::vector<NodeId> edges(closed ? n : n - 1);
  std::iota(offsets.begin(), offsets.end(), 0u);
  std::iota(edges.begin(), edges.end(), 1u);
  if (closed) {
    edges.back() = 0;
  } else {
    offsets.back() = n - 1;
  }
  return CsrGraph(std::move(offsets), std::move(edges));
}

TEST_CASE("a ring of ten million nodes is one component and a chain is ten million, without recursion") {
#ifdef __SANITIZE_ADDRESS__
  const NodeId n = 2'000'000;  // ten times slower, and any recursion would end long before
#else
  const NodeId n = 10'000'000;
#endif
  const CsrGraph ring = Ring(n, true);
  const Components components = StronglyConnectedComponents(ring);
  CHECK(components.count() == 1);
  const Cycle cycle = ShortestCycleSearch(ring, components).Find(0);
  CHECK(cycle.nodes.size() == n);
  CHECK(cycle.proven_shortest);
  const CsrGraph chain = Ring(n, false);
  CHECK(StronglyConnectedComponents(chain).count() == n);
  NodeSet visited(n);
  MarkReachable(chain, std::vector<NodeId>{0}, visited);
  CHECK(visited.Count() == n);
  const auto tree = BuildDominatorTree(chain, std::vector<NodeId>{0});
  REQUIRE(tree);
  CHECK(ImmediateDominators(*tree)[n - 1] == n - 2);
  CHECK(RetainedSizes(*tree, [](NodeId) { return std::uint64_t{2}; })[0] == 2 * std::uint64_t{n});
}

TEST_CASE("the shortest cycle is found whatever the first node tried") {
  const TextGraph text = ParseGraph("a -> b\nb -> c\nc -> d\nd -> a\nc -> e\ne -> c\n");
  const Components components = StronglyConnectedComponents(text.graph);
  ShortestCycleSearch search(text.graph, components);
  const Cycle cycle = search.Find(0);
  CHECK(text.Names(cycle.nodes) == "c e");
  CHECK(cycle.proven_shortest);
  CHECK(text.Names(search.Through(text.Node("a"))) == "a b c d");
}

TEST_CASE("a search that is cut says that its cycle is not proven") {
  // A ring of 4 with a chord that makes a triangle; with no budget only the preferred node is tried.
  const TextGraph text = ParseGraph("a -> b\nb -> c\nc -> d\nd -> a c2\nc2 -> d2\nd2 -> c2 d\n");
  const Components components = StronglyConnectedComponents(text.graph);
  REQUIRE(components.count() == 1);
  ShortestCycleSearch search(text.graph, components);
  const Cycle cut = search.Find(0, std::vector<NodeId>{text.Node("a")}, 0);
  CHECK(text.Names(cut.nodes) == "a b c d");
  CHECK_FALSE(cut.proven_shortest);
  const Cycle full = search.Find(0, std::vector<NodeId>{text.Node("a")});
  CHECK(text.Names(full.nodes) == "c2 d2");
  CHECK(full.proven_shortest);
}

TEST_CASE("a component without a cycle has none to show") {
  const TextGraph text = ParseGraph("a -> b\n");
  const Components components = StronglyConnectedComponents(text.graph);
  CHECK(ShortestCycleSearch(text.graph, components).Find(0).nodes.empty());
}

TEST_CASE("a shortest path runs through the allowed nodes only") {
  const TextGraph text = ParseGraph("r -> a b\na -> t\nb -> c\nc -> t\n");
  CHECK(text.Names(ShortestPath(text.graph, std::vector<NodeId>{0}, text.Node("t"))) == "r a t");
  NodeSet within(text.graph.node_count());
  for (const char* name : {"r", "b", "c", "t"}) within.Insert(text.Node(name));
  CHECK(text.Names(ShortestPath(text.graph, std::vector<NodeId>{0}, text.Node("t"), &within)) == "r b c t");
  within.Erase(text.Node("c"));
  CHECK(ShortestPath(text.graph, std::vector<NodeId>{0}, text.Node("t"), &within).empty());
}

TEST_CASE("closed parts are neither entered nor expanded") {
  const TextGraph text = ParseGraph("r -> a b\na -> c\nb -> d\n");
  NodeSet visited(text.graph.node_count());
  visited.Insert(text.Node("a"));
  MarkReachable(text.graph, std::vector<NodeId>{0}, visited);
  CHECK(text.Names(visited.Nodes()) == "r a b d");
}

TEST_CASE("the dominator of a node with two ways is where the ways part") {
  const TextGraph text = ParseGraph("r -> a\na -> b c\nb -> d\nc -> d\nd -> e\nx -> d\n");
  auto from_r = BuildDominatorTree(text.graph, std::vector<NodeId>{text.Node("r")});
  REQUIRE(from_r);
  from_r->AddPositions();
  const std::vector<NodeId> above = ImmediateDominators(*from_r);
  CHECK(above[text.Node("d")] == text.Node("a"));
  CHECK(above[text.Node("e")] == text.Node("d"));
  CHECK(above[text.Node("r")] == DominatorTree::kVirtualRoot);
  CHECK(above[text.Node("x")] == kNoNode);
  CHECK(RetainedSizes(*from_r, [](NodeId) { return std::uint64_t{10}; })[from_r->position[text.Node("a")]] == 50);
  const auto from_both = BuildDominatorTree(text.graph, std::vector<NodeId>{text.Node("r"), text.Node("x")});
  REQUIRE(from_both);
  const std::vector<NodeId> above_of_both = ImmediateDominators(*from_both);
  CHECK(above_of_both[text.Node("d")] == DominatorTree::kVirtualRoot);
  CHECK(above_of_both[text.Node("e")] == text.Node("d"));
}

}  // namespace
}  // namespace pygc::graph
