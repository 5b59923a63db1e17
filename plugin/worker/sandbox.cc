#include "plugin/worker/sandbox.h"

#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>

#include <cerrno>
#include <memory>

namespace pygc::worker {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kHasSanitizer = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool kHasSanitizer = true;
#else
constexpr bool kHasSanitizer = false;
#endif
#else
constexpr bool kHasSanitizer = false;
#endif

// By what they are for. Names that a processor does not have are passed over.
constexpr const char* kAllowed[] = {
    // its own descriptors, and the channel to the host
    "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "close", "dup", "fcntl", "lseek", "poll", "ppoll", "select", "pselect6",
    "sendto", "recvfrom", "sendmsg", "recvmsg", "shutdown", "pipe2",
    // files: module files, the core, the report that is written
    "open", "openat", "openat2", "stat", "fstat", "lstat", "newfstatat", "statx", "fstatfs", "statfs", "access", "faccessat", "faccessat2", "readlink",
    "readlinkat", "getdents64", "getcwd", "chdir", "rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "ftruncate", "fallocate",
    "fsync", "fdatasync", "fchmod", "fchown", "umask", "flock", "fadvise64", "memfd_create", "utimensat",
    // memory
    "mmap", "munmap", "mprotect", "mremap", "madvise", "mincore", "msync", "brk", "mlock", "munlock", "get_mempolicy", "mbind", "set_mempolicy",
    // threads and time
    "futex", "futex_waitv", "set_robust_list", "set_tid_address", "rseq", "membarrier", "sched_yield", "sched_getaffinity", "sched_setaffinity",
    "sched_getparam", "sched_getscheduler", "getcpu", "getpriority", "setpriority", "nanosleep", "clock_nanosleep", "clock_gettime", "clock_getres",
    "gettimeofday", "time", "times", "restart_syscall", "exit", "exit_group",
    // signals to itself; a library that aborts
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigtimedwait", "sigaltstack", "tgkill",
    // who and where it is
    "getpid", "gettid", "getppid", "getuid", "geteuid", "getgid", "getegid", "getgroups", "getrandom", "prlimit64", "getrlimit", "setrlimit", "getrusage",
    "sysinfo", "uname", "prctl", "arch_prctl", "capget",
    // a narrower filter
    "seccomp",
};

constexpr const char* kOtherProcesses[] = {"ptrace", "process_vm_readv", "wait4", "waitid", "kill", "pidfd_open", "pidfd_getfd"};

struct Release {
  void operator()(void* filter) const { seccomp_release(static_cast<scmp_filter_ctx>(filter)); }
};

bool Allow(scmp_filter_ctx filter, const char* name) {
  const int number = seccomp_syscall_resolve_name(name);
  return number == __NR_SCMP_ERROR || number < 0 || seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0) == 0;
}

// The library's macros for this (SCMP_A0) are C.
bool AllowWhere(scmp_filter_ctx filter, int number, scmp_arg_cmp argument) { return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, 1, &argument) == 0; }

bool LoadFilter(bool other_processes) {
  const std::unique_ptr<void, Release> owner(seccomp_init(SCMP_ACT_ERRNO(ENOSYS)));
  scmp_filter_ctx filter = owner.get();
  if (filter == nullptr) return false;
  bool good = true;
  for (const char* name : kAllowed) good = good && Allow(filter, name);
  if (other_processes)
    for (const char* name : kOtherProcesses) good = good && Allow(filter, name);
  // A thread, not a process. clone3 hides its flags from a filter: without it the C library uses clone.
  constexpr std::uint64_t kCloneThread = 0x00010000;
  good = good && AllowWhere(filter, SCMP_SYS(clone), {0, SCMP_CMP_MASKED_EQ, kCloneThread, kCloneThread});
  // Only what asks a terminal for its kind and size.
  for (const std::uint64_t request : {std::uint64_t{TCGETS}, std::uint64_t{TIOCGWINSZ}})
    good = good && AllowWhere(filter, SCMP_SYS(ioctl), {1, SCMP_CMP_EQ, request, 0});
  return good && seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1) == 0 && seccomp_load(filter) == 0;
}

// A core's file is mapped, not copied: private memory is what the analysis itself takes. More than the machine has would only drive it into swapping.
void BoundPrivateMemory() {
  struct sysinfo machine{};
  if (sysinfo(&machine) != 0) return;
  const rlim_t all = static_cast<rlim_t>(machine.totalram + machine.totalswap) * machine.mem_unit;
  rlimit now{};
  if (getrlimit(RLIMIT_DATA, &now) != 0 || (now.rlim_cur != RLIM_INFINITY && now.rlim_cur <= all)) return;
  now.rlim_cur = now.rlim_max = all;
  setrlimit(RLIMIT_DATA, &now);
}

}  // namespace

bool Confine(Confinement how) {
  if (kHasSanitizer || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return false;
  if (how == Confinement::kCoreOnly) BoundPrivateMemory();
  return LoadFilter(how == Confinement::kWorker);
}

}  // namespace pygc::worker
