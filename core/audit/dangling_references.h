// References that are known exactly and lead to no object: the block that they lead to was freed, and what was in it overwritten.
#pragma once

#include <vector>

#include "core/audit/audit_input.h"
#include "core/base/progress.h"
#include "core/heap/reference_audit.h"

namespace pygc::audit {

inline constexpr std::size_t kMaxDangling = 10'000;

/// Those of sources whose references count (`counts`: not freed, not being freed, not approximate), by target; the first kMaxDangling in order of
/// sources. Not those of modules: their traversal may show what the module keeps for reuse. Decodes every object again: to be called where some are
/// known to be.
[[nodiscard]] std::vector<heap::DanglingReference> FindDangling(const AuditInput& input, const std::vector<heap::Auditable>& counts,
                                                                ProgressSink& progress);

}  // namespace pygc::audit
