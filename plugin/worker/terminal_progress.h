// One line on a terminal that says what the worker is at: "reading objects  43 %  1.2 M/s  12 s, 9 s left". Appears after a moment, is wiped before anything else is printed.
#pragma once

#include <chrono>
#include <string>

#include "plugin/worker/protocol.h"

namespace pygc::worker {

/// How fast the present stage goes: steps a second since it began; 0 where that cannot be said yet.
class ProgressRate {
 public:
  /// Notes where the stage stands at `now_seconds` (of any clock that rises).
  void Update(const Progress& progress, double now_seconds);
  [[nodiscard]] double steps_per_second() const noexcept { return rate_; }

 private:
  std::string stage_;
  double start_ = 0, rate_ = 0;
  std::uint64_t first_ = 0;
};

/// The text of the line without control bytes, at most `columns` wide. `rate`: steps a second, 0 not known; with it how fast it goes and, where the end is
/// known, how long it will take still. What does not fit is left out, the time that has passed last.
[[nodiscard]] std::string ProgressText(const Progress& progress, double elapsed_seconds, double rate, unsigned columns);

class TerminalProgress {
 public:
  /// `fd`: a terminal, or -1 for none at all. `columns`: its width.
  TerminalProgress(int fd, unsigned columns) : fd_(fd), columns_(columns) {}
  ~TerminalProgress() { Wipe(); }
  TerminalProgress(const TerminalProgress&) = delete;
  TerminalProgress& operator=(const TerminalProgress&) = delete;

  void Show(const Progress& progress);
  /// Removes the line; the cursor stands where it began.
  void Wipe();

 private:
  using Clock = std::chrono::steady_clock;
  int fd_;
  unsigned columns_;
  Clock::time_point start_ = Clock::now(), next_ = start_ + std::chrono::milliseconds(300);
  ProgressRate rate_;
  bool visible_ = false;
};

}  // namespace pygc::worker
