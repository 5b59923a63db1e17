#include "plugin/lldb/lldb_command.h"

#include <lldb/API/SBCommandReturnObject.h>
#include <lldb/API/SBDebugger.h>
#include <lldb/API/SBProcess.h>
#include <lldb/API/SBStream.h>
#include <lldb/API/SBTarget.h>
#include <lldb/API/SBTypeCategory.h>
#include <lldb/API/SBTypeNameSpecifier.h>
#include <lldb/API/SBTypeSummary.h>
#include <lldb/API/SBValue.h>
#if __has_include(<lldb/API/SBProgress.h>)
#include <lldb/API/SBProgress.h>
#define PYGC_HAS_SBPROGRESS 1
#endif
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/engine/command_table.h"
#include "plugin/lldb/expressions.h"
#include "plugin/lldb/lldb_target.h"
#include "plugin/worker/client.h"
#include "plugin/worker/terminal_progress.h"

namespace pygc::lldb_host {
namespace {

/// The workers of one debugger, one for each process that was asked about.
class Workers {
 public:
  /// A worker for the process with LLDB's unique id `process` (0: none), started where there is none that is fit for use. `fresh`: one that has seen no dump.
  Result<worker::WorkerClient*> For(std::uint32_t process, bool fresh = false) {
    const auto found = std::find_if(kept_.begin(), kept_.end(), [&](const Kept& k) { return k.process == process; });
    if (found != kept_.end()) {
      if (!fresh && found->client->is_alive() && !found->client->is_busy()) return found->client.get();
      kept_.erase(found);
    }
    auto started = worker::WorkerClient::Start({});
    if (!started) return tl::unexpected(started.error());
    kept_.push_back({process, std::move(*started)});
    return kept_.back().client.get();
  }

  /// Ends the workers of processes that the debugger no longer has.
  void Forget(lldb::SBDebugger& debugger) {
    std::vector<std::uint32_t> there;
    for (std::uint32_t i = 0; i < debugger.GetNumTargets(); ++i) {
      lldb::SBProcess process = debugger.GetTargetAtIndex(i).GetProcess();
      const bool over = !process.IsValid() || process.GetState() == lldb::eStateExited || process.GetState() == lldb::eStateDetached;
      if (!over) there.push_back(process.GetUniqueID());
    }
    std::erase_if(kept_, [&](const Kept& k) { return k.process != 0 && std::find(there.begin(), there.end(), k.process) == there.end(); });
  }

  /// Takes note that the worker of `process` has a copy of it, and that pygc let it run again (--resume).
  void NoteResumed(std::uint32_t process, worker::TargetDescription copied) {
    for (Kept& k : kept_)
      if (k.process == process) k.copied = std::move(copied);
  }
  /// What was copied of `process` before it ran on; nothing where no worker has that.
  [[nodiscard]] std::optional<worker::TargetDescription> CopyOf(std::uint32_t process) const {
    for (const Kept& k : kept_)
      if (k.process == process && k.client->is_alive()) return k.copied;
    return std::nullopt;
  }

  std::mutex mutex;

 private:
  struct Kept {
    std::uint32_t process;
    std::unique_ptr<worker::WorkerClient> client;
    std::optional<worker::TargetDescription> copied = {};
  };
  std::vector<Kept> kept_;
};

// InterruptRequested() came with LLDB 17; WasInterrupted() is older.
template <typename Debugger>
bool InterruptRequested(Debugger& debugger) {
  bool asked = debugger.GetCommandInterpreter().WasInterrupted();
  if constexpr (requires { debugger.InterruptRequested(); }) asked = asked || debugger.InterruptRequested();
  return asked;
}

// LLDB 14 and 16 end a process that they were attached to where it runs when they quit, after 40 s; 19 and 22 let go of it at once.
bool QuitEndsProcess() {
  const char* version = lldb::SBDebugger::GetVersionString();
  const char* number = version != nullptr ? std::strpbrk(version, "0123456789") : nullptr;
  return number == nullptr || std::strtol(number, nullptr, 10) < 19;
}

/// One command's conversation with LLDB.
class LldbHost final : public worker::CommandHost {
 public:
  /// `resume`: the process is to run again as soon as it is copied.
  LldbHost(lldb::SBDebugger debugger, const lldb::SBProcess& process, bool quiet, bool resume = false)
      : debugger_(debugger), process_(process), progress_(quiet ? -1 : ErrorTerminal(debugger), debugger.GetTerminalWidth()), quiet_(quiet), resume_(resume) {}

  bool Out(std::string_view bytes) override {
    out_ += bytes;
    return true;
  }
  void Err(std::string_view bytes) override { err_ += bytes; }
  void ShowProgress(const worker::Progress& p) override {
#ifdef PYGC_HAS_SBPROGRESS
    if (p.stage != stage_) {
      stage_ = p.stage;
      reported_ = std::make_unique<lldb::SBProgress>("pygc", worker::OneSafeLine(p.stage).c_str(), debugger_);
    }
#endif
    progress_.Show(p);
  }
  int InterruptCount() override { return InterruptRequested(debugger_) ? 1 : 0; }
  worker::ServedDescription Describe() override { return DescribeForServing(process_); }
  std::size_t Read(Address address, std::span<std::byte> out) override { return ReadMemory(process_, address, out); }
  void TargetCopied(double seconds) override {
    if (!resume_ || resumed_) return;
    // LLDB's threads look after the process from here on; a synchronous debugger would wait for its next stop.
    const bool was_async = debugger_.GetAsync();
    debugger_.SetAsync(true);
    const lldb::SBError error = process_.Continue();
    debugger_.SetAsync(was_async);
    resumed_ = error.Success();
    if (!resumed_) Err(fmt::format("pygc: the process was not resumed: {}\n", worker::OneSafeLine(error.GetCString() != nullptr ? error.GetCString() : "LLDB does not say why")));
    else if (!quiet_) Err(fmt::format("pygc: process {} runs again, after {:.0f} ms{}\n", process_.GetProcessID(), seconds * 1000, QuitEndsProcess() ? "; detach from it before you quit, which would end it" : ""));
  }
  [[nodiscard]] bool has_resumed() const noexcept { return resumed_; }

  /// What the command said, without line ends behind it.
  std::string TakeLine() {
    progress_.Wipe();
    while (!out_.empty() && out_.back() == '\n') out_.pop_back();
    return std::move(out_);
  }

  /// Gives all that was said to LLDB. Findings and partial reports are a success of the command; the statuses of contract.md that mean "no report" are not.
  bool Finish(int status, lldb::SBCommandReturnObject& result) {
    progress_.Wipe();
    // What an interrupted command leaves in its result LLDB replaces by "... Interrupted."; what is known must be seen all the same.
    if (InterruptCount() > 0) {
      PrintNow(debugger_.GetOutputFileHandle(), out_);
      PrintNow(debugger_.GetErrorFileHandle(), err_.empty() ? "pygc: interrupted\n" : err_);
      result.SetStatus(lldb::eReturnStatusFailed);
      return false;
    }
    if (!out_.empty()) result.Printf("%s", out_.c_str());
    while (!err_.empty() && err_.back() == '\n') err_.pop_back();
    const bool done = status == 0 || status == 1 || status == 3;
    if (!done) {
      if (err_.empty()) err_ = status == 130 ? "pygc: interrupted" : fmt::format("pygc: the command ended with status {}", status);
      result.SetError(err_.c_str());
      result.SetStatus(lldb::eReturnStatusFailed);
      return false;
    }
    if (!err_.empty()) result.AppendWarning(err_.c_str());
    result.SetStatus(out_.empty() ? lldb::eReturnStatusSuccessFinishNoResult : lldb::eReturnStatusSuccessFinishResult);
    return true;
  }

 private:
  static void PrintNow(std::FILE* file, const std::string& text) {
    if (file == nullptr || text.empty()) return;
    std::fwrite(text.data(), 1, text.size(), file);
    std::fflush(file);
  }
  static int ErrorTerminal(lldb::SBDebugger& debugger) {
    std::FILE* file = debugger.GetErrorFileHandle();
    const int fd = file != nullptr ? fileno(file) : -1;
    return fd >= 0 && isatty(fd) != 0 ? fd : -1;
  }

  lldb::SBDebugger debugger_;
  lldb::SBProcess process_;
  worker::TerminalProgress progress_;
  std::string out_, err_;
  bool quiet_, resume_, resumed_ = false;
#ifdef PYGC_HAS_SBPROGRESS
  std::string stage_;
  std::unique_ptr<lldb::SBProgress> reported_;
#endif
};

bool OutputIsTerminal(lldb::SBDebugger& debugger) {
  std::FILE* file = debugger.GetOutputFileHandle();
  return file != nullptr && fileno(file) >= 0 && isatty(fileno(file)) != 0;
}

worker::CommandRequest MakeRequest(lldb::SBDebugger& debugger, const std::string& command, char** words) {
  worker::CommandRequest request;
  request.words.push_back(command);
  for (char** w = words; w != nullptr && *w != nullptr; ++w) request.words.emplace_back(*w);
  request.host = "lldb";
  char path[PATH_MAX];
  if (getcwd(path, sizeof path) != nullptr) request.working_directory = path;
  if (OutputIsTerminal(debugger)) {
    request.columns = debugger.GetTerminalWidth();
    request.colour_terminal = debugger.GetUseColor();
  }
  request.target = DescribeTarget(debugger.GetSelectedTarget());
  return request;
}

bool Fails(lldb::SBCommandReturnObject& result, const std::string& line) {
  result.SetError(line.c_str());
  result.SetStatus(lldb::eReturnStatusFailed);
  return false;
}

/// `pygc COMMAND`.
class PygcCommand final : public lldb::SBCommandPluginInterface {
 public:
  PygcCommand(std::string command, std::shared_ptr<Workers> workers) : command_(std::move(command)), workers_(std::move(workers)) {}

  bool DoExecute(lldb::SBDebugger debugger, char** words, lldb::SBCommandReturnObject& result) override {
    try {
      return Run(debugger, words, result);
    } catch (const std::exception& e) {  // the debugger must survive want of memory in its own process too
      return Fails(result, std::string("pygc: internal fault in the plugin: ") + e.what());
    }
  }

 private:
  bool Run(lldb::SBDebugger& debugger, char** words, lldb::SBCommandReturnObject& result) {
    const std::unique_lock lock(workers_->mutex, std::try_to_lock);
    if (!lock) return Fails(result, "pygc: another pygc command is still running in this debugger");
    workers_->Forget(debugger);
    worker::CommandRequest request = MakeRequest(debugger, command_, words);
    lldb::SBProcess process = debugger.GetSelectedTarget().GetProcess();
    request.words = WithAddresses(std::move(request.words), process.GetSelectedThread().GetSelectedFrame());
    const bool resume = std::find(request.words.begin(), request.words.end(), "--resume") != request.words.end();
    if (std::optional<worker::TargetDescription> copy = workers_->CopyOf(process.GetUniqueID())) {
      // LLDB takes note a moment later, in another thread, that the process runs; it counts stops.
      const bool runs = process.GetState() == lldb::eStateRunning || request.target.generation == copy->generation;
      if (runs) {
        copy->why_none = WhyNotRunning();
        copy->route = resume ? worker::TargetRoute::kNone : worker::TargetRoute::kCopy;
        request.target = std::move(*copy);
      }
    }
    const bool has_target = request.target.route != worker::TargetRoute::kNone;
    const Result<worker::WorkerClient*> client = workers_->For(has_target ? process.GetUniqueID() : 0, command_ == "self-test");
    if (!client) return Fails(result, "pygc: " + client.error().message);
    const auto has = [&](std::string_view word) { return std::find(request.words.begin(), request.words.end(), word) != request.words.end(); };
    const bool quiet = has("--quiet") || has("-q");
    LldbHost host(debugger, process, quiet, resume && IsLive(process));
    const int status = worker::RunCommand(**client, request, host);
    if (host.has_resumed()) workers_->NoteResumed(process.GetUniqueID(), request.target);
    return host.Finish(status, result);
  }

  std::string command_;
  std::shared_ptr<Workers> workers_;
};

// ---- summaries of variables

// LLDB calls a plain function for a summary: what belongs to a debugger is found by its number. Commands own the workers; here they are only known.
struct Debuggers {
  std::mutex mutex;
  std::map<std::uint64_t, std::weak_ptr<Workers>> workers;
};
Debuggers& KnownDebuggers() {
  static Debuggers known;
  return known;
}

std::shared_ptr<Workers> WorkersOf(lldb::SBDebugger& debugger) {
  Debuggers& known = KnownDebuggers();
  const std::lock_guard lock(known.mutex);
  const auto found = known.workers.find(debugger.GetID());
  return found == known.workers.end() ? nullptr : found->second.lock();
}

// "dict {'a': 1}" for a pointer to an object. False, and LLDB shows the address alone, where there is none or a command is running.
bool SummaryOf(lldb::SBValue value, lldb::SBTypeSummaryOptions, lldb::SBStream& stream) {  // NOLINT(performance-unnecessary-value-param): LLDB's signature
  try {
    const std::uint64_t address = value.GetValueAsUnsigned(0);
    lldb::SBTarget target = value.GetTarget();
    lldb::SBDebugger debugger = target.GetDebugger();
    const std::shared_ptr<Workers> workers = WorkersOf(debugger);
    if (address == 0 || !workers) return false;
    const std::unique_lock lock(workers->mutex, std::try_to_lock);
    if (!lock) return false;
    worker::CommandRequest request;
    request.words = {"value", "--quiet", fmt::format("{:#x}", address)};
    request.host = "lldb";
    request.target = DescribeTarget(target);
    // A core and a local process are read in milliseconds, a remote one through the debugger would hold it up.
    if (request.target.route != worker::TargetRoute::kCore && request.target.route != worker::TargetRoute::kStoppedPid) return false;
    lldb::SBProcess process = target.GetProcess();
    const Result<worker::WorkerClient*> client = workers->For(process.GetUniqueID());
    if (!client) return false;
    LldbHost host(debugger, process, true);
    worker::RunCommand(**client, request, host);
    const std::string line = host.TakeLine();
    if (line.empty()) return false;
    stream.Print(line.c_str());
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

void AddSummaries(lldb::SBDebugger& debugger, const std::shared_ptr<Workers>& workers) {
  {
    Debuggers& known = KnownDebuggers();
    const std::lock_guard lock(known.mutex);
    known.workers[debugger.GetID()] = workers;
  }
  lldb::SBTypeCategory category = debugger.CreateCategory("pygc");
  if (!category.IsValid()) return;
  lldb::SBTypeSummary summary = lldb::SBTypeSummary::CreateWithCallback(&SummaryOf, lldb::eTypeOptionCascade, "pygc: type and value of the object");
  category.AddTypeSummary(lldb::SBTypeNameSpecifier("^(const )?(struct )?(_object|PyObject|_typeobject|Py[A-Za-z]+Object) \\*( const)?$", true), summary);
  category.SetEnabled(true);
}

}  // namespace

bool AddCommands(lldb::SBDebugger debugger) {
  lldb::SBCommandInterpreter interpreter = debugger.GetCommandInterpreter();
  lldb::SBCommand pygc = interpreter.AddMultiwordCommand("pygc", "Find leaks in the selected CPython process or core: pygc leaks, pygc status, ... Where an address is asked for, a variable or register of the selected frame "
                                                           "will do ($rdi). No settings of its own: use-color and term-width hold for its output, `type category disable pygc` leaves variables as they "
                                                           "were, PYGC_WORKER in the environment names another engine.");
  if (!pygc.IsValid()) return false;
  const auto workers = std::make_shared<Workers>();
  // LLDB owns each command object and deletes it with the debugger.
  const auto add = [&](const std::string& name, const std::string& summary) {
    const std::string syntax = "pygc " + name + " [OPTIONS] [ARGS]   (pygc " + name + " --help lists them)";
    return pygc.AddCommand(name.c_str(), new PygcCommand(name, workers), summary.c_str(), syntax.c_str()).IsValid();
  };
  bool added = true;
  for (const engine::CommandSummary& command : engine::Commands()) added = add(std::string(command.name), std::string(command.summary)) && added;
  added = add("why", "the same as path") && added;
  added = add("--help", "what pygc can do, and all its options") && added;
  AddSummaries(debugger, workers);
  return added;
}

}  // namespace pygc::lldb_host
