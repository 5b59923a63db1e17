// Objects that live for ever although nothing may lead to them. A free-threaded 3.13 makes functions, code objects, types and modules immortal once it has
// a second thread, and those that are given up later stay, with everything that they hold.
// CPython: _PyObject_SetDeferredRefcount(), Objects/object.c; _PyGC_ImmortalizeDeferredObjects(), Python/gc_free_threading.c [3.13t].
#pragma once

#include <vector>

#include "core/audit/block_heap.h"
#include "core/objects/object_reader.h"

namespace pygc::audit {

/// Those among the blocks that hold nothing but objects of the collector's types; in the order of the pools.
[[nodiscard]] std::vector<Address> FindImmortals(const objects::ObjectReader& reader, const BlockHeap& blocks);

}  // namespace pygc::audit
