// The heap as immutable columns indexed by NodeId, plus the reference graph. No way back to the target's memory.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/base/address.h"
#include "core/graph/csr_graph.h"
#include "core/graph/size_column.h"
#include "core/heap/object_index.h"

namespace pygc::heap {

using graph::kUnknownSize;
using graph::SizeColumn;

inline constexpr std::uint32_t kImmortal = 0xFFFFFFFFu;   // refcount column
inline constexpr std::uint32_t kSaturated = 0xFFFFFFFEu;  // count does not fit 32 bits, or is negative

/// Generation as the report says it: 0, 1, 2; 3 the permanent one; kDetached: tracked, but on a list headed on a C stack (collection in progress);
/// kUngenerational: tracked by a collector without generations (free-threaded); kUntrackable: the same, but its next collection untracks it before it decides
/// anything (tuples and dicts that can be in no cycle); kUntracked: in no list.
inline constexpr std::uint8_t kPermanent = 3, kDetached = 4, kUngenerational = 5, kUntrackable = 6, kUntracked = 7;

/// What of a type the analysis and the report need.
struct TypeRecord {
  Address address = 0;
  std::string name;         // as in <class 'NAME'>: "dict", "collections.OrderedDict", "__main__.Node"; raw UTF-8, escape on output
  std::string module_file;  // path of the module that holds a static type, or whose tp_traverse, tp_dealloc, tp_methods or tp_getset it has; empty for Python classes
  enum class Finalizer : std::uint8_t { kNone, kDel, kTpFinalize, kTpDel } finalizer = Finalizer::kNone;
  bool legacy_finalizer = false;           // the collector will not free its cycles (tp_del; 2.7: __del__)
  bool may_have_legacy_finalizer = false;  // 2.7 instances and generators: decided object by object (ObjectFlags::kLegacyFinalizer)
  std::string approximate_code;            // why referents are not exact, for scripts: "untrusted-code"; empty where all are
  std::string approximate_reason;          // the same in words
};

inline constexpr std::uint8_t kNoInterpreter = 0xFF;              // interpreter column: shared or not known

/// Bits of the flag column.
enum ObjectFlags : std::uint8_t {
  kGenerationMask = 0x07,
  kFinalized = 0x08,        // tp_finalize has run
  kApproximate = 0x10,      // referents were scanned, not read
  kLegacyFinalizer = 0x20,  // this object has one (2.7: classic instance with __del__, suspended generator in try)
  kTracked = 0x40,
  kFault = 0x80,  // the object or part of its referents could not be read
};

/// What an interpreter's collector was doing when the process stopped.
enum class CollectionPhase : std::uint8_t {
  kNone,      // no collection was running
  kDeciding,  // counting references and marking what is reachable; nothing is changed yet
  kFreeing,   // what it found lies on its own lists: weakrefs, finalizers, tp_clear
  kBetween,   // a collection has begun or is about to end: neither holds
};

/// Where interpreter roots and containers of interest are.
struct InterpreterRecord {
  std::int64_t id = 0;
  Address address = 0;
  Address garbage_list = 0;     // gc.garbage
  std::vector<NodeId> garbage;  // its items, in order, as nodes (kNoNode: not tracked; then see garbage_addresses)
  std::vector<Address> garbage_addresses;
  std::uint64_t generation_counts[6] = {};  // objects found in each list: 0, 1, 2, permanent, detached; and those of no generation
  bool collecting = false;
  CollectionPhase phase = CollectionPhase::kNone;
  std::int32_t debug = 0;
  NodeId garbage_list_node = kNoNode;  // the list itself; kNoNode where it is not tracked
  std::vector<NodeId> roots;           // tracked dicts that the interpreter itself holds (sys.modules, sys.__dict__, builtins): never garbage
};

/// What was read and what was not: the foot of every report.
struct Coverage {
  std::uint64_t objects = 0;  // tracked objects found
  std::uint64_t approximate_objects = 0;
  std::uint64_t unreadable_objects = 0;   // in a list, but its memory is not there
  std::uint64_t dangling_references = 0;  // lead to no object, although no memory is missing there: as far as they were looked at (snapshot/dangling_references.h)
  std::uint64_t dangling_objects = 0;     // that hold these
  bool lists_complete = true;             // every generation ring was followed until it closed
  bool lists_lead_out = false;            // a list leads to an address where no memory is: what is in use is missing, or a link was overwritten
  std::uint64_t detached_lists = 0;       // lists found on C stacks (collection in progress)
  std::uint64_t type_errors = 0;          // objects whose ob_type is no type; part of unreadable_objects
  // With leaves: untracked objects that references lead to, and whose memory the image lacks although none is known to be lost (MADV_DONTDUMP, coredump_filter).
  std::uint64_t left_out_objects = 0;
  std::uint64_t damaged_objects = 0;      // tracked, but the table of their referents (list items, dict entries, ...) is damaged or not readable
  std::vector<std::string> unread_garbage;  // why gc.garbage of an interpreter cannot be read; one line each
  std::vector<std::string> notes;         // what was cut short, where and why; one line each
  // What the process was in the middle of when it stopped, by half-made links: an object being tracked, untracked or moved. A moment, no damage; one line each.
  std::vector<std::string> in_flight;
};

/// How many references of a node no tp_traverse visits.
struct OwnedBeside {
  NodeId node = kNoNode;
  std::uint32_t references = 0;
};

/// Appends `targets` to the rows of `block`: to each of `counts` (rising, nodes of the block) as many as it says, in order. Their number and that of the block's
/// own fit 32 bits together.
void AppendOwned(std::span<const OwnedBeside> counts, std::span<const NodeId> targets, graph::CsrGraph::Block& block);

/// The heap. Columns have one entry for each node; nodes are in address order.
struct HeapSnapshot {
  ObjectIndex index;
  std::vector<std::uint32_t> refcount;    // ob_refcnt; kImmortal, kSaturated
  std::vector<std::uint32_t> type;        // index into types
  std::vector<std::uint8_t> flags;        // ObjectFlags
  std::vector<std::uint8_t> interpreter;  // index into interpreters; empty when there is one; 0xFF: shared or not known
  SizeColumn size_bytes;                  // as sys.getsizeof; only where with_leaves; kUnknownSize where it cannot be known
  // References, source to referent, between nodes: what tp_traverse visits, in its order. Where `owns_beside` is not empty, behind these what the object owns
  // beside. The collector knows nothing of that: the verdict is made before it is added (snapshot/owned_references.h).
  graph::CsrGraph graph;
  std::vector<TypeRecord> types;
  std::vector<InterpreterRecord> interpreters;
  Coverage coverage;
  // Edges (source, target) that hold no count: stack slots of suspended generators and of frames that only borrow. In `graph` too; once for each such edge,
  // by source. The collector does not subtract them, but follows them. CPython: _PyGC_VisitStackRef() [3.14+].
  std::vector<std::pair<NodeId, NodeId>> borrowed;
  // How many references at the end of each row of `graph` no tp_traverse visits, for those that have any (rising by node): keys of dicts, constants of code.
  std::vector<OwnedBeside> owns_beside;
  bool with_leaves = false;  // nodes include untracked objects and leaves (str, int, ...)
  // What the collector does when it finds more references to an object than its count says: up to 3.7 its copy of the count stays at zero (the object
  // can be found unreachable), later it wraps round (the object stays). CPython: visit_decref(), Modules/gcmodule.c [2.7-3.7]; gc_decref() [3.8+].
  bool deficit_stays_zero = false;
  // Tracked nodes whose type's tp_is_gc says no (rising; a running greenlet): the collector passes over references to them, so nothing explains their
  // counts and they stay. CPython: visit_decref(), visit_reachable() ask _PyObject_IS_GC.
  std::vector<NodeId> not_gc;
  // Tracked nodes, by id, with referents that are not in `graph`, because a table could not be read, their tp_traverse was not followed to its end, or a
  // reference leads to no object.
  std::vector<NodeId> incomplete;
  // How exactly each object's references are known, for those where it is not plainly so (rising by node): objects::ReferentQuality. All others: 0, exact.
  std::vector<std::pair<NodeId, std::uint8_t>> quality;
  // What a collection in its last phase (CollectionPhase::kFreeing) has on its own lists (rising), and what the objects that it is just taking apart,
  // which are in no list any more, still refer to (with repetition). The collector itself holds references to these.
  std::vector<NodeId> condemned, held_by_dying;
  // Tracked nodes with a count of 0 that a thread has in hand (rising): it has just given up the last reference, and was about to untrack them.
  std::vector<NodeId> dying;

  /// objects::ReferentQuality of the node. O(log of the number of nodes that are not exact).
  [[nodiscard]] std::uint8_t QualityOf(NodeId n) const noexcept {
    const auto at = std::lower_bound(quality.begin(), quality.end(), std::pair<NodeId, std::uint8_t>(n, 0));
    return at != quality.end() && at->first == n ? at->second : std::uint8_t{0};
  }
  /// The references of the node that its tp_traverse visits. O(log of the number of nodes that own more).
  [[nodiscard]] std::span<const NodeId> Visited(NodeId n) const noexcept {
    const std::span<const NodeId> all = graph.Successors(n);
    return all.first(all.size() - OwnsBeside(n));
  }
  /// How many references the node owns beside these: the last ones among its successors.
  [[nodiscard]] std::uint32_t OwnsBeside(NodeId n) const noexcept {
    const auto at = std::lower_bound(owns_beside.begin(), owns_beside.end(), n, [](const OwnedBeside& o, NodeId node) { return o.node < node; });
    return at != owns_beside.end() && at->node == n ? at->references : 0;
  }
  /// 0 where it is not known.
  [[nodiscard]] std::uint64_t KnownSize(NodeId n) const noexcept {
    const std::uint64_t bytes = n < size_bytes.size() ? size_bytes[n] : kUnknownSize;
    return bytes == kUnknownSize ? 0 : bytes;
  }
  [[nodiscard]] bool HasUnknownSize(NodeId n) const noexcept { return n < size_bytes.size() && size_bytes[n] == kUnknownSize; }
  [[nodiscard]] NodeId size() const noexcept { return static_cast<NodeId>(refcount.size()); }
  [[nodiscard]] Address AddressOf(NodeId n) const noexcept { return index.AddressOf(n); }
  /// The id of the interpreter whose collector has the object; nullopt where it is shared or not known.
  [[nodiscard]] std::optional<std::int64_t> InterpreterIdOf(NodeId n) const noexcept {
    const std::size_t of = interpreter.empty() ? 0 : interpreter[n];
    return of < interpreters.size() ? std::optional(interpreters[of].id) : std::nullopt;
  }
  [[nodiscard]] bool IsTracked(NodeId n) const noexcept { return flags[n] & kTracked; }
  [[nodiscard]] std::uint8_t Generation(NodeId n) const noexcept { return flags[n] & kGenerationMask; }
};

}  // namespace pygc::heap
