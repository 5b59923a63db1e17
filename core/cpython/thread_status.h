// The bits of PyThreadState._status: bit fields, of whose order no offset speaks.
#pragma once

#include <cstdint>
#include <optional>

#include "core/cpython/version.h"

namespace pygc::cpython {

/// The bit of the thread that is its interpreter's current one (`active`): it has the GIL. nullopt up to 3.11, where _PyRuntime names the holder, and in
/// free-threaded builds, in which many are current. CPython: struct _ts, Include/cpython/pystate.h [3.12+].
[[nodiscard]] constexpr std::optional<std::uint32_t> GilStatusBit(PythonVersion version, BuildFlavor flavor) noexcept {
  constexpr unsigned kActive = 4;
  if (flavor.free_threaded || version.major < 3 || (version.major == 3 && version.minor < 12)) return std::nullopt;
  return 1u << kActive;
}

}  // namespace pygc::cpython
