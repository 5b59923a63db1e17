// What a script gets that asked for JSON where the engine itself failed: a document of its own kind, "pygc.fault/1", which nobody takes for a report. Written by the
// host's side, because the worker may be gone.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/address.h"
#include "core/engine/command_table.h"

namespace pygc::engine {

/// One failure (exit status 6).
struct FaultFacts {
  std::string host;
  std::string path;       // of the core; empty: none
  std::int32_t pid = 0;   // of the process; 0: none
  std::string message;    // one line
  std::string stage;      // what was being done; empty: not known
  Address object = 0;     // that was being read when the worker ended; 0: none, or not known
};

/// The document; empty where `words` (a command line without "pygc") do not ask for JSON on standard output.
[[nodiscard]] std::string FaultDocument(const std::vector<std::string>& words, bool standalone, const FaultFacts& facts);

}  // namespace pygc::engine
