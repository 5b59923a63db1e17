// A typed line as the words of a command line. For the prompt and for files of commands; debuggers split their lines themselves.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.h"

namespace pygc::engine {

/// Splits at blanks as a shell does: '...' as it is, "..." with \" and \\, a backslash before any other character outside of quotes; # begins a comment where
/// a word could. Nothing is expanded. Errors: kUsage (a quote that is not closed).
[[nodiscard]] Result<std::vector<std::string>> SplitWords(std::string_view line);

}  // namespace pygc::engine
