// The blocks of mimalloc's heaps in a free-threaded build: objects of the heaps for them, tracked or not, and the buffers of PyMem_Malloc().
//
//     segment (32 MiB, aligned) -> slices of 64 KiB -> pages of one or more slices -> blocks of one size each
//
// Segments are looked for in all of memory, so that pages of threads that ended, or that a thread was just moving, are among them. core/snapshot's
// MimallocReader knows the structures. CPython: Objects/mimalloc/ [3.13t+].
#pragma once

#include "core/audit/block_heap.h"

namespace pygc::audit {

/// A block that is freed as soon as no thread can be reading it is not in use any more. Damage is noted, not an error. Nothing is found in builds whose
/// layout does not describe mimalloc.
[[nodiscard]] BlockHeap ReadMimalloc(const target::Process& process, const cpython::Runtime& runtime, const Limits& limits);

}  // namespace pygc::audit
