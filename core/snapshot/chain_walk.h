// Follows the collector's rings along many chains at once, so that the misses of one chain are hidden behind the others: 3 to 5 times faster than one
// chain where the lists do not follow the addresses. Only for healthy rings: the result is proven or there is none.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "core/base/progress.h"
#include "core/heap/object_index.h"
#include "core/snapshot/gc_links.h"
#include "core/target/process.h"

namespace pygc::snapshot {

/// A stretch of a list that was followed without a gap, so that it can be followed again.
struct ListStretch {
  Address first_head = 0;   // PyGC_Head of the first object
  std::uint64_t count = 0;  // objects
  bool backwards = false;   // by _gc_prev
};

/// Marks the objects of the rings of `heads` in `index` and returns the stretches of each ring, parallel to `heads`.
///
/// Chains start at the heads and at objects sampled by address. Proof: every chain ends at a head or at the start of another chain, every link back
/// agrees, no object is met twice, and the chains linked end to end close each ring and leave none over: then exactly what a walk along each ring
/// would meet was met. nullopt: something is not so (damage, an object in the middle of being linked, a sample that is in no list), or the user
/// stopped it; then `index` holds marks that mean nothing, and the rings are to be followed one by one. Not for use while a collection runs.
/// `is_object`: whether an address holds an object with a valid type; asked for samples only, from one thread.
[[nodiscard]] std::optional<std::vector<std::vector<ListStretch>>> FollowRingsByChains(const target::Process& process, const GcLinks& links,
                                                                                       std::span<const Address> heads, heap::ObjectIndex& index,
                                                                                       const std::function<bool(Address)>& is_object,
                                                                                       unsigned threads, ProgressSink& progress);

}  // namespace pygc::snapshot
