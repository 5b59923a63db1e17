// The order in which a full collection of the target would meet objects: that of its lists.
#pragma once

#include <vector>

#include "core/cpython/runtime.h"
#include "core/graph/node_set.h"
#include "core/heap/heap_snapshot.h"
#include "core/target/memory_image.h"

namespace pygc::snapshot {

/// The nodes of `wanted` in the order of the interpreter's lists, as a full collection joins them: the oldest generation, then the younger ones, youngest first.
/// What is in none of them (or behind a damaged link) comes last, by address: in free-threaded builds, which have no lists, everything. Time O(objects in the
/// lists). CPython: gc_list_merge() in collect(), Modules/gcmodule.c, Python/gc.c.
[[nodiscard]] std::vector<heap::NodeId> InListOrder(const target::MemoryImage& memory, const cpython::GcHeadFormat& format, const cpython::Interpreter& interpreter,
                                                    const heap::HeapSnapshot& heap, const graph::NodeSet& wanted);

}  // namespace pygc::snapshot
