// Counts the references to every object of a snapshot: those that are known exactly, and the words that may be one. The second half of the audit of
// reference counts, after the snapshot with everything that objects own.
#pragma once

#include <string>
#include <vector>

#include "core/audit/interpreter_roots.h"
#include "core/audit/malloc_heap.h"
#include "core/audit/pymalloc_heap.h"
#include "core/base/limits.h"
#include "core/base/progress.h"
#include "core/base/result.h"
#include "core/heap/reference_audit.h"
#include "core/objects/object_reader.h"
#include "core/objects/ownership.h"

namespace pygc::audit {

/// What the count rests on; outlives the counter.
struct AuditInput {
  const objects::ObjectReader& reader;
  const objects::Ownership& ownership;
  const InterpreterRoots& roots;
  const PymallocHeap& blocks;
  const MallocHeap& chunks;
  const heap::HeapSnapshot& heap;  // built with SnapshotOptions::ownership, and the roots' referents as roots
};

/// Errors: kCancelled.
[[nodiscard]] Result<heap::ReferenceAudit> CountReferences(const AuditInput& input, const Limits& limits, ProgressSink& progress);

/// A word of memory that may be a reference, and where it lies.
struct PossibleHolder {
  Address slot = 0;             // 0: a register
  heap::NodeId owner = heap::kNoNode;  // the object in whose own memory it lies, where it is one of a type that is not known
  std::string place;            // "libfoo.so: table+0x18", "stack of thread 4711", "heap block of 64 bytes at 0x..."
};

/// One reference to an object, for people.
struct Holder {
  heap::NodeId holder = heap::kNoNode;  // kNoNode: no object holds it
  std::string place;                    // label of the reference: ".attr", "[3]", "co_consts"; or "PyInterpreterState.imports.modules"
};
/// Who holds references to each of `targets` (rising), at most `max` each, in address order. `counts`: how many references of each were found.
[[nodiscard]] std::vector<std::vector<Holder>> FindHolders(const AuditInput& input, std::span<const heap::NodeId> targets, std::size_t max, ProgressSink& progress);
/// Where the words lie that may be references to each of `targets` (rising), at most `max` each, by address; registers last.
[[nodiscard]] std::vector<std::vector<PossibleHolder>> FindPossibleHolders(const AuditInput& input, std::span<const heap::NodeId> targets, std::size_t max,
                                                                           const Limits& limits, ProgressSink& progress);

}  // namespace pygc::audit
