#include "core/engine/in_flux.h"

#include <algorithm>

#include "core/base/byte_reader.h"

namespace pygc::engine {
namespace {

using analysis::CountFinding;
using analysis::CountFindingKind;

constexpr std::uint64_t kRedZone = 128;    // x86-64 ABI
constexpr std::uint64_t kInnermost = 1024;  // bytes of stack: where the functions that change counts keep what has no register
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

struct InHand {
  std::vector<std::uint64_t> words;  // sorted
  bool died = false;                 // one of these threads
  [[nodiscard]] bool Has(Address a) const { return a != 0 && std::binary_search(words.begin(), words.end(), a); }
};

InHand WordsOfRunningThreads(const target::Process& process) {
  InHand hand;
  for (const target::Thread& thread : process.threads) {
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

}  // namespace

std::vector<CountFinding> TakeInFlux(const target::Process& process, const heap::HeapSnapshot& heap, const heap::ReferenceAudit& counts, analysis::CountAudit& audit) {
  std::vector<CountFinding> taken;
  if (audit.findings.empty()) return taken;
  const InHand hand = WordsOfRunningThreads(process);
  if (hand.words.empty()) return taken;
  const auto holder_in_hand = [&](Address target) {
    auto d = std::lower_bound(counts.dangling.begin(), counts.dangling.end(), target, [](const heap::DanglingReference& r, Address a) { return r.target < a; });
    for (; d != counts.dangling.end() && d->target == target; ++d) {
      if (hand.Has(heap.AddressOf(d->holder))) return true;
    }
    return false;
  };
  const auto is_in_flux = [&](const CountFinding& f) {
    if (f.kind == CountFindingKind::kDeficit && hand.died) return false;
    if (f.freed && f.object != heap::kNoNode && counts.auditable[f.object] == heap::Auditable::kFreed) return false;
    if (f.freed && f.object == heap::kNoNode) return holder_in_hand(f.address);
    return hand.Has(f.address);
  };
  const auto kept = std::stable_partition(audit.findings.begin(), audit.findings.end(), [&](const CountFinding& f) { return !is_in_flux(f); });
  taken.assign(kept, audit.findings.end());
  audit.findings.erase(kept, audit.findings.end());
  return taken;
}

}  // namespace pygc::engine
