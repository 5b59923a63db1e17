// The exception table of a code object: how much of the value stack is in use where an instruction may raise.
// Bytes in, number out: no target memory is read here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace pygc::cpython {

/// How many values lie on the stack below the innermost handler of the instruction at byte `code_offset` (co_exceptiontable, 3.11+): those of the `with` and
/// `for` blocks around it. 0 where no handler covers it, and for a damaged table.
/// CPython: get_exception_handler(), Python/ceval.c; Objects/exception_handling_notes.txt (InternalDocs/exception_handling.md).
[[nodiscard]] std::uint64_t HandlerDepthAt(std::span<const std::byte> table, std::int64_t code_offset) noexcept;

}  // namespace pygc::cpython
