// What several commands make of one snapshot with leaves: made when first asked for, kept for the next command.
#pragma once

#include "core/analysis/referrers.h"
#include "core/analysis/root_paths.h"
#include "core/engine/command.h"
#include "core/graph/dominators.h"

namespace pygc::engine {

/// The tree of shortest paths from the roots. `with_depth`: RootPaths::depth is needed. Errors: kCancelled.
[[nodiscard]] Result<const analysis::RootPaths*> RootPathsOf(const CommandInput& input, bool with_depth = true);

/// Who refers to whom. Errors: kCancelled, kLimit.
[[nodiscard]] Result<const graph::CsrGraph*> ReverseGraphOf(const CommandInput& input);

/// Who refers to `node`. The first question looks at every reference, later ones ask the reverse graph.
[[nodiscard]] std::vector<analysis::Referrer> ReferrersOf(const CommandInput& input, heap::NodeId node);

/// What each object alone keeps alive. `with_positions`: DominatorTree::position is needed. Errors: kCancelled, kLimit.
[[nodiscard]] Result<const Retention*> RetentionOf(const CommandInput& input, bool with_positions = true);

}  // namespace pygc::engine
