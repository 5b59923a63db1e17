// The sink for text reports. Whatever is added passes Printable; only line ends and colours of our own get past it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace pygc::report {

enum class Style { kPlain, kHeading, kBad, kWaiting, kName, kFaint };

/// Appends escaped text to a string.
class TextWriter {
 public:
  explicit TextWriter(bool colour = false) : colour_(colour) {}

  /// Adds to the current line. `raw` may hold bytes of the target.
  TextWriter& Add(std::string_view raw, Style style = Style::kPlain);
  /// Adds and ends the line.
  TextWriter& Line(std::string_view raw = {}, Style style = Style::kPlain);
  /// Spaces up to `column` (code points from the line's start), at least one where the line is not empty.
  TextWriter& To(std::size_t column);
  /// Adds `words` as a paragraph that starts here and goes on indented at `column`; no line becomes longer than kWidth where a space allows it. Ends
  /// the line.
  TextWriter& Paragraph(std::string_view words, std::size_t column, Style style = Style::kPlain);
  /// The same for parts that must not be broken inside; `separator` stands between two on one line, and at the start of a continued line.
  TextWriter& Flow(const std::vector<std::string>& parts, std::string_view separator, std::size_t column);

  static constexpr std::size_t kWidth = 120;  // fixed: the same report in every host and in a file

  [[nodiscard]] const std::string& text() const noexcept { return text_; }
  [[nodiscard]] std::string Take() { return std::move(text_); }

 private:
  bool colour_;
  std::string text_;
  std::size_t column_ = 0;
};

/// `text` with no line wider than `columns` where it can be broken: at gaps between the cells of a table, else between words; what is broken off stands
/// indented below. A word that is wider stays whole. Colours pass through. `columns` 0: unchanged.
[[nodiscard]] std::string FitToWidth(std::string_view text, std::size_t columns);

/// Rows of cells, right-aligned where `right` says so; two spaces between columns, `indent` before the first.
struct Table {
  std::vector<std::vector<std::string>> rows;
  std::vector<bool> right;
  void Write(TextWriter& out, std::size_t indent) const;
};

}  // namespace pygc::report
