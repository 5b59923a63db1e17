#include "plugin/standalone/line_editor.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <vector>

#include "core/engine/command_table.h"
#include "core/engine/line_words.h"
#include "plugin/standalone/terminal_host.h"

#ifdef PYGC_HAVE_LIBEDIT
#include <editline/readline.h>
#endif

namespace pygc::standalone {

#ifdef PYGC_HAVE_LIBEDIT

namespace {

constexpr int kMaxHistory = 1000;

std::string HistoryFile() {
  const char* state = std::getenv("XDG_STATE_HOME");
  const char* home = std::getenv("HOME");
  if ((state == nullptr || *state != '/') && (home == nullptr || *home != '/')) return "";
  const std::filesystem::path folder = std::filesystem::path(state != nullptr && *state == '/' ? std::string(state) : std::string(home) + "/.local/state") / "pygc";
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  return error ? "" : (folder / "history").string();
}

std::vector<std::string> g_candidates;  // the library calls a function without an argument of ours

char* NextCandidate(const char*, int state) {
  static std::size_t next = 0;
  if (state == 0) next = 0;
  return next < g_candidates.size() ? strdup(g_candidates[next++].c_str()) : nullptr;
}

char** Complete(const char* text, int start, int) {
  const std::string before(rl_line_buffer, static_cast<std::size_t>(start));
  std::vector<std::string> words = engine::SplitWords(before).value_or(std::vector<std::string>());
  const bool wants_file = !words.empty() && words.back() == "-o";
  rl_attempted_completion_over = wants_file ? 0 : 1;
  if (wants_file) return nullptr;
  words.emplace_back(text);
  g_candidates = engine::Completions(words);
  return rl_completion_matches(text, NextCandidate);
}

}  // namespace

LineEditor::LineEditor() : history_file_(HistoryFile()) {
  static char name[] = "pygc";
  rl_readline_name = name;
  rl_initialize();
  using_history();
  stifle_history(kMaxHistory);
  if (!history_file_.empty()) read_history(history_file_.c_str());
  rl_attempted_completion_function = Complete;
}

LineEditor::~LineEditor() {
  if (history_file_.empty()) return;
  const mode_t before = umask(077);
  write_history(history_file_.c_str());
  umask(before);
}

std::optional<std::string> LineEditor::Read(const char* prompt) {
  const int interrupts = InterruptsSoFar();
  char* raw = readline(prompt);
  if (raw == nullptr) {
    if (InterruptsSoFar() == interrupts) return std::nullopt;
    (void)!write(STDOUT_FILENO, "\n", 1);
    return "";
  }
  std::string line(raw);
  std::free(raw);
  if (line.find_first_not_of(" \t") != std::string::npos) add_history(line.c_str());
  return line;
}

#else

LineEditor::LineEditor() = default;
LineEditor::~LineEditor() = default;

std::optional<std::string> LineEditor::Read(const char* prompt) {
  std::fputs(prompt, stdout);
  std::fflush(stdout);
  char* raw = nullptr;
  std::size_t size = 0;
  const ssize_t n = getline(&raw, &size, stdin);
  std::optional<std::string> line;
  if (n >= 0) {
    line.emplace(raw, static_cast<std::size_t>(n));
    if (line->ends_with('\n')) line->pop_back();
  } else if (errno == EINTR) {
    clearerr(stdin);
    (void)!write(STDOUT_FILENO, "\n", 1);
    line = "";
  }
  std::free(raw);
  return line;
}

#endif

}  // namespace pygc::standalone
