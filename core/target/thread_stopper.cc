#include "core/target/thread_stopper.h"

#include <elf.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

#include "core/target/proc_files.h"

namespace pygc::target {
namespace {

constexpr std::chrono::microseconds kHoldProcessor{300};
constexpr int kMaxPasses = 1000;  // over the list of threads: a process that starts threads faster than they can be stopped

/// The state letter of a thread, or X when it is gone.
char StateOf(std::int32_t pid, std::int32_t tid) {
  const auto text = ReadProcFile(fmt::format("/proc/{}/task/{}/status", pid, tid));
  return text ? ParseStatus(*text).state : 'X';
}

}  // namespace

Result<bool> ThreadStopper::Seize(std::int32_t tid) {
  if (ptrace(PTRACE_SEIZE, tid, nullptr, nullptr) != 0) {
    const int error = errno;
    const char state = StateOf(pid_, tid);
    if (error == ESRCH || state == 'Z' || state == 'X') return false;  // it has just ended, or its leader has
    const auto status = ReadStatus(pid_);
    return Fail(ErrorCode::kNotPermitted, "cannot stop thread {} ({}): {}", tid, std::strerror(error), ExplainRefusal(pid_, status.value_or(ProcStatus{})));
  }
  if (held_.empty()) since_ = std::chrono::steady_clock::now();
  held_.push_back({tid});
  ptrace(PTRACE_INTERRUPT, tid, nullptr, nullptr);
  return true;
}

Result<void> ThreadStopper::WaitForAll(std::chrono::steady_clock::time_point deadline) {
  // Round by round: where the process is being killed, the end of its main thread is reported only after that of the others has been taken note of,
  // those included that had stopped already.
  for (unsigned round = 1;; ++round) {
    std::int32_t waiting = 0;  // a thread that runs still
    for (std::size_t i = 0; i < held_.size();) {
      Held& h = held_[i];
      int status = 0;
      const pid_t got = h.stopped && round % 64 != 0 ? 0 : waitpid(h.tid, &status, __WALL | WNOHANG);
      if (got == h.tid && WIFSTOPPED(status)) {
        h.stopped = true;
        const bool event = status >> 16 != 0;  // PTRACE_EVENT_STOP: the interrupt, or a group stop that was there before
        h.signal = event ? 0 : WSTOPSIG(status);
      } else if (got == h.tid || (got < 0 && errno != EINTR)) {
        held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(i));  // it ended
        continue;
      } else if (!h.stopped) {
        waiting = h.tid;
      }
      ++i;
    }
    if (waiting == 0) return {};
    if (std::chrono::steady_clock::now() > deadline) {
      const char state = StateOf(pid_, waiting);
      return Fail(ErrorCode::kNotPermitted, "thread {} of process {} did not stop (state {}{}): try again when its system call is over, or use a core",
                  waiting, pid_, state, state == 'D' ? ": it waits for a device or a network file system, or its control group is frozen" : "");
    }
    // Threads stop within 50 us where a processor is free. Where none is they wait for this one; whoever gives it up may be without it for a tick of 4 ms.
    if (std::chrono::steady_clock::now() - since_ > kHoldProcessor) std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
}

Result<void> ThreadStopper::Stop(std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  since_ = std::chrono::steady_clock::now();
  for (int pass = 0; pass < kMaxPasses; ++pass) {
    const auto tids = ListThreads(pid_);
    if (!tids) {
      Resume();
      return Fail(ErrorCode::kNotPermitted, "no process {}: it has just ended", pid_);
    }
    bool found_new = false;
    for (const std::int32_t tid : *tids) {
      if (std::any_of(held_.begin(), held_.end(), [&](const Held& h) { return h.tid == tid; })) continue;
      const auto seized = Seize(tid);
      if (!seized) {
        Resume();
        return tl::unexpected(seized.error());
      }
      found_new |= *seized;
    }
    if (auto waited = WaitForAll(deadline); !waited) {
      Resume();
      return waited;
    }
    if (found_new) continue;
    if (held_.empty()) return Fail(ErrorCode::kNotAnalysable, "process {} has no thread left to stop: it has ended", pid_);
    auto registers = ReadRegisters();
    if (!registers) Resume();
    return registers;
  }
  Resume();
  return Fail(ErrorCode::kNotPermitted, "process {} starts threads faster than they can be stopped: use a core (gcore {})", pid_, pid_);
}

Result<void> ThreadStopper::ReadRegisters() {
  for (const Held& h : held_) {
    Thread t;
    t.tid = h.tid;
    iovec out{t.registers.data(), sizeof t.registers};
    if (ptrace(PTRACE_GETREGSET, h.tid, NT_PRSTATUS, &out) == 0) {
      if (out.iov_len != sizeof t.registers) return Fail(ErrorCode::kNotAnalysable, "process {} is a 32-bit program; pygc reads x86-64 only", pid_);
      t.has_registers = true;
    }
    threads_.push_back(t);
  }
  return {};
}

void ThreadStopper::Resume() noexcept {
  constexpr int kTries = 10000;  // of 100 us
  std::reverse(held_.begin(), held_.end());  // the main thread last: its end is reported only when the others are gone
  for (Held& h : held_) {
    // A thread that has not stopped yet cannot be let go of; it is interrupted already, so it stops soon, or this program's end frees it.
    for (int i = 0; i < kTries; ++i) {
      if (h.stopped && ptrace(PTRACE_DETACH, h.tid, nullptr, static_cast<std::uintptr_t>(h.signal)) == 0) break;
      // Not stopped yet, or killed meanwhile: then it stays a zombie until its tracer has seen its end, and keeps its process from ending.
      int status = 0;
      const pid_t got = waitpid(h.tid, &status, __WALL | WNOHANG);
      if (got == h.tid && WIFSTOPPED(status)) {
        h.stopped = true;
        h.signal = status >> 16 != 0 ? 0 : WSTOPSIG(status);
      } else if (got != 0) {
        break;
      } else {
        usleep(100);
      }
    }
  }
  if (!held_.empty()) stopped_seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - since_).count();
  held_.clear();
}

}  // namespace pygc::target
