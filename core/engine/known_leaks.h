// Leaks of CPython itself, and of widely used extensions, that are known and cited: findings like any other, but nobody's program is to blame, so they are counted apart.
#pragma once

#include <string>
#include <vector>

#include "core/analysis/refcount_audit.h"
#include "core/audit/audit_input.h"
#include "core/base/progress.h"
#include "core/engine/labels.h"

namespace pygc::engine {

struct KnownLeak {
  analysis::CountFinding finding;
  std::string cause;  // file, function, what it does
};

/// Takes those that are known out of `audit.findings`, which were made of `counts`.
[[nodiscard]] std::vector<KnownLeak> TakeKnownLeaks(const audit::AuditInput& input, const Labels& labels, const heap::ReferenceAudit& counts, analysis::CountAudit& audit, ProgressSink& progress);

}  // namespace pygc::engine
