// What `heap` says beside the histogram: who keeps a large part of the memory, what is paid for and not used, where the process's memory is.
#pragma once

#include "core/engine/command.h"
#include "core/report/heap_report.h"

namespace pygc::engine {

/// One object, or the objects of one type that only roots hold, that keep more than a fifth of all that is in use. At most a few, largest first.
[[nodiscard]] std::vector<report::Suspect> FindSuspects(const CommandInput& input, const Retention& retention);

/// How full the tables of lists, dicts and sets are. Errors: kCancelled.
[[nodiscard]] Result<std::vector<report::ContainerWaste>> MeasureContainers(const CommandInput& input);

/// Texts of equal characters, and tuples of the same objects; the largest surplus first. `bytes`: what one of each would save. Errors: kCancelled.
[[nodiscard]] Result<std::vector<report::Duplicate>> FindDuplicates(const CommandInput& input, std::uint64_t* bytes);

/// Every byte of the memory at hand, by who has it.
[[nodiscard]] report::MemoryUse MeasureMemory(const CommandInput& input);

}  // namespace pygc::engine
