// The Engine of a real worker: opens the target that a request names, keeps its Session for the next request about the same target.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "core/base/result.h"
#include "core/engine/saved_index.h"
#include "core/engine/session.h"
#include "plugin/worker/core_owner.h"
#include "plugin/worker/server.h"

namespace pygc::worker {

class EngineRunner final : public Engine {
 public:
  /// Never throws: what escapes from below becomes a line on Err and exit 6.
  int Run(const CommandRequest& request, HostLink& host) override;

 private:
  int RunParsed(const CommandRequest& request, const engine::Request& command, HostLink& host);
  [[nodiscard]] Result<target::Process> OpenCoreFile(const std::string& path, const engine::Request& command, target::OpenOptions options, HostLink& host);
  [[nodiscard]] Result<target::Process> Open(const CommandRequest& request, const engine::Request& command, HostLink& host);

  [[nodiscard]] Result<target::Process> OpenHeld(const TargetDescription& held, const engine::Request& command, const target::OpenOptions& options, HostLink& host);

  [[nodiscard]] static NamedFiles FilesOf(const CommandRequest& request, const engine::Request& command);
  [[nodiscard]] static std::string CoreOf(const CommandRequest& request, const engine::Request& command);
  [[nodiscard]] static Result<void> CheckWritten(const CommandRequest& request, const engine::Request& command);
  /// Once, before anything is opened and before Confine(): root becomes the owner of the core that `request` is about.
  void TakeOwner(const CommandRequest& request, const engine::Request& command);

  bool is_confined_ = false;  // before the first target is opened
  bool cores_only_ = false;   // so that it can no longer read processes
  std::string owner_warning_;  // where root reads another user's core as root
  std::string session_key_;  // what session_ was opened from
  TargetRoute session_route_ = TargetRoute::kNone;
  std::chrono::steady_clock::time_point copied_at_{};  // of a process that the host holds
  std::shared_ptr<const engine::SavedIndex> index_;  // that Open() found in place of a core
  std::optional<engine::Session> session_;
};

}  // namespace pygc::worker
