// Heaps as text, in and out: the notation of the tests for graph, analysis and report.
//
//   a:Node refs=2 gen=1 del -> b, .child c, ['k'] c     one object a line: name, type, attributes, references with optional labels
//   garbage: a b                                         items of gc.garbage, in order;  garbage-list: g  the node that is the list
//   roots: m                                             dicts that interpreter 0 itself holds
//
// Attributes: refs=N|immortal|saturated (default: as many as the text holds), gen=0|1|2|permanent|detached|none (default 2), interp=N, size=N
// (default 100), del (legacy finalizer), finalized, approx, incomplete (some referents are not known), fault, tp_finalize (the type has a
// finalizer), code=NAME (what a function is called in the source). An empty line or one that starts with # is
// nothing.
#pragma once

#include <map>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "core/graph/csr_builder.h"
#include "core/heap/excerpt.h"
#include "core/heap/heap_snapshot.h"

namespace pygc::test {

/// A snapshot with the names that the text gave its nodes.
struct TextHeap {
  heap::HeapSnapshot heap;
  std::vector<std::string> names;                // by node
  std::vector<std::string> code_names;           // by node; empty where it has none
  std::vector<std::vector<std::string>> labels;  // by node, one for each reference; empty where the text has none

  [[nodiscard]] graph::NodeId Node(std::string_view name) const;
  /// "a b c": names in node order; "none" for an empty set.
  [[nodiscard]] std::string Names(const graph::NodeSet& nodes) const;
  template <typename Predicate>
  [[nodiscard]] std::string NamesWhere(Predicate&& predicate) const {
    graph::NodeSet nodes(heap.size());
    for (graph::NodeId n = 0; n < heap.size(); ++n) {
      if (predicate(n)) nodes.Insert(n);
    }
    return Names(nodes);
  }
};

/// Reads the notation above. A mistake in it fails the running test.
[[nodiscard]] TextHeap ParseHeap(std::string_view text);

/// The excerpt of these nodes, with the labels of the text: what snapshot::BuildExcerpt makes of a real heap, without leaves.
[[nodiscard]] heap::Excerpt ExcerptOf(const TextHeap& text, const graph::NodeSet& nodes);

/// The edges as a graph: "a -> b c" a line. For tests of core/graph; nodes are named in order of appearance at the left, or anywhere.
struct TextGraph {
  graph::CsrGraph graph;
  std::vector<std::string> names;
  [[nodiscard]] graph::NodeId Node(std::string_view name) const;
  [[nodiscard]] std::string Names(const std::vector<graph::NodeId>& nodes) const;
};
[[nodiscard]] TextGraph ParseGraph(std::string_view text);

/// A random multigraph with self-references. Deterministic for a seed.
[[nodiscard]] graph::CsrGraph RandomGraph(std::mt19937_64& random, graph::NodeId nodes, std::size_t edges);
/// "0 -> 1 2\n1 -> ...": for failure messages.
[[nodiscard]] std::string GraphText(const graph::CsrGraph& graph);

}  // namespace pygc::test
