#include "core/cpython/line_table.h"

namespace pygc::cpython {
namespace {

std::uint8_t ByteAt(std::span<const std::byte> table, std::size_t i) { return static_cast<std::uint8_t>(table[i]); }
std::int64_t SignedByteAt(std::span<const std::byte> table, std::size_t i) { return static_cast<std::int8_t>(ByteAt(table, i)); }

// co_lnotab [2.7-3.9]: pairs of bytes, code increment and line increment; the latter is signed from 3.6 on.
std::int64_t LineInLnotab(std::span<const std::byte> table, bool signed_lines, std::int64_t line, std::int64_t code_offset) {
  std::int64_t at = 0;
  for (std::size_t i = 0; i + 1 < table.size(); i += 2) {
    at += ByteAt(table, i);
    if (at > code_offset) break;
    line += signed_lines ? SignedByteAt(table, i + 1) : ByteAt(table, i + 1);
  }
  return line;
}

// co_linetable of PEP 626 [3.10]: pairs of bytes, length of the range and line increment; -128 stands for no line.
std::int64_t LineInRanges(std::span<const std::byte> table, std::int64_t line, std::int64_t code_offset) {
  std::int64_t end = 0;
  for (std::size_t i = 0; i + 1 < table.size(); i += 2) {
    const std::int64_t delta = SignedByteAt(table, i + 1);
    end += ByteAt(table, i);
    if (delta != -128) line += delta;
    if (end > code_offset) return delta == -128 ? -1 : line;
  }
  return -1;
}

// A number of 6 bits a byte, lowest first; bit 6 says that another byte follows.
std::uint64_t VariableInteger(std::span<const std::byte> table, std::size_t i) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; i < table.size() && shift < 60; ++i, shift += 6) {
    value |= std::uint64_t{ByteAt(table, i) & 0x3Fu} << shift;
    if (!(ByteAt(table, i) & 0x40)) break;
  }
  return value;
}

// co_linetable of PEP 657 [3.11+]: entries whose first byte has bit 7: kind in bits 3-6, length in code units less one in bits 0-2.
std::int64_t LineInLocations(std::span<const std::byte> table, std::int64_t line, std::int64_t code_offset) {
  constexpr unsigned kNoLine = 15, kLong = 14, kNoColumns = 13, kFirstOneLine = 10, kCodeUnit = 2;
  std::int64_t end = 0;
  for (std::size_t i = 0; i < table.size();) {
    const unsigned first = ByteAt(table, i);
    const unsigned kind = (first >> 3) & 15;
    if (kind == kLong || kind == kNoColumns) {
      const std::uint64_t delta = VariableInteger(table, i + 1);
      line += (delta & 1) ? -static_cast<std::int64_t>(delta >> 1) : static_cast<std::int64_t>(delta >> 1);
    } else if (kind >= kFirstOneLine && kind != kNoLine) {
      line += kind - kFirstOneLine;
    }
    end += static_cast<std::int64_t>((first & 7) + 1) * kCodeUnit;
    if (end > code_offset) return kind == kNoLine ? -1 : line;
    for (++i; i < table.size() && !(ByteAt(table, i) & 0x80);) ++i;
  }
  return -1;
}

}  // namespace

std::int64_t LineAt(const Layout& layout, std::span<const std::byte> table, std::int64_t first_line, std::int64_t code_offset) {
  if (code_offset < 0) return first_line;
  switch (layout.Value(Constant::LINETABLE_FORMAT, -1)) {
    case 0: return LineInLnotab(table, layout.version.major >= 3, first_line, code_offset);
    case 1: return LineInRanges(table, first_line, code_offset);
    case 2: return LineInLocations(table, first_line, code_offset);
    default: return -1;
  }
}

}  // namespace pygc::cpython
