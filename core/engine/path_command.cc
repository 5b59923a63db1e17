#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/analysis/root_paths.h"
#include "core/base/parallel.h"
#include "core/engine/findings.h"
#include "core/engine/derived.h"
#include "core/engine/inspector.h"
#include "core/engine/native_holders.h"
#include "core/engine/node_path.h"
#include "core/engine/type_query.h"
#include "core/report/path_report.h"

namespace pygc::engine {
namespace {

constexpr std::uint32_t kMaxBranchDepth = 16, kMostBranchDepth = 200;  // by itself, and with --limit 0
constexpr std::size_t kMaxNearest = 8;
constexpr std::size_t kMaxNativeStarts = 64;  // objects whose holder is searched for in native memory
constexpr std::size_t kLeastAlike = 4;        // branches of a fork that become one row
constexpr std::size_t kMostCompared = 20000;  // branches of a fork that are looked at for it
constexpr std::uint64_t kMostSteps = 200000;  // objects of all branches compared
constexpr std::uint32_t kMaxShapeDepth = 8;   // forks above each other in what is compared

class PathFinder {
 public:
  explicit PathFinder(const CommandInput& in) : in_(in), heap_(in.heap), inspector_(in), labels_(in.reader, in.request.redact) {}

  Outcome Run() {
    report_.query = in_.request.arguments.at(0);
    report_.excluded = in_.request.exclude_globs;
    const Result<Address> address = ParseAddress(report_.query);
    report_.is_type = !address;
    if (Result<void> searched = Search(address.has_value()); !searched) return Write(true);
    address ? OneObject(*address) : AllOfType();
    NameNativeHolders();
    return Write(false);
  }

  std::optional<report::RootPath> Shortest(Address object) {
    const heap::NodeId node = heap_.index.Find(object);
    if (node == heap::kNoNode || !Search(false)) return std::nullopt;
    const std::vector<heap::NodeId> nodes = paths_->PathTo(node);
    if (nodes.empty()) return std::nullopt;
    return PathOf(nodes, paths_->RootOf(nodes.front()));
  }

 private:
  Outcome Write(bool interrupted) {
    Outcome outcome;
    outcome.interrupted = interrupted;
    outcome.document = Render(in_, in_.header, report_);
    return outcome;
  }
  [[nodiscard]] std::uint64_t Limit() const { return in_.request.limit == 0 ? ~std::uint64_t{0} : in_.request.limit; }
  [[nodiscard]] bool InUse(heap::NodeId n) const { return in_.verdict.state[n] == analysis::State::kReachable; }

  // The tree without exclusions serves every later question too. `with_referrers`: the question is about those as well.
  Result<void> Search(bool with_referrers) {
    if (in_.request.exclude_globs.empty() && in_.derived != nullptr && in_.roots != nullptr) {
      const Result<const analysis::RootPaths*> found = with_referrers ? PathsAndReferrersOf(in_) : RootPathsOf(in_);
      if (!found) return tl::unexpected(found.error());
      paths_ = *found;
      return {};
    }
    std::vector<bool> excluded(heap_.types.size());
    for (std::size_t t = 0; t < heap_.types.size(); ++t) excluded[t] = IsExcluded(heap_.types[t].name);
    const std::function<bool(heap::NodeId)> admits = [&](heap::NodeId n) { return !excluded[heap_.type[n]]; };
    heap::RootSet admitted;
    if (in_.roots != nullptr) admitted = *in_.roots;
    // A running function has no frame object of its own (3.11+); who excludes frames means it all the same. Its roots stay where they are, so that indexes do.
    if (IsExcluded("frame")) {
      for (heap::Root& root : admitted.roots) root.object = root.kind == heap::RootKind::kFrame ? 0 : root.object;
    }
    Result<analysis::RootPaths> found =
        analysis::FindRootPaths(heap_, admitted, [this](heap::NodeId n) { return InUse(n); }, admits, in_.progress);
    if (!found) return tl::unexpected(found.error());
    paths_ = &own_.emplace(std::move(*found));
    return {};
  }
  [[nodiscard]] bool IsExcluded(const std::string& name) const {
    return std::any_of(in_.request.exclude_globs.begin(), in_.request.exclude_globs.end(), [&](const std::string& glob) { return MatchesGlob(glob, name); });
  }

  void CountTarget(heap::NodeId n) {
    ++report_.objects;
    if (!paths_->Reaches(n)) {
      report_.unreachable += !InUse(n);
      return;
    }
    ++(paths_->IsByCountOnly(n) ? report_.by_count_only : report_.by_root);
  }

  // ---- one object

  void OneObject(Address address) {
    const report::ObjectCard card = inspector_.BriefCardOf(address);
    report_.is_object = card.is_object;
    report_.where = card.where;
    report_.type = card.type;
    report_.name = card.name;
    report_.state = card.state;
    if (!card.is_object) return;
    const heap::NodeId target = heap_.index.Find(address);
    if (target == heap::kNoNode) {
      ++report_.objects;
      return;
    }
    CountTarget(target);
    AddDirectRoots(target);
    AddPathsByReferrers(target);
  }

  // Roots that hold the object itself: each is a path without a step.
  void AddDirectRoots(heap::NodeId target) {
    const std::size_t roots = in_.roots != nullptr ? in_.roots->roots.size() : 0;
    for (std::uint32_t i = 0; i < roots; ++i) {
      if (in_.roots->roots[i].kind == heap::RootKind::kFrame && own_ && IsExcluded("frame")) continue;
      if (in_.roots->roots[i].object == heap_.AddressOf(target)) AddPath({target}, i);
    }
    if (paths_->Reaches(target) && paths_->ParentOf(target) == target && report_.path_count == 0) AddPath({target}, analysis::RootPaths::kCountOnly);
  }

  // A shortest path by way of each object that refers to it, shortest first; those that go through the object itself are none.
  void AddPathsByReferrers(heap::NodeId target) {
    const std::uint64_t room = Limit() - std::min<std::uint64_t>(Limit(), report_.paths.size());
    Sources sources = SourcesOf(target, room);
    report_.path_count += sources.count;
    for (std::size_t i = 0; i < sources.first.size(); ++i) {
      if (!in_.progress.Update("writing paths", i, sources.first.size())) return;
      std::vector<heap::NodeId> nodes = paths_->PathTo(sources.first[i]);
      const std::uint32_t root = paths_->RootOf(nodes.front());
      nodes.push_back(target);
      report_.paths.push_back(PathOf(nodes, root));
    }
  }

  // What refers to an object and is reached by another way than through it.
  struct Sources {
    std::vector<heap::NodeId> first;  // by level, those of one rising
    std::uint64_t count = 0;          // of all
  };

  // Sees referrers in rising order. Of millions most are only counted.
  class SourceSieve {
   public:
    SourceSieve(const analysis::RootPaths& paths, const heap::HeapSnapshot& heap, const std::vector<bool>& excluded, heap::NodeId target, std::uint64_t max)
        : paths_(paths), heap_(heap), excluded_(excluded), max_(max) {
      if (paths.Reaches(target)) below_.emplace(paths, target);
    }

    // `nodes`: a piece of all of them.
    void Add(std::span<const heap::NodeId> nodes) {
      const std::uint32_t* const places = paths_.place.data();
      heap::NodeId last = heap::kNoNode;
      for (const heap::NodeId n : nodes) {
        if (n == last) continue;
        last = n;
        const std::uint32_t place = places[n];
        if (place - outside_.begin >= outside_.end - outside_.begin && !IsOutside(place)) continue;
        if (!excluded_.empty() && excluded_[heap_.type[n]]) continue;
        ++found_.count;
        if (place < end_) Keep(n);
      }
    }
    void Add(const Sources& other) {
      found_.count += other.count;
      found_.first.insert(found_.first.end(), other.first.begin(), other.first.end());
    }
    [[nodiscard]] const Sources& Found() {
      KeepFirst();
      return found_;
    }

   private:
    using Run = analysis::Below::Run;

    // Reached, and not by way of the target. The places about it are seen at a glance from then on.
    bool IsOutside(std::uint32_t place) {
      if (place == analysis::RootPaths::kNotReached) return false;
      if (!below_) {
        outside_ = {0, analysis::RootPaths::kNotReached};
        return true;
      }
      if (below_->Contains(place)) return false;
      outside_ = below_->Gap();
      return true;
    }
    void Keep(heap::NodeId n) {
      if (max_ == 0) return;
      found_.first.push_back(n);
      if (found_.first.size() / 2 < max_) return;
      KeepFirst();
      end_ = paths_.levels[paths_.LevelOf(found_.first.back())];  // of the same level those that come later are behind
    }
    void KeepFirst() {
      std::vector<heap::NodeId>& first = found_.first;
      const std::size_t kept = static_cast<std::size_t>(std::min<std::uint64_t>(max_, first.size()));
      std::partial_sort(first.begin(), first.begin() + static_cast<std::ptrdiff_t>(kept), first.end(),
                        [&](heap::NodeId a, heap::NodeId b) { return std::pair(paths_.LevelOf(a), a) < std::pair(paths_.LevelOf(b), b); });
      first.resize(kept);
    }

    const analysis::RootPaths& paths_;
    const heap::HeapSnapshot& heap_;
    const std::vector<bool>& excluded_;  // by type; empty: none
    std::uint64_t max_;
    std::optional<analysis::Below> below_;
    Run outside_{0, 0};  // places that IsOutside()
    Sources found_;
    std::uint32_t end_ = analysis::RootPaths::kNotReached;  // places from here on come too late to be shown
  };

  // The first ones of them are `max` at most.
  [[nodiscard]] Sources SourcesOf(heap::NodeId target, std::uint64_t max) {
    constexpr std::size_t kPiece = 1u << 17;
    std::vector<bool> excluded;
    if (own_) {
      for (const auto& type : heap_.types) excluded.push_back(IsExcluded(type.name));
    }
    const ReferrerList referrers(in_, target);
    const std::span<const heap::NodeId> all = referrers.nodes();
    const std::size_t pieces = (all.size() + kPiece - 1) / kPiece;
    const unsigned threads = ThreadCount(in_.request.limits.threads, pieces);
    std::vector<SourceSieve> sieves(threads, SourceSieve(*paths_, heap_, excluded, target, max));
    const auto look = [&](std::size_t piece, unsigned thread) {
      SourceSieve& sieve = sieves[thread];
      std::size_t begin = piece * kPiece, end = std::min(all.size(), begin + kPiece);
      while (begin > 0 && begin < end && all[begin] == all[begin - 1]) ++begin;  // seen with the piece before
      sieve.Add(all.subspan(begin, end - begin));
      return true;
    };
    ForEachPiece(pieces, threads, look, [](std::size_t) { return true; });
    for (std::size_t t = 1; t < sieves.size(); ++t) sieves[0].Add(sieves[t].Found());
    return sieves[0].Found();
  }
  void AddPath(const std::vector<heap::NodeId>& nodes, std::uint32_t root) {
    ++report_.path_count;
    if (report_.paths.size() < Limit()) report_.paths.push_back(PathOf(nodes, root));
  }

  // Paths that start where only the count says that somebody holds it.
  void NameNativeHolders() {
    std::vector<report::RootPath*> nameless;
    for (report::RootPath& path : report_.paths) nameless.push_back(&path);
    for (report::PathBranch& branch : report_.tree) {
      nameless.push_back(&branch.path);
      if (branch.to_leaf) nameless.push_back(&*branch.to_leaf);
    }
    std::erase_if(nameless, [](const report::RootPath* p) { return p->root.kind != "count-only" || p->root.name == "immortal" || p->steps.empty(); });
    std::vector<Address> starts;
    for (const report::RootPath* path : nameless) {
      if (starts.size() < kMaxNativeStarts) starts.push_back(path->steps.front().address);
    }
    std::map<Address, NativeHolder> holders = FindNativeHolders(in_, starts);
    for (report::RootPath* path : nameless) {
      const auto found = holders.find(path->steps.front().address);
      if (found == holders.end()) continue;
      path->root.kind = heap::RootKindName(found->second.kind);
      path->root.name = "a reference";
      path->root.place = found->second.place;
    }
  }

  [[nodiscard]] report::RootPath PathOf(const std::vector<heap::NodeId>& nodes, std::uint32_t root) const { return DescribePath(in_, labels_, nodes, root); }

  // ---- all of a type

  void AllOfType() {
    const std::vector<heap::NodeId> targets = ObjectsOfType(in_, labels_, report_.query);
    report_.objects = targets.size();
    if (targets.empty()) {
      report_.nearest_types = NearestTypes(heap_, report_.query, kMaxNearest);
      return;
    }
    const analysis::PathTree tree = analysis::MergePaths(*paths_, targets);
    for (const heap::NodeId n : targets) report_.unreachable += !paths_->Reaches(n) && !InUse(n);
    for (std::size_t i = 0; i < tree.branches.size() && tree.branches[i].parent == i; ++i) {
      const bool count_only = paths_->RootOf(tree.branches[i].node) == analysis::RootPaths::kCountOnly;
      (count_only ? report_.by_count_only : report_.by_root) += tree.branches[i].targets;
    }
    Grow(tree);
  }

  using Children = std::vector<std::vector<std::uint32_t>>;  // of each branch of the tree

  // A branch to show, and those of the same fork that say the same with another index or key.
  struct Twig {
    std::uint32_t branch = 0, depth = 0;
    std::vector<std::uint32_t> alike;
  };

  // Pieces without a fork become one branch of the report; of equal branches the largest come first.
  void Grow(const analysis::PathTree& tree) {
    Children children(tree.branches.size());
    std::vector<std::uint32_t> tops;
    for (std::uint32_t i = 0; i < tree.branches.size(); ++i) (tree.branches[i].parent == i ? tops : children[tree.branches[i].parent]).push_back(i);
    std::vector<Twig> work;
    for (std::size_t i = std::min<std::size_t>(tops.size(), Limit()); i-- > 0;) work.push_back({tops[i], 0, {}});
    while (!work.empty()) {
      Twig twig = std::move(work.back());
      work.pop_back();
      twig.branch = EndOf(tree, children, twig.branch);
      for (std::uint32_t& other : twig.alike) other = EndOf(tree, children, other);
      std::vector<Twig> below = AddBranch(tree, children, twig);
      for (std::size_t i = below.size(); i-- > 0;) work.push_back(std::move(below[i]));
    }
  }
  static bool IsLeaf(const analysis::PathTree::Branch& b) { return b.is_target && b.targets == 1; }

  // Where the piece that begins at a branch ends: at a fork, at an object asked for, or before leaves.
  static std::uint32_t EndOf(const analysis::PathTree& tree, const Children& children, std::uint32_t at) {
    while (children[at].size() == 1 && !tree.branches[at].is_target && !IsLeaf(tree.branches[children[at][0]])) at = children[at][0];
    return at;
  }

  // Adds one row; returns those of its branches that are to be shown.
  std::vector<Twig> AddBranch(const analysis::PathTree& tree, const Children& children, const Twig& twig) {
    report::PathBranch& branch = report_.tree.emplace_back();
    branch.depth = twig.depth;
    branch.alike = twig.alike.size();
    const std::vector<heap::NodeId> nodes = paths_->PathTo(tree.branches[twig.branch].node);
    branch.path = PathOf(nodes, paths_->RootOf(nodes.front()));
    std::vector<std::uint32_t> below;
    AddLeaves(tree, children, twig.branch, nodes, branch, below);
    for (const std::uint32_t other : twig.alike) AddLeaves(tree, children, other, nodes, branch, below);
    std::stable_sort(below.begin(), below.end(), [&](std::uint32_t a, std::uint32_t b) { return tree.branches[a].targets > tree.branches[b].targets; });
    std::vector<Twig> twigs = Folded(tree, children, below, twig.depth + 1, IndexesApart(tree, twig.branch, branch.path));
    branch.deeper = twig.depth >= (in_.request.limit == 0 ? kMostBranchDepth : kMaxBranchDepth);
    const std::size_t shown = branch.deeper ? 0 : static_cast<std::size_t>(std::min<std::uint64_t>(twigs.size(), Limit()));
    for (std::size_t i = shown; i < twigs.size(); ++i) branch.left_out += Targets(tree, twigs[i]);
    twigs.resize(shown);
    return twigs;
  }

  static std::uint64_t Targets(const analysis::PathTree& tree, const Twig& twig) {
    std::uint64_t sum = tree.branches[twig.branch].targets;
    for (const std::uint32_t other : twig.alike) sum += tree.branches[other].targets;
    return sum;
  }

  // Counts the leaves of one fork into a row; `below` gets its other branches.
  void AddLeaves(const analysis::PathTree& tree, const Children& children, std::uint32_t at, const std::vector<heap::NodeId>& nodes, report::PathBranch& branch,
                 std::vector<std::uint32_t>& below) {
    branch.objects += tree.branches[at].targets;
    for (const std::uint32_t child : children[at]) {
      const analysis::PathTree::Branch& c = tree.branches[child];
      if (!IsLeaf(c)) {
        below.push_back(child);
        continue;
      }
      if (branch.leaves++ == 0) {
        std::vector<heap::NodeId> to_leaf = nodes;
        to_leaf.push_back(c.node);
        branch.to_leaf = PathOf(to_leaf, paths_->RootOf(nodes.front()));
      }
      if (branch.leaf_examples.size() >= std::min<std::uint64_t>(Limit(), 1000)) continue;
      const report::Cycle pair = labels_.PathOf({heap_.AddressOf(tree.branches[at].node), heap_.AddressOf(c.node)}, kMaxPathSteps);
      branch.leaf_examples.emplace_back(heap_.AddressOf(c.node), pair.front().label);
    }
  }

  // Whether the branches of a fork differ in an index or a key that is data, not in a name of the program: not those of a module, a class, an object, a frame.
  [[nodiscard]] bool IndexesApart(const analysis::PathTree& tree, std::uint32_t end, const report::RootPath& path) const {
    const std::string& type = heap_.types[heap_.type[tree.branches[end].node]].name;
    if (type == "list" || type == "tuple" || type == "set" || type == "frozenset" || type == "collections.deque") return true;
    if (type != "dict" && type != "collections.OrderedDict" && type != "collections.defaultdict") return false;
    if (path.steps.size() < 2) return path.root.kind != "module";
    return path.steps[path.steps.size() - 2].label != ".__dict__";
  }

  // The branches of a fork as twigs, those alike behind the first of them where there are at least kLeastAlike. Looks at kMostCompared of them at most.
  std::vector<Twig> Folded(const analysis::PathTree& tree, const Children& children, const std::vector<std::uint32_t>& below, std::uint32_t depth, bool indexes) {
    std::vector<Twig> twigs;
    std::map<std::string, std::vector<std::uint32_t>> by_shape;
    std::vector<std::string> shapes(below.size());
    for (std::size_t i = 0; indexes && below.size() >= kLeastAlike && i < std::min(below.size(), kMostCompared); ++i) {
      if (i % 256 == 0 && !in_.progress.Update("comparing branches", i, below.size())) break;
      shapes[i] = ShapeOf(tree, children, below[i]);
      if (!shapes[i].empty()) by_shape[shapes[i]].push_back(below[i]);
    }
    for (std::size_t i = 0; i < below.size(); ++i) {
      const auto found = by_shape.find(shapes[i]);
      if (found == by_shape.end() || found->second.size() < kLeastAlike) {
        twigs.push_back({below[i], depth, {}});
      } else if (found->second.front() == below[i]) {
        twigs.push_back({below[i], depth, {found->second.begin() + 1, found->second.end()}});
      }
    }
    std::stable_sort(twigs.begin(), twigs.end(), [&](const Twig& a, const Twig& b) { return Targets(tree, a) > Targets(tree, b); });
    return twigs;
  }

  // The types and references of all that grows from a branch, each kind once, without indexes and keys; empty: too much of it to be compared.
  [[nodiscard]] std::string ShapeOf(const analysis::PathTree& tree, const Children& children, std::uint32_t at, std::uint32_t depth = 0) {
    const std::uint32_t end = EndOf(tree, children, at);
    std::vector<Address> addresses = {heap_.AddressOf(tree.branches[at].node)};
    while (at != end && addresses.size() < kMaxPathSteps) {
      at = children[at][0];
      addresses.push_back(heap_.AddressOf(tree.branches[at].node));
    }
    std::string shape = tree.branches[end].is_target ? "asked for " : "";
    std::set<std::string> below;
    for (const std::uint32_t child : children[end]) {
      if (depth >= kMaxShapeDepth || steps_compared_ + addresses.size() > kMostSteps) return {};
      steps_compared_ += addresses.size();
      addresses.push_back(heap_.AddressOf(tree.branches[child].node));
      std::string kind = StepsText(addresses);
      addresses.pop_back();
      if (!IsLeaf(tree.branches[child])) {
        const std::string rest = ShapeOf(tree, children, child, depth + 1);
        if (rest.empty()) return {};
        kind += "(" + rest + ")";
      }
      below.insert(std::move(kind));
    }
    for (const std::string& kind : below) shape += kind;
    return shape;
  }

  // A way of several objects without what is data: "__main__.Order .price".
  [[nodiscard]] std::string StepsText(const std::vector<Address>& addresses) const {
    std::string text;
    bool namespace_dict = false;
    for (const report::CycleStep& step : labels_.PathOf(addresses, kMaxPathSteps)) {
      const bool data = step.kind == report::EdgeKind::kItem || step.kind == report::EdgeKind::kElement || (step.kind == report::EdgeKind::kKey && !namespace_dict);
      namespace_dict = step.label == ".__dict__";
      text += fmt::format("{}\n{}\n{}\n", step.type, step.name, data ? "[]" : step.label);
    }
    return text;
  }

  const CommandInput& in_;
  const heap::HeapSnapshot& heap_;
  Inspector inspector_;
  Labels labels_;
  report::PathReport report_;
  const analysis::RootPaths* paths_ = nullptr;
  std::optional<analysis::RootPaths> own_;
  std::uint64_t steps_compared_ = 0;
};

}  // namespace

std::optional<report::RootPath> FindShortestPath(const CommandInput& in, Address object) { return PathFinder(in).Shortest(object); }

Outcome RunPath(const CommandInput& in) { return PathFinder(in).Run(); }

}  // namespace pygc::engine
