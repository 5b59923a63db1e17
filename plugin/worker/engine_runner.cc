#include "plugin/worker/engine_runner.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <exception>
#include <new>
#include <utility>
#include <vector>

#include "core/engine/command_table.h"
#include "core/target/open.h"
#include "plugin/worker/client.h"
#include "plugin/worker/core_owner.h"
#include "plugin/worker/sandbox.h"
#include "plugin/worker/self_test.h"

namespace pygc::worker {
namespace {

class LinkOutput final : public engine::OutputSink {
 public:
  explicit LinkOutput(HostLink& host) : host_(host) {}
  bool Out(std::string_view bytes) override { return host_.Out(bytes); }
  void Err(std::string_view bytes) override { host_.Err(bytes); }

 private:
  HostLink& host_;
};

// A word of a key: its length first, so that no two lists of words give the same key.
void AddToKey(std::string* key, std::string_view word) { *key += fmt::format("{}:{};", word.size(), word); }

std::string KeyOf(const TargetDescription& t, const engine::Request& command) {
  std::string key;
  const engine::TargetChoice& c = command.target;
  AddToKey(&key, fmt::format("{} {} {} {} {} {}", static_cast<int>(t.route), t.pid, t.generation, c.pid, c.open.trust_file, c.trust_anonymous_code));
  AddToKey(&key, t.path);
  AddToKey(&key, c.core);
  AddToKey(&key, c.layout_file);
  AddToKey(&key, c.open.executable);
  AddToKey(&key, c.open.sysroot);
  for (const std::string& d : c.open.debug_directories) AddToKey(&key, d);
  for (const auto& [name, file] : c.open.module_files) {
    AddToKey(&key, name);
    AddToKey(&key, file);
  }
  return key;
}

Result<target::Process> OpenServed(const target::OpenOptions& options, HostLink& host, const target::CopiedHook& copied) {
  Result<ServedDescription> described = host.Describe();
  if (!described) return tl::unexpected(described.error());
  target::MemorySource source;
  source.kind = described->is_core ? target::TargetKind::kCore : target::TargetKind::kLive;
  source.path = described->path;
  source.pid = described->pid;
  source.regions.reserve(described->regions.size());
  for (ServedRegion& r : described->regions)
    source.regions.push_back({r.range, r.readable, r.writable, r.executable, std::move(r.file), r.file_offset});
  for (const ServedThread& t : described->threads) {
    target::Thread thread;
    thread.tid = t.tid;
    thread.signal = t.signal;
    thread.has_registers = t.has_registers;
    thread.registers = t.registers;
    source.threads.push_back(thread);
  }
  source.read = [&host](Address from, std::span<std::byte> out) { return host.Read(from, out); };
  return target::CaptureFromSource(source, options, host, copied);
}

// Only the debugger that holds the threads can read their registers; they say where the stacks in use are. Without them all of a stack counts as memory.
void TakeRegisters(target::Process& process, HostLink& host) {
  const Result<ServedDescription> described = host.Describe();
  if (!described) return;
  for (target::Thread& thread : process.threads) {
    const auto served = std::find_if(described->threads.begin(), described->threads.end(), [&](const ServedThread& s) { return s.tid == thread.tid; });
    if (served == described->threads.end() || thread.has_registers) continue;
    thread.has_registers = served->has_registers;
    thread.registers = served->registers;
  }
}

// What the debugger reads of a target that cannot be read by another way.
Result<target::Process> ServedInstead(Result<target::Process> direct, const target::OpenOptions& options, HostLink& host, const target::CopiedHook& copied) {
  Result<target::Process> served = OpenServed(options, host, copied);
  if (served) served->warnings.push_back(fmt::format("memory was read through the debugger, which is slower: {}", direct.error().message));
  return served || served.error().code == ErrorCode::kCancelled ? std::move(served) : std::move(direct);
}

// A descriptor by the name that the host's user gave it (`-o >(gzip > r.gz)` of a shell is /dev/fd/63) is the host's, not this process's.
std::string HostsFile(const std::string& path) {
  for (const std::string_view own : {"/dev/fd/", "/proc/self/fd/"})
    if (path.starts_with(own)) return fmt::format("/proc/{}/fd/{}", getppid(), path.substr(own.size()));
  return path == "/dev/stderr" ? fmt::format("/proc/{}/fd/2", getppid()) : path;
}

// Compares some dozens of places with what the debugger reads there: a core file that was replaced after the debugger opened it must not be taken for it.
bool SameMemory(const target::MemoryImage& image, HostLink& host) {
  constexpr std::size_t kPlaces = 32;
  constexpr std::uint64_t kBytes = 256;
  std::vector<const target::Segment*> own;  // those that come from the target itself, not from module files
  for (const target::Segment& s : image.segments())
    if (s.source != target::SegmentSource::kModuleFile && s.range.size() >= kBytes) own.push_back(&s);
  std::array<std::byte, kBytes> there;
  for (std::size_t i = 0; i < kPlaces && !own.empty(); ++i) {
    const target::Segment& s = *own[(own.size() - 1) * i / (kPlaces - 1)];
    const std::uint64_t offset = (s.range.size() - kBytes) / kPlaces * i;
    const Result<std::size_t> n = host.Read(s.range.begin + offset, there);
    if (n && *n == kBytes && std::memcmp(there.data(), s.bytes + offset, kBytes) != 0) return false;
  }
  return true;
}

}  // namespace

// A core, or an index with the core that it names.
Result<target::Process> EngineRunner::OpenCoreFile(const std::string& path, const engine::Request& command, target::OpenOptions options, HostLink& host) {
  if (path == "-" || !engine::IsIndex(path)) return target::OpenCore(path, options, host);
  Result<std::shared_ptr<const engine::SavedIndex>> opened = engine::SavedIndex::Open(path, host);
  if (!opened) return tl::unexpected(opened.error());
  const engine::IndexOptions& kept = (*opened)->options();
  const engine::TargetChoice& asked = command.target;
  const bool other = (!asked.open.executable.empty() && asked.open.executable != kept.open.executable) || (!asked.open.sysroot.empty() && asked.open.sysroot != kept.open.sysroot) ||
                     (!asked.open.debug_directories.empty() && asked.open.debug_directories != kept.open.debug_directories) ||
                     (!asked.open.module_files.empty() && asked.open.module_files != kept.open.module_files) || (asked.open.trust_file && !kept.open.trust_file) ||
                     (!asked.layout_file.empty() && asked.layout_file != kept.layout_file) || (asked.trust_anonymous_code && !kept.trust_anonymous_code);
  if (other) return Fail(ErrorCode::kUsage, "the index {} was made with other options of the target: leave them out, or give its core ({})", path, (*opened)->core_path());
  const Limits limits = options.limits;
  options = kept.open;
  options.limits = limits;
  Result<target::Process> process = target::OpenCore((*opened)->core_path(), options, host);
  if (process) index_ = std::move(*opened);
  return process;
}

Result<target::Process> EngineRunner::Open(const CommandRequest& request, const engine::Request& command, HostLink& host) {
  const TargetDescription& t = request.target;
  target::OpenOptions options = command.target.open;
  options.limits = command.limits;
  const bool is_core = t.route == TargetRoute::kCore || t.route == TargetRoute::kServed || (t.route == TargetRoute::kCommandLine && !command.target.core.empty());
  if (is_core && !cores_only_) cores_only_ = Confine(Confinement::kCoreOnly);
  if (!is_core && t.route != TargetRoute::kNone && cores_only_)
    return Fail(ErrorCode::kInternal, "this worker has read a core and may no longer read a process: a host starts one worker for each target");
  if (options.executable.empty()) options.executable = t.executable;
  options.module_files.insert(options.module_files.end(), t.module_files.begin(), t.module_files.end());
  switch (t.route) {
    case TargetRoute::kNone: return Fail(ErrorCode::kUsage, "{}", t.why_none);
    case TargetRoute::kCommandLine:
      if (!command.target.core.empty()) return OpenCoreFile(command.target.core, command, options, host);
      if (command.target.pid != 0) return target::CaptureLive(command.target.pid, options, host);
      return Fail(ErrorCode::kUsage, "no target given: -c CORE for a core file, -p PID for a live process (pygc --help)");
    case TargetRoute::kCopy: return Fail(ErrorCode::kUsage, "{}", t.why_none);
    case TargetRoute::kLivePid: return target::CaptureLive(t.pid, options, host);
    case TargetRoute::kServed:
    case TargetRoute::kStoppedPid: return OpenHeld(t, command, options, host);
    case TargetRoute::kCore: break;
  }
  Result<target::Process> direct = OpenCoreFile(t.path, command, options, host);
  // Not for a process: other processes may write to memory that it shares, and its debugger hides its own breakpoints.
  if (direct && t.can_serve && !SameMemory(direct->memory, host))
    direct = Fail(ErrorCode::kNotAnalysable, "{} is not the core that the debugger has open, it was replaced since: open it anew in the debugger", OneSafeLine(t.path));
  if (direct || !t.can_serve || direct.error().code == ErrorCode::kCancelled) return direct;
  return ServedInstead(std::move(direct), options, host, {});
}

// A process that the host holds, or what only the host can read. As soon as it is copied the host learns that it may run again.
Result<target::Process> EngineRunner::OpenHeld(const TargetDescription& held, const engine::Request& command, const target::OpenOptions& options, HostLink& host) {
  bool is_copied = false;
  const target::CopiedHook copied = [&](target::Process& process) {
    if (process.kind != target::TargetKind::kLive) return;
    if (held.route == TargetRoute::kStoppedPid && held.can_serve && !is_copied) TakeRegisters(process, host);
    is_copied = true;
    copied_at_ = std::chrono::steady_clock::now();
    process.read_seconds = host.NoteCopied();
  };
  if (held.route == TargetRoute::kServed) return OpenServed(options, host, copied);
  Result<target::Process> direct = target::CaptureStopped(held.pid, options, host, copied);
  const bool runs_again = is_copied && command.resume;
  if (direct || !held.can_serve || runs_again || direct.error().code == ErrorCode::kCancelled) return direct;
  return ServedInstead(std::move(direct), options, host, copied);
}

NamedFiles EngineRunner::FilesOf(const CommandRequest& request, const engine::Request& command) {
  const TargetDescription& t = request.target;
  const engine::TargetChoice& c = command.target;
  NamedFiles named;
  named.read = {c.open.executable, c.open.sysroot, c.layout_file, command.baseline, t.executable};
  named.read.insert(named.read.end(), c.open.debug_directories.begin(), c.open.debug_directories.end());
  for (const auto& [name, file] : c.open.module_files) named.read.push_back(file);
  for (const auto& [name, file] : t.module_files) named.read.push_back(file);
  if (command.command == "diff") named.read.insert(named.read.end(), command.arguments.begin(), command.arguments.end());
  named.written = {command.output_file, command.save_file};
  return named;
}

std::string EngineRunner::CoreOf(const CommandRequest& request, const engine::Request& command) {
  return request.target.route == TargetRoute::kCore ? request.target.path : command.target.core;
}

void EngineRunner::TakeOwner(const CommandRequest& request, const engine::Request& command) {
  const TargetRoute route = request.target.route;
  const std::string core = CoreOf(request, command);
  const bool is_core = route == TargetRoute::kCore || route == TargetRoute::kCommandLine;
  if (is_core && !core.empty()) owner_warning_ = BecomeOwnerOf(core, FilesOf(request, command));
}

// A core is often the only evidence of a crash: what is written takes the place of no file that is read.
Result<void> EngineRunner::CheckWritten(const CommandRequest& request, const engine::Request& command) {
  NamedFiles named = FilesOf(request, command);
  named.read.push_back(CoreOf(request, command));
  for (const std::string& to : named.written) {
    struct stat written{};
    if (to.empty() || to == "-" || stat(to.c_str(), &written) != 0 || !S_ISREG(written.st_mode)) continue;
    for (const std::string& from : named.read) {
      struct stat read{};
      const bool is_same = !from.empty() && stat(from.c_str(), &read) == 0 && read.st_dev == written.st_dev && read.st_ino == written.st_ino;
      if (is_same) {
        return Fail(ErrorCode::kUsage, "cannot write to {}: this command reads it ({}), and it would be lost; name another file", OneSafeLine(to), OneSafeLine(from));
      }
    }
  }
  return {};
}

int EngineRunner::RunParsed(const CommandRequest& request, const engine::Request& command, HostLink& host) {
  LinkOutput output(host);
  TargetDescription asked = request.target;
  const bool of_copy = asked.route == TargetRoute::kCopy;
  if (of_copy && session_) asked.route = session_route_;
  const std::string key = KeyOf(asked, command);
  const bool is_kept = session_ && key == session_key_;
  if (of_copy && !is_kept) return engine::ReportError({ErrorCode::kUsage, request.target.why_none, std::nullopt}, output);
  if (is_kept && !of_copy && (asked.route == TargetRoute::kStoppedPid || asked.route == TargetRoute::kServed)) host.NoteCopied();
  if (!is_kept) {
    index_.reset();
    session_.reset();  // before the next target is read: both together may not fit
    Result<target::Process> process = Open(request, command, host);
    if (!process) return engine::ReportError(process.error(), output);
    if (!owner_warning_.empty()) process->warnings.push_back(owner_warning_);
    session_.emplace(std::move(*process), command.limits);
    if (index_) session_->UseIndex(index_);
    session_key_ = key;
    session_route_ = asked.route;
  }
  engine::HostFacts facts{request.host, request.columns, request.rows, request.colour_terminal, request.working_directory};
  if (of_copy) {
    const auto since = std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - copied_at_);
    facts.about_target = fmt::format("the process runs: this is what was copied of it {} s ago", since.count());
  }
  return session_->Run(command, facts, output, host);
}

int EngineRunner::Run(const CommandRequest& request, HostLink& host) {
  const auto fault = [&](std::string_view what) {
    session_.reset();
    host.Err(fmt::format("pygc: internal fault{}{}: {}\n", host.stage().empty() ? "" : " while ", OneSafeLine(host.stage()), OneSafeLine(what)));
    return 6;
  };
  try {
    LinkOutput output(host);
    if (!request.working_directory.empty()) (void)!chdir(request.working_directory.c_str());
    Result<engine::Request> command = engine::ParseCommandLine(request.words, request.standalone);
    if (!command) return engine::ReportError(command.error(), output);
    command->output_file = HostsFile(command->output_file);
    if (command->show_help || command->show_version) {
      host.Out(command->show_help ? command->help_text : fmt::format("pygc {}\n", BuildVersion()));
      return 0;
    }
    if (command->command.empty()) return engine::ReportError({ErrorCode::kUsage, "no command given (pygc --help)", std::nullopt}, output);
    if (command->command == "self-test") {
      const engine::HostFacts facts{request.host, request.columns, request.rows, request.colour_terminal, request.working_directory};
      return engine::WriteSelfTest(TestThisMachine(host), *command, facts, output);
    }
    if (Result<void> safe = CheckWritten(request, *command); !safe) return engine::ReportError(safe.error(), output);
    host.SetTimeout(command->timeout_seconds);
    if (!is_confined_) TakeOwner(request, *command);
    if (!is_confined_) is_confined_ = Confine(Confinement::kWorker);
    return RunParsed(request, *command, host);
  } catch (const std::bad_alloc&) {
    return fault("memory ran out; try --max-memory, or a machine with more");
  } catch (const std::exception& e) {
    return fault(e.what());
  } catch (...) {
    return fault("an exception of unknown type");
  }
}

}  // namespace pygc::worker
