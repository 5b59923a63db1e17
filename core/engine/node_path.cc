#include "core/engine/node_path.h"

namespace pygc::engine {
namespace {

report::PathRoot RootOf(const CommandInput& in, heap::NodeId start, std::uint32_t index) {
  report::PathRoot out;
  if (index == analysis::RootPaths::kCountOnly) {
    out.kind = "count-only";
    out.name = in.heap.refcount[start] == heap::kImmortal ? "immortal" : "a holder that was not found";
    return out;
  }
  const heap::Root& root = in.roots->roots[index];
  out.kind = heap::RootKindName(root.kind);
  out.name = root.name;
  out.place = in.roots->places[root.place];
  out.expression = root.expression;
  out.through_cell = root.shape == heap::Root::Shape::kCell;
  out.frame_object = root.shape == heap::Root::Shape::kFrameObject;
  return out;
}

}  // namespace

report::RootPath DescribePath(const CommandInput& in, const Labels& labels, const std::vector<heap::NodeId>& nodes, std::uint32_t root) {
  report::RootPath path;
  path.root = RootOf(in, nodes.front(), root);
  path.length = nodes.size() - 1;
  std::vector<Address> addresses(nodes.size());  // of those in the middle that are not shown none is asked for: a path may have millions
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (i > kMaxPathSteps && nodes.size() - i > kMaxPathSteps) i = nodes.size() - kMaxPathSteps;
    addresses[i] = in.heap.AddressOf(nodes[i]);
  }
  path.steps = labels.PathOf(addresses, kMaxPathSteps);
  return path;
}

std::optional<report::RootPath> ShortestPath(const CommandInput& in, const Labels& labels, const analysis::RootPaths& paths, heap::NodeId node) {
  const std::vector<heap::NodeId> nodes = paths.PathTo(node);
  if (nodes.empty()) return std::nullopt;
  return DescribePath(in, labels, nodes, paths.RootOf(nodes.front()));
}

}  // namespace pygc::engine
