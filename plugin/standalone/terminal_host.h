// The standalone program as a CommandHost: standard output, standard error, a progress line where that is a terminal, Ctrl-C.
#pragma once

#include <string_view>

#include "plugin/worker/client.h"
#include "plugin/worker/terminal_progress.h"

namespace pygc::standalone {

class TerminalHost final : public worker::CommandHost {
 public:
  explicit TerminalHost(bool quiet);
  bool Out(std::string_view bytes) override;
  void Err(std::string_view bytes) override;
  void ShowProgress(const worker::Progress& progress) override { progress_.Show(progress); }
  int InterruptCount() override;
  /// A new command begins: interrupts until now were for the last one.
  void ForgetInterrupts();
  /// Standard output could not be written for another reason than that nobody reads: the errno, or 0.
  [[nodiscard]] int write_error() const noexcept { return write_error_; }

 private:
  worker::TerminalProgress progress_;
  int write_error_ = 0;
  int interrupts_before_ = 0;
};

/// Width of the terminal on `fd`; 0 where it is none.
[[nodiscard]] unsigned TerminalColumns(int fd);
/// Its height; 0 where it is none, or does not say.
[[nodiscard]] unsigned TerminalRows(int fd);
/// True where `fd` is a terminal that shows colours and the user has not said NO_COLOR.
[[nodiscard]] bool ShowsColours(int fd);
/// How often SIGINT came since CatchInterrupts().
[[nodiscard]] int InterruptsSoFar();
/// From now on SIGINT is counted for InterruptCount() instead of ending the program, and SIGPIPE is ignored.
void CatchInterrupts();

}  // namespace pygc::standalone
