// Why objects are alive: one tree of shortest paths from the roots to everything that they reach. Made once, it answers for any object by walking up.
// Weak references are no edges of the graph, so they never count.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/base/progress.h"
#include "core/base/result.h"
#include "core/graph/node_set.h"
#include "core/heap/heap_snapshot.h"
#include "core/heap/root_set.h"

namespace pygc::analysis {

struct RootPaths {
  std::vector<heap::NodeId> parent;     // towards the root; the node itself where a path starts; kNoNode: not reached
  std::vector<std::uint32_t> depth;     // references on the shortest path; where `parent` is kNoNode without meaning. Empty until AddDepths() where not asked for
  graph::NodeSet count_only;            // reached, but only from nodes in use whose holder was not found: native memory, the stack of C code
  std::vector<heap::NodeId> starts;     // nodes where paths start, rising
  std::vector<std::uint32_t> root;      // parallel: index into RootSet::roots, or kCountOnly
  std::uint64_t reached = 0, by_count_only = 0;  // nodes that roots reach; that only such nodes reach whose holder was not found

  static constexpr std::uint32_t kCountOnly = 0xFFFFFFFFu;

  [[nodiscard]] bool Reaches(heap::NodeId n) const noexcept { return n < parent.size() && parent[n] != heap::kNoNode; }
  /// From the root's object to `n`; empty where it is not reached. O(length).
  [[nodiscard]] std::vector<heap::NodeId> PathTo(heap::NodeId n) const;
  /// Index into RootSet::roots of the root that a path starts with, or kCountOnly. `start` is a path's first node.
  [[nodiscard]] std::uint32_t RootOf(heap::NodeId start) const noexcept;
};

/// Nodes in use that are not in `reached` though their counts are higher than the references found to them: somebody holds them who is not known. Immortal
/// ones have no count and are among them. Rising. O(V + E).
[[nodiscard]] std::vector<heap::NodeId> FindHeldByCount(const heap::HeapSnapshot& heap, const graph::NodeSet& reached, const std::function<bool(heap::NodeId)>& in_use);

/// Breadth first from all roots at once, in their order; then from FindHeldByCount(). `in_use`: nodes that the verdict calls reachable. `admits`: nodes that paths may go through (the end of a path need not be admitted); empty: all.
/// Among equally short paths the one through the earlier root, then the lower node. Time O(V + E), memory 4 bytes a node, and 4 with depths. Errors: kCancelled.
[[nodiscard]] Result<RootPaths> FindRootPaths(const heap::HeapSnapshot& heap, const heap::RootSet& roots, const std::function<bool(heap::NodeId)>& in_use,
                                              const std::function<bool(heap::NodeId)>& admits, ProgressSink& progress, bool with_depth = true);

/// Fills `depth` where it is empty. O(V).
void AddDepths(RootPaths& paths);

/// The paths to many objects as one tree: shared beginnings once.
struct PathTree {
  struct Branch {
    heap::NodeId node = heap::kNoNode;
    std::uint32_t parent = 0;    // index of the branch it grows from; its own for the first ones
    std::uint64_t targets = 0;   // objects asked for in it, itself included
    bool is_target = false;
  };
  std::vector<Branch> branches;  // parents before children; roots first by number of targets
  std::uint64_t unreached = 0;   // targets that no path leads to
};

/// `targets` rising, each once. Time O(nodes on the paths * log), memory for these alone.
[[nodiscard]] PathTree MergePaths(const RootPaths& paths, const std::vector<heap::NodeId>& targets);

}  // namespace pygc::analysis
