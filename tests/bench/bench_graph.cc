// Graph and verdict algorithms on synthetic graphs, each with its time per node and the memory it added.
//   bench_graph [NODES]      default 10,000,000
// Shapes: `mixed` (local and far references as in a real heap), `ring`, `chain`, `hub` (one node that all refer to), `dense` (far references only).
// On a shared machine compare ratios within one run only.
#include <fmt/format.h>
#include <sys/resource.h>
#include <time.h>

#include <cstdlib>
#include <string>

#include "core/analysis/verdict.h"
#include "core/graph/dominators.h"
#include "core/graph/reachability.h"
#include "core/graph/retained_size.h"
#include "core/graph/scc.h"
#include "core/graph/shortest_cycle.h"
#include "core/graph/transpose.h"

namespace {

using pygc::graph::CsrGraph;
using pygc::graph::NodeId;
using pygc::graph::NodeSet;

double cpu_seconds() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

struct Random {
  std::uint64_t state = 1;
  std::uint64_t operator()() {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return state >> 20;
  }
};

// 1.75 references a node: half of them to one of the 64 nodes around, half anywhere.
std::vector<NodeId> EdgesOf(const std::string& shape, NodeId n, NodeId nodes, Random& random) {
  if (shape == "ring") return {n + 1 == nodes ? 0 : n + 1};
  if (shape == "chain") return n + 1 == nodes ? std::vector<NodeId>{} : std::vector<NodeId>{n + 1};
  if (shape == "hub") return {0};
  std::vector<NodeId> edges;
  for (int i = 0; i < 2; ++i) {
    const std::uint64_t r = random();
    if (i == 1 && r % 4 == 0) break;
    const bool near = shape == "mixed" && (r >> 8) % 2;
    edges.push_back(static_cast<NodeId>(near ? (n + nodes + (r >> 10) % 64 - 32) % nodes : (r >> 10) % nodes));
  }
  return edges;
}

CsrGraph Build(const std::string& shape, NodeId nodes) {
  Random random;
  std::vector<std::uint32_t> offsets{0};
  std::vector<NodeId> edges;
  for (NodeId n = 0; n < nodes; ++n) {
    for (const NodeId to : EdgesOf(shape, n, nodes, random)) edges.push_back(to);
    offsets.push_back(static_cast<std::uint32_t>(edges.size()));
  }
  return CsrGraph(std::move(offsets), std::move(edges));
}

void Measure(const std::string& shape, NodeId nodes) {
  const CsrGraph graph = Build(shape, nodes);
  fmt::print("{}: {} nodes, {} references\n", shape, nodes, graph.edge_count());
  double start = cpu_seconds();
  const auto lap = [&](const char* what, const std::string& result) {
    const double seconds = cpu_seconds() - start;
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    fmt::print("  {:<28} {:8.1f} ns/node {:8.1f} ns/reference   peak {:5} MB   {}\n", what, seconds * 1e9 / nodes,
               seconds * 1e9 / static_cast<double>(std::max<std::uint64_t>(graph.edge_count(), 1)), usage.ru_maxrss / 1024, result);
    start = cpu_seconds();
  };
  const auto reverse = pygc::graph::Transpose(graph);
  lap("reverse graph", "");
  NodeSet visited(nodes);
  pygc::graph::MarkReachable(graph, std::vector<NodeId>{0}, visited);
  lap("marks from node 0", fmt::format("{} reached", visited.Count()));
  {
    const auto components = pygc::graph::StronglyConnectedComponents(graph);
    lap("components", fmt::format("{}", components.count()));
    pygc::graph::ShortestCycleSearch search(graph, components);
    NodeId largest = 0;
    for (NodeId c = 0; c < components.count(); ++c) {
      if (components.Members(c).size() > components.Members(largest).size()) largest = c;
    }
    start = cpu_seconds();
    const auto cycle = search.Find(largest);
    lap("short cycle of the largest",
        fmt::format("{} nodes of {}, {}", cycle.nodes.size(), components.Members(largest).size(), cycle.proven_shortest ? "proven" : "not proven"));
  }
  {
    const auto tree = pygc::graph::BuildDominatorTree(graph, std::vector<NodeId>{0});
    lap("dominators", "");
    const auto retained = pygc::graph::RetainedSizes(*tree, [](NodeId) { return std::uint64_t{1}; });
    lap("retained sizes", fmt::format("{} by node 0", retained[0]));
  }
  pygc::heap::HeapSnapshot heap;
  heap.refcount.assign(nodes, 0);
  for (const auto& block : graph.blocks()) {
    for (const NodeId to : block.edges) ++heap.refcount[to];
  }
  for (NodeId n = 0; n < nodes; n += 1000) ++heap.refcount[n];  // held from outside
  heap.type.assign(nodes, 0);
  heap.flags.assign(nodes, pygc::heap::kTracked | 2);
  heap.types.resize(1);
  heap.interpreters.resize(1);
  heap.graph = graph;
  start = cpu_seconds();
  pygc::SilentProgress progress;
  const auto verdict = pygc::analysis::ReplayCollection(heap, progress);
  lap("verdict", fmt::format("{} unreachable", verdict->unreachable));
}

}  // namespace

int main(int argc, char** argv) {
  const NodeId nodes = argc > 1 ? static_cast<NodeId>(std::strtoul(argv[1], nullptr, 10)) : 10'000'000;
  if (nodes == 0) return 2;
  for (const char* shape : {"mixed", "ring", "chain", "hub", "dense"}) Measure(shape, nodes);
  return 0;
}
