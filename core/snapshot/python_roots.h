// The roots that the interpreter itself knows of: frames, modules, thread states, interpreter state, static types. No search of memory.
#pragma once

#include "core/base/limits.h"
#include "core/heap/root_set.h"
#include "core/objects/object_reader.h"

namespace pygc::snapshot {

/// Reads them without a snapshot, so that one with leaves can start from them too. The order is that of preference: variables of frames, modules, thread
/// states, interpreters, static types.
[[nodiscard]] heap::RootSet FindPythonRoots(const objects::ObjectReader& reader, const Limits& limits);

}  // namespace pygc::snapshot
