// The links of PyGC_Head, read with the flag bits taken off. CPython: Include/internal/pycore_gc.h [3.8+], Include/objimpl.h [2.7-3.7].
#pragma once

#include <optional>

#include "core/base/byte_reader.h"
#include "core/cpython/runtime.h"
#include "core/target/memory_image.h"

namespace pygc::snapshot {

/// Reads links of list heads and of objects' heads. Cheap to copy.
class GcLinks {
 public:
  GcLinks(const target::MemoryImage& memory, const cpython::GcHeadFormat& format) noexcept : memory_(&memory), format_(format) {}

  /// The head after / before the one at `head`; nullopt where it cannot be read.
  [[nodiscard]] std::optional<Address> Next(Address head) const noexcept { return Link(head + format_.next_offset); }
  [[nodiscard]] std::optional<Address> Previous(Address head) const noexcept { return Link(head + format_.prev_offset); }
  [[nodiscard]] Address ObjectOf(Address head) const noexcept { return head + format_.size; }
  [[nodiscard]] Address HeadOf(Address object) const noexcept { return object - format_.size; }
  [[nodiscard]] const cpython::GcHeadFormat& format() const noexcept { return format_; }

 private:
  [[nodiscard]] std::optional<Address> Link(Address at) const noexcept {
    const std::byte* const p = memory_->At(at, sizeof(std::uint64_t));
    if (p == nullptr) return std::nullopt;
    return LoadUnchecked<std::uint64_t>(p) & format_.pointer_mask;
  }

  const target::MemoryImage* memory_;
  cpython::GcHeadFormat format_;
};

}  // namespace pygc::snapshot
