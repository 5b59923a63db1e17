// What the audit of reference counts rests on, kept beside its snapshot for as long as the session lives.
#pragma once

#include "core/analysis/lost_structures.h"
#include "core/analysis/refcount_audit.h"
#include "core/audit/block_heap.h"
#include "core/audit/interpreter_roots.h"
#include "core/audit/reference_counter.h"
#include "core/engine/deficit_sources.h"
#include "core/engine/known_leaks.h"
#include "core/heap/reference_audit.h"
#include "core/objects/ownership.h"

namespace pygc::engine {

struct AuditData {
  AuditData(const objects::ObjectReader& reader, const objects::TraverseInterpreter* machine, const Limits& limits)
      : ownership(reader, machine), roots(audit::ReadInterpreterRoots(reader.process(), reader.runtime())), blocks(audit::ReadBlocks(reader.process(), reader.runtime(), limits)), chunks(reader.process()) {}

  objects::Ownership ownership;
  audit::InterpreterRoots roots;
  audit::BlockHeap blocks;
  audit::MallocHeap chunks;
  heap::ReferenceAudit counts;
  analysis::CountAudit judged;
  graph::NodeSet garbage;        // what the collector will find, or could not free
  std::vector<KnownLeak> known;  // taken out of `judged`
  std::vector<analysis::CountFinding> in_flux;  // the same; see in_flux.h
  std::vector<DeficitSource> deficit_sources;
  std::vector<analysis::LostStructure> lost;
};

}  // namespace pygc::engine
