// Where blocks were allocated: the tables of tracemalloc, read from memory. Only of processes in which it was on (PYTHONTRACEMALLOC, tracemalloc.start());
// 2.7 has none. CPython: Modules/_tracemalloc.c [3.4-3.12], Python/tracemalloc.c [3.13+].
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/base/progress.h"
#include "core/base/result.h"
#include "core/objects/object_reader.h"

namespace pygc::objects {

/// One frame of the traceback that was taken at an allocation.
struct SiteFrame {
  std::string file;  // raw
  std::uint32_t line = 0;
};

class AllocationSites {
 public:
  static constexpr std::uint32_t kNone = 0xFFFFFFFFu;

  enum class State : std::uint8_t {
    kAbsent,  // this CPython has no tracemalloc
    kOff,     // nothing was traced, or no table was found
    kOn,
  };

  /// A block of memory that was traced. In tracemalloc's words, a trace.
  struct Block {
    Address begin = 0;
    std::uint64_t bytes = 0;
    std::uint32_t traceback = kNone;
    std::uint32_t domain = 0;  // 0: Python's own allocators
  };

  /// Reads the tables. No more entries than the memory has room for. Errors: kCancelled.
  [[nodiscard]] static Result<AllocationSites> Read(const ObjectReader& reader, ProgressSink& progress);

  [[nodiscard]] State state() const noexcept { return state_; }
  /// False where a table could not be read to its end.
  [[nodiscard]] bool complete() const noexcept { return complete_; }
  /// All blocks, by domain, then address.
  [[nodiscard]] const std::vector<Block>& blocks() const noexcept { return blocks_; }
  /// The traceback of the block that the object at `object` lies in, an index; kNone where that was not traced.
  [[nodiscard]] std::uint32_t TracebackOf(Address object) const noexcept;
  /// That block, an index into blocks().
  [[nodiscard]] std::optional<std::size_t> BlockOf(Address object) const noexcept;
  [[nodiscard]] std::uint32_t traceback_count() const noexcept { return static_cast<std::uint32_t>(tracebacks_.size()); }
  /// The line that allocated, an index below site_count(); kNone for a traceback that cannot be read.
  [[nodiscard]] std::uint32_t SiteOf(std::uint32_t traceback) const noexcept { return traceback < site_of_.size() ? site_of_[traceback] : kNone; }
  [[nodiscard]] std::uint32_t site_count() const noexcept { return static_cast<std::uint32_t>(sites_.size()); }
  /// "app.py:12"
  [[nodiscard]] const std::string& SiteText(std::uint32_t site) const { return sites_[site]; }
  /// The most recent call first, as many as were kept (tracemalloc.start(N)).
  [[nodiscard]] std::vector<SiteFrame> FramesOf(std::uint32_t traceback, const ObjectReader& reader) const;

 private:
  friend class SiteReader;
  State state_ = State::kOff;
  bool complete_ = true;
  std::size_t own_count_ = 0;             // of blocks_, those of domain 0: they stand first
  std::vector<Block> blocks_;
  std::vector<Address> tracebacks_;       // of each traceback
  std::vector<std::uint32_t> site_of_;    // likewise
  std::vector<std::string> sites_;
};

}  // namespace pygc::objects
