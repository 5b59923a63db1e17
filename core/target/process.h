// A process under study as plain data: its memory, modules, threads, and what of it is missing. Built once by a target source
// (core file, live pid, debugger callbacks); immutable afterwards.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/elf/elf_file.h"
#include "core/target/memory_image.h"

namespace pygc::target {

enum class TargetKind : std::uint8_t { kCore, kLive };

/// How sure it is that a module's file on this machine is the one that was mapped.
enum class ModuleMatch : std::uint8_t {
  kVerified,      // build-ids equal; or, without one in memory, the mapped file itself or one that puts its functions at the same places
  kUnverifiable,  // no build-id in the target's memory; every byte that is present in both agrees; used only where trusted (--trust-file)
  kMismatch,      // build-ids differ: never used
  kMissing,       // no file found
  kNotNeeded,     // the file was not opened
};

/// An executable, shared library or other file mapped in the target.
struct Module {
  std::string path;                  // as the target names it, raw bytes
  std::vector<AddressRange> ranges;  // its mappings, sorted
  std::int64_t load_bias = 0;        // run-time address = link-time address + load_bias
  bool is_elf = false;
  std::string build_id;              // hex, from the target's memory; empty where it cannot be read there
  std::string file_build_id;         // hex, of `file_path`
  std::string file_path;             // the file used on this machine; empty where none
  ModuleMatch match = ModuleMatch::kMissing;
  std::string match_detail;          // one line for reports: tried paths, both ids
  std::string damage;                // what is wrong with `file` although it is the right one (cut, overwritten); empty: nothing that shows
  std::shared_ptr<const elf::ElfFile> file;  // set when match is kVerified, or kUnverifiable and trusted; else, where the target's memory holds them, an
                                     // image with its dynamic symbols and constants only (file_path does not name it)
};

/// General registers in the order of `struct user_regs_struct` (x86-64): r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags
/// rsp ss fs_base gs_base ds es fs gs.
struct Thread {
  std::int32_t tid = 0;
  std::array<std::uint64_t, 27> registers{};
  std::int32_t signal = 0;
  bool has_registers = false;
  [[nodiscard]] Address stack_pointer() const noexcept { return registers[19]; }
  [[nodiscard]] Address instruction_pointer() const noexcept { return registers[16]; }
  [[nodiscard]] Address fs_base() const noexcept { return registers[21]; }
};

/// What the kernel noted about the signal that a core was written for. Linux: siginfo_t.
struct SignalInfo {
  std::int32_t code = 0;          // si_code: above 0 the kernel raised it, else a process sent it
  std::optional<Address> fault;   // si_addr: what the instruction used (SIGSEGV, SIGBUS) or where it stands (SIGILL, SIGFPE); nullopt: nobody says
  std::int32_t sender = 0;        // si_pid, of a signal that a process sent; 0: not known
};

/// One reason why the data are not complete, for `missing[]` of a report.
struct MissingNote {
  std::string what;    // "file /usr/lib/x.so", "412 MiB of memory"
  std::string reason;  // "build-id differs: core has ab12, file has cd34"
  std::string remedy;  // "give --sysroot or --module NAME=FILE"
};

/// The process under study.
struct Process {
  TargetKind kind = TargetKind::kCore;
  std::string path;               // of the core file; empty for a live process
  std::int32_t pid = 0;           // 0 where unknown
  std::string executable;         // path of the main program as the target names it
  std::vector<std::string> arguments;  // as far as known; raw bytes
  Address initial_stack = 0;      // an address in the stack that the process began with: that of its main thread; 0 where unknown
  MemoryImage memory;
  std::vector<Module> modules;    // sorted by first range
  std::vector<Thread> threads;    // the one that crashed first
  std::optional<SignalInfo> signal_info;  // of the signal of the first thread; cores only
  std::vector<MissingRange> missing_ranges;
  std::vector<MissingNote> missing;   // things that make an analysis partial; empty means the image is complete
  std::vector<MissingNote> thread_gaps;   // stacks and registers that are not known: they make partial what is told of them, and are a warning elsewhere
  std::vector<std::string> warnings;  // things worth knowing that do not
  double pause_seconds = 0;       // how long a live target stood still
  double read_seconds = 0;        // of a process that a debugger holds: from the request until all of it was copied and it could run again
  std::uint64_t core_bytes_expected = 0, core_bytes_present = 0;  // file size that the program headers ask for; what is there
  bool may_be_wrong = false;      // bytes of the memory itself may be others than the process had: a compressed core that fails its checksum

  /// True where memory is missing that the process is known to have used, be it a stack only: references may be in it.
  [[nodiscard]] bool LostMemory() const noexcept;
  /// True where a thread's stack pointer leads into memory that is missing: what that stack holds is not known.
  [[nodiscard]] bool LostStacks() const noexcept;
  /// LostMemory() beside stacks: objects and lists may be in it.
  [[nodiscard]] bool LostHeap() const noexcept;

  /// The module that maps `a`, or nullptr.
  [[nodiscard]] const Module* FindModule(Address a) const noexcept;
  /// The files of the modules, for OpenOptions::known_files of another process.
  [[nodiscard]] std::vector<std::shared_ptr<const elf::ElfFile>> ModuleFiles() const;
};

}  // namespace pygc::target
