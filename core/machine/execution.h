// What the units that execute single instructions share: registers, memory, the budget, and how an operand is read and written.
// The slow, complete way. The run loop in machine.cc has short cuts for the forms that traversals are made of.
#pragma once

#include <cstdint>

#include "core/disasm/instruction.h"
#include "core/machine/arithmetic.h"
#include "core/machine/cpu_state.h"
#include "core/machine/memory_view.h"

namespace pygc::machine {

/// What fs:0x28 reads as: the stack protector's canary. A constant, so that checking it does not make a run depend on a thread.
inline constexpr std::uint64_t kCanary = 0x5ca1ab1e00c0ffeeull & ~0xffull;

struct Execution {
  CpuState& cpu;
  MemoryView& memory;
  std::int64_t steps_left = 0;
  bool read_thread_local = false;
  StopReason stop = StopReason::kNone;
  Address stop_operand = 0;  // the address or value that it is about

  bool Stop(StopReason reason, Address operand = 0) noexcept {
    stop = reason;
    stop_operand = operand;
    return false;
  }
  bool MemoryFault() noexcept { return Stop(memory.reason(), memory.fault_address()); }
  /// Takes `units` steps from the run's budget.
  [[nodiscard]] bool Charge(std::uint64_t units) noexcept {
    if (units > static_cast<std::uint64_t>(steps_left < 0 ? 0 : steps_left)) return Stop(StopReason::kStepLimit);
    steps_left -= static_cast<std::int64_t>(units);
    return true;
  }

  [[nodiscard]] static bool IsCanary(const disasm::Instruction& i) noexcept {
    return i.uses_fs && i.base == disasm::kNoRegister && i.index == disasm::kNoRegister && i.displacement == 0x28;
  }
  /// Base, index and displacement, without the segment: what lea gives.
  [[nodiscard]] std::uint64_t Offset(const disasm::Instruction& i) const noexcept {
    const std::uint64_t sum = cpu.gpr[i.base] + (cpu.gpr[i.index] << i.scale_shift) + static_cast<std::uint64_t>(i.displacement);
    return i.address_32 ? static_cast<std::uint32_t>(sum) : sum;
  }
  [[nodiscard]] bool EffectiveAddress(const disasm::Instruction& i, Address& a) noexcept {
    a = Offset(i);
    if (!i.uses_fs) [[likely]] return true;
    if (cpu.fs_base == 0) return Stop(StopReason::kNoThread, a);
    read_thread_local = true;
    a += cpu.fs_base;
    return true;
  }

  template <typename T>
  [[nodiscard]] T ReadRegister(unsigned reg) const noexcept { return static_cast<T>(cpu.gpr[reg]); }
  /// Writes the low bytes: 32-bit results clear the upper half, narrower ones keep the rest.
  template <typename T>
  void WriteRegister(unsigned reg, T value) noexcept {
    if constexpr (sizeof(T) >= 4) cpu.gpr[reg] = value;
    else cpu.gpr[reg] = (cpu.gpr[reg] & ~static_cast<std::uint64_t>(std::numeric_limits<T>::max())) | value;
    cpu.provenance[reg] = 0;
  }

  /// Reads an operand of sizeof(T) bytes.
  template <typename T>
  [[nodiscard]] bool Read(const disasm::Instruction& i, const disasm::Operand& o, T& value) noexcept {
    switch (o.kind) {
      case disasm::OperandKind::kRegister: value = ReadRegister<T>(o.reg); return true;
      case disasm::OperandKind::kHighByte: value = static_cast<T>((cpu.gpr[o.reg] >> 8) & 0xff); return true;
      case disasm::OperandKind::kImmediate: value = static_cast<T>(i.immediate); return true;
      case disasm::OperandKind::kMemory: {
        if (IsCanary(i)) {
          value = static_cast<T>(kCanary);
          return true;
        }
        Address a = 0;
        if (!EffectiveAddress(i, a)) return false;
        return memory.Load(a, value) || MemoryFault();
      }
      default: return Stop(StopReason::kUnknownInstruction);
    }
  }
  template <typename T>
  [[nodiscard]] bool Write(const disasm::Instruction& i, const disasm::Operand& o, T value) noexcept {
    switch (o.kind) {
      case disasm::OperandKind::kRegister: WriteRegister<T>(o.reg, value); return true;
      case disasm::OperandKind::kHighByte:
        cpu.gpr[o.reg] = (cpu.gpr[o.reg] & ~0xff00ull) | (static_cast<std::uint64_t>(value) & 0xff) << 8;
        cpu.provenance[o.reg] = 0;
        return true;
      case disasm::OperandKind::kMemory: {
        Address a = 0;
        if (!EffectiveAddress(i, a)) return false;
        return memory.Store(a, value) || MemoryFault();
      }
      default: return Stop(StopReason::kUnknownInstruction);
    }
  }
};

/// Executes any instruction of general registers that does not end a block. False: `e.stop` says why.
[[nodiscard]] bool ExecuteInteger(Execution& e, const disasm::Instruction& i) noexcept;
/// Executes any vector instruction.
[[nodiscard]] bool ExecuteVector(Execution& e, const disasm::Instruction& i) noexcept;

[[nodiscard]] inline bool ExecuteAny(Execution& e, const disasm::Instruction& i) noexcept {
  return i.opcode >= disasm::Opcode::kVecMove ? ExecuteVector(e, i) : ExecuteInteger(e, i);
}

}  // namespace pygc::machine
