#include "plugin/worker/server.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace pygc::worker {
namespace {

constexpr std::size_t kOutBlockBytes = 64u << 10;
constexpr auto kProgressEvery = std::chrono::milliseconds(100);
constexpr auto kPollEvery = std::chrono::milliseconds(20);

}  // namespace

void HostLink::Send(const Frame& frame) {
  if (gone_) return;
  NoteRunning(false);  // a host that does not read on makes the worker wait
  if (!channel_.Send(frame)) gone_ = true;
  NoteRunning(true);
}

void HostLink::Flush() {
  for (std::size_t at = 0; at < out_.size(); at += kMaxFrameBytes / 2)
    Send(EncodeBytes(MessageType::kOut, std::string_view(out_).substr(at, kMaxFrameBytes / 2)));
  out_.clear();
}

bool HostLink::Out(std::string_view bytes) {
  if (watchdog_ != nullptr) watchdog_->Note();
  out_ += bytes;
  if (out_.size() >= kOutBlockBytes) {
    Flush();
    Poll();
  }
  return !gone_ && !output_closed_;
}

void HostLink::Err(std::string_view bytes) {
  Flush();
  for (std::size_t at = 0; at < bytes.size(); at += kMaxFrameBytes / 2) Send(EncodeBytes(MessageType::kErr, bytes.substr(at, kMaxFrameBytes / 2)));
}

bool HostLink::Update(std::string_view stage, std::uint64_t done, std::uint64_t total) {
  if (watchdog_ != nullptr) watchdog_->Note();
  const auto now = Clock::now();
  if (stage != stage_ || now >= next_progress_) {
    stage_ = stage;
    next_progress_ = now + kProgressEvery;
    Send(Encode(Progress{std::string(stage.substr(0, 1000)), done, total}));
  }
  if (now >= next_poll_) {
    next_poll_ = now + kPollEvery;
    Poll();
  }
  return !cancelled_ && !gone_;
}

double HostLink::NoteCopied() {
  const auto took = Clock::now() - begun_;
  Send(EncodeCopied(static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(took).count())));
  return std::chrono::duration<double>(took).count();
}

void HostLink::Note(const Frame& frame) {
  if (frame.type == MessageType::kCancel) cancelled_ = true;
  else if (frame.type == MessageType::kOutputClosed) output_closed_ = true;
  else gone_ = true;  // no host of ours sends anything else now
}

void HostLink::Poll() {
  while (!gone_) {
    const Channel::Received received = channel_.Receive(0);
    if (received.status == Channel::Status::kNothing) return;
    if (received.status == Channel::Status::kFrame) Note(received.frame);
    else gone_ = true;
  }
}

Result<Frame> HostLink::Await(MessageType type) {
  for (;;) {
    if (gone_) return Fail(ErrorCode::kHost, "the host is gone");
    NoteRunning(false);
    Channel::Received received = channel_.Receive(-1);
    NoteRunning(true);
    if (received.status == Channel::Status::kNothing) continue;
    if (received.status != Channel::Status::kFrame) {
      gone_ = true;
    } else if (received.frame.type == type) {
      if (cancelled_) return Fail(ErrorCode::kCancelled, "interrupted");
      return std::move(received.frame);
    } else {
      Note(received.frame);
    }
  }
}

Result<ServedDescription> HostLink::Describe() {
  Flush();
  Send(EncodeEmpty(MessageType::kDescribe));
  ServedDescription whole;
  for (bool first = true;; first = false) {
    const Result<Frame> frame = Await(MessageType::kRegions);
    if (!frame) return tl::unexpected(frame.error());
    Result<ServedDescription> part = DecodeDescription(*frame);
    if (!part) return part;
    if (!part->error.empty()) return Fail(ErrorCode::kHost, "{}", part->error);
    if (whole.regions.size() + part->regions.size() > kMaxRegions || whole.threads.size() + part->threads.size() > kMaxThreads)
      return Fail(ErrorCode::kLimit, "the host serves more than {} regions or {} threads", kMaxRegions, kMaxThreads);
    const bool last = part->last;
    if (first) {
      whole = std::move(*part);
    } else {
      std::move(part->regions.begin(), part->regions.end(), std::back_inserter(whole.regions));
      whole.threads.insert(whole.threads.end(), part->threads.begin(), part->threads.end());
    }
    if (last) return whole;
  }
}

Result<std::size_t> HostLink::Read(Address from, std::span<std::byte> out) {
  std::size_t got = 0;
  while (got < out.size()) {
    const std::size_t step = std::min(out.size() - got, kMaxReadBytes);
    const std::uint64_t id = next_read_id_++;
    Send(Encode(ReadRequest{id, from + got, static_cast<std::uint32_t>(step)}));
    const Result<Frame> frame = Await(MessageType::kMemory);
    if (!frame) return tl::unexpected(frame.error());
    const Result<MemoryReply> reply = DecodeMemory(*frame);
    if (!reply) return tl::unexpected(reply.error());
    if (reply->id != id || reply->bytes.size() > step) return Fail(ErrorCode::kHost, "the host answered another read of memory than the one asked for");
    std::copy(reply->bytes.begin(), reply->bytes.end(), out.begin() + static_cast<std::ptrdiff_t>(got));
    got += reply->bytes.size();
    if (reply->bytes.size() < step) break;
  }
  if (got == 0 && !out.empty()) return FailAt(ErrorCode::kFault, from, "the debugger cannot read {} bytes at {:#x}", out.size(), from);
  return got;
}

int Serve(Channel& channel, Engine& engine, std::string_view version, Watchdog* watchdog) {
  const auto receive = [&] {
    Channel::Received received;
    do received = channel.Receive(-1);
    while (received.status == Channel::Status::kNothing);
    return received;
  };
  const Channel::Received first = receive();
  const Hello own{kProtocol, std::string(version)};
  if (first.status != Channel::Status::kFrame || !channel.Send(Encode(own))) return 1;
  const Result<Hello> hello = DecodeHello(first.frame);
  if (!hello || hello->protocol != own.protocol || hello->version != own.version) return 1;
  for (;;) {
    const Channel::Received received = receive();
    if (received.status != Channel::Status::kFrame) return 0;
    // A cancel that crossed the last kDone on its way is for nobody.
    if (received.frame.type == MessageType::kCancel || received.frame.type == MessageType::kOutputClosed) continue;
    const Result<CommandRequest> request = DecodeRequest(received.frame);
    if (!request) return 1;
    HostLink host(channel, watchdog);
    host.SetTimeout(0);
    if (watchdog != nullptr) watchdog->Run(true);
    const int status = engine.Run(*request, host);
    host.Flush();
    if (watchdog != nullptr) watchdog->Run(false);
    if (host.host_is_gone() || !channel.Send(EncodeDone(status))) return 0;
  }
}

bool PrepareWorkerProcess(int fd, int parent) {
  if (parent != 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) return false;  // it ended before that call
  }
  signal(SIGINT, SIG_IGN);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);  // a file that may grow no more is an error of its write
  if (getenv("PYGC_WORKER_STDERR") == nullptr) {
    const rlimit none{0, 0};
    setrlimit(RLIMIT_CORE, &none);
  }
  umask(077);
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  if (const int score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC); score >= 0) {
    [[maybe_unused]] const ssize_t n = write(score, "500", 3);
    close(score);
  }
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  return true;
}

Watchdog& StartWatchdog(int fd, SilenceLimits limits) { return *new Watchdog(fd, limits); }

}  // namespace pygc::worker
