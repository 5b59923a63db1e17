// The object graph for programs that draw or browse it: Graphviz (DOT), and the heap snapshots of Chrome's developer tools.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/analysis/root_paths.h"
#include "core/heap/root_set.h"
#include "core/report/export.h"

namespace pygc::report {

/// What only these two formats need.
struct GraphInput {
  const ExportInput& base;                // edge_labels set
  const heap::RootSet& roots;
  const analysis::RootPaths& paths;       // without exclusions: where the roots come in, and what they reach
  std::function<std::string(heap::NodeId)> node_name;  // "app.Node", "function load", "module app"; raw
};

/// What a drawing shows: everything within `depth` references of `centres`, in both directions, of each object at most `fan_out` of its references.
struct DotLimits {
  std::uint32_t depth = 3;
  std::uint32_t fan_out = 10;
  std::uint32_t most_nodes = 2000;  // a drawing with more is none
};

/// What became of it.
struct DotSummary {
  std::uint64_t nodes = 0, edges = 0;
  std::uint64_t left_out = 0;  // references of the objects shown that are not, by the limits
};

/// Writes one digraph. Cycles are red; what holds an object from outside is an ellipse; classes, modules and their dicts are shown but not followed unless they
/// are asked for. `centres` rising, may be empty. Errors: kCancelled.
[[nodiscard]] Result<DotSummary> WriteDot(const GraphInput& input, const std::vector<heap::NodeId>& centres, const DotLimits& limits, const ByteSink& sink,
                                          ProgressSink& progress);

/// Writes a .heapsnapshot (V8's format, as Chrome's developer tools, memlab and others read it): all objects and references, roots by kind below "(GC roots)", what
/// is unreachable below "(unreachable)". Retained sizes computed from it agree with pygc's: references from what is unreachable to what is in use are weak ones.
/// The id of an object is twice its number in the SQLite export, and 3. Errors: kCancelled; a sink that gives up is none.
[[nodiscard]] Result<void> WriteHeapSnapshot(const GraphInput& input, const ByteSink& sink, ProgressSink& progress);

}  // namespace pygc::report
