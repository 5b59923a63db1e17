// Equal leaked structures as one group: a thousand leaked requests are one line with a count.
// A structure is a strongly connected component of the unreachable part (or, where something without a cycle lies in gc.garbage, that object), and
// what only hangs on it. Structures are equal when types, shape, edge labels and the names of functions are. Pure function of snapshot, verdict and excerpt; no texts, no
// memory.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/analysis/verdict.h"
#include "core/base/progress.h"
#include "core/base/result.h"
#include "core/heap/excerpt.h"
#include "core/heap/heap_snapshot.h"

namespace pygc::analysis {

/// Why the objects of a group are not freed.
enum class GroupReason : std::uint8_t {
  kCycle,            // a plain cycle: the next full collection frees it
  kFinalizer,        // a cycle with a finalizer that has not run: freed as well, after it ran
  kLegacyFinalizer,  // a legacy finalizer in it: never freed
  kHeldByLegacy,     // no legacy finalizer of its own, but reachable from one
  kInGarbage,        // an item of gc.garbage in it (and no legacy finalizer)
  kHeldByGarbage,    // only gc.garbage leads to it
  kFrozen,           // unreachable inside the permanent generation, or held by such
};

/// How many objects of one type.
struct GroupTypeCount {
  std::uint32_t type = 0;  // index into Excerpt::types
  std::uint64_t objects = 0;
  std::uint64_t bytes = 0;
};

/// Objects with a finalizer.
struct GroupFinalizerCount {
  std::uint32_t type = 0;
  bool legacy = false;  // decided by the object (2.7) or its type
  std::uint64_t pending = 0, run = 0;
};

/// One step of a cycle: the object and its reference to the next one (the last one refers to the first).
struct CycleStep {
  graph::NodeId node = 0;      // of the excerpt
  std::uint32_t position = 0;  // of the reference among Successors(node)
  std::uint32_t label = 0;     // index into Excerpt::label_texts
};

/// Equal structures. Ids are those of the excerpt.
struct Group {
  bool definite = false;  // can never be freed; else it waits for a collection
  GroupReason reason = GroupReason::kCycle;
  std::uint8_t interpreter = 0;   // index into HeapSnapshot::interpreters; heap::kNoInterpreter
  std::uint64_t fingerprint = 0;  // of types, shape and labels; the same in every process of the same program, whatever the addresses
  std::uint64_t count = 0;        // structures
  std::uint64_t objects = 0;      // in all of them, without what hangs on them
  std::uint64_t in_garbage = 0;   // of these, items of gc.garbage
  std::uint64_t bytes = 0;        // of `objects`; objects whose size is not known count as 0, see unknown_sizes
  std::uint64_t held_objects = 0, held_bytes = 0;      // what only hangs on the group, leaves included; each object counted in one group only
  std::uint64_t shared_objects = 0, shared_bytes = 0;  // of these: hang on other groups too, and are counted here alone
  std::vector<std::uint32_t> shared_with;  // positions (after sorting) of groups that things counted here hang on too, at most kMaxSharedWith
  std::uint64_t unknown_sizes = 0;
  std::uint32_t type = 0;                            // of the object that the group is named after
  std::vector<graph::NodeId> heads;                  // that object of each structure, by address
  std::vector<graph::NodeId> components;             // Excerpt::components of each structure, parallel to heads
  std::vector<CycleStep> cycle;                      // the shortest cycle through heads[0]; empty where it is no cycle
  std::vector<GroupTypeCount> members;               // of one structure, most objects first
  std::vector<GroupTypeCount> held;                  // of the whole group, most bytes first
  std::vector<GroupFinalizerCount> finalizers;       // among the members of all structures
  std::vector<GroupFinalizerCount> held_finalizers;  // among what hangs on them
  bool order_undefined = false;                      // two or more objects with a finalizer to run in one structure
  std::array<std::uint64_t, 5> generations{};        // members by generation: 0, 1, 2, permanent, detached
  bool approximate = false;                          // the references of a member were guessed

  static constexpr std::size_t kMaxSharedWith = 16;
};

/// All groups and who belongs where.
struct Groups {
  std::vector<Group> groups;            // definite first, then by bytes with what hangs on them, objects, lowest address
  std::vector<std::uint32_t> group_of;  // per object of the excerpt: index into groups
};

/// The nodes that reports of leaks are about: unreachable, held by gc.garbage alone, held by frozen garbage.
[[nodiscard]] graph::NodeSet LeakedNodes(const Verdict& verdict);

/// Groups the structures of the excerpt of LeakedNodes(). Every object of it is counted in exactly one group. Time O(V + E) and sorting. `threads`: 0 for one
/// on each core of the machine; the result is the same for any number.
/// LIMIT: structures that colour refinement (kRefinementRounds rounds) cannot tell apart count as equal.
/// Errors: kCancelled.
[[nodiscard]] Result<Groups> GroupStructures(const heap::HeapSnapshot& heap, const Verdict& verdict, const heap::Excerpt& excerpt,
                                             ProgressSink& progress, unsigned threads = 1);

inline constexpr int kRefinementRounds = 16;

}  // namespace pygc::analysis
