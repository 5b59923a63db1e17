// The rules of what a run is worth: when its visits are exact, when it is not even started.
#include "core/machine/traverse.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <unordered_map>

#include "core/machine/run_loop.h"

namespace pygc::machine {

struct TraverseMachine::Impl {
  Impl(const target::Process& process, std::shared_ptr<const Linkage> linkage, const MachineOptions& given)
      : options(given), loop(process, std::move(linkage), given) {}

  MachineOptions options;
  RunLoop loop;
  std::int64_t unsettled = 0;  // steps not yet taken from the budget
  std::unordered_map<Address, std::array<std::uint16_t, static_cast<std::size_t>(StopReason::kCount)>> strikes;

  ~Impl() { Settle(); }
  [[nodiscard]] bool TakeFromBudget(RunOutcome& out) const;
  void Spend(std::uint64_t steps);
  void Settle();
  [[nodiscard]] bool IsStruckOut(Address function) const;
  void Strike(Address function, StopReason reason);
  RunOutcome Run(Address function, std::span<const std::uint64_t> arguments, std::uint64_t max_steps, std::vector<Visit>* visits, ReadTrace* trace);
  void Judge(RunOutcome& out, bool is_traverse) const;
};

// The budget is shared by threads: it is looked at for each run, but what was spent is taken from it in larger sums.
constexpr std::int64_t kSettleAt = 1 << 16;  // steps

bool TraverseMachine::Impl::TakeFromBudget(RunOutcome& out) const {
  if (options.budget == nullptr || options.budget->load(std::memory_order_relaxed) > unsettled) return true;
  out.reason = StopReason::kBudget;
  return false;
}

void TraverseMachine::Impl::Spend(std::uint64_t steps) {
  unsettled += static_cast<std::int64_t>(steps);
  if (unsettled >= kSettleAt) Settle();
}

void TraverseMachine::Impl::Settle() {
  if (options.budget != nullptr) options.budget->fetch_sub(unsettled, std::memory_order_relaxed);
  unsettled = 0;
}

// Only bounds strike: they are what costs time. A run that ends in a fault is cheap, and another object of the same type may do better.
void TraverseMachine::Impl::Strike(Address function, StopReason reason) {
  if (reason != StopReason::kStepLimit && reason != StopReason::kVisitLimit && reason != StopReason::kDepthLimit) return;
  std::uint16_t& count = strikes[function][static_cast<std::size_t>(reason)];
  if (count < 0xffff) ++count;
}

bool TraverseMachine::Impl::IsStruckOut(Address function) const {
  if (strikes.empty()) return false;
  const auto it = strikes.find(function);
  return it != strikes.end() && std::any_of(it->second.begin(), it->second.end(), [&](std::uint16_t n) { return n >= options.max_strikes; });
}

// A run that came back: is it worth what it says? Else it gets the reason why not.
void TraverseMachine::Impl::Judge(RunOutcome& out, bool is_traverse) const {
  if (out.label != RunLabel::kExact) return;
  const auto doubt = [&](StopReason reason, std::uint64_t operand) {
    out.label = RunLabel::kPartial;
    out.reason = reason;
    out.stop_operand = operand;
  };
  if (!loop.StackBalanced()) return doubt(StopReason::kStackImbalance, loop.execution().cpu.gpr[kRsp]);
  if (!loop.SavedRegistersIntact()) return doubt(StopReason::kSavedRegisters, 0);
  if (is_traverse && static_cast<std::uint32_t>(out.result) != 0) return doubt(StopReason::kNonZeroResult, out.result);
  if (loop.used_undefined()) {
    out.label = RunLabel::kApproximate;
    out.reason = StopReason::kUninitialisedRead;
    return;
  }
  if (loop.execution().read_thread_local || loop.execution().memory.read_preset()) out.label = RunLabel::kExactTls;
  if (loop.execution().memory.wrote_target() || loop.execution().memory.allocated()) out.label = RunLabel::kExactWrote;
}

RunOutcome TraverseMachine::Impl::Run(Address function, std::span<const std::uint64_t> arguments, std::uint64_t max_steps, std::vector<Visit>* visits,
                                      ReadTrace* trace) {
  RunOutcome out;
  if (!TakeFromBudget(out)) return out;
  if (IsStruckOut(function)) {
    out.reason = StopReason::kStruckOut;
    return out;
  }
  out = loop.Run(function, arguments, max_steps, visits, trace);
  Spend(out.steps);
  Strike(function, out.reason);
  Judge(out, visits != nullptr);
  return out;
}

TraverseMachine::TraverseMachine(const target::Process& process, const MachineOptions& options)
    : TraverseMachine(process, std::make_shared<const Linkage>(process), options) {}
TraverseMachine::TraverseMachine(const target::Process& process, std::shared_ptr<const Linkage> linkage, const MachineOptions& options)
    : impl_(std::make_unique<Impl>(process, std::move(linkage), options)) {}
TraverseMachine::~TraverseMachine() = default;
TraverseMachine::TraverseMachine(TraverseMachine&&) noexcept = default;
TraverseMachine& TraverseMachine::operator=(TraverseMachine&&) noexcept = default;

RunOutcome TraverseMachine::Traverse(Address tp_traverse, Address object, std::vector<Visit>& out, std::uint64_t plausible_items,
                                     ReadTrace* trace) {
  const MachineOptions& o = impl_->options;
  const std::uint64_t per_item = std::max<std::uint64_t>(o.steps_per_item, 1);
  const std::uint64_t for_items = plausible_items > o.max_steps / per_item ? o.max_steps : plausible_items * per_item;
  const std::uint64_t steps = std::min(o.max_steps, o.base_steps + for_items);
  const std::array<std::uint64_t, 3> arguments = {object, impl_->loop.magic().visit, impl_->loop.magic().argument};
  return impl_->Run(tp_traverse, arguments, steps, &out, trace);
}

RunOutcome TraverseMachine::RunFunction(Address function, std::span<const std::uint64_t> arguments, ReadTrace* trace) {
  return impl_->Run(function, arguments, impl_->options.base_steps, nullptr, trace);
}

std::size_t TraverseMachine::decoded_instructions() const noexcept { return impl_->loop.blocks().decoded_instructions(); }

std::string RunOutcome::Text() const {
  if (reason == StopReason::kNone) return StopReasonText(reason);
  std::string text = stop_address != 0 ? fmt::format("stopped at {:#x}: {}", stop_address, StopReasonText(reason)) : StopReasonText(reason);
  if (!stop_function.empty()) return text + fmt::format(" ({})", stop_function);
  if (stop_operand != 0) return text + fmt::format(" ({:#x})", stop_operand);
  return text;
}

}  // namespace pygc::machine
