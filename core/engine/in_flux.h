// Differences that are a moment's: the process stopped while a thread was making or freeing an object, between the count and the place.
#pragma once

#include "core/analysis/refcount_audit.h"
#include "core/audit/audit_input.h"
#include "core/base/progress.h"
#include "core/cpython/layout.h"
#include "core/heap/reference_audit.h"
#include "core/target/process.h"

namespace pygc::engine {

/// Takes out of `audit` and returns the findings whose object, or whose holder where nothing is left of the object, a running thread has in hand: in a register
/// or in the innermost frames of its stack. A thread that waits in a system call runs no code between a count and a place, so it has none in hand. Freed blocks
/// of the allocator are findings at any moment; and a count that is too low for what a thread that died of a signal has in hand is what it may have died of.
/// So is what is copied: items of a list or tuple to which such a thread has a pointer, or into whose array, are counted before a place has them, and a list that
/// is filled has its length before its items. list_slice(), list_extend(), Objects/listobject.c [all]; _PyEvalFramePushAndInit_Ex(), Python/ceval.c [3.11+].
[[nodiscard]] std::vector<analysis::CountFinding> TakeInFlux(const target::Process& process, const cpython::Layout& layout, const heap::HeapSnapshot& heap, const heap::ReferenceAudit& counts,
                                                             analysis::CountAudit& audit);

/// Takes out of `audit` and returns the objects with one reference too many, of which one NumPy array has two while a thread has a pointer into its items on the
/// stack: it moves them (sort(), while an item's __lt__() runs), and has another item in a variable of C code. Not where a thread died of a signal.
[[nodiscard]] std::vector<analysis::CountFinding> TakeMovedItems(const audit::AuditInput& input, analysis::CountAudit& audit, ProgressSink& progress);

}  // namespace pygc::engine
