#include "core/engine/watched_progress.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>

namespace pygc::engine {
namespace {

// 0 where the system does not say.
std::uint64_t OwnMemoryBytes() {
  std::ifstream statm("/proc/self/statm");
  std::uint64_t total = 0, resident = 0, shared = 0;
  if (!(statm >> total >> resident >> shared) || shared > resident) return 0;
  return (resident - shared) * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

WatchedProgress::WatchedProgress(ProgressSink& next, double timeout_seconds, std::uint64_t max_memory_bytes)
    : next_(next), max_memory_bytes_(max_memory_bytes) {
  // A century is as good as any longer limit, and does not overflow the clock.
  if (timeout_seconds > 0) {
    deadline_ = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(std::min(timeout_seconds, 3e9)));
  }
}

bool WatchedProgress::Update(std::string_view stage, std::uint64_t done, std::uint64_t total) {
  if (stage_ != stage) stage_ = stage;
  if (limit_.empty()) CheckLimits();
  return next_.Update(stage, done, total) && limit_.empty();
}

void WatchedProgress::CheckLimits() {
  if (!deadline_ && max_memory_bytes_ == 0) return;
  const Clock::time_point now = Clock::now();
  if (deadline_ && now >= *deadline_) limit_ = "--timeout";
  if (max_memory_bytes_ == 0 || now < next_look_) return;
  next_look_ = now + std::chrono::milliseconds(20);
  if (OwnMemoryBytes() > max_memory_bytes_) limit_ = "--max-memory";
}

}  // namespace pygc::engine
