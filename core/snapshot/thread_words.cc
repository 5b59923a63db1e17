#include "core/snapshot/thread_words.h"

#include <algorithm>

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
  std::vector<UsedStack> stacks;
  for (const target::Thread& thread : process.threads) {
    const target::Segment* const segment = thread.has_registers ? process.memory.Find(thread.stack_pointer()) : nullptr;
    if (segment == nullptr || !segment->writable) continue;
    const Address sp = thread.stack_pointer(), red_zone = std::min(kRedZone, sp - segment->range.begin);
    const bool bounded = thread.fs_base() > sp && thread.fs_base() < segment->range.end;
    stacks.push_back({{sp - red_zone, bounded ? thread.fs_base() : segment->range.end}, &thread});
  }
  std::sort(stacks.begin(), stacks.end(), [](const UsedStack& a, const UsedStack& b) { return a.range.begin < b.range.begin; });
  // Threads that share a mapping without a bound would overlap: each address belongs to the last one that begins before it.
  for (std::size_t i = 0; i + 1 < stacks.size(); ++i) stacks[i].range.end = std::min(stacks[i].range.end, stacks[i + 1].range.begin);
  return stacks;
}

}  // namespace pygc::snapshot
