#include "core/engine/crash.h"

#include "core/engine/inspector.h"

namespace pygc::engine {
namespace {

// With these gcore and debuggers stop a process; they stand in the cores that those write.
constexpr std::int32_t kTrap = 5, kStop = 19;

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
  if (is_core && thread.signal != 0 && thread.signal != kTrap && thread.signal != kStop) out.kind = report::CrashFacts::Kind::kSignal;
  if (thread.has_registers && thread.instruction_pointer() != 0) {
    const Address pc = thread.instruction_pointer();
    const target::Module* const module = process.FindModule(pc);
    if (module != nullptr) out.module = module->path;
    out.place = module != nullptr ? DescribePlace(in, pc) : fmt::format("{:#x}: {}", pc, DescribePlace(in, pc));
  }
  for (std::size_t i = 0; i < stacks.threads.size(); ++i) {
    const report::ThreadStackReport& t = stacks.threads[i];
    const bool same = t.native_id ? *t.native_id == static_cast<std::uint64_t>(thread.tid) : thread.has_registers && t.thread_id == thread.fs_base();
    if (same) out.python_thread = i;
  }
  // A debugger may not know where a thread's own memory is; where there is one of each there is no choice.
  const bool unknown = !out.python_thread && thread.has_registers && thread.fs_base() == 0;
  if (unknown && process.threads.size() == 1 && stacks.threads.size() == 1 && !stacks.threads[0].native_id) out.python_thread = 0;
  return out;
}

}  // namespace pygc::engine
