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

/// Reached nodes have a place each: the order in which a search reaches them. The children of a node stand together then, those of a level too, and all that hangs
/// below a node is one run in each level: so depths, and what lies below what, need no column of their own. Memory: 8 bytes a node, 12 with places.
struct RootPaths {
  std::vector<std::uint32_t> place;     // of each node; kNotReached. Empty until AddPlaces(): then each question about a node looks through `order`
  std::vector<heap::NodeId> order;      // the node at each place: first what roots reach, then what only such nodes reach whose holder was not found
  std::vector<std::uint32_t> above;     // parallel: the place of the node before it on the path; its own where a path starts
  std::vector<std::uint32_t> levels;    // the first place of each level, rising; every level has nodes
  std::uint32_t root_levels = 0;        // levels that begin with a root's objects; those after them begin with what only its count holds
  std::vector<heap::NodeId> starts;     // nodes where paths start, rising
  std::vector<std::uint32_t> root;      // parallel: index into RootSet::roots, or kCountOnly

  static constexpr std::uint32_t kCountOnly = 0xFFFFFFFFu, kNotReached = 0xFFFFFFFFu;

  /// Fills `place` where it is empty. O(V).
  void AddPlaces(heap::NodeId node_count);
  /// kNotReached where it is not.
  [[nodiscard]] std::uint32_t PlaceOf(heap::NodeId n) const noexcept { return place.empty() ? PlaceByOrder(n) : n < place.size() ? place[n] : kNotReached; }
  [[nodiscard]] bool Reaches(heap::NodeId n) const noexcept { return PlaceOf(n) != kNotReached; }
  /// The next one towards the root; the node itself where its path starts. `n` is reached, as in all that follow.
  [[nodiscard]] heap::NodeId ParentOf(heap::NodeId n) const noexcept { return order[above[PlaceOf(n)]]; }
  /// Reached, but only from nodes in use whose holder was not found: native memory, the stack of C code.
  [[nodiscard]] bool IsByCountOnly(heap::NodeId n) const noexcept { return root_levels < levels.size() && PlaceOf(n) >= levels[root_levels]; }
  /// Of two nodes that which roots reach is on the lower level, and then that with the shorter path. O(log levels).
  [[nodiscard]] std::uint32_t LevelOf(heap::NodeId n) const noexcept;
  /// References on the shortest path. O(log levels).
  [[nodiscard]] std::uint32_t DepthOf(heap::NodeId n) const noexcept;
  /// From the root's object to `n`; empty where it is not reached. O(length).
  [[nodiscard]] std::vector<heap::NodeId> PathTo(heap::NodeId n) const;
  /// The same, to the node at a place.
  [[nodiscard]] std::vector<heap::NodeId> PathToPlace(std::uint32_t at) const;
  /// Index into RootSet::roots of the root that a path starts with, or kCountOnly. `start` is a path's first node.
  [[nodiscard]] std::uint32_t RootOf(heap::NodeId start) const noexcept;

 private:
  [[nodiscard]] std::uint32_t PlaceByOrder(heap::NodeId n) const noexcept;
};

/// What hangs below a node of the tree of shortest paths, itself included: paths that go through it. Follows it down as far as it is asked.
class Below {
 public:
  /// `top` is reached. `paths` has places, and outlives this.
  Below(const RootPaths& paths, heap::NodeId top);

  /// `place`: that of any node. All questions together: O(levels between the top and the last place asked for * log V), and O(log levels) each.
  [[nodiscard]] bool Contains(std::uint32_t place) {
    if (place >= gap_.begin && place < gap_.end) return false;
    while (place >= covered_ && Extend()) {}
    return InRun(place);
  }

  struct Run {
    std::uint32_t begin, end;  // places
  };
  /// Places about the last one that Contains() said no to for which it says no as well.
  [[nodiscard]] Run Gap() const noexcept { return gap_; }

 private:
  bool Extend();
  [[nodiscard]] bool InRun(std::uint32_t place) noexcept;

  const RootPaths& paths_;
  std::vector<Run> runs_;  // one a level, rising, none empty
  Run gap_;                // places of none of them, where the last one asked for was not
  std::size_t level_;      // of the last one
  std::uint32_t covered_;  // places below are of levels that have their run, or none
};

/// Nodes in use that are not in `reached` though their counts are higher than the references found to them: somebody holds them who is not known. Immortal
/// ones have no count and are among them. `expanded`: nodes all of whose references lead to `reached`. Rising. O(V + edges of nodes that are not expanded).
[[nodiscard]] std::vector<heap::NodeId> FindHeldByCount(const heap::HeapSnapshot& heap, const graph::NodeSet& reached, const graph::NodeSet& expanded,
                                                        const std::function<bool(heap::NodeId)>& in_use);

/// Breadth first from all roots at once, in their order; then from FindHeldByCount(). `in_use`: nodes that the verdict calls reachable. `admits`: nodes that paths may go through (the end of a path need not be admitted); empty: all.
/// Among equally short paths the one through the earlier root, then that whose parent comes first in this order. `with_places`: AddPlaces() too. Time O(V + E). Errors: kCancelled.
[[nodiscard]] Result<RootPaths> FindRootPaths(const heap::HeapSnapshot& heap, const heap::RootSet& roots, const std::function<bool(heap::NodeId)>& in_use,
                                              const std::function<bool(heap::NodeId)>& admits, ProgressSink& progress, bool with_places = true);

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

/// `targets` rising, each once. `paths` has places. Time O(nodes on the paths * log), memory for these alone.
[[nodiscard]] PathTree MergePaths(const RootPaths& paths, const std::vector<heap::NodeId>& targets);

}  // namespace pygc::analysis
