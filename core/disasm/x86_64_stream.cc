// The x86-64 InstructionStream over Capstone. Capstone says mnemonic and operands; this file turns them into pygc's form and refuses what pygc does not
// execute, and every prefix combination whose meaning on real processors differs from vendor to vendor or from what Capstone prints.
#include <capstone/capstone.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "core/disasm/instruction_stream.h"

namespace pygc::disasm {
namespace {

// How the operands of a mnemonic are laid out.
enum class Shape : std::uint8_t {
  kPlain,        // as Capstone lists them
  kString,       // implicit rsi, rdi, rax: none are kept; lane is the element
  kVector,       // destination first; legacy SSE two-operand forms keep that shape
  kVectorThree,  // (dst, src1, src2 [, imm]): legacy forms repeat the destination as src1
};

struct Meaning {
  Opcode opcode = Opcode::kInvalid;
  std::uint8_t lane = 0, lane_to = 0;
  Shape shape = Shape::kPlain;
  bool aligned = false;
  Condition condition = Condition::kO;
};

class MeaningTable {
 public:
  MeaningTable() : rows_(X86_INS_ENDING) {
    AddIntegers();
    AddConditions();
    AddVectorMoves();
    AddVectorArithmetic();
  }
  [[nodiscard]] Meaning Find(unsigned id) const { return id < rows_.size() ? rows_[id] : Meaning{}; }

 private:
  void Plain(unsigned id, Opcode opcode) { rows_[id].opcode = opcode; }
  void String(unsigned id, Opcode opcode, std::uint8_t lane) { rows_[id] = {opcode, lane, 0, Shape::kString, false, Condition::kO}; }
  void Vector(unsigned id, Opcode opcode, std::uint8_t lane = 0, bool aligned = true) { rows_[id] = {opcode, lane, 0, Shape::kVector, aligned, Condition::kO}; }
  void Three(unsigned id, Opcode opcode, std::uint8_t lane = 0, bool aligned = true) { rows_[id] = {opcode, lane, 0, Shape::kVectorThree, aligned, Condition::kO}; }
  void Extend(unsigned id, unsigned vex_id, Opcode opcode, std::uint8_t from, std::uint8_t to) {
    rows_[id] = rows_[vex_id] = {opcode, from, to, Shape::kVector, false, Condition::kO};
  }
  void AddIntegers();
  void AddConditions();
  void AddVectorMoves();
  void AddVectorArithmetic();

  std::vector<Meaning> rows_;
};

void MeaningTable::AddIntegers() {
  using enum Opcode;
  for (const unsigned id : {X86_INS_MOV, X86_INS_MOVABS, X86_INS_MOVNTI}) Plain(id, kMov);
  Plain(X86_INS_MOVZX, kMovZeroExtend), Plain(X86_INS_MOVSX, kMovSignExtend), Plain(X86_INS_MOVSXD, kMovSignExtend);
  Plain(X86_INS_MOVBE, kMovBigEndian), Plain(X86_INS_LEA, kLea), Plain(X86_INS_PUSH, kPush), Plain(X86_INS_POP, kPop);
  Plain(X86_INS_LEAVE, kLeave), Plain(X86_INS_XCHG, kXchg), Plain(X86_INS_BSWAP, kByteSwap);
  Plain(X86_INS_ADD, kAdd), Plain(X86_INS_ADC, kAdc), Plain(X86_INS_SUB, kSub), Plain(X86_INS_SBB, kSbb), Plain(X86_INS_CMP, kCmp);
  Plain(X86_INS_AND, kAnd), Plain(X86_INS_TEST, kTest), Plain(X86_INS_OR, kOr), Plain(X86_INS_XOR, kXor);
  Plain(X86_INS_INC, kInc), Plain(X86_INS_DEC, kDec), Plain(X86_INS_NEG, kNeg), Plain(X86_INS_NOT, kNot);
  Plain(X86_INS_ADCX, kAddCarryOnly), Plain(X86_INS_ADOX, kAddOverflowOnly);
  Plain(X86_INS_IMUL, kImul), Plain(X86_INS_MUL, kMulWide), Plain(X86_INS_DIV, kDiv), Plain(X86_INS_IDIV, kIdiv), Plain(X86_INS_MULX, kMulx);
  rows_[X86_INS_CBW] = {kSignExtendAccumulator, 2}, rows_[X86_INS_CWDE] = {kSignExtendAccumulator, 4}, rows_[X86_INS_CDQE] = {kSignExtendAccumulator, 8};
  rows_[X86_INS_CWD] = {kSignExtendIntoD, 2}, rows_[X86_INS_CDQ] = {kSignExtendIntoD, 4}, rows_[X86_INS_CQO] = {kSignExtendIntoD, 8};
  Plain(X86_INS_SHL, kShl), Plain(X86_INS_SAL, kShl), Plain(X86_INS_SHR, kShr), Plain(X86_INS_SAR, kSar);
  Plain(X86_INS_ROL, kRol), Plain(X86_INS_ROR, kRor), Plain(X86_INS_RCL, kRcl), Plain(X86_INS_RCR, kRcr);
  Plain(X86_INS_SHLD, kShld), Plain(X86_INS_SHRD, kShrd);
  Plain(X86_INS_RORX, kRorx), Plain(X86_INS_SARX, kSarx), Plain(X86_INS_SHLX, kShlx), Plain(X86_INS_SHRX, kShrx);
  Plain(X86_INS_BT, kBitTest), Plain(X86_INS_BTS, kBitSet), Plain(X86_INS_BTR, kBitReset), Plain(X86_INS_BTC, kBitComplement);
  Plain(X86_INS_BSF, kBsf), Plain(X86_INS_BSR, kBsr), Plain(X86_INS_TZCNT, kTzcnt), Plain(X86_INS_LZCNT, kLzcnt), Plain(X86_INS_POPCNT, kPopcnt);
  Plain(X86_INS_ANDN, kAndn), Plain(X86_INS_BEXTR, kBextr), Plain(X86_INS_BLSI, kBlsi), Plain(X86_INS_BLSMSK, kBlsmsk), Plain(X86_INS_BLSR, kBlsr);
  Plain(X86_INS_BZHI, kBzhi), Plain(X86_INS_PDEP, kPdep), Plain(X86_INS_PEXT, kPext);
  Plain(X86_INS_XADD, kXadd), Plain(X86_INS_CMPXCHG, kCmpxchg);
  String(X86_INS_STOSB, kStos, 1), String(X86_INS_STOSW, kStos, 2), String(X86_INS_STOSD, kStos, 4), String(X86_INS_STOSQ, kStos, 8);
  String(X86_INS_MOVSB, kMovs, 1), String(X86_INS_MOVSW, kMovs, 2), String(X86_INS_MOVSD, kMovs, 4), String(X86_INS_MOVSQ, kMovs, 8);
  String(X86_INS_LODSB, kLods, 1), String(X86_INS_LODSW, kLods, 2), String(X86_INS_LODSD, kLods, 4), String(X86_INS_LODSQ, kLods, 8);
  String(X86_INS_SCASB, kScas, 1), String(X86_INS_SCASW, kScas, 2), String(X86_INS_SCASD, kScas, 4), String(X86_INS_SCASQ, kScas, 8);
  String(X86_INS_CMPSB, kCmps, 1), String(X86_INS_CMPSW, kCmps, 2), String(X86_INS_CMPSD, kCmps, 4), String(X86_INS_CMPSQ, kCmps, 8);
  Plain(X86_INS_CLC, kClearCarry), Plain(X86_INS_STC, kSetCarry), Plain(X86_INS_CMC, kComplementCarry);
  for (const unsigned id : {X86_INS_NOP, X86_INS_PAUSE, X86_INS_ENDBR64, X86_INS_ENDBR32, X86_INS_CLD, X86_INS_LFENCE, X86_INS_MFENCE, X86_INS_SFENCE,
                            X86_INS_PREFETCH, X86_INS_PREFETCHNTA, X86_INS_PREFETCHT0, X86_INS_PREFETCHT1, X86_INS_PREFETCHT2, X86_INS_PREFETCHW})
    Plain(id, kNop);
  Plain(X86_INS_JMP, kJmp), Plain(X86_INS_JRCXZ, kJrcxz), Plain(X86_INS_CALL, kCall), Plain(X86_INS_RET, kRet);
#if CS_API_MAJOR >= 5
  constexpr unsigned kUd1 = X86_INS_UD1;
#else
  constexpr unsigned kUd1 = X86_INS_UD2B;  // what Capstone 4 calls the same instruction
#endif
  for (const unsigned id : {static_cast<unsigned>(X86_INS_UD2), static_cast<unsigned>(X86_INS_UD0), kUd1, static_cast<unsigned>(X86_INS_INT3), static_cast<unsigned>(X86_INS_HLT)})
    Plain(id, kTrap);
}

void MeaningTable::AddConditions() {
  // In the order of Condition.
  constexpr std::array<unsigned, 16> kJumps = {X86_INS_JO, X86_INS_JNO, X86_INS_JB, X86_INS_JAE, X86_INS_JE, X86_INS_JNE, X86_INS_JBE, X86_INS_JA,
                                               X86_INS_JS, X86_INS_JNS, X86_INS_JP, X86_INS_JNP, X86_INS_JL, X86_INS_JGE, X86_INS_JLE, X86_INS_JG};
  constexpr std::array<unsigned, 16> kMoves = {X86_INS_CMOVO, X86_INS_CMOVNO, X86_INS_CMOVB, X86_INS_CMOVAE, X86_INS_CMOVE, X86_INS_CMOVNE,
                                               X86_INS_CMOVBE, X86_INS_CMOVA, X86_INS_CMOVS, X86_INS_CMOVNS, X86_INS_CMOVP, X86_INS_CMOVNP,
                                               X86_INS_CMOVL, X86_INS_CMOVGE, X86_INS_CMOVLE, X86_INS_CMOVG};
  constexpr std::array<unsigned, 16> kSets = {X86_INS_SETO, X86_INS_SETNO, X86_INS_SETB, X86_INS_SETAE, X86_INS_SETE, X86_INS_SETNE,
                                              X86_INS_SETBE, X86_INS_SETA, X86_INS_SETS, X86_INS_SETNS, X86_INS_SETP, X86_INS_SETNP,
                                              X86_INS_SETL, X86_INS_SETGE, X86_INS_SETLE, X86_INS_SETG};
  for (std::size_t i = 0; i < 16; ++i) {
    rows_[kJumps[i]].opcode = Opcode::kJcc, rows_[kMoves[i]].opcode = Opcode::kCmov, rows_[kSets[i]].opcode = Opcode::kSet;
    rows_[kJumps[i]].condition = rows_[kMoves[i]].condition = rows_[kSets[i]].condition = static_cast<Condition>(i);
  }
}

void MeaningTable::AddVectorMoves() {
  using enum Opcode;
  for (const unsigned id : {X86_INS_MOVAPS, X86_INS_MOVAPD, X86_INS_MOVDQA, X86_INS_MOVNTDQA, X86_INS_MOVNTDQ, X86_INS_MOVNTPS, X86_INS_MOVNTPD,
                            X86_INS_VMOVAPS, X86_INS_VMOVAPD, X86_INS_VMOVDQA, X86_INS_VMOVDQA32, X86_INS_VMOVDQA64, X86_INS_VMOVNTDQA,
                            X86_INS_VMOVNTDQ, X86_INS_VMOVNTPS, X86_INS_VMOVNTPD})
    Vector(id, kVecMove);
  for (const unsigned id : {X86_INS_MOVUPS, X86_INS_MOVUPD, X86_INS_MOVDQU, X86_INS_LDDQU, X86_INS_VMOVUPS, X86_INS_VMOVUPD, X86_INS_VMOVDQU,
                            X86_INS_VLDDQU, X86_INS_VMOVDQU8, X86_INS_VMOVDQU16, X86_INS_VMOVDQU32, X86_INS_VMOVDQU64})
    Vector(id, kVecMove, 0, false);
  Vector(X86_INS_MOVSS, kVecMoveScalar, 4, false), Vector(X86_INS_VMOVSS, kVecMoveScalar, 4, false);
  Vector(X86_INS_VMOVSD, kVecMoveScalar, 8, false);  // legacy movsd shares the id of the string move: see Decode
  Vector(X86_INS_MOVD, kVecMoveLow, 4, false), Vector(X86_INS_VMOVD, kVecMoveLow, 4, false);
  Vector(X86_INS_MOVQ, kVecMoveLow, 8, false), Vector(X86_INS_VMOVQ, kVecMoveLow, 8, false);
  for (const unsigned id : {X86_INS_MOVLPS, X86_INS_MOVLPD, X86_INS_VMOVLPS, X86_INS_VMOVLPD}) Three(id, kVecLowHalf, 8, false);
  for (const unsigned id : {X86_INS_MOVHPS, X86_INS_MOVHPD, X86_INS_VMOVHPS, X86_INS_VMOVHPD}) Three(id, kVecHighHalf, 8, false);
  Three(X86_INS_MOVHLPS, kVecHighToLow, 8), Three(X86_INS_VMOVHLPS, kVecHighToLow, 8);
  Three(X86_INS_MOVLHPS, kVecLowToHigh, 8), Three(X86_INS_VMOVLHPS, kVecLowToHigh, 8);
  Vector(X86_INS_MOVDDUP, kVecDuplicateLow64, 8, false), Vector(X86_INS_VMOVDDUP, kVecDuplicateLow64, 8, false);
  Vector(X86_INS_PMOVMSKB, kVecMoveMask, 1), Vector(X86_INS_VPMOVMSKB, kVecMoveMask, 1);
  Vector(X86_INS_MOVMSKPS, kVecMoveMask, 4), Vector(X86_INS_VMOVMSKPS, kVecMoveMask, 4);
  Vector(X86_INS_MOVMSKPD, kVecMoveMask, 8), Vector(X86_INS_VMOVMSKPD, kVecMoveMask, 8);
  Three(X86_INS_PINSRB, kVecInsert, 1, false), Three(X86_INS_VPINSRB, kVecInsert, 1, false), Three(X86_INS_PINSRW, kVecInsert, 2, false);
  Three(X86_INS_VPINSRW, kVecInsert, 2, false), Three(X86_INS_PINSRD, kVecInsert, 4, false), Three(X86_INS_VPINSRD, kVecInsert, 4, false);
  Three(X86_INS_PINSRQ, kVecInsert, 8, false), Three(X86_INS_VPINSRQ, kVecInsert, 8, false);
  Vector(X86_INS_PEXTRB, kVecExtract, 1, false), Vector(X86_INS_VPEXTRB, kVecExtract, 1, false), Vector(X86_INS_PEXTRW, kVecExtract, 2, false);
  Vector(X86_INS_VPEXTRW, kVecExtract, 2, false), Vector(X86_INS_PEXTRD, kVecExtract, 4, false), Vector(X86_INS_VPEXTRD, kVecExtract, 4, false);
  Vector(X86_INS_PEXTRQ, kVecExtract, 8, false), Vector(X86_INS_VPEXTRQ, kVecExtract, 8, false);
  Vector(X86_INS_EXTRACTPS, kVecExtract, 4, false), Vector(X86_INS_VEXTRACTPS, kVecExtract, 4, false);
  Vector(X86_INS_VBROADCASTSS, kVecBroadcast, 4, false), Vector(X86_INS_VBROADCASTSD, kVecBroadcast, 8, false);
  Vector(X86_INS_VBROADCASTF128, kVecBroadcast, 16, false);
  Vector(X86_INS_VPBROADCASTB, kVecBroadcast, 1, false), Vector(X86_INS_VPBROADCASTW, kVecBroadcast, 2, false);
  Vector(X86_INS_VPBROADCASTD, kVecBroadcast, 4, false), Vector(X86_INS_VPBROADCASTQ, kVecBroadcast, 8, false);
  Three(X86_INS_VINSERTF128, kVecInsert128, 16, false), Three(X86_INS_VINSERTI128, kVecInsert128, 16, false);
  Vector(X86_INS_VEXTRACTF128, kVecExtract128, 16, false), Vector(X86_INS_VEXTRACTI128, kVecExtract128, 16, false);
  Three(X86_INS_VPERM2F128, kVecPermute128, 16, false), Three(X86_INS_VPERM2I128, kVecPermute128, 16, false);
  Vector(X86_INS_VPERMQ, kVecPermute64, 8, false), Vector(X86_INS_VPERMPD, kVecPermute64, 8, false);
  Extend(X86_INS_PMOVZXBW, X86_INS_VPMOVZXBW, kVecZeroExtend, 1, 2), Extend(X86_INS_PMOVZXBD, X86_INS_VPMOVZXBD, kVecZeroExtend, 1, 4);
  Extend(X86_INS_PMOVZXBQ, X86_INS_VPMOVZXBQ, kVecZeroExtend, 1, 8), Extend(X86_INS_PMOVZXWD, X86_INS_VPMOVZXWD, kVecZeroExtend, 2, 4);
  Extend(X86_INS_PMOVZXWQ, X86_INS_VPMOVZXWQ, kVecZeroExtend, 2, 8), Extend(X86_INS_PMOVZXDQ, X86_INS_VPMOVZXDQ, kVecZeroExtend, 4, 8);
  Extend(X86_INS_PMOVSXBW, X86_INS_VPMOVSXBW, kVecSignExtend, 1, 2), Extend(X86_INS_PMOVSXBD, X86_INS_VPMOVSXBD, kVecSignExtend, 1, 4);
  Extend(X86_INS_PMOVSXBQ, X86_INS_VPMOVSXBQ, kVecSignExtend, 1, 8), Extend(X86_INS_PMOVSXWD, X86_INS_VPMOVSXWD, kVecSignExtend, 2, 4);
  Extend(X86_INS_PMOVSXWQ, X86_INS_VPMOVSXWQ, kVecSignExtend, 2, 8), Extend(X86_INS_PMOVSXDQ, X86_INS_VPMOVSXDQ, kVecSignExtend, 4, 8);
  Plain(X86_INS_VZEROUPPER, kVecZeroUpper), Plain(X86_INS_VZEROALL, kVecZeroAll);
}

void MeaningTable::AddVectorArithmetic() {
  using enum Opcode;
  struct Row { unsigned id, vex_id; Opcode opcode; std::uint8_t lane; };
  constexpr Row kRows[] = {
      {X86_INS_PXOR, X86_INS_VPXOR, kVecXor, 8}, {X86_INS_XORPS, X86_INS_VXORPS, kVecXor, 8}, {X86_INS_XORPD, X86_INS_VXORPD, kVecXor, 8},
      {X86_INS_POR, X86_INS_VPOR, kVecOr, 8}, {X86_INS_ORPS, X86_INS_VORPS, kVecOr, 8}, {X86_INS_ORPD, X86_INS_VORPD, kVecOr, 8},
      {X86_INS_PAND, X86_INS_VPAND, kVecAnd, 8}, {X86_INS_ANDPS, X86_INS_VANDPS, kVecAnd, 8}, {X86_INS_ANDPD, X86_INS_VANDPD, kVecAnd, 8},
      {X86_INS_PANDN, X86_INS_VPANDN, kVecAndNot, 8}, {X86_INS_ANDNPS, X86_INS_VANDNPS, kVecAndNot, 8}, {X86_INS_ANDNPD, X86_INS_VANDNPD, kVecAndNot, 8},
      {X86_INS_PADDB, X86_INS_VPADDB, kVecAdd, 1}, {X86_INS_PADDW, X86_INS_VPADDW, kVecAdd, 2}, {X86_INS_PADDD, X86_INS_VPADDD, kVecAdd, 4},
      {X86_INS_PADDQ, X86_INS_VPADDQ, kVecAdd, 8}, {X86_INS_PSUBB, X86_INS_VPSUBB, kVecSub, 1}, {X86_INS_PSUBW, X86_INS_VPSUBW, kVecSub, 2},
      {X86_INS_PSUBD, X86_INS_VPSUBD, kVecSub, 4}, {X86_INS_PSUBQ, X86_INS_VPSUBQ, kVecSub, 8},
      {X86_INS_PCMPEQB, X86_INS_VPCMPEQB, kVecCompareEqual, 1}, {X86_INS_PCMPEQW, X86_INS_VPCMPEQW, kVecCompareEqual, 2},
      {X86_INS_PCMPEQD, X86_INS_VPCMPEQD, kVecCompareEqual, 4}, {X86_INS_PCMPEQQ, X86_INS_VPCMPEQQ, kVecCompareEqual, 8},
      {X86_INS_PCMPGTB, X86_INS_VPCMPGTB, kVecCompareGreater, 1}, {X86_INS_PCMPGTW, X86_INS_VPCMPGTW, kVecCompareGreater, 2},
      {X86_INS_PCMPGTD, X86_INS_VPCMPGTD, kVecCompareGreater, 4}, {X86_INS_PCMPGTQ, X86_INS_VPCMPGTQ, kVecCompareGreater, 8},
      {X86_INS_PMINUB, X86_INS_VPMINUB, kVecMinUnsigned, 1}, {X86_INS_PMINUW, X86_INS_VPMINUW, kVecMinUnsigned, 2},
      {X86_INS_PMINUD, X86_INS_VPMINUD, kVecMinUnsigned, 4}, {X86_INS_PMAXUB, X86_INS_VPMAXUB, kVecMaxUnsigned, 1},
      {X86_INS_PMAXUW, X86_INS_VPMAXUW, kVecMaxUnsigned, 2}, {X86_INS_PMAXUD, X86_INS_VPMAXUD, kVecMaxUnsigned, 4},
      {X86_INS_PMINSB, X86_INS_VPMINSB, kVecMinSigned, 1}, {X86_INS_PMINSW, X86_INS_VPMINSW, kVecMinSigned, 2},
      {X86_INS_PMINSD, X86_INS_VPMINSD, kVecMinSigned, 4}, {X86_INS_PMAXSB, X86_INS_VPMAXSB, kVecMaxSigned, 1},
      {X86_INS_PMAXSW, X86_INS_VPMAXSW, kVecMaxSigned, 2}, {X86_INS_PMAXSD, X86_INS_VPMAXSD, kVecMaxSigned, 4},
      {X86_INS_PMULLW, X86_INS_VPMULLW, kVecMulLow, 2}, {X86_INS_PMULLD, X86_INS_VPMULLD, kVecMulLow, 4}, {X86_INS_PMULUDQ, X86_INS_VPMULUDQ, kVecMulUnsignedWide, 8},
      {X86_INS_PUNPCKLBW, X86_INS_VPUNPCKLBW, kVecUnpackLow, 1}, {X86_INS_PUNPCKLWD, X86_INS_VPUNPCKLWD, kVecUnpackLow, 2},
      {X86_INS_PUNPCKLDQ, X86_INS_VPUNPCKLDQ, kVecUnpackLow, 4}, {X86_INS_PUNPCKLQDQ, X86_INS_VPUNPCKLQDQ, kVecUnpackLow, 8},
      {X86_INS_PUNPCKHBW, X86_INS_VPUNPCKHBW, kVecUnpackHigh, 1}, {X86_INS_PUNPCKHWD, X86_INS_VPUNPCKHWD, kVecUnpackHigh, 2},
      {X86_INS_PUNPCKHDQ, X86_INS_VPUNPCKHDQ, kVecUnpackHigh, 4}, {X86_INS_PUNPCKHQDQ, X86_INS_VPUNPCKHQDQ, kVecUnpackHigh, 8},
      {X86_INS_UNPCKLPS, X86_INS_VUNPCKLPS, kVecUnpackLow, 4}, {X86_INS_UNPCKLPD, X86_INS_VUNPCKLPD, kVecUnpackLow, 8},
      {X86_INS_UNPCKHPS, X86_INS_VUNPCKHPS, kVecUnpackHigh, 4}, {X86_INS_UNPCKHPD, X86_INS_VUNPCKHPD, kVecUnpackHigh, 8},
      {X86_INS_PACKSSWB, X86_INS_VPACKSSWB, kVecPackSigned, 2}, {X86_INS_PACKSSDW, X86_INS_VPACKSSDW, kVecPackSigned, 4},
      {X86_INS_PACKUSWB, X86_INS_VPACKUSWB, kVecPackUnsigned, 2}, {X86_INS_PACKUSDW, X86_INS_VPACKUSDW, kVecPackUnsigned, 4},
      {X86_INS_SHUFPS, X86_INS_VSHUFPS, kVecShufflePs, 4}, {X86_INS_SHUFPD, X86_INS_VSHUFPD, kVecShufflePd, 8},
      {X86_INS_PSHUFB, X86_INS_VPSHUFB, kVecShuffleBytes, 1}, {X86_INS_PALIGNR, X86_INS_VPALIGNR, kVecAlignRight, 1},
      {X86_INS_PSLLW, X86_INS_VPSLLW, kVecShiftLeft, 2}, {X86_INS_PSLLD, X86_INS_VPSLLD, kVecShiftLeft, 4}, {X86_INS_PSLLQ, X86_INS_VPSLLQ, kVecShiftLeft, 8},
      {X86_INS_PSRLW, X86_INS_VPSRLW, kVecShiftRight, 2}, {X86_INS_PSRLD, X86_INS_VPSRLD, kVecShiftRight, 4}, {X86_INS_PSRLQ, X86_INS_VPSRLQ, kVecShiftRight, 8},
      {X86_INS_PSRAW, X86_INS_VPSRAW, kVecShiftRightSigned, 2}, {X86_INS_PSRAD, X86_INS_VPSRAD, kVecShiftRightSigned, 4},
      {X86_INS_PSLLDQ, X86_INS_VPSLLDQ, kVecShiftLeftBytes, 1}, {X86_INS_PSRLDQ, X86_INS_VPSRLDQ, kVecShiftRightBytes, 1},
      {X86_INS_PBLENDW, X86_INS_VPBLENDW, kVecBlend, 2}, {X86_INS_BLENDPS, X86_INS_VBLENDPS, kVecBlend, 4}, {X86_INS_BLENDPD, X86_INS_VBLENDPD, kVecBlend, 8},
      {X86_INS_VPBLENDD, X86_INS_VPBLENDD, kVecBlend, 4}, {X86_INS_PBLENDVB, X86_INS_VPBLENDVB, kVecBlendBytes, 1},
  };
  for (const Row& row : kRows) Three(row.id, row.opcode, row.lane), Three(row.vex_id, row.opcode, row.lane);
  // EVEX spellings of the logic.
  Three(X86_INS_VPXORD, kVecXor, 8), Three(X86_INS_VPXORQ, kVecXor, 8), Three(X86_INS_VPORD, kVecOr, 8), Three(X86_INS_VPORQ, kVecOr, 8);
  Three(X86_INS_VPANDD, kVecAnd, 8), Three(X86_INS_VPANDQ, kVecAnd, 8), Three(X86_INS_VPANDND, kVecAndNot, 8), Three(X86_INS_VPANDNQ, kVecAndNot, 8);
  Vector(X86_INS_PSHUFD, kVecShuffle32, 4), Vector(X86_INS_VPSHUFD, kVecShuffle32, 4);
  Vector(X86_INS_PSHUFLW, kVecShuffleLow16, 2), Vector(X86_INS_VPSHUFLW, kVecShuffleLow16, 2);
  Vector(X86_INS_PSHUFHW, kVecShuffleHigh16, 2), Vector(X86_INS_VPSHUFHW, kVecShuffleHigh16, 2);
  Vector(X86_INS_VPERMILPS, kVecPermuteInGroups, 4), Vector(X86_INS_VPERMILPD, kVecPermuteInGroups, 8);
  Vector(X86_INS_PTEST, kVecTest, 8), Vector(X86_INS_VPTEST, kVecTest, 8);
}

// Capstone's register ids -> operands. `kind` kNone: not a register pygc knows.
class RegisterTable {
 public:
  RegisterTable() : rows_(X86_REG_ENDING) {
    constexpr unsigned k64[] = {X86_REG_RAX, X86_REG_RCX, X86_REG_RDX, X86_REG_RBX, X86_REG_RSP, X86_REG_RBP, X86_REG_RSI, X86_REG_RDI,
                                X86_REG_R8, X86_REG_R9, X86_REG_R10, X86_REG_R11, X86_REG_R12, X86_REG_R13, X86_REG_R14, X86_REG_R15};
    constexpr unsigned k32[] = {X86_REG_EAX, X86_REG_ECX, X86_REG_EDX, X86_REG_EBX, X86_REG_ESP, X86_REG_EBP, X86_REG_ESI, X86_REG_EDI,
                                X86_REG_R8D, X86_REG_R9D, X86_REG_R10D, X86_REG_R11D, X86_REG_R12D, X86_REG_R13D, X86_REG_R14D, X86_REG_R15D};
    constexpr unsigned k16[] = {X86_REG_AX, X86_REG_CX, X86_REG_DX, X86_REG_BX, X86_REG_SP, X86_REG_BP, X86_REG_SI, X86_REG_DI,
                                X86_REG_R8W, X86_REG_R9W, X86_REG_R10W, X86_REG_R11W, X86_REG_R12W, X86_REG_R13W, X86_REG_R14W, X86_REG_R15W};
    constexpr unsigned k8[] = {X86_REG_AL, X86_REG_CL, X86_REG_DL, X86_REG_BL, X86_REG_SPL, X86_REG_BPL, X86_REG_SIL, X86_REG_DIL,
                               X86_REG_R8B, X86_REG_R9B, X86_REG_R10B, X86_REG_R11B, X86_REG_R12B, X86_REG_R13B, X86_REG_R14B, X86_REG_R15B};
    for (std::uint8_t i = 0; i < 16; ++i) {
      rows_[k64[i]] = {OperandKind::kRegister, i, 8};
      rows_[k32[i]] = {OperandKind::kRegister, i, 4};
      rows_[k16[i]] = {OperandKind::kRegister, i, 2};
      rows_[k8[i]] = {OperandKind::kRegister, i, 1};
    }
    constexpr unsigned kHigh[] = {X86_REG_AH, X86_REG_CH, X86_REG_DH, X86_REG_BH};
    for (std::uint8_t i = 0; i < 4; ++i) rows_[kHigh[i]] = {OperandKind::kHighByte, i, 1};
    for (std::uint8_t i = 0; i < 32; ++i) {
      rows_[X86_REG_XMM0 + i] = {OperandKind::kVector, i, 16};
      rows_[X86_REG_YMM0 + i] = {OperandKind::kVector, i, 32};
      rows_[X86_REG_ZMM0 + i] = {OperandKind::kVector, i, 64};
    }
  }
  [[nodiscard]] Operand Find(unsigned id) const { return id < rows_.size() ? rows_[id] : Operand{}; }

 private:
  std::vector<Operand> rows_;
};

const MeaningTable& Meanings() {
  static const MeaningTable table;
  return table;
}
const RegisterTable& Registers() {
  static const RegisterTable table;
  return table;
}

// What stands before the opcode, read from the bytes themselves.
struct Prefixes {
  bool operand_16 = false, address_32 = false, lock = false, rep = false, repne = false, fs = false, other_segment = false, rex_w = false;
  bool vex = false, evex = false, vex_w = false, two_byte = false;
  std::uint8_t opcode = 0;        // first opcode byte, behind 0f for two-byte opcodes; 0 for VEX
  std::uint8_t vex_prefix = 0;    // the pp field: 0 none, 1 66, 2 f3, 3 f2
  std::size_t opcode_end = 0;     // index behind the opcode; not for VEX and EVEX
  bool valid = false;
};

Prefixes ReadPrefixes(std::span<const std::byte> bytes) {
  Prefixes p;
  std::size_t i = 0;
  const auto at = [&](std::size_t k) { return k < bytes.size() ? static_cast<std::uint8_t>(bytes[k]) : std::uint8_t{0}; };
  for (;; ++i) {
    if (i >= bytes.size() || i >= kMaxInstructionBytes) return p;
    const std::uint8_t b = at(i);
    if (b == 0x66) p.operand_16 = true;
    else if (b == 0x67) p.address_32 = true;
    else if (b == 0xf0) p.lock = true;
    else if (b == 0xf2) p.repne = true;
    else if (b == 0xf3) p.rep = true;
    else if (b == 0x64) p.fs = true;
    else if (b == 0x65) return p;  // gs: never in user code of x86-64 Linux
    else if (b == 0x2e || b == 0x36 || b == 0x3e || b == 0x26) p.other_segment = true;
    else break;
  }
  std::uint8_t b = at(i);
  if (b == 0xc4 || b == 0xc5 || b == 0x62) {
    p.vex = true, p.evex = b == 0x62;
    if (p.operand_16 || p.lock || p.rep || p.repne) return p;  // #UD
    if (p.evex && (at(i + 3) & 0x17) != 0) return p;           // masked or broadcast: not modelled
    p.vex_w = b != 0xc5 && (at(i + 2) & 0x80) != 0;
    if (p.evex) p.vex_prefix = at(i + 2) & 3, p.opcode = at(i + 4);
    p.valid = true;
    return p;
  }
  if ((b & 0xf0) == 0x40) {
    p.rex_w = (b & 8) != 0;
    b = at(++i);
    const bool is_prefix = b == 0x66 || b == 0x67 || b == 0xf0 || b == 0xf2 || b == 0xf3 || b == 0x64 || b == 0x65 || b == 0x2e || b == 0x36 || b == 0x3e ||
                           b == 0x26 || (b & 0xf0) == 0x40 || b == 0xc4 || b == 0xc5 || b == 0x62;
    if (is_prefix) return p;  // a REX that is not last is ignored by the processor: no compiler writes it
  }
  if (b == 0x0f) p.two_byte = true, b = at(++i);
  p.opcode = b;
  p.opcode_end = i + 1;
  p.valid = !(p.rep && p.repne) && !(p.fs && p.other_segment);
  return p;
}

bool IsStringOperation(Opcode o) { return o >= Opcode::kStos && o <= Opcode::kCmps; }
bool IsControl(Opcode o) { return o >= Opcode::kJmp && o <= Opcode::kRet; }

bool MayBeLocked(Opcode o) {
  using enum Opcode;
  switch (o) {
    case kAdd: case kAdc: case kSub: case kSbb: case kAnd: case kOr: case kXor: case kInc: case kDec: case kNeg: case kNot: case kXadd: case kCmpxchg:
    case kXchg: case kBitSet: case kBitReset: case kBitComplement: return true;
    default: return false;
  }
}

// False for prefixes that the processor gives a meaning which pygc does not model, or that vendors treat differently.
bool PrefixesFit(const Prefixes& p, Opcode opcode, bool has_memory) {
  if (opcode == Opcode::kNop) return !p.lock;
  if (p.operand_16 && (opcode == Opcode::kPush || opcode == Opcode::kPop || opcode == Opcode::kLeave)) return false;
  if (p.operand_16 && !p.rex_w && IsControl(opcode)) return false;
  // Capstone 4 takes the first two for other prefixes: it reads 0x67 REX.W 0x0f as 0x66 0x0f, and xchg of 16 bits as one of 32.
  if (p.address_32 && p.rex_w && (p.two_byte || opcode == Opcode::kPush || opcode == Opcode::kPop)) return false;
  if (p.address_32 && p.operand_16 && !has_memory) return false;
  if (p.address_32 && (IsStringOperation(opcode) || opcode == Opcode::kJrcxz)) return false;
  if (p.fs && (IsStringOperation(opcode) || !has_memory)) return false;
  const bool counts_bits = p.two_byte && (p.opcode == 0xb8 || p.opcode == 0xbc || p.opcode == 0xbd);  // popcnt, tzcnt, lzcnt
  if (p.two_byte && p.operand_16 && (p.rep || p.repne) && !counts_bits) return false;
  if ((p.rep || p.repne) && !p.two_byte && !IsStringOperation(opcode) && !IsControl(opcode)) return false;  // xacquire, xrelease and meaningless ones
  return true;
}

class X86_64Stream final : public InstructionStream {
 public:
  static std::unique_ptr<InstructionStream> Make() {
    csh handle = 0;
    if (cs_open(CS_ARCH_X86, CS_MODE_64, &handle) != CS_ERR_OK) return nullptr;
    if (cs_option(handle, CS_OPT_DETAIL, CS_OPT_ON) != CS_ERR_OK) {
      cs_close(&handle);
      return nullptr;
    }
    cs_insn* insn = cs_malloc(handle);
    if (insn == nullptr) {
      cs_close(&handle);
      return nullptr;
    }
    return std::unique_ptr<InstructionStream>(new X86_64Stream(handle, insn));
  }
  ~X86_64Stream() override {
    cs_free(insn_, 1);
    cs_close(&handle_);
  }
  X86_64Stream(const X86_64Stream&) = delete;
  X86_64Stream& operator=(const X86_64Stream&) = delete;

  bool Decode(std::span<const std::byte> bytes, Address at, Instruction& out) override;

 private:
  X86_64Stream(csh handle, cs_insn* insn) : handle_(handle), insn_(insn) {}
  bool AddOperands(const cs_x86& x86, const Meaning& meaning, const Prefixes& prefixes, Address at, Instruction& out) const;
  bool SetMemory(const cs_x86_op& op, const Prefixes& prefixes, Address end, Instruction& out) const;

  csh handle_;
  cs_insn* insn_;
};

bool X86_64Stream::SetMemory(const cs_x86_op& op, const Prefixes& prefixes, Address end, Instruction& out) const {
  const x86_op_mem& mem = op.mem;
  if ((mem.segment == X86_REG_FS) != prefixes.fs || mem.segment == X86_REG_GS) return false;
  out.uses_fs = prefixes.fs;
  out.address_32 = prefixes.address_32;
  out.displacement = mem.disp;
  const std::uint8_t address_size = prefixes.address_32 ? 4 : 8;
  if (mem.base == X86_REG_RIP) {
    if (prefixes.address_32 || mem.index != X86_REG_INVALID) return false;
    out.displacement = static_cast<std::int64_t>(end + static_cast<std::uint64_t>(mem.disp));
    return true;
  }
  if (mem.base != X86_REG_INVALID) {
    const Operand r = Registers().Find(mem.base);
    if (r.kind != OperandKind::kRegister || r.size != address_size) return false;
    out.base = r.reg;
  }
  if (mem.index != X86_REG_INVALID && mem.index != X86_REG_RIZ && mem.index != X86_REG_EIZ) {
    const Operand r = Registers().Find(mem.index);
    if (r.kind != OperandKind::kRegister || r.size != address_size) return false;
    out.index = r.reg;
    switch (mem.scale) {
      case 1: out.scale_shift = 0; break;
      case 2: out.scale_shift = 1; break;
      case 4: out.scale_shift = 2; break;
      case 8: out.scale_shift = 3; break;
      default: return false;
    }
  }
  return true;
}

bool X86_64Stream::AddOperands(const cs_x86& x86, const Meaning& meaning, const Prefixes& prefixes, Address at, Instruction& out) const {
  if (meaning.shape == Shape::kString) return true;
  if (x86.op_count > out.operands.size()) return false;
  bool has_memory = false;
  for (std::uint8_t i = 0; i < x86.op_count; ++i) {
    const cs_x86_op& op = x86.operands[i];
    Operand& to = out.operands[out.operand_count++];
    switch (op.type) {
      case X86_OP_REG:
        to = Registers().Find(op.reg);
        if (to.kind == OperandKind::kNone) return false;
        break;
      case X86_OP_MEM:
        if (has_memory || !SetMemory(op, prefixes, at + out.length, out)) return false;
        has_memory = true;
        to = {OperandKind::kMemory, 0, op.size};
        break;
      case X86_OP_IMM:
        to = {OperandKind::kImmediate, 0, op.size};
        out.immediate = op.imm;
        break;
      default: return false;
    }
  }
  return true;
}

bool IsVectorShape(Shape shape) { return shape == Shape::kVector || shape == Shape::kVectorThree; }

// Legacy SSE: op dst, src -> op dst, dst, src.
bool RepeatDestination(Instruction& out) {
  if (out.operand_count >= out.operands.size()) return false;
  for (std::size_t i = out.operand_count; i > 1; --i) out.operands[i] = out.operands[i - 1];
  out.operands[1] = out.operands[0];
  ++out.operand_count;
  return true;
}

// The destination is a vector register except where the operation moves out of one; what a mask or a test is made of is a register as well.
bool VectorOperandsFit(const Instruction& i) {
  using enum Opcode;
  const bool store = i.opcode == kVecMove || i.opcode == kVecMoveScalar || i.opcode == kVecMoveLow || i.opcode == kVecLowHalf || i.opcode == kVecHighHalf ||
                     i.opcode == kVecExtract || i.opcode == kVecExtract128;
  const bool to_general = i.opcode == kVecMoveLow || i.opcode == kVecMoveMask || i.opcode == kVecExtract;
  switch (i.operands[0].kind) {
    case OperandKind::kVector: return i.opcode != kVecMoveMask && i.opcode != kVecExtract;
    case OperandKind::kMemory: return store && i.operands[1].kind == OperandKind::kVector;
    case OperandKind::kRegister: return to_general && i.operands[1].kind == OperandKind::kVector;
    default: return false;
  }
}

// Operations whose unmasked EVEX form is the VEX one with longer registers.
bool HasEvexForm(Opcode o) {
  using enum Opcode;
  switch (o) {
    case kVecMove: case kVecXor: case kVecOr: case kVecAnd: case kVecAndNot: case kVecAdd: case kVecSub: case kVecMinUnsigned: case kVecMaxUnsigned:
    case kVecMinSigned: case kVecMaxSigned: case kVecMulLow: case kVecUnpackLow: case kVecUnpackHigh: case kVecShuffle32: case kVecShuffleBytes:
    case kVecBroadcast: case kVecShiftLeft: case kVecShiftRight: case kVecShiftRightSigned: case kVecPermuteInGroups: return true;
    default: return false;
  }
}

// VEX.W says something to these; elsewhere it is ignored or #UD, and compilers leave it 0. EVEX.W is 0 for lanes of four bytes, for what has the name of
// packed singles, and for non-temporal moves. Capstone 4 checks none of this.
bool FitsVexW(const Prefixes& prefixes, const Instruction& i) {
  using enum Opcode;
  if (!prefixes.vex_w) return true;
  if (!prefixes.evex) return i.opcode == kVecInsert || i.opcode == kVecExtract || i.opcode == kVecMoveLow || i.opcode == kVecPermute64;
  constexpr std::uint8_t kNonTemporalStore = 0xe7, kNonTemporalLoad = 0x2a;
  if (i.opcode == kVecMove) return prefixes.vex_prefix != 0 && prefixes.opcode != kNonTemporalStore && prefixes.opcode != kNonTemporalLoad;
  return i.lane != 4 && (i.opcode != kVecBroadcast || i.lane == 8 || i.operands[1].kind != OperandKind::kRegister);
}

// Brings the operands of a vector operation to one form and checks what the machine relies on.
bool NormaliseVector(const Meaning& meaning, const Prefixes& prefixes, Instruction& out) {
  out.clears_upper = prefixes.vex;
  std::uint8_t widest = 0;
  bool has_vector = false;
  for (const Operand& o : out.operands) {
    if (o.kind == OperandKind::kVector) has_vector = true, widest = std::max(widest, o.size);
    if (o.kind == OperandKind::kVector && !prefixes.evex && o.reg > 15) return false;
  }
  if (!has_vector) return false;  // MMX
  if (prefixes.evex && !HasEvexForm(out.opcode)) return false;
  if (widest > 32 && !prefixes.evex) return false;
  if (!FitsVexW(prefixes, out)) return false;
  const bool store = out.operands[0].kind == OperandKind::kMemory;
  if (meaning.shape == Shape::kVectorThree) {
    const bool three = prefixes.vex || store;
    if (out.opcode == Opcode::kVecBlendBytes && !prefixes.vex) {  // implicit mask xmm0
      if (out.operand_count == 2) out.operands[2] = {OperandKind::kVector, 0, 16}, out.operand_count = 3;
      if (out.operand_count != 3 || out.operands[2].kind != OperandKind::kVector || out.operands[2].reg != 0) return false;
    }
    if (!three && !RepeatDestination(out)) return false;
  }
  if (out.opcode == Opcode::kVecPermuteInGroups && out.operands[2].kind != OperandKind::kImmediate) return false;
  // Memory of a whole-register operation has the register's size, whatever is printed.
  if (meaning.lane == 0 || (meaning.shape == Shape::kVectorThree && meaning.aligned)) {
    for (Operand& o : out.operands)
      if (o.kind == OperandKind::kMemory && out.operands[0].kind == OperandKind::kVector) o.size = out.operands[0].size;
    if (store) out.operands[0].size = widest;
  }
  const bool whole_move = out.opcode == Opcode::kVecMove;
  out.needs_alignment = meaning.aligned && (whole_move || !prefixes.vex);
  return VectorOperandsFit(out);
}

// Operations whose result the architecture leaves undefined for some operands, and one whose width Capstone does not tell: no compiler writes them.
bool HasDefinedResult(const Prefixes& prefixes, const Instruction& i) {
  const std::uint8_t size = i.operands[0].size;
  if (i.opcode == Opcode::kByteSwap) return size != 2;
  if (i.opcode == Opcode::kShld || i.opcode == Opcode::kShrd) return size != 2 || (i.operands[2].kind == OperandKind::kImmediate && (i.immediate & 31) <= 16);
  if (i.opcode == Opcode::kMovSignExtend && !prefixes.two_byte) return prefixes.rex_w;  // movsxd without REX.W: a mov
  return true;
}

// Where a relative jump or call leads, from its bytes: with REX.W and an operand or address size prefix Capstone 4 cuts it to 16 bits. False where its length
// is not that of the opcode and a displacement of one or four bytes.
bool SetBranchTarget(std::span<const std::byte> bytes, const Prefixes& prefixes, Address at, Instruction& out) {
  const bool is_near = prefixes.two_byte || prefixes.opcode == 0xe8 || prefixes.opcode == 0xe9;
  const std::size_t size = is_near ? 4 : 1;
  if (out.length != prefixes.opcode_end + size || bytes.size() < out.length) return false;
  std::int32_t near = 0;
  std::int8_t close = 0;
  std::memcpy(is_near ? static_cast<void*>(&near) : &close, &bytes[prefixes.opcode_end], size);
  out.immediate = static_cast<std::int64_t>(at + out.length + static_cast<std::uint64_t>(static_cast<std::int64_t>(is_near ? near : close)));
  return true;
}

bool X86_64Stream::Decode(std::span<const std::byte> bytes, Address at, Instruction& out) {
  out = Instruction{};
  const Prefixes prefixes = ReadPrefixes(bytes);
  if (!prefixes.valid) return false;
  const std::uint8_t* code = reinterpret_cast<const std::uint8_t*>(bytes.data());
  std::size_t size = std::min(bytes.size(), kMaxInstructionBytes);
  std::uint64_t address = at;
  if (!cs_disasm_iter(handle_, &code, &size, &address, insn_)) return false;
  if (insn_->detail == nullptr || insn_->size == 0 || insn_->size > kMaxInstructionBytes) return false;
  const cs_x86& x86 = insn_->detail->x86;

  Meaning meaning = Meanings().Find(insn_->id);
  if (meaning.shape == Shape::kString && (prefixes.two_byte || prefixes.vex)) {  // movsd and cmpsd name an SSE operation as well
    if (insn_->id != X86_INS_MOVSD) return false;
    meaning = Meanings().Find(X86_INS_VMOVSD);
  }
  if (meaning.opcode == Opcode::kInvalid) return false;
  out.opcode = meaning.opcode;
  out.length = static_cast<std::uint8_t>(insn_->size);
  out.condition = meaning.condition;
  out.lane = meaning.lane;
  out.lane_to = meaning.lane_to;
  if (out.opcode == Opcode::kNop || out.opcode == Opcode::kTrap) return PrefixesFit(prefixes, out.opcode, true);
  if (!AddOperands(x86, meaning, prefixes, at, out)) return false;

  bool has_memory = false;
  for (const Operand& o : out.operands) has_memory |= o.kind == OperandKind::kMemory;
  if (!PrefixesFit(prefixes, out.opcode, has_memory)) return false;
  if (prefixes.lock) {
    if (!MayBeLocked(out.opcode) || out.operands[0].kind != OperandKind::kMemory) return false;
    out.is_locked = true;
  }
  if (IsStringOperation(out.opcode)) {
    // From the bytes: Capstone 4 overlooks an operand size prefix that stands before the repeat prefix.
    out.lane = (prefixes.opcode & 1) == 0 ? 1 : prefixes.rex_w ? 8 : prefixes.operand_16 ? 2 : 4;
    const bool compares = out.opcode == Opcode::kScas || out.opcode == Opcode::kCmps;
    out.repeats = prefixes.rep;
    out.repeats_while_not_equal = prefixes.repne;
    return compares || !prefixes.repne;
  }
  if (out.EndsBlock() && out.opcode != Opcode::kRet && out.operands[0].kind == OperandKind::kImmediate) return SetBranchTarget(bytes, prefixes, at, out);
  if (out.opcode == Opcode::kImul && out.operand_count == 1) out.opcode = Opcode::kImulWide;
  if (IsVectorShape(meaning.shape)) return NormaliseVector(meaning, prefixes, out);
  for (const Operand& o : out.operands)
    if (o.kind == OperandKind::kVector) return false;
  return HasDefinedResult(prefixes, out);
}

}  // namespace

std::unique_ptr<InstructionStream> MakeInstructionStream(Architecture architecture) {
  switch (architecture) {
    case Architecture::kX86_64: return X86_64Stream::Make();
  }
  return nullptr;
}

}  // namespace pygc::disasm
