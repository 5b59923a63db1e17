// The collector's verdict, replayed on columns: what a full collection would find unreachable now, and what it could not free.
// Same arithmetic as CPython's update_refs, subtract_refs, move_unreachable, move_legacy_finalizers (Modules/gcmodule.c [2.7-3.12], Python/gc.c
// [3.13+]), but on a copy of the counts. Pure functions of the snapshot.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/base/progress.h"
#include "core/base/result.h"
#include "core/graph/csr_graph.h"
#include "core/graph/node_set.h"
#include "core/heap/heap_snapshot.h"

namespace pygc::analysis {

/// State of a node; values are in order of precedence (contract.md, Words in reports).
enum class State : std::uint8_t { kReachable, kUnreachable, kUncollectable };

/// Whether approximate referents could change a figure.
enum class Certainty : std::uint8_t { kExact, kLowerBound, kUnverifiable };

/// Totals of one interpreter (the last entry: objects of no known interpreter, only where there are such).
struct InterpreterTotals {
  std::uint64_t unreachable = 0, collectable = 0, uncollectable = 0, in_garbage = 0, frozen = 0;
};

struct Verdict {
  std::vector<State> state;  // per node; contract's states: in gc.garbage or kept by a legacy finalizer or reachable only from such = uncollectable
  std::vector<bool> in_garbage;         // per node: lies in gc.garbage
  std::vector<bool> frozen;             // per node: unreachable inside the permanent generation (state stays reachable)
  graph::NodeSet unreachable_set;       // what a full collection would find now
  graph::NodeSet held_by_garbage;       // what only gc.garbage keeps alive, its items included; none of unreachable_set
  graph::NodeSet held_by_frozen;        // what only `frozen` objects keep alive, these included; none of unreachable_set
  // Of unreachable_set, what a legacy finalizer reaches and the process frees all the same: only cycles that the collector does free hold it. Its state is
  // uncollectable, which is what the collector sets aside; `collectable` counts it. Without nodes where there is none.
  graph::NodeSet freed_with_cycles;
  graph::NodeSet held_by_unknown;       // reachable, by what the counts say, but from no known root: where a reference was lost, these may be garbage
  // What is unreachable only if guessed references are none, or by the upper bound of a collection that frees; and where objects or roots are missing
  // (FindNotKnown()) what nothing that is known to be in use leads to: what the counts say holds it may be garbage itself.
  // The state of these is kReachable for whoever asks whether something is unreachable; for others it is not known. Without nodes where all is known.
  graph::NodeSet not_known;
  std::uint64_t unreachable = 0;        // size of unreachable_set: collectable + those kept by a legacy finalizer now
  std::uint64_t collectable = 0;        // of unreachable_set: what the collector would free
  std::uint64_t uncollectable = 0;      // nodes that are stuck
  std::uint64_t kept_by_finalizer = 0;  // of unreachable_set: legacy finalizers that stay, and what they reach
  std::uint64_t garbage_count = 0;      // items of gc.garbage, tracked or not
  std::uint64_t frozen_count = 0;
  static constexpr std::uint64_t kNoBound = ~std::uint64_t{0};
  // With approximate references subtracted; equal to `unreachable` where certainty is kExact. kNoBound where objects or references were not read.
  std::uint64_t unreachable_upper = 0;
  Certainty certainty = Certainty::kExact;
  std::uint64_t negative_counts = 0;            // nodes with more references found than ob_refcnt says (evidence for the audit)
  std::vector<InterpreterTotals> interpreters;  // parallel to HeapSnapshot::interpreters, one more where some objects belong to none

  /// The state as reports name it, "uncollectable", "unreachable" or "reachable"; "" where it is not known.
  [[nodiscard]] const char* StateText(graph::NodeId n) const noexcept;
  /// True where the node is in use, as far as it is known whether it is.
  [[nodiscard]] bool IsKnownInUse(graph::NodeId n) const noexcept { return state[n] == State::kReachable && !(not_known.node_count() != 0 && not_known.Contains(n)); }
  /// True for what the process never frees by itself: uncollectable, and not freed_with_cycles.
  [[nodiscard]] bool IsStuck(graph::NodeId n) const noexcept {
    return state[n] == State::kUncollectable && !(freed_with_cycles.node_count() != 0 && freed_with_cycles.Contains(n));
  }
};

/// Adds to `verdict.not_known` for a heap of which something is missing: all that is reachable by its count alone, or that is not tracked, unless exact references
/// lead there from `known_roots` or from immortal objects.
void FindNotKnown(const heap::HeapSnapshot& heap, std::span<const graph::NodeId> known_roots, Verdict& verdict);

/// What of `kept`, the part of the unreachable that legacy finalizers reach, is left when the rest of the unreachable has been cleared: cycles, and what hangs
/// on them. The others lose their last reference then and die with their finalizers run, before legacy finalizers are put into gc.garbage.
/// CPython: collect() calls delete_garbage() before handle_finalizers(), Modules/gcmodule.c [2.7]; handle_legacy_finalizers() [3.4+].
[[nodiscard]] graph::NodeSet LeftWhenCyclesAreCleared(const heap::HeapSnapshot& heap, const graph::NodeSet& kept);

/// Replays a full collection. Time O(V + E); memory about 3 bytes a node beside the result.
/// The verdict is a lower bound where an approximate reference decides it, or where objects are missing: references that were not seen can only keep
/// more alive, so what is found stays true.
/// `threads`: 0 for one on each core of the machine; the result is the same for any number. `known_roots`: nodes that are in use because a frame, a module or
/// the interpreter refers to them; they only say what is held_by_unknown. Errors: kCancelled.
[[nodiscard]] Result<Verdict> ReplayCollection(const heap::HeapSnapshot& heap, ProgressSink& progress, unsigned threads = 1,
                                               std::span<const graph::NodeId> known_roots = {});

}  // namespace pygc::analysis
