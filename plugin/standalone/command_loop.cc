#include "plugin/standalone/command_loop.h"

#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "core/engine/line_words.h"
#include "core/engine/session.h"
#include "plugin/standalone/host_output.h"
#include "plugin/standalone/line_editor.h"
#include "plugin/worker/protocol.h"

namespace pygc::standalone {
namespace {

// The target's words without -x FILE.
std::vector<std::string> WithoutScript(std::vector<std::string> words) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (!words[i].starts_with("-x")) continue;
    const std::size_t count = words[i] == "-x" && i + 1 < words.size() ? 2 : 1;
    words.erase(words.begin() + static_cast<std::ptrdiff_t>(i), words.begin() + static_cast<std::ptrdiff_t>(i + count));
    break;
  }
  return words;
}

std::string WorkingDirectory() {
  char path[PATH_MAX];
  return getcwd(path, sizeof path) != nullptr ? path : "";
}

}  // namespace

CommandLoop::CommandLoop(std::vector<std::string> words, const engine::Request& target, TerminalHost& host)
    : target_words_(target.script_file.empty() ? std::move(words) : WithoutScript(std::move(words))), reads_core_from_stdin_(target.target.core == "-"), host_(host) {}

int CommandLoop::Run(const std::vector<std::string>& command) {
  host_.ForgetInterrupts();
  // self-test looks at the machine from a worker that has seen no dump and is not confined.
  const bool of_its_own = !command.empty() && command[0] == "self-test";
  std::unique_ptr<worker::WorkerClient> fresh;
  if (!of_its_own && worker_ != nullptr && worker_->is_alive() && worker_->Next(0).kind == worker::WorkerEvent::Kind::kDied) {
    host_.Err("pygc: the worker has ended meanwhile; what it had read is read again\n");
  }
  if (of_its_own || worker_ == nullptr || !worker_->is_alive()) {
    if (!of_its_own && had_worker_ && reads_core_from_stdin_) {
      host_.Err("pygc: the core came from standard input and is gone with the worker that had read it; give it as a file\n");
      return 6;
    }
    worker::WorkerOptions options;
    options.host_is_pygc = true;
    options.die_with_parent = true;
    options.inherit_stdin = reads_core_from_stdin_ && !of_its_own;
    auto started = worker::WorkerClient::Start(options);
    if (!started) {
      host_.Err(fmt::format("pygc: {}\n", started.error().message));
      return 6;
    }
    fresh = std::move(*started);
    if (!of_its_own) {
      worker_ = std::move(fresh);
      had_worker_ = true;
    }
  }
  worker::CommandRequest request;
  if (!of_its_own) request.words = target_words_;
  request.words.insert(request.words.end(), command.begin(), command.end());
  request.standalone = true;
  request.working_directory = WorkingDirectory();
  request.columns = TerminalColumns(STDOUT_FILENO);
  request.rows = TerminalRows(STDOUT_FILENO);
  request.colour_terminal = ShowsColours(STDOUT_FILENO);
  request.target.route = worker::TargetRoute::kCommandLine;
  return worker::RunCommand(of_its_own ? *fresh : *worker_, request, host_);
}

int CommandLoop::RunLine(const std::string& line, const std::string& place) {
  HostOutput output(host_);
  const auto refuse = [&](const Error& error) { return engine::ReportError({error.code, place + error.message, std::nullopt}, output); };
  const Result<std::vector<std::string>> words = engine::SplitWords(line);
  if (!words) return refuse(words.error());
  if (words->empty()) return 0;
  if ((*words)[0] == "-x") return refuse({ErrorCode::kUsage, fmt::format("{} has no place here", (*words)[0]), std::nullopt});
  // Parsed here too: an error gets its place, and costs no worker.
  std::vector<std::string> all;
  const bool is_help = (*words)[0] == "help";
  if (!is_help) all = target_words_;
  all.insert(all.end(), words->begin(), words->end());
  const Result<engine::Request> parsed = engine::ParseCommandLine(all, true);
  if (!parsed) return refuse(parsed.error());
  if (parsed->show_help) {
    host_.Out(engine::FitToTerminal(parsed->help_text, TerminalColumns(STDOUT_FILENO)));
    return 0;
  }
  if (parsed->command.empty() && !parsed->show_version) return refuse({ErrorCode::kUsage, "a line starts with a command (help lists them)", std::nullopt});
  return Run(*words);
}

namespace {

bool EndsTheList(std::string_view line) {
  const std::size_t begin = line.find_first_not_of(" \t\r\n"), end = line.find_last_not_of(" \t\r\n");
  const std::string_view word = begin == std::string_view::npos ? "" : line.substr(begin, end - begin + 1);
  return word == "quit" || word == "exit";
}

}  // namespace

int CommandLoop::RunPrompt() {
  LineEditor editor;
  while (std::optional<std::string> line = editor.Read("pygc> ")) {
    if (EndsTheList(*line)) break;
    (void)RunLine(*line, "");
  }
  return 0;
}

namespace {

constexpr std::size_t kMostLineBytes = std::size_t{1} << 26;

/// With its end; one byte more than kMostLineBytes where it is longer. False at the end of the file.
bool ReadLine(std::FILE* file, std::string& line) {
  line.clear();
  for (int c = 0; line.size() <= kMostLineBytes && (c = std::getc(file)) != EOF;) {
    line += static_cast<char>(c);
    if (c == '\n') break;
  }
  return !line.empty();
}

}  // namespace

int CommandLoop::RunFile(const std::string& path) {
  const bool is_stdin = path == "-";
  if (is_stdin && reads_core_from_stdin_) {
    host_.Err("pygc: -c - and -x - both read standard input: give one of them as a file\n");
    return 2;
  }
  errno = 0;
  std::FILE* file = is_stdin ? stdin : std::fopen(path.c_str(), "re");
  std::string line;
  int worst = 0;
  for (std::size_t number = 1; file != nullptr && ReadLine(file, line); ++number) {
    const std::string place = fmt::format("{}:{}: ", is_stdin ? "standard input" : path, number);
    if (line.size() > kMostLineBytes) {
      host_.Err(fmt::format("pygc: {}no command is longer than {} bytes; is this a file of commands, one a line?\n", worker::OneSafeLine(place), kMostLineBytes));
      worst = std::max(worst, 2);
      break;
    }
    if (EndsTheList(line)) break;
    const int status = RunLine(line, place);
    worst = std::max(worst, status);
    if (status == 130 || host_.write_error() != 0) break;  // who stops a command stops the list
    errno = 0;
  }
  const int error = errno;
  const bool unreadable = file == nullptr || std::ferror(file) != 0;
  if (file != nullptr && !is_stdin) std::fclose(file);
  if (!unreadable) return worst;
  host_.Err(fmt::format("pygc: cannot read the commands in {}: {}\n", worker::OneSafeLine(path), std::strerror(error)));
  return std::max(worst, 2);
}

}  // namespace pygc::standalone
