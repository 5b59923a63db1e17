// One machine instruction of the target in pygc's own compact form: what core/machine executes. Knows no Capstone and no bytes.
// x86-64 today: general registers, flags, SSE and AVX moves, logic and integer lanes. No x87, no MMX, no floating-point arithmetic: those are not decoded.
#pragma once

#include <array>
#include <cstdint>
#include <type_traits>

#include "core/base/address.h"

namespace pygc::disasm {

/// What an instruction does, apart from its operands. One value for each meaning, not for each mnemonic: `movaps`, `vmovdqu64` and `lddqu` are all kVecMove,
/// all of jcc are kJcc with a Condition, `shl` and `sal` are one.
enum class Opcode : std::uint8_t {
  kInvalid,
  // Moves and addresses
  kMov, kMovZeroExtend, kMovSignExtend, kMovBigEndian, kLea, kPush, kPop, kLeave, kXchg, kCmov, kSet, kByteSwap,
  // Arithmetic and logic
  kAdd, kAdc, kSub, kSbb, kCmp, kAnd, kTest, kOr, kXor, kInc, kDec, kNeg, kNot,
  kAddCarryOnly, kAddOverflowOnly,               // adcx, adox
  kImul, kImulWide, kMulWide, kDiv, kIdiv, kMulx,  // kImul: two or three operands; the wide ones: rdx:rax
  kSignExtendAccumulator, kSignExtendIntoD,      // cbw cwde cdqe; cwd cdq cqo
  // Shifts and bits
  kShl, kShr, kSar, kRol, kRor, kRcl, kRcr, kShld, kShrd, kRorx, kSarx, kShlx, kShrx,
  kBitTest, kBitSet, kBitReset, kBitComplement, kBsf, kBsr, kTzcnt, kLzcnt, kPopcnt,
  kAndn, kBextr, kBlsi, kBlsmsk, kBlsr, kBzhi, kPdep, kPext,
  // Atomic
  kXadd, kCmpxchg,
  // Strings; the direction flag is assumed clear, as the ABI demands
  kStos, kMovs, kLods, kScas, kCmps,
  // Flags
  kClearCarry, kSetCarry, kComplementCarry,
  // Control
  kNop, kJmp, kJcc, kJrcxz, kCall, kRet, kTrap,
  // Vectors: `lane` is the width of an element in bytes
  kVecMove,            // whole registers or memory of one size
  kVecMoveScalar,      // movss, movsd: load clears the rest, register form keeps it
  kVecMoveLow,         // movd, movq: one lane; into a vector it clears the rest
  kVecLowHalf, kVecHighHalf,     // movlps, movhps and their pd forms: load (dst, src, mem) or store (mem, src)
  kVecHighToLow, kVecLowToHigh,  // movhlps, movlhps: (dst, src1, src2)
  kVecXor, kVecOr, kVecAnd, kVecAndNot, kVecAdd, kVecSub, kVecCompareEqual, kVecCompareGreater,
  kVecMinUnsigned, kVecMaxUnsigned, kVecMinSigned, kVecMaxSigned, kVecMulLow, kVecMulUnsignedWide,
  kVecUnpackLow, kVecUnpackHigh, kVecPackSigned, kVecPackUnsigned,
  kVecShuffle32, kVecShuffleLow16, kVecShuffleHigh16, kVecShufflePs, kVecShufflePd, kVecShuffleBytes, kVecAlignRight,
  kVecInsert, kVecExtract, kVecMoveMask, kVecShiftLeft, kVecShiftRight, kVecShiftRightSigned, kVecShiftLeftBytes, kVecShiftRightBytes,
  kVecTest, kVecBroadcast, kVecInsert128, kVecExtract128, kVecPermute128, kVecPermute64, kVecPermuteInGroups, kVecBlend, kVecBlendBytes,
  kVecZeroExtend, kVecSignExtend, kVecDuplicateLow64, kVecZeroUpper, kVecZeroAll,
  kCount,
};

/// Conditions in the order of their encoding: an odd one is the negation of the even one before it.
enum class Condition : std::uint8_t { kO, kNo, kB, kAe, kE, kNe, kBe, kA, kS, kNs, kP, kNp, kL, kGe, kLe, kG };

enum class OperandKind : std::uint8_t {
  kNone,
  kRegister,   // general register `reg` (encoding order: rax rcx rdx rbx rsp rbp rsi rdi r8 ... r15), its low `size` bytes
  kHighByte,   // ah ch dh bh: bits 8-15 of general register `reg`
  kVector,     // xmm/ymm/zmm `reg`, its low `size` bytes
  kMemory,     // the one memory operand of the instruction: base + (index << scale_shift) + displacement
  kImmediate,  // `immediate`
};

struct Operand {
  OperandKind kind = OperandKind::kNone;
  std::uint8_t reg = 0;
  std::uint8_t size = 0;  // bytes
};

/// A general register that is not one: it reads as 0. Stands for "no base", "no index".
inline constexpr std::uint8_t kNoRegister = 16;

/// One decoded instruction. Operand 0 is the destination.
struct Instruction {
  Opcode opcode = Opcode::kInvalid;
  std::uint8_t length = 0;      // bytes
  Condition condition = Condition::kO;
  std::uint8_t lane = 0;        // of vector operations: element width in bytes; of kVecZeroExtend, kVecSignExtend: of the source element
  std::uint8_t base = kNoRegister, index = kNoRegister, scale_shift = 0;
  bool uses_fs = false;         // the address is relative to the fs base
  bool address_32 = false;      // 0x67: the address is cut to 32 bits before the segment base is added
  bool repeats = false;         // rep, repe
  bool repeats_while_not_equal = false;  // repne
  bool is_locked = false;
  bool needs_alignment = false;  // a misaligned vector memory operand faults
  bool clears_upper = false;     // VEX, EVEX: the rest of the destination vector register becomes 0
  std::uint8_t lane_to = 0;      // kVecZeroExtend, kVecSignExtend: width of the destination element
  std::uint8_t operand_count = 0;
  std::array<Operand, 4> operands{};
  std::int64_t displacement = 0;  // rip-relative addresses are already absolute here (base and index kNoRegister)
  std::int64_t immediate = 0;     // sign-extended; kJmp, kJcc, kCall with kImmediate: the absolute target address

  /// True where control does not simply go on behind it.
  [[nodiscard]] constexpr bool EndsBlock() const noexcept { return opcode >= Opcode::kJmp && opcode <= Opcode::kTrap; }
};
static_assert(std::is_trivially_copyable_v<Instruction>);

/// General registers that an instruction reads and that it wholly overwrites, a bit for each. Rather too many reads and too few writes than the reverse.
struct RegisterUse {
  std::uint32_t reads = 0, writes = 0;
};
[[nodiscard]] RegisterUse UseOf(const Instruction& i) noexcept;

}  // namespace pygc::disasm
