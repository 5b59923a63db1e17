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
      case RefcountFormat::kBiased: return Biased(object);
    }
    return kSaturatedRefcount;
  }
  [[nodiscard]] Address Type(const std::byte* object) const noexcept { return LoadUnchecked<std::uint64_t>(object + type_offset_); }
  /// Bytes of PyObject.
  [[nodiscard]] std::uint32_t size() const noexcept { return size_; }

 private:
  [[nodiscard]] std::uint32_t Biased(const std::byte* object) const noexcept;

  RefcountFormat format_;
  std::uint32_t refcnt_offset_, type_offset_, size_, local_offset_ = 0, shared_offset_ = 0, gc_bits_offset_ = 0;
  std::uint8_t gc_bits_deferred_ = 0, shared_shift_ = 2;
  std::int64_t deferred_bias_ = 0;  // what a deferred object's count has too much (free-threaded)
};

}  // namespace pygc::cpython
