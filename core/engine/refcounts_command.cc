// Refcounts: every object whose ob_refcnt and the references found to it disagree, with who holds them.
#include <fmt/format.h>

#include <algorithm>

#include "core/engine/audit_data.h"
#include "core/engine/command.h"
#include "core/engine/labels.h"
#include "core/report/numbers.h"
#include "core/report/refcounts_report.h"

namespace pygc::engine {
namespace {

using analysis::CountFinding;
using analysis::CountFindingKind;

constexpr std::size_t kMaxFindings = 100'000;
constexpr std::size_t kMaxHolders = 8;

const char* KindName(CountFindingKind kind) {
  switch (kind) {
    case CountFindingKind::kDeficit: return "deficit";
    case CountFindingKind::kSurplus: return "surplus";
    case CountFindingKind::kLost: return "lost";
  }
  return "";
}

struct Reason {
  heap::Auditable auditable;
  const char* name;
  const char* text;
};
constexpr Reason kReasons[] = {
    {heap::Auditable::kImmortalCount, "immortal", "immortal, their count never changes"},
    {heap::Auditable::kStatic, "static", "static data of a module, whose count starts with a value of its own"},
    {heap::Auditable::kNoCount, "no-count", "count 0, being freed or kept for reuse"},
    {heap::Auditable::kUnreadable, "unreadable", "the object or its count cannot be read"},
};

class RefcountsCommand {
 public:
  explicit RefcountsCommand(const CommandInput& in) : in_(in), header_(in.header), labels_(in.reader, in.request.redact) {}

  Outcome Run() {
    if (in_.audit == nullptr) {
      if (header_.complete) header_.missing.push_back({"the audit of reference counts", "counts of free-threaded builds are kept in several places and are not audited in this version", ""});
    } else {
      Summary();
      Findings();
    }
    header_.complete = header_.missing.empty();
    if (!header_.complete && header_.certainty == report::Certainty::kExact) header_.certainty = report::Certainty::kLowerBound;
    outcome_.partial = !header_.complete;
    outcome_.definite = report_.deficits + report_.surpluses + report_.lost > 0;
    outcome_.document = Render(in_.request, header_, report_, in_.colour);
    return std::move(outcome_);
  }

 private:
  void Summary() {
    const analysis::CountAudit& a = in_.audit->judged;
    report_.objects = in_.heap.size();
    report_.audited = a.audited;
    report_.exact = a.exact;
    report_.explained = a.explained;
    report_.unverified = a.unverified;
    for (const Reason& r : kReasons) {
      if (const std::uint64_t n = a.by_reason[static_cast<std::size_t>(r.auditable)]; n > 0) report_.not_audited.push_back({r.name, r.text, n});
    }
    for (const std::string& doubt : in_.audit->counts.surplus_doubts) {
      report_.limits.push_back(doubt);
      header_.missing.push_back({"counts that are too high", doubt, ""});
    }
    if (!in_.audit->blocks.found()) report_.limits.push_back("CPython's allocator was not found: freed memory cannot be told from used, so fewer counts that are too high are found");
    report_.searched_bytes = in_.audit->counts.open_bytes;
    report_.blocks = in_.audit->counts.blocks_in_use;
  }

  [[nodiscard]] bool Passes(const CountFinding& f) const { return PassesFilters(in_.request, TypeOf(f.object), {TypeOf(f.object)}); }
  [[nodiscard]] std::string TypeOf(heap::NodeId n) const { return in_.heap.types[in_.heap.type[n]].name; }

  void Findings() {
    std::vector<CountFinding> shown;
    for (const CountFinding& f : in_.audit->judged.findings) {
      if (!Passes(f)) continue;
      ++(f.kind == CountFindingKind::kDeficit ? report_.deficits : f.kind == CountFindingKind::kSurplus ? report_.surpluses : report_.lost);
      shown.push_back(f);
    }
    // Deficits first: they end in a crash. Then by how far the count is off.
    const auto off = [](const CountFinding& f) { return f.kind == CountFindingKind::kDeficit ? f.known - f.recorded : f.recorded - f.known; };
    std::stable_sort(shown.begin(), shown.end(), [&](const CountFinding& a, const CountFinding& b) {
      if ((a.kind == CountFindingKind::kDeficit) != (b.kind == CountFindingKind::kDeficit)) return a.kind == CountFindingKind::kDeficit;
      return off(a) > off(b);
    });
    shown.resize(std::min<std::size_t>(shown.size(), in_.request.limit == 0 ? kMaxFindings : in_.request.limit));
    std::vector<heap::NodeId> targets;
    for (const CountFinding& f : shown) targets.push_back(f.object);
    std::sort(targets.begin(), targets.end());
    const audit::AuditInput input{in_.reader, in_.audit->ownership, in_.audit->roots, in_.audit->blocks, in_.heap};
    const std::vector<std::vector<audit::Holder>> holders =
        targets.empty() ? std::vector<std::vector<audit::Holder>>{} : audit::FindHolders(input, targets, kMaxHolders, in_.progress);
    for (const CountFinding& f : shown) {
      report::RefcountFinding& row = report_.findings.emplace_back();
      row.kind = KindName(f.kind);
      row.object = in_.heap.AddressOf(f.object);
      row.type = labels_.TypeName(row.object);
      row.text = labels_.NameOf(row.object, row.type);
      row.recorded = f.recorded;
      row.known = f.known;
      row.possible = f.possible;
      const auto at = static_cast<std::size_t>(std::lower_bound(targets.begin(), targets.end(), f.object) - targets.begin());
      for (const audit::Holder& h : holders[at]) {
        const Address holder = h.holder == heap::kNoNode ? 0 : in_.heap.AddressOf(h.holder);
        row.holders.push_back({holder, holder != 0 ? labels_.TypeName(holder) : std::string(), h.place});
      }
    }
  }

  const CommandInput& in_;
  report::Header header_;
  Labels labels_;
  report::RefcountsReport report_;
  Outcome outcome_;
};

}  // namespace

Outcome RunRefcounts(const CommandInput& in) { return RefcountsCommand(in).Run(); }

}  // namespace pygc::engine
