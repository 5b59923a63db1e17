// Objects that nothing known leads to: blocks in use that look like an object in every respect, are tracked by no collector and referred to by no object of
// the snapshot. A raw buffer with stale content can look so too, so they are sources of nothing, and only the audit's last question is asked of them: is
// there any word at all that points to one?
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/audit/audit_input.h"
#include "core/audit/count_state.h"
#include "core/audit/memory_cover.h"
#include "core/audit/open_blocks.h"
#include "core/heap/reference_audit.h"

namespace pygc::audit {

struct Unreached {
  std::vector<heap::UnreachedObject> objects;  // by address
  std::vector<Address> heads;                  // what has the head of an object of a type whose memory is not known, and a count that few objects have; rising
  /// One of `objects` that only its head tells, and a word of it that leads to memory that its allocator has free: to the beginning of a block, or with none beside
  /// it that leads to a block in use. What is alive owns no such memory, so the head may be what was left when the object was freed with what it had.
  struct Freed {
    Address object = 0, word = 0;
  };
  std::vector<Freed> freed;  // by address
};

/// `open`: what no object of the snapshot has; `cover`, too.
/// HEURISTIC: the type is an object of the snapshot; the count is small and not 0; the type's size fits the block; a collector's head says untracked; the
/// content is that of its type, or (by_head) its type has no collector and what instances have is not known: then the count is that of few references. A block that
/// is given out anew keeps the head of what was there only if its owner writes nothing but the first word, where the allocator had its link, or the deallocated object
/// a count of 0. A wrong yes is such a block that no word points to: it would be reported as lost. A wrong no is a lost object not found.
[[nodiscard]] Unreached FindUnreached(const AuditInput& in, std::span<const OpenBlock> open, const MemoryCover& cover, const CountState& state);

}  // namespace pygc::audit
