// The one place where bytes of the target become text that a terminal, a file or a JSON parser may see (reliability.md, section 5.6).
// Names in a dump are hostile: they may hold escape sequences, direction marks, broken UTF-8. Everything printed passes Printable or JsonSafe.
#pragma once

#include <string>
#include <string_view>

namespace pygc::report {

/// `raw` with everything that could steer a terminal or mislead a reader written as \x1b, \u202e, ...: C0, DEL, C1, line and paragraph separators,
/// zero-width and bidirectional marks, noncharacters, and bytes that are not UTF-8. A backslash stays one. The result is valid UTF-8.
[[nodiscard]] std::string Printable(std::string_view raw);

/// `raw` as valid UTF-8 for a JSON string: bytes that are not UTF-8, and DEL, become the four characters \xNN; the JSON writer escapes the rest (all
/// of it to ASCII).
[[nodiscard]] std::string JsonSafe(std::string_view raw);

/// The number of code points of UTF-8 text: good enough for columns, as wide characters are rare in reports.
[[nodiscard]] std::size_t CodePoints(std::string_view utf8) noexcept;

}  // namespace pygc::report
