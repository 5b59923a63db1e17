#include "core/machine/run_loop.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace pygc::machine {
namespace {

// Registers whose content is unknown hold this plus their number: not canonical, so that nothing is found behind it.
constexpr std::uint64_t kPoison = 0xbad0'bad0'bad0'ba00ull;
constexpr std::uint64_t kSavedPoison = 0xbad1'5a7e'5a7e'5a00ull;  // callee-saved ones at the start
constexpr std::array<std::uint8_t, 6> kArgumentRegisters = {kRdi, kRsi, kRdx, kRcx, kR8, kR9};
constexpr std::array<std::uint8_t, 6> kSavedRegisters = {kRbx, kRbp, kR12, kR13, kR14, kR15};
constexpr std::array<std::uint8_t, 9> kCallerSaved = {kRax, kRcx, kRdx, kRsi, kRdi, kR8, kR9, kR10, kR11};
constexpr std::uint32_t kCallerSavedMask = 0x0fc7;  // the same as bits
constexpr std::size_t kUnverifiedVisits = 16;
constexpr std::int64_t kLowOnSteps = 4096;  // a model charges for bytes and cannot ask for more
constexpr std::uint64_t kReservedAboveEntry = 512;  // bytes between the return address and the top of the shadow stack

bool IsFree(const target::Process& process, const AddressRange& wanted) {
  const auto overlaps = [&](const AddressRange& r) { return r.begin < wanted.end && wanted.begin < r.end; };
  for (const target::Segment& s : process.memory.segments())
    if (overlaps(s.range)) return false;
  for (const target::MissingRange& m : process.missing_ranges)
    if (overlaps(m.range)) return false;
  for (const target::Module& m : process.modules)
    for (const AddressRange& r : m.ranges)
      if (overlaps(r)) return false;
  return true;
}

Address EntryStackPointer(const MagicAddresses& magic) { return magic.stack_base + MemoryView::kStackBytes - kReservedAboveEntry - 8; }

}  // namespace

MagicAddresses ChooseMagicAddresses(const target::Process& process) {
  // User space, far from where Linux puts programs, heaps and libraries; the next candidate where something is there all the same.
  constexpr std::uint64_t kMargin = 1u << 20, kStride = 0x10'0000'0000ull;
  Address at = 0x2a5e'0000'0000ull;
  for (unsigned tries = 0; tries < 1000 && !IsFree(process, {at, at + 4 * kMargin}); ++tries) at += kStride;
  return {at + kMargin, at + kMargin + 0x1000, at + kMargin + 0x2000, at + 2 * kMargin};
}

RunLoop::RunLoop(const target::Process& process, std::shared_ptr<const Linkage> linkage, const MachineOptions& options)
    : options_(options),
      magic_(ChooseMagicAddresses(process)),
      blocks_(process, std::move(linkage),
              CodeRules{magic_.visit, magic_.returned, options.trust_anonymous_code, options.shortcuts, std::max<std::size_t>(options.max_decoded_instructions, 4096)}),
      memory_(process.memory, magic_.stack_base, options.max_overlay_pages),
      execution_{cpu_, memory_} {
  if (options.fs_base) {
    fs_base_ = *options.fs_base;
  } else {
    const auto it = std::find_if(process.threads.begin(), process.threads.end(), [](const target::Thread& t) { return t.has_registers; });
    if (it != process.threads.end()) fs_base_ = it->fs_base();
  }
  frames_.reserve(options.max_depth);
  if (!options.presets.empty()) memory_.SetPresets(options.presets);
}

void RunLoop::SetUp(std::span<const std::uint64_t> arguments, std::uint64_t max_steps, ReadTrace* trace) {
  memory_.Reset(trace);
  for (unsigned r = 0; r < 16; ++r) cpu_.gpr[r] = kPoison + r;
  for (const std::uint8_t r : kSavedRegisters) cpu_.gpr[r] = kSavedPoison + r;
  cpu_.gpr[disasm::kNoRegister] = 0;
  cpu_.provenance.fill(0);
  for (std::size_t k = 0; k < arguments.size() && k < kArgumentRegisters.size(); ++k) cpu_.gpr[kArgumentRegisters[k]] = arguments[k];
  cpu_.gpr[kRsp] = EntryStackPointer(magic_);
  (void)memory_.StoreWord(cpu_.gpr[kRsp], magic_.returned, 0);
  cpu_.flags = Flags{};
  if (cpu_.vectors_touched) cpu_.vector.fill(VectorRegister{}), cpu_.vectors_touched = false;
  cpu_.fs_base = fs_base_;
  execution_.read_thread_local = false;
  execution_.stop = StopReason::kNone;
  execution_.stop_operand = 0;
  execution_.steps_left = static_cast<std::int64_t>(max_steps);
  steps_granted_ = steps_at_start_ = steps_at_news_ = max_steps;
  steps_ceiling_ = std::max(options_.max_steps, max_steps);
  visit_count_ = 0;
  slots_.Clear();
  frames_.clear();
  stop_address_ = 0;
  stop_function_ = {};
  returned_ = false;
  undefined_registers_ = 0;
  used_undefined_ = false;
}

RunOutcome RunLoop::Run(Address entry, std::span<const std::uint64_t> arguments, std::uint64_t max_steps, std::vector<Visit>* visits, ReadTrace* trace) {
  visits_ = visits;
  verified_ = rewarded_ = visits != nullptr ? visits->size() : 0;
  SetUp(arguments, max_steps, trace);
  Enter(entry);
  if (visits != nullptr && !VerifyVisits()) returned_ = false;
  return Outcome();
}

RunOutcome RunLoop::RunFrom(const CpuState& cpu, Address entry) {
  visits_ = nullptr;
  SetUp({}, options_.base_steps, nullptr);
  cpu_ = cpu;
  Enter(entry);
  return Outcome();
}

RunOutcome RunLoop::Outcome() const {
  RunOutcome out;
  out.label = returned_ ? RunLabel::kExact : RunLabel::kPartial;
  out.reason = execution_.stop;
  out.stop_address = stop_address_;
  out.stop_operand = execution_.stop_operand;
  out.stop_function = stop_function_;
  out.steps = steps_granted_ - static_cast<std::uint64_t>(std::max<std::int64_t>(execution_.steps_left, 0));
  out.result = cpu_.gpr[kRax];
  return out;
}

bool RunLoop::SavedRegistersIntact() const noexcept {
  return std::all_of(kSavedRegisters.begin(), kSavedRegisters.end(), [&](std::uint8_t r) { return cpu_.gpr[r] == kSavedPoison + r; });
}

bool RunLoop::StackBalanced() const noexcept { return cpu_.gpr[kRsp] == EntryStackPointer(magic_) + 8; }

void RunLoop::TrashCallerSaved() noexcept {
  for (const std::uint8_t r : kCallerSaved) cpu_.SetRegister(r, kPoison + r);
  memory_.TrashBelow(cpu_.gpr[kRsp]);
}

// An object's type is an object whose type is one, and so on up to `type`, which is its own type. (A static type that was never readied has none.)
bool RunLoop::LooksLikeType(Address type) noexcept {
  constexpr int kMaxMetatypes = 8;
  for (int k = 0; k < kMaxMetatypes; ++k) {
    std::uint64_t its_type = 0;
    if (type == 0 || (type & 7) != 0 || !memory_.PeekWord(type + options_.ob_type_offset, its_type)) return false;
    if (its_type == type || its_type == 0) return true;
    type = its_type;
  }
  return false;
}

bool RunLoop::LooksLikeObject(Address a) noexcept {
  std::uint64_t type = 0;
  if (a == 0 || (a & 7) != 0 || !memory_.PeekWord(a + options_.ob_type_offset, type)) return false;
  Address& known = known_types_[(type >> 4) % known_types_.size()];
  if (type == known && type != 0) [[likely]] return true;
  if (!LooksLikeType(type)) return false;
  known = type;
  return true;
}

// Are the visits since the last time of objects? Done for several at once, some time after their headers were asked for: each is likely to be a cache miss.
bool RunLoop::VerifyVisits() noexcept {
  for (; verified_ < visits_->size(); ++verified_) {
    const Address referent = (*visits_)[verified_].referent;
    if (LooksLikeObject(referent)) continue;
    visits_->resize(verified_);
    return execution_.Stop(StopReason::kBadReferent, referent);
  }
  return true;
}

// More steps, as far as visits have earned them. One that came from where another of this run did earns nothing: what goes round for ever ends soon, after
// as many steps again as it took to come round, or after a few times as many where it does not visit.
bool RunLoop::GrantForVisits() noexcept {
  constexpr std::uint64_t kWithoutNews = 3;
  if (visits_ == nullptr) return false;
  const std::size_t slots_before = slots_.size(), visits_before = rewarded_;
  for (; rewarded_ < visits_->size(); ++rewarded_) {
    const Visit& v = (*visits_)[rewarded_];
    (void)slots_.Insert(v.slot != 0 ? v.slot : v.referent | 1);
  }
  if (slots_.size() != slots_before) steps_at_news_ = steps_granted_;
  else if (rewarded_ != visits_before) return false;
  const std::uint64_t earned = std::min(steps_ceiling_, steps_at_start_ + slots_.size() * options_.steps_per_item);
  if (steps_granted_ >= std::min(earned, kWithoutNews * steps_at_news_)) return false;
  const std::uint64_t more = std::min(earned - steps_granted_, std::max(options_.base_steps, steps_granted_ / 2));
  steps_granted_ += more;
  execution_.steps_left += static_cast<std::int64_t>(more);
  return execution_.steps_left >= 0;
}

// The visit function was called; its return address is already off the stack.
bool RunLoop::DoVisit() noexcept {
  const Address referent = cpu_.gpr[kRdi];
  if (visits_ == nullptr || cpu_.gpr[kRsi] != magic_.argument) return execution_.Stop(StopReason::kVisitArgument, cpu_.gpr[kRsi]);
  if (visit_count_++ == options_.max_visits) return execution_.Stop(StopReason::kVisitLimit);
  visits_->push_back({referent, cpu_.provenance[kRdi]});
  memory_.Prefetch(referent);
  if (visits_->size() - verified_ >= kUnverifiedVisits && !VerifyVisits()) return false;
  if (execution_.steps_left < kLowOnSteps) [[unlikely]] (void)GrantForVisits();
  TrashCallerSaved();
  cpu_.gpr[kRax] = 0;
  return true;
}

bool RunLoop::EnterCall(Address return_address) noexcept {
  const std::uint64_t sp = cpu_.gpr[kRsp] - 8;
  while (!frames_.empty() && frames_.back() <= sp) frames_.pop_back();  // left by a return, or by whatever else moved the stack pointer up
  if (frames_.size() == options_.max_depth) return execution_.Stop(StopReason::kDepthLimit);
  frames_.push_back(sp);
  if (!memory_.StoreWord(sp, return_address, 0)) return execution_.MemoryFault();
  cpu_.SetRegister(kRsp, sp);
  return true;
}

bool RunLoop::PopReturn(std::uint64_t release, Address& to) noexcept {
  Address from = 0;
  if (!memory_.LoadWord(cpu_.gpr[kRsp], to, from)) return execution_.MemoryFault();
  cpu_.SetRegister(kRsp, cpu_.gpr[kRsp] + 8 + release);
  return true;
}

NamedFunction RunLoop::FunctionBehind(Address slot) const {
  if (slot == 0) return {};
  const std::optional<LinkSlot> link = blocks_.linkage().FindSlot(slot);
  return link ? link->target : NamedFunction{};
}

bool RunLoop::LoadTarget(const disasm::Instruction& i, Address& target, Address& slot) noexcept {
  Address a = 0;
  if (!execution_.EffectiveAddress(i, a)) return false;
  return memory_.LoadWord(a, target, slot) || execution_.MemoryFault();
}

// ---- Library models. Bytes are charged: sixteen to a step. ----

bool RunLoop::ModelCompare(bool stop_at_nul, std::uint64_t limit) noexcept {
  const Address a = cpu_.gpr[kRdi], b = cpu_.gpr[kRsi];
  int result = 0;
  for (std::uint64_t k = 0; k < limit; ++k) {
    std::uint8_t x = 0, y = 0;
    if (k % 16 == 0 && !execution_.Charge(1)) return false;
    if (!memory_.Load(a + k, x) || !memory_.Load(b + k, y)) return execution_.MemoryFault();
    if (x != y) {
      result = x < y ? -1 : 1;
      break;
    }
    if (stop_at_nul && x == 0) break;
  }
  TrashCallerSaved();
  cpu_.gpr[kRax] = static_cast<std::uint32_t>(result);
  return true;
}

bool RunLoop::ModelCopy(Address to, Address from, std::uint64_t size) noexcept {
  std::array<std::byte, 64> piece;
  const bool backwards = to > from && to - from < size;
  for (std::uint64_t done = 0; done < size;) {
    const std::uint64_t n = std::min<std::uint64_t>(piece.size(), size - done);
    const std::uint64_t at = backwards ? size - done - n : done;
    if (!execution_.Charge(1 + n / 16)) return false;
    const auto bytes = std::span(piece).first(n);
    if (!memory_.LoadBytes(from + at, bytes) || !memory_.StoreBytes(to + at, bytes)) return execution_.MemoryFault();
    done += n;
  }
  TrashCallerSaved();
  cpu_.gpr[kRax] = to;
  return true;
}

bool RunLoop::ModelSet(Address to, std::uint8_t value, std::uint64_t size) noexcept {
  std::array<std::byte, 64> piece;
  piece.fill(std::byte{value});
  for (std::uint64_t done = 0; done < size;) {
    const std::uint64_t n = std::min<std::uint64_t>(piece.size(), size - done);
    if (!execution_.Charge(1 + n / 16)) return false;
    if (!memory_.StoreBytes(to + done, std::span<const std::byte>(piece).first(n))) return execution_.MemoryFault();
    done += n;
  }
  TrashCallerSaved();
  cpu_.gpr[kRax] = to;
  return true;
}

bool RunLoop::ModelFind(Address from, int value, std::uint64_t limit, bool stop_at_nul) noexcept {
  Address found = 0;
  for (std::uint64_t k = 0; k < limit; ++k) {
    std::uint8_t x = 0;
    if (k % 16 == 0 && !execution_.Charge(1)) return false;
    if (!memory_.Load(from + k, x)) return execution_.MemoryFault();
    if (x == static_cast<std::uint8_t>(value)) {
      found = from + k;
      break;
    }
    if (stop_at_nul && x == 0) break;
  }
  TrashCallerSaved();
  cpu_.gpr[kRax] = found;
  return true;
}

bool RunLoop::ModelLength(Address from, std::uint64_t limit) noexcept {
  std::uint64_t k = 0;
  for (; k < limit; ++k) {
    std::uint8_t x = 0;
    if (k % 16 == 0 && !execution_.Charge(1)) return false;
    if (!memory_.Load(from + k, x)) return execution_.MemoryFault();
    if (x == 0) break;
  }
  TrashCallerSaved();
  cpu_.gpr[kRax] = k;
  return true;
}

bool RunLoop::StopAtFunction(std::uint16_t name) noexcept {
  stop_function_ = blocks_.Name(name);
  return execution_.Stop(StopReason::kStopFunction);
}

// More than the arena holds is more than a traversal has any reason to ask for.
bool RunLoop::ModelAllocate(std::uint64_t count, std::uint64_t size, bool zeroed, std::uint16_t name) noexcept {
  std::uint64_t bytes = 0;
  if (__builtin_mul_overflow(count, size, &bytes)) return StopAtFunction(name);
  const Address a = memory_.Allocate(bytes);
  if (a == 0) return StopAtFunction(name);
  if (zeroed) return ModelSet(a, 0, bytes);
  TrashCallerSaved();
  cpu_.gpr[kRax] = a;
  return true;
}

// How large the old block was only its allocator knows: what lies behind it is as undefined in the new one as it is here. The old one stays, and nobody is
// to look at it any more.
bool RunLoop::ModelReallocate(Address from, std::uint64_t size, std::uint16_t name) noexcept {
  if (size == 0) return StopAtFunction(name);
  const Address to = memory_.Allocate(size);
  if (to == 0) return StopAtFunction(name);
  for (std::uint64_t done = 0; from != 0 && done < size; done += 8) {
    std::uint64_t word = 0;
    Address came_from = 0;
    if (!execution_.Charge(1)) return false;
    if (memory_.IsAllocated(from) && (!memory_.IsAllocated(from + done) || memory_.IsNeverWritten(from + done, 8))) continue;
    if (!memory_.LoadWord(from + done, word, came_from)) {
      if (done == 0) return execution_.MemoryFault();
      break;  // behind the block, and behind the region that it lies in
    }
    if (!memory_.StoreWord(to + done, word, came_from)) return execution_.MemoryFault();
  }
  TrashCallerSaved();
  cpu_.gpr[kRax] = to;
  return true;
}

// What the run allocated itself may go; memory of the target that is freed in a traversal is a fault of the traversal or of this run.
bool RunLoop::ModelFree(Address a, std::uint16_t name) noexcept {
  if (a != 0 && !memory_.IsAllocated(a)) return StopAtFunction(name);
  TrashCallerSaved();
  return true;
}

// Does what the function does; its return address is not on the stack (any more).
bool RunLoop::RunModel(LibraryFunction function, std::uint16_t name) noexcept {
  constexpr std::uint64_t kNoLimit = ~0ull;
  const std::uint64_t a = cpu_.gpr[kRdi], b = cpu_.gpr[kRsi], c = cpu_.gpr[kRdx];
  switch (function) {
    case LibraryFunction::kNone:
    case LibraryFunction::kStop: return StopAtFunction(name);
    case LibraryFunction::kMalloc: return ModelAllocate(1, a, false, name);
    case LibraryFunction::kCalloc: return ModelAllocate(a, b, true, name);
    case LibraryFunction::kRealloc: return ModelReallocate(a, b, name);
    case LibraryFunction::kFree: return ModelFree(a, name);
    case LibraryFunction::kReturnZero:
      TrashCallerSaved();
      cpu_.gpr[kRax] = 0;
      return true;
    case LibraryFunction::kMemcmp: return ModelCompare(false, c);
    case LibraryFunction::kStrcmp: return ModelCompare(true, kNoLimit);
    case LibraryFunction::kStrncmp: return ModelCompare(true, c);
    case LibraryFunction::kMemcpy: return ModelCopy(a, b, c);
    case LibraryFunction::kMemset: return ModelSet(a, static_cast<std::uint8_t>(b), c);
    case LibraryFunction::kMemchr: return ModelFind(a, static_cast<int>(b & 0xff), c, false);
    case LibraryFunction::kStrchr: return ModelFind(a, static_cast<int>(b & 0xff), kNoLimit, true);
    case LibraryFunction::kStrlen: return ModelLength(a, kNoLimit);
    case LibraryFunction::kStrnlen: return ModelLength(a, b);
  }
  return execution_.Stop(StopReason::kStopFunction);
}

// ---- The loop ----

// Address of `op`'s instruction.
static Address AddressOf(const Block& block, const MicroOp& op) {
  Address a = block.start;
  for (const MicroOp* o = block.ops; o != &op; ++o)
    if (o->instruction != nullptr) a += o->instruction->length;
  return a;
}

// An instruction is about to run while some registers hold undefined values: does it look at one?
void RunLoop::CheckUndefined(const MicroOp& op) noexcept {
  if (op.instruction == nullptr) {  // a magic address or a library function: its arguments
    const std::uint32_t arguments = op.handler == Handler::kReturned ? 1u << kRax : 1u << kRdi | 1u << kRsi | (op.handler == Handler::kVisit ? 0 : 1u << kRdx);
    if ((undefined_registers_ & arguments) != 0) used_undefined_ = true;
    if (op.handler == Handler::kVisit || op.handler == Handler::kEnterModel) undefined_registers_ &= ~kCallerSavedMask;
    return;
  }
  if (op.handler == Handler::kPushReg) return;  // keeps the word undefined: see there
  const disasm::RegisterUse use = disasm::UseOf(*op.instruction);
  if ((undefined_registers_ & use.reads) != 0) used_undefined_ = true;
  undefined_registers_ &= ~std::uint32_t{use.writes};
}

void RunLoop::Enter(Address entry) {
  Block* const block = blocks_.Find(entry);
  execution_.steps_left -= block->cost;
  Loop<false>(block, block->ops);
}

template <bool kChecked>
void RunLoop::Loop(Block* block, const MicroOp* op) {
  auto& r = cpu_.gpr;
  auto& from = cpu_.provenance;
  Flags& flags = cpu_.flags;
  Address target = 0, slot = 0;  // of an indirect transfer: where to, and where that was loaded from

  // The visit function reads two registers and leaves the others undefined in a way that no code relies on.
  const auto visit = [&] {
    if constexpr (kChecked) {
      if ((undefined_registers_ & (1u << kRdi | 1u << kRsi)) != 0) used_undefined_ = true;
      undefined_registers_ &= ~kCallerSavedMask;
    }
    return DoVisit();
  };
  // Where the block goes on. `link` (may be nullptr) is the field that remembers a target that never changes.
  const auto go = [&](Address to, Block** link) {
    const std::uint64_t generation = blocks_.generation();
    Block* found = blocks_.Find(to);
    if (link != nullptr && generation == blocks_.generation()) *link = found;
    block = found;
  };

#define PYGC_ADDRESS (r[op->base] + (r[op->index] << op->scale_shift) + static_cast<std::uint64_t>(op->displacement))
#define PYGC_FAULT       \
  {                      \
    execution_.MemoryFault(); \
    goto stopped;        \
  }
#define PYGC_SET(reg, value, provenance) r[reg] = (value), from[reg] = (provenance)

  for (;;) {
    for (;; ++op) {
      if constexpr (kChecked) CheckUndefined(*op);
      switch (op->handler) {
        case Handler::kGeneric:
          if (!ExecuteAny(execution_, *op->instruction)) [[unlikely]] goto stopped;
          break;
        case Handler::kMov64RegReg: PYGC_SET(op->a, r[op->b], from[op->b]); break;
        case Handler::kMov32RegReg: PYGC_SET(op->a, static_cast<std::uint32_t>(r[op->b]), 0); break;
        case Handler::kMovRegImm: PYGC_SET(op->a, static_cast<std::uint64_t>(op->immediate), 0); break;
        case Handler::kZero32:
          PYGC_SET(op->a, 0, 0);
          flags.SetLogic(std::uint32_t{0});
          break;
        case Handler::kMov64RegMem: {
          std::uint64_t value = 0;
          Address came_from = 0;
          if (!memory_.LoadWord(PYGC_ADDRESS, value, came_from)) [[unlikely]] PYGC_FAULT
          PYGC_SET(op->a, value, came_from);
          break;
        }
        case Handler::kMov32RegMem: {
          std::uint32_t value = 0;
          if (!memory_.Load(PYGC_ADDRESS, value)) [[unlikely]] PYGC_FAULT
          PYGC_SET(op->a, value, 0);
          break;
        }
        case Handler::kMovZx8RegMem: {
          std::uint8_t value = 0;
          if (!memory_.Load(PYGC_ADDRESS, value)) [[unlikely]] PYGC_FAULT
          PYGC_SET(op->a, value, 0);
          break;
        }
        case Handler::kMovZx16RegMem: {
          std::uint16_t value = 0;
          if (!memory_.Load(PYGC_ADDRESS, value)) [[unlikely]] PYGC_FAULT
          PYGC_SET(op->a, value, 0);
          break;
        }
        case Handler::kMovSx32RegMem: {
          std::uint32_t value = 0;
          if (!memory_.Load(PYGC_ADDRESS, value)) [[unlikely]] PYGC_FAULT
          PYGC_SET(op->a, static_cast<std::uint64_t>(static_cast<std::int64_t>(static_cast<std::int32_t>(value))), 0);
          break;
        }
        case Handler::kMov64MemReg:
          if (!memory_.StoreWord(PYGC_ADDRESS, r[op->b], from[op->b])) [[unlikely]] PYGC_FAULT
          break;
        case Handler::kMov64MemImm:
          if (!memory_.StoreWord(PYGC_ADDRESS, static_cast<std::uint64_t>(op->immediate), 0)) [[unlikely]] PYGC_FAULT
          break;
        case Handler::kMov32MemReg:
          if (!memory_.Store(PYGC_ADDRESS, static_cast<std::uint32_t>(r[op->b]))) [[unlikely]] PYGC_FAULT
          break;
        case Handler::kMovZx8RegReg: PYGC_SET(op->a, static_cast<std::uint8_t>(r[op->b]), 0); break;
        case Handler::kMovSx32RegReg: PYGC_SET(op->a, static_cast<std::uint64_t>(static_cast<std::int64_t>(static_cast<std::int32_t>(r[op->b]))), 0); break;
        case Handler::kLea64: PYGC_SET(op->a, PYGC_ADDRESS, 0); break;
        case Handler::kPushReg: {
          const std::uint64_t sp = r[kRsp] - 8;
          if (!memory_.StoreWord(sp, r[op->a], from[op->a])) [[unlikely]] PYGC_FAULT
          if constexpr (kChecked) {
            if ((undefined_registers_ >> op->a) & 1) memory_.PushUndefined(sp);
          }
          PYGC_SET(kRsp, sp, 0);
          break;
        }
        case Handler::kPopReg: {
          std::uint64_t value = 0;
          Address came_from = 0;
          bool is_undefined = false;
          if (!memory_.PopWord(r[kRsp], value, came_from, is_undefined)) [[unlikely]] PYGC_FAULT
          r[kRsp] += 8;
          if (is_undefined) [[unlikely]] {
            PYGC_SET(op->a, kPoison + op->a, 0);
            undefined_registers_ |= 1u << op->a;
            if constexpr (!kChecked) return Loop<true>(block, op + 1);
            break;
          }
          PYGC_SET(op->a, value, came_from);
          break;
        }
        case Handler::kCmov64RegReg:
          if (flags.Holds(static_cast<disasm::Condition>(op->immediate))) PYGC_SET(op->a, r[op->b], from[op->b]);
          break;
        case Handler::kShl64RegImm: PYGC_SET(op->a, ShiftLeft(flags, r[op->a], static_cast<std::uint64_t>(op->immediate)), 0); break;
        case Handler::kShr64RegImm: PYGC_SET(op->a, ShiftRight(flags, r[op->a], static_cast<std::uint64_t>(op->immediate)), 0); break;
        case Handler::kSar64RegImm: PYGC_SET(op->a, ShiftRightSigned(flags, r[op->a], static_cast<std::uint64_t>(op->immediate)), 0); break;

// A result is written to the register; `keep` says whether it still counts as loaded from where the old value came from (a pointer without its tag bits).
#define PYGC_WRITE_8(value) r[op->a] = (r[op->a] & ~0xffull) | (value), from[op->a] = 0
#define PYGC_WRITE_32(value) r[op->a] = (value), from[op->a] = 0
#define PYGC_WRITE_64(value) r[op->a] = (value), from[op->a] = 0
#define PYGC_TYPE_8 std::uint8_t
#define PYGC_TYPE_32 std::uint32_t
#define PYGC_TYPE_64 std::uint64_t
#define PYGC_DO_Add(W) PYGC_WRITE_##W(Add(flags, x, y))
#define PYGC_DO_Sub(W) PYGC_WRITE_##W(Subtract(flags, x, y))
#define PYGC_DO_And(W)                                                     \
  {                                                                        \
    const Address came_from = from[op->a];                                 \
    PYGC_WRITE_##W(And(flags, x, y));                                      \
    if constexpr (sizeof(x) == 8) from[op->a] = y >= ~15ull ? came_from : 0; \
  }
#define PYGC_DO_Or(W) PYGC_WRITE_##W(Or(flags, x, y))
#define PYGC_DO_Xor(W) PYGC_WRITE_##W(Xor(flags, x, y))
#define PYGC_DO_Cmp(W) Subtract(flags, x, y)
#define PYGC_DO_Test(W) And(flags, x, y)
#define PYGC_READ_RegReg(T) const T x = static_cast<T>(r[op->a]), y = static_cast<T>(r[op->b]);
#define PYGC_READ_RegImm(T) const T x = static_cast<T>(r[op->a]), y = static_cast<T>(op->immediate);
#define PYGC_READ_RegMem(T)                              \
  const T x = static_cast<T>(r[op->a]);                  \
  T y{};                                                 \
  if (!memory_.Load(PYGC_ADDRESS, y)) [[unlikely]] PYGC_FAULT
#define PYGC_READ_MemImm(T)                              \
  T x{};                                                 \
  const T y = static_cast<T>(op->immediate);             \
  if (!memory_.Load(PYGC_ADDRESS, x)) [[unlikely]] PYGC_FAULT
#define PYGC_ALU(op_name, W, form)        \
  case Handler::k##op_name##W##form: {    \
    PYGC_READ_##form(PYGC_TYPE_##W)       \
    PYGC_DO_##op_name(W);                 \
    break;                                \
  }
#define PYGC_ALU_ALL(op_name) PYGC_ALU_FORMS(PYGC_ALU, op_name)
          PYGC_ALU_OPERATIONS(PYGC_ALU_ALL)
          PYGC_ALU_MEM_IMM(PYGC_ALU)

        case Handler::kFallThrough:
          if (block->next != nullptr) block = block->next;
          else go(block->end, &block->next);
          goto next_block;
        case Handler::kJmp:
          if (block->taken != nullptr) block = block->taken;
          else go(static_cast<Address>(op->immediate), &block->taken);
          goto next_block;
        case Handler::kJcc:
          if (flags.Holds(static_cast<disasm::Condition>(op->a))) {
            if (block->taken != nullptr) block = block->taken;
            else go(static_cast<Address>(op->immediate), &block->taken);
          } else {
            if (block->next != nullptr) block = block->next;
            else go(block->end, &block->next);
          }
          goto next_block;
        case Handler::kJrcxz:
          if (r[kRcx] == 0) go(static_cast<Address>(op->immediate), &block->taken);
          else go(block->end, &block->next);
          goto next_block;
        case Handler::kCall:
          if (!EnterCall(block->end)) [[unlikely]] goto stopped;
          if (block->taken != nullptr) block = block->taken;
          else go(static_cast<Address>(op->immediate), &block->taken);
          goto next_block;
        case Handler::kJmpReg:
          target = r[op->a], slot = from[op->a];
          goto jump_indirect;
        case Handler::kJmpMem:
          if (!LoadTarget(*op->instruction, target, slot)) [[unlikely]] goto stopped;
          goto jump_indirect;
        case Handler::kCallReg:
          target = r[op->a], slot = from[op->a];
          goto call_indirect;
        case Handler::kCallMem:
          if (!LoadTarget(*op->instruction, target, slot)) [[unlikely]] goto stopped;
          goto call_indirect;
        case Handler::kRet:
          if (!PopReturn(static_cast<std::uint64_t>(op->immediate), target)) [[unlikely]] goto stopped;
          go(target, nullptr);
          goto next_block;
        case Handler::kCallModel:
          if (!RunModel(static_cast<LibraryFunction>(op->a), op->name)) [[unlikely]] goto stopped;
          go(block->end, &block->next);
          goto next_block;
        case Handler::kEnterModel:
          // The return address goes first: what the model calls lies above it.
          if (!PopReturn(0, target) || !RunModel(static_cast<LibraryFunction>(op->a), op->name)) [[unlikely]] goto stopped;
          go(target, nullptr);
          goto next_block;
        case Handler::kVisit:
          if (!PopReturn(0, target) || !visit()) [[unlikely]] goto stopped;
          go(target, nullptr);
          goto next_block;
        case Handler::kReturned: returned_ = true; return;
        case Handler::kStop:
          stop_function_ = blocks_.Name(op->name);
          execution_.Stop(static_cast<StopReason>(op->a));
          goto stopped;
      }
      continue;
    }

  jump_indirect:
    if (target == magic_.visit) {
      if (!PopReturn(0, target) || !visit()) [[unlikely]] goto stopped;
    } else if (const NamedFunction behind = FunctionBehind(slot); behind.function != LibraryFunction::kNone) {
      if (!PopReturn(0, target) || !RunModel(behind.function, blocks_.NameIndex(behind.name))) goto stopped;
    }
    go(target, nullptr);
    goto next_block;

  call_indirect:
    if (target == magic_.visit) {
      if (!visit()) [[unlikely]] goto stopped;
      go(block->end, &block->next);
    } else if (const NamedFunction behind = FunctionBehind(slot); behind.function != LibraryFunction::kNone) {
      if (!RunModel(behind.function, blocks_.NameIndex(behind.name))) goto stopped;
      go(block->end, &block->next);
    } else {
      if (!EnterCall(block->end)) [[unlikely]] goto stopped;
      go(target, nullptr);
    }

  next_block:
    op = block->ops;
    execution_.steps_left -= block->cost;
    if (execution_.steps_left < 0 && !GrantForVisits()) [[unlikely]] {
      execution_.Stop(StopReason::kStepLimit);
      goto stopped;
    }
  }

stopped:
  stop_address_ = AddressOf(*block, *op);
#undef PYGC_ADDRESS
#undef PYGC_FAULT
#undef PYGC_SET
}

}  // namespace pygc::machine
