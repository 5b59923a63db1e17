#include "core/engine/derived.h"

#include <optional>
#include <utility>

#include "core/base/parallel.h"
#include "core/graph/retained_size.h"
#include "core/graph/transpose.h"

namespace pygc::engine {

Result<const analysis::RootPaths*> RootPathsOf(const CommandInput& in) {
  if (in.derived == nullptr || in.roots == nullptr) return Fail(ErrorCode::kNotAnalysable, "the objects could not be read");
  if (in.derived->paths) return &*in.derived->paths;
  const auto in_use = [&](heap::NodeId n) { return in.verdict.state[n] == analysis::State::kReachable; };
  Result<analysis::RootPaths> found = analysis::FindRootPaths(in.heap, *in.roots, in_use, {}, in.progress);
  if (!found) return tl::unexpected(found.error());
  return &in.derived->paths.emplace(std::move(*found));
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

Result<const Retention*> RetentionOf(const CommandInput& in) {
  if (in.derived != nullptr && in.derived->retention) return &*in.derived->retention;
  if (in.derived == nullptr) return Fail(ErrorCode::kNotAnalysable, "the objects could not be read");
  // The paths and the reverse graph need nothing of each other.
  const unsigned threads = in.request.limits.threads;
  Result<const analysis::RootPaths*> paths = nullptr;
  std::optional<Result<graph::CsrGraph>> transposed;
  BesideEachOther(threads, [&] { paths = RootPathsOf(in); }, [&] {
    if (!in.derived->reverse) transposed.emplace(graph::Transpose(in.heap.graph));
  });
  if (transposed && *transposed) in.derived->reverse.emplace(std::move(**transposed));
  if (!paths) return tl::unexpected(paths.error());
  const Result<const graph::CsrGraph*> reverse = ReverseGraphOf(in);
  if (!reverse) return tl::unexpected(reverse.error());
  if (!in.progress.Update("finding dominators", 0, 0)) return Fail(ErrorCode::kCancelled, "stopped while finding dominators");
  Retention made;
  made.tree = graph::BuildDominatorTree(in.heap.graph, **reverse, (*paths)->starts);
  std::vector<std::uint64_t> weight(in.heap.size());
  for (heap::NodeId n = 0; n < in.heap.size(); ++n) {
    const bool known = n < in.heap.size_bytes.size() && in.heap.size_bytes[n] != heap::kUnknownSize;
    weight[n] = known ? in.heap.size_bytes[n] : 0;
  }
  BesideEachOther(threads, [&] { made.bytes = graph::RetainedSizes(made.tree, weight); }, [&] { made.objects = graph::RetainedCounts(made.tree); });
  return &in.derived->retention.emplace(std::move(made));
}

}  // namespace pygc::engine
