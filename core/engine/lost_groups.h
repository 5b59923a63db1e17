// Lost structures as groups of the leaks report: equal ones together, each with what hangs on it and, of a hidden cycle, the reference that nobody can see.
#pragma once

#include <vector>

#include "core/engine/audit_data.h"
#include "core/engine/command.h"
#include "core/engine/labels.h"
#include "core/report/leaks_report.h"

namespace pygc::engine {

/// Groups of `in.audit->lost`, those with the most bytes first. At most `max_addresses` addresses in each.
[[nodiscard]] std::vector<report::LeakGroup> LostGroups(const CommandInput& in, const Labels& labels, std::uint64_t max_addresses);

/// The cycle of a hidden-cycle structure with labels; the references that no traversal visits say where they lie.
[[nodiscard]] report::Cycle HiddenCycleOf(const CommandInput& in, const Labels& labels, const analysis::LostStructure& structure);

}  // namespace pygc::engine
