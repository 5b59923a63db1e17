#include "core/snapshot/collection_phase.h"

#include <algorithm>

#include "core/base/byte_reader.h"

namespace pygc::snapshot {
namespace {

// CPython: GC_TENTATIVELY_UNREACHABLE, Modules/gcmodule.c [2.7-3.7]; above one flag bit where there is a FINALIZED [3.6, 3.7].
constexpr std::int64_t kTentativelyUnreachable = -4;

std::optional<std::uint64_t> Word(const target::MemoryImage& memory, Address at) {
  const std::byte* const p = memory.At(at, sizeof(std::uint64_t));
  return p == nullptr ? std::nullopt : std::optional(LoadUnchecked<std::uint64_t>(p));
}

bool AnyBeingCounted(const target::MemoryImage& memory, const cpython::GcHeadFormat& format, const ObjectList& list) {
  const GcLinks links(memory, format);
  for (const ListStretch& stretch : list.stretches) {
    Address head = stretch.first_head;
    for (std::uint64_t i = 0; i < stretch.count; ++i) {
      if (IsBeingCounted(memory, format, head)) return true;
      head = (stretch.backwards ? links.Previous(head) : links.Next(head)).value_or(0);
    }
  }
  return false;
}

}  // namespace

bool IsBeingCounted(const target::MemoryImage& memory, const cpython::GcHeadFormat& format, Address head) {
  if (format.refs_offset == 0) return Word(memory, head + format.prev_offset).value_or(0) & format.collecting_bit;
  const auto refs = Word(memory, head + format.refs_offset);
  return refs && static_cast<std::int64_t>(*refs) >= 0;
}

bool IsCondemned(const target::MemoryImage& memory, const cpython::GcHeadFormat& format, Address head) {
  if (format.refs_offset == 0) return IsBeingCounted(memory, format, head);
  const auto refs = Word(memory, head + format.refs_offset);
  if (!refs) return false;
  const auto value = static_cast<std::int64_t>(*refs);
  return (format.finalized_bit != 0 ? value >> 1 : value) == kTentativelyUnreachable;
}

heap::CollectionPhase JudgeLists(const target::MemoryImage& memory, const cpython::Runtime& runtime, std::size_t interpreter,
                                 std::vector<ObjectList>& lists) {
  if (!runtime.interpreters[interpreter].collecting) return heap::CollectionPhase::kNone;
  std::vector<ObjectList*> own;  // headed on the collector's stack
  bool any_condemned = false;
  for (ObjectList& list : lists) {
    if ((list.interpreter != interpreter && list.interpreter != heap::kNoInterpreter) || list.count == 0) continue;
    if (list.generation == heap::kPermanent) continue;
    if (list.generation != heap::kDetached) {
      // While it counts and marks, members of the lists hold counts: all of them, or those that it has come to, or those that it has not.
      if (AnyBeingCounted(memory, runtime.gc_head, list)) return heap::CollectionPhase::kDeciding;
      continue;
    }
    own.push_back(&list);
    any_condemned = any_condemned || IsCondemned(memory, runtime.gc_head, list.stretches.front().first_head);
  }
  for (ObjectList* list : own) {
    // Lists without marks: of weak references with callbacks while others are marked (handle_weakrefs), survivors of an increment [3.14.0-3.14.4], or, where
    // check_garbage() took the marks away [2.7-3.8], what is being freed.
    const bool marks_gone = !any_condemned && runtime.interpreters[interpreter].collector == cpython::CollectorKind::kGenerational;
    list->condemned = marks_gone || IsCondemned(memory, runtime.gc_head, list->stretches.front().first_head);
  }
  const bool freeing = std::any_of(own.begin(), own.end(), [](const ObjectList* l) { return l->condemned; });
  return freeing ? heap::CollectionPhase::kFreeing : heap::CollectionPhase::kBetween;
}

}  // namespace pygc::snapshot
