#include "plugin/worker/terminal_progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "plugin/worker/client.h"

namespace pygc::worker {

namespace {

constexpr double kLeastSeconds = 1;     // of a stage, before its speed is told
constexpr double kMostSecondsLeft = 360000;  // a guess beyond is none

// "950/s", "1.2 k/s", "3.4 M/s"
std::string RateText(double rate) {
  if (rate >= 1e6) return fmt::format("{:.1f} M/s", rate / 1e6);
  return rate >= 1e3 ? fmt::format("{:.1f} k/s", rate / 1e3) : fmt::format("{:.0f}/s", rate);
}

}  // namespace

void ProgressRate::Update(const Progress& progress, double now_seconds) {
  if (progress.stage != stage_ || progress.done < first_) {
    stage_ = progress.stage;
    start_ = now_seconds;
    first_ = progress.done;
  }
  const double seconds = now_seconds - start_;
  rate_ = seconds >= kLeastSeconds ? static_cast<double>(progress.done - first_) / seconds : 0;
}

std::string ProgressText(const Progress& progress, double elapsed_seconds, double rate, unsigned columns) {
  const std::string stage = OneSafeLine(progress.stage, 120);
  const std::uint64_t done = progress.total > 0 ? std::min(progress.done, progress.total) : progress.done;
  std::string amount, speed, left;
  if (progress.total > 0) amount = fmt::format("  {} %", static_cast<unsigned>(100.0 * static_cast<double>(done) / static_cast<double>(progress.total)));
  else if (done > 0) amount = fmt::format("  {}", done);
  if (rate > 0) {
    speed = "  " + RateText(rate);
    const double seconds = static_cast<double>(progress.total - std::min(done, progress.total)) / rate;
    if (progress.total > 0 && seconds < kMostSecondsLeft) left = fmt::format(", {:.0f} s left", std::max(1.0, seconds));
  }
  const std::string passed = fmt::format("  {:.0f} s", elapsed_seconds);
  std::string text = stage + amount + speed + passed + left;
  if (columns > 0 && text.size() >= columns) text = stage + amount + passed + left;
  if (columns > 0 && text.size() >= columns) {
    const std::size_t rest = amount.size() + passed.size() + left.size() + 1;
    text = columns > rest + 8 ? stage.substr(0, columns - rest - 3) + "..." + amount + passed + left : stage + amount + passed;
  }
  if (columns > 0 && text.size() >= columns) text.resize(columns - 1);
  return text;
}

void TerminalProgress::Show(const Progress& progress) {
  if (fd_ < 0) return;
  const auto now = Clock::now();
  const double seconds = std::chrono::duration<double>(now - start_).count();
  rate_.Update(progress, seconds);
  if (now < next_) return;
  next_ = now + std::chrono::milliseconds(100);
  const std::string line = fmt::format("\r{}\x1b[K", ProgressText(progress, seconds, rate_.steps_per_second(), columns_ > 0 ? columns_ : 80));
  visible_ = true;
  [[maybe_unused]] const ssize_t n = write(fd_, line.data(), line.size());
}

void TerminalProgress::Wipe() {
  if (!visible_) return;
  visible_ = false;
  [[maybe_unused]] const ssize_t n = write(fd_, "\r\x1b[K", 4);
}

}  // namespace pygc::worker
