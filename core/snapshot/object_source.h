// Where tracked objects come from. In builds with a GIL: the collector's lists (gc_list_source.cc). In free-threaded builds, which have no lists: the heaps
// of every thread (mimalloc_source.cc). Not for references, types or sizes: only which addresses are tracked objects, and in which generation.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/base/limits.h"
#include "core/base/progress.h"
#include "core/base/result.h"
#include "core/cpython/runtime.h"
#include "core/heap/heap_snapshot.h"
#include "core/heap/object_index.h"
#include "core/snapshot/chain_walk.h"
#include "core/target/process.h"

namespace pygc::snapshot {

/// One list of the collector and what of it was found.
struct ObjectList {
  std::uint8_t interpreter = heap::kNoInterpreter;
  std::uint8_t generation = 0;  // as in the flag column: 0, 1, 2, heap::kPermanent, heap::kDetached
  Address head = 0;             // of the PyGC_Head that anchors it
  std::uint64_t count = 0;
  std::vector<ListStretch> stretches;
  bool condemned = false;  // a collection in its last phase has found its objects to be unreachable
};

/// Tracked objects of a free-threaded build at equal distances, in the order in which its collector visits them.
struct ObjectRun {
  Address first = 0;
  std::uint64_t stride = 0;  // bytes
  std::uint32_t count = 0;
  std::uint8_t interpreter = heap::kNoInterpreter;
};

/// ob_gc_bits of a free-threaded build. CPython: _PyGC_BITS_*, Include/internal/pycore_gc.h [3.13t+].
class GcBits {
 public:
  explicit GcBits(const cpython::Layout& layout) noexcept;
  [[nodiscard]] bool Tracked(std::uint8_t bits) const noexcept { return bits & tracked_; }
  [[nodiscard]] bool Unreachable(std::uint8_t bits) const noexcept { return bits & unreachable_; }
  /// What the flag column says of a tracked object with these bits: frozen ones are the permanent generation, those that a collection in progress holds for
  /// unreachable are detached.
  [[nodiscard]] std::uint8_t Flags(std::uint8_t bits) const noexcept;

 private:
  std::uint8_t tracked_, finalized_, unreachable_, frozen_;
};

/// All tracked objects, marked in an index that is not sealed yet.
struct FoundObjects {
  heap::ObjectIndex index;
  std::vector<ObjectList> lists;
  std::vector<ObjectRun> runs;  // free-threaded builds; then `lists` is empty
  std::uint64_t objects = 0;
  heap::Coverage coverage;  // lists_complete, detached_lists, in_flight, notes
  std::vector<heap::CollectionPhase> phases;  // of each interpreter
  std::vector<Address> dying;  // objects with a count of 0 that a thread which collects has in its hands; only where a phase is kFreeing
};

/// Where objects may lie, by address, for an index over the whole image. `gc_shift`: granularity of heap memory (4, for old builds 3).
/// `with_leaves`: static data of modules gets a granularity of 4 bytes, because static objects need not be aligned to 16.
[[nodiscard]] std::vector<heap::ObjectIndex::Range> ObjectRanges(const target::Process& process, std::uint8_t gc_shift, bool with_leaves);

struct SourceOptions {
  bool with_leaves = false;
  bool one_by_one = false;  // follow each list along one chain, as where it is damaged; the result is the same
  Limits limits;
};

/// Follows every generation list of every interpreter, the permanent ones, and, where a collection was in progress, the lists headed on C stacks.
/// `is_object`: whether an address holds an object with a valid type; asked for objects of detached lists only.
/// Damage is noted in Coverage; the list is then followed from the other side too. Several lists that share a head are followed once.
/// Errors: kCancelled, kCorrupt (no list could be followed at all), kLimit.
[[nodiscard]] Result<FoundObjects> FindObjectsInLists(const target::Process& process, const cpython::Runtime& runtime, const SourceOptions& options,
                                                      const std::function<bool(Address)>& is_object, ProgressSink& progress);

/// Writes generation (as flag bits, with heap::kTracked) and interpreter of every object into the columns, which have one entry for each id of
/// `found.index` (sealed). The largest list is the default, the others are followed once more. `interpreter` may be empty: not wanted.
/// `threads`: as of Limits (0: one for each processor).
void FillListColumns(const target::MemoryImage& memory, const cpython::GcHeadFormat& format, const FoundObjects& found,
                     std::vector<std::uint8_t>& flags, std::vector<std::uint8_t>& interpreter, unsigned threads);

/// Free-threaded builds: looks at every block of the GC heaps of all threads, and of the threads that ended. Damage is noted in Coverage (`lists_complete` is
/// false then). `is_object`: whether an address holds an object with a valid type; asked where free blocks cannot be told from others.
/// Errors: kCancelled, kCorrupt (no heap at all), kLimit, kUnsupported (the layout says nothing of heaps).
[[nodiscard]] Result<FoundObjects> FindObjectsInHeaps(const target::Process& process, const cpython::Runtime& runtime, const SourceOptions& options,
                                                      const std::function<bool(Address)>& is_object, ProgressSink& progress);

/// The same for those: what ob_gc_bits says, and the interpreter whose collector visits the object.
void FillHeapColumns(const target::MemoryImage& memory, const cpython::Layout& layout, const FoundObjects& found, std::vector<std::uint8_t>& flags,
                     std::vector<std::uint8_t>& interpreter);

}  // namespace pygc::snapshot
