// The worker's end: one connection, one command after the other. Turns output, progress and memory reads into frames, and cancel frames and a host that is
// gone into the false that ends long loops. What a command does is the Engine's business (engine_runner.h; tests have their own).
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "core/base/progress.h"
#include "core/base/result.h"
#include "plugin/worker/channel.h"
#include "plugin/worker/protocol.h"
#include "plugin/worker/watchdog.h"

namespace pygc::worker {

/// The host as a command sees it. Calls come from one thread at a time.
class HostLink final : public ProgressSink {
 public:
  /// `watchdog` learns what the command does; nullptr: nobody watches.
  explicit HostLink(Channel& channel, Watchdog* watchdog = nullptr) : channel_(channel), watchdog_(watchdog) {}

  /// Report text; kept back in blocks. False when nobody reads it any more.
  bool Out(std::string_view bytes);
  /// Whole lines of diagnostics; after all Out before it.
  void Err(std::string_view bytes);
  bool Update(std::string_view stage, std::uint64_t done, std::uint64_t total) override;

  /// Regions and threads of a target that the host serves. Errors: kHost (the host cannot, with its reason), kCancelled.
  [[nodiscard]] Result<ServedDescription> Describe();
  /// Copies target bytes; a short count is what the host could read. Errors: kFault when not one byte, kHost, kCancelled.
  [[nodiscard]] Result<std::size_t> Read(Address from, std::span<std::byte> out);

  /// Tells the host that the process that it holds may run again. Returns seconds since the command began.
  double NoteCopied();

  [[nodiscard]] bool was_cancelled() const noexcept { return cancelled_; }
  [[nodiscard]] bool host_is_gone() const noexcept { return gone_; }
  [[nodiscard]] const std::string& stage() const noexcept { return stage_; }
  /// The command is to end in so many seconds; it is ended from outside where it does not (0: it may take its time).
  void SetTimeout(double seconds) noexcept {
    if (watchdog_ != nullptr) watchdog_->SetTimeout(seconds);
  }
  void Flush();

 private:
  using Clock = std::chrono::steady_clock;
  void Send(const Frame& frame);
  /// Takes in what the host has sent meanwhile, without waiting.
  void Poll();
  void Note(const Frame& frame);
  /// Waits for a frame of `type`. Errors: kHost, kCancelled.
  [[nodiscard]] Result<Frame> Await(MessageType type);
  void NoteRunning(bool runs) noexcept {
    if (watchdog_ != nullptr) watchdog_->Run(runs);
  }

  Channel& channel_;
  Watchdog* watchdog_;
  std::string out_;
  std::string stage_;
  Clock::time_point begun_ = Clock::now(), next_progress_{}, next_poll_{};
  std::uint64_t next_read_id_ = 1;
  bool cancelled_ = false, gone_ = false, output_closed_ = false;
};

/// Runs commands.
class Engine {
 public:
  virtual ~Engine() = default;
  /// Returns the exit status (contract.md).
  virtual int Run(const CommandRequest& request, HostLink& host) = 0;
};

/// Serves `channel` until the host closes it. Returns the exit status of the worker process: 0, or 1 when the host was refused.
/// `version`: what the greeting says; other than PYGC_VERSION only in tests.
int Serve(Channel& channel, Engine& engine, std::string_view version, Watchdog* watchdog = nullptr);

/// Makes this process fit for hostile input and for its host: no core dump of its own (it would hold the target's memory), no new privileges, no descriptor
/// beside `fd` and 0 to 2, SIGINT and SIGPIPE ignored, first in line when memory runs out. `parent`: ends when that process does (0: only when the socket closes).
/// Returns false when the parent is gone already.
bool PrepareWorkerProcess(int fd, int parent);

/// The watchdog of this process, which never ends: threads of a dying process may still report to it.
Watchdog& StartWatchdog(int fd, SilenceLimits limits = {});

}  // namespace pygc::worker
