// The registers and flags of the machine. Plain state: what it means to execute something is in arithmetic.h, integer_unit and vector_unit.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <type_traits>

#include "core/base/address.h"
#include "core/disasm/instruction.h"

namespace pygc::machine {

/// General registers in encoding order, as disasm::Operand::reg.
enum Register : std::uint8_t { kRax, kRcx, kRdx, kRbx, kRsp, kRbp, kRsi, kRdi, kR8, kR9, kR10, kR11, kR12, kR13, kR14, kR15 };

/// The status flags, kept as the values that they derive from: a write is five stores, a test looks at one or two of them. AF is not kept (nothing in
/// 64-bit mode that pygc executes reads it).
struct Flags {
  std::uint64_t zero_source = 1;    // ZF = it is 0
  std::uint64_t sign_source = 0;    // SF = its bit 63
  std::uint64_t parity_source = 0;  // PF = an even number of bits is set in its low byte
  bool carry = false, overflow = false;

  [[nodiscard]] bool zero() const noexcept { return zero_source == 0; }
  [[nodiscard]] bool sign() const noexcept { return (sign_source >> 63) != 0; }
  [[nodiscard]] bool parity() const noexcept { return (std::popcount(parity_source & 0xff) & 1) == 0; }

  /// ZF, SF and PF of `result`.
  template <typename T>
  void SetResult(T result) noexcept {
    zero_source = result;
    sign_source = static_cast<std::uint64_t>(static_cast<std::int64_t>(static_cast<std::make_signed_t<T>>(result)));
    parity_source = result;
  }
  /// Flags of an `and`, `or`, `xor`, `test`.
  template <typename T>
  void SetLogic(T result) noexcept {
    SetResult(result);
    carry = overflow = false;
  }
  void SetZero(bool z) noexcept { zero_source = z ? 0 : 1; }

  [[nodiscard]] bool Holds(disasm::Condition condition) const noexcept {
    using enum disasm::Condition;
    switch (condition) {
      case kO: return overflow;
      case kNo: return !overflow;
      case kB: return carry;
      case kAe: return !carry;
      case kE: return zero();
      case kNe: return !zero();
      case kBe: return carry || zero();
      case kA: return !carry && !zero();
      case kS: return sign();
      case kNs: return !sign();
      case kP: return parity();
      case kNp: return !parity();
      case kL: return sign() != overflow;
      case kGe: return sign() == overflow;
      case kLe: return zero() || sign() != overflow;
      case kG: return !zero() && sign() == overflow;
    }
    return false;
  }
};

/// A vector register, wide enough for zmm. Little-endian lanes, as in memory.
struct alignas(64) VectorRegister {
  std::array<std::uint64_t, 8> words{};
};

/// Everything that an instruction may change apart from memory.
struct CpuState {
  std::array<std::uint64_t, 17> gpr{};         // [disasm::kNoRegister] stays 0
  std::array<Address, 17> provenance{};        // where a register's value was loaded from, or 0
  Flags flags;
  std::array<VectorRegister, 32> vector{};
  Address fs_base = 0;
  bool vectors_touched = true;                 // some vector register may differ from 0

  void SetRegister(unsigned reg, std::uint64_t value, Address from = 0) noexcept {
    gpr[reg] = value;
    provenance[reg] = from;
  }
};

}  // namespace pygc::machine
