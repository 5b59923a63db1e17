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
  if (process.kind != target::TargetKind::kCore) return out;
  out.kind = report::CrashFacts::Kind::kStopped;
  if (process.threads.empty()) return out;
  const target::Thread& thread = process.threads.front();
  out.signal = thread.signal;
  out.thread = thread.tid;
  if (thread.signal != 0 && thread.signal != kTrap && thread.signal != kStop) out.kind = report::CrashFacts::Kind::kSignal;
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
  return out;
}

}  // namespace pygc::engine
