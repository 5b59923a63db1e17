// What the filter forbids, tried in children: each returns the errno of the call, 0 where it worked.
#include "plugin/worker/sandbox.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <thread>

using namespace pygc::worker;

namespace {

constexpr int kNoFilter = 254;

// The status of a child that confined itself and then did `what`.
int Inside(Confinement how, const std::function<int()>& what) {
  const pid_t child = fork();
  if (child == 0) _exit(Confine(how) ? what() : kNoFilter);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  return WEXITSTATUS(status);
}

int ErrnoOf(long result) { return result < 0 ? errno : 0; }

int ReadOfParent() {
  static char here = 'x';
  char copy = 0;
  iovec to{&copy, 1}, from{&here, 1};
  return ErrnoOf(process_vm_readv(getppid(), &to, 1, &from, 1, 0));
}

}  // namespace

TEST_CASE("a confined worker starts nothing, talks to nobody, and still works") {
  if (Inside(Confinement::kWorker, [] { return 0; }) == kNoFilter) {
    MESSAGE("no filter here: a build with sanitizers, or a kernel without seccomp");
    return;
  }
  for (const Confinement how : {Confinement::kWorker, Confinement::kCoreOnly}) {
    CAPTURE(static_cast<int>(how));
    CHECK(Inside(how, [] { return ErrnoOf(socket(AF_INET, SOCK_STREAM, 0)); }) == ENOSYS);
    CHECK(Inside(how, [] { return ErrnoOf(socket(AF_UNIX, SOCK_STREAM, 0)); }) == ENOSYS);
    CHECK(Inside(how, [] { return ErrnoOf(fork()); }) == ENOSYS);
    CHECK(Inside(how, [] { return ErrnoOf(execl("/bin/true", "true", nullptr)); }) == ENOSYS);
    CHECK(Inside(how, [] { return ErrnoOf(unshare(CLONE_NEWUSER)); }) == ENOSYS);
    CHECK(Inside(how, [] { return ErrnoOf(chmod("/nowhere/at/all", 0777)); }) == ENOSYS);
    CHECK(Inside(how, [] {
            int seen = 0;
            std::thread([&seen] { seen = ErrnoOf(socket(AF_INET, SOCK_STREAM, 0)); }).join();  // threads start, and are confined too
            return seen;
          }) == ENOSYS);
    CHECK(Inside(how, [] { return ErrnoOf(open("/proc/self/maps", O_RDONLY)); }) == 0);
    CHECK(Inside(how, [] { return mmap(nullptr, 1u << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? errno : 0; }) == 0);
  }
}

TEST_CASE("the narrow filter takes other processes away, and more memory than the machine has") {
  if (Inside(Confinement::kWorker, [] { return 0; }) == kNoFilter) return;
  CHECK(Inside(Confinement::kWorker, ReadOfParent) != ENOSYS);
  CHECK(Inside(Confinement::kCoreOnly, ReadOfParent) == ENOSYS);
  CHECK(Inside(Confinement::kCoreOnly, [] { return ErrnoOf(ptrace(PTRACE_SEIZE, getppid(), nullptr, nullptr)); }) == ENOSYS);
  CHECK(Inside(Confinement::kCoreOnly, [] { return ErrnoOf(kill(getppid(), 0)); }) == ENOSYS);
  CHECK(Inside(Confinement::kCoreOnly, [] { return mmap(nullptr, std::size_t{1} << 44, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? errno : 0; }) ==
        ENOMEM);
  CHECK(Inside(Confinement::kWorker, [] { return Confine(Confinement::kCoreOnly) ? ReadOfParent() : kNoFilter; }) == ENOSYS);
}
