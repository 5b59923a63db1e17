// What the threads have in their hands: the words in their registers and on the used part of their stacks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/base/address.h"
#include "core/base/byte_reader.h"
#include "core/target/process.h"

namespace pygc::snapshot {

inline constexpr std::uint64_t kRedZone = 128;  // bytes below the stack pointer that a function may use (System V ABI, x86-64)

struct UsedStack {
  AddressRange range;   // from below the stack pointer (the red zone of x86-64) to where the thread's control block begins
  AddressRange memory;  // all that was mapped for it: the part that is not in use below `range`, the control block above it
  const target::Thread* thread = nullptr;
  bool is_whole = false;  // `memory` begins where the stack itself does: all of it below `range` is dead, whatever was written there
};

/// The stacks of all threads with registers, rising; the ranges of all are disjoint, and so are the memories. A thread's control block lies at the top of its
/// stack, and other mappings may precede and follow without a gap (chunks of Python's frames, other stacks): where the stack begins and ends is what the control
/// block says. glibc: struct pthread, stackblock and stackblock_size (nptl/descr.h). The main thread's block lies elsewhere, and there the mapping bounds the stack.
/// The kernel keeps a gap below the one that the process began with (stack_guard_gap). Where it is not known which that is, no more than 64 MiB above the stack
/// pointer and 8 MiB below it are called its memory.
[[nodiscard]] std::vector<UsedStack> UsedStacks(const target::Process& process);

/// The stack in whose memory `a` lies, or nullptr.
[[nodiscard]] const UsedStack* StackAt(const std::vector<UsedStack>& stacks, Address a);

/// What the threads that run have in their registers and on the innermost part of their stacks: what they are just changing is among it. A thread in a system
/// call changes nothing.
struct WordsInHand {
  std::vector<std::uint64_t> words;  // without tags in the low bits; sorted
  bool any_registers = false;        // false: the image has none, so it cannot be told
  bool died = false;                 // one of these threads had a signal that says that it did wrong itself
  [[nodiscard]] bool Has(Address a) const { return a != 0 && std::binary_search(words.begin(), words.end(), a); }
};
[[nodiscard]] WordsInHand WordsOfRunningThreads(const target::Process& process);

/// Calls `visit(word, thread)` for each register and each aligned word of the stacks, until it returns false.
template <typename Visit>
void ForEachThreadWord(const target::Process& process, const std::vector<UsedStack>& stacks, Visit&& visit) {
  for (const target::Thread& thread : process.threads) {
    if (!thread.has_registers) continue;
    for (const std::uint64_t word : thread.registers) {
      if (!visit(word, thread)) return;
    }
  }
  for (const UsedStack& stack : stacks) {
    for (Address at = (stack.range.begin + 7) & ~Address{7}; at < stack.range.end && stack.range.end - at >= sizeof(std::uint64_t); at += sizeof(std::uint64_t)) {
      const std::byte* const p = process.memory.At(at, sizeof(std::uint64_t));
      if (p != nullptr && !visit(LoadUnchecked<std::uint64_t>(p), *stack.thread)) return;
    }
  }
}

}  // namespace pygc::snapshot
