// Structures of native code that are told by their own words, and what of a block of malloc holds no reference in them.
//
// What is told wrongly would hide a holder and make a false finding: each must contradict itself nowhere, and lead to its own block.
#pragma once

#include <array>
#include <vector>

#include "core/base/address.h"
#include "core/target/memory_image.h"
#include "core/target/process.h"

namespace pygc::audit {

/// The parts of `chunk`, a used block of malloc, that hold no counted reference; empty ranges where nothing is told:
///   - the whole of a block of a syntax tree, whose objects a list of its own holds. CPython: block, Python/pyarena.c [all];
///   - what lies before and behind the entries of the dynamic linker's table of mappings, which has room for more: there stays what the block held before.
///     glibc: dlfo_mappings_segment, elf/dl-find_object.c [2.35+].
[[nodiscard]] std::array<AddressRange, 2> PartsWithoutReferences(const target::MemoryImage& memory, AddressRange chunk) noexcept;

/// What is free of the memory that libstdc++ sets aside when it is loaded, for exceptions that are thrown when there is none left, as long as nothing was taken
/// from it: what malloc had there before. Empty where the library is not there or its variables do not fit the block.
/// libstdc++: pool {mutex, first_free_entry, arena, arena_size}, libsupc++/eh_alloc.cc [GCC 5+].
[[nodiscard]] AddressRange EmergencyPool(const target::Process& process) noexcept;

/// The buffers of stdio's files: bytes that were read or are to be written, and behind these what malloc had there before. Of the list of all files, as long as
/// each has a buffer of a sane size whose pointers lie in it. Empty where the C library has no symbols. LIMIT: 4096 files.
/// glibc: _IO_list_all, struct _IO_FILE, libio/bits/types/struct_FILE.h [x86-64, 2.0+].
[[nodiscard]] std::vector<AddressRange> StdioBuffers(const target::Process& process);

}  // namespace pygc::audit
