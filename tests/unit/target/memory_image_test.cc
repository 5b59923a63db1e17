#include "core/target/memory_image.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "tests/support/fake_process.h"

namespace pygc::target {
namespace {

std::vector<std::byte> Pattern(std::size_t size, unsigned seed) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 7 + seed);
  return bytes;
}

Segment At(Address begin, std::span<const std::byte> bytes) {
  Segment s;
  s.range = {begin, begin + bytes.size()};
  s.bytes = bytes.data();
  return s;
}

}  // namespace

TEST_CASE("segments that continue each other in address and in host memory are joined") {
  const auto bytes = Pattern(0x3000, 1);
  const std::span all(bytes);
  const MemoryImage image({At(0x12000, all.subspan(0x2000)), At(0x10000, all.first(0x1000)), At(0x11000, all.subspan(0x1000, 0x1000))}, {});
  REQUIRE(image.segments().size() == 1);
  CHECK(image.At(0x10000, 0x3000) == bytes.data());
  CHECK(image.At(0x10FFF, 0x2001) == bytes.data() + 0xFFF);
  CHECK(image.At(0x10FFF, 0x2002) == nullptr);
  CHECK(image.At(0x13000, 0) == nullptr);
  CHECK(image.At(0xFFFF, 1) == nullptr);
}

TEST_CASE("segments of another kind stay apart, and Read crosses their border") {
  const auto bytes = Pattern(0x2000, 1);
  Segment second = At(0x11000, std::span(bytes).subspan(0x1000));
  second.writable = true;
  const MemoryImage image({At(0x10000, std::span(bytes).first(0x1000)), second}, {});
  REQUIRE(image.segments().size() == 2);
  CHECK(image.At(0x10FFC, 8) == bytes.data() + 0xFFC);  // in host memory they continue each other
  CHECK(image.ReadValue<std::uint64_t>(0x10FFC).value() == LoadUnchecked<std::uint64_t>(bytes.data() + 0xFFC));
  CHECK(image.ReadValue<std::uint64_t>(0x11FFC).error().code == ErrorCode::kFault);
  std::vector<std::byte> out(0x40);
  CHECK(image.Read(0x11FF0, out).value() == 0x10);
  CHECK(image.Read(0x12000, out).error().code == ErrorCode::kFault);
  CHECK(image.Read(0x12000, std::span(out).first(0)).value() == 0);
}

TEST_CASE("what spans a border of segments is one piece, whatever kind they are of and wherever their bytes lie") {
  const auto low = Pattern(0x2000, 1), high = Pattern(0x2000, 5), top = Pattern(0x10, 9);
  const std::span lows(low);
  std::vector<Segment> segments = {At(0x30000, high), At(0x10000, lows.first(0x1000)), At(0x11000, lows.subspan(0x1000)), At(0x32000, top), At(0x12000, high)};
  segments[2].writable = !segments[1].writable;  // not joined
  const MemoryImage image(segments, {});
  REQUIRE(image.segments().size() == 5);
  CHECK(image.At(0x10FF8, 0x10) == low.data() + 0xFF8);
  for (const Address begin : {0x10FF0, 0x11FF0, 0x31FF8})
    for (const std::uint64_t size : {0x10, 0x18}) {
      std::vector<std::byte> expected(size);
      REQUIRE(image.Read(begin, expected) == size);
      const std::byte* got = image.At(begin, size);
      REQUIRE(got != nullptr);
      CHECK(std::equal(expected.begin(), expected.end(), got));
    }
  CHECK(image.At(0x13FF8, 0x10) == nullptr);   // nothing follows
  CHECK(image.At(0x32008, 0x10) == nullptr);
  CHECK(image.At(0x31FF0, 0x21) == nullptr);
  CHECK(image.At(0x10000, 0x4001) == nullptr);
  REQUIRE(image.At(0x10000, 0x4000) != nullptr);  // four segments of three kinds of place
}

TEST_CASE("borders without number cost a bounded amount of memory") {
  const auto bytes = Pattern(0x20000, 3);
  std::vector<Segment> segments;
  for (std::size_t i = 0; i < 0x10000; ++i) segments.push_back(At(0x100000 + i * 2, std::span(bytes).subspan(0x1FFFE - i * 2, 2)));
  const MemoryImage image(segments, {});
  CHECK(image.SeamReach() == 0);
  CHECK(image.At(0x100000, 3) == nullptr);
  CHECK(image.At(0x100000, 2) == bytes.data() + 0x1FFFE);
}

TEST_CASE("where segments overlap, the one that stands first in the vector wins") {
  const auto first = Pattern(0x1000, 1), second = Pattern(0x3000, 2), third = Pattern(0x800, 3);
  const MemoryImage image({At(0x11000, first), At(0x10000, second), At(0x11800, third)}, {});
  REQUIRE(image.segments().size() == 3);
  CHECK(image.At(0x10FFF, 1) == second.data() + 0xFFF);
  CHECK(image.At(0x11800, 1) == first.data() + 0x800);
  CHECK(image.At(0x12000, 1) == second.data() + 0x2000);
}

TEST_CASE("overlaps agree with painting bytes in reverse order") {
  std::mt19937_64 random(5);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::vector<std::byte>> storage;
    std::vector<Segment> segments;
    std::vector<int> painted(512, -1);
    for (unsigned i = 0; i < 1 + random() % 12; ++i) {
      const std::size_t begin = random() % 400, size = random() % 110;
      storage.push_back(Pattern(size, static_cast<unsigned>(random())));
      segments.push_back(At(0x1000 + begin, storage.back()));
    }
    for (std::size_t i = segments.size(); i-- > 0;) {
      for (std::size_t k = 0; k < segments[i].range.size(); ++k) painted[segments[i].range.begin - 0x1000 + k] = static_cast<int>(segments[i].bytes[k]);
    }
    const MemoryImage image(segments, {});
    for (std::size_t i = 0; i < painted.size(); ++i) {
      const std::byte* p = image.At(0x1000 + i, 1);
      REQUIRE((p == nullptr ? -1 : static_cast<int>(*p)) == painted[i]);
    }
    for (std::size_t i = 1; i < image.segments().size(); ++i) REQUIRE(image.segments()[i - 1].range.end <= image.segments()[i].range.begin);
  }
}

TEST_CASE("a segment across 2^48 or at the top of the address space can be read") {
  const auto bytes = Pattern(0x2000, 1);
  const MemoryImage image({At((1ull << 48) - 0x1000, bytes), At(0xFFFFFFFFFFFFF000, std::span(bytes).first(0xFFF))}, {});
  CHECK(*image.At((1ull << 48) - 1, 1) == bytes[0xFFF]);
  CHECK(*image.At(1ull << 48, 1) == bytes[0x1000]);
  CHECK(image.ReadPointer((1ull << 48) - 4).value() == LoadUnchecked<std::uint64_t>(bytes.data() + 0xFFC));
  CHECK(image.At(0xFFFFFFFFFFFFF000, 0xFFF) != nullptr);
  CHECK(image.At(0xFFFFFFFFFFFFF000, 0x1000) == nullptr);
  CHECK(!image.ReadPointer(0xFFFFFFFFFFFFFFFC).has_value());
}

TEST_CASE("texts end at NUL, at the limit, or fail") {
  test::FakeProcess fake;
  fake.Map(0x10000, 0x1000).Map(0x11000, 0x10, "r--").Text("0x10FFC: 61 63 72 6f\n").WriteString(0x11000, "ss the");
  const Process p = fake.Build();
  CHECK(p.memory.ReadCString(0x10FFC, 100).value() == "across the");
  CHECK(p.memory.ReadCString(0x10FFC, 6).value() == "across");
  CHECK(p.memory.ReadCString(0x10FFC, 0).value().empty());
  CHECK(p.memory.ReadCString(0x11010, 5).error().code == ErrorCode::kFault);
  fake.WriteBytes(0x11000, std::vector<std::byte>(0x10, std::byte{'x'}));
  CHECK(fake.Build().memory.ReadCString(0x11000, 100).error().code == ErrorCode::kFault);
}

TEST_CASE("a fake process is built from text") {
  test::FakeProcess fake;
  fake.Text(
      "map 0x10000 0x100        # a heap\n"
      "map 20000 1000 r-x\n"
      "0x10000: q 0x20000 7\n"
      "0x10010: d 5 6\n"
      "0x10018: \"dict\"\n"
      "0x20000: 8b 48 10 c3\n");
  const std::uint32_t m = fake.AddModule("/lib/x.so", {{0x20000, 0x21000}}, 0x20000);
  const Process p = fake.AddThread(7, 0x10080).Build();
  CHECK(p.memory.ReadPointer(0x10000).value() == 0x20000);
  CHECK(p.memory.ReadPointer(0x10008).value() == 7);
  CHECK(p.memory.ReadValue<std::uint32_t>(0x10014).value() == 6);
  CHECK(p.memory.ReadCString(0x10018, 10).value() == "dict");
  CHECK(p.memory.ReadValue<std::uint32_t>(0x20000).value() == 0xC310488B);
  CHECK(!p.memory.Find(0x20000)->writable);
  CHECK(p.FindModule(0x20800) == &p.modules[m]);
  CHECK(p.FindModule(0x10000) == nullptr);
  CHECK(p.threads.at(0).stack_pointer() == 0x10080);
}

}  // namespace pygc::target
