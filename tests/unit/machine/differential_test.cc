// The machine against the real processor: every instruction form that it claims to execute, with random and extreme inputs, flags and faults included.
// Each snippet runs natively in an executable mapping, between a trampoline that sets and one that saves all registers; then in the machine from the same
// state. Compared are the general and vector registers, the defined flags, the memory, and whether it faulted.
#include <doctest/doctest.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <csignal>
#include <cstring>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "core/machine/run_loop.h"
#include "tests/unit/machine/every_form.h"

asm(
#include "instruction_snippets.inc"
);

// Bounds of the table that the snippets are listed in. The section is only ever filled by this file.
asm(".pushsection .data.rel.ro.snippet_table, \"aw\", @progbits\n"
    ".globl pygc_snippets_end\npygc_snippets_end:\n.popsection\n");

namespace {

struct Snippet {
  const std::uint8_t* begin;
  const std::uint8_t* end;
  const char* text;
  std::uint32_t undefined_flags;
  std::uint32_t feature;
};
static_assert(sizeof(Snippet) == 32);

// What the trampolines load and save. The offsets are used in assembly below.
struct alignas(64) NativeState {
  std::array<std::uint64_t, 16> gpr;  // encoding order
  std::uint64_t flags;
  std::uint64_t host_stack;
  std::uint64_t code;
  std::uint64_t wide;  // 0: ymm0-15, 1: zmm0-31
  std::array<std::uint64_t, 4> padding;
  std::array<std::array<std::uint64_t, 8>, 32> vector;
};
static_assert(offsetof(NativeState, flags) == 128 && offsetof(NativeState, vector) == 192);

}  // namespace

extern "C" {
extern const Snippet pygc_snippets_end[];
NativeState pygc_native_state;
void pygc_native_enter();
extern const char pygc_native_exit[];
}

// Everything is addressed relative to rip: no register is free.
asm(R"(
.text
.globl pygc_native_enter
pygc_native_enter:
  push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15
  mov %rsp, pygc_native_state+136(%rip)
  lea pygc_native_state+192(%rip), %rax
  cmpq $0, pygc_native_state+152(%rip)
  jne 1f
)"
#define LOAD_Y(n) "  vmovdqu " #n "*64(%rax), %ymm" #n "\n"
    LOAD_Y(0) LOAD_Y(1) LOAD_Y(2) LOAD_Y(3) LOAD_Y(4) LOAD_Y(5) LOAD_Y(6) LOAD_Y(7) LOAD_Y(8) LOAD_Y(9) LOAD_Y(10) LOAD_Y(11) LOAD_Y(12) LOAD_Y(13)
        LOAD_Y(14) LOAD_Y(15)
            R"(
  jmp 2f
1:
)"
#define LOAD_Z(n) "  vmovdqu64 " #n "*64(%rax), %zmm" #n "\n"
    LOAD_Z(0) LOAD_Z(1) LOAD_Z(2) LOAD_Z(3) LOAD_Z(4) LOAD_Z(5) LOAD_Z(6) LOAD_Z(7) LOAD_Z(8) LOAD_Z(9) LOAD_Z(10) LOAD_Z(11) LOAD_Z(12) LOAD_Z(13)
        LOAD_Z(14) LOAD_Z(15) LOAD_Z(16) LOAD_Z(17) LOAD_Z(18) LOAD_Z(19) LOAD_Z(20) LOAD_Z(21) LOAD_Z(22) LOAD_Z(23) LOAD_Z(24) LOAD_Z(25) LOAD_Z(26)
            LOAD_Z(27) LOAD_Z(28) LOAD_Z(29) LOAD_Z(30) LOAD_Z(31)
                R"(
2:
  pushq pygc_native_state+128(%rip)
  popfq
  mov pygc_native_state+0(%rip), %rax
  mov pygc_native_state+8(%rip), %rcx
  mov pygc_native_state+16(%rip), %rdx
  mov pygc_native_state+24(%rip), %rbx
  mov pygc_native_state+32(%rip), %rsp
  mov pygc_native_state+40(%rip), %rbp
  mov pygc_native_state+48(%rip), %rsi
  mov pygc_native_state+56(%rip), %rdi
  mov pygc_native_state+64(%rip), %r8
  mov pygc_native_state+72(%rip), %r9
  mov pygc_native_state+80(%rip), %r10
  mov pygc_native_state+88(%rip), %r11
  mov pygc_native_state+96(%rip), %r12
  mov pygc_native_state+104(%rip), %r13
  mov pygc_native_state+112(%rip), %r14
  mov pygc_native_state+120(%rip), %r15
  jmp *pygc_native_state+144(%rip)

.globl pygc_native_exit
pygc_native_exit:
  mov %rax, pygc_native_state+0(%rip)
  mov %rcx, pygc_native_state+8(%rip)
  mov %rdx, pygc_native_state+16(%rip)
  mov %rbx, pygc_native_state+24(%rip)
  mov %rsp, pygc_native_state+32(%rip)
  mov %rbp, pygc_native_state+40(%rip)
  mov %rsi, pygc_native_state+48(%rip)
  mov %rdi, pygc_native_state+56(%rip)
  mov %r8, pygc_native_state+64(%rip)
  mov %r9, pygc_native_state+72(%rip)
  mov %r10, pygc_native_state+80(%rip)
  mov %r11, pygc_native_state+88(%rip)
  mov %r12, pygc_native_state+96(%rip)
  mov %r13, pygc_native_state+104(%rip)
  mov %r14, pygc_native_state+112(%rip)
  mov %r15, pygc_native_state+120(%rip)
  mov pygc_native_state+136(%rip), %rsp
  pushfq
  popq pygc_native_state+128(%rip)
  lea pygc_native_state+192(%rip), %rax
  cmpq $0, pygc_native_state+152(%rip)
  jne 1f
)"
#define SAVE_Y(n) "  vmovdqu %ymm" #n ", " #n "*64(%rax)\n"
    SAVE_Y(0) SAVE_Y(1) SAVE_Y(2) SAVE_Y(3) SAVE_Y(4) SAVE_Y(5) SAVE_Y(6) SAVE_Y(7) SAVE_Y(8) SAVE_Y(9) SAVE_Y(10) SAVE_Y(11) SAVE_Y(12) SAVE_Y(13)
        SAVE_Y(14) SAVE_Y(15)
            R"(
  jmp 2f
1:
)"
#define SAVE_Z(n) "  vmovdqu64 %zmm" #n ", " #n "*64(%rax)\n"
    SAVE_Z(0) SAVE_Z(1) SAVE_Z(2) SAVE_Z(3) SAVE_Z(4) SAVE_Z(5) SAVE_Z(6) SAVE_Z(7) SAVE_Z(8) SAVE_Z(9) SAVE_Z(10) SAVE_Z(11) SAVE_Z(12) SAVE_Z(13)
        SAVE_Z(14) SAVE_Z(15) SAVE_Z(16) SAVE_Z(17) SAVE_Z(18) SAVE_Z(19) SAVE_Z(20) SAVE_Z(21) SAVE_Z(22) SAVE_Z(23) SAVE_Z(24) SAVE_Z(25) SAVE_Z(26)
            SAVE_Z(27) SAVE_Z(28) SAVE_Z(29) SAVE_Z(30) SAVE_Z(31)
                R"(
2:
  vzeroupper
  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx
  ret
)");

namespace pygc::machine {
namespace {

constexpr std::size_t kDataBytes = 8192;
constexpr std::uint64_t kStatusFlags = 0x8c5;  // CF PF ZF SF OF

// Jump to the absolute address that follows.
constexpr std::array<std::uint8_t, 6> kJumpIndirect = {0xff, 0x25, 0, 0, 0, 0};

sigjmp_buf recovery;
void OnFault(int) { siglongjmp(recovery, 1); }

// Faults of the native run come back through siglongjmp, on a stack of their own: rsp is the snippet's.
class FaultGuard {
 public:
  FaultGuard() : stack_(1u << 16) {
    stack_t alternate{};
    alternate.ss_sp = stack_.data();
    alternate.ss_size = stack_.size();
    sigaltstack(&alternate, &old_stack_);
    struct sigaction action {};
    action.sa_handler = OnFault;
    action.sa_flags = SA_ONSTACK | SA_NODEFER;
    for (std::size_t k = 0; k < kSignals.size(); ++k) sigaction(kSignals[k], &action, &old_[k]);
  }
  ~FaultGuard() {
    for (std::size_t k = 0; k < kSignals.size(); ++k) sigaction(kSignals[k], &old_[k], nullptr);
    if (old_stack_.ss_sp == nullptr) old_stack_.ss_flags = SS_DISABLE;
    sigaltstack(&old_stack_, nullptr);
  }
  FaultGuard(const FaultGuard&) = delete;
  FaultGuard& operator=(const FaultGuard&) = delete;

 private:
  static constexpr std::array<int, 5> kSignals = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
  std::vector<std::byte> stack_;
  stack_t old_stack_{};
  std::array<struct sigaction, kSignals.size()> old_{};
};

// True: it came back; false: it faulted. pygc_native_state holds the registers.
[[gnu::noinline]] bool RunNatively() {
  if (sigsetjmp(recovery, 1) != 0) return false;
  pygc_native_enter();
  return true;
}

std::uint64_t FlagBits(const Flags& f) {
  return (f.carry ? 1u : 0u) | (f.parity() ? 4u : 0u) | (f.zero() ? 0x40u : 0u) | (f.sign() ? 0x80u : 0u) | (f.overflow ? 0x800u : 0u);
}
Flags FromBits(std::uint64_t bits) {
  Flags f;
  f.carry = (bits & 1) != 0;
  f.parity_source = (bits & 4) != 0 ? 0 : 1;
  f.zero_source = (bits & 0x40) != 0 ? 0 : 1;
  f.sign_source = (bits & 0x80) != 0 ? ~0ull : 0;
  f.overflow = (bits & 0x800) != 0;
  return f;
}

class Differential {
 public:
  Differential() {
    // Near this program, so that rip-relative operands of a snippet that is copied stay encodable; writable data beside it.
    code_ = Map(4096, PROT_READ | PROT_WRITE | PROT_EXEC);
    data_ = Map(kDataBytes, PROT_READ | PROT_WRITE);  // below 4 GiB, for addresses of 32 bits
    wide_ = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    modern_ = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
  }
  ~Differential() {
    munmap(code_, 4096);
    munmap(data_, kDataBytes);
  }
  Differential(const Differential&) = delete;
  Differential& operator=(const Differential&) = delete;

  [[nodiscard]] bool Supports(const Snippet& s) const { return (s.feature & 15) == 0 ? modern_ : (s.feature & 15) == 1 ? modern_ : wide_; }
  // Runs one snippet `rounds` times; the text of the first difference, or empty.
  std::string Compare(const Snippet& snippet, unsigned rounds, bool shortcuts, std::uint64_t seed);

 private:
  static std::byte* Map(std::size_t size, int protection) {
    void* p = mmap(nullptr, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    REQUIRE(p != MAP_FAILED);
    return static_cast<std::byte*>(p);
  }
  std::uint64_t RandomValue();
  void Randomise(const Snippet& snippet);
  [[nodiscard]] target::Process BuildProcess(std::vector<std::byte>& code_image, std::vector<std::byte>& data_image) const;

  std::byte* code_;
  std::byte* data_;
  bool wide_ = false, modern_ = false;
  std::mt19937_64 random_;
};

std::uint64_t Differential::RandomValue() {
  constexpr std::uint64_t kExtremes[] = {0, 1, ~0ull, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 0x7fffffffffffffff,
                                         0x8000000000000000, 2, 31, 32, 63, 64};
  switch (random_() % 4) {
    case 0: return kExtremes[random_() % std::size(kExtremes)];
    case 1: return random_() % 256;
    case 2: return random_() >> (random_() % 64);
    default: return random_();
  }
}

void Differential::Randomise(const Snippet& snippet) {
  NativeState& s = pygc_native_state;
  for (std::uint64_t& r : s.gpr) r = RandomValue();
  const auto data = reinterpret_cast<std::uint64_t>(data_);
  s.gpr[kRbx] = data + 1024;
  s.gpr[kRsp] = data + 4096 + 1024;
  s.gpr[kR9] = random_() % 17 - 8;
  s.gpr[kR10] = data + 2048;
  if ((snippet.feature & 16) != 0) {
    s.gpr[kRsi] = data + 256 + random_() % 64;
    s.gpr[kRdi] = data + 300 + random_() % 512;
    s.gpr[kRcx] = random_() % 20;
    s.gpr[kRax] = random_() % 3;
  }
  s.flags = 0x202 | (random_() & kStatusFlags);
  for (auto& v : s.vector)
    for (std::uint64_t& w : v) w = RandomValue();
  for (std::size_t k = 0; k < kDataBytes; k += 8) {
    const std::uint64_t v = (snippet.feature & 16) != 0 ? random_() & 0x0000010000000101ull : RandomValue();
    std::memcpy(data_ + k, &v, 8);
  }
}

target::Process Differential::BuildProcess(std::vector<std::byte>& code_image, std::vector<std::byte>& data_image) const {
  target::Process process;
  target::Module module;
  module.path = "snippets";
  const auto code = reinterpret_cast<Address>(code_), data = reinterpret_cast<Address>(data_);
  module.ranges = {{code, code + 4096}};
  process.modules.push_back(module);
  target::Segment text;
  text.range = {code, code + 4096}, text.bytes = code_image.data(), text.executable = true, text.module = 0;
  target::Segment heap;
  heap.range = {data, data + kDataBytes}, heap.bytes = data_image.data(), heap.writable = true;
  process.memory = target::MemoryImage({text, heap}, {});
  return process;
}

std::string Differential::Compare(const Snippet& snippet, unsigned rounds, bool shortcuts, std::uint64_t seed) {
  random_.seed(seed);
  const auto size = static_cast<std::size_t>(snippet.end - snippet.begin);
  std::memset(code_, 0xcc, 4096);
  std::memcpy(code_, snippet.begin, size);
  std::memcpy(code_ + size, kJumpIndirect.data(), kJumpIndirect.size());
  std::vector<std::byte> code_image(code_, code_ + 4096), data_image(kDataBytes);
  const target::Process process = BuildProcess(code_image, data_image);
  MachineOptions options;
  options.shortcuts = shortcuts;
  RunLoop loop(process, std::make_shared<const Linkage>(process), options);
  const auto exit_address = reinterpret_cast<std::uint64_t>(pygc_native_exit);
  std::memcpy(code_ + size + kJumpIndirect.size(), &exit_address, 8);
  std::memcpy(code_image.data() + size + kJumpIndirect.size(), &loop.magic().returned, 8);

  for (unsigned round = 0; round < rounds; ++round) {
    Randomise(snippet);
    NativeState& s = pygc_native_state;
    s.code = reinterpret_cast<std::uint64_t>(code_);
    s.wide = wide_ ? 1 : 0;
    std::memcpy(data_image.data(), data_, kDataBytes);
    CpuState cpu;
    std::copy(s.gpr.begin(), s.gpr.end(), cpu.gpr.begin());
    cpu.flags = FromBits(s.flags);
    for (unsigned k = 0; k < 32; ++k)
      for (unsigned w = 0; w < 8; ++w) cpu.vector[k].words[w] = wide_ || (k < 16 && w < 4) ? s.vector[k][w] : 0;
    const NativeState before = s;
    const bool came_back = RunNatively();
    const RunOutcome outcome = loop.RunFrom(cpu, reinterpret_cast<Address>(code_));
    const bool machine_came_back = outcome.label == RunLabel::kExact;
    const auto fail = [&](const std::string& what) {
      return fmt::format("{} (round {}, shortcuts {}): {}; machine: {}; rax {:#x} rcx {:#x} rdx {:#x} r9 {:#x} flags {:#x}", snippet.text, round, shortcuts, what,
                         outcome.Text(), before.gpr[0], before.gpr[1], before.gpr[2], before.gpr[9], before.flags & kStatusFlags);
    };
    if (came_back != machine_came_back) return fail(came_back ? "the processor came back" : "the processor faulted");
    if (!came_back) {
      if (outcome.reason == StopReason::kUnknownInstruction) return fail("not executed");
      continue;
    }
    const CpuState& after = loop.execution().cpu;
    for (unsigned k = 0; k < 16; ++k)
      if (s.gpr[k] != after.gpr[k]) return fail(fmt::format("register {} is {:#x}, in the machine {:#x}", k, s.gpr[k], after.gpr[k]));
    const std::uint64_t defined = kStatusFlags & ~static_cast<std::uint64_t>(snippet.undefined_flags);
    if (((s.flags ^ FlagBits(after.flags)) & defined) != 0)
      return fail(fmt::format("flags are {:#x}, in the machine {:#x}", s.flags & defined, FlagBits(after.flags) & defined));
    for (unsigned k = 0; k < (wide_ ? 32 : 16); ++k)
      for (unsigned w = 0; w < (wide_ ? 8 : 4); ++w)
        if (s.vector[k][w] != after.vector[k].words[w])
          return fail(fmt::format("vector {} word {} is {:#x}, in the machine {:#x}", k, w, s.vector[k][w], after.vector[k].words[w]));
    std::array<std::byte, kDataBytes> memory;
    for (std::size_t page = 0; page < kDataBytes; page += 4096)
      if (!loop.memory().LoadBytes(reinterpret_cast<Address>(data_) + page, std::span(memory).subspan(page, 4096))) return fail("the data cannot be read");
    for (std::size_t k = 0; k < kDataBytes; ++k)
      if (memory[k] != data_[k]) return fail(fmt::format("byte {} of the data is {:#x}, in the machine {:#x}", k, static_cast<unsigned>(data_[k]), static_cast<unsigned>(memory[k])));
  }
  return {};
}

std::span<const Snippet> Snippets() {
  // The table has no start symbol of its own: entries are counted back from its end while they look like one.
  const Snippet* end = pygc_snippets_end;
  const Snippet* begin = end;
  while (begin[-1].feature <= 0x1f && begin[-1].begin < begin[-1].end && begin[-1].end - begin[-1].begin < 256 && begin[-1].undefined_flags <= kStatusFlags) --begin;
  return {begin, end};
}

}  // namespace

TEST_CASE("every instruction form does what the processor does") {
  const char* given = std::getenv("PYGC_DIFFERENTIAL_ROUNDS");
  const unsigned rounds = given != nullptr ? static_cast<unsigned>(std::strtoul(given, nullptr, 10)) : 25;
  Differential differential;
  const FaultGuard guard;
  std::size_t run = 0, skipped = 0;
  for (const Snippet& snippet : Snippets()) {
    if (!differential.Supports(snippet)) {
      ++skipped;
      continue;
    }
    ++run;
    for (const bool shortcuts : {true, false}) CHECK_EQ(differential.Compare(snippet, rounds, shortcuts, run), "");
  }
  MESSAGE(run << " forms compared, " << skipped << " skipped (this processor does not have them)");
  CHECK(run + skipped > 1000);
}

namespace {

// Which flags an operation leaves undefined: what the snippets say of it.
struct KnownForms {
  std::set<std::string> forms;
  std::map<disasm::Opcode, std::uint32_t> undefined_flags;

  KnownForms() {
    const std::unique_ptr<disasm::InstructionStream> stream = disasm::MakeInstructionStream(disasm::Architecture::kX86_64);
    for (const Snippet& s : Snippets()) {
      disasm::Instruction i;
      for (const std::uint8_t* at = s.begin; at < s.end; at += i.length) {
        if (!stream->Decode(std::as_bytes(std::span(at, s.end)), reinterpret_cast<Address>(at), i)) break;
        forms.insert(forms::FormOf(i));
        if (at == s.begin && at + i.length == s.end) undefined_flags[i.opcode] |= s.undefined_flags;
      }
    }
  }
};

std::string Hex(std::span<const std::uint8_t> bytes) {
  std::string text;
  for (const std::uint8_t b : bytes) text += fmt::format("{:02x} ", b);
  return text;
}

bool IsString(disasm::Opcode o) { return o >= disasm::Opcode::kStos && o <= disasm::Opcode::kCmps; }

}  // namespace

TEST_CASE("every form that the decoder accepts does what the processor does") {
  const char* given = std::getenv("PYGC_DIFFERENTIAL_ROUNDS");
#ifdef __SANITIZE_ADDRESS__
  constexpr bool kBrief = true;  // ten times slower: each form once, in one of the two ways
#else
  constexpr bool kBrief = false;
#endif
  constexpr unsigned kRounds = kBrief ? 1 : 3;
  const unsigned rounds = given != nullptr ? static_cast<unsigned>(std::strtoul(given, nullptr, 10)) : kRounds;
  const forms::EveryForm every;
  const KnownForms known;
  Differential differential;
  const FaultGuard guard;
  std::set<std::string> compared;
  std::size_t run = 0, skipped = 0;
  for (const forms::EncodedForm& form : every.encodings()) {
    const disasm::Instruction& i = form.instruction;
    if (i.EndsBlock()) continue;  // below
    const auto flags = known.undefined_flags.find(i.opcode);
    const std::string text = Hex(form.bytes);
    const Snippet snippet = {form.bytes.data(), form.bytes.data() + form.bytes.size(), text.c_str(), flags != known.undefined_flags.end() ? flags->second : 0,
                             (form.is_evex ? 2u : 1u) + (IsString(i.opcode) ? 16u : 0u)};
    if (!differential.Supports(snippet)) {
      ++skipped;
      continue;
    }
    if (!compared.insert(forms::FormOf(i)).second && kBrief) continue;
    ++run;
    for (const bool shortcuts : {true, false}) {
      if (kBrief && shortcuts != (run % 2 == 0)) continue;
      CHECK_EQ(differential.Compare(snippet, rounds, shortcuts, run), "");
    }
  }
  // Jumps and calls go where nothing is when they stand alone: the snippets have them with a place to go to.
  std::size_t control = 0, missing = 0;
  std::set<std::string> control_forms;
  for (const forms::EncodedForm& form : every.encodings()) {
    if (!form.instruction.EndsBlock() || !control_forms.insert(forms::FormOf(form.instruction)).second) continue;
    ++control;
    if (!known.forms.contains(forms::FormOf(form.instruction))) {
      ++missing;
      CHECK_MESSAGE(false, "no snippet has the form of " << Hex(form.bytes));
    }
  }
  MESSAGE(every.forms().size() << " forms in " << every.encodings().size() << " encodings: " << compared.size() << " forms in " << run << " encodings compared, "
                               << control << " of control in snippets, " << skipped << " skipped (this processor does not have them)");
  CHECK(every.forms().size() > 1000);
}

}  // namespace pygc::machine
