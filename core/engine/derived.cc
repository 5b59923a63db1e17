#include "core/engine/derived.h"

#include <utility>

#include "core/base/free_memory.h"
#include "core/base/parallel.h"
#include "core/graph/transpose.h"

namespace pygc::engine {

namespace {

auto InUse(const CommandInput& in) {
  return [&in](heap::NodeId n) { return in.verdict.state[n] == analysis::State::kReachable; };
}

}  // namespace

Result<const analysis::RootPaths*> RootPathsOf(const CommandInput& in, bool with_places) {
  if (in.derived == nullptr || in.roots == nullptr) return Fail(ErrorCode::kNotAnalysable, "the objects could not be read");
  if (!in.derived->paths) {
    Result<analysis::RootPaths> found = analysis::FindRootPaths(in.heap, *in.roots, InUse(in), {}, in.progress, false);
    if (!found) return tl::unexpected(found.error());
    in.derived->paths.emplace(std::move(*found));
  }
  if (with_places) in.derived->paths->AddPlaces(in.heap.size());
  return &*in.derived->paths;
}

Result<const graph::CsrGraph*> ReverseGraphOf(const CommandInput& in) {
  if (in.derived == nullptr) return Fail(ErrorCode::kNotAnalysable, "the objects could not be read");
  if (in.derived->reverse) return &*in.derived->reverse;
  if (!in.progress.Update("building the reverse graph", 0, 0)) return Fail(ErrorCode::kCancelled, "stopped while building the reverse graph");
  Result<graph::CsrGraph> reverse = Fail(ErrorCode::kCancelled, "stopped while building the reverse graph");
  // Whoever asks for referrers asks for paths next; each of the two is work for one thread.
  if (in.roots != nullptr && !in.derived->paths && ThreadCount(in.request.limits.threads, 2) > 1) {
    Result<const analysis::RootPaths*> paths = nullptr;
    BesideEachOther(in.request.limits.threads, [&] { paths = RootPathsOf(in); }, [&] { reverse = graph::Transpose(in.heap.graph); });
    if (!paths) return tl::unexpected(paths.error());
  } else {
    reverse = graph::Transpose(in.heap.graph);
  }
  if (!reverse) return tl::unexpected(reverse.error());
  return &in.derived->reverse.emplace(std::move(*reverse));
}

Result<const analysis::RootPaths*> PathsAndReferrersOf(const CommandInput& in) {
  if (const Result<const graph::CsrGraph*> reverse = ReverseGraphOf(in); !reverse && reverse.error().code == ErrorCode::kCancelled) return tl::unexpected(reverse.error());
  return RootPathsOf(in);
}

ReferrerList::ReferrerList(const CommandInput& in, heap::NodeId node) {
  if (in.derived != nullptr && (in.derived->reverse || in.derived->referrer_questions++ > 0)) {
    if (const Result<const graph::CsrGraph*> reverse = ReverseGraphOf(in)) {
      nodes_ = (*reverse)->Successors(node);
      return;
    }
  }
  for (const analysis::Referrer& referrer : analysis::FindReferrers(in.heap, node)) own_.insert(own_.end(), referrer.references, referrer.node);
  nodes_ = own_;
}

namespace {

Result<Retention> MakeRetention(const CommandInput& in) {
  graph::DominatorFinder finder(in.heap.graph, in.request.limits.threads);
  std::vector<heap::NodeId> roots;
  for (const heap::Root& root : in.roots->roots) {
    if (const heap::NodeId n = in.heap.index.Find(root.object); n != heap::kNoNode) roots.push_back(n);
  }
  if (const Result<void> added = finder.AddRoots(roots, in.progress); !added) return tl::unexpected(added.error());
  const graph::NodeSet reached = finder.Reached();
  const std::vector<heap::NodeId> held = analysis::FindHeldByCount(in.heap, reached, reached, InUse(in));
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
    TrimFreedMemory();
  }
  if (with_positions) in.derived->retention->tree.AddPositions();
  return &*in.derived->retention;
}

}  // namespace pygc::engine
