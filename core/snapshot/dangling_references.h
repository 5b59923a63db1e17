// References that lead to no object: memory was overwritten, an object was freed that is still referred to, or the dump is damaged. What such a reference led
// to before cannot be told, so a figure that depends on it is a lower bound. Shared by the snapshot, by `verify`, and by what looks behind a verdict.
#pragma once

#include <cstdint>
#include <functional>
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

/// Tells whether there is an object where a reference leads, and a live one. Threads share it.
class ReferentTest {
 public:
  /// `is_free`: whether the allocator has the memory at an address back; without it freed blocks are told by what is in them alone. All outlive it.
  explicit ReferentTest(const objects::ObjectReader& reader, std::function<bool(Address)> is_free = {});

  /// Why there is no object at `a`, as the end of a sentence ("where no memory is"); nullptr where there is one, and where the memory that would tell is
  /// missing from the image.
  [[nodiscard]] const char* WhyNoObject(Address a) const;
  /// The same for what is none of the tracked objects, of which all are known: an object of the collector's types there would say that it is not tracked.
  [[nodiscard]] const char* WhyNoUntrackedObject(Address a) const;
  /// The same for what a counted reference leads to, which is alive: no freed block, nothing on a free list, no count of 0. An object that a thread is just
  /// freeing has that too.
  [[nodiscard]] const char* WhyNoLiveObject(Address a) const;
  /// True where there may be an object that the image lacks: the memory of its head, or of its type, is missing.
  [[nodiscard]] bool MayBeMissing(Address a) const;
  /// What the head of an object of the collector's types says. Not for free-threaded builds. CPython: _PyObject_GC_IS_TRACKED().
  [[nodiscard]] bool IsUntracked(Address object) const;
  /// True for an object whose count was overwritten by the link of a free list.
  /// CPython: _PyFreeList_PushObj(), Include/internal/pycore_freelist.h [3.14+]; unicode_dealloc(), Objects/unicodeobject.c [2.7].
  [[nodiscard]] bool HasLinkForCount(const std::byte* object) const;
  /// How many references of the object lead to no object; 0 where they are not exactly known.
  [[nodiscard]] std::uint64_t Dangling(Address object, const objects::TypeFacts& type) const;

 private:
  [[nodiscard]] bool IsMissing(Address a) const;

  const objects::ObjectReader& reader_;
  std::function<bool(Address)> is_free_;
  const cpython::GcHeadFormat& format_;
  cpython::ObjectHeaderReader header_;
  std::int64_t refs_shift_ = 0, refs_untracked_ = 0;  // 2.7 - 3.7
  std::vector<AddressRange> missing_;  // sorted, disjoint
};

/// References that an object should hold and that are not there any more.
struct LostReferences {
  graph::NodeId node = graph::kNoNode;
  std::uint64_t absent = 0;    // members that are NULL and never are in a live, complete object
  std::uint64_t astray = 0;    // that lead to no memory, or between two objects
  std::uint64_t dangling = 0;  // that lead to no object otherwise: it may have been freed
  [[nodiscard]] std::uint64_t Sum() const noexcept { return absent + astray + dangling; }
};

/// Those of `nodes` that lost any, rising. An object that a thread is just making or changing lacks nothing, nor does any while a collection frees.
/// Empty where memory is known to be missing. Errors: kCancelled.
[[nodiscard]] Result<std::vector<LostReferences>> FindLostReferences(const objects::ObjectReader& reader, const heap::HeapSnapshot& heap,
                                                                     const graph::NodeSet& nodes, const Limits& limits, ProgressSink& progress);

/// FindLostReferences() for what BuildSnapshot() left to do, as it costs a look at each object that `nodes` lead to. Adds what was not known before to
/// `heap.incomplete` and to its coverage; returns how many objects these were.
[[nodiscard]] Result<std::uint64_t> CheckReferences(const objects::ObjectReader& reader, const graph::NodeSet& nodes, const Limits& limits, ProgressSink& progress,
                                                    heap::HeapSnapshot& heap);

}  // namespace pygc::snapshot
