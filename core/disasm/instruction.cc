#include "core/disasm/instruction.h"

namespace pygc::disasm {
namespace {

constexpr std::uint32_t Bit(unsigned reg) { return 1u << reg; }
constexpr unsigned kRax = 0, kRcx = 1, kRdx = 2, kRsp = 4, kRbp = 5, kRsi = 6, kRdi = 7;

// True where operand 0 is only written.
bool OverwritesDestination(Opcode o) {
  using enum Opcode;
  switch (o) {
    case kMov: case kMovZeroExtend: case kMovSignExtend: case kMovBigEndian: case kLea: case kPop: case kSet: case kTzcnt: case kLzcnt: case kPopcnt:
    case kRorx: case kSarx: case kShlx: case kShrx: case kAndn: case kBextr: case kBlsi: case kBlsmsk: case kBlsr: case kBzhi: case kPdep: case kPext:
    case kMulx: case kVecMoveLow: case kVecMoveMask: case kVecExtract: return true;
    default: return false;
  }
}

// Registers that are not written as operands.
RegisterUse Implicit(const Instruction& i) {
  using enum Opcode;
  switch (i.opcode) {
    case kPush: case kPop: case kCall: case kRet: return {Bit(kRsp), 0};
    case kLeave: return {Bit(kRbp), 0};
    case kImulWide: case kMulWide: case kCmpxchg: case kSignExtendAccumulator: case kSignExtendIntoD: return {Bit(kRax), 0};
    case kDiv: case kIdiv: return {Bit(kRax) | Bit(kRdx), 0};
    case kMulx: return {Bit(kRdx), 0};
    case kJrcxz: return {Bit(kRcx), 0};
    case kStos: case kMovs: case kLods: case kScas: case kCmps: return {Bit(kRax) | Bit(kRcx) | Bit(kRsi) | Bit(kRdi), 0};
    default: return {};
  }
}

}  // namespace

RegisterUse UseOf(const Instruction& i) noexcept {
  if (i.opcode == Opcode::kNop) return {};
  RegisterUse use = Implicit(i);
  const auto read = [&](unsigned reg) {
    if (reg < 16) use.reads |= Bit(reg);
  };
  read(i.base), read(i.index);
  // xor r, r makes a zero whatever was in it.
  const bool zeroes = (i.opcode == Opcode::kXor || i.opcode == Opcode::kSub) && i.operands[0].kind == OperandKind::kRegister &&
                      i.operands[1].kind == OperandKind::kRegister && i.operands[0].reg == i.operands[1].reg && i.operands[0].size >= 4;
  for (std::size_t k = 0; k < i.operand_count && k < i.operands.size(); ++k) {
    const Operand& o = i.operands[k];
    if (o.kind != OperandKind::kRegister && o.kind != OperandKind::kHighByte) continue;
    const bool whole = o.kind == OperandKind::kRegister && o.size >= 4;
    if (k == 0 && whole && (zeroes || OverwritesDestination(i.opcode))) use.writes |= Bit(o.reg);
    else if (!(k == 1 && zeroes)) read(o.reg);
  }
  return use;
}

}  // namespace pygc::disasm
