#include "core/engine/count_rows.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/report/numbers.h"

namespace pygc::engine {

using analysis::CountFinding;
using analysis::CountFindingKind;

const char* KindName(CountFindingKind kind) noexcept {
  switch (kind) {
    case CountFindingKind::kDeficit: return "deficit";
    case CountFindingKind::kSurplus: return "surplus";
    case CountFindingKind::kLost: return "lost";
    case CountFindingKind::kHiddenCycle: return "hidden-cycle";
  }
  return "";
}

audit::AuditInput AuditInputOf(const CommandInput& in) {
  return {in.reader, in.audit->ownership, in.audit->roots, in.audit->blocks, in.audit->chunks, in.heap, &in.audit->garbage};
}

std::vector<report::RefcountFinding> CountRows(const CommandInput& in, const Labels& labels, const std::vector<CountFinding>& found) {
  std::vector<heap::NodeId> targets;
  for (const CountFinding& f : found) {
    if (f.object != heap::kNoNode && targets.size() < kMaxCountRows) targets.push_back(f.object);
  }
  std::sort(targets.begin(), targets.end());
  const std::vector<std::vector<audit::Holder>> holders =
      targets.empty() ? std::vector<std::vector<audit::Holder>>{} : audit::FindHolders(AuditInputOf(in), targets, kMaxHolders, in.progress);
  std::vector<report::RefcountFinding> rows;
  for (const CountFinding& f : found) {
    if (rows.size() >= kMaxCountRows) break;
    report::RefcountFinding& row = rows.emplace_back();
    row.kind = KindName(f.kind);
    row.object = f.address;
    row.type = labels.TypeName(row.object);
    row.text = labels.NameOf(row.object, row.type);
    row.recorded = f.recorded;
    row.known = f.known;
    row.possible = f.possible;
    row.freed = f.freed;
    const auto at = std::lower_bound(targets.begin(), targets.end(), f.object);
    if (f.object == heap::kNoNode && f.freed) {
      const std::vector<heap::DanglingReference>& all = in.audit->counts.dangling;
      auto dangling = std::lower_bound(all.begin(), all.end(), f.address, [](const heap::DanglingReference& d, Address a) { return d.target < a; });
      for (; dangling != all.end() && dangling->target == f.address && row.holders.size() < kMaxHolders; ++dangling) {
        const Address holder = in.heap.AddressOf(dangling->holder);
        row.holders.push_back({holder, labels.TypeName(holder), dangling->place});
      }
    }
    if (f.object == heap::kNoNode || at == targets.end() || *at != f.object) continue;
    for (const audit::Holder& h : holders[static_cast<std::size_t>(at - targets.begin())]) {
      const Address holder = h.holder == heap::kNoNode ? 0 : in.heap.AddressOf(h.holder);
      row.holders.push_back({holder, holder != 0 ? labels.TypeName(holder) : std::string(), h.place});
    }
  }
  return rows;
}

std::string EvidenceText(const report::RefcountFinding& row) {
  std::string text = fmt::format("ob_refcnt {}, {} found", row.recorded, report::Counted(row.known, "reference"));
  if (row.possible > 0) text += fmt::format(", {} that may be one", report::Counted(row.possible, "word"));
  const char* separator = ": held by ";
  for (const report::CountHolder& h : row.holders) {
    text += separator;
    if (h.object != 0) text += fmt::format("{} at {:#x} ", h.type, h.object);
    text += h.place;
    separator = "; ";
  }
  return text;
}

}  // namespace pygc::engine
