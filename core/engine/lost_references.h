// Damage that looks like a leak: where a reference was overwritten, the count of what it led to is too high, and no C code is to blame for it.
#pragma once

#include "core/analysis/refcount_audit.h"
#include "core/base/limits.h"
#include "core/base/progress.h"
#include "core/base/result.h"
#include "core/heap/heap_snapshot.h"
#include "core/heap/reference_audit.h"
#include "core/objects/object_reader.h"

namespace pygc::engine {

/// Where `audit` has counts that are too high, looks at every object for references that it should have and has not. If one has any, such counts are not
/// verified: they are taken out of the findings, and `counts.surplus_doubts` says why. Errors: kCancelled.
[[nodiscard]] Result<void> SetAsideDoubtful(const objects::ObjectReader& reader, const Limits& limits, ProgressSink& progress, const heap::HeapSnapshot& heap,
                                            heap::ReferenceAudit& counts, analysis::CountAudit& audit);

}  // namespace pygc::engine
