// The collector's verdict, replayed on columns: what a full collection would find unreachable now, and what it could not free.
// Same arithmetic as CPython's update_refs, subtract_refs, move_unreachable, move_legacy_finalizers (Modules/gcmodule.c [2.7-3.12], Python/gc.c [3.13+]),
// but on a copy of the counts. Pure functions of the snapshot.
#pragma once

#include <cstdint>
#include <vector>

#include "core/base/progress.h"
#include "core/base/result.h"
#include "core/graph/csr_graph.h"
#include "core/heap/heap_snapshot.h"

namespace pygc::analysis {

/// State of a node; values are in order of precedence (contract.md, Words in reports).
enum class State : std::uint8_t { kReachable, kUnreachable, kUncollectable };

/// Whether approximate referents could change a figure.
enum class Certainty : std::uint8_t { kExact, kLowerBound, kUnverifiable };

struct Verdict {
  std::vector<State> state;            // per node; contract's states: in gc.garbage or kept by a legacy finalizer or reachable only from such = uncollectable
  std::vector<bool> in_garbage;        // per node: lies in gc.garbage
  std::vector<bool> frozen;            // per node: unreachable inside the permanent generation (state stays reachable)
  std::uint64_t unreachable = 0;       // what a full collection would find: collectable + those kept by a legacy finalizer now
  std::uint64_t collectable = 0, uncollectable = 0, garbage_count = 0, frozen_count = 0;
  std::uint64_t unreachable_upper = 0; // with approximate references subtracted; equal to `unreachable` where certainty is kExact
  Certainty certainty = Certainty::kExact;
  std::uint64_t negative_counts = 0;   // nodes with more references found than ob_refcnt says (evidence for the audit)
};

/// Errors: kCancelled.
[[nodiscard]] Result<Verdict> ReplayCollection(const heap::HeapSnapshot& heap, ProgressSink& progress);

}  // namespace pygc::analysis
