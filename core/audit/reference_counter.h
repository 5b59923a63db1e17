// Counts the references to every object of a snapshot: those that are known exactly, and the words that may be one. The second half of the audit of
// reference counts, after the snapshot with everything that objects own.
#pragma once

#include <string>
#include <vector>

#include "core/audit/audit_input.h"
#include "core/audit/word_counter.h"
#include "core/base/limits.h"
#include "core/base/progress.h"
#include "core/base/result.h"
#include "core/heap/reference_audit.h"

namespace pygc::audit {

/// False where part of a count lies in places that are not among those read: free-threaded builds whose frames and threads have references that no object
/// counts. CPython: _Py_REF_DEFERRED [3.14t+].
[[nodiscard]] bool CanCount(const cpython::Runtime& runtime);

/// Errors: kCancelled.
[[nodiscard]] Result<heap::ReferenceAudit> CountReferences(const AuditInput& input, const Limits& limits, ProgressSink& progress);

/// One reference to an object, for people.
struct Holder {
  heap::NodeId holder = heap::kNoNode;  // kNoNode: no object holds it
  std::string place;                    // label of the reference: ".attr", "[3]", "co_consts"; or "PyInterpreterState.imports.modules"
};
/// Who holds references to each of `targets` (rising), at most `max` each and 16 of one holder, in address order. `counts`: how many references of each were found.
[[nodiscard]] std::vector<std::vector<Holder>> FindHolders(const AuditInput& input, std::span<const heap::NodeId> targets, std::size_t max, ProgressSink& progress);
/// Where the words lie that may be references to each of `targets` (see Watch), at most `max` each, by address; registers last.
[[nodiscard]] std::vector<std::vector<PossibleHolder>> FindPossibleHolders(const AuditInput& input, std::span<const heap::NodeId> targets, std::size_t max,
                                                                           const Limits& limits, ProgressSink& progress);

}  // namespace pygc::audit
