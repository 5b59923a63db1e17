// `pygc self-test`: what will and will not work on this machine, and what to change. The findings come from whoever can look (plugin/worker); here they
// become a report.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/engine/command_table.h"
#include "core/engine/session.h"

namespace pygc::engine {

/// One thing that was tried or looked up.
struct SelfTestCheck {
  enum class State : std::uint8_t { kWorks, kLimited, kFails, kAbsent };  // kAbsent: not there, and nobody needs it
  State state = State::kWorks;
  std::string subject;  // "attach to a process"
  std::string finding;  // what was found, in words
  std::string remedy;   // what to change; empty where nothing needs to
};

struct SelfTestSection {
  std::string name;  // "live processes", "cores", "debuggers", "machine"
  std::vector<SelfTestCheck> checks;
};

/// Writes the report as text or JSON to `output` or to the file of -o. Returns the exit status: 0, or that of an output that cannot be written.
int WriteSelfTest(const std::vector<SelfTestSection>& sections, const Request& request, const HostFacts& host, OutputSink& output);

}  // namespace pygc::engine
