// Stops every thread of a process for a moment and reads registers. PTRACE_SEIZE and PTRACE_INTERRUPT only: no signal is sent, a process that was
// stopped by one stays stopped, and if this program is killed the kernel lets the threads run again. Internal to core/target.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "core/base/result.h"
#include "core/target/process.h"

namespace pygc::target {

class ThreadStopper {
 public:
  explicit ThreadStopper(std::int32_t pid) : pid_(pid) {}
  ~ThreadStopper() { Resume(); }
  ThreadStopper(const ThreadStopper&) = delete;
  ThreadStopper& operator=(const ThreadStopper&) = delete;

  /// Stops all threads, those included that start meanwhile. On failure none stays stopped.
  /// Errors: kNotPermitted (ptrace refuses, or a thread does not stop within `timeout`), kNotAnalysable (gone, or not x86-64).
  [[nodiscard]] Result<void> Stop(std::chrono::milliseconds timeout);
  /// Lets all threads go on, with the signals that were on their way. Must be called by the thread that called Stop().
  void Resume() noexcept;
  /// The stopped threads with their registers, the main thread first.
  [[nodiscard]] const std::vector<Thread>& threads() const noexcept { return threads_; }
  /// Seconds from the first stop to the last resume.
  [[nodiscard]] double stopped_seconds() const noexcept { return stopped_seconds_; }
  [[nodiscard]] std::chrono::steady_clock::time_point stopped_since() const noexcept { return since_; }

 private:
  struct Held {
    std::int32_t tid;
    bool stopped = false;
    int signal = 0;  // to be delivered on resume
  };
  [[nodiscard]] Result<bool> Seize(std::int32_t tid);
  [[nodiscard]] Result<void> WaitForAll(std::chrono::steady_clock::time_point deadline);
  [[nodiscard]] Result<void> ReadRegisters();

  std::int32_t pid_;
  std::vector<Held> held_;
  std::vector<Thread> threads_;
  std::chrono::steady_clock::time_point since_{};
  double stopped_seconds_ = 0;
};

}  // namespace pygc::target
