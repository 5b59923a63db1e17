// The notes of an ELF core of x86-64 Linux as values: threads, mapped files, auxiliary vector, signal, program name.
// Written by the kernel (fs/binfmt_elf.c) or by gcore, which orders them differently. Nothing here is checked against memory.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/base/address.h"
#include "core/base/limits.h"
#include "core/elf/elf_file.h"

namespace pygc::elf {

/// NT_PRSTATUS of one thread; registers in the order of user_regs_struct.
struct CoreThread {
  std::int32_t tid = 0;
  std::int32_t signal = 0;
  std::array<std::uint64_t, 27> registers{};
};

/// One entry of NT_FILE: a part of a file that was mapped, as named in the mount namespace of the process.
struct CoreFileMapping {
  AddressRange range;
  std::uint64_t file_offset = 0;  // bytes
  std::string path;               // raw bytes; may end in " (deleted)"
};

struct CoreNotes {
  std::vector<CoreThread> threads;     // in file order: the kernel writes the signalled thread first
  std::vector<CoreFileMapping> files;  // in file order
  std::vector<std::pair<std::uint64_t, std::uint64_t>> auxv;
  bool has_files = false;              // an NT_FILE note was there
  std::int32_t pid = 0;                // NT_PRPSINFO
  std::string program_name;            // its pr_fname, 15 bytes at most
  std::string arguments;               // its pr_psargs, 79 bytes at most: for people, never a path to open
  std::int32_t signal = 0;             // NT_SIGINFO: si_signo
  std::int32_t signal_code = 0;
  Address fault_address = 0;           // si_addr, meaningful for SIGSEGV, SIGBUS, SIGILL, SIGFPE raised by the kernel
  std::int32_t sender = 0;             // si_pid, which lies at the same place; meaningful where a process sent the signal
  bool is_kernel_dump = false;         // QEMU, VMCOREINFO or a crash kernel's note: physical memory, no process
  std::vector<std::string> damage;     // what could not be read and why, one line each

  /// The value of an AT_* entry.
  [[nodiscard]] std::optional<std::uint64_t> Auxiliary(std::uint64_t type) const noexcept;
};

/// Reads all PT_NOTE segments of `core`. A damaged note ends its segment; the notes before it stand.
[[nodiscard]] CoreNotes ReadCoreNotes(const ElfFile& core, const Limits& limits);

}  // namespace pygc::elf
