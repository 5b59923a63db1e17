// Which characters repr() of a str leaves as they are; the others become \x85, \u200b, \U000e0001.
#pragma once

#include <cstdint>

#include "core/cpython/version.h"

namespace pygc::cpython {

/// True where `version`'s str.isprintable() accepts the character. 2.7: ASCII only, as its repr escapes everything else.
/// Releases after the newest known one are taken for that. CPython: _PyUnicode_IsPrintable(), Objects/unicodectype.c [3.x].
[[nodiscard]] bool IsPrintable(PythonVersion version, std::uint32_t code_point) noexcept;

}  // namespace pygc::cpython
