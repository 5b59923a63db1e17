// Deficits that come through one C type: where its tp_traverse shows more than its instances own, each object that it shows looks like one too few.
#pragma once

#include <cstdint>
#include <vector>

#include "core/analysis/refcount_audit.h"
#include "core/heap/reference_audit.h"
#include "core/objects/object_reader.h"
#include "core/objects/ownership.h"

namespace pygc::engine {

/// One type of an extension module, and the deficits that would be none without the references that its tp_traverse shows. One cause, most likely: it visits
/// what it does not own, or its C code gave up what it still uses. A single deficit says nothing of the type, unless the same word is visited twice.
struct DeficitSource {
  const objects::TypeFacts* type = nullptr;  // whose tp_traverse it is: a C type, also for instances of classes derived from it
  std::uint64_t references = 0;              // that it shows to these objects
  heap::NodeId example = heap::kNoNode;      // one instance that shows one; with `twice` one that does that
  Address twice = 0;                         // a word of the example that its tp_traverse visits more than once, which no count allows; 0: none was found
  std::vector<heap::NodeId> objects;         // rising; at least two, or one with `twice`
};

/// Each deficit is in one source at most, in the one with the most. Sources with the most objects first. Types of the interpreter and its own modules are none.
[[nodiscard]] std::vector<DeficitSource> FindDeficitSources(const objects::ObjectReader& reader, const objects::Ownership& ownership, const heap::HeapSnapshot& heap,
                                                            const std::vector<analysis::CountFinding>& findings);

/// True for a type of the interpreter or of the standard library's own extension modules.
[[nodiscard]] bool IsOfInterpreter(const objects::ObjectReader& reader, const heap::TypeRecord& type);

}  // namespace pygc::engine
