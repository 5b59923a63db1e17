// The other end of unpacking: a file is written on a thread of its own, so that the unpacker is never held up by copies into the kernel.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

namespace pygc::target {

/// Writes `bytes` at `at`; whole blocks of zeroes stay holes. False: errno says why.
[[nodiscard]] bool WriteSparse(int descriptor, std::span<const std::byte> bytes, std::uint64_t at);

/// Appends to a file from its start, holes where there are zeroes, beside the caller. What waits to be written is at most kMostWaiting bytes and one piece.
/// The file's length is not set: it may end in a hole.
class SparseWriter {
 public:
  static constexpr std::size_t kMostWaiting = 8u << 20;

  /// `descriptor` outlives it. `beside`: false writes in the caller's thread, as where no thread is to be had.
  SparseWriter(int descriptor, bool beside);
  ~SparseWriter();
  SparseWriter(const SparseWriter&) = delete;
  SparseWriter& operator=(const SparseWriter&) = delete;

  /// Takes a copy of `bytes`, or writes them. False once something could not be written; what comes then is dropped.
  [[nodiscard]] bool Append(std::span<const std::byte> bytes);
  /// Waits until all is written; nothing may be appended then. False where something could not be: error().
  [[nodiscard]] bool Finish();
  /// errno of the first write that failed; 0: none. After Finish().
  [[nodiscard]] int error() const noexcept { return error_; }

 private:
  void Run();
  void Write(std::span<const std::byte> bytes);

  int descriptor_;
  std::uint64_t at_ = 0;  // of the thread that writes
  int error_ = 0;         // under mutex_ while the thread runs
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::vector<std::byte>> waiting_;
  std::vector<std::vector<std::byte>> spare_;  // written, to be filled again
  std::size_t waiting_bytes_ = 0;  // of waiting_ and of the piece that is being written
  bool ended_ = false;
  std::thread thread_;
};

}  // namespace pygc::target
