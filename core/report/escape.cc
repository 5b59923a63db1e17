#include "core/report/escape.h"

#include <cstdint>

namespace pygc::report {
namespace {

struct Decoded {
  std::uint32_t code_point = 0;
  std::size_t bytes = 0;  // 0: not valid UTF-8 here
};

// RFC 3629: shortest form only, no surrogates, nothing above U+10FFFF.
Decoded Decode(std::string_view s) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(s[i]); };
  const auto follows = [&](std::size_t i) { return i < s.size() && (byte(i) & 0xC0) == 0x80; };
  const unsigned char first = byte(0);
  if (first < 0x80) return {first, 1};
  if (first >= 0xC2 && first < 0xE0 && follows(1)) return {(first & 0x1Fu) << 6 | (byte(1) & 0x3Fu), 2};
  if (first >= 0xE0 && first < 0xF0 && follows(1) && follows(2)) {
    const std::uint32_t c = (first & 0x0Fu) << 12 | (byte(1) & 0x3Fu) << 6 | (byte(2) & 0x3Fu);
    if (c >= 0x800 && (c < 0xD800 || c > 0xDFFF)) return {c, 3};
  }
  if (first >= 0xF0 && first < 0xF5 && follows(1) && follows(2) && follows(3)) {
    const std::uint32_t c = (first & 0x07u) << 18 | (byte(1) & 0x3Fu) << 12 | (byte(2) & 0x3Fu) << 6 | (byte(3) & 0x3Fu);
    if (c >= 0x10000 && c <= 0x10FFFF) return {c, 4};
  }
  return {};
}

bool MustBeEscaped(std::uint32_t c) noexcept {
  if (c < 0x20 || (c >= 0x7F && c < 0xA0)) return true;
  if (c == 0xAD || c == 0x61C || c == 0x180E || c == 0xFEFF) return true;  // soft hyphen, Arabic letter mark, zero-width
  if (c >= 0x200B && c <= 0x200F) return true;                             // zero-width, LRM, RLM
  if (c >= 0x2028 && c <= 0x202E) return true;                             // line and paragraph separators, embeddings, overrides
  if (c >= 0x2060 && c <= 0x206F) return true;                             // isolates, invisible operators
  if (c >= 0xFFF9 && c <= 0xFFFB) return true;                             // interlinear annotation
  if (c >= 0xE0000 && c <= 0xE0FFF) return true;                           // tags, variation selectors
  return (c & 0xFFFE) == 0xFFFE || (c >= 0xFDD0 && c <= 0xFDEF);           // noncharacters
}

// Some names have hundreds of escapes: fmt would read its format anew for each.
void AppendEscape(std::string& out, char kind, unsigned digits, std::uint32_t value) {
  out += '\\';
  out += kind;
  while (digits-- > 0) out += "0123456789abcdef"[value >> (4 * digits) & 0xF];
}

}  // namespace

std::string Printable(std::string_view raw) {
  std::string out;
  out.reserve(raw.size());
  while (!raw.empty()) {
    const Decoded d = Decode(raw);
    if (d.bytes == 0) {
      AppendEscape(out, 'x', 2, static_cast<unsigned char>(raw[0]));
      raw.remove_prefix(1);
      continue;
    }
    if (!MustBeEscaped(d.code_point)) {
      out.append(raw.substr(0, d.bytes));
    } else if (d.code_point < 0x100) {
      AppendEscape(out, 'x', 2, d.code_point);
    } else if (d.code_point < 0x10000) {
      AppendEscape(out, 'u', 4, d.code_point);
    } else {
      AppendEscape(out, 'U', 8, d.code_point);
    }
    raw.remove_prefix(d.bytes);
  }
  return out;
}

std::string JsonSafe(std::string_view raw) {
  std::string out;
  out.reserve(raw.size());
  while (!raw.empty()) {
    const Decoded d = Decode(raw);
    if (d.bytes == 0 || d.code_point == 0x7F) {
      AppendEscape(out, 'x', 2, static_cast<unsigned char>(raw[0]));
      raw.remove_prefix(1);
      continue;
    }
    out.append(raw.substr(0, d.bytes));
    raw.remove_prefix(d.bytes);
  }
  return out;
}

std::size_t CodePoints(std::string_view utf8) noexcept {
  std::size_t n = 0;
  for (const char c : utf8) n += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return n;
}

}  // namespace pygc::report
