#include "core/audit/count_state.h"

#include <algorithm>

#include "core/cpython/uncounted_references.h"

namespace pygc::audit {

CountState::CountState(const target::Process& process, const cpython::Runtime& runtime, const Limits& limits)
    : process_(process), header_(runtime), biased_(runtime.refcount == cpython::RefcountFormat::kBiased) {
  if (!biased_) return;
  collecting_ = std::any_of(runtime.interpreters.begin(), runtime.interpreters.end(), [](const cpython::Interpreter& i) { return i.collecting; });
  cpython::UncountedReferences uncounted = cpython::ReadUncountedReferences(process, runtime, limits);
  for (const cpython::CountChange& change : uncounted.changes) queued_.push_back(change.object);
  queues_ = std::move(uncounted.queues);
}

bool CountState::LivesWithout(Address object) const {
  const std::byte* const p = BytesOf(object);
  return p != nullptr && !header_.HasLostLastReference(p);
}

bool CountState::IsHeldByQueue(Address object) const {
  const std::byte* const p = BytesOf(object);
  return p != nullptr && header_.IsQueued(p) && !header_.IsDeferred(p);
}

bool CountState::IsSettled(Address object) const {
  const std::byte* const p = BytesOf(object);
  if (p == nullptr) return true;
  if (!collecting_ && header_.HasOwner(p) == header_.IsMerged(p)) return false;
  return !header_.IsQueued(p) || header_.IsDeferred(p) || std::binary_search(queued_.begin(), queued_.end(), object);
}

}  // namespace pygc::audit
