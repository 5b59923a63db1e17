// The commands: names, arguments, help, shared by all hosts. Parsing only; running them is Session's.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/address.h"
#include "core/base/result.h"
#include "core/engine/expectation.h"
#include "core/target/open.h"

namespace pygc::engine {

enum class Format : std::uint8_t { kText, kJson, kSqlite, kJsonl, kDot, kHeapSnapshot, kCsv, kGcDebug };
enum class FailOn : std::uint8_t { kDefinite, kPending, kNever };

/// Which target the standalone program was told to open; hosts inside a debugger fill it themselves.
struct TargetChoice {
  std::string core;        // -c CORE
  std::int32_t pid = 0;    // -p PID
  target::OpenOptions open;
  std::string layout_file;            // --layout FILE
  bool trust_anonymous_code = false;  // --trust-anon-code
};

/// One parsed command line.
struct Request {
  std::string command;
  std::vector<std::string> arguments;   // ADDR, TYPE, ... as typed
  std::vector<Address> addresses;       // the same, of commands that take addresses
  Format format = Format::kText;
  std::uint32_t depth = 3, fan_out = 10;  // dot: references away from what was asked for, and of each object
  std::uint64_t limit = 10;             // groups, rows; 0: all
  std::vector<std::string> type_globs, ignore_globs;
  std::vector<std::string> exclude_globs;  // path: not through objects of these types
  std::vector<Expectation> expectations;   // expect
  std::optional<int> generation;
  FailOn fail_on = FailOn::kDefinite;
  bool audit = false, show_values = false, redact = false, quiet = false, resume = false, traverse = false, types = false, all = false, locals = false, native = false;
  std::string color = "auto";
  std::string output_file;              // -o FILE
  std::string baseline;
  std::string by = "type";              // heap: type or module
  std::string state;                    // heap: only objects in this state; empty: all
  std::uint64_t min_size = 0;           // heap: only objects of so many bytes
  bool waste = false, memory = false;   // heap: also what is not used; also where the process's memory is
  std::string save_file;                // --save FILE: an index of the core
  std::string script_file;              // -x FILE: commands to run on one load
  double timeout_seconds = 0;
  Limits limits;                        // --threads, --max-memory
  TargetChoice target;
  bool show_help = false, show_version = false;
  std::string help_text;                // filled when show_help
};

/// The standalone program may be given a target and no command: `command` is empty then.
/// Parses "pygc COMMAND [OPTIONS] [ARGS]" without the program name. `standalone`: target options are allowed.
/// Errors: kUsage with one line that names the word and what is possible (nearest command).
[[nodiscard]] Result<Request> ParseCommandLine(std::span<const std::string> words, bool standalone);

/// The address that a word means: 0x..., or decimal. Errors: kUsage.
[[nodiscard]] Result<Address> ParseAddress(const std::string& word);

/// Name and one-line summary of each command, in the order of the contract; only those that this build can run.
struct CommandSummary { std::string_view name, summary; };
[[nodiscard]] std::span<const CommandSummary> Commands();

/// `text` (help) for a terminal so many columns wide; 0: as it is.
[[nodiscard]] std::string FitToTerminal(std::string_view text, unsigned columns);

/// What the last of `words` of a command line could become: commands, options of the command that stands before it, values of an option. Sorted.
[[nodiscard]] std::vector<std::string> Completions(std::span<const std::string> words);

/// What the last of `words` names where it is no word of the grammar.
enum class WordKind : std::uint8_t { kGrammar, kType, kFile };
[[nodiscard]] WordKind KindOfLastWord(std::span<const std::string> words);

/// The text of `COMMAND --help` (empty: of --help) as it reads inside a debugger; empty for what is no command.
[[nodiscard]] std::string HelpText(std::string_view command);

}  // namespace pygc::engine
