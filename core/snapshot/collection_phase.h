// Where a collection stands that was running when the process stopped, told by the marks that the collector leaves in the objects' heads.
// No symbols and no unwinding: it holds for stripped builds too.
#pragma once

#include <cstddef>
#include <vector>

#include "core/heap/heap_snapshot.h"
#include "core/snapshot/gc_links.h"
#include "core/snapshot/object_source.h"

namespace pygc::snapshot {

/// True where the head's words hold the collector's own copy of the count, or a mark of a collection.
/// CPython: PREV_MASK_COLLECTING in _gc_prev [3.8+]; gc_refs >= 0 [2.7-3.7].
[[nodiscard]] bool IsBeingCounted(const target::MemoryImage& memory, const cpython::GcHeadFormat& format, Address head);

/// True where the object at `head` is marked as found unreachable. CPython: PREV_MASK_COLLECTING stays set on these alone after move_unreachable() [3.8+];
/// GC_TENTATIVELY_UNREACHABLE [2.7-3.7]. check_garbage() [2.7-3.8] takes the mark away before anything is freed.
[[nodiscard]] bool IsCondemned(const target::MemoryImage& memory, const cpython::GcHeadFormat& format, Address head);

/// The phase of the collection of `interpreter` (index into runtime.interpreters), whose lists are among `lists`. Where it is kFreeing, sets `condemned`
/// of the lists that it is freeing. O(objects in the lists).
[[nodiscard]] heap::CollectionPhase JudgeLists(const target::MemoryImage& memory, const cpython::Runtime& runtime, std::size_t interpreter,
                                               std::vector<ObjectList>& lists);

}  // namespace pygc::snapshot
