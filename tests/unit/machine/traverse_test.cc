// The rules of core/machine on small pieces of code: what is visited, what a run is worth, why it stops.
#include "core/machine/traverse.h"

#include <doctest/doctest.h>

#include <string>

#include "core/machine/run_loop.h"
#include "tests/support/fake_process.h"

namespace pygc::machine {
namespace {

constexpr Address kCode = 0x400000, kObject = 0x10000000, kType = 0x10001000, kOther = 0x10000100, kThird = 0x10000200, kFs = 0x20000800, kReadOnly = 0x30000000;

std::vector<std::uint8_t> Bytes(std::string_view hex) {
  std::vector<std::uint8_t> out;
  for (std::size_t k = 0; k + 1 < hex.size();) {
    if (hex[k] == ' ') {
      ++k;
      continue;
    }
    out.push_back(static_cast<std::uint8_t>(std::stoul(std::string(hex.substr(k, 2)), nullptr, 16)));
    k += 2;
  }
  return out;
}

// One object at kObject whose fields at +0x10, +0x18, +0x20 are kOther, NULL and kThird tagged with 3; code at kCode.
struct World {
  test::FakeProcess fake;
  MachineOptions options;

  explicit World(std::string_view code, std::string_view access = "r-x", bool from_file = true) {
    const std::uint32_t module = from_file ? fake.AddModule("module.so", {{kCode, kCode + 0x1000}}) : 0xFFFFFFFFu;
    fake.Map(kCode, 0x1000, access, module).Map(kObject, 0x40000).Map(kFs - 0x800, 0x1000).Map(kReadOnly, 0x1000, "r--");
    const std::vector<std::uint8_t> bytes = Bytes(code);
    fake.WriteBytes(kCode, std::as_bytes(std::span(bytes)));
    fake.WriteWords(kObject, {1, kType, kOther, 0, kThird | 3});
    fake.WriteWords(kOther, {1, kType});
    fake.WriteWords(kThird, {1, kType});
    fake.WriteWords(kType, {1, kType});
    fake.AddThread(1, 0x7000, 0x8000, kFs);
  }

  RunOutcome Run(std::vector<Visit>& visits, std::uint64_t times = 1) {
    const target::Process process = fake.Build();
    TraverseMachine machine(process, options);
    RunOutcome outcome;
    for (; times != 0; --times) {
      visits.clear();
      outcome = machine.Traverse(kCode, kObject, visits);
    }
    return outcome;
  }
  RunOutcome Run() {
    std::vector<Visit> visits;
    return Run(visits);
  }
};

#define RET0 "31 c0 c3 "
#define MOV_RDI_FIELD "48 8b 7f 10 "    // mov rdi, [rdi+0x10]
#define VISIT_CALL "48 83 ec 08 48 89 f0 48 89 d6 ff d0 48 83 c4 08 "  // sub rsp,8; mov rax,rsi; mov rsi,rdx; call rax; add rsp,8
#define VISIT_JUMP "48 89 f0 48 89 d6 ff e0 "                          // mov rax,rsi; mov rsi,rdx; jmp rax

}  // namespace

TEST_CASE("a field is visited once, with its slot") {
  std::vector<Visit> visits;
  const RunOutcome outcome = World(MOV_RDI_FIELD VISIT_CALL "c3").Run(visits);
  CHECK(outcome.label == RunLabel::kExact);
  REQUIRE(visits.size() == 1);
  CHECK(visits[0].referent == kOther);
  CHECK(visits[0].slot == kObject + 0x10);
}

TEST_CASE("jumping to the visit function and returning to it are visits too") {
  std::vector<Visit> visits;
  CHECK(World(MOV_RDI_FIELD VISIT_JUMP).Run(visits).is_exact());
  CHECK(visits.size() == 1);
  // push rsi; mov rsi, rdx; ret
  CHECK(World(MOV_RDI_FIELD "56 48 89 d6 c3").Run(visits).is_exact());
  CHECK(visits.size() == 1);
}

TEST_CASE("a pointer keeps its slot through masked tag bits, moves, the stack and an exchange") {
  std::vector<Visit> visits;
  // mov rdi,[rdi+0x20]; and rdi,-4; push rdi; pop rcx; mov r8,rcx; xchg r8,rdi
  CHECK(World("48 8b 7f 20 48 83 e7 fc 57 59 49 89 c8 4c 87 c7 " VISIT_JUMP).Run(visits).is_exact());
  REQUIRE(visits.size() == 1);
  CHECK(visits[0].referent == kThird);
  CHECK(visits[0].slot == kObject + 0x20);
  // add rdi,0x100; sub rdi,0x100: a computed pointer has no slot
  CHECK(World(MOV_RDI_FIELD "48 81 c7 00 01 00 00 48 81 ef 00 01 00 00 " VISIT_JUMP).Run(visits).is_exact());
  REQUIRE(visits.size() == 1);
  CHECK(visits[0].slot == 0);
}

TEST_CASE("writing to the target makes it exact-wrote, and the next run sees nothing of it") {
  // lock inc qword [rdi]; cmp qword [rdi],2; jne +3 (to ud2); RET0; ud2
  World world("f0 48 ff 07 48 83 3f 02 75 03 " RET0 "0f 0b");
  std::vector<Visit> visits;
  CHECK(world.Run(visits).label == RunLabel::kExactWrote);
  CHECK(world.Run(visits, 3).label == RunLabel::kExactWrote);
}

TEST_CASE("sixteen pages may be written, not seventeen") {
  // mov ecx,N; L: mov byte [rdi],1; add rdi,0x1000; dec ecx; jne L; RET0
  const std::string loop = " 00 00 00 c6 07 01 48 81 c7 00 10 00 00 ff c9 75 f2 ";
  CHECK(World("b9 10" + loop + RET0).Run().label == RunLabel::kExactWrote);
  const RunOutcome outcome = World("b9 11" + loop + RET0).Run();
  CHECK(outcome.label == RunLabel::kPartial);
  CHECK(outcome.reason == StopReason::kOverlayFull);
}

TEST_CASE("what the processor would refuse ends the run with the reason") {
  struct Row {
    const char* code;
    StopReason reason;
  };
  for (const Row& row : std::initializer_list<Row>{
           {"48 8b 3f 48 8b 3f " RET0, StopReason::kUnmappedRead},                       // mov rdi,[rdi]; mov rdi,[rdi] (1)
           {"48 c7 04 25 10 00 00 00 01 00 00 00 " RET0, StopReason::kUnmappedWrite},    // mov qword [0x10],1
           {"c6 04 25 00 00 00 30 01 " RET0, StopReason::kReadOnlyWrite},                // mov byte [kReadOnly],1
           {"c6 04 25 00 00 40 00 01 " RET0, StopReason::kReadOnlyWrite},                // into the code
           {"0f 28 47 08 " RET0, StopReason::kMisaligned},                               // movaps xmm0,[rdi+8]
           {"31 c9 31 d2 48 f7 f1 " RET0, StopReason::kDivideError},                     // div rcx (0)
           {"0f 0b", StopReason::kTrap},
           {"d9 e8 " RET0, StopReason::kUnknownInstruction},                             // fld1
           {"0f 05 " RET0, StopReason::kUnknownInstruction},                             // syscall
           {"ff e7", StopReason::kUntrustedCode},                                        // jmp rdi: into the heap
           {"b8 00 00 00 50 ff e0", StopReason::kNoCode},
           {"65 48 8b 04 25 00 00 00 00 " RET0, StopReason::kUnknownInstruction},        // gs:
           {"eb fe", StopReason::kStepLimit},
           {"e8 fb ff ff ff", StopReason::kDepthLimit},                                  // calls itself
           {"b9 ff ff ff 7f 31 c0 f3 aa " RET0, StopReason::kStepLimit},                 // rep stosb over a quarter of the heap: charged
           {"48 81 ec 00 00 08 00 50 " RET0, StopReason::kUnmappedWrite},                // beyond the shadow stack
           {"b8 01 00 00 00 c3", StopReason::kNonZeroResult},
           {"31 c0 31 db c3", StopReason::kSavedRegisters},
           {"31 c0 c2 08 00", StopReason::kStackImbalance},
           {MOV_RDI_FIELD "48 89 f0 ff e0", StopReason::kVisitArgument},
           {"48 8b 7f 18 " VISIT_JUMP, StopReason::kBadReferent},                        // NULL
           {"48 8b 7f 20 " VISIT_JUMP, StopReason::kBadReferent},                        // tag bits left on
           {"48 8d 7f 40 " VISIT_JUMP, StopReason::kBadReferent},                        // no type there
       }) {
    CAPTURE(row.code);
    const RunOutcome outcome = World(row.code).Run();
    CHECK(StopReasonCode(outcome.reason) == std::string(StopReasonCode(row.reason)));
    CHECK(outcome.label == RunLabel::kPartial);
    CHECK(outcome.Text() != "");
  }
}

TEST_CASE("the visits before a stop are kept") {
  std::vector<Visit> visits;
  const RunOutcome outcome = World(MOV_RDI_FIELD VISIT_CALL "0f 0b").Run(visits);
  CHECK(outcome.label == RunLabel::kPartial);
  CHECK(visits.size() == 1);
}

TEST_CASE("code outside the read-only text of a file runs only when trusted") {
  std::vector<Visit> visits;
  for (const bool from_file : {false, true}) {
    World world(MOV_RDI_FIELD VISIT_JUMP, from_file ? "rwx" : "r-x", from_file);
    CHECK(world.Run(visits).reason == StopReason::kUntrustedCode);
    CHECK(visits.empty());
    world.options.trust_anonymous_code = true;
    CHECK(world.Run(visits).is_exact());
    CHECK(visits.size() == 1);
  }
}

TEST_CASE("thread-local reads are labelled; the stack protector's canary is not one") {
  CHECK(World("64 48 8b 04 25 28 00 00 00 64 48 2b 04 25 28 00 00 00 75 01 c3 0f 0b").Run().label == RunLabel::kExact);
  World world("64 48 8b 04 25 00 00 00 00 " RET0);
  CHECK(world.Run().label == RunLabel::kExactTls);
  world.options.fs_base = 0;
  CHECK(world.Run().reason == StopReason::kNoThread);
}

TEST_CASE("a preset word reads as what it was set to, and only there") {
  World world("48 8b 3c 25 00 08 00 20 " VISIT_JUMP);  // mov rdi,[kFs]
  CHECK(world.Run().reason == StopReason::kBadReferent);
  world.options.presets = {{kFs, kThird}};
  std::vector<Visit> visits;
  CHECK(world.Run(visits, 2).label == RunLabel::kExactTls);
  REQUIRE(visits.size() == 1);
  CHECK(visits[0].referent == kThird);
  World beside("48 8b 04 25 08 08 00 20 48 85 c0 75 03 " RET0 "0f 0b");  // the word behind it is still 0
  beside.options.presets = world.options.presets;
  CHECK(beside.Run().label == RunLabel::kExact);
}

TEST_CASE("stack memory that was never written is a doubt when something depends on it") {
  CHECK(World("48 8b 44 24 f0 31 c0 c3").Run().label == RunLabel::kApproximate);        // mov rax,[rsp-16]
  CHECK(World("48 83 ec 08 59 31 c0 c3").Run().label == RunLabel::kExact);              // pop rcx, and rcx is not looked at
  CHECK(World("48 83 ec 08 59 51 5a 31 c0 c3").Run().label == RunLabel::kExact);        // pushed and popped again
  CHECK(World("48 83 ec 08 59 48 85 c9 31 c0 c3").Run().label == RunLabel::kApproximate);  // test rcx,rcx
  CHECK(World("48 83 ec 08 59 31 c9 85 c9 31 c0 c3").Run().label == RunLabel::kExact);  // xor ecx,ecx first
  CHECK(World("48 83 ec 08 58 c3").Run().label != RunLabel::kExact);                    // returned
  CHECK(World("83 4c 24 f0 00 48 83 64 24 f0 00 31 c0 c3").Run().label == RunLabel::kExact);  // a probe and a store of 0
  // What lies below the stack pointer does not outlive a call.
  CHECK(World("48 c7 44 24 e0 07 00 00 00 " MOV_RDI_FIELD VISIT_CALL "48 8b 4c 24 e0 c3").Run().label == RunLabel::kApproximate);
}

TEST_CASE("a function that keeps meeting a bound is not run any more; one that faults is") {
  World loops("eb fe");
  loops.options.max_strikes = 3;
  std::vector<Visit> visits;
  CHECK(loops.Run(visits, 3).reason == StopReason::kStepLimit);
  CHECK(loops.Run(visits, 4).reason == StopReason::kStruckOut);
  CHECK(loops.Run(visits, 4).label == RunLabel::kRefused);
  World faults("0f 0b");
  faults.options.max_strikes = 3;
  CHECK(faults.Run(visits, 10).reason == StopReason::kTrap);
}

TEST_CASE("all runs together stay within the budget") {
  World world(RET0);
  world.options.budget = std::make_shared<std::atomic<std::int64_t>>(5);
  std::vector<Visit> visits;
  CHECK(world.Run(visits, 2).is_exact());
  CHECK(world.Run(visits, 9).reason == StopReason::kBudget);
}

TEST_CASE("visits of places not seen before widen the bound on steps, up to the ceiling") {
  // push rbx; push rbp; push r12; lea rbx,[rdi+0x2000]; mov rbp,rsi; mov r12,rdx; L: mov rdi,[rbx]; add rbx,8; mov rsi,r12; call rbp; jmp L
  World world("53 55 41 54 48 8d 9f 00 20 00 00 48 89 f5 49 89 d4 48 8b 3b 48 83 c3 08 4c 89 e6 ff d5 eb f2");
  world.fake.WriteWords(kObject + 0x2000, std::vector<std::uint64_t>(4000, kOther));
  world.options.base_steps = 100;
  world.options.max_steps = 10'000;
  std::vector<Visit> visits;
  const RunOutcome outcome = world.Run(visits);
  CHECK(outcome.reason == StopReason::kStepLimit);
  CHECK(outcome.steps <= 10'000);
  CHECK(visits.size() > 1900);
  world.options.max_steps = 1'000'000;
  CHECK(world.Run(visits).reason == StopReason::kBadReferent);  // came to the end of the pointers
  CHECK(visits.size() == 4000);
  world.options.max_visits = 7;
  CHECK(world.Run(visits).reason == StopReason::kVisitLimit);
  CHECK(visits.size() == 7);
}

TEST_CASE("what is visited has a type, and that has one, up to one that is its own") {
  World world(MOV_RDI_FIELD VISIT_JUMP);
  CHECK(world.Run().is_exact());
  world.fake.WriteWords(kOther, {1, kThird});  // kThird's type is kType
  CHECK(world.Run().is_exact());
  world.fake.WriteWords(kThird, {1, 0});  // a static type that was never readied
  CHECK(world.Run().is_exact());
  world.fake.WriteWords(kThird, {1, kOther});  // two that are each other's, as the heads of a list are
  CHECK(world.Run().reason == StopReason::kBadReferent);
  world.fake.WriteWords(kThird, {1, 0x5000});
  CHECK(world.Run().reason == StopReason::kBadReferent);
}

TEST_CASE("a loop that visits the same place again and again does not earn steps by that") {
  // push rbx; push rbp; push r12; mov rbx,rdi; mov rbp,rsi; mov r12,rdx; L: mov rdi,[rbx+16]; mov rsi,r12; call rbp; jmp L
  World world("53 55 41 54 48 89 fb 48 89 f5 49 89 d4 48 8b 7b 10 4c 89 e6 ff d5 eb f5");
  const RunOutcome outcome = world.Run();
  CHECK(outcome.reason == StopReason::kStepLimit);
  CHECK(outcome.steps <= 21'000);
}

TEST_CASE("an accessor gives its result and what it read") {
  World world("48 8b 07 48 8b 47 10 0f b6 00 c3");  // mov rax,[rdi]; mov rax,[rdi+16]; movzx eax, byte [rax]; ret
  const target::Process process = world.fake.Build();
  TraverseMachine machine(process, world.options);
  ReadTrace trace;
  const RunOutcome outcome = machine.RunFunction(kCode, std::array<std::uint64_t, 1>{kObject}, &trace);
  CHECK(outcome.is_exact());
  CHECK(outcome.result == 1);
  REQUIRE(trace.reads.size() == 3);
  CHECK(trace.reads[1].address == kObject + 0x10);
  CHECK(trace.reads[1].value == kOther);
  CHECK(trace.reads[2].size == 1);
  trace.reads.clear();
  trace.limit = 2;
  CHECK(machine.RunFunction(kCode, std::array<std::uint64_t, 1>{kObject}, &trace).is_exact());
  CHECK(trace.reads.size() == 2);
}

TEST_CASE("the magic addresses keep away from what the target has") {
  test::FakeProcess fake;
  const MagicAddresses usual = ChooseMagicAddresses(fake.Build());
  fake.Map(usual.stack_base, 0x1000);
  fake.AddMissing({usual.visit, usual.visit + 0x1000}, target::MissingReason::kNotDumped);
  const MagicAddresses moved = ChooseMagicAddresses(fake.Build());
  for (const Address a : {moved.visit, moved.argument, moved.returned, moved.stack_base}) CHECK((a < usual.visit - 0x1000 || a > usual.stack_base + 0x100000));
}

TEST_CASE("a small decode cache gives the same answers") {
  // 64 calls down a chain: L0: call L1; ret ... each block decoded again when the cache was emptied
  std::string code;
  for (int k = 0; k < 40; ++k) code += "90 90 90 90 e8 01 00 00 00 c3 ";
  code += RET0;
  World world(code);
  world.options.max_decoded_instructions = 1;  // raised to the least that works
  std::vector<Visit> visits;
  CHECK(world.Run(visits, 100).is_exact());
}

TEST_CASE("every reason has a code and a text") {
  for (unsigned r = 0; r < static_cast<unsigned>(StopReason::kCount); ++r) {
    CHECK(std::string(StopReasonCode(static_cast<StopReason>(r))) != "");
    CHECK((r == 0 || std::string(StopReasonCode(static_cast<StopReason>(r))) != "none"));
  }
}

TEST_CASE("library functions are known by name, with and without a version") {
  CHECK(ClassifyLibraryFunction("memcmp") == LibraryFunction::kMemcmp);
  CHECK(ClassifyLibraryFunction("memcmp@GLIBC_2.2.5") == LibraryFunction::kMemcmp);
  CHECK(ClassifyLibraryFunction("PyErr_SetString") == LibraryFunction::kStop);
  CHECK(ClassifyLibraryFunction("PyErr_Occurred") == LibraryFunction::kNone);
  CHECK(ClassifyLibraryFunction("_Py_Dealloc") == LibraryFunction::kStop);
  CHECK(ClassifyLibraryFunction("malloc@GLIBC_2.2.5") == LibraryFunction::kMalloc);
  CHECK(ClassifyLibraryFunction("pthread_mutex_lock") == LibraryFunction::kReturnZero);
  CHECK(ClassifyLibraryFunction("PyDict_GetItem") == LibraryFunction::kNone);
  CHECK(ClassifyLibraryFunction("") == LibraryFunction::kNone);
}

}  // namespace pygc::machine
