#include "core/cpython/exception_table.h"

#include <doctest/doctest.h>

#include <vector>

using pygc::cpython::HandlerDepthAt;

namespace {

std::vector<std::byte> Bytes(std::initializer_list<int> values) {
  std::vector<std::byte> out;
  for (const int v : values) out.push_back(static_cast<std::byte>(v));
  return out;
}

}  // namespace

TEST_CASE("depth of the handler around an instruction, as 3.12.1's compiler writes it") {
  // def f(a, b):
  //     with a:
  //         with b: pass
  // dis.dis(f): 6 to 10 -> 72 [1] lasti, 12 to 12 -> 48 [2] lasti, 14 to 28 -> 72 [1] lasti, 48 to 56 -> 66 [4] lasti, ...
  const auto table = Bytes({0x83, 0x3, 0x24, 0x3, 0x86, 0x1, 0x18, 0x5, 0x87, 0x8, 0x24, 0x3, 0x98, 0x5, 0x21, 0x9, 0x9d, 0x7, 0x24, 0x3, 0xa4, 0x5, 0x2d, 0x7});
  CHECK(HandlerDepthAt(table, 4) == 0);   // a is being entered
  CHECK(HandlerDepthAt(table, 6) == 1);
  CHECK(HandlerDepthAt(table, 10) == 1);  // b is being entered
  CHECK(HandlerDepthAt(table, 12) == 2);
  CHECK(HandlerDepthAt(table, 28) == 1);
  CHECK(HandlerDepthAt(table, 30) == 0);
  CHECK(HandlerDepthAt(table, 48) == 4);
  CHECK(HandlerDepthAt(table, 80) == 3);
  CHECK(HandlerDepthAt(table, 1000) == 0);
  CHECK(HandlerDepthAt(table, -2) == 0);
}

TEST_CASE("numbers of several bytes, and tables that are cut or overwritten") {
  // 70 = 1 * 64 + 6: two bytes, of which the first says that another one follows.
  const auto table = Bytes({0xc1, 0x06, 0x41, 0x00, 0x02, 0x06});
  CHECK(HandlerDepthAt(table, 138) == 0);
  CHECK(HandlerDepthAt(table, 140) == 3);
  CHECK(HandlerDepthAt(table, 2 * (70 + 63)) == 3);
  CHECK(HandlerDepthAt(table, 2 * (70 + 64)) == 0);
  for (std::size_t size = 0; size < table.size(); ++size) CHECK(HandlerDepthAt(std::span(table).first(size), 140) == 0);
  CHECK(HandlerDepthAt(std::vector<std::byte>(4096, std::byte{0xff}), 140) == 0);
  CHECK(HandlerDepthAt({}, 0) == 0);
}
