#include "core/engine/heap_sections.h"

#include <algorithm>
#include <array>
#include <map>
#include <tuple>

#include "core/engine/derived.h"
#include "core/engine/inspector.h"
#include "core/engine/node_path.h"
#include "core/engine/texts.h"
#include "core/objects/container_fill.h"

namespace pygc::engine {
namespace {

using heap::NodeId;

constexpr std::uint64_t kSuspectShare = 5;     // more than 1 / this of what is in use, as MAT has it
constexpr std::size_t kMaxSuspects = 5;
constexpr std::size_t kMaxContents = 3;
constexpr std::size_t kMaxPileDepth = 100;
constexpr std::size_t kNested = 8;             // objects of one type below each other that make a chain
constexpr std::size_t kBetween = 4;            // of other types that may lie between two of them: the object, its dict, a list
constexpr std::size_t kMaxLargest = 3;         // containers named for each kind
constexpr std::size_t kMaxShownText = 60;      // characters of a duplicate text
constexpr std::uint64_t kLookStep = 1u << 16;  // objects between two questions whether to go on

// ---- suspects

class SuspectFinder {
 public:
  SuspectFinder(const CommandInput& in, const Retention& retention)
      : in_(in), heap_(in.heap), retention_(retention), labels_(in.reader, in.request.redact), inspector_(in), all_(retention.AllBytes()) {}

  std::vector<report::Suspect> Run() {
    const Result<const analysis::RootPaths*> paths = RootPathsOf(in_, false);
    paths_ = paths ? *paths : nullptr;
    std::vector<report::Suspect> found;
    // Classes of the program are told of by their objects; built-in types say nothing, so their objects are told of by the place in the program that leads to
    // them. In MAT's words: by class, and by accumulation point.
    std::map<std::uint32_t, std::vector<NodeId>> by_type;
    std::map<NodeId, std::vector<NodeId>> by_place;
    std::vector<Large> large;
    const std::vector<std::pair<NodeId, NodeId>> places = PlacesOfBuiltIns();
    retention_.tree.ForEachTop([&](NodeId p) {
      const NodeId n = retention_.tree.preorder[p];
      if (IsLarge(p)) {
        large.push_back(LargeAt(p));
        const std::string& name = heap_.types[large.back().type].name;
        if (name == "dict" || name == "module") large.back().type = heap::kNoNode;  // a namespace is no member of a chain
      } else if (IsOfProgram(n)) {
        by_type[heap_.type[n]].push_back(p);
      } else if (const auto at = std::lower_bound(places.begin(), places.end(), std::pair(n, NodeId{0})); at != places.end() && at->first == n) {
        by_place[at->second].push_back(p);
      }
    });
    // The dict of a module keeps everything of the module: what is told of is the deepest object that is still large. Of a chain, each of which keeps the
    // next, none is the deepest in any sense: there it is the first.
    while (!large.empty()) {
      const Large at = large.back();
      large.pop_back();
      if (at.alike >= kNested) {
        found.push_back(Chain(at.first_alike));
        continue;
      }
      bool has_large = false;
      retention_.tree.ForEachChild(at.position, [&](NodeId child) {
        if (!IsLarge(child)) return;
        large.push_back(LargeBelow(at, child));
        has_large = true;
      });
      if (!has_large) found.push_back(OneObject(at.position));
    }
    for (const auto& [type, positions] : by_type) {
      const std::uint64_t retained = RetainedByAll(positions);
      if (retained > all_ / kSuspectShare) found.push_back(Group(type, positions, retained));
    }
    for (const auto& [place, positions] : by_place) {
      const std::uint64_t retained = RetainedByAll(positions);
      if (retained > all_ / kSuspectShare) found.push_back(Place(place, positions, retained));
    }
    std::sort(found.begin(), found.end(), [](const report::Suspect& a, const report::Suspect& b) { return std::tie(b.retained, a.type, a.address) < std::tie(a.retained, b.type, b.address); });
    if (found.size() > kMaxSuspects) found.resize(kMaxSuspects);
    return found;
  }

 private:
  [[nodiscard]] std::uint64_t RetainedByAll(const std::vector<NodeId>& positions) const {
    std::uint64_t retained = 0;
    for (const NodeId p : positions) retained += retention_.bytes[p];
    return retained;
  }
  [[nodiscard]] bool IsLarge(NodeId position) const { return retention_.bytes[position] > all_ / kSuspectShare; }

  // A large object on the way down, and how often its type was met on that way.
  struct Large {
    NodeId position = 0;
    std::uint32_t type = 0;
    std::size_t alike = 0;     // objects of its type above it, between which lie few others
    NodeId first_alike = 0;    // the position of the first of them, or its own
    std::array<std::pair<std::uint32_t, std::pair<std::size_t, NodeId>>, kBetween> above{};  // the last ones above it: type, alike, first_alike
  };
  [[nodiscard]] Large LargeAt(NodeId p) const {
    Large at;
    at.position = at.first_alike = p;
    at.type = heap_.type[NodeOf(p)];
    at.above.fill({heap::kNoNode - 1, {0, 0}});
    return at;
  }
  [[nodiscard]] Large LargeBelow(const Large& above, NodeId child) const {
    Large at = LargeAt(child);
    std::copy(above.above.begin() + 1, above.above.end(), at.above.begin());
    at.above.back() = {above.type, {above.alike, above.first_alike}};
    for (const auto& [type, chain] : at.above) {  // the nearest one is the last
      if (type != at.type) continue;
      at.alike = chain.first + 1;
      at.first_alike = chain.second;
    }
    return at;
  }
  // How many objects of the type keep each other one after the other, from `p` on.
  [[nodiscard]] std::uint64_t LengthOfChain(NodeId p) const {
    const std::uint32_t type = heap_.type[NodeOf(p)];
    std::uint64_t length = 1;
    for (std::size_t others = 0; others < kBetween;) {
      NodeId largest = heap::kNoNode;
      retention_.tree.ForEachChild(p, [&](NodeId child) {
        if (largest == heap::kNoNode || std::pair(retention_.bytes[child], NodeOf(largest)) > std::pair(retention_.bytes[largest], NodeOf(child))) largest = child;
      });
      if (largest == heap::kNoNode) break;
      const bool is_alike = heap_.type[NodeOf(largest)] == type;
      others = is_alike ? 0 : others + 1;
      length += is_alike;
      p = largest;
    }
    return length;
  }
  [[nodiscard]] report::Suspect Chain(NodeId first) const {
    report::Suspect s = OneObject(first, first);
    s.nested = LengthOfChain(first);
    return s;
  }

  [[nodiscard]] bool IsOfProgram(NodeId n) const { return heap_.types[heap_.type[n]].name.find('.') != std::string::npos; }

  // Objects of built-in types that nothing but roots dominates, and the place that leads to each, where there is one. Rising. In one pass over the tree of paths.
  [[nodiscard]] std::vector<std::pair<NodeId, NodeId>> PlacesOfBuiltIns() const {
    std::vector<std::pair<NodeId, NodeId>> out;
    if (paths_ == nullptr) return out;
    graph::NodeSet wanted(heap_.size());
    retention_.tree.ForEachTop([&](NodeId p) {
      if (!IsLarge(p) && !IsOfProgram(NodeOf(p))) wanted.Insert(NodeOf(p));
    });
    for (std::uint32_t at = 0; at < paths_->order.size(); ++at) {
      if (!wanted.Contains(paths_->order[at])) continue;
      if (const NodeId place = ProgramPlace(at); place != heap::kNoNode) out.emplace_back(paths_->order[at], place);
    }
    std::sort(out.begin(), out.end());
    return out;
  }
  // Where the shortest path to an object, by its place in the tree of paths, leaves the namespaces of modules: the global that leads to it. kNoNode: it does not
  // come from one, or that is a module, a class or a function: what those lead to is the program itself.
  [[nodiscard]] NodeId ProgramPlace(std::uint32_t in_tree) const {
    const auto name = [&](NodeId x) -> const std::string& { return heap_.types[heap_.type[x]].name; };
    const std::vector<NodeId> way = paths_->PathToPlace(in_tree);  // depth is that of the shortest path
    std::size_t at = 0;
    while (at < way.size() && (name(way[at]) == "module" || (name(way[at]) == "dict" && (at == 0 || name(way[at - 1]) == "module")))) ++at;
    if (at == 0 || at == way.size()) return heap::kNoNode;
    const std::string& type = name(way[at]);
    const bool is_program = type == "module" || type == "type" || type == "function" || type == "builtin_function_or_method" || type == "abc.ABCMeta" || type == "classobj";
    return is_program ? heap::kNoNode : way[at];
  }

  // Down to the deepest object that keeps most of it: below that one it is spread. By position.
  [[nodiscard]] NodeId PileOf(NodeId p) const {
    for (std::size_t depth = 0; depth < kMaxPileDepth; ++depth) {
      NodeId largest = heap::kNoNode;
      retention_.tree.ForEachChild(p, [&](NodeId child) {
        if (largest == heap::kNoNode || std::pair(retention_.bytes[child], NodeOf(largest)) > std::pair(retention_.bytes[largest], NodeOf(child))) largest = child;
      });
      if (largest == heap::kNoNode || retention_.bytes[largest] < retention_.bytes[p] / 10 * 7) return p;  // MAT: BIG_DROP_RATIO
      p = largest;
    }
    return p;
  }
  [[nodiscard]] NodeId NodeOf(NodeId position) const { return retention_.tree.preorder[position]; }

  void AddPath(report::Suspect& s, NodeId to) const {
    if (paths_ == nullptr) return;
    const std::optional<report::RootPath> path = ShortestPath(in_, labels_, *paths_, to);
    if (!path) return;
    s.path = report::PlacedPathOf(*path);
    s.expression = report::ExpressionOf(*path).value_or("");
  }
  static void AddKeyword(report::Suspect& s, const std::string& word) {
    if (!word.empty() && std::find(s.keywords.begin(), s.keywords.end(), word) == s.keywords.end()) s.keywords.push_back(word);
  }

  // Classes of the program among what these keep: what lies nearest says most of what it is about.
  void AddContents(report::Suspect& s, std::vector<NodeId> level) const {
    std::map<std::uint32_t, std::uint64_t> count;
    std::vector<std::pair<std::size_t, std::uint32_t>> order;  // by depth
    std::vector<NodeId> below;
    for (std::size_t depth = 0; !level.empty(); ++depth) {
      below.clear();
      for (const NodeId position : level) {
        const std::uint32_t type = heap_.type[NodeOf(position)];
        if (heap_.types[type].name.find('.') != std::string::npos && count[type]++ == 0) order.emplace_back(depth, type);
        retention_.tree.ForEachChild(position, [&](NodeId child) { below.push_back(child); });
      }
      level.swap(below);
    }
    std::sort(order.begin(), order.end(), [&](const auto& a, const auto& b) { return std::tuple(a.first, count[b.second], a.second) < std::tuple(b.first, count[a.second], b.second); });
    if (order.size() > kMaxContents) order.resize(kMaxContents);
    for (const auto& [depth, type] : order) s.contents.push_back({heap_.types[type].name, count[type]});
  }

  [[nodiscard]] report::Suspect OneObject(NodeId position) const { return OneObject(position, PileOf(position)); }
  [[nodiscard]] report::Suspect OneObject(NodeId position, NodeId pile) const {
    report::Suspect s;
    s.address = heap_.AddressOf(NodeOf(position));
    s.type = labels_.TypeName(s.address);
    s.name = inspector_.NameOf(s.address, s.type);
    s.retained = retention_.bytes[position];
    s.retained_objects = retention_.tree.subtree[position];
    s.pile = heap_.AddressOf(NodeOf(pile));
    s.pile_type = labels_.TypeName(s.pile);
    s.pile_retained = retention_.bytes[pile];
    std::map<std::uint32_t, std::uint64_t> parts;
    std::vector<NodeId> children;
    retention_.tree.ForEachChild(pile, [&](NodeId child) {
      ++s.pile_parts;
      children.push_back(child);
      parts[heap_.type[NodeOf(child)]] += retention_.bytes[child];
    });
    AddContents(s, std::move(children));
    AddPath(s, NodeOf(pile));
    AddKeyword(s, s.name);
    AddKeyword(s, s.type);
    AddKeyword(s, s.pile_type);
    const auto most = std::max_element(parts.begin(), parts.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    if (most != parts.end()) AddKeyword(s, heap_.types[most->first].name);
    return s;
  }

  [[nodiscard]] report::Suspect Group(std::uint32_t type, const std::vector<NodeId>& positions, std::uint64_t retained) const {
    report::Suspect s;
    s.type = heap_.types[type].name;
    s.objects = positions.size();
    s.retained = retained;
    const auto largest = std::max_element(positions.begin(), positions.end(), [&](NodeId a, NodeId b) { return std::pair(retention_.bytes[a], NodeOf(b)) < std::pair(retention_.bytes[b], NodeOf(a)); });
    for (const NodeId p : positions) s.retained_objects += retention_.tree.subtree[p];
    AddContents(s, positions);
    AddPath(s, NodeOf(*largest));
    AddKeyword(s, s.type);
    return s;
  }

  [[nodiscard]] report::Suspect Place(NodeId place, const std::vector<NodeId>& positions, std::uint64_t retained) const {
    report::Suspect s;
    s.by_place = true;
    s.type = labels_.TypeName(heap_.AddressOf(place));
    s.objects = positions.size();
    s.retained = retained;
    std::map<std::uint32_t, std::uint64_t> parts;
    for (const NodeId p : positions) {
      s.retained_objects += retention_.tree.subtree[p];
      parts[heap_.type[NodeOf(p)]] += retention_.bytes[p];
    }
    AddContents(s, positions);
    AddPath(s, place);
    AddKeyword(s, s.expression.empty() ? s.path : s.expression);
    const auto most = std::max_element(parts.begin(), parts.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    if (most != parts.end()) AddKeyword(s, heap_.types[most->first].name);
    return s;
  }

  const CommandInput& in_;
  const heap::HeapSnapshot& heap_;
  const Retention& retention_;
  Labels labels_;
  Inspector inspector_;
  const analysis::RootPaths* paths_ = nullptr;
  std::uint64_t all_;
};

// ---- duplicates

struct Keyed {
  std::uint64_t key = 0, length = 0;
  NodeId node = 0;
  Address address = 0;
  friend bool operator<(const Keyed& a, const Keyed& b) { return std::tie(a.key, a.length, a.node) < std::tie(b.key, b.length, b.node); }
  [[nodiscard]] bool SameAs(const Keyed& other) const { return key == other.key && length == other.length; }
};

// Runs of equal keys become rows; `equal` looks again, so that no two different things are ever called equal.
template <typename Equal>
void AddGroups(const CommandInput& in, const char* kind, std::vector<Keyed> items, Equal&& equal, std::vector<report::Duplicate>& out, std::uint64_t* surplus) {
  std::sort(items.begin(), items.end());
  for (std::size_t begin = 0, end = 0; begin < items.size(); begin = end) {
    report::Duplicate d;
    for (end = begin; end < items.size() && items[end].SameAs(items[begin]); ++end) {
      if (end != begin && !equal(items[begin], items[end])) continue;
      ++d.objects;
      const std::uint64_t size = in.heap.KnownSize(items[end].node);
      d.bytes += size;
      if (end != begin) d.surplus_bytes += size;
    }
    if (d.objects < 2) continue;
    d.kind = kind;
    d.length = items[begin].length;
    d.example = items[begin].address;
    *surplus += d.surplus_bytes;
    out.push_back(std::move(d));
  }
}

}  // namespace

std::vector<report::Suspect> FindSuspects(const CommandInput& in, const Retention& retention) { return SuspectFinder(in, retention).Run(); }

Result<std::vector<report::ContainerWaste>> MeasureContainers(const CommandInput& in) {
  std::vector<report::ContainerWaste> out(3);
  const char* const kinds[] = {"list", "dict", "set"};
  for (std::size_t i = 0; i < 3; ++i) out[i].kind = kinds[i];
  const objects::ContainerReader containers(in.reader);
  std::vector<const objects::TypeFacts*> facts(in.heap.types.size());
  for (std::size_t t = 0; t < facts.size(); ++t) facts[t] = in.heap.types[t].address == 0 ? nullptr : in.reader.Type(in.heap.types[t].address);
  bool go_on = true;
  in.heap.index.ForEach(0, in.heap.size(), [&](NodeId n, Address object) {
    if (!go_on) return;
    if (n % kLookStep == 0) go_on = in.progress.Update("measuring containers", n, in.heap.size());
    const objects::TypeFacts* const type = facts[in.heap.type[n]];
    const std::optional<objects::ContainerFill> fill = type == nullptr ? std::nullopt : containers.Of(object, *type);
    if (!fill) return;
    report::ContainerWaste& c = out[static_cast<std::size_t>(fill->kind)];
    ++c.objects;
    c.empty += fill->used == 0;
    c.capacity += fill->capacity;
    if (fill->capacity != 0) c.used += fill->used;
    const std::uint64_t unused = fill->UnusedBytes();
    c.unused_bytes += unused;
    if (unused == 0 || (c.largest.size() == kMaxLargest && unused <= c.largest.back().unused_bytes)) return;
    c.largest.push_back({object, type->name, fill->capacity, fill->used, unused});
    std::stable_sort(c.largest.begin(), c.largest.end(), [](const auto& a, const auto& b) { return a.unused_bytes > b.unused_bytes; });
    if (c.largest.size() > kMaxLargest) c.largest.pop_back();
  });
  if (!go_on) return Fail(ErrorCode::kCancelled, "stopped while measuring containers");
  return out;
}

Result<std::vector<report::Duplicate>> FindDuplicates(const CommandInput& in, std::uint64_t* bytes) {
  Texts texts(in);
  std::vector<Keyed> strings, tuples;
  std::vector<bool> is_tuple(in.heap.types.size());
  for (std::size_t t = 0; t < is_tuple.size(); ++t) is_tuple[t] = in.heap.types[t].name == "tuple";
  bool go_on = true;
  in.heap.index.ForEach(0, in.heap.size(), [&](NodeId n, Address object) {
    if (!go_on) return;
    if (n % kLookStep == 0) go_on = in.progress.Update("comparing texts and tuples", n, in.heap.size());
    if (is_tuple[in.heap.type[n]]) {
      const std::span<const NodeId> items = in.heap.graph.Successors(n);
      if (items.empty()) return;  // there is only one empty tuple
      std::uint64_t key = 0xcbf29ce484222325u;
      for (const NodeId item : items) key = (key ^ item) * 0x100000001b3u;
      tuples.push_back({key, items.size(), n, object});
    } else if (report::SqlString text; texts.Is(n, object) && texts.Read(object, false, &text)) {
      strings.push_back({text.digest, text.length, n, object});
    }
  });
  if (!go_on) return Fail(ErrorCode::kCancelled, "stopped while comparing texts and tuples");
  std::vector<report::Duplicate> out;
  *bytes = 0;
  AddGroups(in, "str", std::move(strings), [&](const Keyed& a, const Keyed& b) { return texts.Equal(a.address, b.address); }, out, bytes);
  AddGroups(in, "tuple", std::move(tuples),
            [&](const Keyed& a, const Keyed& b) {
              const auto x = in.heap.graph.Successors(a.node), y = in.heap.graph.Successors(b.node);
              return std::equal(x.begin(), x.end(), y.begin(), y.end());
            },
            out, bytes);
  std::sort(out.begin(), out.end(), [](const report::Duplicate& a, const report::Duplicate& b) { return std::tie(b.surplus_bytes, a.example) < std::tie(a.surplus_bytes, b.example); });
  if (in.request.limit != 0 && out.size() > in.request.limit) out.resize(static_cast<std::size_t>(in.request.limit));
  if (in.request.show_values && !in.request.redact) {
    for (report::Duplicate& d : out) {
      if (d.kind == "str") d.value = texts.Start(d.example, kMaxShownText);
    }
  }
  return out;
}

}  // namespace pygc::engine
