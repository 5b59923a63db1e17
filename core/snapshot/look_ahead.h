// How far ahead the passes over objects ask for memory: each object passes three stations. Its memory is asked for; some objects later, when that is there, its
// table (the items of a list, the keys of a dict); some later it is decoded.
#pragma once

#include <cstddef>

namespace pygc::snapshot {

inline constexpr std::size_t kLookAhead = 16;  // objects between the first sight of one and its decoding; a power of two
inline constexpr std::size_t kTableAfter = 8;  // of these, before its table is asked for

}  // namespace pygc::snapshot
