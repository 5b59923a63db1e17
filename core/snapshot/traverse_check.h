// Two ways to know an object's referents, held against each other: the native reader of its type, and its tp_traverse's own machine code. A difference is
// a fault of pygc (a reader, a layout, the machine) or damage in the process; it is data, not an error. Judges no verdict and writes no report.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/limits.h"
#include "core/base/progress.h"
#include "core/heap/heap_snapshot.h"
#include "core/objects/object_reader.h"
#include "core/objects/traverse_interpreter.h"

namespace pygc::snapshot {

/// One object that the two read differently.
struct TraverseDifference {
  Address object = 0;
  std::uint32_t type = 0;                            // index into HeapSnapshot::types
  std::uint64_t native_count = 0, machine_count = 0; // length of each list
  std::uint64_t first_difference = 0;                // index of the first place where they differ
  std::uint64_t from = 0;                            // index of the first element that `native` and `machine` hold
  std::vector<Address> native, machine;              // at most kShownReferents each, around the first difference
};

/// What came of the objects of one type.
struct TraverseTypeResult {
  std::uint32_t type = 0;  // index into HeapSnapshot::types
  std::uint64_t compared = 0, different = 0;
  std::uint64_t native_not_exact = 0, machine_not_exact = 0;  // not compared
  objects::NotExactReason reason;                             // of the latter two; empty where there are none
};

struct TraverseCheck {
  std::uint64_t compared = 0, equal = 0, different = 0;
  std::uint64_t not_compared = 0;  // the type has both, but one of them does not claim to be exact
  std::uint64_t one_way = 0;       // objects with referents whose type has no native reader
  std::vector<TraverseTypeResult> types;         // by index of the type; those compared or not compared
  std::vector<TraverseDifference> differences;   // by address, at most kMaxDifferences
  bool stopped = false;                          // the user stopped it: the figures are of what was done
};

struct TraverseCheckOptions {
  Limits limits;
  unsigned piece_shift = 14;  // objects in one piece of work: 1 << piece_shift
};

inline constexpr std::size_t kShownReferents = 64;
inline constexpr std::size_t kMaxDifferences = 10'000;  // kept; all are counted

/// Compares both lists, order and number included, for every object of `heap` that has referents and whose type has a native reader. `heap` was made by
/// `reader`; `machine` runs tp_traverse. Memory: O(types + kMaxDifferences). The same for any number of threads.
[[nodiscard]] TraverseCheck CheckTraverse(const objects::ObjectReader& reader, const objects::TraverseInterpreter& machine, const heap::HeapSnapshot& heap,
                                          const TraverseCheckOptions& options, ProgressSink& progress);

}  // namespace pygc::snapshot
