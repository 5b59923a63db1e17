// The worker's stacks below a small RLIMIT_STACK: in a child, which is as a process that was started with it.
#include "plugin/worker/stack.h"

#include <doctest/doctest.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <stdexcept>
#include <thread>

namespace {

// Touches `megabytes` of the stack, and returns how many those were.
[[gnu::noinline]] int UseStack(int megabytes) {
  std::array<volatile char, 1u << 20> block;
  for (std::size_t i = 0; i < block.size(); i += 1024) block[i] = 1;
  return megabytes <= 1 ? block[1024] : UseStack(megabytes - 1) + block[2048];
}

// The exit status of a child in which `work` ran below a limit of 128 KiB; the signal it died of, negative.
int BelowSmallLimit(rlim_t hard, int (*work)()) {
  const pid_t child = fork();
  if (child == 0) {
    const rlimit small{128u << 10, hard};
    setrlimit(RLIMIT_STACK, &small);
    pthread_attr_t attributes;  // as the C library sets it at the start of a program
    if (pthread_getattr_default_np(&attributes) != 0 || pthread_attr_setstacksize(&attributes, 128u << 10) != 0 || pthread_setattr_default_np(&attributes) != 0) _exit(100);
    try {
      _exit(work());
    } catch (const std::runtime_error&) {
      _exit(102);
    }
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

int InCaller() {
  return pygc::worker::WithWholeStack([] { return UseStack(4); });
}

int InAnotherThread() {
  return pygc::worker::WithWholeStack([] {
    int used = 0;
    std::thread([&used] { used = UseStack(5); }).join();
    return used;
  });
}

int Throws() {
  return pygc::worker::WithWholeStack([]() -> int { throw std::runtime_error("passed on"); });
}

}  // namespace

TEST_CASE("a worker has its whole stack below any limit, in all threads") {
  rlimit now{};
  REQUIRE(getrlimit(RLIMIT_STACK, &now) == 0);
  for (const rlim_t hard : {rlim_t{128u << 10}, now.rlim_max}) {
    CAPTURE(hard);
    CHECK(BelowSmallLimit(hard, InCaller) == 4);
    CHECK(BelowSmallLimit(hard, InAnotherThread) == 5);
    CHECK(BelowSmallLimit(hard, Throws) == 102);
  }
}

TEST_CASE("a worker's whole stack: what ran is what comes back") { CHECK(pygc::worker::WithWholeStack([] { return 3; }) == 3); }
