#include "core/engine/crash.h"

#include <algorithm>

#include "core/engine/inspector.h"
#include "core/engine/labels.h"
#include "core/engine/native_stacks.h"
#include "core/engine/place.h"
#include "core/report/fingerprint.h"

namespace pygc::engine {
namespace {

// With these gcore and debuggers stop a process; they stand in the cores that those write.
constexpr std::int32_t kTrap = 5, kStop = 19;

struct NamedRegister {
  const char* name;
  std::size_t index;  // of target::Thread::registers
};
// Arguments first: what a function was given is what it fails on.
constexpr NamedRegister kRegisters[] = {{"rdi", 14}, {"rsi", 13}, {"rdx", 12}, {"rcx", 11}, {"r8", 9},  {"r9", 8},  {"rax", 10}, {"rbx", 5},
                                        {"rbp", 4},  {"r12", 3},  {"r13", 2},  {"r14", 1},  {"r15", 0}, {"r10", 7}, {"r11", 6}};
constexpr std::size_t kMostObjects = 3;

// Objects in the registers of the thread.
void AddObjects(const CommandInput& in, const target::Thread& thread, report::CrashFacts& out) {
  const Inspector inspector(in);
  const Labels labels(in.reader, in.request.redact);
  for (const NamedRegister& r : kRegisters) {
    const Address object = thread.registers[r.index];
    const bool known = std::any_of(out.objects.begin(), out.objects.end(), [&](const report::CrashObject& o) { return o.address == object; });
    if (!known && object % 8 == 0 && inspector.IsObject(object)) out.objects.push_back({r.name, object, labels.TypeName(object)});
  }
  if (out.objects.size() > kMostObjects) out.objects.resize(kMostObjects);
}

}  // namespace

report::CrashFacts FindCrash(const CommandInput& in, const report::StacksReport& stacks) {
  const target::Process& process = in.reader.process();
  report::CrashFacts out;
  const bool is_core = process.kind == target::TargetKind::kCore;
  if (is_core) out.kind = report::CrashFacts::Kind::kStopped;
  if (process.threads.empty()) return out;
  const target::Thread& thread = process.threads.front();
  if (is_core) out.signal = thread.signal;  // of a live process the one that its debugger stopped it with
  out.thread = thread.tid;
  out.program = process.executable;
  if (is_core && thread.signal != 0 && thread.signal != kTrap && thread.signal != kStop) out.kind = report::CrashFacts::Kind::kSignal;
  if (thread.has_registers && thread.instruction_pointer() != 0) {
    const Address pc = thread.instruction_pointer();
    out.address = pc;
    const target::Module* const module = process.FindModule(pc);
    if (module != nullptr) out.module = module->path;
    out.place = module != nullptr ? DescribePlace(in, pc) : fmt::format("{:#x}: {}", pc, DescribePlace(in, pc));
  }
  if (out.kind == report::CrashFacts::Kind::kSignal && thread.has_registers) {
    AddObjects(in, thread, out);
  }
  if (out.kind == report::CrashFacts::Kind::kSignal && process.signal_info) {
    const target::SignalInfo& info = *process.signal_info;
    out.code = info.code;
    out.fault = info.fault;
    out.sender = info.sender;
    out.sent_itself = info.sender != 0 && info.sender == process.pid;
    if (info.fault) out.fault_place = DescribeAddress(in, *info.fault);
  }
  for (std::size_t i = 0; i < stacks.threads.size(); ++i) {
    const report::ThreadStackReport& t = stacks.threads[i];
    const bool same = t.native_id ? *t.native_id == static_cast<std::uint64_t>(thread.tid) : thread.has_registers && t.thread_id == thread.fs_base();
    if (same) out.python_thread = i;
  }
  // A debugger may not know where a thread's own memory is; where there is one of each there is no choice.
  const bool unknown = !out.python_thread && thread.has_registers && thread.fs_base() == 0;
  if (unknown && process.threads.size() == 1 && stacks.threads.size() == 1 && !stacks.threads[0].native_id) out.python_thread = 0;
  const bool ran_python = out.python_thread && !stacks.threads[*out.python_thread].frames.empty();
  if (out.kind == report::CrashFacts::Kind::kSignal && !ran_python) out.native = report::CrashFunctions(NativeStacks(in).Of(thread, {}));
  return out;
}

}  // namespace pygc::engine
