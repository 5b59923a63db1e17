// Leaks: the unreachable part in full detail (excerpt), equal structures as groups, and for the groups that are shown the names behind the numbers.
#include <algorithm>
#include <map>
#include <unordered_map>

#include "core/analysis/groups.h"
#include "core/cpython/gc_debug_style.h"
#include "core/engine/baseline.h"
#include "core/engine/command.h"
#include "core/engine/facts.h"
#include "core/engine/findings.h"
#include "core/engine/labels.h"
#include "core/engine/lost_groups.h"
#include "core/engine/sites.h"
#include "core/objects/resources.h"
#include "core/report/finalizer_kind.h"
#include "core/report/fingerprint.h"
#include "core/report/leaks_report.h"
#include "core/snapshot/excerpt_builder.h"

namespace pygc::engine {
namespace {

constexpr std::size_t kMostSites = 3;         // of one group
constexpr const char* kGenerationNames[] = {"0", "1", "2", "permanent", "being collected"};

class LeaksCommand {
 public:
  explicit LeaksCommand(const CommandInput& in)
      : in_(in), labels_(in.reader, in.request.redact), shown_(in.request.limit == 0 ? ~0ull : in.request.limit) {}

  LeaksFound Run() {
    const analysis::Verdict& v = in_.verdict;
    report_.unreachable = v.unreachable;
    report_.collectable = v.collectable;
    report_.uncollectable = v.uncollectable;
    report_.in_garbage = v.garbage_count;
    report_.frozen = v.frozen_count;
    const target::Process& process = in_.reader.process();
    const bool bound = v.unreachable_upper != analysis::Verdict::kNoBound && in_.reader.runtime().state_lost.empty() && !process.LostHeap() && !process.may_be_wrong;
    report_.unreachable_upper = bound ? std::optional(v.unreachable_upper) : std::nullopt;
    report_.everything = in_.request.limit == 0;
    report_.legacy_instances = HasLegacyInstances(in_.reader.runtime());
    FindSharedGarbage();
    FindLost();
    if (Result<void> grouped = AddGroups(); !grouped) {
      outcome_.interrupted = grouped.error().code == ErrorCode::kCancelled;
      outcome_.partial = true;
      outcome_.definite = v.uncollectable > 0 || v.garbage_count > 0 || v.frozen_count > 0;
      outcome_.pending = v.collectable > 0;
      missing_groups_ = outcome_.interrupted ? "interrupted before all were made" : grouped.error().message;
    }
    report_.group_count = report_.groups.size() + not_shown_;
    report::Header header = in_.header;
    if (in_.request.audit && in_.audit == nullptr && header.objects_read) {
      header.missing.push_back({"the audit of reference counts", "part of the counts of free-threaded builds from 3.14 on is kept with threads and frames, and is not audited in this version", ""});
    }
    if (in_.audit != nullptr) {
      for (const std::string& doubt : in_.audit->counts.surplus_doubts) header.missing.push_back({"lost objects", doubt, ""});
    }
    if (outcome_.partial) header.missing.push_back({"the groups", missing_groups_, ""});
    header.complete = header.missing.empty();
    outcome_.partial = outcome_.partial || (in_.request.audit && !header.complete);
    return {std::move(report_), std::move(header), std::move(outcome_)};
  }

 private:
  // Definite groups, then the rest of gc.garbage, then what waits: in this order they are numbered and cut off at --limit.
  Result<void> AddGroups() {
    const graph::NodeSet leaked = analysis::LeakedNodes(in_.verdict);
    Result<analysis::Groups> groups = analysis::Groups{};
    if (!leaked.Empty()) {
      Result<heap::Excerpt> excerpt = snapshot::BuildExcerpt(in_.reader, in_.heap, leaked, in_.request.limits, in_.progress);
      if (!excerpt) return tl::unexpected(excerpt.error());
      excerpt_ = std::move(*excerpt);
      groups = analysis::GroupStructures(in_.heap, in_.verdict, excerpt_, in_.progress, in_.request.limits.threads);
      if (!groups) return tl::unexpected(groups.error());
    }
    constexpr std::size_t kShared = ~std::size_t{0};  // stands for the next of shared_garbage_
    constexpr std::size_t kLostGroup = kShared - 1;     // of lost_
    std::vector<std::size_t> definite, pending;
    for (std::size_t i = 0; i < groups->groups.size(); ++i) {
      const analysis::Group& g = groups->groups[i];
      if (!Passes(g)) {
        ++report_.groups_ignored;
      } else if (in_.baseline != nullptr && in_.baseline->Has(report::LeakFingerprint(Describe(g, i)))) {
        ++report_.groups_known;
        report_.objects_known += g.objects;
      } else {
        report_.objects_new += g.objects + g.held_objects;
        (g.definite ? definite : pending).push_back(i);
      }
    }
    outcome_.definite = !definite.empty() || !shared_garbage_.empty() || !lost_.empty();
    outcome_.pending = !pending.empty();
    std::vector<std::size_t> order = std::move(definite);
    order.insert(order.end(), shared_garbage_.size(), kShared);
    order.insert(order.end(), lost_.size(), kLostGroup);
    order.insert(order.end(), pending.begin(), pending.end());
    if (order.size() > shown_) {
      not_shown_ = order.size() - shown_;
      order.resize(shown_);
    }
    std::unordered_map<std::size_t, std::uint64_t> number;  // of each group as it is shown, for "hangs on #2 too"
    for (std::size_t i = 0; i < order.size(); ++i) number[order[i]] = i + 1;
    NoteResources(*groups, number);
    std::size_t next_shared = 0, next_lost = 0;
    for (const std::size_t i : order) {
      if (!in_.progress.Update("describing groups", report_.groups.size(), order.size()))
        return Fail(ErrorCode::kCancelled, "interrupted while describing groups");
      if (i == kShared) {
        report_.groups.push_back(std::move(shared_garbage_[next_shared++]));
        continue;
      }
      if (i == kLostGroup) {
        report_.groups.push_back(std::move(lost_[next_lost++]));
        continue;
      }
      report_.groups.push_back(Describe(groups->groups[i], i));
      for (const std::uint32_t other : groups->groups[i].shared_with) {
        const auto found = number.find(other);
        if (found != number.end()) report_.groups.back().shared_with.push_back(found->second);
      }
    }
    return {};
  }

  [[nodiscard]] const std::string& TypeName(std::uint32_t type) const { return excerpt_.types[type].name; }

  [[nodiscard]] bool Passes(const analysis::Group& g) const {
    if (in_.request.generation && g.generations[static_cast<std::size_t>(*in_.request.generation)] == 0) return false;
    if (in_.request.type_globs.empty() && in_.request.ignore_globs.empty()) return true;
    std::vector<std::string> types;
    for (const auto* counts : {&g.members, &g.held}) {
      for (const analysis::GroupTypeCount& c : *counts) types.push_back(TypeName(c.type));
    }
    return PassesFilters(in_.request, TypeName(g.type), types);
  }

  [[nodiscard]] report::Reason ReasonOf(const analysis::Group& g) const {
    switch (g.reason) {
      case analysis::GroupReason::kCycle:
        return report::Reason::kCycle;
      case analysis::GroupReason::kFinalizer:
        return report::Reason::kFinalizer;
      case analysis::GroupReason::kLegacyFinalizer:
        return report::Reason::kLegacyFinalizer;
      case analysis::GroupReason::kHeldByLegacy:
        return report::Reason::kHeldByLegacy;
      case analysis::GroupReason::kInGarbage:
        return SavesAll(g.interpreter) ? report::Reason::kSaveAll : report::Reason::kInGarbage;
      case analysis::GroupReason::kHeldByGarbage:
        return report::Reason::kHeldByGarbage;
      case analysis::GroupReason::kFrozen:
        return report::Reason::kFrozen;
    }
    return report::Reason::kCycle;
  }
  [[nodiscard]] bool SavesAll(std::size_t interpreter) const {
    return interpreter < in_.heap.interpreters.size() && (in_.heap.interpreters[interpreter].debug & cpython::kDebugSaveAll);
  }

  [[nodiscard]] report::LeakGroup Describe(const analysis::Group& g, std::size_t index) const {
    report::LeakGroup out;
    out.severity = g.definite ? report::Severity::kDefinite : report::Severity::kPending;
    out.reason = ReasonOf(g);
    out.uncollectable = g.definite && out.reason != report::Reason::kFrozen;
    out.interpreter = g.interpreter < in_.heap.interpreters.size() ? in_.heap.interpreters[g.interpreter].id : 0;
    out.type = TypeName(g.type);
    std::vector<Address> heads;
    for (const graph::NodeId n : g.heads) heads.push_back(excerpt_.address[n]);
    out.name = labels_.NamesOf(heads, out.type);
    if (g.cycle.empty()) out.code_name = labels_.CodeNameOfAll(heads, out.type);
    out.sites = SitesOf(in_, heads, kMostSites);
    out.count = g.count;
    out.objects = g.objects;
    out.in_garbage = g.in_garbage;
    out.bytes = g.bytes;
    out.bytes_with_held = g.bytes + g.held_bytes;
    std::vector<Address> cycle;
    for (const analysis::CycleStep& step : g.cycle) cycle.push_back(excerpt_.address[step.node]);
    out.cycle = labels_.CycleOf(cycle, out.type);
    for (const auto& [counts, rows] : {std::pair(&g.members, &out.members), std::pair(&g.held, &out.held)}) {
      for (const analysis::GroupTypeCount& c : *counts) {
        report::TypeCount& row = rows->emplace_back(report::TypeCount{TypeName(c.type), c.objects, c.bytes, ""});
        if (const auto note = notes_.find({index, c.type}); note != notes_.end()) note->second.Fill(row);
      }
    }
    // Open files first: descriptors run out before memory does.
    std::stable_partition(out.held.begin(), out.held.end(), [](const report::TypeCount& t) { return !t.note.empty(); });
    for (const analysis::GroupFinalizerCount& c : g.finalizers) out.finalizers.push_back(FinalizerOf(c));
    for (const analysis::GroupFinalizerCount& c : g.held_finalizers) out.held_finalizers.push_back(FinalizerOf(c));
    out.order_undefined = g.order_undefined;
    for (std::size_t i = 0; i < g.generations.size(); ++i) {
      if (g.generations[i] > 0) out.generations[kGenerationNames[i]] = g.generations[i];
    }
    for (const graph::NodeId n : g.heads) {
      if (out.addresses.size() == shown_) break;
      out.addresses.push_back(excerpt_.address[n]);
    }
    out.approximate = g.approximate;
    out.shared_objects = g.shared_objects;
    return out;
  }

  [[nodiscard]] report::FinalizerCount FinalizerOf(const analysis::GroupFinalizerCount& c) const {
    const heap::TypeRecord& type = excerpt_.types[c.type];
    return {type.name, std::string(report::FinalizerKind(type, static_cast<std::uint8_t>(c.legacy ? heap::kLegacyFinalizer : 0))), c.pending, c.run};
  }

  // "3 open, 2 closed": descriptors are what a leak of files costs.
  struct ResourceNote {
    std::uint64_t held = 0, free = 0;
    bool locks = false;
    std::vector<std::int32_t> fds;
    void Fill(report::TypeCount& row) const {
      constexpr std::size_t kMostNumbers = 10;
      const char *const is = locks ? "locked" : "open", *const is_not = locks ? "not locked" : "closed";
      row.note = free == 0 ? is : held == 0 ? is_not : fmt::format("{} {}, {} {}", held, is, free, is_not);
      row.fds = fds;
      std::sort(row.fds.begin(), row.fds.end());
      if (row.fds.size() > kMostNumbers) row.fds.resize(kMostNumbers);
    }
  };
  void NoteResources(const analysis::Groups& groups, const std::unordered_map<std::size_t, std::uint64_t>& shown) {
    const objects::ResourceReader resources(in_.reader);
    std::vector<bool> owns(excerpt_.types.size());
    for (std::size_t t = 0; t < excerpt_.types.size(); ++t) owns[t] = excerpt_.types[t].address != 0 && resources.KindOf(excerpt_.types[t].address).has_value();
    for (graph::NodeId n = 0; n < excerpt_.size(); ++n) {
      if (!owns[excerpt_.type[n]] || !shown.contains(groups.group_of[n])) continue;
      const std::optional<objects::Resource> resource = resources.Of(excerpt_.address[n]);
      if (!resource) continue;
      ResourceNote& note = notes_[{groups.group_of[n], excerpt_.type[n]}];
      ++(resource->IsHeld() ? note.held : note.free);
      note.locks = resource->IsLock();
      if (!note.locks && resource->fd >= 0) note.fds.push_back(resource->fd);
    }
  }

  // Items of gc.garbage that are in no group, because something else refers to them as well, or because the collector does not know them (a str put
  // there by hand). They are findings all the same.
  void FindSharedGarbage() {
    const graph::NodeSet leaked = analysis::LeakedNodes(in_.verdict);
    std::map<std::pair<std::int64_t, std::string>, report::LeakGroup> found;
    for (std::size_t i = 0; i < in_.heap.interpreters.size(); ++i) {
      const heap::InterpreterRecord& interpreter = in_.heap.interpreters[i];
      for (std::size_t item = 0; item < interpreter.garbage_addresses.size(); ++item) {
        const heap::NodeId node = item < interpreter.garbage.size() ? interpreter.garbage[item] : heap::kNoNode;
        if (node != heap::kNoNode && leaked.Contains(node)) continue;
        const Address address = interpreter.garbage_addresses[item];
        const std::string type = labels_.TypeName(address);
        report::LeakGroup& g = found[{interpreter.id, type}];
        g.severity = report::Severity::kDefinite;
        g.uncollectable = true;
        g.reason = SavesAll(i) ? report::Reason::kSaveAll : report::Reason::kInGarbage;
        g.interpreter = interpreter.id;
        g.type = type;
        ++g.count;
        ++g.objects;
        ++g.in_garbage;
        g.bytes += labels_.SizeOf(address);
        g.bytes_with_held = g.bytes;
        g.also_referenced = node != heap::kNoNode;
        if (node != heap::kNoNode && in_.heap.Generation(node) < std::size(kGenerationNames))
          ++g.generations[kGenerationNames[in_.heap.Generation(node)]];
        g.addresses.push_back(address);
      }
    }
    for (auto& [key, g] : found) {
      const bool other_generation = in_.request.generation && !g.generations.contains(kGenerationNames[*in_.request.generation]);
      if (other_generation || !PassesFilters(in_.request, g.type, {})) {
        ++report_.groups_ignored;
        continue;
      }
      std::sort(g.addresses.begin(), g.addresses.end());
      g.sites = SitesOf(in_, g.addresses, kMostSites);
      if (g.addresses.size() > shown_) g.addresses.resize(shown_);
      g.members.push_back({g.type, 1, g.bytes / g.count, ""});
      if (in_.baseline != nullptr && in_.baseline->Has(report::LeakFingerprint(g))) {
        ++report_.groups_known;
        continue;
      }
      shared_garbage_.push_back(std::move(g));
    }
  }

  // What the audit found: structures that their counts alone keep, or that lead round where nobody can see it.
  void FindLost() {
    if (in_.audit == nullptr) return;
    report_.audited = true;
    for (const analysis::LostStructure& s : in_.audit->lost) {
      const bool hidden = s.kind == analysis::CountFindingKind::kHiddenCycle;
      ++(hidden ? report_.hidden_cycles : report_.lost);
      (hidden ? report_.hidden_objects : report_.lost_objects) += s.members.size() + s.held.size();
    }
    for (report::LeakGroup& g : LostGroups(in_, labels_, shown_)) {
      std::vector<std::string> types{g.type};
      for (const auto* counts : {&g.members, &g.held}) {
        for (const report::TypeCount& t : *counts) types.push_back(t.type);
      }
      if (!PassesFilters(in_.request, g.type, types)) {
        ++report_.groups_ignored;
      } else if (in_.baseline != nullptr && in_.baseline->Has(report::LeakFingerprint(g))) {
        ++report_.groups_known;
      } else {
        lost_.push_back(std::move(g));
      }
    }
  }

  const CommandInput& in_;
  const Labels labels_;
  const std::uint64_t shown_;
  heap::Excerpt excerpt_;                                                 // what the groups are made of; empty where nothing leaks
  std::map<std::pair<std::size_t, std::uint32_t>, ResourceNote> notes_;  // by group and type
  std::vector<report::LeakGroup> shared_garbage_, lost_;
  std::string missing_groups_;  // why
  std::uint64_t not_shown_ = 0;
  report::LeaksReport report_;
  Outcome outcome_;
};

}  // namespace

LeaksFound FindLeaks(const CommandInput& in) { return LeaksCommand(in).Run(); }

Outcome RunLeaks(const CommandInput& in) {
  LeaksFound found = FindLeaks(in);
  found.outcome.document = Render(in, found.header, found.report);
  return std::move(found.outcome);
}

}  // namespace pygc::engine
