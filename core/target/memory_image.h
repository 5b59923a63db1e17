// The target's memory as this program can see it: sorted segments, each a range of addresses with host bytes behind it (a mapped core file, a module's
// file, a copy of a live process). Immutable and complete once built; every later layer reads only this. See core/adr/0001.
// Not for finding out where bytes come from: that is core_file_target, live_process_target and callback_target.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "core/base/address.h"
#include "core/base/address_map.h"
#include "core/base/byte_reader.h"
#include "core/base/result.h"

namespace pygc::target {

/// Where the bytes of a segment come from.
enum class SegmentSource : std::uint8_t { kCore, kModuleFile, kLiveCopy, kHost };

/// A contiguous range of target memory with its bytes in this program's memory.
struct Segment {
  AddressRange range;
  const std::byte* bytes = nullptr;  // range.size() readable host bytes, owned by the image's backing
  bool readable = true, writable = false, executable = false;
  SegmentSource source = SegmentSource::kCore;
  std::uint32_t module = 0xFFFFFFFFu;  // index into Process::modules, or ~0 for anonymous memory
};

/// Why bytes of the target are not here. Never filled with zeroes instead.
enum class MissingReason : std::uint8_t {
  kNotDumped,       // left out by the writer of the core (coredump_filter, MADV_DONTDUMP), p_filesz < p_memsz
  kTruncated,       // beyond the end of the core file
  kModuleMissing,   // file-backed and the file is not to be had
  kModuleMismatch,  // the file has another build-id
  kUnreadable,      // the operating system or the debugger refused
  kNotCopied,       // left out of the copy of a live process (limit, not needed)
};

/// What the process is known to have had in memory that is missing.
enum class MissingUse : std::uint8_t {
  kUnknown,  // it may never have touched it
  kStack,    // a thread's stack
  kUsed,     // anything
};

struct MissingRange {
  AddressRange range;
  MissingReason reason = MissingReason::kNotDumped;
  std::uint32_t module = 0xFFFFFFFFu;  // index into Process::modules, or ~0
  MissingUse use = MissingUse::kUnknown;
  bool writable = false;               // the process could write to it, as far as the target tells
};

/// Keeps host memory alive: a mapping, a file, a buffer. Destroyed with the image.
class Backing {
 public:
  virtual ~Backing() = default;
};

/// Immutable view of a target's memory.
class MemoryImage {
 public:
  MemoryImage() = default;
  /// `segments` in any order; overlaps are cut so that the earlier element of the vector wins. Segments that continue each other in address and in host
  /// memory are joined.
  MemoryImage(std::vector<Segment> segments, std::vector<std::shared_ptr<Backing>> backings);

  /// Host bytes of [a, a + size), or nullptr when they are not all present. `size` may be 0. The hot path: a few nanoseconds. Across a border of two segments
  /// whose bytes lie apart in this program (a core whose segments are in another order) it also is nullptr where more than SeamReach() bytes lie on one side.
  [[nodiscard]] const std::byte* At(Address a, std::uint64_t size) const noexcept {
    const std::uint32_t i = map_.Find(a);
    if (i == AddressMap::kNone) return nullptr;
    const Segment& s = segments_[i];
    return size <= s.range.end - a ? s.bytes + (a - s.range.begin) : AcrossBorder(i, a, size);
  }
  /// Bytes on either side of such a border that At() reaches; 0 where there is no such border.
  [[nodiscard]] std::uint64_t SeamReach() const noexcept { return seam_reach_; }

  /// Copies [from, from + out.size()) across segment borders; returns the bytes copied before the first missing one.
  /// Errors: kFault when not one byte is there.
  [[nodiscard]] Result<std::size_t> Read(Address from, std::span<std::byte> out) const;

  /// The value at `a`. Errors: kFault when it is not wholly readable.
  template <typename T>
  [[nodiscard]] Result<T> ReadValue(Address a) const {
    if (const std::byte* p = At(a, sizeof(T))) return LoadUnchecked<T>(p);
    T value;
    const Result<std::size_t> n = Read(a, std::as_writable_bytes(std::span<T, 1>(&value, 1)));
    if (!n || *n != sizeof(T)) return FailAt(ErrorCode::kFault, a, "cannot read {} bytes at {:#x}", sizeof(T), a);
    return value;
  }
  [[nodiscard]] Result<Address> ReadPointer(Address a) const { return ReadValue<std::uint64_t>(a); }

  /// The NUL-terminated bytes at `a`, at most `max` of them (cut there). Errors: kFault when unreadable before a NUL or `max`.
  [[nodiscard]] Result<std::string> ReadCString(Address a, std::size_t max) const;

  /// The segment that holds `a`, or nullptr.
  [[nodiscard]] const Segment* Find(Address a) const noexcept {
    const std::uint32_t i = map_.Find(a);
    return i == AddressMap::kNone ? nullptr : &segments_[i];
  }
  /// Sorted by address, disjoint.
  [[nodiscard]] std::span<const Segment> segments() const noexcept { return segments_; }
  [[nodiscard]] const AddressMap& map() const noexcept { return map_; }

 private:
  /// A copy of the bytes around the border of two segments that continue each other in address, not in host memory: made when something first lies across it,
  /// in memory that was set aside before, so that reading cannot fail for want of it.
  struct SeamCopy {
    explicit SeamCopy(std::uint64_t size) : bytes(new std::byte[size]) {}  // not cleared: what nobody looks at takes no page
    std::once_flag made;
    std::unique_ptr<std::byte[]> bytes;
    bool is_whole = false;
  };
  struct Seam {
    Address border;
    AddressRange range;
    std::shared_ptr<SeamCopy> copy;
  };

  [[nodiscard]] const std::byte* AcrossBorder(std::uint32_t segment, Address a, std::uint64_t size) const noexcept;
  void SewSegments();

  std::vector<Segment> segments_;
  std::vector<std::shared_ptr<Backing>> backings_;
  AddressMap map_;
  std::vector<Seam> seams_;  // by border
  std::uint64_t seam_reach_ = 0;
};

}  // namespace pygc::target
