#include "core/audit/dangling_references.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/snapshot/dangling_references.h"

namespace pygc::audit {

namespace {

using heap::NodeId;

constexpr NodeId kProgressStep = 65536;

}  // namespace

std::vector<heap::DanglingReference> FindDangling(const AuditInput& in, const std::vector<heap::Auditable>& counts, ProgressSink& progress) {
  const snapshot::ReferentTest test(in.reader, [&in](Address a) { return in.blocks.IsFree(a); });
  std::vector<heap::DanglingReference> found;
  objects::ReferentBuffer referents;
  std::vector<objects::OwnedSlot> owned;
  std::vector<objects::LabelledReferent> labelled;
  bool stopped = false;
  const auto dangles = [&](Address a) { return in.heap.index.Find(a) == heap::kNoNode && test.WhyNoLiveObject(a) != nullptr; };
  const auto add = [&](Address target, NodeId holder, std::string place) {
    if (found.size() < kMaxDangling) found.push_back({target, holder, std::move(place)});
  };
  in.heap.index.ForEach(0, in.heap.size(), [&](NodeId n, Address a) {
    if (n % kProgressStep == 0 && !stopped) stopped = !progress.Update("finding what leads to freed memory", n, in.heap.size());
    if (stopped || found.size() >= kMaxDangling || (in.heap.flags[n] & (heap::kApproximate | heap::kFault)) != 0) return;
    if (counts[n] == heap::Auditable::kNoCount || counts[n] == heap::Auditable::kFreed || counts[n] == heap::Auditable::kUnreadable) return;
    const objects::TypeFacts* const type = in.reader.Type(in.heap.types[in.heap.type[n]].address);
    if (type == nullptr || type->body == objects::BodyKind::kModule || in.ownership.IsExecuting(a, *type)) return;
    if (std::find(in.roots.uncounted_tables.begin(), in.roots.uncounted_tables.end(), a) != in.roots.uncounted_tables.end()) return;
    owned.clear();
    in.ownership.NotVisited(a, *type, owned);
    for (const objects::OwnedSlot& o : owned) {
      if (dangles(o.referent)) add(o.referent, n, fmt::format(".{}", o.name));
    }
    if (!in.heap.IsTracked(n) && !(type->have_gc && in.reader.IsGc(a, *type))) return;
    referents.clear();
    if (!objects::IsExact(in.reader.Referents(a, *type, referents)) || std::none_of(referents.begin(), referents.end(), dangles)) return;
    labelled.clear();
    in.reader.LabelledReferents(a, *type, labelled);
    for (const objects::LabelledReferent& l : labelled) {
      if (dangles(l.referent)) add(l.referent, n, in.reader.LabelText(l));
    }
  });
  std::stable_sort(found.begin(), found.end(),
                   [](const heap::DanglingReference& x, const heap::DanglingReference& y) { return x.target < y.target; });
  return found;
}

}  // namespace pygc::audit
