// Looks at the machine and tries what pygc needs: `pygc self-test`. Runs in a worker that is not confined, and before it has seen any dump.
#pragma once

#include <vector>

#include "core/base/progress.h"
#include "core/engine/self_test.h"

namespace pygc::worker {

/// Starts each CPython that is on the PATH with a planted cycle and reads it live, asks the debuggers for their versions, reads the kernel's settings.
/// Some seconds. Stops early where `progress` says so: what was found until then.
[[nodiscard]] std::vector<engine::SelfTestSection> TestThisMachine(ProgressSink& progress);

}  // namespace pygc::worker
