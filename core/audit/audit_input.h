// What an audit of reference counts works on.
#pragma once

#include "core/audit/block_heap.h"
#include "core/audit/interpreter_roots.h"
#include "core/audit/malloc_heap.h"
#include "core/graph/node_set.h"
#include "core/heap/heap_snapshot.h"
#include "core/objects/object_reader.h"
#include "core/objects/ownership.h"

namespace pygc::audit {

/// What the count rests on; outlives the counter.
struct AuditInput {
  const objects::ObjectReader& reader;
  const objects::Ownership& ownership;
  const InterpreterRoots& roots;
  const BlockHeap& blocks;
  const MallocHeap& chunks;
  const heap::HeapSnapshot& heap;            // built with SnapshotOptions::ownership, and the roots' referents as roots
  const graph::NodeSet* garbage = nullptr;   // what the collector will find, or could not free: these wait, and are not lost
};

}  // namespace pygc::audit
