// Findings, completeness and errors as the exit status that scripts see (contract.md, Exit status). The whole rule stands here.
#pragma once

#include "core/base/result.h"
#include "core/engine/command.h"

namespace pygc::engine {

enum ExitStatus : int {
  kDone = 0,
  kFindings = 1,
  kUsageOrOutput = 2,
  kPartial = 3,
  kNotAnalysable = 4,
  kNotPermitted = 5,
  kInternalFault = 6,
  kInterrupted = 130
};

[[nodiscard]] ExitStatus StatusOf(ErrorCode code) noexcept;
/// Of a command that ran. `header` says how complete the data are.
[[nodiscard]] ExitStatus StatusOf(const Request& request, const report::Header& header, const Outcome& outcome) noexcept;

}  // namespace pygc::engine
