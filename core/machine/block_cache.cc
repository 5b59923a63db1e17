#include "core/machine/block_cache.h"

#include <algorithm>
#include <array>

namespace pygc::machine {

using disasm::Instruction;
using disasm::Opcode;
using disasm::Operand;
using disasm::OperandKind;

BlockCache::BlockCache(const target::Process& process, std::shared_ptr<const Linkage> linkage, const CodeRules& rules)
    : process_(&process),
      linkage_(std::move(linkage)),
      rules_(rules),
      stream_(disasm::MakeInstructionStream(disasm::Architecture::kX86_64)),
      quick_(kQuickEntries),
      names_(1) {}
BlockCache::~BlockCache() = default;

void BlockCache::Empty() {
  blocks_.clear();
  block_pool_.Clear();
  op_pool_.Clear();
  instruction_pool_.Clear();
  std::fill(quick_.begin(), quick_.end(), Quick{});
  decoded_ = 0;
  ++generation_;
}

std::uint16_t BlockCache::NameIndex(std::string_view name) {
  const auto it = std::find(names_.begin(), names_.end(), name);
  if (it != names_.end()) return static_cast<std::uint16_t>(it - names_.begin());
  if (names_.size() >= 0xffff) return 0xffff;
  names_.push_back(name);
  return static_cast<std::uint16_t>(names_.size() - 1);
}

Block* BlockCache::FindSlow(Address address) {
  if (const auto it = blocks_.find(address); it != blocks_.end()) return it->second;
  // A block costs at least one, so that addresses without code are bounded as well.
  if (decoded_ + kMaxBlockInstructions > rules_.max_instructions) Empty();
  Block* block = Build(address);
  decoded_ += std::max<std::size_t>(block->cost, 1);
  decoded_total_ += block->cost;
  blocks_.emplace(address, block);
  return block;
}

Block* BlockCache::BuildSpecial(Address address, Handler handler, std::uint8_t a, std::uint16_t name) {
  MicroOp* op = op_pool_.Allocate(1);
  *op = MicroOp{};
  op->handler = handler;
  op->a = a;
  op->name = name;
  Block* block = block_pool_.Allocate(1);
  *block = Block{};
  block->start = block->end = address;
  block->ops = op;
  block->op_count = block->cost = 1;
  return block;
}

// kNone when code at `address` may run.
StopReason BlockCache::CheckCode(Address address) const {
  const target::Segment* segment = process_->memory.Find(address);
  if (segment == nullptr) return StopReason::kNoCode;
  const bool from_file = segment->module < process_->modules.size();
  if (!segment->executable) return StopReason::kUntrustedCode;
  if ((segment->writable || !from_file) && !rules_.trust_anonymous_code) return StopReason::kUntrustedCode;
  return StopReason::kNone;
}

// Decodes the instruction at `address`; its length, or 0.
std::size_t BlockCache::Decode(Address address, Instruction& out) {
  std::array<std::byte, disasm::kMaxInstructionBytes> bytes;
  std::size_t size = bytes.size();
  const target::Segment* segment = process_->memory.Find(address);
  if (segment == nullptr) return 0;
  size = std::min<std::uint64_t>(size, segment->range.end - address);
  std::copy_n(segment->bytes + (address - segment->range.begin), size, bytes.begin());
  if (size < bytes.size()) {  // the rest may lie in the next segment, if that is code as well
    const Address rest = address + size;
    if (CheckCode(rest) == StopReason::kNone) {
      const Result<std::size_t> n = process_->memory.Read(rest, std::span(bytes).subspan(size));
      if (n) size += *n;
    }
  }
  if (!stream_->Decode(std::span(bytes).first(size), address, out)) return 0;
  return out.length;
}

Block* BlockCache::Build(Address address) {
  const auto stop = [&](StopReason reason) { return BuildSpecial(address, Handler::kStop, static_cast<std::uint8_t>(reason), 0); };
  if (address == rules_.visit) return BuildSpecial(address, Handler::kVisit, 0, 0);
  if (address == rules_.returned) return BuildSpecial(address, Handler::kReturned, 0, 0);
  if (stream_ == nullptr) return stop(StopReason::kNoDecoder);
  const NamedFunction function = linkage_->FindFunction(address);
  if (function.function != LibraryFunction::kNone)
    return BuildSpecial(address, Handler::kEnterModel, static_cast<std::uint8_t>(function.function), NameIndex(function.name));
  if (const StopReason reason = CheckCode(address); reason != StopReason::kNone) return stop(reason);

  std::array<Instruction, kMaxBlockInstructions> decoded;
  std::size_t count = 0;
  Address at = address;
  bool ends = false, unknown = false;
  while (count < kMaxBlockInstructions && !ends) {
    if (count != 0 && CheckCode(at) != StopReason::kNone) break;
    const std::size_t length = Decode(at, decoded[count]);
    if (length == 0) {
      unknown = true;
      break;
    }
    ends = decoded[count].EndsBlock();
    at += length;
    ++count;
  }
  Instruction* instructions = instruction_pool_.Allocate(std::max<std::size_t>(count, 1));
  std::copy_n(decoded.begin(), count, instructions);
  MicroOp* ops = op_pool_.Allocate(count + 1);
  Block* block = block_pool_.Allocate(1);
  *block = Block{};
  block->start = address;
  std::uint32_t n = 0;
  for (std::size_t k = 0; k < count; ++k) {
    ops[n] = MicroOp{};
    ops[n].instruction = &instructions[k];
    Lower(instructions[k], ops[n]);
    ++n;
  }
  if (!ends) {
    ops[n] = MicroOp{};
    ops[n].handler = unknown ? Handler::kStop : Handler::kFallThrough;
    ops[n].a = static_cast<std::uint8_t>(StopReason::kUnknownInstruction);
    ++n;
  }
  block->end = at;
  block->ops = ops;
  block->op_count = n;
  block->cost = static_cast<std::uint32_t>(std::max<std::size_t>(count, 1));
  return block;
}

void BlockCache::Lower(const Instruction& i, MicroOp& op) {
  op.base = i.base, op.index = i.index, op.scale_shift = i.scale_shift;
  op.displacement = i.displacement;
  op.immediate = i.immediate;
  if (i.EndsBlock()) {
    LowerControl(i, op);
    return;
  }
  if (!rules_.shortcuts || i.uses_fs || i.address_32 || !LowerShortcut(i, op)) op.handler = Handler::kGeneric;
}

// A jump or call through the slot at a fixed address: when the relocation there names a function that is modelled, or the slot is not bound yet, the answer
// is known now.
void BlockCache::BindThroughSlot(Address slot, bool is_call, MicroOp& op) {
  op.handler = is_call ? Handler::kCallMem : Handler::kJmpMem;
  const std::optional<LinkSlot> link = linkage_->FindSlot(slot);
  if (!link) return;
  if (link->target.function != LibraryFunction::kNone) {
    op.handler = is_call ? Handler::kCallModel : Handler::kEnterModel;
    op.a = static_cast<std::uint8_t>(link->target.function);
    op.name = NameIndex(link->target.name);
  } else if (link->is_unbound && link->address == 0) {
    op.handler = Handler::kStop;
    op.a = static_cast<std::uint8_t>(StopReason::kUnresolvedSymbol);
    op.name = NameIndex(link->target.name);
  } else if (link->is_unbound) {
    op.handler = is_call ? Handler::kCall : Handler::kJmp;
    op.immediate = static_cast<std::int64_t>(link->address);
  }
}

void BlockCache::LowerControl(const Instruction& i, MicroOp& op) {
  const Operand& to = i.operands[0];
  const bool is_call = i.opcode == Opcode::kCall;
  const auto refuse = [&](StopReason reason) { op.handler = Handler::kStop, op.a = static_cast<std::uint8_t>(reason); };
  switch (i.opcode) {
    case Opcode::kJcc: op.handler = Handler::kJcc, op.a = static_cast<std::uint8_t>(i.condition); break;
    case Opcode::kJrcxz: op.handler = Handler::kJrcxz; break;
    case Opcode::kRet:
      op.handler = Handler::kRet;
      op.immediate = i.operand_count == 0 ? 0 : static_cast<std::int64_t>(static_cast<std::uint16_t>(i.immediate));
      break;
    case Opcode::kTrap: refuse(StopReason::kTrap); break;
    case Opcode::kJmp:
    case Opcode::kCall:
      if (to.kind == OperandKind::kImmediate) {
        op.handler = is_call ? Handler::kCall : Handler::kJmp;
      } else if (to.kind == OperandKind::kRegister && to.size == 8) {
        op.handler = is_call ? Handler::kCallReg : Handler::kJmpReg;
        op.a = to.reg;
      } else if (to.kind == OperandKind::kMemory && to.size == 8) {
        const bool fixed = i.base == disasm::kNoRegister && i.index == disasm::kNoRegister && !i.uses_fs && !i.address_32;
        op.handler = is_call ? Handler::kCallMem : Handler::kJmpMem;
        if (fixed) BindThroughSlot(static_cast<Address>(i.displacement), is_call, op);
      } else {
        refuse(StopReason::kUnknownInstruction);
      }
      break;
    default: refuse(StopReason::kUnknownInstruction); break;
  }
}

namespace {

bool IsRegister(const Operand& o, unsigned size) { return o.kind == OperandKind::kRegister && o.size == size; }
bool IsMemory(const Operand& o, unsigned size) { return o.kind == OperandKind::kMemory && o.size == size; }

struct AluRow {
  Opcode opcode;
  std::uint8_t size;
  OperandKind to, from;
  Handler handler;
};

constexpr unsigned kBytes8 = 1, kBytes32 = 4, kBytes64 = 8;
constexpr OperandKind kToRegReg = OperandKind::kRegister, kFromRegReg = OperandKind::kRegister;
constexpr OperandKind kToRegImm = OperandKind::kRegister, kFromRegImm = OperandKind::kImmediate;
constexpr OperandKind kToRegMem = OperandKind::kRegister, kFromRegMem = OperandKind::kMemory;
constexpr OperandKind kToMemImm = OperandKind::kMemory, kFromMemImm = OperandKind::kImmediate;

constexpr AluRow kAluRows[] = {
#define PYGC_ALU(op, width, form) {Opcode::k##op, kBytes##width, kTo##form, kFrom##form, Handler::k##op##width##form},
#define PYGC_ALU_ALL(op) PYGC_ALU_FORMS(PYGC_ALU, op)
    PYGC_ALU_OPERATIONS(PYGC_ALU_ALL) PYGC_ALU_MEM_IMM(PYGC_ALU)
#undef PYGC_ALU_ALL
#undef PYGC_ALU
};

bool LowerAlu(const Instruction& i, MicroOp& op) {
  const Operand& to = i.operands[0];
  const Operand& from = i.operands[1];
  if (i.opcode == Opcode::kXor && IsRegister(to, 4) && IsRegister(from, 4) && to.reg == from.reg) {
    op.handler = Handler::kZero32, op.a = to.reg;
    return true;
  }
  for (const AluRow& row : kAluRows) {
    if (row.opcode != i.opcode || row.size != to.size || row.to != to.kind || row.from != from.kind) continue;
    if (from.kind != OperandKind::kImmediate && from.size != to.size) return false;
    op.handler = row.handler, op.a = to.reg, op.b = from.reg;
    return true;
  }
  // test mem, reg is test reg, mem.
  if (i.opcode == Opcode::kTest && to.kind == OperandKind::kMemory && IsRegister(from, to.size)) {
    for (const AluRow& row : kAluRows) {
      if (row.opcode != Opcode::kTest || row.size != to.size || row.to != OperandKind::kRegister || row.from != OperandKind::kMemory) continue;
      op.handler = row.handler, op.a = from.reg;
      return true;
    }
  }
  return false;
}

bool LowerMove(const Instruction& i, MicroOp& op) {
  const Operand& to = i.operands[0];
  const Operand& from = i.operands[1];
  op.a = to.reg, op.b = from.reg;
  const auto use = [&](Handler h) {
    op.handler = h;
    return true;
  };
  if (IsRegister(to, 8) && IsRegister(from, 8)) return use(Handler::kMov64RegReg);
  if (IsRegister(to, 4) && IsRegister(from, 4)) return use(Handler::kMov32RegReg);
  if ((IsRegister(to, 8) || IsRegister(to, 4)) && from.kind == OperandKind::kImmediate) {
    if (to.size == 4) op.immediate = static_cast<std::int64_t>(static_cast<std::uint32_t>(i.immediate));
    return use(Handler::kMovRegImm);
  }
  if (IsRegister(to, 8) && IsMemory(from, 8)) return use(Handler::kMov64RegMem);
  if (IsRegister(to, 4) && IsMemory(from, 4)) return use(Handler::kMov32RegMem);
  if (IsMemory(to, 8) && IsRegister(from, 8)) return use(Handler::kMov64MemReg);
  if (IsMemory(to, 4) && IsRegister(from, 4)) return use(Handler::kMov32MemReg);
  if (IsMemory(to, 8) && from.kind == OperandKind::kImmediate) return use(Handler::kMov64MemImm);
  return false;
}

bool LowerExtension(const Instruction& i, MicroOp& op) {
  const Operand& to = i.operands[0];
  const Operand& from = i.operands[1];
  op.a = to.reg, op.b = from.reg;
  const auto use = [&](Handler h) {
    op.handler = h;
    return true;
  };
  if (i.opcode == Opcode::kMovZeroExtend && (IsRegister(to, 4) || IsRegister(to, 8))) {
    if (IsMemory(from, 1)) return use(Handler::kMovZx8RegMem);
    if (IsMemory(from, 2)) return use(Handler::kMovZx16RegMem);
    if (IsRegister(from, 1)) return use(Handler::kMovZx8RegReg);
  }
  if (i.opcode == Opcode::kMovSignExtend && IsRegister(to, 8)) {
    if (IsMemory(from, 4)) return use(Handler::kMovSx32RegMem);
    if (IsRegister(from, 4)) return use(Handler::kMovSx32RegReg);
  }
  return false;
}

}  // namespace

bool BlockCache::LowerShortcut(const Instruction& i, MicroOp& op) const {
  const Operand& to = i.operands[0];
  const Operand& from = i.operands[1];
  op.a = to.reg, op.b = from.reg;
  const auto use = [&](Handler h) {
    op.handler = h;
    return true;
  };
  const auto shift = [&](Handler h) { return IsRegister(to, 8) && from.kind == OperandKind::kImmediate && i.operand_count == 2 && use(h); };
  switch (i.opcode) {
    case Opcode::kMov: return LowerMove(i, op);
    case Opcode::kMovZeroExtend:
    case Opcode::kMovSignExtend: return LowerExtension(i, op);
    case Opcode::kLea: return IsRegister(to, 8) && use(Handler::kLea64);
    case Opcode::kPush: return IsRegister(to, 8) && use(Handler::kPushReg);
    case Opcode::kPop: return IsRegister(to, 8) && use(Handler::kPopReg);
    case Opcode::kCmov: {
      if (!IsRegister(to, 8) || !IsRegister(from, 8)) return false;
      op.immediate = static_cast<std::int64_t>(i.condition);
      return use(Handler::kCmov64RegReg);
    }
    case Opcode::kShl: return shift(Handler::kShl64RegImm);
    case Opcode::kShr: return shift(Handler::kShr64RegImm);
    case Opcode::kSar: return shift(Handler::kSar64RegImm);
    case Opcode::kAdd:
    case Opcode::kSub:
    case Opcode::kAnd:
    case Opcode::kOr:
    case Opcode::kXor:
    case Opcode::kCmp:
    case Opcode::kTest: return LowerAlu(i, op);
    default: return false;
  }
}

}  // namespace pygc::machine
