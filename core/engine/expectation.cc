#include "core/engine/expectation.h"

#include <fmt/format.h>

namespace pygc::engine {

const char* ExpectationName(ExpectationKind kind) noexcept {
  switch (kind) {
    case ExpectationKind::kGone: return "gone";
    case ExpectationKind::kMaxCount: return "max-count";
    case ExpectationKind::kMaxUnreachable: return "max-unreachable";
    case ExpectationKind::kNoFinalizersPending: return "no-finalizers-pending";
    case ExpectationKind::kMaxRetained: return "max-retained";
  }
  return "gone";
}

std::string Expectation::Text() const {
  const std::string name = fmt::format("--{}", ExpectationName(kind));
  switch (kind) {
    case ExpectationKind::kGone: return name + " " + type;
    case ExpectationKind::kMaxCount:
    case ExpectationKind::kMaxRetained: return fmt::format("{} {}={}", name, type, allowed);
    case ExpectationKind::kMaxUnreachable: return fmt::format("{} {}", name, allowed);
    case ExpectationKind::kNoFinalizersPending: return name;
  }
  return name;
}

const char* AnswerName(Answer answer) noexcept {
  switch (answer) {
    case Answer::kMet: return "met";
    case Answer::kViolated: return "violated";
    case Answer::kUnknown: return "unknown";
    case Answer::kUnknownType: return "unknown-type";
  }
  return "unknown";
}

Answer HoldsAtMost(const Measured& measured, std::uint64_t allowed) noexcept {
  if (measured.least > allowed) return Answer::kViolated;
  return measured.most && *measured.most <= allowed ? Answer::kMet : Answer::kUnknown;
}

}  // namespace pygc::engine
