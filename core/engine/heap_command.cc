#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "core/base/parallel.h"
#include "core/engine/derived.h"
#include "core/engine/heap_sections.h"
#include "core/engine/findings.h"
#include "core/engine/inspector.h"
#include "core/engine/sites.h"
#include "core/engine/type_query.h"
#include "core/report/heap_report.h"
#include "core/report/numbers.h"

namespace pygc::engine {
namespace {

using heap::NodeId;

constexpr std::uint32_t kMaxTreeDepth = 4;
constexpr std::size_t kMostBelow = 100000;    // rows below others, of a tree that is shown whole; largest first, so what is left out is the smallest
constexpr NodeId kAhead = 16;                 // nodes
constexpr std::size_t kMostNamed = 1000;      // dominators whose place is looked for
constexpr std::size_t kMostUnknown = 4;       // types whose sizes are not known
constexpr std::size_t kMostNearest = 8;       // types that may have been meant
constexpr std::size_t kMaxChildren = 3;       // of one dominator
constexpr std::uint64_t kSmallestShare = 10;  // a child that retains less than 1 / this of its parent is not shown

std::uint64_t RowLimit(const Request& request) { return request.limit == 0 ? ~std::uint64_t{0} : request.limit; }
std::optional<analysis::State> StateNamed(const std::string& name) {
  if (name == "uncollectable") return analysis::State::kUncollectable;
  if (name == "unreachable") return analysis::State::kUnreachable;
  if (name == "reachable") return analysis::State::kReachable;
  return std::nullopt;
}

class Histogram {
 public:
  Histogram(const CommandInput& in, const Retention* retention) : in_(in), heap_(in.heap), retention_(retention), labels_(in.reader, in.request.redact), by_module_(in.request.by == "module"), by_site_(in.request.by == "site") {
    if (by_module_) ReadModuleNames();
    if (by_site_) NameSites();
    for (const heap::TypeRecord& type : heap_.types) row_of_type_.push_back(by_site_ ? 0 : RowNamed(RowNameOf(type.name)));
  }

  report::HeapReport Run() {
    report::HeapReport r;
    r.with_retained = retention_ != nullptr;
    r.guessed = heap_.coverage.approximate_objects > 0;
    r.by = in_.request.by;
    if (by_site_ || HasClassicInstances()) {
      row_of_.resize(heap_.size());
      heap_.index.ForEach(0, heap_.size(), [&](NodeId n, Address a) { row_of_[n] = RowByAddress(n, a); });
    }
    rows_.resize(names_.size());
    for (std::size_t i = 0; i < names_.size(); ++i) rows_[i].type = names_[i];
    wanted_.reserve(names_.size());
    for (const std::string& name : names_) wanted_.push_back(by_module_ || by_site_ || PassesFilters(in_.request, name, {name}));
    if (by_module_ || by_site_) {
      for (const heap::TypeRecord& type : heap_.types) wanted_type_.push_back(PassesFilters(in_.request, type.name, {type.name}));
    }
    for (NodeId n = 0; n < heap_.size(); ++n) Count(n, r);
    NameUnknownSizes(r);
    if (retention_ != nullptr) AddRetained();
    if (by_site_) AddTraced(r);
    const Request& q = in_.request;
    const bool filtered = !q.type_globs.empty() || !q.ignore_globs.empty() || q.min_size != 0 || state_ || q.generation;
    rows_.erase(std::remove_if(rows_.begin(), rows_.end(), [&](const report::HeapRow& row) { return row.objects == 0 && (filtered || row.traced_blocks == 0); }), rows_.end());
    std::sort(rows_.begin(), rows_.end(), [](const report::HeapRow& a, const report::HeapRow& b) {
      return std::tie(b.bytes, b.traced_bytes, b.objects, a.type) < std::tie(a.bytes, a.traced_bytes, a.objects, b.type);
    });
    r.type_count = rows_.size();
    rows_.resize(static_cast<std::size_t>(std::min<std::uint64_t>(rows_.size(), RowLimit(in_.request))));
    r.rows = std::move(rows_);
    return r;
  }

 private:
  // The module of a type is the longest beginning of its name that is an imported module: the rest may have dots too (Outer.Inner).
  void ReadModuleNames() {
    constexpr std::string_view kPrefix = "module ";
    if (in_.roots == nullptr) return;
    for (const heap::Root& root : in_.roots->roots) {
      if (root.kind == heap::RootKind::kModule && root.name.starts_with(kPrefix)) modules_.insert(root.name.substr(kPrefix.size()));
    }
  }
  [[nodiscard]] std::string RowNameOf(const std::string& type) const {
    if (!by_module_) return type;
    for (std::size_t dot = type.rfind('.'); dot != std::string::npos && dot > 0; dot = type.rfind('.', dot - 1)) {
      if (modules_.count(type.substr(0, dot)) != 0) return type.substr(0, dot);
    }
    const std::size_t dot = type.find('.');
    return dot == std::string::npos ? "builtins" : type.substr(0, dot);
  }

  // The first row is for what was not traced.
  void NameSites() {
    sites_ = SitesIfOn(in_);
    RowNamed("(not traced)");
    for (std::uint32_t i = 0; sites_ != nullptr && i < sites_->site_count(); ++i) row_of_site_.push_back(RowNamed(sites_->SiteText(i)));
  }
  [[nodiscard]] std::uint32_t RowOfTraceback(std::uint32_t traceback) const {
    const std::uint32_t site = sites_ == nullptr ? objects::AllocationSites::kNone : sites_->SiteOf(traceback);
    return site == objects::AllocationSites::kNone ? 0 : row_of_site_[site];
  }
  // What tracemalloc says of a line does not ask which objects lie there: filters do not touch it.
  void AddTraced(report::HeapReport& r) {
    r.no_sites = WhyNoSites(in_);
    if (sites_ == nullptr) return;
    for (const objects::AllocationSites::Block& block : sites_->blocks()) {
      report::HeapRow& row = rows_[RowOfTraceback(block.traceback)];
      ++row.traced_blocks;
      row.traced_bytes += block.bytes;
      ++r.traced_blocks;
      r.traced_bytes += block.bytes;
    }
  }

  // Types of one name share a row: a class that is made anew on each call would fill the table.
  std::uint32_t RowNamed(const std::string& name) {
    const auto [found, fresh] = row_named_.try_emplace(name, static_cast<std::uint32_t>(names_.size()));
    if (fresh) names_.push_back(name);
    return found->second;
  }
  // Classic instances [2.7] share one type; each of their classes gets a row of its own.
  std::uint32_t RowByAddress(NodeId n, Address a) {
    if (by_site_) return sites_ == nullptr ? 0 : RowOfTraceback(sites_->TracebackOf(a));
    const std::uint32_t type = heap_.type[n];
    return IsClassicInstance(heap_.types[type]) ? RowNamed(RowNameOf(labels_.TypeName(a))) : row_of_type_[type];
  }
  static bool IsClassicInstance(const heap::TypeRecord& type) { return type.name == "instance" && type.may_have_legacy_finalizer; }
  [[nodiscard]] bool HasClassicInstances() const { return std::any_of(heap_.types.begin(), heap_.types.end(), IsClassicInstance); }
  [[nodiscard]] std::uint32_t RowOf(NodeId n) const { return row_of_.empty() ? row_of_type_[heap_.type[n]] : row_of_[n]; }
  [[nodiscard]] bool Wanted(NodeId n) const {
    if (!wanted_[RowOf(n)] || ((by_module_ || by_site_) && !wanted_type_[heap_.type[n]])) return false;
    if (in_.request.min_size != 0 && heap_.KnownSize(n) < in_.request.min_size) return false;
    if (state_ && (in_.verdict.state[n] != *state_ || (*state_ == analysis::State::kReachable && !in_.verdict.IsKnownInUse(n)))) return false;
    return !in_.request.generation || (heap_.IsTracked(n) && heap_.Generation(n) == *in_.request.generation);
  }
  void Count(NodeId n, report::HeapReport& r) {
    if (!Wanted(n)) return;
    report::HeapRow& row = rows_[RowOf(n)];
    const std::uint64_t size = heap_.KnownSize(n);
    ++row.objects;
    row.bytes += size;
    ++r.objects;
    r.bytes += size;
    if (heap_.HasUnknownSize(n)) {
      ++r.unknown_sizes;
      if (unknown_.empty()) unknown_.resize(heap_.types.size());
      ++unknown_[heap_.type[n]];
    }
    if (in_.verdict.state[n] == analysis::State::kReachable) {
      // In use, and not below any root: what refers to it is not in use.
      const bool is_below = retention_ == nullptr || heap_.IsTracked(n) || retention_->tree.reached.Contains(n);
      row.only_unreachable += !is_below;
      r.only_unreachable += !is_below;
      r.only_unreachable_bytes += is_below ? 0 : size;
      return;
    }
    ++row.unreachable;
    ++r.unreachable;
    r.unreachable_bytes += size;
  }

  void NameUnknownSizes(report::HeapReport& r) const {
    std::map<std::string, std::uint64_t> by_name;
    for (std::size_t t = 0; t < unknown_.size(); ++t) {
      if (unknown_[t] > 0) by_name[heap_.types[t].name] += unknown_[t];
    }
    for (const auto& [name, objects] : by_name) r.unknown_types.push_back({name, objects});
    std::stable_sort(r.unknown_types.begin(), r.unknown_types.end(), [](const auto& a, const auto& b) { return a.objects > b.objects; });
    if (r.unknown_types.size() > kMostUnknown) r.unknown_types.resize(kMostUnknown);
  }

  // What an object retains counts for its type unless a dominator of the same type counts it already: in preorder, the rows of what is above are open.
  void AddRetained() {
    const graph::DominatorTree& tree = retention_->tree;
    struct Open {
      NodeId end;  // behind what is below
      std::uint32_t row;
    };
    std::vector<Open> above;  // each row at most once
    std::vector<bool> is_open(names_.size());
    for (NodeId p = 0; p < tree.size(); ++p) {
      if (p + kAhead < tree.size()) Prefetch(tree.preorder[p + kAhead]);
      for (; !above.empty() && above.back().end <= p; above.pop_back()) is_open[above.back().row] = false;
      const NodeId n = tree.preorder[p];
      const std::uint32_t row = RowOf(n);
      if (is_open[row] || !Wanted(n)) continue;
      rows_[row].retained += retention_->bytes[p];
      if (tree.subtree[p] == 1) continue;
      is_open[row] = true;
      above.push_back({p + tree.subtree[p], row});
    }
  }
  void Prefetch(NodeId n) const { __builtin_prefetch(row_of_.empty() ? &heap_.type[n] : &row_of_[n]); }

  const CommandInput& in_;
  const heap::HeapSnapshot& heap_;
  const Retention* retention_;
  Labels labels_;
  std::vector<std::string> names_;
  std::map<std::string, std::uint32_t> row_named_;
  bool by_module_, by_site_;
  const objects::AllocationSites* sites_ = nullptr;  // by site
  std::vector<std::uint32_t> row_of_site_;
  std::set<std::string> modules_;
  std::vector<std::uint32_t> row_of_type_, row_of_;
  std::vector<std::uint64_t> unknown_;  // by type: objects whose size is not known; empty: none
  std::vector<bool> wanted_, wanted_type_;  // by row; by type, where rows are modules or sites
  std::optional<analysis::State> state_ = StateNamed(in_.request.state);
  std::vector<report::HeapRow> rows_;
};

class DominatorTop {
 public:
  DominatorTop(const CommandInput& in, const Retention& retention) : in_(in), heap_(in.heap), retention_(retention), tree_(retention.tree), inspector_(in), labels_(in.reader, in.request.redact) {}

  /// `below`: with what lies below the top ones, else these alone.
  report::DominatorsReport Run(bool below) {
    report::DominatorsReport r;
    std::vector<NodeId> tops;  // by position, like all in this class
    r.objects = tree_.size();
    r.guessed = heap_.coverage.approximate_objects > 0;
    r.bytes = retention_.AllBytes();
    tree_.ForEachTop([&](NodeId p) { tops.push_back(p); });
    r.top_count = tops.size();
    KeepLargest(tops, RowLimit(in_.request));
    if (in_.request.limit == 0 && below) ChooseLargest(tops);
    struct Item {
      NodeId node;
      std::uint32_t depth;
    };
    std::vector<Item> work;
    for (std::size_t i = tops.size(); i-- > 0;) work.push_back({tops[i], 0});
    while (!work.empty()) {
      const Item item = work.back();
      work.pop_back();
      report::Dominator& row = r.rows.emplace_back(RowOf(item.node, item.depth));
      if (!below) continue;
      const std::vector<NodeId> children = ChildrenShown(item.node, item.depth, row);
      for (std::size_t i = children.size(); i-- > 0;) work.push_back({children[i], item.depth + 1});
    }
    return r;
  }

 private:
  void KeepLargest(std::vector<NodeId>& positions, std::uint64_t most) const {
    std::sort(positions.begin(), positions.end(), [&](NodeId a, NodeId b) { return std::pair(retention_.bytes[b], tree_.preorder[a]) < std::pair(retention_.bytes[a], tree_.preorder[b]); });
    if (positions.size() > most) positions.resize(static_cast<std::size_t>(most));
  }
  // --limit 0: everything, up to kMostBelow below the top ones, which are all there. Those that retain most: what is above one retains more, so it is a tree.
  void ChooseLargest(const std::vector<NodeId>& tops) {
    chosen_.resize(tree_.size(), true);
    const std::size_t below = tree_.size() - tops.size();
    if (below <= kMostBelow) return;
    for (const NodeId p : tops) chosen_[p] = false;
    std::vector<NodeId> rest;
    rest.reserve(below);
    for (NodeId p = 0; p < tree_.size(); ++p) {
      if (chosen_[p]) rest.push_back(p);
    }
    // At the same bytes what stands first in preorder: never something without what is above it.
    const auto larger = [&](NodeId a, NodeId b) { return std::pair(retention_.bytes[b], a) < std::pair(retention_.bytes[a], b); };
    std::nth_element(rest.begin(), rest.begin() + kMostBelow, rest.end(), larger);
    for (std::size_t i = kMostBelow; i < rest.size(); ++i) chosen_[rest[i]] = false;
  }
  // The rows below one; what is none of them is counted in `row`.
  [[nodiscard]] std::vector<NodeId> ChildrenShown(NodeId parent, std::uint32_t depth, report::Dominator& row) const {
    std::vector<NodeId> all, children;
    tree_.ForEachChild(parent, [&](NodeId p) { all.push_back(p); });
    const bool whole = !chosen_.empty();
    for (const NodeId p : all) {
      if (whole ? chosen_[p] : depth + 1 < kMaxTreeDepth && retention_.bytes[p] >= retention_.bytes[parent] / kSmallestShare) children.push_back(p);
    }
    KeepLargest(children, whole ? children.size() : kMaxChildren);
    row.hidden = all.size() - children.size();
    for (const NodeId p : all) row.hidden_bytes += retention_.bytes[p];
    for (const NodeId p : children) row.hidden_bytes -= retention_.bytes[p];
    return children;
  }

  [[nodiscard]] report::Dominator RowOf(NodeId position, std::uint32_t depth) const {
    const NodeId n = tree_.preorder[position];
    report::Dominator row;
    row.depth = depth;
    row.address = heap_.AddressOf(n);
    row.type = labels_.TypeName(row.address);
    row.name = inspector_.NameOf(row.address, row.type);
    row.size = heap_.KnownSize(n);
    row.retained = retention_.bytes[position];
    row.objects = tree_.subtree[position];
    return row;
  }

  const CommandInput& in_;
  const heap::HeapSnapshot& heap_;
  const Retention& retention_;
  const graph::DominatorTree& tree_;
  Inspector inspector_;
  Labels labels_;
  std::vector<bool> chosen_;  // by position, which are rows; empty: the largest parts of each
};

}  // namespace

Result<report::HeapReport> FindHeap(const CommandInput& in) {
  const Result<const Retention*> retention = RetentionOf(in, false);
  if (!retention) return tl::unexpected(retention.error());
  return Histogram(in, *retention).Run();
}

Result<report::DominatorsReport> FindDominators(const CommandInput& in) {
  const Result<const Retention*> retention = RetentionOf(in, false);
  if (!retention) return tl::unexpected(retention.error());
  return DominatorTop(in, **retention).Run(false);
}

Outcome RunHeap(const CommandInput& in) {
  const Result<const Retention*> retention = RetentionOf(in, false);
  report::HeapReport r;
  const auto count = [&] { r = Histogram(in, retention ? *retention : nullptr).Run(); };
  // The suspects need paths, the histogram does not; that by site reads memory and reports progress of its own.
  if (retention && in.request.by != "site") {
    BesideEachOther(in.request.limits.threads, [&] { (void)RootPathsOf(in, false); }, count);
  } else {
    count();
  }
  Outcome outcome;
  outcome.interrupted = !retention && retention.error().code == ErrorCode::kCancelled;
  outcome.partial = !retention;
  if (retention) {
    r.reachable_bytes = (*retention)->AllBytes();
    r.suspects = FindSuspects(in, **retention);
  }
  if (in.request.waste) {
    Result<std::vector<report::ContainerWaste>> containers = MeasureContainers(in);
    if (containers) r.containers = std::move(*containers);
    Result<std::vector<report::Duplicate>> duplicates = FindDuplicates(in, &r.duplicate_bytes);
    if (duplicates) r.duplicates = std::move(*duplicates);
    outcome.interrupted = outcome.interrupted || !containers || !duplicates;
  }
  if (r.objects == 0) {
    for (const std::string& glob : in.request.type_globs) {
      for (std::string& name : NearestTypes(in.heap, glob, kMostNearest)) r.nearest_types.push_back(std::move(name));
    }
  }
  report::Header header = in.header;
  if (in.request.memory) {
    r.memory = MeasureMemory(in);
    const std::string zeroes = report::ZeroPagesText(*r.memory);
    if (in.request.format == Format::kJson && !zeroes.empty()) header.warnings.push_back("memory: not counted: " + zeroes);
  }
  const bool is_csv = in.request.format == Format::kCsv;
  if (is_csv && r.rows.size() < r.type_count) outcome.left_out = fmt::format("{} of {} (--limit 0 for all)", report::Counted(r.rows.size(), "row"), r.type_count);
  outcome.document = is_csv ? report::WriteCsv(r) : Render(in, header, r);
  return outcome;
}

namespace {

// The root in words, as far as parts of the heap are told apart by it: each module, the frames of each thread, and all others by their kind.
report::RootShare ShareOf(const CommandInput& in, std::uint32_t index) {
  constexpr std::string_view kDict = "the dict of ", kThread = ", thread ";
  report::RootShare share;
  if (index == analysis::RootPaths::kCountOnly) {
    share.kind = "count-only";
    return share;
  }
  const heap::Root& root = in.roots->roots[index];
  const std::string& place = in.roots->places[root.place];
  share.kind = heap::RootKindName(root.kind);
  if (root.kind == heap::RootKind::kModule) {
    const bool of_other = place.starts_with("interpreter ");
    share.name = (root.name.starts_with(kDict) ? root.name.substr(kDict.size()) : root.name) + (of_other ? " in " + place : "");
  } else if (const std::size_t at = place.rfind(kThread); root.kind == heap::RootKind::kFrame && at != std::string::npos) {
    share.name = "frames of " + place.substr(at + 2);
  }
  return share;
}

// What nothing but roots dominates, by the root of its shortest path: these parts have nothing in common, and are together all that is in use.
std::vector<report::RootShare> SharesOfRoots(const CommandInput& in, const Retention& retention, const analysis::RootPaths& paths) {
  constexpr std::uint32_t kUnset = analysis::RootPaths::kCountOnly - 1;
  std::vector<std::uint32_t> root_of(in.heap.size(), kUnset);
  std::vector<NodeId> way;
  const auto find = [&](NodeId n) {
    way.clear();
    while (root_of[n] == kUnset && paths.Reaches(n) && paths.ParentOf(n) != n) {
      way.push_back(n);
      n = paths.ParentOf(n);
    }
    if (root_of[n] == kUnset) root_of[n] = paths.Reaches(n) ? paths.RootOf(n) : analysis::RootPaths::kCountOnly;
    for (const NodeId w : way) root_of[w] = root_of[n];
    return root_of[n];
  };
  std::map<std::uint32_t, std::pair<std::uint64_t, std::uint64_t>> by_index;
  retention.tree.ForEachTop([&](NodeId p) {
    auto& [bytes, objects] = by_index[find(retention.tree.preorder[p])];
    bytes += retention.bytes[p];
    objects += retention.tree.subtree[p];
  });
  std::map<std::pair<std::string, std::string>, report::RootShare> by_name;
  for (const auto& [index, sum] : by_index) {
    const report::RootShare share = ShareOf(in, index);
    report::RootShare& all = by_name.try_emplace({share.kind, share.name}, share).first->second;
    all.retained += sum.first;
    all.objects += sum.second;
  }
  std::vector<report::RootShare> out;
  for (auto& [name, share] : by_name) out.push_back(std::move(share));
  std::stable_sort(out.begin(), out.end(), [](const report::RootShare& a, const report::RootShare& b) { return a.retained > b.retained; });
  return out;
}

}  // namespace

Outcome RunDominators(const CommandInput& in) {
  const Result<const Retention*> retention = RetentionOf(in, false);
  report::DominatorsReport r;
  if (retention) r = DominatorTop(in, **retention).Run(true);
  // A dict or list has no name; the place where it hangs tells which one it is.
  std::size_t named = 0;
  for (report::Dominator& d : r.rows) {
    if (!d.name.empty() || named++ >= kMostNamed) continue;
    if (const std::optional<report::RootPath> path = FindShortestPath(in, d.address)) d.path = report::PlacedPathOf(*path);
  }
  if (const Result<const analysis::RootPaths*> paths = retention ? RootPathsOf(in) : Result<const analysis::RootPaths*>(nullptr); paths && *paths != nullptr) {
    r.by_root = SharesOfRoots(in, **retention, **paths);
    r.roots_shown = RowLimit(in.request);
  }
  Outcome outcome;
  outcome.interrupted = !retention && retention.error().code == ErrorCode::kCancelled;
  outcome.partial = !retention;
  outcome.document = Render(in, in.header, r);
  return outcome;
}

}  // namespace pygc::engine
