#include "plugin/worker/client.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>
#include <vector>

#include "core/engine/fault_document.h"
#include "plugin/worker/last_words.h"

extern char** environ;

namespace pygc::worker {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kGreetingMs = 20000;     // a machine under load may take long to start a process
constexpr int kStallMs = 30000;        // a worker that waits for memory reads it at once
constexpr int kCancelGraceMs = 5000;   // from the first interrupt to the kill
constexpr int kWorkerFd = 3;
constexpr int kFault = 6;              // exit status

bool IsProgram(const std::string& path) {
  struct stat s{};
  return stat(path.c_str(), &s) == 0 && S_ISREG(s.st_mode) && access(path.c_str(), X_OK) == 0;
}

// Where the code of this very function was loaded from: the plugin, libpygc.so or the program.
std::string OwnFile() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&OwnFile), &info) == 0 || info.dli_fname == nullptr) return {};
  char resolved[PATH_MAX];
  return realpath(info.dli_fname, resolved) != nullptr ? resolved : info.dli_fname;
}

// A child process with `fd` as its descriptor kWorkerFd and nothing else of ours. posix_spawn: safe in a program with threads, no handler of ours runs.
Result<pid_t> Spawn(const std::string& program, int fd, const WorkerOptions& options) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  const bool keep_stderr = std::getenv("PYGC_WORKER_STDERR") != nullptr;  // to see what a worker under development says
  if (!options.inherit_stdin) posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  if (!keep_stderr) posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, fd, kWorkerFd);
#if defined(__GLIBC_PREREQ)
#if __GLIBC_PREREQ(2, 34)
  posix_spawn_file_actions_addclosefrom_np(&actions, kWorkerFd + 1);
#endif
#endif
  // Its own process group: Ctrl-C in the terminal reaches the host alone, which passes it on as a message. Default signals, nothing blocked.
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  const std::string fd_word = std::to_string(kWorkerFd), parent_word = options.die_with_parent ? std::to_string(getpid()) : "0";
  const char* argv[] = {"pygc", "--worker", fd_word.c_str(), parent_word.c_str(), nullptr};
  pid_t pid = 0;
  const int error = posix_spawn(&pid, program.c_str(), &actions, &attributes, const_cast<char**>(argv), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error == ENOENT && access("/proc/self", F_OK) != 0) return Fail(ErrorCode::kHost, "there is no /proc here, which pygc needs (mount -t proc proc /proc): the worker {} cannot be started", OneSafeLine(program));
  if (error != 0) return Fail(ErrorCode::kHost, "cannot start the worker {}: {}", OneSafeLine(program), std::strerror(error));
  return pid;
}

}  // namespace

std::string OneSafeLine(std::string_view text, std::size_t max_bytes) {
  std::string out;
  for (const char c : text) {
    if (out.size() >= max_bytes) return out + "...";
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7F) out += c;
    else out += fmt::format("\\x{:02x}", byte);
  }
  return out;
}

Result<std::string> FindWorkerProgram(bool host_is_pygc) {
  if (const char* named = std::getenv("PYGC_WORKER"); named != nullptr && *named != '\0') {
    if (IsProgram(named)) return std::string(named);
    return Fail(ErrorCode::kHost, "PYGC_WORKER is {}, which is not a program that can be run", OneSafeLine(named));
  }
  if (host_is_pygc) return std::string("/proc/self/exe");  // not its path: a build may have replaced the file since
  const std::string folder = std::filesystem::path(OwnFile()).parent_path().string();
  for (const char* relative : {"/../bin/pygc", "/../../bin/pygc"})
    if (IsProgram(folder + relative)) return folder + relative;
  return Fail(ErrorCode::kHost, "cannot find pygc's worker: neither {0}/../bin/pygc nor {0}/../../bin/pygc is a program; set PYGC_WORKER to the path of pygc", OneSafeLine(folder));
}

Result<std::unique_ptr<WorkerClient>> WorkerClient::Start(const WorkerOptions& options) {
  Result<std::string> program = options.program.empty() ? FindWorkerProgram(options.host_is_pygc) : Result<std::string>(options.program);
  if (!program) return tl::unexpected(program.error());
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return Fail(ErrorCode::kHost, "cannot make a socket for the worker: {}", std::strerror(errno));
  // A host may have its standard descriptors closed; ours must not take their numbers, which the worker gets anew.
  for (int& end : ends) {
    const int high = fcntl(end, F_DUPFD_CLOEXEC, 10);
    if (high < 0) continue;
    close(end);
    end = high;
  }
  const Result<pid_t> pid = Spawn(*program, ends[1], options);
  close(ends[1]);
  if (!pid) {
    close(ends[0]);
    return tl::unexpected(pid.error());
  }
  std::unique_ptr<WorkerClient> client(new WorkerClient(ends[0], *pid, *program));
  if (const Result<void> greeted = client->Greet(); !greeted) return tl::unexpected(greeted.error());
  return client;
}

Result<void> WorkerClient::Greet() {
  const std::string shown = OneSafeLine(program_);
  const Hello own{kProtocol, std::string(BuildVersion())};
  Channel::Received answer;
  if (channel_.Send(Encode(own), kGreetingMs)) {
    const auto deadline = Clock::now() + std::chrono::milliseconds(kGreetingMs);
    do {  // again after a signal of the host's
      answer = channel_.Receive(kGreetingMs);
    } while (answer.status == Channel::Status::kNothing && Clock::now() < deadline);
  } else {
    answer.status = Channel::Status::kClosed;
  }
  if (answer.status == Channel::Status::kNothing) {
    Kill();
    return Fail(ErrorCode::kHost, "{} did not answer as a pygc worker within {} s", shown, kGreetingMs / 1000);
  }
  const Result<Hello> hello = answer.status == Channel::Status::kFrame ? DecodeHello(answer.frame) : Fail(ErrorCode::kCorrupt, "no greeting");
  if (!hello) {
    const std::string end = Reap(true);
    return Fail(ErrorCode::kHost, "{} does not answer as a pygc worker ({}): it is another program or a broken build", shown, end);
  }
  if (hello->protocol != own.protocol || hello->version != own.version)
    return Fail(ErrorCode::kHost, "the engine {} is pygc {} (protocol {}), but this host is pygc {} (protocol {}): install both from one build, or set PYGC_WORKER to the right pygc",
                shown, OneSafeLine(hello->version), hello->protocol, own.version, own.protocol);
  return {};
}

WorkerClient::~WorkerClient() {
  channel_.Close();
  if (!reaped_) Reap(!busy_);
}

Result<void> WorkerClient::Begin(const CommandRequest& request) {
  if (!alive_) return Fail(ErrorCode::kHost, "the worker is gone");
  if (request.words.size() > kMaxWords) return Fail(ErrorCode::kLimit, "a command of {} words: at most {} are taken; -x FILE runs any number of commands", request.words.size(), kMaxWords);
  stage_.clear();
  last_line_.clear();
  object_ = 0;
  wrote_ = killed_ = false;
  request_ = request;
  if (Result<void> sent = channel_.Send(Encode(request), kStallMs); !sent) {
    if (sent.error().code != ErrorCode::kLimit) alive_ = false;
    return sent;
  }
  busy_ = true;
  return {};
}

WorkerEvent WorkerClient::Died(std::string what) {
  alive_ = busy_ = false;
  WorkerEvent event;
  event.kind = WorkerEvent::Kind::kDied;
  event.text = std::move(what);
  return event;
}

WorkerEvent WorkerClient::Next(int timeout_ms) {
  if (next_) return *std::exchange(next_, std::nullopt);
  WorkerEvent event = Read(timeout_ms);
  using Kind = WorkerEvent::Kind;
  if (event.kind == Kind::kOut) wrote_ = true;
  if (event.kind == Kind::kErr) {
    if (const std::size_t at = event.text.find(kReadingObject); at != std::string::npos) object_ = std::strtoull(event.text.c_str() + at + kReadingObject.size(), nullptr, 16);
    else last_line_ = event.text;
  }
  return event.kind == Kind::kDied || (event.kind == Kind::kDone && event.status == kFault) ? WithFaultDocument(std::move(event)) : event;
}

WorkerEvent WorkerClient::WithFaultDocument(WorkerEvent event) {
  if (wrote_ || killed_ || request_.words.empty()) return event;
  engine::FaultFacts facts;
  facts.host = request_.host;
  facts.path = request_.target.path;
  facts.pid = request_.target.pid;
  facts.message = event.kind == WorkerEvent::Kind::kDied ? event.text : last_line_.substr(0, last_line_.find('\n'));
  facts.stage = stage_;
  facts.object = object_;
  WorkerEvent document;
  document.kind = WorkerEvent::Kind::kOut;
  document.text = engine::FaultDocument(request_.words, request_.standalone, facts);
  request_.words.clear();  // once
  if (document.text.empty()) return event;
  next_ = std::move(event);
  return document;
}

WorkerEvent WorkerClient::Read(int timeout_ms) {
  using Kind = WorkerEvent::Kind;
  WorkerEvent event;
  if (!alive_) return Died("the worker is gone");
  Channel::Received received = channel_.Receive(timeout_ms);
  if (received.status == Channel::Status::kNothing) return event;
  if (received.status == Channel::Status::kClosed) {
    const std::string end = Reap(true);
    return Died(fmt::format("pygc's worker (process {}) {}{}", pid_, end, stage_.empty() ? "" : " while " + OneSafeLine(stage_)));
  }
  const auto nonsense = [&]() {
    SendKill();
    Reap(true);
    return Died(fmt::format("pygc's worker (process {}) sent what no worker sends and was ended{}", pid_, stage_.empty() ? "" : ", while " + OneSafeLine(stage_)));
  };
  if (received.status == Channel::Status::kBroken) return nonsense();
  const Frame& frame = received.frame;
  switch (frame.type) {
    case MessageType::kOut:
    case MessageType::kErr:
      event.kind = frame.type == MessageType::kOut ? Kind::kOut : Kind::kErr;
      event.text = TextOf(frame);
      return event;
    case MessageType::kProgress: {
      Result<Progress> progress = DecodeProgress(frame);
      if (!progress) return nonsense();
      stage_ = progress->stage;
      event.kind = Kind::kProgress;
      event.progress = std::move(*progress);
      return event;
    }
    case MessageType::kDescribe:
      event.kind = Kind::kDescribe;
      return event;
    case MessageType::kRead: {
      const Result<ReadRequest> read = DecodeRead(frame);
      if (!read) return nonsense();
      event.kind = Kind::kRead;
      event.read = *read;
      return event;
    }
    case MessageType::kCopied: {
      const Result<std::uint64_t> copied = DecodeCopied(frame);
      if (!copied) return nonsense();
      event.kind = Kind::kCopied;
      event.seconds = static_cast<double>(*copied) * 1e-6;
      return event;
    }
    case MessageType::kDone: {
      const Result<std::int32_t> status = DecodeDone(frame);
      if (!status) return nonsense();
      event.kind = Kind::kDone;
      event.status = *status;
      busy_ = false;
      return event;
    }
    default: return nonsense();
  }
}

void WorkerClient::Cancel() { (void)channel_.Send(EncodeEmpty(MessageType::kCancel), kStallMs); }
void WorkerClient::OutputClosed() { (void)channel_.Send(EncodeEmpty(MessageType::kOutputClosed), kStallMs); }

void WorkerClient::SendDescription(const ServedDescription& description) {
  for (const Frame& frame : EncodeInParts(description))
    if (!channel_.Send(frame, kStallMs)) return;
}

void WorkerClient::SendMemory(std::uint64_t id, std::span<const std::byte> bytes) {
  MemoryReply reply;
  reply.id = id;
  reply.bytes.assign(bytes.begin(), bytes.end());
  (void)channel_.Send(Encode(reply), kStallMs);
}

void WorkerClient::Kill() {
  killed_ = true;
  SendKill();
}

void WorkerClient::SendKill() {
  if (!reaped_ && pid_ > 0) kill(pid_, SIGKILL);
}

std::string WorkerClient::Reap(bool give_time) {
  if (reaped_) return "is gone";
  if (!give_time) SendKill();
  int status = 0;
  pid_t got = 0;
  for (int waited_ms = 0; (got = waitpid(pid_, &status, WNOHANG)) == 0 || (got < 0 && errno == EINTR); waited_ms += 5) {
    if (waited_ms == 2000) SendKill();
    poll(nullptr, 0, waited_ms < 20 ? 1 : 5);
    if (waited_ms > 10000) break;  // stuck in the kernel: leave it
  }
  reaped_ = true;
  // GDB collects the status of every child of its process, ours included.
  if (got <= 0) return "has ended";
  if (WIFEXITED(status)) return fmt::format("ended by itself with status {}", WEXITSTATUS(status));
  const int number = WTERMSIG(status);
  const char* hint = "";
  if (number == SIGKILL) hint = " (by hand, or by the kernel: for want of memory, see --max-memory, or at the hard limit of processor time, ulimit -t)";
  if (number == SIGXCPU) hint = " (it had computed for long and got no further: a bug, or the limit of processor time, ulimit -t)";
  if (number == SIGALRM) hint = " (the time limit, --timeout, was over, and it did not stop by itself: a bug)";
  if (number == SIGBUS) hint = " (a file that it read was cut or its disk failed)";
  const char* name = sigabbrev_np(number);
  return fmt::format("was ended by signal {}{}{}", number, name != nullptr ? fmt::format(" SIG{}", name) : std::string(), hint);
}

int RunCommand(WorkerClient& worker, const CommandRequest& request, CommandHost& host) {
  if (const Result<void> begun = worker.Begin(request); !begun) {
    host.Err(fmt::format("pygc: {}\n", begun.error().message));
    return begun.error().code == ErrorCode::kLimit ? 2 : 6;
  }
  bool cancelled = false, out_open = true;
  Clock::time_point kill_at{};
  std::vector<std::byte> memory;
  for (;;) {
    const WorkerEvent event = worker.Next(100);
    switch (event.kind) {
      case WorkerEvent::Kind::kNothing: break;
      case WorkerEvent::Kind::kOut:
        if (out_open && !host.Out(event.text)) {
          out_open = false;
          worker.OutputClosed();
        }
        break;
      case WorkerEvent::Kind::kErr: host.Err(event.text); break;
      case WorkerEvent::Kind::kProgress: host.ShowProgress(event.progress); break;
      case WorkerEvent::Kind::kDescribe: worker.SendDescription(host.Describe()); break;
      case WorkerEvent::Kind::kRead:
        memory.resize(event.read.size);
        memory.resize(std::min<std::size_t>(memory.size(), cancelled ? 0 : host.Read(event.read.address, memory)));
        worker.SendMemory(event.read.id, memory);
        break;
      case WorkerEvent::Kind::kCopied: host.TargetCopied(event.seconds); break;
      case WorkerEvent::Kind::kDone: return event.status;
      case WorkerEvent::Kind::kDied:
        host.Err(fmt::format("pygc: {}; what it had finished by then is all that was printed\n", event.text));
        return 6;
    }
    const int interrupts = host.InterruptCount();
    if (interrupts > 0 && !cancelled) {
      cancelled = true;
      kill_at = Clock::now() + std::chrono::milliseconds(kCancelGraceMs);
      worker.Cancel();
    }
    if (cancelled && (interrupts > 1 || Clock::now() >= kill_at)) {
      worker.Kill();
      for (int i = 0; i < 20 && worker.is_alive(); ++i) (void)worker.Next(500);  // what it had sent before
      host.Err("pygc: interrupted; the worker did not stop in time and was ended\n");
      return 130;
    }
  }
}

}  // namespace pygc::worker
