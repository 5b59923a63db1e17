#include "core/snapshot/thread_words.h"

#include <algorithm>
#include <optional>

namespace pygc::snapshot {
namespace {

constexpr std::uint64_t kInnermost = 1024;  // bytes of stack: where the functions that change counts and links keep what has no register
constexpr std::uint64_t kTagBits = 7;

// True where the last instruction was SYSCALL: the thread is in the kernel, or just back.
bool IsInSystemCall(const target::Process& process, const target::Thread& thread) {
  const std::byte* const p = process.memory.At(thread.instruction_pointer() - 2, 2);
  return p != nullptr && p[0] == std::byte{0x0F} && p[1] == std::byte{0x05};
}

// Signals that say that the thread itself did wrong. Linux: SIGILL, SIGABRT, SIGBUS, SIGFPE, SIGSEGV.
bool HasDied(const target::Process& process, const target::Thread& thread) {
  constexpr std::int32_t kFatal[] = {4, 6, 7, 8, 11};
  return process.kind == target::TargetKind::kCore && std::find(std::begin(kFatal), std::end(kFatal), thread.signal) != std::end(kFatal);
}

// The stack that the control block behind the thread pointer describes: two words, where it begins and how long it is, that fit the stack pointer and the
// block itself. Where they stand depends on the version (+0x690 in glibc 2.34 to 2.42); the C libraries that have none there give nothing.
std::optional<AddressRange> DescribedStack(const target::Process& process, const target::Thread& thread) {
  constexpr std::uint64_t kControlBlock = 0x900, kPage = 4096, kMaxBehind = 1u << 16;  // struct pthread has 2304 bytes in glibc 2.28 to 2.42
  const Address sp = thread.stack_pointer(), control = thread.fs_base();
  for (std::uint64_t at = 0; at + 16 <= kControlBlock; at += 8) {
    const std::byte* const p = process.memory.At(control + at, 16);
    if (p == nullptr) return std::nullopt;
    const Address begin = LoadUnchecked<std::uint64_t>(p);
    const std::uint64_t bytes = LoadUnchecked<std::uint64_t>(p + 8);
    if (begin % kPage != 0 || begin > sp || control - begin >= bytes) continue;
    if (const std::uint64_t behind = bytes - (control - begin); behind >= at + 16 && behind <= kMaxBehind) return AddressRange{begin, begin + bytes};
  }
  return std::nullopt;
}

}  // namespace

WordsInHand WordsOfRunningThreads(const target::Process& process) {
  WordsInHand hand;
  for (const target::Thread& thread : process.threads) {
    hand.any_registers = hand.any_registers || thread.has_registers;
    if (!thread.has_registers || IsInSystemCall(process, thread)) continue;
    hand.died = hand.died || HasDied(process, thread);
    for (const std::uint64_t word : thread.registers) hand.words.push_back(word & ~kTagBits);
    const Address begin = (thread.stack_pointer() - std::min(kRedZone, thread.stack_pointer())) & ~kTagBits;
    for (Address at = begin; at < begin + kRedZone + kInnermost; at += 8) {
      const std::byte* const p = process.memory.At(at, 8);
      if (p != nullptr) hand.words.push_back(LoadUnchecked<std::uint64_t>(p) & ~kTagBits);
    }
  }
  std::sort(hand.words.begin(), hand.words.end());
  return hand;
}

std::vector<UsedStack> UsedStacks(const target::Process& process) {
  constexpr std::uint64_t kMaxAbove = std::uint64_t{64} << 20, kMaxBelow = std::uint64_t{8} << 20, kPage = 4096;
  std::vector<UsedStack> stacks;
  for (const target::Thread& thread : process.threads) {
    const target::Segment* const segment = thread.has_registers ? process.memory.Find(thread.stack_pointer()) : nullptr;
    if (segment == nullptr || !segment->writable) continue;
    const Address sp = thread.stack_pointer(), red_zone = std::min(kRedZone, sp - segment->range.begin);
    const bool bounded = thread.fs_base() > sp && thread.fs_base() < segment->range.end;
    const AddressRange range = {sp - red_zone, bounded ? thread.fs_base() : segment->range.end};
    const std::uint64_t below = std::min(kMaxBelow, sp - segment->range.begin), above = std::min(kMaxAbove, segment->range.end - sp);
    AddressRange memory = {sp - below, sp + above};
    bool is_whole = false;
    if (!bounded && segment->range.Contains(process.initial_stack)) {
      memory = segment->range;
      is_whole = true;
    } else if (bounded) {
      const std::optional<AddressRange> described = DescribedStack(process, thread);
      memory = described ? *described : AddressRange{memory.begin, (thread.fs_base() | (kPage - 1)) + 1};
      memory = {std::min(range.begin, std::max(memory.begin, segment->range.begin)), std::min(memory.end, segment->range.end)};
      is_whole = described.has_value();
    }
    stacks.push_back({range, memory, &thread, is_whole});
  }
  std::sort(stacks.begin(), stacks.end(), [](const UsedStack& a, const UsedStack& b) { return a.range.begin < b.range.begin; });
  // Threads that share a mapping without a bound would overlap: each address belongs to the last one that begins before it.
  for (std::size_t i = 0; i + 1 < stacks.size(); ++i) {
    const Address next = stacks[i + 1].range.begin;
    stacks[i].range.end = std::min(stacks[i].range.end, next);
    stacks[i].memory.end = std::min(stacks[i].memory.end, next);
    stacks[i + 1].memory.begin = std::max(stacks[i + 1].memory.begin, stacks[i].memory.end);
  }
  return stacks;
}

const UsedStack* StackAt(const std::vector<UsedStack>& stacks, Address a) {
  const auto after = std::partition_point(stacks.begin(), stacks.end(), [a](const UsedStack& s) { return s.memory.begin <= a; });
  return after != stacks.begin() && (after - 1)->memory.Contains(a) ? &*(after - 1) : nullptr;
}

}  // namespace pygc::snapshot
