// Free-threaded builds: references that are not in an object's own counters, or are there although nobody holds them any more. The collector takes them
// into account before it decides; so must whoever replays it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/limits.h"
#include "core/cpython/runtime.h"
#include "core/target/process.h"

namespace pygc::cpython {

/// `by` belongs to the count of the object at `object`.
struct CountChange {
  Address object = 0;
  std::int64_t by = 0;
};

struct UncountedReferences {
  std::vector<CountChange> changes;  // sorted by object, one for each
  std::vector<Address> freed;        // blocks that are given back as soon as no thread can be reading them any more; in the order of the queues
  std::vector<AddressRange> queues;  // memory of all these queues: the references in it are accounted for
  bool all_deferred_held = false;    // 3.14t+: a frame does not say where its stack ends, so the collector takes every deferred object for held
  std::vector<std::string> notes;    // what could not be read; then some counts are wrong by a few
};

/// Reads, for every thread of every interpreter: the queues of objects whose counts their owner has to merge, which hold one reference each; what is freed
/// later; delayed decrements, counts kept per thread, and deferred references on C stacks and in running frames (from delayed decrements on 3.14t+). Empty in builds with a GIL.
/// CPython: merge_queued_objects(), gc_visit_thread_stacks(), Python/gc_free_threading.c; Python/uniqueid.c [3.14t+].
[[nodiscard]] UncountedReferences ReadUncountedReferences(const target::Process& process, const Runtime& runtime, const Limits& limits);

}  // namespace pygc::cpython
