// BuildExcerpt: the unreachable part in full detail, read from the target once the verdict is known. See heap/excerpt.h.
#pragma once

#include "core/base/limits.h"
#include "core/base/progress.h"
#include "core/base/result.h"
#include "core/graph/node_set.h"
#include "core/heap/excerpt.h"
#include "core/heap/heap_snapshot.h"
#include "core/objects/object_reader.h"

namespace pygc::snapshot {

/// The excerpt of `nodes` (of `heap`, which was built by the same reader): they, and every untracked object that only they keep alive (its count is
/// explained by references from inside the excerpt), with sizes. References inside cyclic components get labels. On 2.7 the types of classic
/// instances are their classes. Time O(objects and references of the excerpt). Errors: kCancelled, kLimit.
[[nodiscard]] Result<heap::Excerpt> BuildExcerpt(const objects::ObjectReader& reader, const heap::HeapSnapshot& heap, const graph::NodeSet& nodes,
                                                 const Limits& limits, ProgressSink& progress);

}  // namespace pygc::snapshot
