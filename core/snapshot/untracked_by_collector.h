// Free-threaded builds: the tuples and dicts that a collection untracks before it decides anything, because they can be in no cycle.
#pragma once

#include "core/heap/heap_snapshot.h"
#include "core/objects/object_reader.h"
#include "core/snapshot/object_source.h"

namespace pygc::snapshot {

/// Marks them in the flag column (heap::kUntrackable). In the collector's order, which decides about tuples in tuples: an outer one stays tracked where it comes
/// before an inner one. Needs headers, not references. CPython: update_refs(), Python/gc_free_threading.c; _PyTuple_MaybeUntrack(), _PyDict_MaybeUntrack() [3.13t].
void MarkUntrackable(const objects::ObjectReader& reader, const FoundObjects& found, heap::HeapSnapshot& heap);

}  // namespace pygc::snapshot
