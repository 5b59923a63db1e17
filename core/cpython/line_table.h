// Line numbers of code objects: from a place in the code to the source line, as each release stores it.
// Bytes in, number out: no target memory is read here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/cpython/layout.h"

namespace pygc::cpython {

/// The line of the instruction at byte `code_offset` of a code object whose table is `table` (co_lnotab, co_linetable) and whose first line is
/// `first_line`; a negative offset (nothing ran yet) is the first line. -1 where the table gives no line.
/// CPython: PyCode_Addr2Line(), Objects/codeobject.c; Objects/lnotab_notes.txt [2.7-3.10], Objects/locations.md [3.11+].
[[nodiscard]] std::int64_t LineAt(const Layout& layout, std::span<const std::byte> table, std::int64_t first_line, std::int64_t code_offset);

}  // namespace pygc::cpython
