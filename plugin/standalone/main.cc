// pygc: the standalone program, and, started with --worker by any host, the process that opens targets and runs the engine.
// As a host it parses the command line for help and usage errors, hands everything else to a worker and prints what comes back.
#include <fcntl.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "core/engine/command_table.h"
#include "core/engine/session.h"
#include "plugin/standalone/terminal_host.h"
#include "plugin/worker/client.h"
#include "plugin/worker/engine_runner.h"
#include "plugin/worker/server.h"

namespace pygc::standalone {
namespace {

class HostOutput final : public engine::OutputSink {
 public:
  explicit HostOutput(TerminalHost& host) : host_(host) {}
  bool Out(std::string_view bytes) override { return host_.Out(bytes); }
  void Err(std::string_view bytes) override { host_.Err(bytes); }

 private:
  TerminalHost& host_;
};

// `pygc --worker FD PARENT`, as WorkerClient::Start calls it.
int RunWorker(const char* fd_word, const char* parent_word) {
  const int fd = std::atoi(fd_word);
  if (fd < 3) return 2;
  if (!worker::PrepareWorkerProcess(fd, std::atoi(parent_word))) return 0;
  worker::Channel channel(fd);
  static worker::EngineRunner& engine = *new worker::EngineRunner;  // never destroyed: the host waits, and the kernel takes back a large heap faster
  return worker::Serve(channel, engine, worker::BuildVersion());
}

// A standard descriptor that is closed would be given to the next file that is opened. Output to it fails, as it would have.
void OccupyStandardDescriptors() {
  for (int fd = 0; fd <= 2; ++fd)
    if (fcntl(fd, F_GETFD) < 0) (void)!open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

std::string WorkingDirectory() {
  char path[PATH_MAX];
  return getcwd(path, sizeof path) != nullptr ? path : "";
}

int ExitStatus(int status, TerminalHost& host) {
  if (host.write_error() == 0) return status;
  host.Err(fmt::format("pygc: the report cannot be written to standard output: {}\n", std::strerror(host.write_error())));
  return 2;
}

int RunHost(std::vector<std::string> words) {
  OccupyStandardDescriptors();
  CatchInterrupts();
  const bool no_words = words.empty();
  if (no_words) words = {"--help"};
  const Result<engine::Request> parsed = engine::ParseCommandLine(words, /*standalone=*/true);
  TerminalHost host(parsed && parsed->quiet);
  HostOutput output(host);
  if (!parsed) return engine::ReportError(parsed.error(), output);
  if (parsed->show_version || parsed->show_help) {
    host.Out(parsed->show_version ? fmt::format("pygc {}\n", worker::BuildVersion()) : parsed->help_text);
    return ExitStatus(no_words ? 2 : 0, host);
  }
  worker::WorkerOptions options;
  options.host_is_pygc = true;
  options.die_with_parent = true;
  options.inherit_stdin = parsed->target.core == "-";
  const auto started = worker::WorkerClient::Start(options);
  if (!started) {
    host.Err(fmt::format("pygc: {}\n", started.error().message));
    return 6;
  }
  worker::CommandRequest request;
  request.words = std::move(words);
  request.standalone = true;
  request.working_directory = WorkingDirectory();
  request.columns = TerminalColumns(STDOUT_FILENO);
  request.colour_terminal = ShowsColours(STDOUT_FILENO);
  request.target.route = worker::TargetRoute::kCommandLine;
  return ExitStatus(worker::RunCommand(**started, request, host), host);
}

}  // namespace
}  // namespace pygc::standalone

int main(int argc, char** argv) {
  try {
    if (argc == 4 && std::strcmp(argv[1], "--worker") == 0) return pygc::standalone::RunWorker(argv[2], argv[3]);
    return pygc::standalone::RunHost(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
  } catch (const std::exception& e) {  // the host's own memory ran out, or the standard library failed
    [[maybe_unused]] const ssize_t n = write(STDERR_FILENO, "pygc: internal fault\n", 21);
    return 6;
  }
}
