// Threads that fork() did not take along: the child has their memory, and nobody who runs them.
#pragma once

#include <cstdint>
#include <vector>

#include "core/audit/audit_input.h"
#include "core/heap/reference_audit.h"

namespace pygc::audit {

/// How many there were, as far as something of theirs is left: a thread state without its thread, a frame that executes and that no thread runs (up to 3.10), or a
/// chunk of the data stack that no thread state has (3.11 and newer). A switched-out greenlet has such frames and chunks too: as many as there are greenlets
/// are not counted. 0 where the threads of the process are not all known.
/// CPython: _PyThreadState_DeleteExcept() [3.6-3.12], _PyThreadState_DeleteList() [3.13+], Python/pystate.c: frees the states, and neither frames nor chunks;
/// PyOS_AfterFork() [2.7] frees nothing.
[[nodiscard]] std::uint64_t ThreadsLeftByFork(const AuditInput& input, const heap::ReferenceAudit& counts);

/// Parts of the threads' stacks of frames that the image neither has nor tells of: a core without the header of a segment. Empty before 3.11, where frames are objects.
/// CPython: struct _ts.datastack_chunk, datastack_limit, Include/cpython/pystate.h [3.11+].
[[nodiscard]] std::vector<AddressRange> FindAbsentFrames(const target::Process& process, const cpython::Runtime& runtime);

}  // namespace pygc::audit
