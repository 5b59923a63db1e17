// Lost structures as groups of the leaks report: equal ones together, each with what hangs on it and, of a hidden cycle, the reference that nobody can see.
#pragma once

#include <utility>
#include <vector>

#include "core/engine/audit_data.h"
#include "core/engine/command.h"
#include "core/engine/labels.h"
#include "core/report/leaks_report.h"
#include "core/report/refcounts_report.h"

namespace pygc::engine {

/// Groups of `in.audit->lost`, those with the most bytes first. At most `max_addresses` addresses in each.
[[nodiscard]] std::vector<report::LeakGroup> LostGroups(const CommandInput& in, const Labels& labels, std::uint64_t max_addresses);

/// Sizes of each row's object, and of a lost one what hangs on it, by the same rules as LostGroups().
void FillHeld(const CommandInput& in, const Labels& labels, std::vector<report::RefcountFinding>& rows);

/// The heads of the lost structures of `in.audit->lost`, by address, each with the bytes of the object and of what hangs on it: RefcountFinding::bytes_with_held.
[[nodiscard]] std::vector<std::pair<Address, std::uint64_t>> LostBytes(const CommandInput& in, const Labels& labels);

/// The cycle of a hidden-cycle structure with labels; the references that no traversal visits say where they lie.
[[nodiscard]] report::Cycle HiddenCycleOf(const CommandInput& in, const Labels& labels, const analysis::LostStructure& structure);

}  // namespace pygc::engine
