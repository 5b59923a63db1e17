// What the kernel noted when it wrote the core: the signal, its thread, and where this stood.
#pragma once

#include "core/engine/command.h"
#include "core/report/crash.h"
#include "core/report/stacks_report.h"

namespace pygc::engine {

/// `stacks`: to find the Python thread that it was.
[[nodiscard]] report::CrashFacts FindCrash(const CommandInput& input, const report::StacksReport& stacks);

}  // namespace pygc::engine
