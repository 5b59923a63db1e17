// A core that is not in the page cache, fetched in the order of the file while the analysis begins: memory is looked at in the order of the graph, and a page
// fault at a time is several times slower than a disk can be.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <thread>

namespace pygc::target {

/// Asks the kernel for what is not there of a mapped file, from its start to its end, on a thread of its own, for as long as it lives. Changes no bytes and may
/// be too late for all of it.
class ReadAhead {
 public:
  /// `file`: a whole mapped file, which outlives it. `most_bytes`: not more than so many of it, so that a large core drives nothing else out of the cache.
  ReadAhead(std::span<const std::byte> file, std::uint64_t most_bytes);
  ~ReadAhead();
  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;

  /// Bytes asked for so far; what was in the cache already is not among them.
  [[nodiscard]] std::uint64_t requested_bytes() const noexcept { return requested_; }
  /// Waits until all was asked for.
  void Wait();

 private:
  void Run(std::span<const std::byte> file);

  std::atomic<bool> stop_ = false;
  std::atomic<std::uint64_t> requested_ = 0;
  std::thread thread_;
};

}  // namespace pygc::target
