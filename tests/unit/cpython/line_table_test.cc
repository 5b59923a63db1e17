// Line tables of each format, written by hand. That real ones are read right is shown by tests/e2e/explain.py against sys._current_frames().
#include "core/cpython/line_table.h"

#include <doctest/doctest.h>

#include <initializer_list>
#include <vector>

#include "core/cpython/printable.h"

namespace pygc::cpython {
namespace {

Layout Of(std::uint32_t hexversion, std::int64_t format) {
  Layout layout;
  layout.version = PythonVersion::FromHex(hexversion);
  layout.Set(Constant::LINETABLE_FORMAT, format);
  return layout;
}

std::int64_t Line(const Layout& layout, std::initializer_list<int> bytes, std::int64_t offset) {
  std::vector<std::byte> table;
  for (const int b : bytes) table.push_back(static_cast<std::byte>(b));
  return LineAt(layout, table, 10, offset);
}

}  // namespace

TEST_CASE("co_lnotab: increments of code and line; signed lines from 3.6 on") {
  const Layout old = Of(0x020712f0, 0), later = Of(0x030912f0, 0);
  CHECK(Line(old, {6, 1, 4, 2}, 0) == 10);
  CHECK(Line(old, {6, 1, 4, 2}, 6) == 11);
  CHECK(Line(old, {6, 1, 4, 2}, 99) == 13);
  CHECK(Line(old, {6, 0xFE}, 6) == 264);
  CHECK(Line(later, {6, 0xFE}, 6) == 8);
  CHECK(Line(later, {6}, 6) == 10);
  CHECK(Line(later, {6, 1}, -1) == 10);
}

TEST_CASE("PEP 626 ranges: a range may have no line") {
  const Layout layout = Of(0x030a0df0, 1);
  CHECK(Line(layout, {4, 1, 4, 0x80, 4, 2}, 0) == 11);
  CHECK(Line(layout, {4, 1, 4, 0x80, 4, 2}, 4) == -1);
  CHECK(Line(layout, {4, 1, 4, 0x80, 4, 2}, 8) == 13);
  CHECK(Line(layout, {4, 1}, 4) == -1);
}

TEST_CASE("PEP 657 locations: short, one-line, long, without columns and without line") {
  const Layout layout = Of(0x030c01f0, 2);
  const int one_line = 0x80 | (11 << 3) | 1, none = 0x80 | (15 << 3), no_columns = 0x80 | (13 << 3), far = 0x80 | (14 << 3);
  CHECK(Line(layout, {one_line, 0, 5}, 0) == 11);
  CHECK(Line(layout, {one_line, 0, 5}, 3) == 11);
  CHECK(Line(layout, {one_line, 0, 5, none}, 4) == -1);
  CHECK(Line(layout, {no_columns, 3}, 0) == 9);        // zigzag: 3 is -1
  CHECK(Line(layout, {far, 0x40, 2, 0, 1, 1}, 0) == 74);  // two bytes: 128, halved
  CHECK(Line(layout, {}, 0) == -1);
}

TEST_CASE("damaged tables end") {
  const Layout layout = Of(0x030c01f0, 2);
  CHECK(Line(layout, {0x7F, 0x7F, 0x7F}, 100) == -1);
  CHECK(Line(layout, {0xF0, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F}, 100) == -1);
}

TEST_CASE("what str.isprintable() accepts, by release") {
  const auto v = [](unsigned minor) { return PythonVersion::FromHex(0x03000000 + (minor << 16) + 0xf0); };
  CHECK(IsPrintable(v(12), 'a'));
  CHECK(IsPrintable(v(12), 0xE9));
  CHECK_FALSE(IsPrintable(v(12), 0x85));
  CHECK_FALSE(IsPrintable(v(12), 0x200B));
  CHECK_FALSE(IsPrintable(v(12), 0xD800));
  CHECK_FALSE(IsPrintable(v(12), 0x110000));
  CHECK_FALSE(IsPrintable(v(14), 0x323B0));  // an ideograph of Unicode 17
  CHECK(IsPrintable(v(15), 0x323B0));
  CHECK_FALSE(IsPrintable(PythonVersion::FromHex(0x020712f0), 0xE9));
}

}  // namespace pygc::cpython
