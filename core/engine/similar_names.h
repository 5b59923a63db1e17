// "Did you mean": how far two words are from each other.
#pragma once

#include <cstddef>
#include <string_view>

namespace pygc::engine {

/// Optimal string alignment distance (one letter wrong, missing, too much, or two exchanged: 1 each). Only the first 32 bytes of each count.
[[nodiscard]] std::size_t EditDistance(std::string_view a, std::string_view b);

}  // namespace pygc::engine
