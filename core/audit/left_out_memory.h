// Memory that the process could write to and that the image lacks, although nothing was lost: MADV_DONTDUMP, coredump_filter, files mapped as shared.
#pragma once

#include <vector>

#include "core/target/process.h"

namespace pygc::audit {

/// True where such memory may hold references: something in the process leads there. What nothing leads to was mapped and never used; but no module's data is, where the dynamic linker writes. The states of glibc's
/// getrandom() hold none: only thread control blocks and a page of nothing but pointers to them lead there; where both do, whatever else leads there does not count. glibc: sysdeps/unix/sysv/linux/getrandom.c [2.41+].
[[nodiscard]] bool LeftOutMemoryMayRefer(const target::Process& process);

/// Appends the parts of `range` that the image neither has nor tells of: the core lacks their segment's header. No more than 65,536 in `untold` in all.
void AppendUntold(const target::Process& process, AddressRange range, std::vector<AddressRange>& untold);

}  // namespace pygc::audit
