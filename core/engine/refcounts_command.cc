// Refcounts: every object whose ob_refcnt and the references found to it disagree, with who holds them.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "core/engine/audit_data.h"
#include "core/engine/baseline.h"
#include "core/engine/command.h"
#include "core/engine/count_rows.h"
#include "core/engine/labels.h"
#include "core/engine/lost_groups.h"
#include "core/report/numbers.h"
#include "core/report/fingerprint.h"
#include "core/report/refcounts_report.h"

namespace pygc::engine {
namespace {

using analysis::CountFinding;
using analysis::CountFindingKind;

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
    {heap::Auditable::kFreed, "freed", "their memory was freed"},
    {heap::Auditable::kUnsettled, "unsettled", "a thread was just putting the parts of their count together"},
};

constexpr std::uint64_t kShownAlike = 3;  // findings that differ in the object alone, in a text without --all and --limit 0

class RefcountsCommand {
 public:
  explicit RefcountsCommand(const CommandInput& in) : in_(in), header_(in.header), labels_(in.reader, in.request.redact) {}

  Outcome Run() {
    if (in_.audit == nullptr) {
      if (header_.complete) header_.missing.push_back({"the audit of reference counts", "part of the counts of free-threaded builds from 3.14 on is kept with threads and frames, and is not audited in this version", ""});
    } else {
      Summary();
      Findings();
    }
    header_.complete = header_.missing.empty();
    if (!header_.complete && header_.certainty == report::Certainty::kExact) header_.certainty = report::Certainty::kLowerBound;
    outcome_.partial = !header_.complete;
    outcome_.definite = report_.deficits + report_.surpluses + report_.lost > 0;
    outcome_.document = Render(in_, header_, report_);
    return std::move(outcome_);
  }

 private:
  void Summary() {
    const analysis::CountAudit& a = in_.audit->judged;
    report_.objects = in_.heap.size();
    report_.audited = a.audited;
    report_.exact = a.exact;
    report_.accounted = a.exact + a.in_variables + static_cast<std::uint64_t>(std::count_if(in_.audit->known.begin(), in_.audit->known.end(), [](const KnownLeak& k) { return k.finding.kind != CountFindingKind::kDeficit; }));
    report_.explained = a.explained;
    report_.unverified = a.unverified;
    report_.unconfirmed = a.unconfirmed;
    report_.hidden_cycles = static_cast<std::uint64_t>(std::count_if(in_.audit->lost.begin(), in_.audit->lost.end(), [](const analysis::LostStructure& s) { return s.kind == CountFindingKind::kHiddenCycle; }));
    report_.native_blocks = in_.audit->counts.native_blocks;
    report_.native_unreached = in_.audit->counts.native_unreached;
    report_.limits.insert(report_.limits.end(), in_.audit->counts.native_doubts.begin(), in_.audit->counts.native_doubts.end());
    for (const Reason& r : kReasons) {
      if (const std::uint64_t n = a.by_reason[static_cast<std::size_t>(r.auditable)]; n > 0) report_.not_audited.push_back({r.name, r.text, n});
    }
    for (const std::string& doubt : in_.audit->counts.surplus_doubts) {
      report_.limits.push_back(doubt);
      header_.missing.push_back({"counts that are too high", doubt, "A core with all of the memory tells"});
    }
    if (!in_.audit->blocks.found()) report_.limits.push_back("CPython's allocator was not found: freed memory cannot be told from used, so fewer counts that are too high are found");
    report_.searched_bytes = in_.audit->counts.open_bytes;
    report_.blocks = in_.audit->counts.blocks_in_use;
  }

  [[nodiscard]] bool Passes(const CountFinding& f) const { return PassesFilters(in_.request, TypeOf(f), {TypeOf(f)}); }
  [[nodiscard]] std::string TypeOf(const CountFinding& f) const {
    return f.object == heap::kNoNode ? labels_.TypeName(f.address) : in_.heap.types[in_.heap.type[f.object]].name;
  }

  [[nodiscard]] std::size_t Limit() const { return in_.request.limit == 0 ? kMaxCountRows : std::min<std::size_t>(in_.request.limit, kMaxCountRows); }

  // Deficits first: they end in a crash. Then what is lost, most bytes first, and then what is held rightly; these and deficits by how far the count is off.
  void Sort(std::vector<CountFinding>& found) const {
    const std::vector<std::pair<Address, std::uint64_t>> lost = LostBytes(in_, labels_);
    const auto weight = [&](const CountFinding& f) -> std::uint64_t {
      if (f.kind != CountFindingKind::kLost) return f.kind == CountFindingKind::kDeficit ? f.known - f.recorded : f.recorded - f.known;
      const auto at = std::lower_bound(lost.begin(), lost.end(), std::pair<Address, std::uint64_t>{f.address, 0});
      return at != lost.end() && at->first == f.address ? at->second : labels_.SizeOf(f.address);
    };
    const auto rank = [](CountFindingKind k) { return k == CountFindingKind::kDeficit ? 0 : k == CountFindingKind::kLost ? 1 : 2; };
    std::vector<std::tuple<int, std::uint64_t, std::size_t>> order;
    for (std::size_t i = 0; i < found.size(); ++i) order.emplace_back(rank(found[i].kind), ~weight(found[i]), i);
    std::sort(order.begin(), order.end());
    std::vector<CountFinding> sorted;
    sorted.reserve(found.size());
    for (const auto& [kind, weight_below, i] : order) sorted.push_back(found[i]);
    found = std::move(sorted);
  }

  // What leaks of one cause have in common: kind, type and evidence. Deficits are each shown, or put together by the type that they come through.
  static std::string LikenessOf(const report::RefcountFinding& row) {
    std::string text = fmt::format("{}\n{}\n{}\n{} {} {}", row.kind, row.type, row.text, row.recorded, row.known, row.possible);
    for (const report::CountHolder& h : row.holders) text += "\n" + (h.object != 0 ? h.type : h.place);
    return text;
  }

  void Findings() {
    std::vector<CountFinding> found;
    for (const CountFinding& f : in_.audit->judged.findings) {
      if (Passes(f)) found.push_back(f);
    }
    Sort(found);
    Known();
    report_.in_flux = CountRows(in_, labels_, in_.audit->in_flux);
    std::vector<report::RefcountFinding> rows = CountRows(in_, labels_, found);
    const bool fold = in_.request.format == Format::kText && in_.request.limit != 0 && !in_.request.all;
    struct Alike {
      std::uint64_t shown = 0;
      std::size_t last = 0;  // of report_.findings
    };
    std::map<std::string, Alike> alike;
    for (std::size_t i = 0; i < found.size(); ++i) {
      if (in_.baseline != nullptr && i < rows.size() && in_.baseline->Has(report::RefcountFingerprint(rows[i]))) {
        ++report_.baseline_count;
        continue;
      }
      ++(found[i].kind == CountFindingKind::kDeficit ? report_.deficits : found[i].kind == CountFindingKind::kSurplus ? report_.surpluses : report_.lost);
      if (i >= rows.size()) continue;
      if (fold && found[i].kind != CountFindingKind::kDeficit) {
        Alike& a = alike[LikenessOf(rows[i])];
        if (a.shown == kShownAlike) {
          ++report_.findings[a.last].alike;
          continue;
        }
        if (report_.findings.size() < Limit()) {
          ++a.shown;
          a.last = report_.findings.size();
        }
      }
      if (report_.findings.size() < Limit()) report_.findings.push_back(std::move(rows[i]));
    }
    for (std::vector<report::RefcountFinding>* list : {&report_.findings, &report_.known, &report_.in_flux}) FillHeld(in_, labels_, *list);
    DeficitTypes();
    if (in_.request.all) Explained();
  }

  void DeficitTypes() {
    for (const DeficitSource& s : in_.audit->deficit_sources) {
      report::DeficitType& type = report_.deficit_types.emplace_back();
      type.type = s.type->name;
      type.module = in_.heap.types[in_.heap.type[s.example]].module_file;
      type.objects = s.objects.size();
      type.references = s.references;
      type.visited_twice = PlaceOf(s);
      for (report::RefcountFinding& f : report_.findings) {
        if (f.kind == std::string("deficit") && std::binary_search(s.objects.begin(), s.objects.end(), in_.heap.index.Find(f.object))) f.through = type.type;
      }
    }
  }

  // What the word that is visited twice is called.
  [[nodiscard]] std::string PlaceOf(const DeficitSource& s) const {
    if (s.twice == 0) return {};
    const Address holder = in_.heap.AddressOf(s.example);
    std::vector<objects::LabelledReferent> labelled;
    objects::ReferentFilter filter;
    filter.only = in_.reader.process().memory.ReadPointer(s.twice).value_or(0);
    in_.reader.LabelledReferents(holder, *in_.reader.Type(in_.heap.types[in_.heap.type[s.example]].address), labelled, filter);
    std::sort(labelled.begin(), labelled.end(), [](const objects::LabelledReferent& a, const objects::LabelledReferent& b) { return a.index < b.index; });
    for (std::size_t i = 0; i + 1 < labelled.size(); ++i) {
      const std::string label = in_.reader.LabelText(labelled[i]);
      if (labelled[i].index == labelled[i + 1].index && label == in_.reader.LabelText(labelled[i + 1])) return label;
    }
    if (!in_.audit->ownership.Body(holder, *s.type).Contains(s.twice)) return fmt::format("the word at {:#x}", s.twice);
    return fmt::format("[+{:#x}]", s.twice - holder);
  }

  void Known() {
    std::vector<CountFinding> found;
    for (const KnownLeak& k : in_.audit->known) found.push_back(k.finding);
    report_.known_count = found.size();
    report_.known = CountRows(in_, labels_, found);
    for (std::size_t i = 0; i < report_.known.size(); ++i) report_.known[i].cause = in_.audit->known[i].cause;
  }

  // Counts above what is known that words of native memory explain, each with these words; then what looks like an object and has nothing but such words, in lost memory too.
  void Explained() {
    report_.all = true;
    const heap::ReferenceAudit& counts = in_.audit->counts;
    std::vector<CountFinding> found;
    std::vector<heap::NodeId> targets;
    const auto add = [&](heap::NodeId target, const CountFinding& f) {
      if (!Passes(f)) return;
      if (found.size() == Limit()) {
        ++report_.explained_left_out;
        return;
      }
      found.push_back(f);
      targets.push_back(target);
    };
    for (heap::NodeId n = 0; n < in_.heap.size(); ++n) {
      const std::uint32_t count = in_.heap.refcount[n];
      if (counts.auditable[n] != heap::Auditable::kYes || count <= counts.known[n] || count - counts.known[n] > counts.possible[n]) continue;
      add(n, {n, in_.heap.AddressOf(n), CountFindingKind::kSurplus, count, counts.known[n], counts.possible[n]});
    }
    for (std::size_t i = 0; i < counts.unreached.size(); ++i) {
      const heap::UnreachedObject& u = counts.unreached[i];
      if (u.possible + u.hanging > 0) add(in_.heap.size() + static_cast<heap::NodeId>(i), {heap::kNoNode, u.object, CountFindingKind::kSurplus, u.recorded, 0, u.possible + u.hanging});
    }
    if (found.empty()) return;
    report_.explained_list = CountRows(in_, labels_, found);
    FillHeld(in_, labels_, report_.explained_list);
    const std::vector<std::vector<audit::PossibleHolder>> words = audit::FindPossibleHolders(AuditInputOf(in_), targets, kMaxHolders, in_.request.limits, in_.progress);
    for (std::size_t i = 0; i < found.size(); ++i) {
      report_.explained_list[i].kind = "explained";
      for (const audit::PossibleHolder& w : words[i]) {
        const Address owner = w.owner == heap::kNoNode ? 0 : in_.heap.AddressOf(w.owner);
        report_.explained_list[i].words.push_back({owner, owner != 0 ? labels_.TypeName(owner) : std::string(), owner != 0 ? fmt::format("+{:#x}", w.slot - owner) : w.place});
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
