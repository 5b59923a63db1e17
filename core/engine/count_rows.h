// Findings of the audit as rows of a report: what the object is, its count, who holds it and by which words.
#pragma once

#include <vector>

#include "core/engine/audit_data.h"
#include "core/engine/command.h"
#include "core/engine/labels.h"
#include "core/report/refcounts_report.h"

namespace pygc::engine {

inline constexpr std::size_t kMaxCountRows = 100'000;
inline constexpr std::size_t kMaxHolders = 8;  // named of each object

/// "deficit", "surplus", "lost", "hidden-cycle".
[[nodiscard]] const char* KindName(analysis::CountFindingKind kind) noexcept;
[[nodiscard]] audit::AuditInput AuditInputOf(const CommandInput& in);
/// Rows of the first kMaxCountRows, with their holders.
[[nodiscard]] std::vector<report::RefcountFinding> CountRows(const CommandInput& in, const Labels& labels, const std::vector<analysis::CountFinding>& found);
/// One line for a table: "ob_refcnt 3, 2 references found: held by app.Node at 0x7f... .next; …".
[[nodiscard]] std::string EvidenceText(const report::RefcountFinding& row);

}  // namespace pygc::engine
