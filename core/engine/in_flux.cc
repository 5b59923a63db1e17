#include "core/engine/in_flux.h"

#include <algorithm>

#include "core/snapshot/thread_words.h"

namespace pygc::engine {
namespace {

using analysis::CountFinding;
using analysis::CountFindingKind;

}  // namespace

std::vector<CountFinding> TakeInFlux(const target::Process& process, const heap::HeapSnapshot& heap, const heap::ReferenceAudit& counts, analysis::CountAudit& audit) {
  std::vector<CountFinding> taken;
  if (audit.findings.empty()) return taken;
  const snapshot::WordsInHand hand = snapshot::WordsOfRunningThreads(process);
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
