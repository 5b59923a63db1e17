// Root and the cores of others, tried in children, each of which says by its status what it became.
#include "plugin/worker/core_owner.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <string>
#include <thread>

using pygc::worker::BecomeOwnerOf;
using pygc::worker::NamedFiles;

namespace {

constexpr uid_t kOther = 65534;
enum : int { kRootStill = 10, kOtherNow = 11, kMixed = 12, kWarned = 100 };  // kWarned is added

int WhoAmI() {
  uid_t real = 0, effective = 0, saved = 0;
  gid_t real_group = 0, effective_group = 0, saved_group = 0;
  if (getresuid(&real, &effective, &saved) != 0 || getresgid(&real_group, &effective_group, &saved_group) != 0) return kMixed;
  if (real == 0 && effective == 0 && saved == 0 && real_group == 0 && effective_group == 0) return kRootStill;
  const bool way_back = setuid(0) == 0 || seteuid(0) == 0 || setgid(0) == 0 || getgroups(0, nullptr) != 0;
  return real == kOther && effective == kOther && saved == kOther && effective_group == saved_group && effective_group != 0 && !way_back ? kOtherNow : kMixed;
}

int InChild(const std::function<int()>& what) {
  const pid_t child = fork();
  if (child == 0) _exit(what());
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  return WEXITSTATUS(status);
}

int Becomes(const std::string& core, const NamedFiles& named = {}) {
  return InChild([&] {
    const std::string warning = BecomeOwnerOf(core, named);
    return WhoAmI() + (warning.empty() ? 0 : kWarned);
  });
}

// A folder that everybody may enter, with a file of the other user in it and a folder that only root may.
struct Place {
  std::string folder, core, closed;
  Place() {
    char name[] = "/tmp/pygc-owner-XXXXXX";
    REQUIRE(mkdtemp(name) != nullptr);
    folder = name;
    chmod(name, 0711);
    core = Make("core", kOther, 0600);
    closed = folder + "/closed";
    mkdir(closed.c_str(), 0700);
  }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  ~Place() {
    for (const char* file : {"/core", "/roots", "/closed/core", "/closed/file"}) unlink((folder + file).c_str());
    rmdir(closed.c_str());
    rmdir(folder.c_str());
  }
  [[nodiscard]] std::string Make(const std::string& name, uid_t owner, mode_t mode) const {
    std::string path = folder + "/" + name;
    close(open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    chmod(path.c_str(), mode);
    REQUIRE(chown(path.c_str(), owner, owner) == 0);
    return path;
  }
};

}  // namespace

TEST_CASE("who is not root stays who it is") {
  if (geteuid() == 0) {
    CHECK(InChild([] {
            if (setresuid(kOther, kOther, kOther) != 0) return 1;
            return BecomeOwnerOf("/etc/passwd", {}).empty() && BecomeOwnerOf("/proc/1/status", {}).empty() && geteuid() == kOther ? 0 : 2;
          }) == 0);
  } else {
    CHECK(BecomeOwnerOf("/etc/passwd", {}).empty());
  }
}

TEST_CASE("root becomes the owner of a core for good, in every thread, and the end of its parent still ends it") {
  if (geteuid() != 0) return;  // only root can become somebody
  const Place place;
  CHECK(Becomes(place.core) == kOtherNow);
  CHECK(Becomes(place.core, {{"", "/usr", "/etc/passwd", place.folder + "/not-there"}, {"", "/dev/null", "/tmp/pygc-owner-report"}}) == kOtherNow);
  CHECK(InChild([&] {
          int status = 0;
          std::thread([&status, go = &place.core] {
            if (!BecomeOwnerOf(*go, {}).empty()) status = 1;
          }).join();
          return status == 0 ? WhoAmI() : 1;
        }) == kOtherNow);
  CHECK(InChild([&] {
          prctl(PR_SET_PDEATHSIG, SIGKILL);
          static_cast<void>(BecomeOwnerOf(place.core, {}));
          int number = 0;
          prctl(PR_GET_PDEATHSIG, &number);
          return number;
        }) == SIGKILL);
  CHECK(InChild([&] {  // piped in as a file
          const int fd = open(place.core.c_str(), O_RDONLY | O_CLOEXEC);
          return dup2(fd, STDIN_FILENO) == STDIN_FILENO && BecomeOwnerOf("-", {}).empty() ? WhoAmI() : 1;
        }) == kOtherNow);
}

TEST_CASE("root stays root, with a warning, where the owner cannot reach what the command names; without one where the core is root's own or there is none") {
  if (geteuid() != 0) return;
  const Place place;
  const std::string hidden = place.Make("closed/core", kOther, 0600), secret = place.Make("closed/file", 0, 0644);
  CHECK(Becomes(hidden) == kRootStill + kWarned);
  CHECK(Becomes(place.core, {{secret}, {}}) == kRootStill + kWarned);
  CHECK(Becomes(place.core, {{place.closed}, {}}) == kRootStill + kWarned);
  CHECK(Becomes(place.core, {{}, {place.closed + "/report.html"}}) == kRootStill + kWarned);
  CHECK(Becomes(place.core, {{}, {place.folder + "/report.html"}}) == kRootStill + kWarned);  // may enter, may not write
  CHECK(Becomes(place.Make("roots", 0, 0644)) == kRootStill);
  CHECK(Becomes(place.folder + "/not-there") == kRootStill);
  CHECK(Becomes("/dev/null") == kRootStill);
  const std::string warning = BecomeOwnerOf(hidden, {});
  CHECK(warning.find("user 65534") != std::string::npos);
  CHECK(warning.find(hidden) != std::string::npos);
  CHECK(InChild([&] {  // other groups come back
          const gid_t more[] = {7, 8};
          if (setgroups(2, more) != 0 || BecomeOwnerOf(hidden, {}).empty()) return 1;
          return getgroups(0, nullptr) == 2 ? 0 : 2;
        }) == 0);
}
