// The texts of core/cpython/layouts, embedded at build time (layouts.cmake). Unparsed: a start needs one of them, not all.
#pragma once

#include <span>
#include <string_view>

namespace pygc::cpython {

struct LayoutText {
  std::string_view name;  // of the file, without ".layout"
  std::string_view text;
};

/// Sorted by name.
[[nodiscard]] std::span<const LayoutText> BuiltinLayoutTexts() noexcept;

}  // namespace pygc::cpython
