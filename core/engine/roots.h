// All roots that are known by name: those of Python programs (core/snapshot), then every other counted reference of the interpreter's own structures (core/audit).
#pragma once

#include "core/base/limits.h"
#include "core/heap/root_set.h"
#include "core/objects/object_reader.h"

namespace pygc::engine {

/// Reads them. What a Python name was found for keeps it; each object is named once more at most.
[[nodiscard]] heap::RootSet FindRoots(const objects::ObjectReader& reader, const Limits& limits);

}  // namespace pygc::engine
