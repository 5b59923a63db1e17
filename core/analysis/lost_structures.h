// What is in use by its count alone, as structures: a leaked object with all that hangs on it, and cycles through references that the collector cannot see.
// A cycle of these that hangs on a leaked object is part of that structure; one that another cycle leads to is one of its own, because it keeps itself.
// Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "core/analysis/refcount_audit.h"
#include "core/heap/heap_snapshot.h"
#include "core/heap/reference_audit.h"

namespace pygc::analysis {

/// One lost structure. Items are indexes into heap::LostPart::items.
struct LostStructure {
  CountFindingKind kind = CountFindingKind::kLost;  // or kHiddenCycle
  std::uint32_t head = 0;              // the object whose extra count keeps the rest; of a hidden cycle the one at which it is shown to begin
  std::vector<std::uint32_t> cycle;    // kHiddenCycle: a shortest cycle through a reference that no traversal visits, from `head` on; blocks included
  std::vector<std::uint32_t> held;     // objects that hang on it, without the head and (kHiddenCycle) without `members`; each in the first structure that leads to it
  std::vector<std::uint32_t> members;  // kHiddenCycle: the objects of the component, rising; kLost: the head
};

/// `audit.findings` tells which counts are too high. Every lost item is in at most one structure; in none where its own count, or what leads to it, cannot be
/// told (an object whose count says nothing). Structures by head, lost ones first. Time O(items + references).
[[nodiscard]] std::vector<LostStructure> FindLostStructures(const heap::ReferenceAudit& counts, const CountAudit& audit);

}  // namespace pygc::analysis
