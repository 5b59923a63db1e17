// The heart of the machine: executes blocks of micro-operations until the function returns or a bound is met. No policy: traverse.cc decides what a run is
// worth.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "core/machine/block_cache.h"
#include "core/machine/execution.h"
#include "core/machine/slot_set.h"
#include "core/machine/traverse.h"

namespace pygc::machine {

/// Addresses that the target does not use: the visit function, its argument, where the outermost function returns to, and the shadow stack.
struct MagicAddresses {
  Address visit = 0, argument = 0, returned = 0, stack_base = 0;
};

/// Finds them: nothing of the target lies within a megabyte of any.
[[nodiscard]] MagicAddresses ChooseMagicAddresses(const target::Process& process);

class RunLoop {
 public:
  RunLoop(const target::Process& process, std::shared_ptr<const Linkage> linkage, const MachineOptions& options);

  /// Executes the function at `entry` with the registers that `arguments` (rdi, rsi, rdx, rcx, r8, r9) set. `visits` may be nullptr: then a visit is an error.
  /// The label of the outcome is kExact where it returned, kPartial where it stopped; traverse.cc refines it.
  RunOutcome Run(Address entry, std::span<const std::uint64_t> arguments, std::uint64_t max_steps, std::vector<Visit>* visits, ReadTrace* trace);

  /// Goes on at `entry` with any registers, until control comes to magic().returned. For tests: nothing is set up.
  RunOutcome RunFrom(const CpuState& cpu, Address entry);

  [[nodiscard]] const MagicAddresses& magic() const noexcept { return magic_; }
  [[nodiscard]] const BlockCache& blocks() const noexcept { return blocks_; }
  [[nodiscard]] const Execution& execution() const noexcept { return execution_; }
  [[nodiscard]] MemoryView& memory() noexcept { return memory_; }
  /// True when the run depended on a value that was never written.
  [[nodiscard]] bool used_undefined() const noexcept { return used_undefined_ || memory_.read_uninitialised(); }
  /// True when the registers that a function must keep are as they were at the start of the last run.
  [[nodiscard]] bool SavedRegistersIntact() const noexcept;
  /// True when the stack pointer is where a return from the outermost function leaves it.
  [[nodiscard]] bool StackBalanced() const noexcept;

 private:
  void SetUp(std::span<const std::uint64_t> arguments, std::uint64_t max_steps, ReadTrace* trace);
  void Enter(Address entry);
  /// Goes on at `op` of `block`. kChecked: some register holds a value that is not defined; every instruction that reads it is noticed.
  template <bool kChecked>
  void Loop(Block* block, const MicroOp* op);
  void CheckUndefined(const MicroOp& op) noexcept;
  [[nodiscard]] RunOutcome Outcome() const;
  [[nodiscard]] bool DoVisit() noexcept;
  [[nodiscard]] bool GrantForVisits() noexcept;
  [[nodiscard]] bool LooksLikeObject(Address a) noexcept;
  [[nodiscard]] bool LooksLikeType(Address type) noexcept;
  [[nodiscard]] bool VerifyVisits() noexcept;
  [[nodiscard]] bool RunModel(LibraryFunction function, std::uint16_t name) noexcept;
  [[nodiscard]] bool ModelCompare(bool stop_at_nul, std::uint64_t limit) noexcept;
  [[nodiscard]] bool ModelCopy(Address to, Address from, std::uint64_t size) noexcept;
  [[nodiscard]] bool ModelSet(Address to, std::uint8_t value, std::uint64_t size) noexcept;
  [[nodiscard]] bool ModelFind(Address from, int value, std::uint64_t limit, bool stop_at_nul) noexcept;
  [[nodiscard]] bool ModelAllocate(std::uint64_t count, std::uint64_t size, bool zeroed, std::uint16_t name) noexcept;
  [[nodiscard]] bool ModelReallocate(Address from, std::uint64_t size, std::uint16_t name) noexcept;
  [[nodiscard]] bool ModelFree(Address a, std::uint16_t name) noexcept;
  [[nodiscard]] bool StopAtFunction(std::uint16_t name) noexcept;
  [[nodiscard]] bool ModelLength(Address from, std::uint64_t limit) noexcept;
  void TrashCallerSaved() noexcept;
  [[nodiscard]] bool EnterCall(Address return_address) noexcept;
  [[nodiscard]] bool PopReturn(std::uint64_t release, Address& to) noexcept;
  [[nodiscard]] NamedFunction FunctionBehind(Address slot) const;  // the library function that a pointer loaded from `slot` leads to
  [[nodiscard]] bool LoadTarget(const disasm::Instruction& i, Address& target, Address& slot) noexcept;

  MachineOptions options_;
  MagicAddresses magic_;
  BlockCache blocks_;
  CpuState cpu_;
  MemoryView memory_;
  Execution execution_;
  Address fs_base_ = 0;
  std::vector<Visit>* visits_ = nullptr;
  std::uint64_t visit_count_ = 0;
  std::size_t verified_ = 0;  // the first that was not looked at yet
  std::uint64_t steps_granted_ = 0, steps_ceiling_ = 0, steps_at_start_ = 0;
  std::uint64_t steps_at_news_ = 0;  // granted when the last visit of a place not seen before was
  std::size_t rewarded_ = 0;  // the first visit that was not looked at for that yet
  SlotSet slots_;             // of those that were
  std::vector<Address> frames_;  // stack pointers behind the pushed return addresses, innermost last
  Address stop_address_ = 0;
  std::string_view stop_function_;
  bool returned_ = false;
  std::uint32_t undefined_registers_ = 0;  // a bit for each
  bool used_undefined_ = false;
  std::array<Address, 256> known_types_{};  // that were found readable; by address
};

}  // namespace pygc::machine
