// diff: two snapshots side by side: by type always; object by object, and by holder, where both are of one process.
#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "core/engine/derived.h"
#include "core/engine/inspector.h"
#include "core/engine/node_path.h"
#include "core/engine/old_heap.h"
#include "core/engine/sites.h"
#include "core/report/diff_report.h"
#include "core/report/escape.h"

namespace pygc::engine {
namespace {

using heap::NodeId;

constexpr std::uint64_t kProgressStep = 1u << 16;
constexpr std::uint64_t kSmallestGrowth = 1000;    // a holder that grew by less than 1 / this of the largest growth is not shown

std::string LastPart(const std::string& path) { return path.substr(path.rfind('/') + 1); }
// The script or module that the interpreter was told to run.
std::string Script(const target::Process& process) {
  for (std::size_t i = 1; i < process.arguments.size(); ++i) {
    const std::string& word = process.arguments[i];
    if (word.empty() || word[0] != '-' || word == "-m" || word == "-c") return word + (word.starts_with("-") && i + 1 < process.arguments.size() ? " " + process.arguments[i + 1] : "");
  }
  return "";
}

// Of a core often only the first 80 bytes of the command line are known.
bool IsSameText(const std::string& a, const std::string& b) { return a.starts_with(b) || b.starts_with(a); }

class Comparison {
 public:
  Comparison(const CommandInput& in, const OldHeap& old) : in_(in), old_(old), new_heap_(in.heap), old_heap_(old.heap) {}

  Outcome Run() {
    Outcome outcome;
    report_.old_kind = old_.process != nullptr ? "core" : "export";
    report_.old_path = LastPart(old_.path);
    report_.old_python = old_.python;
    report_.old_pid = old_.pid;
    NameTypes();
    const bool went_on = Match() && Relate();
    if (went_on) {
      CountTypes();
      if (report_.by_address) FindHolders();
      CompareSites();
    }
    outcome.interrupted = !went_on || !report_.holders_known;
    outcome.partial = !old_.complete;
    report::Header header = in_.header;
    if (!old_.complete) header.missing.push_back({"OLD", "not everything of it could be read", "pygc status on it says what is missing"});
    header.complete = header.missing.empty();
    report_.content_compared = report_.by_address && old_.process != nullptr;
    if (report_.by_address && !report_.content_compared) {
      header.warnings.emplace_back("OLD is an export, which has references and sizes, no bytes: an object whose number, text or buffer alone changed in place counts as unchanged; a core as OLD tells");
    }
    outcome.document = Render(in_, header, report_);
    return outcome;
  }

 private:
  [[nodiscard]] std::uint64_t Limit() const { return in_.request.limit == 0 ? ~std::uint64_t{0} : in_.request.limit; }

  // One number for each name, whatever the two snapshots call it.
  void NameTypes() {
    const auto number = [&](const heap::HeapSnapshot& heap, std::vector<std::uint32_t>& rows) {
      for (const heap::TypeRecord& type : heap.types) {
        const auto [found, fresh] = row_named_.try_emplace(type.name, static_cast<std::uint32_t>(rows_.size()));
        if (fresh) rows_.emplace_back().type = type.name;
        rows.push_back(found->second);
      }
    };
    number(old_heap_, old_row_);
    number(new_heap_, new_row_);
  }

  // Objects of one type at one address: the same object, as long as both are of one process.
  bool Match() {
    same_.assign(new_heap_.size(), heap::kNoNode);
    bool go_on = true;
    new_heap_.index.ForEach(0, new_heap_.size(), [&](NodeId n, Address a) {
      if (n % kProgressStep == 0 && go_on) go_on = in_.progress.Update("comparing objects", n, new_heap_.size());
      if (!go_on) return;
      const NodeId m = old_heap_.index.Find(a);
      if (m == heap::kNoNode || !IsOfSameType(m, n)) return;
      same_[n] = m;
      ++matched_;
    });
    return go_on;
  }

  // By name; a type whose name is in memory that one of them lacks, by its address.
  [[nodiscard]] bool IsOfSameType(NodeId m, NodeId n) const {
    const std::uint32_t then = old_heap_.type[m], now = new_heap_.type[n];
    return old_row_[then] == new_row_[now] ||
           ((!in_.header.complete || !old_.complete) && old_heap_.types[then].address != 0 && old_heap_.types[then].address == new_heap_.types[now].address);
  }

  bool Relate() {
    const target::Process& process = in_.reader.process();
    const report::TargetFacts& target = in_.header.target;
    const bool same_python = old_.python == target.python && old_.build == target.build;
    const bool same_place = new_heap_.size() > 0 && matched_ * 2 >= std::min<std::uint64_t>(new_heap_.size(), old_heap_.size());
    report_.by_address = same_python && same_place;
    if (report_.by_address) {
      const bool copy = old_.pid != 0 && target.pid != 0 && old_.pid != target.pid;
      report_.relation = copy ? "forked" : "same-process";
      report_.reason = fmt::format("{} of {} objects lie where they lay", matched_, new_heap_.size());
      return true;
    }
    report_.relation = "other-program";
    if (!same_python) {
      report_.reason = fmt::format("OLD is CPython {} ({}), this is {} ({}): only types are compared, by name", old_.python, old_.build, target.python, target.build);
    } else if (old_.process != nullptr && (LastPart(old_.process->executable) != LastPart(process.executable) || !IsSameText(Script(*old_.process), Script(process)))) {
      report_.reason = fmt::format("OLD ran {} {}, this ran {} {}: only types are compared, by name", LastPart(old_.process->executable), LastPart(Script(*old_.process)),
                                   LastPart(process.executable), LastPart(Script(process)));
    } else if (!SharesMainTypes()) {
      report_.reason = "OLD has other classes in __main__: only types are compared, by name";
    } else {
      report_.relation = "other-process";
      report_.reason = "objects lie elsewhere than in OLD, a process of its own: only types are compared, by name";
    }
    return true;
  }

  // Whether a class of the main program has objects in both; true where one of them has none.
  [[nodiscard]] bool SharesMainTypes() const {
    const auto of_main = [](const heap::HeapSnapshot& heap) {
      std::set<std::string> names;
      for (const heap::TypeRecord& type : heap.types) {
        if (type.name.starts_with("__main__.")) names.insert(type.name);
      }
      return names;
    };
    const std::set<std::string> now = of_main(new_heap_), then = of_main(old_heap_);
    return now.empty() || then.empty() || std::any_of(now.begin(), now.end(), [&](const std::string& name) { return then.contains(name); });
  }

  // Whether the object at `a` may have been in a snapshot that does not show it: its memory is not there, or the lists that led to it are broken.
  [[nodiscard]] static bool MayBeUnread(Address a, const target::Process* process, const heap::HeapSnapshot& heap, bool complete) {
    if (complete) return false;
    return process == nullptr || !heap.coverage.lists_complete || process->memory.At(a, 1) == nullptr;
  }

  void CountTypes() {
    std::vector<std::uint8_t> found(old_heap_.size(), 0);
    for (const NodeId m : same_) {
      if (m != heap::kNoNode) found[m] = 1;
    }
    for (NodeId m = 0; m < old_heap_.size(); ++m) {
      report::DiffTypeRow& row = rows_[old_row_[old_heap_.type[m]]];
      ++row.objects_old;
      if (!found[m]) ++(MayBeUnread(old_heap_.AddressOf(m), &in_.reader.process(), new_heap_, in_.header.complete) ? report_.not_read : row.removed);
      row.bytes_old += old_heap_.KnownSize(m);
      report_.unreachable_old += old_heap_.IsTracked(m) && old_.verdict.state[m] != analysis::State::kReachable;
    }
    for (NodeId n = 0; n < new_heap_.size(); ++n) {
      report::DiffTypeRow& row = rows_[new_row_[new_heap_.type[n]]];
      ++row.objects_new;
      row.bytes_new += new_heap_.KnownSize(n);
      report_.unreachable_new += new_heap_.IsTracked(n) && in_.verdict.state[n] != analysis::State::kReachable;
      if (same_[n] == heap::kNoNode) {
        ++(MayBeUnread(new_heap_.AddressOf(n), old_.process, old_heap_, old_.complete) ? report_.not_read_old : row.added);
        continue;
      }
      ++(IsUnchanged(n, same_[n]) ? report_.unchanged : report_.changed);
    }
    if (!report_.by_address) report_.not_read = report_.not_read_old = report_.not_compared = 0;
    for (const report::DiffTypeRow& row : rows_) {
      report_.objects_old += row.objects_old;
      report_.objects_new += row.objects_new;
      report_.bytes_old += row.bytes_old;
      report_.bytes_new += row.bytes_new;
      report_.added += row.added;
      report_.removed += row.removed;
      const bool differs = row.objects_old != row.objects_new || row.bytes_old != row.bytes_new || (report_.by_address && row.added + row.removed > 0);
      if (differs && PassesFilters(in_.request, row.type, {row.type})) report_.types.push_back(row);
    }
    std::sort(report_.types.begin(), report_.types.end(), [](const report::DiffTypeRow& a, const report::DiffTypeRow& b) {
      const auto growth = [](const report::DiffTypeRow& t) { return static_cast<std::int64_t>(t.bytes_new - t.bytes_old); };
      return std::tuple(growth(b), b.objects_new - b.objects_old + (1ull << 63), a.type) < std::tuple(growth(a), a.objects_new - a.objects_old + (1ull << 63), b.type);
    });
    report_.type_count = report_.types.size();
    report_.types.resize(static_cast<std::size_t>(std::min<std::uint64_t>(report_.types.size(), Limit())));
  }

  // The same size, referents at the same addresses, and the same content where OLD still has it.
  [[nodiscard]] bool IsUnchanged(NodeId n, NodeId m) {
    if (new_heap_.KnownSize(n) != old_heap_.KnownSize(m)) return false;
    const bool whole = !new_heap_.owns_beside.empty() && !old_heap_.owns_beside.empty();  // an export of an earlier pygc has what traversals visit alone
    const auto now = whole ? new_heap_.graph.Successors(n) : new_heap_.Visited(n), then = whole ? old_heap_.graph.Successors(m) : old_heap_.Visited(m);
    if (now.size() != then.size()) return false;
    for (std::size_t i = 0; i < now.size(); ++i) {
      if (same_[now[i]] != then[i]) return false;
    }
    if (old_.process == nullptr) return true;
    const Address type = new_heap_.types[new_heap_.type[n]].address;
    const objects::TypeFacts* const facts = type == 0 ? nullptr : in_.reader.Type(type);
    const std::optional<bool> same = facts == nullptr ? std::nullopt : in_.reader.HasSameContent(new_heap_.AddressOf(n), *facts, old_.process->memory);
    report_.not_compared += !same;
    return same.value_or(true);
  }

  // Objects whose subtree grew, as long as no object of both below them has most of that growth.
  void FindHolders() {
    const Result<const Retention*> now = RetentionOf(in_);
    report::Header unused = in_.header;
    const CommandInput before{in_.request, in_.reader, old_.heap, old_.verdict, unused, in_.progress, false, in_.machine, nullptr, &old_.roots, old_.derived};
    const Result<const Retention*> then = RetentionOf(before);
    report_.holders_known = now && then;
    if (!now || !then) return;
    const auto growth = [&](NodeId n) {
      const std::uint64_t a = (*now)->BytesOf(n), b = same_[n] == heap::kNoNode ? a : (*then)->BytesOf(same_[n]);
      return a > b ? a - b : 0;
    };
    const graph::DominatorTree& tree = (*now)->tree;
    std::vector<std::uint64_t> below(tree.size(), 0);  // by position: the largest growth of an object of both directly below
    tree.ForEachWithDominator([&](NodeId p, NodeId above) {
      if (above != graph::DominatorTree::kVirtualRoot) below[above] = std::max(below[above], growth(tree.preorder[p]));
    });
    std::vector<NodeId> grown;
    for (NodeId p = 0; p < tree.size(); ++p) {
      const NodeId n = tree.preorder[p];
      if (growth(n) > 0 && below[p] * 2 < growth(n)) grown.push_back(n);
    }
    report_.holder_count = grown.size();
    std::sort(grown.begin(), grown.end(), [&](NodeId a, NodeId b) { return std::pair(growth(b), a) < std::pair(growth(a), b); });
    if (in_.request.limit != 0 && !grown.empty()) {  // what is a thousandth of the largest says nothing beside it
      const std::uint64_t least = growth(grown.front()) / kSmallestGrowth;
      grown.erase(std::partition_point(grown.begin(), grown.end(), [&](NodeId n) { return growth(n) >= least; }), grown.end());
    }
    grown.resize(static_cast<std::size_t>(std::min<std::uint64_t>(grown.size(), Limit())));
    const Inspector inspector(in_);
    const Labels labels(in_.reader, in_.request.redact);
    const Result<const analysis::RootPaths*> paths = RootPathsOf(in_);
    for (const NodeId n : grown) {
      report::DiffHolder& h = report_.holders.emplace_back();
      h.address = new_heap_.AddressOf(n);
      h.type = labels.TypeName(h.address);
      h.name = inspector.NameOf(h.address, h.type);
      h.retained_new = (*now)->BytesOf(n);
      h.objects_new = (*now)->ObjectsOf(n);
      h.retained_old = (*then)->BytesOf(same_[n]);
      h.objects_old = (*then)->ObjectsOf(same_[n]);
      if (!paths || !(*paths)->Reaches(n)) continue;
      const std::vector<NodeId> nodes = (*paths)->PathTo(n);
      h.path = DescribePath(in_, labels, nodes, (*paths)->RootOf(nodes.front()));
    }
  }

  // Lines are the same in both by their text, whatever the processes are.
  void CompareSites() {
    const objects::AllocationSites* const now = SitesIfOn(in_);
    std::map<std::string, report::DiffSite> rows;
    if (now == nullptr) report_.no_sites = WhyNoSites(in_);
    else if (old_.saved_sites != nullptr) AddSavedSites(rows);
    else AddOldSites(rows);
    if (now == nullptr || !report_.no_sites.empty()) return;
    AddSites(*now, &report::DiffSite::blocks_new, &report::DiffSite::bytes_new, rows);
    for (auto& [place, row] : rows) {
      row.place = place;
      if (row.blocks_old != row.blocks_new || row.bytes_old != row.bytes_new) report_.sites.push_back(row);
    }
    report_.site_count = report_.sites.size();
    std::stable_sort(report_.sites.begin(), report_.sites.end(), [](const report::DiffSite& a, const report::DiffSite& b) {
      return static_cast<std::int64_t>(a.bytes_new - a.bytes_old) > static_cast<std::int64_t>(b.bytes_new - b.bytes_old);
    });
    report_.sites.resize(static_cast<std::size_t>(std::min<std::uint64_t>(report_.sites.size(), Limit())));
  }

  void AddOldSites(std::map<std::string, report::DiffSite>& rows) {
    const Result<const objects::AllocationSites*> then = old_.sites->Get(in_.progress);
    then ? AddSites(**then, &report::DiffSite::blocks_old, &report::DiffSite::bytes_old, rows)
         : static_cast<void>(report_.no_sites = "stopped before the tables of tracemalloc were read");
  }
  void AddSavedSites(std::map<std::string, report::DiffSite>& rows) {
    if (old_.saved_sites->empty()) report_.no_sites = "OLD does not say where its objects were allocated: tracemalloc was off, or an older pygc exported it";
    for (const SavedSite& site : *old_.saved_sites) {
      report::DiffSite& row = rows[site.place];
      row.blocks_old += site.blocks;
      row.bytes_old += site.bytes;
    }
  }
  // In the words of an export.
  static void AddSites(const objects::AllocationSites& sites, std::uint64_t report::DiffSite::*blocks, std::uint64_t report::DiffSite::*bytes,
                       std::map<std::string, report::DiffSite>& rows) {
    std::vector<report::DiffSite*> row;
    for (std::uint32_t i = 0; i < sites.site_count(); ++i) row.push_back(&rows[report::JsonSafe(sites.SiteText(i))]);
    for (const objects::AllocationSites::Block& block : sites.blocks()) {
      const std::uint32_t site = sites.SiteOf(block.traceback);
      if (site == objects::AllocationSites::kNone) continue;
      ++(row[site]->*blocks);
      row[site]->*bytes += block.bytes;
    }
  }

  const CommandInput& in_;
  const OldHeap& old_;
  const heap::HeapSnapshot& new_heap_;
  const heap::HeapSnapshot& old_heap_;
  report::DiffReport report_;
  std::map<std::string, std::uint32_t> row_named_;
  std::vector<report::DiffTypeRow> rows_;
  std::vector<std::uint32_t> old_row_, new_row_;  // of each type
  std::vector<NodeId> same_;                      // of each object: its node in OLD
  std::uint64_t matched_ = 0;
};

}  // namespace

Outcome RunDiff(const CommandInput& in, const OldHeap& old) { return Comparison(in, old).Run(); }

}  // namespace pygc::engine
