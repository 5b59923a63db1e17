// What the exports and `sql` tell of a heap, made once for both, so that their tables cannot differ.
#pragma once

#include "core/engine/command.h"
#include "core/engine/edge_labels.h"
#include "core/report/export.h"

namespace pygc::engine {

/// `labels` and what `input` refers to outlive the result.
[[nodiscard]] report::ExportInput ExportInputOf(const CommandInput& input, EdgeLabels& labels);

}  // namespace pygc::engine
