#include "core/snapshot/thread_words.h"

#include <algorithm>

namespace pygc::snapshot {

std::vector<UsedStack> UsedStacks(const target::Process& process) {
  constexpr Address kRedZone = 128;
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
