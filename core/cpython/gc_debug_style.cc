#include "core/cpython/gc_debug_style.h"

namespace pygc::cpython {

GcDebugStyle GcDebugStyleOf(PythonVersion v, BuildFlavor flavor) noexcept {
  const auto since = [&v](unsigned minor) { return v.major > 3 || (v.major == 3 && v.minor >= minor); };
  GcDebugStyle style;
  style.classic_instances = v.major < 3;
  style.generations = !flavor.free_threaded;
  style.permanent = since(7) && !flavor.free_threaded;
  style.bare_done = !since(8);
  style.full_stop = v.major < 3;
  return style;
}

}  // namespace pygc::cpython
