#include "core/report/text_writer.h"

#include <algorithm>

#include "core/report/escape.h"

namespace pygc::report {
namespace {

const char* Start(Style style) {
  switch (style) {
    case Style::kPlain:
      return "";
    case Style::kHeading:
      return "\x1b[1m";
    case Style::kBad:
      return "\x1b[31m";
    case Style::kWaiting:
      return "\x1b[33m";
    case Style::kName:
      return "\x1b[36m";
    case Style::kFaint:
      return "\x1b[2m";
  }
  return "";
}

}  // namespace

TextWriter::TextWriter(bool colour, std::size_t columns) : colour_(colour), width_(columns == 0 ? kWidth : std::min(columns, kWidth)) {}

std::size_t TextWriter::Hang(std::size_t column) {
  if (column * 2 <= width_) return column;
  const std::size_t hang = width_ / 4;
  if (column_ > hang) {
    const std::size_t end = text_.find_last_not_of(' ') + 1;
    column_ -= text_.size() - end;
    text_.resize(end);
    if (column_ > 0) Line();
  }
  return hang;
}

TextWriter& TextWriter::Add(std::string_view raw, Style style) {
  const std::string safe = Printable(raw);
  const bool styled = colour_ && style != Style::kPlain && !safe.empty();
  if (styled) text_ += Start(style);
  text_ += safe;
  if (styled) text_ += "\x1b[0m";
  column_ += CodePoints(safe);
  return *this;
}

TextWriter& TextWriter::Line(std::string_view raw, Style style) {
  Add(raw, style);
  text_ += '\n';
  column_ = 0;
  return *this;
}

TextWriter& TextWriter::To(std::size_t column) {
  const std::size_t spaces = column > column_ ? column - column_ : (column_ > 0 ? 1 : 0);
  text_.append(spaces, ' ');
  column_ += spaces;
  return *this;
}

TextWriter& TextWriter::Paragraph(std::string_view words, std::size_t column, Style style) {
  std::vector<std::string> parts;
  while (!words.empty()) {
    const std::size_t space = words.find(' ');
    parts.emplace_back(words.substr(0, space));
    words.remove_prefix(space == std::string_view::npos ? words.size() : space + 1);
  }
  column = Hang(column);
  bool first = true;
  for (const std::string& part : parts) {
    if (!first && column_ + 1 + CodePoints(Printable(part)) > width_) {
      Line();
      first = true;
    }
    if (column_ < column)
      To(column);
    else if (!first)
      Add(" ");
    Add(part, style);
    first = false;
  }
  return Line();
}

TextWriter& TextWriter::Flow(const std::vector<std::string>& parts, std::string_view separator, std::size_t column) {
  column = Hang(column);
  bool first = true;
  for (const std::string& part : parts) {
    if (!first && column_ + CodePoints(separator) + CodePoints(Printable(part)) > width_) {
      // A comma ends the line before, an arrow starts the next one.
      const std::size_t start = separator.find_first_not_of(' '), end = separator.find_last_not_of(' ');
      const bool trailing = start == 0 && end != std::string_view::npos;
      if (trailing) Add(separator.substr(0, end + 1));
      Line();
      To(column);
      if (!trailing && start != std::string_view::npos) Add(separator.substr(start));
    } else if (first) {
      if (column_ < column) To(column);
    } else {
      Add(separator);
    }
    Add(part);
    first = false;
  }
  return Line();
}

namespace {

// Bytes of an escape sequence for colour at the start of `text`; 0: none.
std::size_t ColourBytes(std::string_view text) {
  if (!text.starts_with("\x1b[")) return 0;
  const std::size_t end = text.find('m');
  return end == std::string_view::npos ? 0 : end + 1;
}

std::size_t VisibleWidth(std::string_view text) {
  std::size_t width = 0;
  while (!text.empty()) {
    if (const std::size_t colour = ColourBytes(text); colour > 0) {
      text.remove_prefix(colour);
      continue;
    }
    width += (static_cast<unsigned char>(text[0]) & 0xC0) != 0x80;
    text.remove_prefix(1);
  }
  return width;
}

// A word with the spaces before it. A space inside a cell of a table is one, between cells there are more.
struct Piece {
  std::string_view spaces, word;
};

std::vector<Piece> PiecesOf(std::string_view line) {
  std::vector<Piece> pieces;
  while (!line.empty()) {
    const std::size_t start = std::min(line.find_first_not_of(' '), line.size());
    const std::size_t end = std::min(line.find(' ', start), line.size());
    pieces.push_back({line.substr(0, start), line.substr(start, end - start)});
    line.remove_prefix(end);
  }
  return pieces;
}

// Where the last cell of a line begins: a piece and a column; piece 0 where the line is one cell.
struct Cell {
  std::size_t first = 0, column = 0;
};

Cell LastCell(const std::vector<Piece>& pieces) {
  Cell last;
  std::size_t column = 0;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    column += pieces[i].spaces.size();
    if (i > 0 && pieces[i].spaces.size() > 1) last = {i, column};
    column += VisibleWidth(pieces[i].word);
  }
  return last;
}

// Appends the words from `pieces[first]` on that fit; returns the first that does not. Breaks at a gap between cells where one lies in the second half of the line.
std::size_t TakeLine(const std::vector<Piece>& pieces, std::size_t first, std::size_t indent, std::size_t columns, std::string& out) {
  std::size_t width = indent + VisibleWidth(pieces[first].word), end = first + 1, gap = 0;
  while (end < pieces.size()) {
    const std::size_t wider = width + pieces[end].spaces.size() + VisibleWidth(pieces[end].word);
    if (wider > columns) break;
    if (pieces[end].spaces.size() > 1 && width * 2 > columns) gap = end;
    width = wider;
    ++end;
  }
  const bool all = end == pieces.size();
  if (!all && pieces[end].spaces.size() < 2 && gap > first) end = gap;
  out.append(indent, ' ');
  for (std::size_t i = first; i < end; ++i) {
    if (i > first) out += pieces[i].spaces;
    out += pieces[i].word;
  }
  return end;
}

}  // namespace

std::string FitToWidth(std::string_view text, std::size_t columns) {
  if (columns == 0) return std::string(text);
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    if (VisibleWidth(line) <= columns) {
      out += line;
    } else {
      const std::vector<Piece> pieces = PiecesOf(line);
      const std::size_t most = columns / 4;
      const Cell last = LastCell(pieces);
      std::size_t indent = std::min(pieces[0].spaces.size(), most);
      for (std::size_t i = 0; i < pieces.size();) {
        const std::size_t first = i;
        if (i > 0) out += '\n';
        i = TakeLine(pieces, i, indent, columns, out);
        // The whole line up to here, and in it a part of the last cell.
        if (first == 0) indent = last.first > 0 && i > last.first && last.column * 2 <= columns ? last.column : std::min(pieces[0].spaces.size() + 2, most);
      }
    }
    if (end < text.size()) out += '\n';
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

void Table::Write(TextWriter& out, std::size_t indent) const {
  std::vector<std::size_t> width(right.size(), 0);
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size() && i < width.size(); ++i) width[i] = std::max(width[i], CodePoints(Printable(row[i])));
  }
  for (const auto& row : rows) {
    std::size_t column = indent;
    if (indent > 0) out.To(indent);
    for (std::size_t i = 0; i < row.size() && i < width.size(); ++i) {
      if (std::all_of(row.begin() + static_cast<std::ptrdiff_t>(i), row.end(), [](const std::string& cell) { return cell.empty(); })) break;
      const std::size_t own = CodePoints(Printable(row[i]));
      const std::size_t start = right[i] ? column + width[i] - own : column;
      if (start > indent) out.To(start);
      out.Add(row[i]);
      column += width[i] + 2;
    }
    out.Line();
  }
}

}  // namespace pygc::report
