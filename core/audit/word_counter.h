// Counts words that may be references: each one that is the address of an object, tags in its lowest and uppermost bits aside. Where asked to, it notes the places.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/audit/audit_input.h"
#include "core/audit/native_blocks.h"
#include "core/audit/static_data.h"
#include "core/heap/object_index.h"
#include "core/heap/reference_audit.h"
#include "core/heap/root_set.h"
#include "core/snapshot/thread_words.h"
#include "core/target/thread_locals.h"

namespace pygc::audit {

/// A word of memory that may be a reference, and where it lies.
struct PossibleHolder {
  Address slot = 0;                    // 0: a register
  heap::NodeId owner = heap::kNoNode;  // the object in whose own memory it lies, where it is one of a type that is not known
  heap::RootKind kind = heap::RootKind::kNative;
  std::string place;                   // "libfoo.so: table+0x18", "stack of thread 4711", "malloc block of 64 bytes at 0x..., +0x8"
};

/// The objects whose words are asked for, rising, and what was found of each. Behind the nodes of the heap come the objects of ReferenceAudit::unreached:
/// heap size + index.
struct Watch {
  std::span<const heap::NodeId> targets;
  std::size_t max = 0;  // for each
  std::vector<std::vector<PossibleHolder>>* found = nullptr;
};

class WordCounter {
 public:
  /// `audit.possible` has a place for each node. All outlive it.
  WordCounter(const AuditInput& in, heap::ReferenceAudit& audit) : in_(in), audit_(audit) {}

  /// One thread from here on: the places come in the order of addresses.
  void Observe(const Watch* watch) { watch_ = watch; }
  [[nodiscard]] bool IsObserved() const noexcept { return watch_ != nullptr; }
  /// f(PossibleHolder&) for each that was found.
  template <typename F>
  void ForEachObserved(F&& f) {
    if (watch_ == nullptr) return;
    for (std::vector<PossibleHolder>& list : *watch_->found) {
      for (PossibleHolder& h : list) f(h);
    }
  }
  /// Numbers `audit.unreached`, so that words that lead to these are counted too.
  void NumberUnreached();

  /// The address in a word with tags: stack references, dict-or-values in the lowest bits; a boxed value's kind in the uppermost.
  [[nodiscard]] static constexpr Address Untagged(std::uint64_t word) noexcept { return word & kUserBits & ~Address{7}; }
  /// Counts the word and returns the object that it leads to, or kNoNode. `slot`: where it lies, 0 in a register of thread `tid`; `owner`: the object whose
  /// memory that is; `lost`: in memory that only lost objects lead to. Thread-safe, unless it observes.
  heap::NodeId Count(std::uint64_t word, Address slot, heap::NodeId owner = heap::kNoNode, std::int32_t tid = 0, bool lost = false) {
    const Address a = Untagged(word);
    const heap::NodeId n = in_.heap.index.Find(a);
    if (n != heap::kNoNode) {
      std::atomic_ref<std::uint32_t>(audit_.possible[n]).fetch_add(1, std::memory_order_relaxed);
      if (watch_ != nullptr) [[unlikely]] Note(n, slot, owner, tid);
    } else if (unreached_.size() > 0) {
      if (const heap::NodeId u = unreached_.Find(a); u != heap::kNoNode) {
        heap::UnreachedObject& object = audit_.unreached[u];
        std::atomic_ref<std::uint32_t>(lost ? object.hanging : object.possible).fetch_add(1, std::memory_order_relaxed);
        if (watch_ != nullptr) [[unlikely]] Note(in_.heap.size() + u, slot, owner, tid);
      }
    }
    return n;
  }
  /// Counts a pointer to the middle of `n` at `slot`, in the memory of `owner`.
  void CountInside(heap::NodeId n, Address slot, heap::NodeId owner = heap::kNoNode) {
    std::atomic_ref<std::uint32_t>(audit_.possible[n]).fetch_add(1, std::memory_order_relaxed);
    if (watch_ != nullptr) [[unlikely]] Note(n, slot, owner, 0);
  }
  /// The same for `audit.unreached[u]`.
  void CountInsideUnreached(std::size_t u, Address slot) {
    ++audit_.unreached[u].possible;
    if (watch_ != nullptr) [[unlikely]] Note(in_.heap.size() + static_cast<heap::NodeId>(u), slot, heap::kNoNode, 0);
  }
  /// Counts the word of `audit.unreached[u]` at `slot`, which leads to memory that is free, as what may explain the count.
  void CountRemains(std::size_t u, Address slot);
  /// "libfoo.so.1: table+0x18"; "stack of thread 12"; "thread-local storage of thread 12, libfoo.so.1: cache+0x0"; "block of 64 bytes at 0x..., +0x8".
  /// One thread at a time.
  [[nodiscard]] std::pair<heap::RootKind, std::string> PlaceOf(Address slot) const;

 private:
  void Note(heap::NodeId n, Address slot, heap::NodeId owner, std::int32_t tid);
  [[nodiscard]] bool IsKnownSlot(Address slot) const;

  const AuditInput& in_;
  heap::ReferenceAudit& audit_;
  const Watch* watch_ = nullptr;
  mutable std::optional<target::ThreadLocals> locals_;                   // this and stacks_ are read when the first place is asked for
  mutable std::optional<std::vector<snapshot::UsedStack>> stacks_;
  heap::ObjectIndex unreached_;
};

}  // namespace pygc::audit
