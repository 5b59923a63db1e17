#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <iterator>
#include <unordered_map>

#include "core/graph/scc.h"
#include "core/report/escape.h"
#include "core/report/export_graph.h"
#include "core/report/export_row.h"
#include "core/report/json_writer.h"

namespace pygc::report {
namespace {

using heap::NodeId;

constexpr std::size_t kBlockBytes = 1u << 16;
constexpr unsigned kNodeFields = 7;
// Positions in node_types[0] and edge_types[0] of the header.
constexpr unsigned kObjectNode = 3, kSyntheticNode = 9;
enum EdgeType : unsigned { kContext = 0, kElement = 1, kProperty = 2, kInternal = 3, kHidden = 4, kWeak = 6 };

// V8: HeapSnapshotJSONSerializer::SerializeSnapshot(), src/profiler/heap-snapshot-generator.cc.
constexpr std::string_view kHeader =
    R"({"snapshot":{"meta":{"node_fields":["type","name","id","self_size","edge_count","trace_node_id","detachedness"],)"
    R"("node_types":[["hidden","array","string","object","code","closure","regexp","number","native","synthetic","concatenated string","sliced string","symbol",)"
    R"("bigint"],"string","number","number","number","number","number"],"edge_fields":["type","name_or_index","to_node"],)"
    R"("edge_types":[["context","element","property","internal","hidden","shortcut","weak"],"string_or_number","node"],)"
    R"("trace_function_info_fields":["function_id","name","script_name","script_id","line","column"],)"
    R"("trace_node_fields":["id","function_info_index","count","size","children"],"sample_fields":["timestamp_us","last_assigned_id"],)"
    R"("location_fields":["object_index","script_id","line","column"]}})";

// The nodes before the objects.
constexpr std::string_view kSynthetic[] = {"",         "(GC roots)", "(frames)",   "(modules)", "(threads)",          "(interpreter)",
                                           "(static)", "(stacks)",   "(registers)", "(native)", "(holder not found)", "(unreachable)"};
constexpr unsigned kGcRoots = 1, kFirstKind = 2, kNoHolder = 10, kUnreachable = 11, kSyntheticNodes = static_cast<unsigned>(std::size(kSynthetic));

// Texts in the order in which they were first asked for.
class Strings {
 public:
  std::uint32_t Id(const std::string& text) {
    const auto [found, fresh] = ids_.try_emplace(text, static_cast<std::uint32_t>(texts_.size()));
    if (fresh) texts_.push_back(&found->first);
    return found->second;
  }
  [[nodiscard]] const std::vector<const std::string*>& texts() const { return texts_; }

 private:
  std::unordered_map<std::string, std::uint32_t> ids_;
  std::vector<const std::string*> texts_;
};

// How the developer tools sort a label: "[3]" is an element, ".name" a property, a variable a context variable.
struct EdgeName {
  EdgeType type = kHidden;
  std::string name;
  std::uint64_t index = 0;
};
EdgeName NameOfLabel(const std::string& label, std::uint64_t position) {
  if (label.empty()) return {kHidden, "", position};
  if (label.size() > 2 && label.front() == '[' && label.back() == ']') {
    std::uint64_t index = 0;
    const char* const last = label.data() + label.size() - 1;
    const auto [end, error] = std::from_chars(label.data() + 1, last, index);
    if (error == std::errc() && end == last && index <= 0x7FFFFFFF) return {kElement, "", index};
  }
  if (label.starts_with("local ") || label.starts_with("closure ")) return {kContext, label, 0};
  if (label.front() == '.') return {kProperty, label.substr(1), 0};
  return {kProperty, label, 0};
}

class SnapshotWriter {
 public:
  SnapshotWriter(const GraphInput& input, const ByteSink& sink, ProgressSink& progress) : in_(input), heap_(input.base.heap), sink_(sink), progress_(progress) {}

  Result<void> Run() {
    FindRootEdges();
    Header();
    if (!Nodes() || !Edges() || !Texts()) return Fail(ErrorCode::kCancelled, "interrupted while the snapshot was written");
    return {};
  }

 private:
  struct RootEdge {
    std::uint32_t from;  // a synthetic node
    NodeId to;
    std::string name;
  };

  [[nodiscard]] bool IsReached(NodeId n) const { return in_.paths.Reaches(n); }

  // Every start of a path hangs below the kinds of roots that it has; of what is unreachable one object of each component that nothing else leads to.
  void FindRootEdges() {
    std::vector<bool> has_root(in_.paths.starts.size());
    for (const heap::Root& root : in_.roots.roots) {
      const NodeId n = heap_.index.Find(root.object);
      const auto at = std::lower_bound(in_.paths.starts.begin(), in_.paths.starts.end(), n);
      if (n == heap::kNoNode || at == in_.paths.starts.end() || *at != n) continue;
      has_root[static_cast<std::size_t>(at - in_.paths.starts.begin())] = true;
      root_edges_.push_back({kFirstKind + static_cast<unsigned>(root.kind), n, DescribeRoot(in_.roots, root)});
    }
    for (std::size_t i = 0; i < has_root.size(); ++i) {
      if (!has_root[i]) root_edges_.push_back({kNoHolder, in_.paths.starts[i], ""});
    }
    graph::NodeSet dead(heap_.size());
    for (NodeId n = 0; n < heap_.size(); ++n) {
      if (!IsReached(n)) dead.Insert(n);
    }
    const graph::Components components = graph::StronglyConnectedComponents(heap_.graph, &dead);
    std::vector<bool> led_to(components.count());
    dead.ForEach([&](NodeId n) {
      for (const NodeId to : heap_.graph.Successors(n)) {
        if (dead.Contains(to) && components.component_of[to] != components.component_of[n]) led_to[components.component_of[to]] = true;
      }
    });
    for (NodeId c = 0; c < components.count(); ++c) {
      if (!led_to[c]) root_edges_.push_back({kUnreachable, components.Members(c).front(), ""});
    }
    std::stable_sort(root_edges_.begin(), root_edges_.end(), [](const RootEdge& a, const RootEdge& b) { return a.from < b.from; });
  }

  void Header() {
    // The root leads to the roots and to what is unreachable, "(GC roots)" to each kind of them.
    edge_count_ = 2 + (kNoHolder - kFirstKind + 1) + root_edges_.size() + heap_.graph.edge_count();
    Put(kHeader.substr(0, kHeader.size() - 1));
    Put(fmt::format(",\"node_count\":{},\"edge_count\":{},\"trace_function_count\":0}},\n\"nodes\":[", kSyntheticNodes + std::uint64_t{heap_.size()}, edge_count_));
  }

  bool Nodes() {
    std::array<std::uint64_t, kSyntheticNodes> edges{};
    edges[0] = 2;
    edges[kGcRoots] = kNoHolder - kFirstKind + 1;
    for (const RootEdge& e : root_edges_) ++edges[e.from];
    for (unsigned i = 0; i < kSyntheticNodes; ++i) Node(kSyntheticNode, std::string(kSynthetic[i]), i == 0 ? 1 : 2 * (std::uint64_t{heap_.size()} + i) + 1, 0, edges[i], i == 0);
    for (NodeId n = 0; n < heap_.size(); ++n) {
      if (n % kExportProgressStep == 0 && !progress_.Update("writing objects", n, heap_.size())) return false;
      const bool known = n < heap_.size_bytes.size() && heap_.size_bytes[n] != heap::kUnknownSize;
      Node(kObjectNode, in_.node_name(n), 2 * std::uint64_t{n} + 3, known ? heap_.size_bytes[n] : 0, heap_.graph.Successors(n).size(), false);
    }
    Put("],\n\"edges\":[");
    return true;
  }
  void Node(unsigned type, const std::string& name, std::uint64_t id, std::uint64_t size, std::uint64_t edges, bool first) {
    fmt::format_to(std::back_inserter(out_), "{}{},{},{},{},{},0,0", first ? "" : "\n,", type, strings_.Id(name), id, size, edges);
    Flush(kBlockBytes);
  }

  bool Edges() {
    Edge(kElement, 1, kGcRoots);
    Edge(kElement, 2, kUnreachable);
    for (unsigned kind = kFirstKind; kind <= kNoHolder; ++kind) Edge(kElement, kind, kind);
    std::uint64_t index = 0;
    for (std::size_t i = 0; i < root_edges_.size(); ++i) {
      const RootEdge& e = root_edges_[i];
      index = i > 0 && root_edges_[i - 1].from == e.from ? index + 1 : 0;
      e.name.empty() ? Edge(kElement, index, ObjectNode(e.to)) : Edge(kProperty, strings_.Id(e.name), ObjectNode(e.to));
    }
    std::vector<std::string> labels;
    for (NodeId n = 0; n < heap_.size(); ++n) {
      if (n % kExportProgressStep == 0 && !progress_.Update("writing references", n, heap_.size())) return false;
      const auto successors = heap_.graph.Successors(n);
      labels.clear();
      if (in_.base.edge_labels && !successors.empty()) in_.base.edge_labels(n, labels);
      labels.resize(successors.size());
      for (std::size_t i = 0; i < successors.size(); ++i) Reference(n, successors[i], labels[i], i);
    }
    Put("],\n\"trace_function_infos\":[],\n\"trace_tree\":[],\n\"samples\":[],\n\"locations\":[],\n\"strings\":[");
    return true;
  }
  // What is unreachable keeps nothing that is in use.
  void Reference(NodeId from, NodeId to, const std::string& label, std::uint64_t position) {
    const EdgeName name = NameOfLabel(label, position);
    const bool weak = !IsReached(from) && IsReached(to);
    if (weak) return Edge(kWeak, strings_.Id(label.empty() ? fmt::format("{}", position) : label), ObjectNode(to));
    name.name.empty() ? Edge(name.type, name.index, ObjectNode(to)) : Edge(name.type, strings_.Id(name.name), ObjectNode(to));
  }
  static std::uint64_t ObjectNode(NodeId n) { return kSyntheticNodes + std::uint64_t{n}; }
  void Edge(EdgeType type, std::uint64_t name_or_index, std::uint64_t to) {
    fmt::format_to(std::back_inserter(out_), "{}{},{},{}", first_edge_ ? "" : "\n,", static_cast<unsigned>(type), name_or_index, to * kNodeFields);
    first_edge_ = false;
    Flush(kBlockBytes);
  }

  bool Texts() {
    std::uint64_t done = 0;
    for (const std::string* text : strings_.texts()) {
      if (done % kExportProgressStep == 0 && !progress_.Update("writing names", done, strings_.texts().size())) return false;
      fmt::format_to(std::back_inserter(out_), "{}{}", done++ == 0 ? "" : ",\n", JsonString(*text));
      Flush(kBlockBytes);
    }
    Put("]}\n");
    Flush(1);
    return true;
  }

  void Put(std::string_view text) { out_.append(text.data(), text.data() + text.size()); }
  void Flush(std::size_t at_least) {
    if (out_.size() < at_least) return;
    reading_ = reading_ && sink_({out_.data(), out_.size()});
    out_.clear();
  }

  const GraphInput& in_;
  const heap::HeapSnapshot& heap_;
  const ByteSink& sink_;
  ProgressSink& progress_;
  std::vector<RootEdge> root_edges_;
  std::uint64_t edge_count_ = 0;
  Strings strings_;
  fmt::memory_buffer out_;
  bool first_edge_ = true, reading_ = true;
};

}  // namespace

Result<void> WriteHeapSnapshot(const GraphInput& input, const ByteSink& sink, ProgressSink& progress) { return SnapshotWriter(input, sink, progress).Run(); }

}  // namespace pygc::report
