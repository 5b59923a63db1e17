// Native call chains of threads, by the unwind tables of the modules' files (.eh_frame). libdw stays in the .cc.
// For people who read stacks: nothing that pygc counts or concludes depends on it.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "core/base/address.h"
#include "core/elf/elf_file.h"

namespace pygc::elf {

/// A file as it is mapped in the target.
struct UnwindModule {
  const ElfFile* file = nullptr;  // outlives the unwinder
  AddressRange range;             // from its first to behind its last mapping
  std::int64_t load_bias = 0;     // run-time address = link-time address + load_bias
};

/// Registers of a thread, x86-64, in the order of DWARF: rax rdx rcx rbx rsi rdi rbp rsp r8 - r15, rip.
using UnwindRegisters = std::array<std::uint64_t, 17>;

/// One native frame. Its locals lie from its stack pointer up to that of the frame behind it.
struct NativeCall {
  Address program_counter = 0;  // of a caller: the address behind the call
  Address stack_pointer = 0;    // as it is in this frame; 0: not known
  bool is_interrupted = true;   // stands at that instruction: the innermost one, and one that a signal came upon. false: it is a caller
};

struct NativeChain {
  std::vector<NativeCall> calls;  // innermost first
  bool complete = false;                  // false: unwind tables or memory were missing before the thread's first function
};

class NativeUnwinder {
 public:
  /// `read`: one aligned or unaligned word of the target's memory; false where it is not there.
  NativeUnwinder(std::vector<UnwindModule> modules, std::function<bool(Address, std::uint64_t*)> read);
  ~NativeUnwinder();
  NativeUnwinder(const NativeUnwinder&) = delete;
  NativeUnwinder& operator=(const NativeUnwinder&) = delete;

  /// At most `max` frames. Not thread-safe.
  [[nodiscard]] NativeChain Unwind(const UnwindRegisters& registers, std::size_t max);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pygc::elf
