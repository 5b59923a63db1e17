// A host's end: starts `pygc --worker`, sends it one command at a time and reads what comes back. Made to live inside a debugger: no signal handler, no
// thread, no global state; a worker that dies, hangs or talks nonsense becomes a value here and never harms the host.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "core/base/result.h"
#include "plugin/worker/channel.h"
#include "plugin/worker/protocol.h"

namespace pygc::worker {

struct WorkerOptions {
  std::string program;             // path of the pygc executable; empty: FindWorkerProgram()
  bool host_is_pygc = false;       // the host is the pygc executable itself
  bool die_with_parent = false;    // the kernel kills the worker when the thread that started it ends; for programs whose main thread does
  bool inherit_stdin = false;      // for `-c -`
};

/// The pygc executable that belongs to this library or program: $PYGC_WORKER, else the running program where `host_is_pygc`, else ../bin/pygc and
/// ../../bin/pygc beside the shared library that this code is in.
/// Errors: kHost, naming the places that were looked at.
[[nodiscard]] Result<std::string> FindWorkerProgram(bool host_is_pygc);

/// What the worker says next.
struct WorkerEvent {
  enum class Kind {
    kNothing,   // nothing within the time given
    kOut,       // `text`: report
    kErr,       // `text`: whole lines of diagnostics
    kProgress,  // `progress`
    kDescribe,  // answer with SendDescription
    kRead,      // `read`: answer with SendMemory
    kCopied,    // the process that the host holds may run again, `seconds` after the request
    kDone,      // `status`; the worker is ready for the next command
    kDied,      // `text`: one line for the user; the worker cannot be used any more
  };
  Kind kind = Kind::kNothing;
  std::string text;
  Progress progress;
  ReadRequest read;
  int status = 0;
  double seconds = 0;
};

class WorkerClient {
 public:
  /// Starts a worker and exchanges greetings.
  /// Errors: kHost (no program, cannot be started, does not answer as a worker, another version: both are named).
  [[nodiscard]] static Result<std::unique_ptr<WorkerClient>> Start(const WorkerOptions& options);

  /// Ends the worker: closes the socket, kills it where it is still busy, and reaps it.
  ~WorkerClient();
  WorkerClient(const WorkerClient&) = delete;
  WorkerClient& operator=(const WorkerClient&) = delete;

  /// Sends one command. The previous one must be done. Errors: kHost when the worker is gone.
  [[nodiscard]] Result<void> Begin(const CommandRequest& request);
  /// Waits up to `timeout_ms` (a signal may end it sooner). A worker that fails (status 6, or it dies) before anything of the report was sent: where the command
  /// asks for JSON, the document that says so (engine::FaultDocument) comes as kOut before the end.
  [[nodiscard]] WorkerEvent Next(int timeout_ms);

  // Each is ignored when the worker is gone: Next() will tell.
  void Cancel();
  void OutputClosed();
  void SendDescription(const ServedDescription& description);
  void SendMemory(std::uint64_t id, std::span<const std::byte> bytes);
  /// Ends a worker that does not stop by itself. Next() then says kDied.
  void Kill();

  [[nodiscard]] bool is_alive() const noexcept { return alive_; }
  /// True from Begin() until kDone or kDied was returned.
  [[nodiscard]] bool is_busy() const noexcept { return busy_; }
  [[nodiscard]] pid_t pid() const noexcept { return pid_; }

 private:
  WorkerClient(int fd, pid_t pid, std::string program) : channel_(fd), pid_(pid), program_(std::move(program)) {}
  Result<void> Greet();
  void SendKill();
  WorkerEvent Read(int timeout_ms);
  WorkerEvent Died(std::string what);
  /// The event itself, or the document of a fault in its place, and the event with the next call.
  WorkerEvent WithFaultDocument(WorkerEvent event);
  /// Reaps the process, killing it first where it does not end soon. Returns what is known of its end.
  std::string Reap(bool give_time);

  Channel channel_;
  pid_t pid_;
  std::string program_;
  CommandRequest request_;  // that runs
  std::string stage_;       // the last that was heard of
  std::string last_line_;   // of diagnostics
  Address object_ = 0;      // that a dying worker named
  bool wrote_ = false;      // something of the report
  std::optional<WorkerEvent> next_;
  bool alive_ = true, busy_ = false, reaped_ = false, killed_ = false;
};

/// What a command needs from its host. Called from the thread that runs RunCommand, while it runs.
class CommandHost {
 public:
  virtual ~CommandHost() = default;
  /// Report text. False when nobody reads any more.
  virtual bool Out(std::string_view bytes) = 0;
  /// Whole lines of diagnostics.
  virtual void Err(std::string_view bytes) = 0;
  virtual void ShowProgress(const Progress&) {}
  /// How often the user asked to stop since the command began. Once: finish with what is known. Twice: at once.
  virtual int InterruptCount() { return 0; }
  /// Regions and threads, where TargetDescription::can_serve.
  virtual ServedDescription Describe() { return {.last = true, .is_core = false, .path = {}, .pid = 0, .error = "this host cannot serve memory", .regions = {}, .threads = {}}; }
  /// The process that the host holds is copied, `seconds` after the command began: the command does not need it to stand still any more.
  virtual void TargetCopied([[maybe_unused]] double seconds) {}
  /// Copies target bytes from `address` on; returns how many before the first that cannot be read. Never fills up.
  virtual std::size_t Read(Address, std::span<std::byte>) { return 0; }
};

/// Runs one command to its end and returns its exit status (contract.md). A worker that dies gives 6 and a line on Err; an interrupt that is not heeded kills it (130).
int RunCommand(WorkerClient& worker, const CommandRequest& request, CommandHost& host);

/// `text` as it may be shown on a terminal: one line, control bytes escaped, at most `max_bytes`.
[[nodiscard]] std::string OneSafeLine(std::string_view text, std::size_t max_bytes = 300);

}  // namespace pygc::worker
