#include "plugin/worker/watchdog.h"

#include <poll.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>

namespace pygc::worker {
namespace {

constexpr auto kAfterHost = std::chrono::seconds(10);  // long after a loop that does ask would have ended
constexpr auto kForLastWords = std::chrono::milliseconds(500);
constexpr double kLongest = 1e9;

double Seconds(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

// The host tells its user what the signal means (WorkerClient::Reap). The thread that runs commands is asked first: it can say which object it is at.
[[noreturn]] void EndBy(int number, pthread_t commands) {
  pthread_kill(commands, number);
  std::this_thread::sleep_for(kForLastWords);
  signal(number, SIG_DFL);
  sigset_t one;
  sigemptyset(&one);
  sigaddset(&one, number);
  pthread_sigmask(SIG_UNBLOCK, &one, nullptr);
  raise(number);
  _exit(1);
}

}  // namespace

SilenceRule::Verdict SilenceRule::Judge(const Look& look) {
  const bool quiet = has_last_ && !look.idle && !last_.idle && look.signs == last_.signs;
  if (!quiet) {
    computed_ = 0;
    silent_since_ = look.now;
  } else {
    // A look that comes late saw no more than one thread's work of it.
    computed_ += std::clamp(look.processor - last_.processor, 0.0, std::max(0.0, look.now - last_.now));
  }
  last_ = look;
  has_last_ = true;
  if (computed_ >= limits_.computing_seconds) return Verdict::kComputesWithoutEnd;
  const bool late = quiet && look.deadline > 0 && look.now - std::max(silent_since_, look.deadline) >= limits_.after_deadline_seconds;
  return late ? Verdict::kDoesNotHeedDeadline : Verdict::kGoesOn;
}

Watchdog::Watchdog(int host, SilenceLimits limits) : rule_(limits), look_ms_(limits.look_ms), commands_(pthread_self()) {
  std::thread([this, host] { Watch(host); }).detach();
}

void Watchdog::SetTimeout(double seconds) noexcept {
  deadline_.store(seconds > 0 ? Seconds(CLOCK_MONOTONIC) + std::min(seconds, kLongest) : 0, std::memory_order_relaxed);
}

void Watchdog::Watch(int host) {
  for (;;) {
    pollfd p{host, 0, 0};  // nothing but the hang-up
    if (poll(&p, 1, look_ms_) > 0) {
      std::this_thread::sleep_for(kAfterHost);
      _exit(1);
    }
    SilenceRule::Look look;
    look.now = Seconds(CLOCK_MONOTONIC);
    look.processor = Seconds(CLOCK_PROCESS_CPUTIME_ID);
    look.signs = signs_.load(std::memory_order_relaxed);
    look.idle = !runs_.load(std::memory_order_relaxed);
    look.deadline = deadline_.load(std::memory_order_relaxed);
    switch (rule_.Judge(look)) {
      case SilenceRule::Verdict::kGoesOn: break;
      case SilenceRule::Verdict::kComputesWithoutEnd: EndBy(SIGXCPU, commands_);
      case SilenceRule::Verdict::kDoesNotHeedDeadline: EndBy(SIGALRM, commands_);
    }
  }
}

}  // namespace pygc::worker
