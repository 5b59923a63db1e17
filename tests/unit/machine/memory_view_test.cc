// The private arena of a run: what it gives, what it refuses, and that the next run has none of it.
#include "core/machine/memory_view.h"

#include <doctest/doctest.h>

#include "tests/support/fake_process.h"

namespace pygc::machine {
namespace {

constexpr Address kStack = 0x2a5e'0020'0000ull;

}  // namespace

TEST_CASE("allocated memory lies above the stack, can be written, and counts as never written before") {
  test::FakeProcess fake;
  const target::Process process = fake.Map(0x10000000, 0x1000).Build();
  MemoryView memory(process.memory, kStack);
  memory.Reset(nullptr);
  CHECK(!memory.allocated());
  const Address a = memory.Allocate(20), b = memory.Allocate(0), c = memory.Allocate(1);
  CHECK(a == memory.stack_top());
  CHECK(b == a + 32);
  CHECK(c == b + 16);
  CHECK(memory.allocated());
  CHECK(memory.IsAllocated(a));
  CHECK(memory.IsAllocated(c + 15));
  CHECK(!memory.IsAllocated(c + 16));
  CHECK(!memory.IsAllocated(kStack));
  CHECK(!memory.wrote_target());
  CHECK(memory.IsNeverWritten(a, 8));
  CHECK(memory.StoreWord(a, 5, 0x77));
  memory.TrashBelow(memory.stack_top());  // a call outside the machine spoils the stack, not what was allocated
  std::uint64_t value = 0;
  Address from = 0;
  CHECK(memory.LoadWord(a, value, from));
  CHECK(value == 5);
  CHECK(from == 0x77);
  CHECK(!memory.read_uninitialised());
  CHECK(memory.LoadWord(a + 8, value, from));
  CHECK(memory.read_uninitialised());
}

TEST_CASE("behind what was allocated there is nothing") {
  test::FakeProcess fake;
  const target::Process process = fake.Map(0x10000000, 0x1000).Build();
  MemoryView memory(process.memory, kStack);
  memory.Reset(nullptr);
  std::uint64_t value = 0;
  CHECK(!memory.Load(memory.stack_top(), value));
  const Address a = memory.Allocate(16);
  CHECK(memory.Store(a + 8, value));
  CHECK(!memory.Store(a + 16, value));
  CHECK(!memory.Load(a + 12, value));
}

TEST_CASE("the arena is bounded, and empty for the next run") {
  test::FakeProcess fake;
  const target::Process process = fake.Map(0x10000000, 0x1000).Build();
  MemoryView memory(process.memory, kStack);
  memory.Reset(nullptr);
  CHECK(memory.Allocate(MemoryView::kArenaBytes + 1) == 0);
  CHECK(memory.Allocate(~0ull) == 0);
  std::uint64_t taken = 0;
  for (Address a = memory.Allocate(1000); a != 0; a = memory.Allocate(1000)) {
    CHECK(memory.StoreWord(a, 1, 0));
    taken += 1008;
  }
  CHECK(taken <= MemoryView::kArenaBytes);
  CHECK(taken >= MemoryView::kArenaBytes - 2048);
  memory.Reset(nullptr);
  CHECK(!memory.allocated());
  const Address again = memory.Allocate(8);
  CHECK(again == memory.stack_top());
  CHECK(memory.IsNeverWritten(again, 8));
}

}  // namespace pygc::machine
