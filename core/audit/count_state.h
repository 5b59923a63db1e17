// Free-threaded builds: what an object's two counts and its owner say about each other. In builds with a GIL there is one count, and that is all.
//
//     ob_tid, ob_ref_local    the owner's thread and its count; both 0 once the counts are merged
//     ob_ref_shared           the count of all other threads, times 4, and a state: none yet, shared, queued, merged
//
// CPython: Objects/object.c: _Py_DecRefShared(), _Py_ExplicitMergeRefcount(); Python/brc.c [3.13t+].
#pragma once

#include <vector>

#include "core/base/limits.h"
#include "core/cpython/object_header.h"
#include "core/cpython/runtime.h"
#include "core/target/process.h"

namespace pygc::audit {

class CountState {
 public:
  /// `process` and `runtime` outlive it.
  CountState(const target::Process& process, const cpython::Runtime& runtime, const Limits& limits);

  /// True for an object that lives although nobody holds it: it waits for its owner in a queue, or for the collector. Its count is then 0 in truth.
  [[nodiscard]] bool LivesWithout(Address object) const;
  /// True for an object that waits for its owner, who puts the counts together: the queue has one of them.
  [[nodiscard]] bool IsHeldByQueue(Address object) const;
  /// False where a thread was just putting the counts together, so that what they add up to is not what they were or will be: the owner is gone and the
  /// state is not merged, or the object should be in a queue and is in none.
  [[nodiscard]] bool IsSettled(Address object) const;

  /// Memory of the queues, whose references are accounted for.
  [[nodiscard]] const std::vector<AddressRange>& queues() const noexcept { return queues_; }

 private:
  [[nodiscard]] const std::byte* BytesOf(Address object) const { return biased_ ? process_.memory.At(object, header_.size()) : nullptr; }

  const target::Process& process_;
  cpython::ObjectHeaderReader header_;
  const bool biased_;
  bool collecting_ = false;        // then ob_tid is the collector's
  std::vector<Address> queued_;    // sorted
  std::vector<AddressRange> queues_;
};

}  // namespace pygc::audit
