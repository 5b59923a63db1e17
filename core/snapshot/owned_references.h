// The references that objects own beside those that their tp_traverse visits, as edges of the graph: for who holds what, never for the verdict.
#pragma once

#include "core/base/limits.h"
#include "core/base/progress.h"
#include "core/base/result.h"
#include "core/heap/heap_snapshot.h"
#include "core/objects/object_reader.h"
#include "core/objects/ownership.h"

namespace pygc::snapshot {

/// Appends them to the rows of `heap.graph` and fills `heap.owns_beside`. `heap` was built with leaves and with `ownership`, and is judged already. The names of
/// attributes that instances share belong to the class; where no class has the table any more, to the first dict by address. Where there are more than memory
/// can hold, so that containers share their tables, none is added and `heap.coverage` says so. Errors: kCancelled; `heap` is as it was then.
[[nodiscard]] Result<void> AddOwnedReferences(const objects::ObjectReader& reader, const objects::Ownership& ownership, const Limits& limits, ProgressSink& progress,
                                              heap::HeapSnapshot& heap);

}  // namespace pygc::snapshot
