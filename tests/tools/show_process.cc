// Prints what core/target sees of a core or a process: modules, threads, memory, what is missing. For checking by hand; not installed.
//   show_process [-e EXE] [--sysroot DIR] [--debug-dir DIR] [--module NAME=FILE] [--trust-file] [--segments] [--hash] [--stopped] CORE|PID
//   show_process ... CORE|PID CORE|PID    compares the two images byte by byte
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string>

#include "core/target/open.h"

namespace {

using pygc::target::Process;

pygc::Result<Process> Open(const std::string& what, bool stopped, const pygc::target::OpenOptions& options) {
  pygc::SilentProgress progress;
  const bool is_pid = !what.empty() && what.find_first_not_of("0123456789") == std::string::npos;
  if (!is_pid) return pygc::target::OpenCore(what, options, progress);
  const int pid = std::atoi(what.c_str());
  return stopped ? pygc::target::CaptureStopped(pid, options, progress) : pygc::target::CaptureLive(pid, options, progress);
}

/// Prints what only `a` has, and (once) where both differ.
void Compare(const Process& a, const Process& b, const char* name, bool bytes) {
  std::uint64_t same = 0, different = 0, only = 0;
  for (const auto& s : a.memory.segments()) {
    for (pygc::Address at = s.range.begin; at < s.range.end; at += 4096) {
      const std::uint64_t n = std::min<std::uint64_t>(4096, s.range.end - at);
      const std::byte* here = a.memory.At(at, n);
      const std::byte* there = b.memory.At(at, n);
      if (there == nullptr) {
        bool zero = true;
        for (std::uint64_t i = 0; i < n; ++i) zero &= here[i] == std::byte{0};
        only += n;
        const auto* m = a.FindModule(at);
        if (at == s.range.begin || !zero) fmt::print("only in {}: {:#x} of segment {:#x}-{:#x}{} {}\n", name, at, s.range.begin, s.range.end, zero ? " zero" : " DATA", m != nullptr ? m->path : "");
      } else if (std::memcmp(here, there, n) == 0) {
        same += n;
      } else {
        different += n;
        if (bytes) fmt::print("different: {:#x}\n", at);
      }
    }
  }
  fmt::print("{}: {} bytes same, {} different, {} only here\n", name, same, different, only);
}

}  // namespace

int main(int argc, char** argv) {
  pygc::target::OpenOptions options;
  bool segments = false, hash = false, stopped = false;
  std::string what, other;
  for (int i = 1; i < argc; ++i) {
    const std::string a = argv[i];
    const auto value = [&] { return std::string(i + 1 < argc ? argv[++i] : ""); };
    if (a == "-e") {
      options.executable = value();
    } else if (a == "--sysroot") {
      options.sysroot = value();
    } else if (a == "--debug-dir") {
      options.debug_directories.push_back(value());
    } else if (a == "--module") {
      const std::string v = value();
      options.module_files.emplace_back(v.substr(0, v.find('=')), v.substr(v.find('=') + 1));
    } else if (a == "--max-pause") {
      options.max_pause_seconds = std::atof(value().c_str()) / 1000;
    } else if (a == "--trust-file") {
      options.trust_file = true;
    } else if (a == "--segments") {
      segments = true;
    } else if (a == "--hash") {
      hash = true;
    } else if (a == "--stopped") {
      stopped = true;
    } else {
      (what.empty() ? what : other) = a;
    }
  }
  const auto start = std::chrono::steady_clock::now();
  const auto opened = Open(what, stopped, options);
  const double took = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  if (!opened) {
    fmt::print("error {}: {}\n", static_cast<int>(opened.error().code), opened.error().message);
    return 1;
  }
  const Process& p = *opened;
  if (!other.empty()) {
    const auto second = Open(other, stopped, options);
    if (!second) {
      fmt::print("error {}: {}\n", static_cast<int>(second.error().code), second.error().message);
      return 1;
    }
    Compare(p, *second, "first", true);
    Compare(*second, p, "second", false);
    for (std::size_t i = 0; i < std::max(p.modules.size(), second->modules.size()); ++i) {
      if (i >= p.modules.size() || i >= second->modules.size() || p.modules[i].path != second->modules[i].path ||
          p.modules[i].load_bias != second->modules[i].load_bias || p.modules[i].match != second->modules[i].match || p.modules[i].ranges != second->modules[i].ranges) {
        fmt::print("module {} differs\n", i);
      }
    }
    return 0;
  }
  fmt::print("opened in {:.1f} ms, pause {:.1f} ms\npid {} executable {}\n", took, p.pause_seconds * 1000, p.pid, p.executable);
  for (const std::string& a : p.arguments) fmt::print("argument {}\n", a);
  for (const auto& t : p.threads) fmt::print("thread {} signal {} sp {:#x} pc {:#x} fs {:#x}\n", t.tid, t.signal, t.stack_pointer(), t.instruction_pointer(), t.fs_base());
  for (std::size_t i = 0; i < p.modules.size(); ++i) {
    const auto& m = p.modules[i];
    fmt::print("module {} {:#x} bias {:#x} elf {} match {} [{}] file {} {}\n", i, m.ranges.front().begin, m.load_bias, m.is_elf, static_cast<int>(m.match),
               m.match_detail, m.file_path, m.path);
  }
  std::uint64_t bytes[4] = {};
  for (const auto& s : p.memory.segments()) {
    bytes[static_cast<int>(s.source)] += s.range.size();
    if (segments) {
      fmt::print("segment {:#x}-{:#x} {}{}{} source {} module {}\n", s.range.begin, s.range.end, s.readable ? 'r' : '-', s.writable ? 'w' : '-',
                 s.executable ? 'x' : '-', static_cast<int>(s.source), static_cast<int>(s.module));
    }
    if (!hash) continue;
    std::uint64_t h = 1469598103934665603ull;
    for (std::uint64_t i = 0; i < s.range.size(); ++i) h = (h ^ static_cast<unsigned char>(s.bytes[i])) * 1099511628211ull;
    fmt::print("hash {:#x}-{:#x} {:016x}\n", s.range.begin, s.range.end, h);
  }
  fmt::print("{} segments, core {} file {} live {} host {}\n", p.memory.segments().size(), bytes[0], bytes[1], bytes[2], bytes[3]);
  if (segments) {
    for (const auto& m : p.missing_ranges) fmt::print("missing range {:#x}-{:#x} reason {} module {}\n", m.range.begin, m.range.end, static_cast<int>(m.reason), static_cast<int>(m.module));
  }
  for (const auto& m : p.missing) fmt::print("MISSING {}: {} -> {}\n", m.what, m.reason, m.remedy);
  for (const auto& w : p.warnings) fmt::print("warning {}\n", w);
  return p.missing.empty() ? 0 : 3;
}
