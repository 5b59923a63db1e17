#include "plugin/worker/self_test.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>
#include <set>
#include <string>

#include "core/target/open.h"
#include "plugin/worker/client.h"

namespace pygc::worker {
namespace {

using engine::SelfTestCheck;
using engine::SelfTestSection;
using State = SelfTestCheck::State;

constexpr int kPatienceMs = 15000;  // for one program to answer
constexpr std::size_t kMostInterpreters = 16;
constexpr const char* kUsage = "usage: pygc COMMAND";  // what a debugger prints that has the command, and the worker behind it
constexpr const char* kPlanted = "PygcSelfTestCycle";

std::string FirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::vector<std::string> SearchPath() {
  const char* path = std::getenv("PATH");
  std::vector<std::string> folders;
  const std::string all = path != nullptr && *path != 0 ? path : "/usr/local/bin:/usr/bin:/bin";
  for (std::size_t at = 0; at <= all.size();) {
    const std::size_t end = std::min(all.find(':', at), all.size());
    if (end > at && all[at] == '/') folders.push_back(all.substr(at, end - at));  // not "", not ".": nothing from where the dump lies
    at = end + 1;
  }
  return folders;
}

std::string OnPath(const std::string& name) {
  for (const std::string& folder : SearchPath())
    if (const std::string file = folder + "/" + name; access(file.c_str(), X_OK) == 0) return file;
  return {};
}

/// A program with its standard output and error in a pipe; killed at the end, if it is still there, with all that it has started.
class Program {
 public:
  explicit Program(const std::vector<std::string>& words) {
    int to[2], from[2];
    if (pipe2(to, O_CLOEXEC) != 0) {
      error_ = errno;
      return;
    }
    if (pipe2(from, O_CLOEXEC) != 0) {
      error_ = errno;
      close(to[0]), close(to[1]);
      return;
    }
    std::vector<char*> arguments;
    for (const std::string& w : words) arguments.push_back(const_cast<char*>(w.c_str()));
    arguments.push_back(nullptr);
    pid_ = fork();
    if (pid_ < 0) error_ = errno;
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      setsid();  // a group of its own, and no terminal to ask
      dup2(to[0], STDIN_FILENO), dup2(from[1], STDOUT_FILENO), dup2(from[1], STDERR_FILENO);
      signal(SIGINT, SIG_DFL), signal(SIGPIPE, SIG_DFL);
      execv(arguments[0], arguments.data());
      _exit(127);
    }
    close(to[0]), close(from[1]);
    input_ = to[1], output_ = from[0];
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program() {
    if (input_ >= 0) close(input_);
    if (output_ >= 0) close(output_);
    if (pid_ > 0) {
      kill(-pid_, SIGKILL), kill(pid_, SIGKILL);  // the second: it may not have come to setsid yet
      waitpid(pid_, nullptr, 0);
    }
  }
  [[nodiscard]] pid_t pid() const { return pid_; }
  /// Why it was not started; 0: it was.
  [[nodiscard]] int error() const { return error_; }

  /// What it prints until `until` was seen (empty: until it ends), or patience ends.
  std::string Output(std::string_view until) {
    using Clock = std::chrono::steady_clock;
    const Clock::time_point end = Clock::now() + std::chrono::milliseconds(kPatienceMs);
    std::string said;
    if (error_ != 0) return said;
    while (said.size() < 65536 && (until.empty() || said.find(until) == std::string::npos)) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
      pollfd p{output_, POLLIN, 0};
      if (left <= 0 || poll(&p, 1, static_cast<int>(left)) <= 0) break;
      char block[4096];
      const ssize_t n = read(output_, block, sizeof block);
      if (n <= 0) break;
      said.append(block, static_cast<std::size_t>(n));
    }
    return said;
  }

 private:
  pid_t pid_ = -1;
  int input_ = -1, output_ = -1;
  int error_ = 0;
};

// "/usr/bin/lldb: cannot be started: Too many open files", or what it said instead of what was looked for.
std::string Silence(const std::string& path, const Program& program, const std::string& said) {
  if (program.error() != 0) return fmt::format("{}: cannot be started: {}", OneSafeLine(path), std::strerror(program.error()));
  const std::string shown = OneSafeLine(said.substr(0, 200));
  return fmt::format("{} --version {}", OneSafeLine(path), shown.empty() ? "says nothing" : "says no version: " + shown);
}

class StringOutput final : public engine::OutputSink {
 public:
  bool Out(std::string_view bytes) override {
    out.append(bytes);
    return true;
  }
  void Err(std::string_view bytes) override { err.append(bytes); }
  std::string out, err;
};

// The proof: a process with a cycle that nothing reaches, read live.
// nullopt: it is no interpreter, or is the same program as one in `tried` under another name.
std::optional<SelfTestCheck> TryInterpreter(const std::string& name, std::set<std::string>* tried) {
  SelfTestCheck c{State::kFails, {}, {}, {}};
  const std::string code = fmt::format(
      "import gc, sys\ngc.disable()\nclass {0}(object): pass\nx = {0}()\nx.me = x\ndel x\n"
      "sys.stdout.write('%s PyGC-READY\\n' % sys.version.split()[0])\nsys.stdout.flush()\nsys.stdin.read()\n",
      kPlanted);
  Program program({name, "-E", "-S", "-c", code});
  const std::string said = program.Output("PyGC-READY\n");
  const std::size_t ready = said.find(" PyGC-READY");
  if (program.error() != 0 && tried->insert(name).second) {
    c.subject = "CPython";
    c.finding = Silence(name, program, said);
    return c;
  }
  if (ready == std::string::npos) return std::nullopt;
  char real[PATH_MAX];
  const ssize_t length = readlink(fmt::format("/proc/{}/exe", program.pid()).c_str(), real, sizeof real);
  const std::string path = OneSafeLine(length > 0 ? std::string(real, static_cast<std::size_t>(length)) : name);
  if (!tried->insert(path).second) return std::nullopt;
  c.subject = "CPython " + OneSafeLine(said.substr(0, ready));
  const std::vector<std::string> words = {"-p", std::to_string(program.pid()), "leaks", "--limit", "0"};
  const Result<engine::Request> request = engine::ParseCommandLine(words, /*standalone=*/true);
  SilentProgress silent;
  Result<target::Process> process = target::CaptureLive(program.pid(), request->target.open, silent);
  if (!process) {
    c.finding = fmt::format("{}: {}", path, OneSafeLine(process.error().message));
    return c;
  }
  StringOutput output;
  const double pause = process->pause_seconds;
  engine::Session session(std::move(*process), request->limits);
  const int status = session.Run(*request, {}, output, silent);
  const bool found = output.out.find(kPlanted) != std::string::npos;
  if (status == 0 || status == 1) c.state = found ? State::kWorks : State::kFails;
  c.finding = found ? fmt::format("{}: read live, the planted cycle was found; it stood still for {:.1f} ms", path, pause * 1e3)
                    : fmt::format("{}: read live, exit status {}: {}", path, status, OneSafeLine(output.err.empty() ? "the planted cycle was not found" : output.err));
  if (status == 3) c.state = State::kLimited;
  return c;
}

std::vector<std::string> Interpreters() {
  std::vector<std::string> names = {"python3", "python", "python2.7"};
  for (int minor = 6; minor <= 15; ++minor) names.push_back(fmt::format("python3.{}", minor));
  std::vector<std::string> found;
  std::set<std::string> seen;
  for (const std::string& name : names) {
    const std::string path = OnPath(name);
    char real[PATH_MAX];
    if (path.empty() || realpath(path.c_str(), real) == nullptr || !seen.insert(real).second || found.size() >= kMostInterpreters) continue;
    found.push_back(path);
  }
  return found;
}

bool HasCapability(unsigned number) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind("CapEff:", 0) == 0) return (std::strtoull(line.c_str() + 7, nullptr, 16) >> number & 1) != 0;
  return false;
}

SelfTestCheck Attach() {
  constexpr unsigned kCapSysPtrace = 19;
  const std::string scope = FirstLine("/proc/sys/kernel/yama/ptrace_scope");
  SelfTestCheck c{State::kWorks, "attach to a process", {}, {}};
  if (HasCapability(kCapSysPtrace)) {
    c.finding = "every process (CAP_SYS_PTRACE)";
    if (scope == "3") c.state = State::kFails, c.finding = "kernel.yama.ptrace_scope is 3: nobody may attach until the machine is restarted", c.remedy = "take cores instead: ulimit -c unlimited";
  } else if (scope.empty() || scope == "0") {
    c.finding = fmt::format("your own processes (uid {})", geteuid());
    c.remedy = "for those of others: run pygc as root";
  } else {
    c.state = scope == "1" ? State::kLimited : State::kFails;
    c.finding = fmt::format("kernel.yama.ptrace_scope is {}: {}", scope, scope == "1" ? "only processes that pygc itself started" : "only with CAP_SYS_PTRACE");
    c.remedy = "run pygc as root, or: sudo sysctl kernel.yama.ptrace_scope=0";
  }
  return c;
}

std::string Size(std::uint64_t bytes) {
  return bytes >> 30 != 0 ? fmt::format("{:.1f} GB", static_cast<double>(bytes) / 1e9) : fmt::format("{} MB", bytes / 1000000);
}

SelfTestCheck CoreLimit() {
  // The worker's own soft limit is 0 on purpose: the host's is asked for.
  std::ifstream limits(fmt::format("/proc/{}/limits", getppid()));
  std::string soft = "unknown", hard = "unknown";
  for (std::string line; std::getline(limits, line);)
    if (line.rfind("Max core file size", 0) == 0) {
      std::string_view rest(line);
      rest.remove_prefix(std::min<std::size_t>(rest.size(), 26));
      const auto word = [&rest] {
        rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
        const std::string_view w = rest.substr(0, rest.find(' '));
        rest.remove_prefix(w.size());
        return std::string(w);
      };
      soft = word(), hard = word();
    }
  SelfTestCheck c{State::kWorks, "size of cores", fmt::format("soft limit {}, hard limit {} for what is started from here", soft, hard), {}};
  if (soft != "unlimited") {
    c.state = soft == "0" ? State::kFails : State::kLimited;
    c.finding += soft == "0" ? ": the kernel writes none" : ": larger ones are cut";
    c.remedy = hard == "0" ? "raise the hard limit first (/etc/security/limits.conf, LimitCORE= of the systemd unit)" : "ulimit -c unlimited; LimitCORE=infinity in a systemd unit";
  }
  return c;
}

SelfTestCheck CorePattern() {
  const std::string pattern = FirstLine("/proc/sys/kernel/core_pattern");
  SelfTestCheck c{State::kWorks, "where cores go", {}, {}};
  if (pattern.empty()) return {State::kLimited, "where cores go", "/proc/sys/kernel/core_pattern is not readable or empty", "sysctl kernel.core_pattern=core.%p"};
  if (pattern[0] != '|') {
    c.finding = pattern[0] == '/' ? fmt::format("files like {}", pattern) : fmt::format("files like {} in the folder of the process that dies", pattern);
    return c;
  }
  const std::string program = pattern.substr(1, pattern.find(' ') - 1);
  c.finding = "given to " + program;
  if (program.find("systemd-coredump") != std::string::npos) {
    c.finding += "; coredumpctl list shows them";
    c.remedy = "coredumpctl dump PID -o core, then pygc -c core leaks (its .zst files are read too); large ones are cut by ProcessSizeMax= in coredump.conf";
  } else if (access(program.c_str(), X_OK) != 0) {
    c.state = State::kFails;
    c.finding += ", which is not there: cores are lost";
    c.remedy = "sysctl kernel.core_pattern=core.%p";
  } else {
    c.remedy = "if you do not find them there: sysctl kernel.core_pattern=core.%p";
  }
  return c;
}

SelfTestCheck CoreFilter() {
  const std::string text = FirstLine(fmt::format("/proc/{}/coredump_filter", getppid()));
  const std::uint64_t filter = std::strtoull(text.c_str(), nullptr, 16);
  SelfTestCheck c{State::kWorks, "what cores hold", fmt::format("coredump_filter 0x{:x}", filter), {}};
  if (text.empty()) return {State::kLimited, c.subject, "coredump_filter is not readable", {}};
  if ((filter & 1) == 0) {
    c.state = State::kFails;
    c.finding += ": without private memory, in which all objects lie";
    c.remedy = "echo 0x33 > /proc/PID/coredump_filter before the crash; children inherit it";
  } else if ((filter & 4) == 0) {
    c.finding += ": code and constants of files are left out and come from the files, if they are still the same";
    c.remedy = "for cores that are read elsewhere: echo 0x37 > /proc/PID/coredump_filter before the crash; children inherit it";
  } else {
    c.finding += ": whole";
  }
  return c;
}

// What stands behind `after` in the line of --version that has it; nullopt, and why in `reason`: there is none.
std::optional<std::string> VersionOf(const std::vector<std::string>& words, std::string_view after, std::string* reason) {
  Program program(words);
  const std::string said = program.Output("");
  const std::size_t at = said.find(after);
  if (at == std::string::npos) {
    *reason = Silence(words[0], program, said);
    return std::nullopt;
  }
  const std::size_t begin = at + after.size();
  return said.substr(begin, said.find('\n', begin) - begin);
}

std::string BesidePygc(const std::string& file) {
  char self[PATH_MAX];
  const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
  if (n <= 0) return {};
  const std::string folder(self, static_cast<std::size_t>(n));
  const std::string root = folder.substr(0, folder.rfind('/', folder.rfind('/') - 1));
  for (const char* lib : {"/lib/", "/lib/pygc/"})
    if (access((root + lib + file).c_str(), R_OK) == 0) return root + lib + file;
  return {};
}

void Lldbs(SelfTestSection* section) {
  const std::string plugin = BesidePygc("pygc_lldb.so");
  std::set<std::string> seen;
  std::vector<std::string> names = {"lldb"};
  for (int v = 14; v <= 30; ++v) names.push_back(fmt::format("lldb-{}", v));
  for (const std::string& name : names) {
    const std::string path = OnPath(name);
    char real[PATH_MAX];
    if (path.empty() || realpath(path.c_str(), real) == nullptr || !seen.insert(real).second) continue;
    std::string reason;
    std::optional<std::string> version = VersionOf({path, "--version"}, "lldb version ", &reason);
    if (!version) {
      section->checks.push_back({State::kFails, "LLDB", reason, {}});
      continue;
    }
    version->resize(std::min(version->find(' '), version->size()));
    SelfTestCheck c{State::kWorks, "LLDB " + OneSafeLine(*version), {}, {}};
    if (plugin.empty()) {
      c.state = State::kFails, c.finding = "pygc_lldb.so is neither in ../lib nor in ../lib/pygc of this program's folder";
      c.remedy = "install liblldb-dev and build again, or install the package pygc-lldb";
    } else {
      const std::string said = Program({path, "--no-lldbinit", "--batch", "-o", "plugin load " + plugin, "-o", "pygc --help"}).Output("");
      const bool works = said.find(kUsage) != std::string::npos;
      const std::size_t line = std::min(said.find("error:"), said.find("pygc:"));
      c.state = works ? State::kWorks : State::kFails;
      c.finding = works ? "loads " + plugin : "does not load the plugin: " + OneSafeLine(line == std::string::npos ? said.substr(0, 200) : said.substr(line, said.find('\n', line) - line));
      if (!works) c.remedy = fmt::format("build for this LLDB: -DPYGC_LLDB_VERSION={}", OneSafeLine(version->substr(0, version->find('.'))));
    }
    section->checks.push_back(c);
  }
  if (seen.empty()) section->checks.push_back({State::kAbsent, "LLDB", "none on the PATH", {}});
}

void Gdb(SelfTestSection* section) {
  const std::string path = OnPath("gdb");
  if (path.empty()) {
    section->checks.push_back({State::kAbsent, "GDB", "none on the PATH; its gcore takes cores of processes that go on", "apt install gdb"});
    return;
  }
  const std::string script = BesidePygc("pygc_gdb.py");
  std::string reason;
  const std::optional<std::string> version = VersionOf({path, "-nx", "--version"}, "GNU gdb", &reason);  // "GNU gdb (Debian 13.1-3) 13.1"
  if (!version) {
    section->checks.push_back({State::kFails, "GDB", reason, {}});
    return;
  }
  SelfTestCheck c{State::kWorks, "GDB " + OneSafeLine(version->substr(version->rfind(' ') + 1)), {}, {}};
  if (script.empty()) {
    c.state = State::kFails;
    c.finding = "pygc_gdb.py is neither in ../lib nor in ../lib/pygc of this program's folder";
    c.remedy = "build all of it (cmake --build), or install the package pygc-gdb";
    section->checks.push_back(c);
    return;
  }
  const std::string said = Program({path, "-nx", "--batch", "-ex", "source " + script, "-ex", "pygc --help"}).Output("");
  if (said.find(kUsage) != std::string::npos) {
    c.finding = "loads " + script;
  } else {
    c.state = State::kFails;
    c.finding = "does not load the command: " + OneSafeLine(said.substr(0, 200));
    c.remedy = "GDB 13 or newer with Python is needed: apt install gdb (not gdb-minimal)";
  }
  section->checks.push_back(c);
  if (OnPath("gcore").empty()) section->checks.push_back({State::kLimited, "gcore", "not on the PATH", "apt install gdb"});
}

SelfTestCheck TemporaryFiles() {
  SelfTestCheck c{State::kWorks, "temporary files", {}, "TMPDIR names another folder"};
  const Result<target::UnnamedFile> file = target::OpenTemporary();
  struct statvfs disk{};
  if (!file || fstatvfs(file->descriptor.get(), &disk) != 0) {
    c.state = State::kFails;
    c.finding = file ? "not to be had" : OneSafeLine(file.error().message);
    c.finding += ": compressed cores, and those on standard input, are not read";
    c.remedy = "let TMPDIR name a folder that you may write to";
    return c;
  }
  c.finding = fmt::format("{}: {} free; compressed cores are unpacked there", OneSafeLine(file->folder), Size(static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize));
  const char* wanted = std::getenv("TMPDIR");
  if (wanted != nullptr && *wanted != 0 && file->folder != wanted) {
    c.state = State::kLimited;
    c.finding = fmt::format("TMPDIR is {}, where no file can be made. {}", OneSafeLine(wanted), c.finding);
  }
  return c;
}

SelfTestSection Machine() {
  SelfTestSection s{"machine", {}};
  utsname name{};
  uname(&name);
  const bool right = std::string_view(name.machine) == "x86_64";
  s.checks.push_back({right ? State::kWorks : State::kFails, "processor", fmt::format("{}, Linux {}", name.machine, name.release), right ? "" : "only x86-64 cores and processes are read"});
  struct sysinfo info{};
  if (sysinfo(&info) == 0) {
    const std::uint64_t free = static_cast<std::uint64_t>(info.freeram + info.bufferram) * info.mem_unit;
    s.checks.push_back({State::kWorks, "memory", fmt::format("{} of {} free; a live process is copied, a core is only mapped", Size(free), Size(static_cast<std::uint64_t>(info.totalram) * info.mem_unit)), {}});
  }
  s.checks.push_back(TemporaryFiles());
  s.checks.push_back({prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0 ? State::kWorks : State::kLimited, "confinement", prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0 ? "cores are parsed by a process that seccomp confines" : "this kernel has no seccomp: cores are parsed unconfined", {}});
  return s;
}

}  // namespace

std::vector<SelfTestSection> TestThisMachine(ProgressSink& progress) {
  std::vector<SelfTestSection> sections;
  SelfTestSection live{"live processes", {Attach()}};
  const std::vector<std::string> interpreters = Interpreters();
  std::set<std::string> tried;
  for (std::size_t i = 0; i < interpreters.size(); ++i) {
    if (!progress.Update("trying the interpreters", i, interpreters.size())) break;
    if (std::optional<SelfTestCheck> check = TryInterpreter(interpreters[i], &tried)) live.checks.push_back(std::move(*check));
  }
  if (tried.empty()) live.checks.push_back({State::kAbsent, "CPython", "none on the PATH that starts, to try it with", {}});
  sections.push_back(std::move(live));
  sections.push_back({"cores", {CoreLimit(), CorePattern(), CoreFilter()}});
  SelfTestSection debuggers{"debuggers", {}};
  if (progress.Update("trying the debuggers", 0, 0)) {
    Lldbs(&debuggers);
    Gdb(&debuggers);
  }
  sections.push_back(std::move(debuggers));
  sections.push_back(Machine());
  return sections;
}

}  // namespace pygc::worker
