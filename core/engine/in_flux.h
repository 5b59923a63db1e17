// Differences that are a moment's: the process stopped while a thread was making or freeing an object, between the count and the place.
#pragma once

#include "core/analysis/refcount_audit.h"
#include "core/heap/reference_audit.h"
#include "core/target/process.h"

namespace pygc::engine {

/// Takes out of `audit` and returns the findings whose object, or whose holder where nothing is left of the object, a running thread has in hand: in a register
/// or in the innermost frames of its stack. A thread that waits in a system call runs no code between a count and a place, so it has none in hand. Freed blocks
/// of the allocator are findings at any moment; and a count that is too low for what a thread that died of a signal has in hand is what it may have died of.
[[nodiscard]] std::vector<analysis::CountFinding> TakeInFlux(const target::Process& process, const heap::HeapSnapshot& heap, const heap::ReferenceAudit& counts,
                                                             analysis::CountAudit& audit);

}  // namespace pygc::engine
