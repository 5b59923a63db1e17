#include "plugin/worker/terminal_progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "plugin/worker/client.h"

namespace pygc::worker {

std::string ProgressText(const Progress& progress, double elapsed_seconds, unsigned columns) {
  std::string text = OneSafeLine(progress.stage, 120);
  if (progress.total > 0) text += fmt::format("  {} %", static_cast<unsigned>(100.0 * static_cast<double>(std::min(progress.done, progress.total)) / static_cast<double>(progress.total)));
  else if (progress.done > 0) text += fmt::format("  {}", progress.done);
  text += fmt::format("  {:.0f} s", elapsed_seconds);
  if (columns > 0 && text.size() >= columns) text.resize(columns - 1);
  return text;
}

void TerminalProgress::Show(const Progress& progress) {
  const auto now = Clock::now();
  if (fd_ < 0 || now < next_) return;
  next_ = now + std::chrono::milliseconds(100);
  const std::string line = fmt::format("\r{}\x1b[K", ProgressText(progress, std::chrono::duration<double>(now - start_).count(), columns_ > 0 ? columns_ : 80));
  visible_ = true;
  [[maybe_unused]] const ssize_t n = write(fd_, line.data(), line.size());
}

void TerminalProgress::Wipe() {
  if (!visible_) return;
  visible_ = false;
  [[maybe_unused]] const ssize_t n = write(fd_, "\r\x1b[K", 4);
}

}  // namespace pygc::worker
