#include "core/graph/csr_graph.h"

#include <doctest/doctest.h>

#include "core/graph/node_set.h"
#include "core/graph/transpose.h"
#include "tests/support/graph_text.h"

namespace pygc::graph {
namespace {

using test::GraphText;
using test::ParseGraph;

std::vector<CsrGraph::Block> Blocks(std::initializer_list<std::vector<std::vector<NodeId>>> blocks) {
  std::vector<CsrGraph::Block> result;
  for (const auto& nodes : blocks) {
    CsrGraph::Block& b = result.emplace_back();
    b.offsets.push_back(0);
    for (const auto& edges : nodes) {
      b.edges.insert(b.edges.end(), edges.begin(), edges.end());
      b.offsets.push_back(static_cast<std::uint32_t>(b.edges.size()));
    }
  }
  return result;
}

TEST_CASE("an empty graph has no nodes") {
  CHECK(CsrGraph().node_count() == 0);
  CHECK(CsrGraph({0}, {}).node_count() == 0);
  CHECK(CsrGraph(std::vector<CsrGraph::Block>{}).edge_count() == 0);
}

TEST_CASE("edges keep their order and their duplicates") {
  const CsrGraph g({0, 3, 3, 4}, {2, 0, 2, 1});
  CHECK(GraphText(g) == "0 -> 2 0 2\n1 ->\n2 -> 1\n");
  CHECK(g.edge_count() == 4);
  CHECK(g.FirstEdge(2) == 3);
}

TEST_CASE("blocks of any size make the same graph") {
  const std::string expected = "0 -> 1\n1 -> 2 3\n2 ->\n3 -> 4 4 0\n4 -> 0\n";
  const CsrGraph regular(Blocks({{{1}, {2, 3}}, {{}, {4, 4, 0}}, {{0}}}));
  const CsrGraph irregular(Blocks({{{1}}, {{2, 3}, {}, {4, 4, 0}}, {}, {{0}}}));
  const CsrGraph larger_last(Blocks({{{1}}, {{2, 3}, {}, {4, 4, 0}, {0}}}));
  for (const CsrGraph* g : {&regular, &irregular, &larger_last}) {
    CHECK(GraphText(*g) == expected);
    CHECK(g->node_count() == 5);
    CHECK(g->FirstEdge(3) == 3);
    CHECK(g->FirstEdge(4) == 6);
  }
}

TEST_CASE("the reverse graph lists referrers rising, duplicates kept") {
  const auto text = ParseGraph("a -> b c b\nb -> a\nc -> a c\n");
  const auto reverse = Transpose(text.graph);
  REQUIRE(reverse);
  CHECK(GraphText(*reverse) == "0 -> 1 2\n1 -> 0 0\n2 -> 0 2\n");
}

}  // namespace
TEST_CASE("ranks number the nodes of a set") {
  NodeSet set(200);
  for (const NodeId n : {NodeId{0}, NodeId{63}, NodeId{64}, NodeId{130}, NodeId{199}}) set.Insert(n);
  const NodeRanks ranks(set);
  NodeId next = 0;
  set.ForEach([&](NodeId n) { CHECK(ranks.Of(n) == next++); });
  CHECK(next == 5);
}

}  // namespace pygc::graph
