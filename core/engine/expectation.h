// What `pygc expect` asserts, as data, and how a figure is held against a bound when not everything could be read.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace pygc::engine {

enum class ExpectationKind : std::uint8_t { kGone, kMaxCount, kMaxUnreachable, kNoFinalizersPending, kMaxRetained };
[[nodiscard]] const char* ExpectationName(ExpectationKind kind) noexcept;  // the option without its dashes: "gone", "max-count"

struct Expectation {
  ExpectationKind kind = ExpectationKind::kGone;
  std::string type;           // a type's name or GLOB; empty where all types are meant
  std::uint64_t allowed = 0;  // at most so many objects or bytes
  [[nodiscard]] std::string Text() const;  // as it is typed: "--max-count app.Node=3"
};

enum class Answer : std::uint8_t { kMet, kViolated, kUnknown, kUnknownType };
[[nodiscard]] const char* AnswerName(Answer answer) noexcept;  // "met", "violated", "unknown", "unknown-type"

/// A figure of which at least `least` is certain, and that is at most `most` (nullopt: not known how much more there is).
struct Measured {
  std::uint64_t least = 0;
  std::optional<std::uint64_t> most;
};
/// Whether the figure is at most `allowed`: kViolated and kMet only where that is certain.
[[nodiscard]] Answer HoldsAtMost(const Measured& measured, std::uint64_t allowed) noexcept;

}  // namespace pygc::engine
