#include "core/report/export_graph.h"

#include <doctest/doctest.h>

#include <numeric>

using namespace pygc;
using namespace pygc::report;

namespace export_graph_test {
namespace {

// 0 Node <-> 1 dict (unreachable), 1 -> 2; 3 module holds 2 and 2 holds 3; 4 only a count holds.
struct Heap {
  Heap() {
    const heap::ObjectIndex::Range range{{0x1000, 0x2000}, 4};
    heap.index = heap::ObjectIndex(std::span(&range, 1));
    for (const Address a : {0x1010, 0x1040, 0x1080, 0x10c0, 0x1100}) heap.index.Mark(a);
    heap.index.Seal();
    heap.refcount = {1, 1, 2, heap::kImmortal, 1};
    heap.type = {0, 1, 1, 2, 0};
    heap.flags.assign(5, heap::kTracked);
    heap.size_bytes = {48, 232, 64, ~0ull, 100};
    heap.graph = graph::CsrGraph({0, 1, 3, 4, 5, 5}, {1, 0, 2, 3, 2});
    heap.types.resize(3);
    heap.types[0].name = "app.\"No\\de\n";
    heap.types[1].name = "dict";
    heap.types[2].name = "module";
    heap.interpreters.resize(1);
    heap.with_leaves = true;
    verdict.state = {analysis::State::kUnreachable, analysis::State::kUnreachable, analysis::State::kReachable, analysis::State::kReachable, analysis::State::kReachable};
    heap::Root root;
    root.object = 0x10c0;
    root.kind = heap::RootKind::kModule;
    root.name = "sys.modules";
    roots.roots.push_back(root);
    paths.order = {3, 2, 4};
    paths.above = {0, 0, 2};
    paths.place = {analysis::RootPaths::kNotReached, analysis::RootPaths::kNotReached, 1, 0, 2};
    paths.levels = {0, 1, 2};
    paths.root_levels = 2;
    paths.starts = {3, 4};
    paths.root = {0, analysis::RootPaths::kCountOnly};
  }
  [[nodiscard]] std::string Snapshot() const {
    std::string out;
    REQUIRE(WriteHeapSnapshot(input, sink(out), progress));
    return out;
  }
  [[nodiscard]] std::string Dot(const std::vector<heap::NodeId>& centres, DotLimits limits = {}) const {
    std::string out;
    REQUIRE(WriteDot(input, centres, limits, sink(out), progress));
    return out;
  }
  static ByteSink sink(std::string& out) {
    return [&out](std::string_view bytes) {
      out += bytes;
      return true;
    };
  }
  heap::HeapSnapshot heap;
  analysis::Verdict verdict;
  Header header;
  heap::RootSet roots;
  analysis::RootPaths paths;
  ExportInput base{heap, verdict, header, {"exact"}, [](heap::NodeId n, std::vector<std::string>& labels) {
                     if (n == 0) labels = {".it\"s"};
                     if (n == 1) labels = {"[7]", "['k']"};
                   }};
  GraphInput input{base, roots, paths, [this](heap::NodeId n) { return heap.types[heap.type[n]].name; }};
  mutable SilentProgress progress;
};

bool Contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

// The numbers of an array of the snapshot.
std::vector<std::uint64_t> Numbers(const std::string& text, const std::string& key) {
  const std::size_t begin = text.find("\"" + key + "\":[") + key.size() + 4, end = text.find(']', begin);
  std::vector<std::uint64_t> out;
  for (std::size_t at = begin; at < end; ++at) {
    if (text[at] < '0' || text[at] > '9') continue;
    out.push_back(std::stoull(text.substr(at)));
    while (text[at + 1] >= '0' && text[at + 1] <= '9') ++at;
  }
  return out;
}

}  // namespace

TEST_CASE("a heap snapshot has as many numbers as it says, and every reference leads to a node") {
  const Heap heap;
  const std::string text = heap.Snapshot();
  const std::vector<std::uint64_t> nodes = Numbers(text, "nodes"), edges = Numbers(text, "edges");
  CHECK(nodes.size() == 17 * 7);
  std::uint64_t counted = 0;
  std::vector<std::uint64_t> ids;
  for (std::size_t i = 0; i < nodes.size(); i += 7) {
    counted += nodes[i + 4];
    ids.push_back(nodes[i + 2]);
  }
  CHECK(edges.size() == counted * 3);
  CHECK(Contains(text, "\"node_count\":17,\"edge_count\":" + std::to_string(counted) + ","));
  std::sort(ids.begin(), ids.end());
  CHECK(std::adjacent_find(ids.begin(), ids.end()) == ids.end());
  CHECK(nodes[2] == 1);
  for (std::size_t i = 2; i < edges.size(); i += 3) CHECK((edges[i] % 7 == 0 && edges[i] < nodes.size()));
}

TEST_CASE("what is unreachable hangs below its own node and holds nothing in use") {
  const Heap heap;
  const std::string text = heap.Snapshot();
  CHECK(Contains(text, "\n,6,"));                     // 1 -> 2 is weak
  CHECK(Contains(text, "\n,1,7," + std::to_string(12 * 7)));  // 1 -> 0 by [7]
  CHECK(Contains(text, "\"sys.modules\""));
  CHECK(Contains(text, "\"it\\\"s\""));
  CHECK(Contains(text, "\"app.\\\"No\\\\de\\n\""));
}

TEST_CASE("a drawing is DOT whatever the names are, with cycles in red") {
  const Heap heap;
  const std::string text = heap.Dot({0});
  CHECK(text.starts_with("digraph pygc {\n"));
  CHECK(text.ends_with("}\n"));
  CHECK(Contains(text, "n0 -> n1 [label=\".it\\\"s\", color=red"));
  CHECK(Contains(text, "n1 -> n0 [label=\"[7]\", color=red"));
  CHECK(Contains(text, "n1 -> n2 [label=\"['k']\"];"));
  CHECK(Contains(text, "app.\\\"No\\\\de\\\\x0a"));  // the line end is text
  CHECK(Contains(text, "r0 [label=\"module\", shape=ellipse") == false);  // a module is not followed
  CHECK_FALSE(Contains(text, "n4"));
}

TEST_CASE("a drawing keeps to its limits, and looks for referrers too") {
  const Heap heap;
  CHECK_FALSE(Contains(heap.Dot({0}, {0, 10}), "n1"));
  CHECK(Contains(heap.Dot({0}, {0, 10}), "1 reference from these objects are not drawn"));
  const std::string back = heap.Dot({2}, {1, 10});
  CHECK(Contains(back, "n1 -> n2"));
  CHECK_FALSE(Contains(back, "n0 "));
  CHECK_FALSE(Contains(heap.Dot({0, 1, 2}, {3, 10, 2}), "n2"));
  CHECK(heap.Dot({}).find("->") == std::string::npos);
}

}  // namespace export_graph_test
