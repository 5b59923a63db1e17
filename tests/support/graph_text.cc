#include "tests/support/graph_text.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <sstream>
#include <utility>

namespace pygc::test {
namespace {

using graph::kNoNode;
using graph::NodeId;

constexpr Address kBase = 0x100000;
constexpr Address kStride = 0x20;

std::string Trim(std::string_view s) {
  const std::size_t begin = s.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return std::string(s.substr(begin, s.find_last_not_of(" \t") - begin + 1));
}

std::vector<std::string> Split(std::string_view s, char by) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  for (;;) {
    const std::size_t end = s.find(by, begin);
    parts.push_back(Trim(s.substr(begin, end - begin)));
    if (end == std::string_view::npos) return parts;
    begin = end + 1;
  }
}

struct Line {
  std::string name, type;
  std::vector<std::string> attributes;
  std::vector<std::pair<std::string, std::string>> edges;  // label, target
};

Line ParseLine(const std::string& text) {
  Line line;
  const std::size_t arrow = text.find("->");
  std::istringstream left(text.substr(0, arrow));
  std::string head;
  left >> head;
  const std::size_t colon = head.find(':');
  line.name = head.substr(0, colon);
  line.type = colon == std::string::npos ? "object" : head.substr(colon + 1);
  for (std::string word; left >> word;) line.attributes.push_back(word);
  if (arrow == std::string::npos) return line;
  for (const std::string& edge : Split(std::string_view(text).substr(arrow + 2), ',')) {
    if (edge.empty()) continue;
    const std::size_t space = edge.rfind(' ');
    if (space == std::string::npos) {
      line.edges.emplace_back("", edge);
    } else {
      line.edges.emplace_back(Trim(edge.substr(0, space)), edge.substr(space + 1));
    }
  }
  return line;
}

NodeId Find(const std::vector<std::string>& names, std::string_view name) {
  const auto found = std::find(names.begin(), names.end(), name);
  REQUIRE_MESSAGE(found != names.end(), "no node is called ", std::string(name));
  return static_cast<NodeId>(found - names.begin());
}

std::uint32_t TypeIndex(std::vector<heap::TypeRecord>& types, const std::string& name) {
  for (std::uint32_t i = 0; i < types.size(); ++i) {
    if (types[i].name == name) return i;
  }
  heap::TypeRecord& type = types.emplace_back();
  type.name = name;
  type.address = 0x1000 * types.size();
  if (name.find('.') == std::string::npos) type.module_file = "libpython";
  return static_cast<std::uint32_t>(types.size() - 1);
}

}  // namespace

NodeId TextHeap::Node(std::string_view name) const { return Find(names, name); }

std::string TextHeap::Names(const graph::NodeSet& nodes) const {
  std::string text;
  nodes.ForEach([&](NodeId n) { text += (text.empty() ? "" : " ") + names[n]; });
  return text.empty() ? "none" : text;
}

TextHeap ParseHeap(std::string_view source) {
  TextHeap result;
  std::vector<Line> lines;
  std::vector<std::string> garbage;
  std::string garbage_list, roots;
  std::istringstream in{std::string(source)};
  for (std::string raw; std::getline(in, raw);) {
    const std::string text = Trim(raw);
    if (text.empty() || text[0] == '#') continue;
    if (text.rfind("garbage:", 0) == 0) {
      std::istringstream words(text.substr(8));
      for (std::string word; words >> word;) garbage.push_back(word);
    } else if (text.rfind("roots:", 0) == 0) {
      roots = text.substr(6);
    } else if (text.rfind("garbage-list:", 0) == 0) {
      garbage_list = Trim(text.substr(13));
    } else {
      lines.push_back(ParseLine(text));
      result.names.push_back(lines.back().name);
    }
  }
  heap::HeapSnapshot& heap = result.heap;
  const NodeId count = static_cast<NodeId>(lines.size());
  const heap::ObjectIndex::Range range{{kBase, kBase + kStride * (count + 1)}, 4};
  heap.index = heap::ObjectIndex(std::span(&range, 1));
  std::vector<graph::Edge> edges;
  std::vector<std::uint32_t> found(count);
  std::size_t interpreters = 1;
  for (NodeId n = 0; n < count; ++n) {
    heap.index.Mark(kBase + kStride * n);
    result.labels.emplace_back();
    for (const auto& [label, target] : lines[n].edges) {
      const NodeId to = Find(result.names, target);
      edges.emplace_back(n, to);
      ++found[to];
      result.labels.back().push_back(label);
    }
  }
  heap.index.Seal();
  heap.graph = graph::BuildGraph(count, edges);
  heap.with_leaves = true;
  result.code_names.resize(count);
  for (NodeId n = 0; n < count; ++n) {
    std::uint32_t refcount = found[n];
    std::uint8_t flags = heap::kTracked | 2, interpreter = 0;
    std::uint64_t size = 100;
    const std::uint32_t type = TypeIndex(heap.types, lines[n].type);
    for (const std::string& a : lines[n].attributes) {
      const auto generation = [&](std::uint8_t g) { flags = static_cast<std::uint8_t>((flags & ~heap::kGenerationMask) | g); };
      if (a == "refs=immortal")
        refcount = heap::kImmortal;
      else if (a == "refs=saturated")
        refcount = heap::kSaturated;
      else if (a.rfind("refs=", 0) == 0)
        refcount = static_cast<std::uint32_t>(std::stoul(a.substr(5)));
      else if (a == "gen=permanent")
        generation(heap::kPermanent);
      else if (a == "gen=detached")
        generation(heap::kDetached);
      else if (a == "gen=none")
        flags = heap::kUntracked;
      else if (a.rfind("gen=", 0) == 0)
        generation(static_cast<std::uint8_t>(std::stoul(a.substr(4))));
      else if (a.rfind("interp=", 0) == 0)
        interpreter = static_cast<std::uint8_t>(std::stoul(a.substr(7)));
      else if (a.rfind("size=", 0) == 0)
        size = std::stoull(a.substr(5));
      else if (a == "del")
        flags |= heap::kLegacyFinalizer;
      else if (a == "finalized")
        flags |= heap::kFinalized;
      else if (a == "approx")
        flags |= heap::kApproximate;
      else if (a == "incomplete") {
        flags |= heap::kApproximate;
        heap.incomplete.push_back(n);
      } else if (a == "fault")
        flags |= heap::kFault;
      else if (a.rfind("code=", 0) == 0)
        result.code_names[n] = a.substr(5);
      else if (a == "tp_finalize")
        heap.types[type].finalizer = heap::TypeRecord::Finalizer::kTpFinalize;
      else
        FAIL("unknown attribute ", a);
    }
    heap.refcount.push_back(refcount);
    heap.type.push_back(type);
    heap.flags.push_back(flags);
    heap.interpreter.push_back(interpreter);
    heap.size_bytes.push_back(size);
    interpreters = std::max<std::size_t>(interpreters, std::size_t{interpreter} + 1);
    heap.coverage.objects += (flags & heap::kTracked) != 0;
    heap.coverage.approximate_objects += (flags & heap::kApproximate) != 0;
  }
  if (interpreters == 1) heap.interpreter.clear();
  heap.interpreters.resize(interpreters);
  for (std::size_t i = 0; i < interpreters; ++i) heap.interpreters[i].id = static_cast<std::int64_t>(i);
  std::istringstream root_names(roots);
  for (std::string name; root_names >> name;) heap.interpreters[0].roots.push_back(Find(result.names, name));
  for (const std::string& name : garbage) {
    const NodeId n = Find(result.names, name);
    heap.interpreters[0].garbage.push_back(n);
    heap.interpreters[0].garbage_addresses.push_back(heap.AddressOf(n));
  }
  if (!garbage_list.empty()) heap.interpreters[0].garbage_list_node = Find(result.names, garbage_list);
  return result;
}

heap::Excerpt ExcerptOf(const TextHeap& text, const graph::NodeSet& nodes) {
  heap::Excerpt excerpt;
  excerpt.types = text.heap.types;
  excerpt.label_texts = excerpt.code_names = {""};
  std::vector<NodeId> local(text.heap.size(), kNoNode);
  nodes.ForEach([&](NodeId n) {
    local[n] = excerpt.size();
    excerpt.address.push_back(text.heap.AddressOf(n));
    excerpt.node.push_back(n);
    excerpt.type.push_back(text.heap.type[n]);
    excerpt.refcount.push_back(text.heap.refcount[n]);
    excerpt.flags.push_back(text.heap.flags[n]);
    excerpt.size_bytes.push_back(text.heap.size_bytes[n]);
    const auto name = std::find(excerpt.code_names.begin(), excerpt.code_names.end(), text.code_names[n]);
    excerpt.code_name.push_back(static_cast<std::uint32_t>(name - excerpt.code_names.begin()));
    if (name == excerpt.code_names.end()) excerpt.code_names.push_back(text.code_names[n]);
  });
  std::vector<graph::Edge> edges;
  nodes.ForEach([&](NodeId n) {
    const auto successors = text.heap.graph.Successors(n);
    for (std::size_t i = 0; i < successors.size(); ++i) {
      if (local[successors[i]] == kNoNode) continue;
      edges.emplace_back(local[n], local[successors[i]]);
      const std::string& label = text.labels[n][i];
      auto found = std::find(excerpt.label_texts.begin(), excerpt.label_texts.end(), label);
      if (found == excerpt.label_texts.end()) found = excerpt.label_texts.insert(found, label);
      excerpt.label.push_back(static_cast<std::uint32_t>(found - excerpt.label_texts.begin()));
    }
  });
  excerpt.graph = graph::BuildGraph(excerpt.size(), edges);
  excerpt.components = graph::StronglyConnectedComponents(excerpt.graph);
  return excerpt;
}

NodeId TextGraph::Node(std::string_view name) const { return Find(names, name); }

std::string TextGraph::Names(const std::vector<NodeId>& nodes) const {
  std::string text;
  for (const NodeId n : nodes) text += (text.empty() ? "" : " ") + (n < names.size() ? names[n] : std::string("?"));
  return text;
}

TextGraph ParseGraph(std::string_view source) {
  TextGraph result;
  std::vector<graph::Edge> edges;
  const auto node = [&](const std::string& name) {
    const auto found = std::find(result.names.begin(), result.names.end(), name);
    if (found != result.names.end()) return static_cast<NodeId>(found - result.names.begin());
    result.names.push_back(name);
    return static_cast<NodeId>(result.names.size() - 1);
  };
  std::istringstream in{std::string(source)};
  for (std::string raw; std::getline(in, raw);) {
    std::istringstream words(raw);
    std::string from, arrow;
    if (!(words >> from)) continue;
    const NodeId source_node = node(from);
    words >> arrow;
    for (std::string to; words >> to;) edges.emplace_back(source_node, node(to));
  }
  result.graph = graph::BuildGraph(static_cast<NodeId>(result.names.size()), edges);
  return result;
}

graph::CsrGraph RandomGraph(std::mt19937_64& random, NodeId nodes, std::size_t edges) {
  std::vector<graph::Edge> list;
  if (nodes == 0) return graph::BuildGraph(0, {});
  for (std::size_t i = 0; i < edges; ++i) list.emplace_back(static_cast<NodeId>(random() % nodes), static_cast<NodeId>(random() % nodes));
  return graph::BuildGraph(nodes, list);
}

std::string GraphText(const graph::CsrGraph& graph) {
  std::string text;
  for (NodeId n = 0; n < graph.node_count(); ++n) {
    text += std::to_string(n) + " ->";
    for (const NodeId s : graph.Successors(n)) text += " " + std::to_string(s);
    text += "\n";
  }
  return text;
}

}  // namespace pygc::test
