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

}  // namespace pygc::report
