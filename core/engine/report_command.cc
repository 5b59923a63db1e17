// Report: what the page shows, within bounds that keep it below some megabytes however large the process.
#include <algorithm>
#include <numeric>
#include <unordered_map>

#include "core/engine/crash.h"
#include "core/engine/derived.h"
#include "core/engine/findings.h"
#include "core/engine/inspector.h"
#include "core/report/page_report.h"

namespace pygc::engine {
namespace {

constexpr std::uint64_t kGroups = 100, kMostTypes = 500, kFrames = 100;
constexpr std::size_t kMemoryNodes = 1500, kPaths = 300;

using heap::NodeId;

// The objects that keep most alive; what keeps a node alive keeps at least as much and stands before it, so it is among them too.
std::vector<report::MemoryNode> LargestHolders(const CommandInput& whole, const Retention& retention) {
  const graph::DominatorTree& tree = retention.tree;
  std::vector<NodeId> positions(tree.size());
  std::iota(positions.begin(), positions.end(), 0);
  const auto larger = [&](NodeId a, NodeId b) { return std::pair(retention.bytes[b], a) < std::pair(retention.bytes[a], b); };
  if (positions.size() > kMemoryNodes) {
    std::nth_element(positions.begin(), positions.begin() + kMemoryNodes, positions.end(), larger);
    positions.resize(kMemoryNodes);
  }
  std::unordered_map<NodeId, NodeId> parent_of;
  for (const NodeId p : positions) parent_of[p] = graph::DominatorTree::kVirtualRoot;
  tree.ForEachWithDominator([&](NodeId p, NodeId above) {
    if (const auto found = parent_of.find(p); found != parent_of.end()) found->second = above;
  });
  std::sort(positions.begin(), positions.end(), larger);
  const Inspector inspector(whole);
  const Labels labels(whole.reader, whole.request.redact);
  std::unordered_map<NodeId, std::uint32_t> index;
  std::vector<report::MemoryNode> out;
  for (const NodeId p : positions) {
    const NodeId n = tree.preorder[p];
    report::MemoryNode& row = out.emplace_back();
    if (const NodeId parent = parent_of[p]; parent != graph::DominatorTree::kVirtualRoot) row.parent = index.at(parent);
    index[p] = static_cast<std::uint32_t>(out.size() - 1);
    row.address = whole.heap.AddressOf(n);
    row.type = labels.TypeName(row.address);
    row.name = inspector.NameOf(row.address, row.type);
    row.size = whole.heap.KnownSize(n);
    row.retained = retention.bytes[p];
    row.objects = tree.subtree[p];
  }
  for (std::size_t i = 0; i < std::min(out.size(), kPaths); ++i) {
    if (const std::optional<report::RootPath> path = FindShortestPath(whole, out[i].address)) out[i].path = report::PlacedPathOf(*path);
  }
  return out;
}

Result<void> AddMemory(const CommandInput& whole, report::PageReport* page) {
  const Result<const Retention*> retention = RetentionOf(whole);
  if (!retention) return tl::unexpected(retention.error());
  Result<report::HeapReport> types = FindHeap(whole);
  if (!types) return tl::unexpected(types.error());
  page->heap = std::move(*types);
  page->memory_objects = (*retention)->tree.size();
  page->memory_bytes = (*retention)->AllBytes();
  page->memory = LargestHolders(whole, **retention);
  return {};
}

}  // namespace

Outcome RunReport(const CommandInput& in) {
  Request request = in.request;
  request.limit = kGroups;
  LeaksFound leaks = FindLeaks(WithRequest(in, request));
  report::PageReport page;
  page.overview.leaks = std::move(leaks.report);
  report::Header header = std::move(leaks.header);
  Outcome outcome = std::move(leaks.outcome);
  request.limit = kFrames;
  page.overview.stacks = FindStacks(WithRequest(in, request));
  page.overview.crash = FindCrash(in, page.overview.stacks);
  page.no_memory = "the objects could not be read";
  if (in.whole != nullptr) {
    request.limit = kMostTypes;
    if (Result<void> added = AddMemory(WithRequest(*in.whole, request), &page); !added) {
      page.no_memory = added.error().message;
      outcome.interrupted |= added.error().code == ErrorCode::kCancelled;
    }
  }
  if (!page.heap) {
    outcome.partial = true;
    header.missing.push_back({"who holds the memory", page.no_memory, ""});
    header.complete = false;
  }
  outcome.definite = outcome.pending = false;  // a page is no verdict
  outcome.document = report::WritePage(header, page);
  return outcome;
}

}  // namespace pygc::engine
