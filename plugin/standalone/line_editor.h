// Reads lines from the terminal, with history and completion where libedit was there at build time.
#pragma once

#include <optional>
#include <string>

namespace pygc::standalone {

/// One at a time: the library behind it has global state. The history is kept in $XDG_STATE_HOME/pygc/history (~/.local/state/...), readable by its owner.
class LineEditor {
 public:
  LineEditor();
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  /// The next line without its end; nullopt at the end of input. Ctrl-C gives an empty line.
  [[nodiscard]] std::optional<std::string> Read(const char* prompt);

 private:
  std::string history_file_;  // empty: none
};

}  // namespace pygc::standalone
