// The verdict on reference counts: which are too low for the references that are known (freed memory that is still in use among them), which are higher than
// everything that was found. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/heap/reference_audit.h"

namespace pygc::analysis {

enum class CountFindingKind : std::uint8_t {
  kDeficit,  // more references than the count: somebody gave one up that is still used
  kSurplus,  // the count is higher than every reference found anywhere
  kLost,     // a surplus that alone keeps the object alive: nothing real leads to it
  kHiddenCycle,  // counts are right, nothing real leads to it, and the collector cannot see that it is a cycle; see lost_structures.h
};

struct CountFinding {
  heap::NodeId object = heap::kNoNode;  // kNoNode: no node of the snapshot; then see `address`
  Address address = 0;
  CountFindingKind kind = CountFindingKind::kDeficit;
  std::uint32_t recorded = 0;  // ob_refcnt
  std::uint32_t known = 0, possible = 0;
  bool freed = false;  // kDeficit: the object's memory was given back, and is still referred to
};

struct CountAudit {
  std::vector<CountFinding> findings;  // by node, then those that are no nodes by address
  std::uint64_t audited = 0;           // objects whose count was judged
  std::uint64_t exact = 0;             // of these: every reference is known, and they are as many as the count says
  std::uint64_t in_variables = 0;      // of `explained`: as many variables of C code lead to it as its count is higher than what is known
  std::uint64_t explained = 0;         // of these: higher than what is known, and words that may be references explain it
  std::uint64_t unverified = 0;        // of these: higher than everything found, but not all memory could be searched
  std::uint64_t hanging = 0;           // blocks that look like objects and that only lost objects lead to
  std::uint64_t unconfirmed = 0;       // blocks that look like objects, and words point to them: nothing is said of these
  std::array<std::uint64_t, heap::kAuditableKinds> by_reason{};  // all objects, by heap::Auditable
};

[[nodiscard]] CountAudit JudgeCounts(const heap::HeapSnapshot& heap, const heap::ReferenceAudit& audit);

}  // namespace pygc::analysis
