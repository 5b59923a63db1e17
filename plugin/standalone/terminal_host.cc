#include "plugin/standalone/terminal_host.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace pygc::standalone {
namespace {

volatile sig_atomic_t g_interrupts = 0;  // a signal handler can reach nothing else

void CountInterrupt(int) { g_interrupts = g_interrupts + 1; }

// 0, or the errno that stopped it.
int WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
    } else if (n < 0 && errno == EAGAIN) {  // somebody who shares the pipe or the terminal made it one that does not wait
      pollfd room{fd, POLLOUT, 0};
      poll(&room, 1, -1);
    } else if (n < 0 && errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

}  // namespace

TerminalHost::TerminalHost(bool quiet) : progress_(!quiet && isatty(STDERR_FILENO) ? STDERR_FILENO : -1, TerminalColumns(STDERR_FILENO)) {}

bool TerminalHost::Out(std::string_view bytes) {
  progress_.Wipe();
  const int error = WriteAll(STDOUT_FILENO, bytes);
  if (error != 0 && error != EPIPE) write_error_ = error;
  return error == 0;
}

void TerminalHost::Err(std::string_view bytes) {
  progress_.Wipe();
  (void)WriteAll(STDERR_FILENO, bytes);
}

int TerminalHost::InterruptCount() { return g_interrupts - interrupts_before_; }
void TerminalHost::ForgetInterrupts() { interrupts_before_ = g_interrupts; }
int InterruptsSoFar() { return g_interrupts; }

unsigned TerminalColumns(int fd) {
  winsize size{};
  return isatty(fd) && ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : isatty(fd) ? 80 : 0;
}

unsigned TerminalRows(int fd) {
  winsize size{};
  return isatty(fd) && ioctl(fd, TIOCGWINSZ, &size) == 0 ? size.ws_row : 0;
}

bool ShowsColours(int fd) {
  const char* term = std::getenv("TERM");
  const char* no_color = std::getenv("NO_COLOR");
  return isatty(fd) && (no_color == nullptr || *no_color == '\0') && term != nullptr && std::strcmp(term, "dumb") != 0;
}

void CatchInterrupts() {
  struct sigaction action {};
  action.sa_handler = CountInterrupt;  // no SA_RESTART: waiting ends at once
  sigaction(SIGINT, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);  // a file that may grow no more is an error of its write
}

}  // namespace pygc::standalone
