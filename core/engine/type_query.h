// What the word TYPE on a command line means: a type's name, the last part of one, or a GLOB. Works on a snapshot with leaves.
#pragma once

#include <string>
#include <vector>

#include "core/engine/command.h"
#include "core/engine/labels.h"

namespace pygc::engine {

/// The objects whose type is called like `query`, rising. Classic instances [2.7] are called by their class. O(V).
[[nodiscard]] std::vector<heap::NodeId> ObjectsOfType(const CommandInput& in, const Labels& labels, const std::string& query);

/// True where a class called like `query` is there, though it may have no object. O(V).
[[nodiscard]] bool IsKnownType(const CommandInput& in, const Labels& labels, const std::string& query);

/// Names of types with objects that may have been meant, at most `max`, sorted: those that hold the last part of `query`, else those spelt nearly so.
[[nodiscard]] std::vector<std::string> NearestTypes(const heap::HeapSnapshot& heap, const std::string& query, std::size_t max);

}  // namespace pygc::engine
