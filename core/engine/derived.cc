#include "core/engine/derived.h"

#include <utility>

#include "core/graph/transpose.h"

namespace pygc::engine {

namespace {

auto InUse(const CommandInput& in) {
  return [&in](heap::NodeId n) { return in.verdict.state[n] == analysis::State::kReachable; };
}

}  // namespace

Result<const analysis::RootPaths*> RootPathsOf(const CommandInput& in, bool with_depth) {
  if (in.derived == nullptr || in.roots == nullptr) return Fail(ErrorCode::kNotAnalysable, "the objects could not be read");
  if (!in.derived->paths) {
    Result<analysis::RootPaths> found = analysis::FindRootPaths(in.heap, *in.roots, InUse(in), {}, in.progress, with_depth);
    if (!found) return tl::unexpected(found.error());
    in.derived->paths.emplace(std::move(*found));
  }
  if (with_depth) analysis::AddDepths(*in.derived->paths);
  return &*in.derived->paths;
}

Result<const graph::CsrGraph*> ReverseGraphOf(const CommandInput& in) {
  if (in.derived == nullptr) return Fail(ErrorCode::kNotAnalysable, "the objects could not be read");
  if (in.derived->reverse) return &*in.derived->reverse;
  if (!in.progress.Update("building the reverse graph", 0, 0)) return Fail(ErrorCode::kCancelled, "stopped while building the reverse graph");
  Result<graph::CsrGraph> reverse = graph::Transpose(in.heap.graph);
  if (!reverse) return tl::unexpected(reverse.error());
  return &in.derived->reverse.emplace(std::move(*reverse));
}

std::vector<analysis::Referrer> ReferrersOf(const CommandInput& in, heap::NodeId node) {
  const bool is_asked_again = in.derived != nullptr && (in.derived->reverse || in.derived->referrer_questions++ > 0);
  const Result<const graph::CsrGraph*> reverse = is_asked_again ? ReverseGraphOf(in) : Result<const graph::CsrGraph*>(Fail(ErrorCode::kNotFound, "not yet"));
  if (!reverse) return analysis::FindReferrers(in.heap, node);
  std::vector<analysis::Referrer> out;
  for (const heap::NodeId source : (*reverse)->Successors(node)) {
    if (!out.empty() && out.back().node == source) {
      ++out.back().references;
    } else {
      out.push_back({source, 1});
    }
  }
  return out;
}

namespace {

Result<Retention> MakeRetention(const CommandInput& in) {
  graph::DominatorFinder finder(in.heap.graph, in.request.limits.threads);
  std::vector<heap::NodeId> roots;
  for (const heap::Root& root : in.roots->roots) {
    if (const heap::NodeId n = in.heap.index.Find(root.object); n != heap::kNoNode) roots.push_back(n);
  }
  if (const Result<void> added = finder.AddRoots(roots, in.progress); !added) return tl::unexpected(added.error());
  const std::vector<heap::NodeId> held = analysis::FindHeldByCount(in.heap, finder.Reached(), InUse(in));
  if (const Result<void> added = finder.AddRoots(held, in.progress); !added) return tl::unexpected(added.error());
  Result<graph::DominatorTree> tree = finder.Run(in.progress);
  if (!tree) return tl::unexpected(tree.error());
  Retention made{std::move(*tree), {}};
  made.bytes = graph::RetainedSizes(made.tree, [&](heap::NodeId n) { return in.heap.KnownSize(n); });
  return made;
}

}  // namespace

Result<const Retention*> RetentionOf(const CommandInput& in, bool with_positions) {
  if (in.derived == nullptr || in.roots == nullptr) return Fail(ErrorCode::kNotAnalysable, "the objects could not be read");
  if (!in.derived->retention) {
    Result<Retention> made = MakeRetention(in);
    if (!made) return tl::unexpected(made.error());
    in.derived->retention.emplace(std::move(*made));
  }
  if (with_positions) in.derived->retention->tree.AddPositions();
  return &*in.derived->retention;
}

}  // namespace pygc::engine
