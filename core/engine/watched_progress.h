// The ProgressSink of a running command: knows the stage for messages, and ends the work at the limits of time and memory.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/progress.h"

namespace pygc::engine {

/// Passes progress on to another sink, and cancels when that one does or a limit is met.
class WatchedProgress final : public ProgressSink {
 public:
  using Clock = std::chrono::steady_clock;
  /// 0: no limit. Memory is what this process has of its own; mapped files (a core) do not count.
  WatchedProgress(ProgressSink& next, double timeout_seconds, std::uint64_t max_memory_bytes);
  bool Update(std::string_view stage, std::uint64_t done, std::uint64_t total) override;

  /// The option whose limit was met: "--timeout", "--max-memory"; empty while none was.
  [[nodiscard]] const std::string& limit() const noexcept { return limit_; }
  [[nodiscard]] const std::string& stage() const noexcept { return stage_; }

 private:
  void CheckLimits();

  ProgressSink& next_;
  std::uint64_t max_memory_bytes_;
  std::optional<Clock::time_point> deadline_;
  Clock::time_point next_look_{};
  std::string stage_, limit_;
};

}  // namespace pygc::engine
