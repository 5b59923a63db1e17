#include "core/machine/stop_reason.h"

#include <array>

namespace pygc::machine {
namespace {

struct ReasonRow {
  StopReason reason;
  const char* code;
  const char* text;
};

constexpr ReasonRow kRows[] = {
    {StopReason::kNone, "none", "ran to its end"},
    {StopReason::kUnmappedRead, "unmapped-read", "reads memory that is not in the image"},
    {StopReason::kUnmappedWrite, "unmapped-write", "writes to memory that is not in the image"},
    {StopReason::kReadOnlyWrite, "read-only-write", "writes to memory that is mapped without the right to"},
    {StopReason::kMisaligned, "misaligned", "a vector access that has to be aligned is not"},
    {StopReason::kStackOverflow, "stack-overflow", "uses more stack than it is given"},
    {StopReason::kOverlayFull, "overlay-full", "writes to more pages than are kept for one run"},
    {StopReason::kNoThread, "no-thread", "reads thread-local data and no thread's registers are known"},
    {StopReason::kNoCode, "no-code", "jumps to memory that is not in the image (is the module's file missing?)"},
    {StopReason::kUntrustedCode, "untrusted-code", "runs code outside the read-only text of a file (allowed by --trust-anon-code)"},
    {StopReason::kUnknownInstruction, "unknown-instruction", "comes to an instruction that is not executed here"},
    {StopReason::kTrap, "trap", "comes to a trap instruction"},
    {StopReason::kDivideError, "divide-error", "divides by zero or overflows a division"},
    {StopReason::kNoDecoder, "no-decoder", "there is no disassembler for this machine"},
    {StopReason::kStepLimit, "step-limit", "takes more steps than one run is given"},
    {StopReason::kVisitLimit, "visit-limit", "visits more objects than one run is given"},
    {StopReason::kDepthLimit, "depth-limit", "calls deeper than one run is given"},
    {StopReason::kBudget, "budget", "the total of steps for this analysis is used up"},
    {StopReason::kStruckOut, "struck-out", "failed the same way too often and is not run any more"},
    {StopReason::kStopFunction, "stop-function", "calls a function that is not executed here"},
    {StopReason::kUnresolvedSymbol, "unresolved-symbol", "calls a library function that was not bound yet and is defined in no module or in several"},
    {StopReason::kVisitArgument, "visit-argument", "calls visit with another argument than it was given"},
    {StopReason::kBadReferent, "bad-referent", "visits something that is not an object"},
    {StopReason::kNonZeroResult, "non-zero-result", "returns something else than 0"},
    {StopReason::kStackImbalance, "stack-imbalance", "returns with another stack pointer than it was called with"},
    {StopReason::kSavedRegisters, "saved-registers", "returns with a callee-saved register changed"},
    {StopReason::kUninitialisedRead, "uninitialised-read", "depends on stack memory that was never written"},
};
static_assert(std::size(kRows) == static_cast<std::size_t>(StopReason::kCount));

const ReasonRow& Find(StopReason reason) noexcept {
  for (const ReasonRow& row : kRows)
    if (row.reason == reason) return row;
  return kRows[0];
}

}  // namespace

const char* StopReasonCode(StopReason reason) noexcept { return Find(reason).code; }
const char* StopReasonText(StopReason reason) noexcept { return Find(reason).text; }

}  // namespace pygc::machine
