#include "core/engine/lost_references.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/report/numbers.h"
#include "core/snapshot/dangling_references.h"

namespace pygc::engine {

Result<void> SetAsideDoubtful(const objects::ObjectReader& reader, const Limits& limits, ProgressSink& progress, const heap::HeapSnapshot& heap,
                              heap::ReferenceAudit& counts, analysis::CountAudit& audit) {
  const auto is_too_high = [](const analysis::CountFinding& f) { return f.kind != analysis::CountFindingKind::kDeficit; };
  const auto too_high = static_cast<std::uint64_t>(std::count_if(audit.findings.begin(), audit.findings.end(), is_too_high));
  if (too_high == 0) return {};
  graph::NodeSet alive(heap.size());
  for (heap::NodeId n = 0; n < heap.size(); ++n) {
    const heap::Auditable is = counts.auditable[n];
    if (is != heap::Auditable::kFreed && is != heap::Auditable::kNoCount && is != heap::Auditable::kUnreadable) alive.Insert(n);
  }
  Result<std::vector<snapshot::LostReferences>> lost = snapshot::FindLostReferences(reader, heap, alive, limits, progress);
  if (!lost) return tl::unexpected(lost.error());
  // What leads to something that is no object any more may lead to what was freed: that is the other mistake of C code.
  std::erase_if(*lost, [](const snapshot::LostReferences& of) { return of.absent + of.astray == 0; });
  const std::uint64_t damaged = heap.coverage.damaged_objects;
  if (lost->empty() && damaged == 0) return {};
  std::uint64_t references = 0;
  for (const snapshot::LostReferences& of : *lost) references += of.absent + of.astray;
  if (damaged > 0) {
    counts.surplus_doubts.push_back(fmt::format("the tables of {} are damaged or were being changed; the counts of what they led to are too high for that",
                                                report::Counted(damaged, "object")));
  }
  if (!lost->empty()) counts.surplus_doubts.push_back(fmt::format("{} of {} (the first at {:#x}) {} not there where {} should be, so memory was overwritten or the core is damaged; the counts of "
                                              "what they led to are too high for that",
                                              report::Counted(references, "reference"), report::Counted(lost->size(), "object"), heap.AddressOf(lost->front().node),
                                              references == 1 ? "is" : "are", references == 1 ? "it" : "they"));
  std::erase_if(audit.findings, is_too_high);
  audit.unverified += too_high;
  return {};
}

}  // namespace pygc::engine
