// What several commands make of one snapshot with leaves: made when first asked for, kept for the next command.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/analysis/referrers.h"
#include "core/analysis/root_paths.h"
#include "core/engine/command.h"
#include "core/graph/dominators.h"

namespace pygc::engine {

/// The tree of shortest paths from the roots. Errors: kCancelled.
/// `with_places`: questions about more than some dozens of nodes follow.
[[nodiscard]] Result<const analysis::RootPaths*> RootPathsOf(const CommandInput& input, bool with_places = true);

/// Who refers to whom. Where there is a second thread it makes the tree of shortest paths meanwhile. Errors: kCancelled, kLimit.
[[nodiscard]] Result<const graph::CsrGraph*> ReverseGraphOf(const CommandInput& input);

/// The objects that refer to one, rising, each once for every reference. The first question looks at every reference of the heap, later ones ask the reverse graph.
/// Valid while `input` is.
class ReferrerList {
 public:
  ReferrerList(const CommandInput& input, heap::NodeId node);

  [[nodiscard]] std::span<const heap::NodeId> nodes() const noexcept { return nodes_; }
  /// Calls f(node, references) for each of the objects.
  template <typename F>
  void ForEach(F&& f) const {
    for (std::size_t i = 0, end = 0; i < nodes_.size(); i = end) {
      while (end < nodes_.size() && nodes_[end] == nodes_[i]) ++end;
      f(nodes_[i], static_cast<std::uint32_t>(end - i));
    }
  }

 private:
  std::vector<heap::NodeId> own_;
  std::span<const heap::NodeId> nodes_;
};

/// Makes ready what every question about paths needs: the tree and the reverse graph. Errors: kCancelled.
[[nodiscard]] Result<const analysis::RootPaths*> PathsAndReferrersOf(const CommandInput& input);

/// What each object alone keeps alive. `with_positions`: DominatorTree::position is needed. Errors: kCancelled, kLimit.
[[nodiscard]] Result<const Retention*> RetentionOf(const CommandInput& input, bool with_positions = true);

}  // namespace pygc::engine
