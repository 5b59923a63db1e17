// Many commands on one load: the prompt, and -x FILE. One worker serves them all and keeps what it built; it is started anew where it died.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/engine/command_table.h"
#include "plugin/standalone/terminal_host.h"
#include "plugin/worker/client.h"

namespace pygc::standalone {

class CommandLoop {
 public:
  /// `words`: the command line that named the target, without a command. `target`: what it means.
  CommandLoop(std::vector<std::string> words, const engine::Request& target, TerminalHost& host);

  /// Reads commands from the terminal until `quit` or the end of input. Errors end nothing. Returns 0.
  int RunPrompt();
  /// Runs every line of the file ("-": standard input). Returns the worst status of all (contract.md, in the order of its table), 2 where the file
  /// cannot be read.
  int RunFile(const std::string& path);
  /// Runs one command.
  int Run(const std::vector<std::string>& command);

 private:
  int RunLine(const std::string& line, const std::string& place);

  std::vector<std::string> target_words_;
  bool reads_core_from_stdin_;
  TerminalHost& host_;
  std::unique_ptr<worker::WorkerClient> worker_;
  bool had_worker_ = false;
};

}  // namespace pygc::standalone
