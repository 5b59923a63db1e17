#include "plugin/worker/core_owner.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "plugin/worker/client.h"

namespace pygc::worker {
namespace {

constexpr gid_t kNoGroup = 65534;

std::string Folder(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

bool MayReach(const std::string& path, int how) { return faccessat(AT_FDCWD, path.c_str(), how, AT_EACCESS) == 0; }

// A file that is not there is not reached by root either: it is the command's to say so.
bool MayRead(const std::string& path) {
  struct stat s {};
  if (path.empty()) return true;
  if (MayReach(path, R_OK)) return stat(path.c_str(), &s) != 0 || !S_ISDIR(s.st_mode) || MayReach(path, X_OK);
  return errno == ENOENT;
}

// A new file appears in its folder; one that is there is replaced there, and a device or pipe is written to.
bool MayWrite(const std::string& path) {
  struct stat s {};
  if (path.empty()) return true;
  if (stat(path.c_str(), &s) == 0 && !S_ISREG(s.st_mode)) return MayReach(path, W_OK);
  return MayReach(Folder(path), W_OK | X_OK) || errno == ENOENT;
}

// The first of the files that the user of the effective ids cannot reach; empty: all can be.
std::string OutOfReach(const std::string& core, const NamedFiles& named) {
  if (core != "-" && !MayRead(core)) return core;
  for (const std::string& path : named.read)
    if (!MayRead(path)) return path;
  for (const std::string& path : named.written)
    if (!MayWrite(path)) return path;
  const char* temporary = std::getenv("TMPDIR");  // packed cores are unpacked there
  if (temporary != nullptr && *temporary != '\0' && !MayWrite(std::string(temporary) + "/")) return temporary;
  return {};
}

}  // namespace

std::string BecomeOwnerOf(const std::string& core, const NamedFiles& named) {
  struct stat s {};
  if (geteuid() != 0 || (core == "-" ? fstat(STDIN_FILENO, &s) : stat(core.c_str(), &s)) != 0 || !S_ISREG(s.st_mode) || s.st_uid == 0) return {};
  const uid_t user = s.st_uid;
  const gid_t group = s.st_gid != 0 ? s.st_gid : kNoGroup;
  const auto stays = [&](const std::string& why) {
    return fmt::format("the core belongs to user {} and is read as root, {}; what is read as root can do what root can: run pygc as that user", user, why);
  };
  std::vector<gid_t> groups(static_cast<std::size_t>(std::max(0, getgroups(0, nullptr))));
  groups.resize(static_cast<std::size_t>(std::max(0, getgroups(static_cast<int>(groups.size()), groups.data()))));
  const auto is_root_again = [&] { return seteuid(0) == 0 && setegid(0) == 0 && (setgroups(groups.size(), groups.data()) == 0 || groups.empty()); };
  int parent_signal = 0;  // the kernel forgets it with a change of user
  prctl(PR_GET_PDEATHSIG, &parent_signal);
  const pid_t parent = getppid();
  // What the user can reach is tried as that user, with a way back. A thread of ours that runs meanwhile opens nothing.
  if (setgroups(0, nullptr) != 0 || setegid(group) != 0 || seteuid(user) != 0) {
    const int error = errno;
    static_cast<void>(is_root_again());  // it may be that nothing was changed, and that nothing can be
    if (geteuid() != 0) _exit(1);
    return stays(fmt::format("because the system does not let it become that user ({})", std::strerror(error)));
  }
  const std::string unreachable = OutOfReach(core, named);
  if (!is_root_again()) _exit(1);
  if (!unreachable.empty()) {
    prctl(PR_SET_PDEATHSIG, parent_signal);
    return stays(fmt::format("because that user cannot reach {}", OneSafeLine(unreachable)));
  }
  if (setgroups(0, nullptr) != 0 || setresgid(group, group, group) != 0 || setresuid(user, user, user) != 0) _exit(1);
  prctl(PR_SET_PDEATHSIG, parent_signal);
  if (parent_signal != 0 && getppid() != parent) _exit(0);
  return {};
}

}  // namespace pygc::worker
