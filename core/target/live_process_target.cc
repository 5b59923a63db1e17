// Live processes: placeholder until the next commit.
#include "core/target/open.h"
namespace pygc::target {
Result<Process> CaptureLive(std::int32_t pid, const OpenOptions&, ProgressSink&) { return Fail(ErrorCode::kUnsupported, "cannot capture process {} yet", pid); }
Result<Process> CaptureStopped(std::int32_t pid, const OpenOptions&, ProgressSink&) { return Fail(ErrorCode::kUnsupported, "cannot capture process {} yet", pid); }
}  // namespace pygc::target
