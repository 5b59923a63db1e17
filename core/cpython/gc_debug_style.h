// How the lines of gc.set_debug() changed over the releases: what no structure and no debug information says.
#pragma once

#include <cstdint>

#include "core/cpython/version.h"

namespace pygc::cpython {

inline constexpr std::int32_t kDebugSaveAll = 32;  // CPython: gc.DEBUG_SAVEALL, all versions

/// CPython: collect(), debug_cycle(), Modules/gcmodule.c [2.7-3.12], Python/gc.c [3.13+], Python/gc_free_threading.c.
struct GcDebugStyle {
  bool classic_instances = false;  // gc: collectable <Node instance at 0x1>: 2.7
  bool generations = true;         // gc: objects in each generation: not in free-threaded builds
  bool permanent = false;          // gc: objects in permanent generation: from 3.7 on
  bool bare_done = false;          // gc: done, without figures where they are 0: up to 3.7
  bool full_stop = false;          // ... elapsed.: 2.7
};

[[nodiscard]] GcDebugStyle GcDebugStyleOf(PythonVersion version, BuildFlavor flavor) noexcept;

}  // namespace pygc::cpython
