// The sink for HTML. Bytes of the target get past it only as text: Markup takes constants of this program alone.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace pygc::report {

class HtmlWriter {
 public:
  /// Markup: a literal. `N` counts the closing NUL.
  template <std::size_t N>
  HtmlWriter& Markup(const char (&literal)[N]) {
    out_.append(literal, N - 1);
    return *this;
  }
  /// A file that is embedded into the program.
  HtmlWriter& Asset(std::span<const std::string_view> pieces);
  /// Bytes of the target, as text between tags or inside a quoted attribute: Printable, then & < > " ' as references.
  HtmlWriter& Text(std::string_view raw);
  /// JSON for a script element of type application/json: < > & become \u003c ..., so that nothing in it ends the element.
  HtmlWriter& Json(std::string_view json);
  HtmlWriter& Number(std::uint64_t n) { return Text(std::to_string(n)); }

  [[nodiscard]] std::string Take() { return std::move(out_); }

 private:
  std::string out_;
};

}  // namespace pygc::report
