// Why a run of the machine stopped before its function returned as it should. One code for each cause, with a text for reports.
#pragma once

#include <cstdint>

namespace pygc::machine {

enum class StopReason : std::uint8_t {
  kNone,
  // Memory
  kUnmappedRead, kUnmappedWrite, kReadOnlyWrite, kMisaligned, kStackOverflow, kOverlayFull, kNoThread,
  // Code
  kNoCode, kUntrustedCode, kUnknownInstruction, kTrap, kDivideError, kNoDecoder,
  // Bounds
  kStepLimit, kVisitLimit, kDepthLimit, kBudget, kStruckOut,
  // Calls
  kStopFunction, kUnresolvedSymbol,
  // What a clean run must keep
  kVisitArgument, kBadReferent, kNonZeroResult, kStackImbalance, kSavedRegisters, kUninitialisedRead,
  kCount,
};

/// A code for machines: "unmapped-read".
[[nodiscard]] const char* StopReasonCode(StopReason reason) noexcept;
/// A sentence for people, without a final stop.
[[nodiscard]] const char* StopReasonText(StopReason reason) noexcept;

}  // namespace pygc::machine
