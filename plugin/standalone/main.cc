// pygc: the standalone program, and, started with --worker by any host, the process that opens targets and runs the engine.
// As a host it parses the command line for help and usage errors, hands everything else to a worker and prints what comes back.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "core/engine/command_table.h"
#include "core/engine/session.h"
#include "plugin/standalone/command_loop.h"
#include "plugin/standalone/host_output.h"
#include "plugin/standalone/terminal_host.h"
#include "plugin/worker/engine_runner.h"
#include "plugin/worker/last_words.h"
#include "plugin/worker/server.h"
#include "plugin/worker/stack.h"

namespace pygc::standalone {
namespace {

// `pygc --worker FD PARENT`, as WorkerClient::Start calls it.
int RunWorker(const char* fd_word, const char* parent_word) {
  const int fd = std::atoi(fd_word);
  if (fd < 3) return 2;
  if (!worker::PrepareWorkerProcess(fd, std::atoi(parent_word))) return 0;
  static worker::Channel& channel = *new worker::Channel(fd);  // a handler of signals may still use it
  static worker::EngineRunner& engine = *new worker::EngineRunner;  // never destroyed: the host waits, and the kernel takes back a large heap faster
  return worker::WithWholeStack([fd] {
    worker::InstallLastWords(channel);
    return worker::Serve(channel, engine, worker::BuildVersion(), &worker::StartWatchdog(fd));
  });
}

// A standard descriptor that is closed would be given to the next file that is opened. Output to it fails, as it would have.
void OccupyStandardDescriptors() {
  for (int fd = 0; fd <= 2; ++fd)
    if (fcntl(fd, F_GETFD) < 0) (void)!open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

int ExitStatus(int status, TerminalHost& host) {
  if (host.write_error() == 0) return status;
  host.Err(fmt::format("pygc: the report cannot be written to standard output: {}\n", std::strerror(host.write_error())));
  return 2;
}

// What is said of a target when no command was given and nobody sits at a terminal: one screen, where this version has that.
std::string_view Overview() {
  for (const engine::CommandSummary& command : engine::Commands()) {
    if (command.name == "triage") return command.name;
  }
  return "status";
}

// A pipe that only this process has open, as a shell's `pygc -c <(zstdcat core.zst)` gives it, goes to the worker as its standard input.
void TakePipeAsInput(std::vector<std::string>& words, engine::Request& request) {
  const std::string path = request.target.core;
  const std::size_t number = path.starts_with("/dev/fd/") ? 8 : path.starts_with("/proc/self/fd/") ? 14 : std::string::npos;
  if (number == std::string::npos || number >= path.size()) return;
  const int fd = std::atoi(path.c_str() + number);
  struct stat status {};
  if (fd < 3 || fstat(fd, &status) != 0 || !S_ISFIFO(status.st_mode) || dup2(fd, STDIN_FILENO) < 0) return;
  for (std::string& word : words) {
    if (word.ends_with(path) && word.starts_with(word == path ? "/" : "-")) word.replace(word.size() - path.size(), path.size(), "-");
  }
  request.target.core = "-";
}

// Whether something waits on standard input that nobody has read: commands, probably.
bool InputWaits() {
  struct stat file {};
  if (fstat(STDIN_FILENO, &file) != 0) return false;
  if (S_ISREG(file.st_mode)) return lseek(STDIN_FILENO, 0, SEEK_CUR) < file.st_size;
  int bytes = 0;
  return S_ISFIFO(file.st_mode) && ioctl(STDIN_FILENO, FIONREAD, &bytes) == 0 && bytes > 0;
}

int RunHost(std::vector<std::string> words) {
  OccupyStandardDescriptors();
  CatchInterrupts();
  const bool no_words = words.empty();
  if (no_words) words = {"--help"};
  Result<engine::Request> parsed = engine::ParseCommandLine(words, /*standalone=*/true);
  TerminalHost host(parsed && parsed->quiet);
  HostOutput output(host);
  if (!parsed) return engine::ReportError(parsed.error(), output);
  if (parsed->show_version || parsed->show_help) {
    host.Out(parsed->show_version ? fmt::format("pygc {}\n", worker::BuildVersion()) : engine::FitToTerminal(parsed->help_text, TerminalColumns(STDOUT_FILENO)));
    return ExitStatus(no_words ? 2 : 0, host);
  }
  TakePipeAsInput(words, *parsed);
  CommandLoop commands(words, *parsed, host);
  if (!parsed->script_file.empty()) return ExitStatus(commands.RunFile(parsed->script_file), host);
  if (!parsed->command.empty()) return ExitStatus(commands.Run({}), host);
  if (!parsed->save_file.empty()) return ExitStatus(commands.Run({"status"}), host);  // the index is what was asked for
  const bool is_dialogue = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && parsed->target.core != "-";
  if (is_dialogue) return ExitStatus(commands.RunPrompt(), host);
  const int status = commands.Run({std::string(Overview())});
  if (parsed->target.core != "-" && InputWaits()) {
    host.Err(fmt::format("pygc: no command was given, so this was {}; what waits on standard input was not read: -x - takes commands from there\n", Overview()));
  }
  return ExitStatus(status, host);
}

}  // namespace
}  // namespace pygc::standalone

int main(int argc, char** argv) {
  // What it prints is what the file's owner may read: no program to lend to others.
  if (geteuid() != getuid() || getegid() != getgid()) {
    constexpr std::string_view kRefused = "pygc: does not run setuid or setgid: take the bit away (chmod ug-s), and use sudo where another user's process is to be read\n";
    [[maybe_unused]] const ssize_t n = write(STDERR_FILENO, kRefused.data(), kRefused.size());
    return 5;
  }
  try {
    if (argc == 4 && std::strcmp(argv[1], "--worker") == 0) return pygc::standalone::RunWorker(argv[2], argv[3]);
    return pygc::standalone::RunHost(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
  } catch (const std::exception& e) {  // the host's own memory ran out, or the standard library failed
    [[maybe_unused]] const ssize_t n = write(STDERR_FILENO, "pygc: internal fault\n", 21);
    return 6;
  }
}
