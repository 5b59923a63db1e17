#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <vector>

#include "core/engine/derived.h"
#include "core/engine/heap_sections.h"
#include "core/engine/findings.h"
#include "core/engine/inspector.h"
#include "core/engine/sites.h"
#include "core/report/heap_report.h"

namespace pygc::engine {
namespace {

using heap::NodeId;

constexpr std::uint32_t kMaxTreeDepth = 4;
constexpr std::size_t kMaxChildren = 3;       // of one dominator
constexpr std::uint64_t kSmallestShare = 10;  // a child that retains less than 1 / this of its parent is not shown

std::uint64_t RowLimit(const Request& request) { return request.limit == 0 ? ~std::uint64_t{0} : request.limit; }
std::uint64_t SizeOf(const heap::HeapSnapshot& heap, NodeId n) {
  return n < heap.size_bytes.size() && heap.size_bytes[n] != heap::kUnknownSize ? heap.size_bytes[n] : 0;
}

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
    r.by = in_.request.by;
    row_of_.resize(heap_.size());
    heap_.index.ForEach(0, heap_.size(), [&](NodeId n, Address a) { row_of_[n] = RowOf(n, a); });
    rows_.resize(names_.size());
    for (std::size_t i = 0; i < names_.size(); ++i) rows_[i].type = names_[i];
    wanted_.reserve(names_.size());
    for (const std::string& name : names_) wanted_.push_back(by_module_ || by_site_ || PassesFilters(in_.request, name, {name}));
    if (by_module_ || by_site_) {
      for (const heap::TypeRecord& type : heap_.types) wanted_type_.push_back(PassesFilters(in_.request, type.name, {type.name}));
    }
    for (NodeId n = 0; n < heap_.size(); ++n) Count(n, r);
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
  std::uint32_t RowOf(NodeId n, Address a) {
    if (by_site_) return sites_ == nullptr ? 0 : RowOfTraceback(sites_->TracebackOf(a));
    const std::uint32_t type = heap_.type[n];
    const bool classic = heap_.types[type].name == "instance" && heap_.types[type].may_have_legacy_finalizer;
    return classic ? RowNamed(RowNameOf(labels_.TypeName(a))) : row_of_type_[type];
  }
  [[nodiscard]] bool Wanted(NodeId n) const {
    if (!wanted_[row_of_[n]] || ((by_module_ || by_site_) && !wanted_type_[heap_.type[n]])) return false;
    if (in_.request.min_size != 0 && SizeOf(heap_, n) < in_.request.min_size) return false;
    if (state_ && in_.verdict.state[n] != *state_) return false;
    return !in_.request.generation || (heap_.IsTracked(n) && heap_.Generation(n) == *in_.request.generation);
  }
  void Count(NodeId n, report::HeapReport& r) {
    if (!Wanted(n)) return;
    report::HeapRow& row = rows_[row_of_[n]];
    const std::uint64_t size = SizeOf(heap_, n);
    ++row.objects;
    row.bytes += size;
    ++r.objects;
    r.bytes += size;
    r.unknown_sizes += n < heap_.size_bytes.size() && heap_.size_bytes[n] == heap::kUnknownSize;
    if (in_.verdict.state[n] == analysis::State::kReachable) {
      // In use, and not below any root: what refers to it is not in use.
      const bool is_below = retention_ == nullptr || heap_.IsTracked(n) || retention_->objects[n] > 0;
      row.only_unreachable += !is_below;
      r.only_unreachable += !is_below;
      r.only_unreachable_bytes += is_below ? 0 : size;
      return;
    }
    ++row.unreachable;
    ++r.unreachable;
    r.unreachable_bytes += size;
  }

  // What an object retains counts for its type unless a dominator of the same type counts it already: depth first through the dominator tree, with the
  // number of objects of each row on the way from the root to here.
  void AddRetained() {
    const graph::DominatorTree& tree = retention_->tree;
    std::vector<std::uint32_t> open(names_.size(), 0);
    std::vector<NodeId> first(heap_.size(), heap::kNoNode), next(heap_.size(), heap::kNoNode), tops;
    for (std::size_t i = tree.preorder.size(); i-- > 0;) {
      const NodeId n = tree.preorder[i];
      const NodeId above = tree.immediate[n];
      if (above == graph::DominatorTree::kVirtualRoot) {
        tops.push_back(n);
      } else {
        next[n] = first[above];
        first[above] = n;
      }
    }
    for (const NodeId top : tops) {
      for (NodeId n = top; n != heap::kNoNode;) {
        if (Wanted(n) && open[row_of_[n]]++ == 0) rows_[row_of_[n]].retained += retention_->bytes[n];
        if (first[n] != heap::kNoNode) {
          n = first[n];
          continue;
        }
        for (;; n = tree.immediate[n]) {  // up to the next sibling
          if (Wanted(n)) --open[row_of_[n]];
          if (n == top) {
            n = heap::kNoNode;
            break;
          }
          if (next[n] != heap::kNoNode) {
            n = next[n];
            break;
          }
        }
      }
    }
  }

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
  std::vector<bool> wanted_, wanted_type_;  // by row; by type, where rows are modules or sites
  std::optional<analysis::State> state_ = StateNamed(in_.request.state);
  std::vector<report::HeapRow> rows_;
};

class DominatorTop {
 public:
  DominatorTop(const CommandInput& in, const Retention& retention) : in_(in), heap_(in.heap), retention_(retention), inspector_(in), labels_(in.reader, in.request.redact) {}

  report::DominatorsReport Run() {
    report::DominatorsReport r;
    std::vector<NodeId> tops;
    for (const NodeId n : retention_.tree.preorder) {
      ++r.objects;
      r.bytes += SizeOf(heap_, n);
      if (retention_.tree.immediate[n] == graph::DominatorTree::kVirtualRoot) tops.push_back(n);
    }
    r.top_count = tops.size();
    KeepLargest(tops, RowLimit(in_.request));
    FindChildren(tops);
    struct Item {
      NodeId node;
      std::uint32_t depth;
    };
    std::vector<Item> work;
    for (std::size_t i = tops.size(); i-- > 0;) work.push_back({tops[i], 0});
    while (!work.empty()) {
      const Item item = work.back();
      work.pop_back();
      r.rows.push_back(RowOf(item.node, item.depth));
      const auto below = children_.find(item.node);
      if (below == children_.end()) continue;
      for (std::size_t i = below->second.size(); i-- > 0;) work.push_back({below->second[i], item.depth + 1});
    }
    return r;
  }

 private:
  void KeepLargest(std::vector<NodeId>& nodes, std::uint64_t most) const {
    std::sort(nodes.begin(), nodes.end(), [&](NodeId a, NodeId b) { return std::pair(retention_.bytes[b], a) < std::pair(retention_.bytes[a], b); });
    if (nodes.size() > most) nodes.resize(static_cast<std::size_t>(most));
  }
  // Level by level, one pass over all nodes for each: only the parents that are shown get a list.
  void FindChildren(std::vector<NodeId> level) {
    std::sort(level.begin(), level.end());
    for (std::uint32_t depth = 1; depth < kMaxTreeDepth && !level.empty(); ++depth) {
      for (const NodeId parent : level) children_[parent];
      for (const NodeId n : retention_.tree.preorder) {
        const NodeId above = retention_.tree.immediate[n];
        if (above == graph::DominatorTree::kVirtualRoot || retention_.bytes[n] < retention_.bytes[above] / kSmallestShare) continue;
        if (const auto found = children_.find(above); found != children_.end() && IsNew(above, level)) found->second.push_back(n);
      }
      std::vector<NodeId> below;
      for (const NodeId parent : level) {
        KeepLargest(children_[parent], kMaxChildren);
        below.insert(below.end(), children_[parent].begin(), children_[parent].end());
      }
      std::sort(below.begin(), below.end());
      level = std::move(below);
    }
  }
  [[nodiscard]] bool IsNew(NodeId parent, const std::vector<NodeId>& level) const { return std::binary_search(level.begin(), level.end(), parent); }

  [[nodiscard]] report::Dominator RowOf(NodeId n, std::uint32_t depth) const {
    report::Dominator row;
    row.depth = depth;
    row.address = heap_.AddressOf(n);
    row.type = labels_.TypeName(row.address);
    row.name = inspector_.NameOf(row.address, row.type);
    row.size = SizeOf(heap_, n);
    row.retained = retention_.bytes[n];
    row.objects = retention_.objects[n];
    return row;
  }

  const CommandInput& in_;
  const heap::HeapSnapshot& heap_;
  const Retention& retention_;
  Inspector inspector_;
  Labels labels_;
  std::unordered_map<NodeId, std::vector<NodeId>> children_;
};

}  // namespace

Result<report::HeapReport> FindHeap(const CommandInput& in) {
  const Result<const Retention*> retention = RetentionOf(in);
  if (!retention) return tl::unexpected(retention.error());
  return Histogram(in, *retention).Run();
}

Result<report::DominatorsReport> FindDominators(const CommandInput& in) {
  const Result<const Retention*> retention = RetentionOf(in);
  if (!retention) return tl::unexpected(retention.error());
  return DominatorTop(in, **retention).Run();
}

Outcome RunHeap(const CommandInput& in) {
  const Result<const Retention*> retention = RetentionOf(in);
  report::HeapReport r = Histogram(in, retention ? *retention : nullptr).Run();
  Outcome outcome;
  outcome.interrupted = !retention && retention.error().code == ErrorCode::kCancelled;
  outcome.partial = !retention;
  if (retention) {
    for (const NodeId n : (*retention)->tree.preorder) r.reachable_bytes += SizeOf(in.heap, n);
    r.suspects = FindSuspects(in, **retention);
  }
  if (in.request.waste) {
    Result<std::vector<report::ContainerWaste>> containers = MeasureContainers(in);
    if (containers) r.containers = std::move(*containers);
    Result<std::vector<report::Duplicate>> duplicates = FindDuplicates(in, &r.duplicate_bytes);
    if (duplicates) r.duplicates = std::move(*duplicates);
    outcome.interrupted = outcome.interrupted || !containers || !duplicates;
  }
  if (in.request.memory) r.memory = MeasureMemory(in);
  outcome.document = in.request.format == Format::kCsv ? report::WriteCsv(r) : Render(in.request, in.header, r, in.colour);
  return outcome;
}

Outcome RunDominators(const CommandInput& in) {
  const Result<const Retention*> retention = RetentionOf(in);
  report::DominatorsReport r;
  if (retention) r = DominatorTop(in, **retention).Run();
  Outcome outcome;
  outcome.interrupted = !retention && retention.error().code == ErrorCode::kCancelled;
  outcome.partial = !retention;
  outcome.document = Render(in.request, in.header, r, in.colour);
  return outcome;
}

}  // namespace pygc::engine
