// A random heap for queries: several types, states and flags, several references between the same two objects. For the test of the virtual tables and the
// fuzz entry for queries.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "core/graph/retained_size.h"
#include "core/graph/transpose.h"
#include "core/report/sql.h"

namespace pygc::test {

using namespace pygc::report;

inline constexpr heap::NodeId kNodes = 300;

struct SqlHeap {
  explicit SqlHeap(heap::NodeId nodes = kNodes) : random(7) {
    const heap::ObjectIndex::Range range{{0x1000, 0x100000}, 4};
    heap.index = heap::ObjectIndex(std::span(&range, 1));
    for (heap::NodeId n = 0; n < nodes; ++n) heap.index.Mark(0x1000 + std::uint64_t{n} * 0x30 + 0x10 * (n % 2));
    heap.index.Seal();
    std::vector<std::uint32_t> offsets{0};
    std::vector<heap::NodeId> edges;
    for (heap::NodeId n = 0; n < nodes; ++n) {
      heap.type.push_back(Below(5));
      heap.refcount.push_back(n % 7 == 0 ? heap::kImmortal : Below(9));
      heap.flags.push_back(static_cast<std::uint8_t>(n % 3 == 0 ? heap::kUntracked : heap::kTracked | Below(4)));
      heap.size_bytes.push_back(n % 11 == 0 ? heap::kUnknownSize : 16 + Below(200));
      verdict.state.push_back(n % 5 == 0 ? analysis::State::kUnreachable : analysis::State::kReachable);
      for (std::uint32_t i = Below(6); i > 0; --i) edges.push_back(Below(20) == 0 && !edges.empty() ? edges.back() : Below(nodes));
      offsets.push_back(static_cast<std::uint32_t>(edges.size()));
    }
    heap.graph = graph::CsrGraph(offsets, edges);
    heap.types.resize(6);  // the last one has no object
    for (std::size_t t = 0; t < heap.types.size(); ++t) {
      heap.types[t].name = "app.T" + std::to_string(t);
      heap.types[t].address = 0x500000 + t * 0x100;
    }
    heap.interpreters.resize(1);
    heap.with_leaves = true;
    header.command = "sql";
    header.target.python = "3.12.1";
    reverse = *graph::Transpose(heap.graph);
    const heap::NodeId roots[] = {0, 1, 2};
    tree = *graph::BuildDominatorTree(heap.graph, roots);
    tree.AddPositions();
    bytes = graph::RetainedSizes(tree, [](heap::NodeId) { return std::uint64_t{1}; });
    immediate = graph::ImmediateDominators(tree);
  }
  std::uint32_t Below(std::uint32_t n) { return std::uniform_int_distribution<std::uint32_t>(0, n - 1)(random); }
  // Two tracebacks; blocks with and without an object, with and without a traceback.
  [[nodiscard]] static ExportAllocations Allocations() {
    ExportAllocations out;
    out.files = {"app.py", "lib/evil\x1b.py"};
    out.tracebacks = {{{0, 12}, {1, 7}}, {{1, 7}}};
    out.blocks = {{3, 0, 0, 0x1090, 48}, {5, 1, 0, 0x1100, 16}, {5, 0, 0, 0x1110, 16}, {ExportBlock::kNone, ExportBlock::kNone, 77, 0x10, 12345}};
    return out;
  }
  [[nodiscard]] ExportInput Input() const {
    ExportInput input = Graph();
    input.allocations = Allocations;
    return input;
  }
  [[nodiscard]] ExportInput Graph() const {
    return {heap, verdict, header, {"exact", "approximate"}, [this](heap::NodeId n, std::vector<std::string>& out) {
              out.clear();
              for (std::size_t i = 0; i < heap.graph.Successors(n).size(); ++i) out.push_back(i % 3 == 0 ? "" : "[" + std::to_string(i) + "]");
            }};
  }
  std::mt19937 random;
  heap::HeapSnapshot heap;
  analysis::Verdict verdict;
  Header header;
  graph::CsrGraph reverse;
  graph::DominatorTree tree;
  graph::RetainedColumn bytes;
  std::vector<heap::NodeId> immediate;
};

inline SqlSources SourcesOf(const SqlHeap& h, const ExportInput& input) {
  SqlSources s{input, [&h]() -> Result<const graph::CsrGraph*> { return &h.reverse; }, [&h]() -> Result<SqlRetention> { return SqlRetention{h.tree, h.bytes, h.immediate}; },
               [] { return std::vector<SqlRow>{{SqlValue::Integer(3), SqlValue::Text("module"), SqlValue::Text("x in y")}, {SqlValue::Integer(3), SqlValue::Text("frame"), SqlValue::Text("z")}}; },
               {}, {},
               [](heap::NodeId n) { return n % 10 == 4; },
               [](heap::NodeId n, bool with_value, SqlString* out) {
                 out->length = n;
                 out->digest = n * 17;
                 if (with_value) out->value = "text " + std::to_string(n);
                 return n != 14;
               }};
  return s;
}

}  // namespace pygc::test
