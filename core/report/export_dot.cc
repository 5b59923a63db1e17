#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <unordered_map>

#include "core/graph/scc.h"
#include "core/report/escape.h"
#include "core/report/export_graph.h"
#include "core/report/export_row.h"
#include "core/report/numbers.h"

namespace pygc::report {
namespace {

using heap::NodeId;

constexpr std::size_t kMaxText = 80, kMostLabels = 1u << 20;

// A DOT string: everything that could end it or be an escape of Graphviz is one of ours.
std::string Quoted(std::string_view raw) {
  std::string out = "\"";
  for (const char c : Printable(raw)) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

std::string Cut(const std::string& text) {
  if (CodePoints(text) <= kMaxText) return text;
  std::size_t end = kMaxText;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end) + "…";
}

class Drawing {
 public:
  Drawing(const GraphInput& input, const DotLimits& limits, ProgressSink& progress) : in_(input), heap_(input.base.heap), limits_(limits), progress_(progress) {}

  Result<DotSummary> Run(const std::vector<NodeId>& centres, const ByteSink& sink) {
    for (const NodeId n : centres) Show(n);
    const std::size_t asked_for = order_.size();
    if (!Follow(asked_for, &Drawing::Referents) || !FindReferrers(asked_for)) return Fail(ErrorCode::kCancelled, "interrupted while the objects to draw were chosen");
    FindCycles();
    Write(centres, sink);
    return summary_;
  }

 private:
  // Returns false where the drawing is full.
  bool Show(NodeId n) {
    if (number_.contains(n)) return true;
    if (order_.size() >= limits_.most_nodes) return false;
    number_.emplace(n, static_cast<NodeId>(order_.size()));
    order_.push_back(n);
    return true;
  }
  // Names of the program, not of its data: behind them lies all of it.
  [[nodiscard]] bool IsFolded(NodeId n) const {
    const std::string& type = heap_.types[heap_.type[n]].name;
    return type == "type" || type == "module" || type.ends_with("ABCMeta") || type.ends_with("EnumMeta") || type.ends_with("EnumType") || type == "builtin_function_or_method";
  }

  [[nodiscard]] std::vector<NodeId> Referents(NodeId n) const {
    const auto successors = heap_.graph.Successors(n);
    return {successors.begin(), successors.end()};
  }
  // Breadth first from the first `count` of what is shown.
  bool Follow(std::size_t count, std::vector<NodeId> (Drawing::*next)(NodeId) const) {
    std::vector<std::size_t> level;
    for (std::size_t i = 0; i < count; ++i) level.push_back(i);
    for (std::uint32_t distance = 0; distance < limits_.depth && !level.empty(); ++distance) {
      if (!progress_.Update("choosing objects", order_.size(), limits_.most_nodes)) return false;
      std::vector<std::size_t> after;
      for (const std::size_t i : level) {
        if (i >= count && IsFolded(order_[i])) continue;
        std::uint32_t shown = 0;
        for (const NodeId to : (this->*next)(order_[i])) {
          if (IsFolded(to) && heap_.types[heap_.type[to]].name == "type" && !number_.contains(to)) continue;  // every object's class
          if (shown++ >= limits_.fan_out) break;
          const std::size_t before = order_.size();
          if (!Show(to)) return true;
          if (order_.size() > before) after.push_back(before);
        }
      }
      level = std::move(after);
    }
    return true;
  }
  // One look at all references for each step away: the reverse of the whole graph would cost more than a few of those.
  bool FindReferrers(std::size_t count) {
    std::vector<NodeId> level(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(count));
    for (std::uint32_t distance = 0; distance < limits_.depth && !level.empty(); ++distance) {
      std::unordered_map<NodeId, std::uint32_t> left;
      for (const NodeId n : level) {
        if (distance == 0 || !IsFolded(n)) left.emplace(n, limits_.fan_out);
      }
      std::vector<NodeId> after;
      for (NodeId from = 0; from < heap_.size(); ++from) {
        if (from % kExportProgressStep == 0 && !progress_.Update("finding referrers", from, heap_.size())) return false;
        for (const NodeId to : heap_.graph.Successors(from)) {
          const auto found = left.find(to);
          if (found == left.end() || found->second == 0) continue;
          --found->second;
          const std::size_t before = order_.size();
          if (!Show(from)) return true;
          if (order_.size() > before) after.push_back(from);
        }
      }
      level = std::move(after);
    }
    return true;
  }

  // Components of what is drawn: a reference inside of one is part of a cycle.
  void FindCycles() {
    std::vector<std::uint32_t> offsets = {0};
    std::vector<NodeId> edges;
    for (const NodeId n : order_) {
      for (const NodeId to : heap_.graph.Successors(n)) {
        if (const auto found = number_.find(to); found != number_.end()) edges.push_back(found->second);
      }
      offsets.push_back(static_cast<std::uint32_t>(edges.size()));
    }
    const graph::CsrGraph drawn(std::move(offsets), std::move(edges));
    components_ = graph::StronglyConnectedComponents(drawn);
    cyclic_.resize(components_.count());
    for (NodeId c = 0; c < components_.count(); ++c) cyclic_[c] = graph::IsCyclic(drawn, components_, c);
  }
  [[nodiscard]] bool OnCycle(NodeId a, NodeId b) const {
    const NodeId c = components_.component_of[number_.at(a)];
    return c == components_.component_of[number_.at(b)] && cyclic_[c];
  }

  void Write(const std::vector<NodeId>& centres, const ByteSink& sink) {
    std::string out = "digraph pygc {\n  graph [rankdir=LR, fontname=\"sans-serif\"];\n  node [shape=box, style=filled, fillcolor=white, fontname=\"sans-serif\", fontsize=10];\n"
                      "  edge [fontname=\"sans-serif\", fontsize=9];\n";
    std::vector<std::string> labels;
    std::string edges;
    for (const NodeId n : order_) {
      out += NodeLine(n, std::binary_search(centres.begin(), centres.end(), n));
      const auto successors = heap_.graph.Successors(n);
      labels.clear();
      if (in_.base.edge_labels && !successors.empty() && successors.size() <= kMostLabels) in_.base.edge_labels(n, labels);
      labels.resize(successors.size());
      std::uint32_t drawn = 0;
      for (std::size_t i = 0; i < successors.size(); ++i) {
        if (!number_.contains(successors[i]) || drawn++ >= limits_.most_nodes) {
          ++summary_.left_out;
          continue;
        }
        ++summary_.edges;
        edges += fmt::format("  n{} -> n{} [label={}{}];\n", n, successors[i], Quoted(Cut(labels[i])), OnCycle(n, successors[i]) ? ", color=red, fontcolor=red" : "");
      }
    }
    out += edges + RootLines();
    summary_.nodes = order_.size();
    if (summary_.left_out > 0) out += fmt::format("  label={};\n", Quoted(fmt::format("{} from these objects are not drawn (--depth, --fan-out)", Counted(summary_.left_out, "reference"))));
    sink(out + "}\n");
  }

  [[nodiscard]] std::string NodeLine(NodeId n, bool centre) const {
    const ExportRow row = RowOf(in_.base, n);
    std::string facts = row.immortal ? "immortal" : row.refcount ? fmt::format("refcount {}", *row.refcount) : "refcount ?";
    if (row.size) facts += ", " + Bytes(*row.size);
    const bool dead = !row.state.empty() && row.state != "reachable";
    if (dead || row.state.empty()) facts += fmt::format(", {}", dead ? row.state : "not known whether in use");
    const std::string name = Quoted(Cut(in_.node_name(n)));
    const bool cyclic = cyclic_[components_.component_of[number_.at(n)]];
    return fmt::format("  n{} [label={}, tooltip={}{}{}];\n", n, name.substr(0, name.size() - 1) + fmt::format("\\n{:#x}\\n{}\"", heap_.AddressOf(n), facts), name,
                       cyclic ? ", color=red" : "", centre ? ", fillcolor=lightyellow, penwidth=2" : dead ? ", fillcolor=mistyrose" : "");
  }

  // What holds the objects from outside.
  [[nodiscard]] std::string RootLines() const {
    std::string out;
    std::map<std::string, std::size_t> ids;
    std::map<NodeId, std::uint32_t> shown;
    for (const heap::Root& root : in_.roots.roots) {
      const NodeId n = heap_.index.Find(root.object);
      if (n == heap::kNoNode || !number_.contains(n) || IsFolded(n) || shown[n]++ >= limits_.fan_out) continue;
      const std::string place = root.place < in_.roots.places.size() && !in_.roots.places[root.place].empty() ? in_.roots.places[root.place] : RootKindName(root.kind);
      const auto [found, fresh] = ids.try_emplace(place, ids.size());
      if (fresh) out += fmt::format("  r{} [label={}, shape=ellipse, fillcolor=lightgrey];\n", found->second, Quoted(Cut(place)));
      out += fmt::format("  r{} -> n{} [label={}, style=dashed];\n", found->second, n, Quoted(Cut(root.name)));
    }
    return out;
  }

  const GraphInput& in_;
  const heap::HeapSnapshot& heap_;
  DotLimits limits_;
  ProgressSink& progress_;
  std::unordered_map<NodeId, NodeId> number_;  // of those that are drawn, in the order of `order_`
  std::vector<NodeId> order_;
  graph::Components components_;
  std::vector<bool> cyclic_;
  DotSummary summary_;
};

}  // namespace

Result<DotSummary> WriteDot(const GraphInput& input, const std::vector<heap::NodeId>& centres, const DotLimits& limits, const ByteSink& sink, ProgressSink& progress) {
  return Drawing(input, limits, progress).Run(centres, sink);
}

}  // namespace pygc::report
