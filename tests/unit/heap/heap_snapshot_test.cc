#include "core/heap/heap_snapshot.h"

#include <doctest/doctest.h>

namespace pygc::heap {
namespace {

graph::CsrGraph::Block BlockOf(NodeId first, std::vector<std::uint32_t> offsets, std::vector<NodeId> edges) { return {first, std::move(offsets), std::move(edges)}; }

TEST_CASE("what objects own beside stands behind what their traversals visit") {
  HeapSnapshot heap;
  std::vector<graph::CsrGraph::Block> blocks{BlockOf(0, {0, 2, 2}, {1, 3}), BlockOf(2, {0, 0, 1}, {0})};
  heap.owns_beside = {{1, 2}, {2, 1}};
  AppendOwned(std::span(heap.owns_beside).first(1), std::vector<NodeId>{3, 3}, blocks[0]);
  AppendOwned(std::span(heap.owns_beside).last(1), std::vector<NodeId>{1}, blocks[1]);
  heap.graph = graph::CsrGraph(std::move(blocks));
  const auto all = [&](NodeId n) { return std::vector<NodeId>(heap.graph.Successors(n).begin(), heap.graph.Successors(n).end()); };
  CHECK(all(0) == std::vector<NodeId>{1, 3});
  CHECK(all(1) == std::vector<NodeId>{3, 3});
  CHECK(all(2) == std::vector<NodeId>{1});
  CHECK(all(3) == std::vector<NodeId>{0});
  CHECK(heap.Visited(0).size() == 2);
  CHECK(heap.Visited(1).empty());
  CHECK(heap.Visited(2).empty());
  CHECK(heap.Visited(3).size() == 1);
  CHECK(heap.OwnsBeside(1) == 2);
}

TEST_CASE("a block that gets nothing stays as it is") {
  graph::CsrGraph::Block block = BlockOf(4, {0, 1, 3}, {4, 5, 5});
  AppendOwned({}, {}, block);
  CHECK(block.offsets == std::vector<std::uint32_t>{0, 1, 3});
  CHECK(block.edges == std::vector<NodeId>{4, 5, 5});
}

}  // namespace
}  // namespace pygc::heap
