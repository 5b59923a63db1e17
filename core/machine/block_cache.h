// Code of the target, decoded once into basic blocks of micro-operations for the run loop. Bounded: when full it is emptied and filled anew.
// One for each machine, so for each thread: real programs have some ten thousand distinct instructions on these paths, decoded in milliseconds.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/disasm/instruction_stream.h"
#include "core/machine/linkage.h"
#include "core/machine/stop_reason.h"
#include "core/target/process.h"

namespace pygc::machine {

// Operations of general registers that have a short cut in the run loop, for each of the operand widths and forms: name, C++ expression of the result.
#define PYGC_ALU_OPERATIONS(X) X(Add) X(Sub) X(And) X(Or) X(Xor) X(Cmp) X(Test)
#define PYGC_ALU_FORMS(X, op) \
  X(op, 8, RegReg) X(op, 32, RegReg) X(op, 64, RegReg) X(op, 8, RegImm) X(op, 32, RegImm) X(op, 64, RegImm) X(op, 8, RegMem) X(op, 32, RegMem) X(op, 64, RegMem)
#define PYGC_ALU_MEM_IMM(X) X(Cmp, 8, MemImm) X(Cmp, 32, MemImm) X(Cmp, 64, MemImm) X(Test, 8, MemImm) X(Test, 32, MemImm) X(Test, 64, MemImm)

/// What a micro-operation does. The names say operation, width and form; kGeneric is everything without a short cut.
enum class Handler : std::uint8_t {
  kGeneric,
  kMov64RegReg, kMov32RegReg, kMovRegImm, kMov64RegMem, kMov32RegMem, kMovZx8RegMem, kMovZx16RegMem, kMovSx32RegMem, kMov64MemReg, kMov32MemReg, kMov64MemImm,
  kMovZx8RegReg, kMovSx32RegReg, kLea64, kPushReg, kPopReg, kCmov64RegReg, kZero32, kShl64RegImm, kShr64RegImm, kSar64RegImm,
#define PYGC_ALU(op, width, form) k##op##width##form,
#define PYGC_ALU_ALL(op) PYGC_ALU_FORMS(PYGC_ALU, op)
  PYGC_ALU_OPERATIONS(PYGC_ALU_ALL) PYGC_ALU_MEM_IMM(PYGC_ALU)
#undef PYGC_ALU_ALL
#undef PYGC_ALU
  // The last of a block
  kFallThrough, kJmp, kJcc, kJrcxz, kJmpReg, kJmpMem, kCall, kCallReg, kCallMem, kRet,
  kCallModel,   // through a slot that a library function is bound to
  kEnterModel,  // the block is the entry point of a library function
  kVisit, kReturned,  // the magic addresses
  kStop,        // not executable; `a` is the StopReason
};

/// One step of the run loop.
struct MicroOp {
  Handler handler = Handler::kGeneric;
  std::uint8_t a = 0, b = 0;  // registers; of kJcc the Condition; of models the LibraryFunction
  std::uint8_t base = disasm::kNoRegister, index = disasm::kNoRegister, scale_shift = 0;
  std::uint16_t name = 0;     // of models: index of the function's name
  std::int64_t displacement = 0;
  std::int64_t immediate = 0;  // of control transfers the target; of kRet the bytes to release
  const disasm::Instruction* instruction = nullptr;  // nullptr for kFallThrough, kVisit, kReturned, kEnterModel
};

/// A run of instructions that is entered only at its start.
struct Block {
  Address start = 0, end = 0;     // end: address behind the last instruction
  const MicroOp* ops = nullptr;
  std::uint32_t op_count = 0;     // with the last
  std::uint32_t cost = 0;         // instructions
  Block* next = nullptr;          // where it falls through to, once known
  Block* taken = nullptr;         // where its direct jump leads, once known
};

/// The magic addresses of a machine and what code it may run.
struct CodeRules {
  Address visit = 0, returned = 0;
  bool trust_anonymous_code = false;
  bool shortcuts = true;  // false: every instruction takes the complete way (for tests)
  std::size_t max_instructions = 1u << 18;
};

class BlockCache {
 public:
  BlockCache(const target::Process& process, std::shared_ptr<const Linkage> linkage, const CodeRules& rules);
  ~BlockCache();

  /// The block that starts at `address`. Never nullptr: where there is no code it is a block that stops. Pointers stay valid until generation() changes.
  [[nodiscard]] Block* Find(Address address) {
    Quick& q = quick_[Slot(address)];
    if (q.address == address && q.block != nullptr) [[likely]] return q.block;
    q = {address, FindSlow(address)};
    return q.block;
  }
  /// Changes when the cache was emptied: blocks from before are gone.
  [[nodiscard]] std::uint64_t generation() const noexcept { return generation_; }
  [[nodiscard]] std::size_t decoded_instructions() const noexcept { return decoded_total_; }
  [[nodiscard]] std::string_view Name(std::uint16_t index) const noexcept { return index < names_.size() ? names_[index] : std::string_view{}; }
  [[nodiscard]] const Linkage& linkage() const noexcept { return *linkage_; }
  /// Index of a name for MicroOp::name.
  [[nodiscard]] std::uint16_t NameIndex(std::string_view name);

 private:
  static constexpr std::size_t kQuickEntries = 4096;
  static constexpr std::size_t kMaxBlockInstructions = 64;
  static constexpr std::size_t kFirstChunk = 128, kLastChunk = 4096;
  struct Quick {
    Address address = 0;
    Block* block = nullptr;
  };
  [[nodiscard]] static std::size_t Slot(Address a) noexcept { return (a ^ (a >> 12)) % kQuickEntries; }
  [[nodiscard]] Block* FindSlow(Address address);
  [[nodiscard]] Block* Build(Address address);
  [[nodiscard]] Block* BuildSpecial(Address address, Handler handler, std::uint8_t a, std::uint16_t name);
  [[nodiscard]] StopReason CheckCode(Address address) const;
  [[nodiscard]] std::size_t Decode(Address address, disasm::Instruction& out);
  void Lower(const disasm::Instruction& i, MicroOp& op);
  void LowerControl(const disasm::Instruction& i, MicroOp& op);
  bool LowerShortcut(const disasm::Instruction& i, MicroOp& op) const;
  void BindThroughSlot(Address slot, bool is_call, MicroOp& op);
  void Empty();

  // Objects at stable addresses, thrown away together. Chunks grow: a machine that runs one small function costs little.
  template <typename T>
  class Pool {
   public:
    [[nodiscard]] T* Allocate(std::size_t n) {
      if (used_ + n > chunk_) {
        chunk_ = std::min(std::max(chunk_ * 2, kFirstChunk), kLastChunk);
        chunks_.push_back(std::make_unique<T[]>(chunk_));
        used_ = 0;
      }
      T* p = chunks_.back().get() + used_;
      used_ += n;
      return p;
    }
    void Clear() { chunks_.clear(), used_ = chunk_ = 0; }

   private:
    std::vector<std::unique_ptr<T[]>> chunks_;
    std::size_t used_ = 0, chunk_ = 0;  // of the last one
  };
  static_assert(kMaxBlockInstructions < kFirstChunk);

  const target::Process* process_;
  std::shared_ptr<const Linkage> linkage_;
  CodeRules rules_;
  std::unique_ptr<disasm::InstructionStream> stream_;
  std::vector<Quick> quick_;
  std::unordered_map<Address, Block*> blocks_;
  Pool<Block> block_pool_;
  Pool<MicroOp> op_pool_;
  Pool<disasm::Instruction> instruction_pool_;
  std::vector<std::string_view> names_;  // [0] is no name
  std::size_t decoded_ = 0, decoded_total_ = 0;
  std::uint64_t generation_ = 0;
};

}  // namespace pygc::machine
