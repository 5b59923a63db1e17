// What the audit knows of every object's reference count, as columns by NodeId of the snapshot it was made from. No way back to the target's memory.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/heap/heap_snapshot.h"
#include "core/heap/lost_part.h"

namespace pygc::heap {

/// Why a count says nothing, or cannot be judged.
enum class Auditable : std::uint8_t {
  kYes,
  kImmortalCount,  // its count never changes
  kStatic,       // static data of a module in a release whose static objects start with counts of their own (up to 3.11)
  kNoCount,      // count 0: being freed, or on a free list
  kUnreadable,   // the object, or a count that fits no number
  kFreed,        // its memory was given back: a free block of the allocator, or an entry of a free list with a link in place of its count
  kUnsettled,    // free-threaded: a thread was stopped while it put the parts of the count together
};
inline constexpr std::size_t kAuditableKinds = 7;

/// What keeps an object alive, beside its count.
enum class Held : std::uint8_t {
  kNothing,  // nothing real, and it is no garbage of the collector either; leaves (str, int, ...) that no traversal shows are not looked at and stay so
  kRoot,     // something real: a stack, static data, the interpreter, or what these lead to
  kGarbage,  // what the collector will find, or could not free
};

/// A block that looks like an object in every respect and to which nothing leads that is known exactly.
struct UnreachedObject {
  Address object = 0;
  Address type = 0;
  std::uint32_t recorded = 0;  // ob_refcnt
  std::uint32_t possible = 0;  // words that may be references to it
  std::uint32_t hanging = 0;   // of words in memory that only lost objects lead to
  bool by_head = false;        // only its head says that it is an object: what instances of its type have behind that is not known
};

/// A reference that is known exactly, and where it leads there is no object any more: not even its type is left.
struct DanglingReference {
  Address target = 0;
  NodeId holder = kNoNode;
  std::string place;  // label of the reference
};

struct ReferenceAudit {
  std::vector<std::uint32_t> known;     // references that are known exactly, by node
  std::vector<std::uint32_t> possible;  // words that may be references to it
  std::vector<std::pair<NodeId, std::uint32_t>> in_variables;  // of nodes whose count is higher than known: how many variables of C code lead to it, by node; see audit/c_variables.h
  std::vector<Auditable> auditable;
  std::vector<Held> held;               // by node
  LostPart lost;                        // empty where everything is held
  std::vector<UnreachedObject> unreached;  // by address; not nodes of the snapshot
  std::vector<DanglingReference> dangling;  // by target
  std::uint64_t open_bytes = 0;         // memory that was searched for words
  std::uint64_t blocks_in_use = 0;      // of CPython's allocator
  std::uint64_t native_blocks = 0;      // given out to C code: followed from real roots
  std::uint64_t native_unreached = 0;   // of these: nothing leads to them, so they hold nothing
  std::vector<std::string> native_doubts;  // why some native memory counts as held as a whole
  bool memory_lost = false;                 // of the process is missing: what looks freed may be what is missing of the allocator's tables or of the object
  std::vector<std::string> surplus_doubts;  // why a count that is too high cannot be told from one that unread memory explains; empty: it can
  std::vector<std::string> allocator_damage;
};

}  // namespace pygc::heap
