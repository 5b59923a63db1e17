// Progress and cancelling: every long loop reports to a ProgressSink and stops when it says so.
#pragma once

#include <cstdint>
#include <string_view>

namespace pygc {

/// Receives progress of long work. Implementations are called from one thread at a time and must be cheap (a few calls a second are enough;
/// loops call once for some ten thousand steps).
class ProgressSink {
 public:
  virtual ~ProgressSink() = default;
  /// `stage` names the work ("reading the generation lists"); `done` of `total` steps, total 0 when unknown.
  /// Returns false when the user asked to stop: the caller unwinds with ErrorCode::kCancelled.
  virtual bool Update(std::string_view stage, std::uint64_t done, std::uint64_t total) = 0;
};

/// Ignores progress and never cancels.
class SilentProgress final : public ProgressSink {
 public:
  bool Update(std::string_view, std::uint64_t, std::uint64_t) override { return true; }
};

}  // namespace pygc
