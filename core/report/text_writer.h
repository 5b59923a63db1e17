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
  /// `columns`: of the terminal that the text goes to; paragraphs are as wide, at most kWidth. 0: none.
  explicit TextWriter(bool colour = false, std::size_t columns = 0);

  /// Adds to the current line. `raw` may hold bytes of the target.
  TextWriter& Add(std::string_view raw, Style style = Style::kPlain);
  /// Adds and ends the line.
  TextWriter& Line(std::string_view raw = {}, Style style = Style::kPlain);
  /// Spaces up to `column` (code points from the line's start), at least one where the line is not empty.
  TextWriter& To(std::size_t column);
  /// Adds `words` as a paragraph that starts here and goes on indented at `column`; no line becomes longer than the width where a space allows it. Ends
  /// the line. Where `column` leaves less than half of a narrow terminal the paragraph lies below what the line has, further left.
  TextWriter& Paragraph(std::string_view words, std::size_t column, Style style = Style::kPlain);
  /// The same for parts that must not be broken inside; `separator` stands between two on one line, and at the start of a continued line.
  TextWriter& Flow(const std::vector<std::string>& parts, std::string_view separator, std::size_t column);

  static constexpr std::size_t kWidth = 120;  // of files, and at most: the same report in every host

  [[nodiscard]] const std::string& text() const noexcept { return text_; }
  [[nodiscard]] std::string Take() { return std::move(text_); }

 private:
  /// Where a paragraph for `column` stands; ends the line where that is to the left of it.
  std::size_t Hang(std::size_t column);

  bool colour_;
  std::size_t width_;
  std::string text_;
  std::size_t column_ = 0;
};

/// `text` with no line wider than `columns` where it can be broken: at gaps between the cells of a table, else between words; what is broken off stands
/// below, under the last cell where that begins in the left half, else indented. A word that is wider stays whole. Colours pass through. `columns` 0: unchanged.
[[nodiscard]] std::string FitToWidth(std::string_view text, std::size_t columns);

/// Rows of cells, right-aligned where `right` says so; two spaces between columns, `indent` before the first.
struct Table {
  std::vector<std::vector<std::string>> rows;
  std::vector<bool> right;
  void Write(TextWriter& out, std::size_t indent) const;
};

}  // namespace pygc::report
