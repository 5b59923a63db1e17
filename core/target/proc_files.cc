#include "core/target/proc_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>

namespace pygc::target {
namespace {

constexpr int kCapSysPtrace = 19;

/// Cuts the next word, separated by blanks, off `text`.
std::string_view NextWord(std::string_view& text) {
  const std::size_t begin = std::min(text.find_first_not_of(" \t"), text.size());
  const std::size_t end = std::min(text.find_first_of(" \t", begin), text.size());
  const std::string_view word = text.substr(begin, end - begin);
  text.remove_prefix(end);
  return word;
}

template <typename T>
T Number(std::string_view text, int base = 10, T otherwise = 0) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return error == std::errc{} ? value : otherwise;
}

template <typename F>
void ForEachLine(std::string_view text, F f) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    f(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

/// The kernel writes a newline in a path as \012; no other byte is escaped in maps.
std::string Unescape(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text.substr(i, 4) == "\\012") {
      out += '\n';
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace

std::vector<MapsLine> ParseMaps(std::string_view text) {
  std::vector<MapsLine> out;
  ForEachLine(text, [&](std::string_view line) {
    MapsLine m;
    const std::string_view range = NextWord(line), access = NextWord(line), offset = NextWord(line), device = NextWord(line), inode = NextWord(line);
    const std::size_t dash = range.find('-'), colon = device.find(':');
    if (dash == std::string_view::npos || access.size() < 4) return;
    m.range = {Number<std::uint64_t>(range.substr(0, dash), 16), Number<std::uint64_t>(range.substr(dash + 1), 16)};
    m.readable = access[0] == 'r';
    m.writable = access[1] == 'w';
    m.executable = access[2] == 'x';
    m.shared = access[3] == 's';
    m.file_offset = Number<std::uint64_t>(offset, 16);
    m.identity.inode = Number<std::uint64_t>(inode);
    if (colon != std::string_view::npos) {
      m.identity.device = makedev(Number<unsigned>(device.substr(0, colon), 16), Number<unsigned>(device.substr(colon + 1), 16));
    }
    const std::size_t name = line.find_first_not_of(" \t");
    if (name != std::string_view::npos) m.path = Unescape(line.substr(name));
    if (!m.range.empty()) out.push_back(std::move(m));
  });
  return out;
}

ProcStatus ParseStatus(std::string_view text) {
  ProcStatus s;
  ForEachLine(text, [&](std::string_view line) {
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) return;
    const std::string_view key = line.substr(0, colon);
    std::string_view rest = line.substr(colon + 1);
    if (key == "Name") {
      s.name = rest.substr(std::min(rest.find_first_not_of(" \t"), rest.size()));
      return;
    }
    const std::string_view word = NextWord(rest);
    if (key == "State" && !word.empty()) s.state = word[0];
    if (key == "Tgid") s.tgid = Number<std::int32_t>(word, 10, -1);
    if (key == "TracerPid") s.tracer = Number<std::int32_t>(word, 10, -1);
    if (key == "Uid") s.uid = Number<std::int32_t>(word, 10, -1);
    if (key == "CapEff") s.capabilities = Number<std::uint64_t>(word, 16);
    if (key == "VmSize") s.has_memory = true;
    if (key == "VmRSS") s.resident_kib = Number<std::uint64_t>(word);
    if (key == "VmSwap") s.swapped_kib = Number<std::uint64_t>(word);
  });
  return s;
}

Result<std::string> ReadProcFile(const std::string& path) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  std::string out;
  int error = file.valid() ? 0 : errno;
  while (error == 0) {
    const std::size_t before = out.size();
    out.resize(before + std::max<std::size_t>(65536, before));
    const ssize_t n = read(file.get(), out.data() + before, out.size() - before);
    out.resize(before + static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
    if (n == 0) return out;
    if (n < 0 && errno != EINTR) error = errno;
  }
  if (error == ENOENT || error == ESRCH) return Fail(ErrorCode::kNotFound, "{}: no such file", path);
  if (error == EACCES || error == EPERM) return Fail(ErrorCode::kNotPermitted, "{}: not permitted", path);
  return Fail(ErrorCode::kHost, "{}: {}", path, std::strerror(error));
}

Result<ProcStatus> ReadStatus(std::int32_t pid) {
  const auto text = ReadProcFile(fmt::format("/proc/{}/status", pid));
  if (!text) return tl::unexpected(text.error());
  return ParseStatus(*text);
}

Result<std::vector<std::int32_t>> ListThreads(std::int32_t pid) {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir(fmt::format("/proc/{}/task", pid).c_str()), closedir);
  if (directory == nullptr) return Fail(ErrorCode::kNotFound, "process {} is gone", pid);
  std::vector<std::int32_t> out;
  while (const dirent* entry = readdir(directory.get())) {
    const auto tid = Number<std::int32_t>(entry->d_name, 10, -1);
    if (tid > 0) out.push_back(tid);
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::optional<std::uint64_t> StartTime(std::int32_t pid) {
  const auto text = ReadProcFile(fmt::format("/proc/{}/stat", pid));
  if (!text) return std::nullopt;
  const std::size_t name_end = text->rfind(')');  // the name may hold anything
  if (name_end == std::string::npos) return std::nullopt;
  std::string_view rest = std::string_view(*text).substr(name_end + 1);
  for (int field = 3; field < 22; ++field) static_cast<void>(NextWord(rest));
  return Number<std::uint64_t>(NextWord(rest));
}

std::uint64_t AvailableMemory() {
  std::uint64_t available = ~std::uint64_t{0};
  if (const auto text = ReadProcFile("/proc/meminfo")) {
    ForEachLine(*text, [&](std::string_view line) {
      if (!line.starts_with("MemAvailable:")) return;
      line.remove_prefix(13);
      available = Number<std::uint64_t>(NextWord(line)) * 1024;
    });
  }
  // Control group, version 2: the tightest limit on the way up. Its page cache can be dropped, so "current" overstates: file bytes are given back.
  const auto groups = ReadProcFile("/proc/self/cgroup");
  if (!groups || !groups->starts_with("0::")) return available;
  std::string group = groups->substr(3, groups->find('\n') - 3);
  for (;;) {
    const std::string directory = "/sys/fs/cgroup" + group;
    const auto limit = ReadProcFile(directory + "/memory.max"), current = ReadProcFile(directory + "/memory.current");
    if (limit && current && !limit->starts_with("max")) {
      std::uint64_t used = Number<std::uint64_t>(*current);
      if (const auto stat = ReadProcFile(directory + "/memory.stat")) {
        ForEachLine(*stat, [&](std::string_view line) {
          if (line.starts_with("inactive_file ")) used -= std::min(used, Number<std::uint64_t>(line.substr(14)));
        });
      }
      const auto most = Number<std::uint64_t>(*limit);
      available = std::min(available, most > used ? most - used : 0);
    }
    const std::size_t slash = group.rfind('/');
    if (group.size() <= 1 || slash == std::string::npos) return available;
    group.resize(slash);
  }
}

std::string ExplainRefusal(std::int32_t pid, const ProcStatus& target) {
  const auto self = ReadStatus(static_cast<std::int32_t>(getpid()));
  const bool may_trace = self && (self->capabilities >> kCapSysPtrace & 1) != 0;
  if (target.tracer > 0) {
    const auto tracer = ReadStatus(target.tracer);
    return fmt::format("process {} is traced by process {} ({}): use pygc inside that debugger, or detach it", pid, target.tracer,
                       tracer ? tracer->name : "gone");
  }
  const auto mine = static_cast<std::int32_t>(geteuid());
  if (!may_trace && target.uid >= 0 && target.uid != mine) {
    return fmt::format("process {} belongs to uid {} and pygc runs as uid {} without CAP_SYS_PTRACE: sudo pygc -p {} ...", pid, target.uid, mine, pid);
  }
  const auto scope = ReadProcFile("/proc/sys/kernel/yama/ptrace_scope");
  const int rule = scope ? Number<int>(*scope) : 0;
  if (rule == 3) return fmt::format("kernel.yama.ptrace_scope is 3: nobody may trace process {} until the next boot; let it dump core instead", pid);
  if (!may_trace && rule == 2) return fmt::format("kernel.yama.ptrace_scope is 2: only CAP_SYS_PTRACE may trace process {}: sudo pygc -p {} ...", pid, pid);
  if (!may_trace && rule == 1) {
    return fmt::format("kernel.yama.ptrace_scope is 1: only a parent may trace process {}: sudo pygc -p {} ..., or sudo sysctl kernel.yama.ptrace_scope=0",
                       pid, pid);
  }
  if (!may_trace) {
    return fmt::format("process {} cannot be traced: it changed its user or cleared its dumpable flag, and pygc has no CAP_SYS_PTRACE: sudo pygc -p {} ...",
                       pid, pid);
  }
  return fmt::format(
      "process {} cannot be traced although pygc has CAP_SYS_PTRACE: another user namespace, or a seccomp or security-module rule; run pygc on the host, "
      "or start the container with --cap-add SYS_PTRACE",
      pid);
}

}  // namespace pygc::target
