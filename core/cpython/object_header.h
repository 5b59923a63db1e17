// The head of an object: reference count and type, decoded; and the collector's word before it.
#pragma once

#include <cstdint>

#include "core/base/byte_reader.h"
#include "core/cpython/runtime.h"

namespace pygc::cpython {

/// Marks a count that never changes, or one too large for 32 bits (see ObjectHeaderReader::Refcount).
inline constexpr std::uint32_t kImmortalRefcount = 0xFFFFFFFFu;
inline constexpr std::uint32_t kSaturatedRefcount = 0xFFFFFFFEu;  // 0xFFFFFFFE or more; also used for negative counts

/// Reads object heads with offsets prepared once. Cheap to copy; use it by value in loops.
class ObjectHeaderReader {
 public:
  explicit ObjectHeaderReader(const Runtime& runtime) noexcept;

  /// The reference count of the object whose bytes start at `object` (with at least PyObject bytes there), as 32 bits:
  /// kImmortalRefcount where immortal, kSaturatedRefcount where it does not fit or is negative.
  [[nodiscard]] std::uint32_t Refcount(const std::byte* object) const noexcept {
    const auto word = LoadUnchecked<std::uint64_t>(object + refcnt_offset_);
    switch (format_) {
      case RefcountFormat::kPlain: return word >= kSaturatedRefcount ? kSaturatedRefcount : static_cast<std::uint32_t>(word);
      case RefcountFormat::kImmortal32:
      case RefcountFormat::kSplit: return (word & 0x80000000u) ? kImmortalRefcount : static_cast<std::uint32_t>(word);
      case RefcountFormat::kBiased: return BiasedRefcount(object, 0);
    }
    return kSaturatedRefcount;
  }
  /// The same for a free-threaded build with `change` added before anything is cut: references that are counted elsewhere.
  [[nodiscard]] std::uint32_t BiasedRefcount(const std::byte* object, std::int64_t change) const noexcept;
  /// True for an object whose references from stacks may go uncounted (free-threaded).
  [[nodiscard]] bool IsDeferred(const std::byte* object) const noexcept {
    return (LoadUnchecked<std::uint8_t>(object + gc_bits_offset_) & gc_bits_deferred_) != 0;
  }
  /// True where the stored count itself is 0. In a free-threaded build an object may live on with a Refcount() of 0: only the collector frees a deferred
  /// object, and only the owner of a queue of objects to merge frees what waits there; the one that each of them holds is not part of Refcount().
  [[nodiscard]] bool StoredCountIsZero(const std::byte* object) const noexcept {
    if (format_ != RefcountFormat::kBiased) return Refcount(object) == 0;
    const std::int64_t shared = LoadUnchecked<std::int64_t>(object + shared_offset_) >> shared_shift_;
    return static_cast<std::uint64_t>(shared) + LoadUnchecked<std::uint32_t>(object + local_offset_) == 0;
  }
  /// True for an object whose two counts were put together: its owner is gone, or gave it up (free-threaded).
  [[nodiscard]] bool IsMerged(const std::byte* object) const noexcept {
    constexpr std::uint64_t kMerged = 3;  // _Py_REF_MERGED
    return (LoadUnchecked<std::uint64_t>(object + shared_offset_) & kSharedFlags) == kMerged;
  }
  /// True for an object that waits in its owner's queue for its counts to be put together, and (3.13t) for every deferred one (free-threaded).
  [[nodiscard]] bool IsQueued(const std::byte* object) const noexcept {
    constexpr std::uint64_t kQueued = 2;  // _Py_REF_QUEUED
    return (LoadUnchecked<std::uint64_t>(object + shared_offset_) & kSharedFlags) == kQueued;
  }
  /// True for an object that a thread has counts of its own for. Not while a collection runs, which uses the place (free-threaded).
  [[nodiscard]] bool HasOwner(const std::byte* object) const noexcept { return LoadUnchecked<std::uint64_t>(object + tid_offset_) != 0; }
  /// True for an object of a free-threaded build that its last owner has just let go of: nothing is left of its two counts, no share of it is counted
  /// elsewhere (deferred), and it waits in no queue, where the collector would find it as garbage.
  [[nodiscard]] bool HasLostLastReference(const std::byte* object) const noexcept {
    return StoredCountIsZero(object) && !IsDeferred(object) && !IsQueued(object);
  }
  /// True for an object that nothing counts any more: it was freed, or is being freed. Not every object whose Refcount() is 0, see StoredCountIsZero().
  [[nodiscard]] bool IsBeingFreed(const std::byte* object) const noexcept {
    return format_ == RefcountFormat::kBiased ? HasLostLastReference(object) : Refcount(object) == 0;
  }
  [[nodiscard]] Address Type(const std::byte* object) const noexcept { return LoadUnchecked<std::uint64_t>(object + type_offset_); }
  /// Bytes of PyObject.
  [[nodiscard]] std::uint32_t size() const noexcept { return size_; }

 private:
  static constexpr std::uint64_t kSharedFlags = 3;  // _Py_REF_SHARED_FLAG_MASK

  RefcountFormat format_;
  std::uint32_t refcnt_offset_, type_offset_, size_, local_offset_ = 0, shared_offset_ = 0, gc_bits_offset_ = 0, tid_offset_ = 0;
  std::uint8_t gc_bits_deferred_ = 0, shared_shift_ = 2;
  std::int64_t deferred_bias_ = 0;  // what a deferred object's count has too much (free-threaded)
};

}  // namespace pygc::cpython
