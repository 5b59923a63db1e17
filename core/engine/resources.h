// Open files, sockets and locks among the objects, with the threads that hold and want them.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/engine/command.h"
#include "core/objects/resources.h"
#include "core/report/resource.h"

namespace pygc::engine {

/// What the object at `address` owns, in words and figures; without a path. nullopt: nothing that is known.
[[nodiscard]] std::optional<report::ResourceRow> ResourceAt(const CommandInput& input, const objects::ResourceReader& reader, Address address);

struct ResourcesFound {
  std::vector<report::ResourceRow> rows;  // those that are held: what nothing reaches first, then files and sockets by descriptor, then locks
  std::uint64_t count = 0;                // with those that are not in `rows`
  std::uint64_t free_locks = 0, closed = 0;
};

/// Of a snapshot with leaves. At most `max` rows, with paths.
[[nodiscard]] ResourcesFound FindResources(const CommandInput& input, std::uint64_t max);

}  // namespace pygc::engine
