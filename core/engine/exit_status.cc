#include "core/engine/exit_status.h"

namespace pygc::engine {

ExitStatus StatusOf(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::kUsage:
    case ErrorCode::kOutput:
      return kUsageOrOutput;
    case ErrorCode::kNotAnalysable:
    case ErrorCode::kUnsupported:
    case ErrorCode::kNotFound:
    case ErrorCode::kFault:
    case ErrorCode::kCorrupt:
      return kNotAnalysable;
    case ErrorCode::kNotPermitted:
      return kNotPermitted;
    case ErrorCode::kLimit:
      return kPartial;
    case ErrorCode::kCancelled:
      return kInterrupted;
    case ErrorCode::kHost:
    case ErrorCode::kInternal:
      return kInternalFault;
  }
  return kInternalFault;
}

ExitStatus StatusOf(const Request& request, const report::Header& header, const Outcome& outcome) noexcept {
  if (request.fail_on != FailOn::kNever && outcome.definite) return kFindings;
  if (request.fail_on == FailOn::kPending && outcome.pending) return kFindings;
  if (outcome.interrupted) return kInterrupted;
  if (outcome.wrong_usage) return kUsageOrOutput;
  if (request.command == "status") return kDone;  // to say what is missing is its job
  if (!header.complete || outcome.partial) return kPartial;
  // Guessed references decide what is unreachable, never what lies in gc.garbage.
  const bool found = outcome.definite || outcome.pending;
  return (request.command == "leaks" || request.command == "triage") && !found && header.certainty != report::Certainty::kExact ? kPartial : kDone;
}

}  // namespace pygc::engine
