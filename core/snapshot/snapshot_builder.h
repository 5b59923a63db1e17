// BuildSnapshot: the one long loop that turns a target into a HeapSnapshot. The last layer that reads the target.
#pragma once

#include <functional>
#include <vector>

#include "core/base/address.h"
#include "core/base/limits.h"
#include "core/base/progress.h"
#include "core/base/result.h"
#include "core/heap/heap_snapshot.h"
#include "core/objects/object_reader.h"
#include "core/objects/ownership.h"

namespace pygc::snapshot {

struct SnapshotOptions {
  bool with_leaves = false;  // also every object that is reached from tracked ones: untracked containers and leaves, with sizes (export)
  // with_leaves: follow what objects own beside what they visit, from `roots` and static types too; nullptr: what is visited alone.
  const objects::Ownership* ownership = nullptr;
  bool follow_inexact = true;  // with_leaves: follow references that are not exactly known too
  bool sizes = true;  // with_leaves: fill the size column
  std::vector<Address> roots = {};  // with_leaves: objects that are held from outside of the heap; they and what they reach are nodes too
  // with_leaves: more of them, as far as the types that the reader has met by then tell; asked again until nothing new turns up. May be empty.
  std::function<std::vector<Address>()> late_roots = {};
  Limits limits;
  unsigned piece_shift = 16;  // ids in one piece of work: 1 << piece_shift; smaller only in tests
};

/// All tracked objects of every interpreter (generation lists, the permanent one, and lists headed on a C stack where a collection was in progress),
/// their headers and references.
/// Errors: kCancelled, kLimit (does not fit the given memory), kCorrupt (no list could be followed at all). Damage to a part is Coverage, not an
/// error.
[[nodiscard]] Result<heap::HeapSnapshot> BuildSnapshot(const objects::ObjectReader& reader, const SnapshotOptions& options, ProgressSink& progress);

}  // namespace pygc::snapshot
