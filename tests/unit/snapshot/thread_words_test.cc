#include "core/snapshot/thread_words.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <string>

#include "tests/support/fake_process.h"

namespace pygc::snapshot::thread_words_test {
namespace {

constexpr Address kBase = 0x700000000000, kStackBytes = 0x9000, kChunkBytes = 0x4000, kPair = kStackBytes + kChunkBytes;

// Stacks of 9 pages with 4 pages of other memory between them, all in one mapping. Thread i: its stack pointer 0x1000 below its control block, that 0x940 below
// the end of its stack, as glibc has it.
struct Stacks {
  Stacks(int count, bool described) {
    fake.Map(kBase, static_cast<std::uint64_t>(count) * kPair);
    for (int i = count - 1; i >= 0; --i) {  // the one that crashed comes first
      const Address begin = Begin(i), control = begin + kStackBytes - 0x940;
      if (described) fake.WriteWords(control + 0x690, {begin, kStackBytes, 0x1000, 0x1000});
      fake.AddThread(100 + i, control - 0x1000, 0, control);
    }
  }
  static Address Begin(int i) { return kBase + static_cast<Address>(i) * kPair; }
  test::FakeProcess fake;
};

std::string Who(const target::Process& process, Address a) {
  const std::vector<UsedStack> stacks = UsedStacks(process);
  const UsedStack* const stack = StackAt(stacks, a);
  return stack == nullptr ? "nobody" : fmt::format("{}{}", stack->thread->tid, stack->range.Contains(a) ? "" : a < stack->range.begin ? " below" : " above");
}

TEST_CASE("memory between stacks is nobody's, though all is one mapping") {
  Stacks s(3, true);
  const target::Process process = s.fake.Build();
  REQUIRE(process.memory.segments().size() == 1);
  for (int i = 0; i < 3; ++i) {
    const Address begin = Stacks::Begin(i), control = begin + kStackBytes - 0x940;
    const std::string tid = std::to_string(100 + i);
    CHECK(Who(process, begin) == tid + " below");
    CHECK(Who(process, control - 0x1000 - kRedZone - 8) == tid + " below");
    CHECK(Who(process, control - 0x1000 - kRedZone) == tid);
    CHECK(Who(process, control - 8) == tid);
    CHECK(Who(process, control) == tid + " above");
    CHECK(Who(process, begin + kStackBytes - 8) == tid + " above");
    CHECK(Who(process, begin + kStackBytes) == "nobody");
    CHECK(Who(process, begin + kStackBytes + 0x2f0) == "nobody");
    CHECK(Who(process, begin + kPair - 8) == "nobody");
  }
}

TEST_CASE("a control block that does not say where its stack lies ends it with its page") {
  Stacks s(2, false);
  const target::Process process = s.fake.Build();
  CHECK(Who(process, Stacks::Begin(0) + kStackBytes - 8) == "100 above");
  CHECK(Who(process, Stacks::Begin(0) + kStackBytes) == "101 below");  // nothing tells
}

TEST_CASE("the main thread's stack is the mapping, but no more than 64 MiB of it and 8 MiB below the stack pointer") {
  test::FakeProcess fake;
  fake.Map(kBase, 0x6000000);
  const Address sp = kBase + 0x1000000;
  fake.AddThread(7, sp, 0, 0x1000);
  const target::Process process = fake.Build();
  CHECK(Who(process, sp - 0x800000) == "7 below");
  CHECK(Who(process, sp - 0x800008) == "nobody");
  CHECK(Who(process, sp + 0x3fffff8) == "7");
  CHECK(Who(process, sp + 0x4000000) == "nobody");
  CHECK(!UsedStacks(process).front().is_whole);
}

TEST_CASE("the stack that the process began with is its mapping, and all below its stack pointer is dead; so is that of a thread that says where it begins") {
  test::FakeProcess fake;
  fake.Map(kBase, 0x6000000).Map(kBase + 0x10000000, 0x10000);
  const Address sp = kBase + 0x1000000;
  fake.AddThread(7, sp, 0, 0x1000);
  fake.base.initial_stack = kBase + 0x5ffff00;
  const target::Process process = fake.Build();
  CHECK(Who(process, kBase) == "7 below");
  CHECK(Who(process, kBase + 0x5fffff8) == "7");
  CHECK(UsedStacks(process).front().is_whole);
  fake.base.initial_stack = kBase + 0x10000100;  // the thread is on another one
  CHECK(!UsedStacks(fake.Build()).front().is_whole);
  CHECK(UsedStacks(Stacks(1, true).fake.Build()).front().is_whole);
  CHECK(!UsedStacks(Stacks(1, false).fake.Build()).front().is_whole);
}

}  // namespace
}  // namespace pygc::snapshot::thread_words_test
