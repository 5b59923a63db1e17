// The files of core/report/page, embedded into the program.
#pragma once

#include <span>
#include <string_view>

namespace pygc::report {

/// In pieces, to be written one after the other.
struct PageAssets {
  std::span<const std::string_view> style, script;
  std::string_view script_hash;  // SHA-256 in base64, for the page's security policy
};

[[nodiscard]] PageAssets EmbeddedPage() noexcept;

}  // namespace pygc::report
