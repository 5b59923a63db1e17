// Bytes of the target's code -> instructions. The seam between instruction sets: core/machine asks for a decoder and never sees Capstone.
// Every input is hostile: any bytes give an Instruction or a refusal; an encoding whose meaning here would differ from the processor's is refused.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "core/base/address.h"
#include "core/disasm/instruction.h"

namespace pygc::disasm {

enum class Architecture { kX86_64 };

/// Longest instruction in bytes.
inline constexpr std::size_t kMaxInstructionBytes = 15;

/// Decodes one instruction at a time. Not thread-safe: one for each thread.
class InstructionStream {
 public:
  virtual ~InstructionStream() = default;
  /// The instruction at the start of `bytes`, which lie at target address `at`. False where there is none that pygc executes: invalid, cut short by
  /// the end of `bytes`, privileged, floating point, or with prefixes that change its meaning in ways not modelled.
  [[nodiscard]] virtual bool Decode(std::span<const std::byte> bytes, Address at, Instruction& out) = 0;
};

/// nullptr when the disassembler library cannot serve `architecture`.
[[nodiscard]] std::unique_ptr<InstructionStream> MakeInstructionStream(Architecture architecture);

}  // namespace pygc::disasm
