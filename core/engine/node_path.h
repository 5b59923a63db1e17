// A path of nodes as a report shows it: its root, its steps with labels.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/analysis/root_paths.h"
#include "core/engine/command.h"
#include "core/engine/labels.h"
#include "core/report/path_text.h"

namespace pygc::engine {

inline constexpr std::size_t kMaxPathSteps = 64;  // of a path that is shown; those in the middle are left out

/// `nodes` from the root's object on; `root`: index into the roots of `in`, or RootPaths::kCountOnly.
[[nodiscard]] report::RootPath DescribePath(const CommandInput& in, const Labels& labels, const std::vector<heap::NodeId>& nodes, std::uint32_t root);

/// The shortest path to `node`; nullopt where no root reaches it.
[[nodiscard]] std::optional<report::RootPath> ShortestPath(const CommandInput& in, const Labels& labels, const analysis::RootPaths& paths, heap::NodeId node);

}  // namespace pygc::engine
