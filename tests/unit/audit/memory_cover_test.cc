#include "core/audit/memory_cover.h"

#include <doctest/doctest.h>

#include <utility>
#include <vector>

#include "tests/support/fake_process.h"

namespace pygc::audit {
namespace {

using Runs = std::vector<std::pair<Address, std::uint64_t>>;

Runs Open(const MemoryCover& cover) {
  Runs runs;
  cover.ForEachOpen(0, cover.part_count(), [&](Address a, const std::byte*, std::uint64_t words) { runs.emplace_back(a, words * 8); });
  return runs;
}

TEST_CASE("all writable memory is open at first, other memory never is") {
  test::FakeProcess fake;
  fake.Map(0x10000, 0x1000).Map(0x20000, 0x1000, "r--");
  const target::Process process = fake.Build();
  const MemoryCover cover(process.memory);
  CHECK(Open(cover) == Runs{{0x10000, 0x1000}});
  CHECK_FALSE(cover.IsClosed(0x10ff8));
  CHECK(cover.IsClosed(0x20000));
}

TEST_CASE("a closed block takes its padding along, a closed part of a structure leaves its neighbours open") {
  test::FakeProcess fake;
  fake.Map(0x10000, 0x100);
  const target::Process process = fake.Build();
  MemoryCover block(process.memory), inside(process.memory);
  block.Close({0x10010, 0x10035});
  CHECK(Open(block) == Runs{{0x10000, 0x10}, {0x10038, 0xc8}});
  inside.CloseInside({0x10004, 0x1003c});
  CHECK(Open(inside) == Runs{{0x10000, 0x8}, {0x10038, 0xc8}});
  inside.CloseInside({0x10084, 0x1008c});  // less than one whole word
  CHECK(Open(inside) == Runs{{0x10000, 0x8}, {0x10038, 0xc8}});
}

TEST_CASE("a block that begins in the middle of 16 bytes is closed by itself, not by its neighbours") {
  test::FakeProcess fake;
  fake.Map(0x10000, 0x100);
  const target::Process process = fake.Build();
  MemoryCover cover(process.memory);
  cover.Close({0x10000, 0x10018});
  cover.Close({0x10030, 0x10038});
  CHECK(Open(cover) == Runs{{0x10018, 0x18}, {0x10038, 0xc8}});
  cover.Close({0x10018, 0x10030});
  CHECK(Open(cover) == Runs{{0x10038, 0xc8}});
}

TEST_CASE("large closed ranges over borders of parts and segments, and ranges outside of memory") {
  test::FakeProcess fake;
  fake.Map(0x1000000, 0x1000000).Map(0x2000000, 0x1000);
  const target::Process process = fake.Build();
  MemoryCover cover(process.memory);
  cover.Close({0x1000100, 0x2000080});
  cover.Close({0x5000000, 0x6000000});
  cover.Close({0, 0x1000010});
  Runs runs = Open(cover);
  CHECK(runs == Runs{{0x1000010, 0xf0}, {0x2000080, 0xf80}});
  CHECK(cover.IsClosed(0x1fffff8));
}

TEST_CASE("blocks closed one after the other through a closer are closed as they would be one by one") {
  test::FakeProcess fake;
  fake.Map(0x1000000, 0x8008).Map(0x1009010, 0x1000).Map(0x1fff000, 0x1000);
  const target::Process process = fake.Build();
  MemoryCover one_by_one(process.memory), together(process.memory);
  {
    MemoryCloser closer(together);
    std::uint64_t random = 12345;
    for (Address at = 0x1000000; at < 0x100b000;) {
      random = random * 6364136223846793005u + 1442695040888963407u;
      const std::uint64_t bytes = 8 + (random >> 33) % (random >> 60 == 0 ? 5000 : 200), gap = (random >> 40) % 3 * 24;
      one_by_one.Close({at, at + bytes});
      closer.Close({at, at + bytes});
      at += bytes + gap;
    }
    one_by_one.Close({0x1ffff80, 0x2000100});
    closer.Close({0x1ffff80, 0x2000100});
  }
  CHECK(Open(together) == Open(one_by_one));
  CHECK(Open(together).size() > 10);
  CHECK(Open(together).back() == std::pair<Address, std::uint64_t>{0x1fff000, 0xf80});
}

}  // namespace
}  // namespace pygc::audit
