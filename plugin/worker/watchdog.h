// Ends a worker that computes without end. Long work reports progress, so a loop that nobody can stop, a bug that a hostile core found, shows as silence: no
// report of progress, no output, no read of memory while the processor is busy. Time in which this process does not run does not count, nor does time in
// which it waits for its host: a long analysis, a loaded machine, a suspended laptop and a pager that is not read on are no reason to end anything.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>

namespace pygc::worker {

/// How long a command may be silent.
struct SilenceLimits {
  double computing_seconds = 1200;      // on a heap of 3.3 million objects the longest silence is 0.1 s, 0.8 s where an export is indexed: a thousand times as many still fit
  double after_deadline_seconds = 60;   // of the wall clock, after the time of --timeout is over: what is known is put together and printed
  int look_ms = 500;                    // between two looks
};

/// The rule, without clocks and threads.
class SilenceRule {
 public:
  explicit SilenceRule(SilenceLimits limits) : limits_(limits) {}

  /// What a look at the worker finds.
  struct Look {
    double now = 0;              // seconds of any clock that rises
    double processor = 0;        // seconds that all threads of the process have used
    std::uint64_t signs = 0;     // signs of life so far
    bool idle = false;           // no command runs, or it waits for its host
    double deadline = 0;         // of the clock of `now`; 0: none
  };
  enum class Verdict : std::uint8_t { kGoesOn, kComputesWithoutEnd, kDoesNotHeedDeadline };
  /// To be asked every second or so. Several threads at work count as one.
  [[nodiscard]] Verdict Judge(const Look& look);

 private:
  SilenceLimits limits_;
  Look last_;
  double computed_ = 0, silent_since_ = 0;
  bool has_last_ = false;
};

/// One a process. The thread that runs commands reports, another looks.
class Watchdog {
 public:
  /// Starts looking. Also ends the process some seconds after the socket `host` was closed, for a loop that asks its host for nothing does not notice.
  Watchdog(int host, SilenceLimits limits);
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  /// A sign of life.
  void Note() noexcept { signs_.fetch_add(1, std::memory_order_relaxed); }
  /// A command begins (true) or waits, or has ended (false).
  void Run(bool runs) noexcept {
    Note();
    runs_.store(runs, std::memory_order_relaxed);
  }
  /// The command that runs is to end in so many seconds (0: when it likes).
  void SetTimeout(double seconds) noexcept;

 private:
  void Watch(int host);

  SilenceRule rule_;  // of the watching thread
  int look_ms_;
  pthread_t commands_;  // the thread that started it
  std::atomic<std::uint64_t> signs_{0};
  std::atomic<bool> runs_{false};
  std::atomic<double> deadline_{0};
};

}  // namespace pygc::worker
