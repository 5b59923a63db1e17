#include "core/analysis/refcount_audit.h"

#include <algorithm>

namespace pygc::analysis {

namespace {

// True where the object is one of the lost part, whose items are sorted by node first.
bool IsLost(const heap::ReferenceAudit& audit, heap::NodeId n) {
  const auto& items = audit.lost.items;
  const auto at = std::lower_bound(items.begin(), items.end(), n, [](const heap::LostPart::Item& i, heap::NodeId id) { return i.object < id; });
  return at != items.end() && at->object == n;
}

// True where the object's memory was given back, or its count is 0 and no thread has it in hand.
bool IsFreed(const heap::HeapSnapshot& heap, const heap::ReferenceAudit& audit, heap::NodeId n) {
  if (audit.auditable[n] == heap::Auditable::kFreed) return true;
  return audit.auditable[n] == heap::Auditable::kNoCount && !std::binary_search(heap.dying.begin(), heap.dying.end(), n);
}

}  // namespace

CountAudit JudgeCounts(const heap::HeapSnapshot& heap, const heap::ReferenceAudit& audit) {
  CountAudit result;
  const bool all_searched = audit.surplus_doubts.empty();
  for (heap::NodeId n = 0; n < heap.size(); ++n) {
    ++result.by_reason[static_cast<std::size_t>(audit.auditable[n])];
    if (IsFreed(heap, audit, n)) {
      if (audit.memory_lost) {
        ++result.unverified;
        continue;
      }
      if (audit.known[n] > 0) result.findings.push_back({n, heap.AddressOf(n), CountFindingKind::kDeficit, 0, audit.known[n], audit.possible[n], true});
      continue;
    }
    if (audit.auditable[n] != heap::Auditable::kYes) continue;
    ++result.audited;
    const std::uint32_t count = heap.refcount[n], known = audit.known[n], possible = audit.possible[n];
    if (known == count) {
      ++result.exact;
    } else if (known > count) {
      result.findings.push_back({n, heap.AddressOf(n), CountFindingKind::kDeficit, count, known, possible});
    } else if (count - known <= possible) {
      ++result.explained;
      if (const auto in = std::lower_bound(audit.in_variables.begin(), audit.in_variables.end(), std::pair<heap::NodeId, std::uint32_t>(n, 0)); in != audit.in_variables.end() && in->first == n)
        result.in_variables += in->second == count - known;
    } else if (!all_searched) {
      ++result.unverified;
    } else {
      const bool nothing_holds = known + possible == 0 || (n < audit.held.size() && audit.held[n] == heap::Held::kNothing && IsLost(audit, n));
      result.findings.push_back({n, heap.AddressOf(n), nothing_holds ? CountFindingKind::kLost : CountFindingKind::kSurplus, count, known, possible});
    }
  }
  for (std::size_t i = 0, next = 0; i < audit.dangling.size() && !audit.memory_lost; i = next) {
    while (next < audit.dangling.size() && audit.dangling[next].target == audit.dangling[i].target) ++next;
    result.findings.push_back({heap::kNoNode, audit.dangling[i].target, CountFindingKind::kDeficit, 0, static_cast<std::uint32_t>(next - i), 0, true});
  }
  for (const heap::UnreachedObject& u : audit.unreached) {
    if (u.possible == 0 && u.hanging > 0 && all_searched) {
      ++result.hanging;
    } else if (u.possible == 0 && all_searched) {
      ++result.audited;
      result.findings.push_back({heap::kNoNode, u.object, CountFindingKind::kLost, u.recorded, 0, 0});
    } else {
      ++result.unconfirmed;
    }
  }
  return result;
}

}  // namespace pygc::analysis
