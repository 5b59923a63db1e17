// One line on a terminal that says what the worker is at: "reading objects  43 %  12 s". Appears after a moment, is wiped before anything else is printed.
#pragma once

#include <chrono>
#include <string>

#include "plugin/worker/protocol.h"

namespace pygc::worker {

/// The text of the line without control bytes, at most `columns` wide.
[[nodiscard]] std::string ProgressText(const Progress& progress, double elapsed_seconds, unsigned columns);

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
  bool visible_ = false;
};

}  // namespace pygc::worker
