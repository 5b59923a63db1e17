// References that lead to no object: memory was overwritten, an object was freed that is still referred to, or the dump is damaged. What such a reference led
// to before cannot be told, so a figure that depends on it is a lower bound. Shared by the snapshot, by `verify`, and by what looks behind a verdict.
#pragma once

#include <cstdint>
#include <vector>

#include "core/base/address.h"
#include "core/base/limits.h"
#include "core/base/progress.h"
#include "core/base/result.h"
#include "core/cpython/object_header.h"
#include "core/graph/node_set.h"
#include "core/heap/heap_snapshot.h"
#include "core/objects/object_reader.h"

namespace pygc::snapshot {

/// Tells whether an object can be where a reference leads. Threads share it. `reader` outlives it.
class ReferentTest {
 public:
  explicit ReferentTest(const objects::ObjectReader& reader);

  /// Why there is no object at `a`, as the end of a sentence ("where no memory is"); nullptr where there is one, and where the memory that would tell is
  /// missing from the image.
  [[nodiscard]] const char* WhyNoObject(Address a) const;
  /// The same for what is none of the tracked objects, of which all are known: an object of the collector's types there would say that it is not tracked.
  [[nodiscard]] const char* WhyNoUntrackedObject(Address a) const;
  /// What the head of an object of the collector's types says. Not for free-threaded builds. CPython: _PyObject_GC_IS_TRACKED().
  [[nodiscard]] bool IsUntracked(Address object) const;
  /// How many references of the object lead to no object; 0 where they are not exactly known.
  [[nodiscard]] std::uint64_t Dangling(Address object, const objects::TypeFacts& type) const;

 private:
  [[nodiscard]] bool IsMissing(Address a) const;

  const objects::ObjectReader& reader_;
  const cpython::GcHeadFormat& format_;
  cpython::ObjectHeaderReader header_;
  std::int64_t refs_shift_ = 0, refs_untracked_ = 0;  // 2.7 - 3.7
  std::vector<AddressRange> missing_;  // sorted, disjoint
};

/// Looks at the references of the tracked `nodes` of a snapshot without leaves, where BuildSnapshot() only looked at those that lead to no memory: the
/// others cost a look at each object that they lead to. Adds objects with dangling references, and containers without items that they count, to
/// `heap.incomplete` and to its coverage; returns how many of them there were. Nothing where memory is known to be missing. Errors: kCancelled.
[[nodiscard]] Result<std::uint64_t> CheckReferences(const objects::ObjectReader& reader, const graph::NodeSet& nodes, const Limits& limits, ProgressSink& progress,
                                                    heap::HeapSnapshot& heap);

}  // namespace pygc::snapshot
