// CPython's own allocator, read from outside: arenas, pools, and which blocks are in use.
//
//     arenas[i] -> 256 KiB or 1 MiB -> pools of 4 or 16 KiB -> blocks of one size each; the free ones are linked through their first word
//
// CPython: Objects/obmalloc.c [2.7-3.11], Include/internal/pycore_obmalloc.h [3.12+]. Not in free-threaded builds, which have mimalloc.
#pragma once

#include "core/audit/block_heap.h"

namespace pygc::audit {

/// Reads the arenas of every interpreter. Damage is noted, not an error. Nothing is found in free-threaded builds.
[[nodiscard]] BlockHeap ReadPymalloc(const target::Process& process, const cpython::Runtime& runtime, const Limits& limits);

/// Memory of arenas that the allocator has in use and of which the image has nothing and tells nothing: a debugger leaves out of a core what MADV_DONTDUMP is set
/// for, as if it had never been mapped. Disjoint, in no order. Time O(arenas).
[[nodiscard]] std::vector<AddressRange> FindAbsentArenas(const target::Process& process, const cpython::Runtime& runtime, const Limits& limits);

}  // namespace pygc::audit
