#include "core/engine/in_flux.h"

#include <doctest/doctest.h>

#include "core/cpython/builtin_layouts.h"
#include "tests/support/fake_process.h"

namespace pygc::engine {
namespace {

using analysis::CountFinding;
using analysis::CountFindingKind;

constexpr Address kCode = 0x10000, kStack = 0x20000, kInRegister = 0x7f0040, kOnStack = 0x7f0080, kDeep = 0x7f00c0, kFreedBlock = 0x7f0100, kCountZero = 0x7f0140, kElsewhere = 0x7f0180;

struct Moment {
  explicit Moment(bool in_system_call, std::int32_t signal = 0) {
    test::FakeProcess fake;
    fake.Map(kCode, 0x1000, "r-x").Map(kStack, 0x4000);
    if (in_system_call) fake.Write<std::uint16_t>(kCode + 0x10, 0x050F);
    fake.Write<std::uint64_t>(kStack + 0x1040, kOnStack).Write<std::uint64_t>(kStack + 0x3000, kDeep);
    process = fake.Build();
    process.kind = target::TargetKind::kCore;
    target::Thread& t = process.threads.emplace_back();
    t.has_registers = true;
    t.signal = signal;
    t.registers[16] = kCode + 0x12;
    t.registers[19] = kStack + 0x1000;
    t.registers[0] = kInRegister | 1;  // as a stack reference of 3.14 is tagged
    t.registers[1] = kFreedBlock;
    t.registers[2] = kCountZero;
    counts.auditable = {heap::Auditable::kYes, heap::Auditable::kFreed, heap::Auditable::kNoCount};
    const auto add = [this](heap::NodeId n, Address a, CountFindingKind kind, bool freed) { audit.findings.push_back({n, a, kind, 1, 2, 0, freed}); };
    add(0, kInRegister, CountFindingKind::kDeficit, false);
    add(0, kOnStack, CountFindingKind::kSurplus, false);
    add(0, kDeep, CountFindingKind::kDeficit, false);
    add(1, kFreedBlock, CountFindingKind::kDeficit, true);
    add(2, kCountZero, CountFindingKind::kDeficit, true);
    add(0, kElsewhere, CountFindingKind::kDeficit, false);
    for (const CountFinding& f : TakeInFlux(process, cpython::BuiltinLayouts().front(), {}, counts, audit)) taken.push_back(f.address);
  }
  [[nodiscard]] std::vector<Address> Left() const {
    std::vector<Address> left;
    for (const CountFinding& f : audit.findings) left.push_back(f.address);
    return left;
  }
  target::Process process;
  heap::ReferenceAudit counts;
  analysis::CountAudit audit;
  std::vector<Address> taken;
};

TEST_CASE("what a running thread has in hand is in flux; what lies far up its stack is not, nor are freed blocks") {
  const Moment m(false);
  CHECK(m.taken == std::vector<Address>{kInRegister, kOnStack, kCountZero});
  CHECK(m.Left() == std::vector<Address>{kDeep, kFreedBlock, kElsewhere});
}

TEST_CASE("a thread in a system call has nothing in hand") {
  const Moment m(true);
  CHECK(m.taken.empty());
  CHECK(m.Left().size() == 6);
}

TEST_CASE("what a thread died of is no flux") {
  constexpr std::int32_t kSegv = 11;
  const Moment m(false, kSegv);
  CHECK(m.taken == std::vector<Address>{kOnStack});
}

}  // namespace
}  // namespace pygc::engine
