// One target, many questions: runs commands over a Process and writes their reports. The only place that knows both banks of the river.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/limits.h"
#include "core/base/progress.h"
#include "core/base/result.h"
#include "core/engine/command_table.h"
#include "core/target/open.h"

namespace pygc::engine {

class SavedIndex;

/// Where rendered output goes. Calls come from one thread.
class OutputSink {
 public:
  virtual ~OutputSink() = default;
  /// Report text. Returns false when nobody reads any more (closed pipe): the command ends quietly.
  virtual bool Out(std::string_view bytes) = 0;
  /// Diagnostics, one or more whole lines.
  virtual void Err(std::string_view bytes) = 0;
};

/// Who is asking, for the envelope and for the width and colour of text.
struct HostFacts {
  std::string host = "standalone";  // standalone | lldb | gdb
  unsigned columns = 0;             // of the terminal; 0: not a terminal
  unsigned rows = 0;                // of it; 0: not known
  bool colour_terminal = false;
  std::string working_directory;    // relative paths of -o, --layout are taken from here
  std::string about_target = {};    // what a reader of the report has to know of the target as it is now; a warning
};

/// Analyses one Process. Loads and builds at the first command that needs it, keeps what it built for the next.
class Session {
 public:
  Session(target::Process process, Limits limits);
  ~Session();
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;

  /// Runs one command and returns its exit status (contract.md). Never throws; a fault inside is reported as exit 6 with what was finished.
  int Run(const Request& request, const HostFacts& host, OutputSink& output, ProgressSink& progress);
  /// From now on snapshots come from `index`, which is one of this process, as far as it has them. Before the first Run().
  void UseIndex(std::shared_ptr<const SavedIndex> index);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The line(s) for an error, and its exit status. Text is escaped for a terminal.
[[nodiscard]] int ReportError(const Error& error, OutputSink& output);

}  // namespace pygc::engine
