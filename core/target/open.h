// The ways to a Process: a core file, a live process, a debugger that serves memory.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/limits.h"
#include "core/base/mapped_file.h"
#include "core/base/progress.h"
#include "core/base/result.h"
#include "core/target/process.h"

namespace pygc::target {

/// Where files of the target may be found, and what to trust. The same for every kind of target.
struct OpenOptions {
  std::string executable;                                   // -e EXE: the main program's file
  std::string sysroot;                                      // --sysroot DIR: prefixed to every path of the target
  std::vector<std::string> debug_directories;               // --debug-dir DIR
  std::vector<std::pair<std::string, std::string>> module_files;  // --module NAME=FILE: NAME is a path or its last part
  bool trust_file = false;                                  // --trust-file: use files whose identity cannot be verified
  double max_pause_seconds = 0;                             // --max-pause: live; 0 means no limit
  std::vector<std::shared_ptr<const elf::ElfFile>> known_files;  // of another process: its files are not read again where they are this one's too
  Limits limits;
};

/// Opens an ELF core (also .zst .lz4 .gz .xz); "-": reads it from standard input. The file stays mapped read-only as long as the Process lives.
/// Errors: kNotAnalysable (no such file, a directory, not ELF, a program, another machine: the message names what it is), kNotPermitted.
[[nodiscard]] Result<Process> OpenCore(const std::string& path, const OpenOptions& options, ProgressSink& progress);

/// A file without a name that only this program can see (mode 0600), and the folder it lies in: the first of $TMPDIR, /var/tmp and /tmp where one can be made.
/// Compressed cores are unpacked into it. Errors: kHost.
struct UnnamedFile {
  Descriptor descriptor;
  std::string folder;
};
[[nodiscard]] Result<UnnamedFile> OpenTemporary();

/// Copies the writable memory of a live process and the pages of its files, with every thread interrupted only while it is copied.
/// Errors: kNotPermitted (no such process, rules: the message names which), kNotAnalysable (zombie, kernel thread), kLimit (too large for the memory at hand).
[[nodiscard]] Result<Process> CaptureLive(std::int32_t pid, const OpenOptions& options, ProgressSink& progress);

/// Called once, when all of a process that a debugger holds is copied: from then on nothing depends on its standing still. May complete the threads (registers).
using CopiedHook = std::function<void(Process& process)>;

/// The same for a process that a debugger holds stopped: no ptrace, no interruption, memory through process_vm_readv.
[[nodiscard]] Result<Process> CaptureStopped(std::int32_t pid, const OpenOptions& options, ProgressSink& progress, const CopiedHook& copied = {});

/// A debugger that serves memory where only it can: bulk reads, never per object.
struct MemorySource {
  std::function<Result<std::size_t>(Address, std::span<std::byte>)> read;  // short counts allowed; exact length is checked here
  struct Region { AddressRange range; bool readable, writable, executable; std::string file; std::uint64_t file_offset; };
  std::vector<Region> regions;  // may be empty for minidumps that do not say
  std::vector<Thread> threads;
  TargetKind kind = TargetKind::kLive;
  std::string path;
  std::int32_t pid = 0;
};
[[nodiscard]] Result<Process> CaptureFromSource(const MemorySource& source, const OpenOptions& options, ProgressSink& progress, const CopiedHook& copied = {});

}  // namespace pygc::target
