// Numbers and counted words as reports write them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace pygc::report {

/// 1234567 -> "1,234,567"
[[nodiscard]] std::string Thousands(std::uint64_t n);
/// 1234567 -> "1.2 MB". Powers of 1000, three digits at most.
[[nodiscard]] std::string Bytes(std::uint64_t n);
/// "1 object", "2 objects", "3 entries": English plurals of the nouns that reports use.
[[nodiscard]] std::string Counted(std::uint64_t n, std::string_view noun);

/// The depth at which a row of a tree is indented: its own, and what is deeper as deep as the deepest that a screen shows. A chain of 100,000 objects, each indented
/// by its depth, would be 10 GB of spaces.
[[nodiscard]] constexpr std::uint32_t ShownDepth(std::uint32_t depth) noexcept {
  constexpr std::uint32_t kDeepestIndent = 40;
  return depth < kDeepestIndent ? depth : kDeepestIndent;
}
/// "(level 4,711) " of a row that is deeper than it is indented; else "".
[[nodiscard]] std::string LevelText(std::uint32_t depth);

}  // namespace pygc::report
