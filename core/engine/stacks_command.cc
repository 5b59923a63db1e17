#include <algorithm>
#include <map>

#include "core/cpython/thread_status.h"
#include "core/engine/command.h"
#include "core/engine/findings.h"
#include "core/engine/crash.h"
#include "core/engine/labels.h"
#include "core/engine/native_stacks.h"
#include "core/engine/program_code.h"
#include "core/engine/resources.h"
#include "core/objects/async_tasks.h"
#include "core/objects/frames.h"
#include "core/objects/repr.h"
#include "core/report/numbers.h"
#include "core/report/stacks_report.h"

namespace pygc::engine {
namespace {

using cpython::Field;

class StackFinder {
 public:
  explicit StackFinder(const CommandInput& in) : in_(in), runtime_(in.reader.runtime()), frames_(in.reader), program_(in.reader), labels_(in.reader, in.request.redact), repr_(in.reader), resources_(in.reader) {}

  report::StacksReport Run() {
    report::StacksReport r;
    r.with_locals = in_.request.locals;
    for (const cpython::Interpreter& interpreter : runtime_.interpreters) {
      ReadNames(interpreter);
      // The list of threads starts with the youngest; readers look for the main thread first.
      for (std::size_t i = interpreter.threads.size(); i-- > 0;) r.threads.push_back(ThreadOf(interpreter, interpreter.threads[i]));
    }
    FindDeadlocks(r);
    r.crash = FindCrash(in_, r);
    return r;
  }

 private:
  // threading._active: Thread objects by what get_ident() says. Nobody but the module itself keeps it up; a thread that was not started by it is not in it, or
  // is a _DummyThread.
  void ReadNames(const cpython::Interpreter& interpreter) {
    names_.clear();
    if (in_.request.redact || !runtime_.layout.Has(Field::PyModuleObject_md_dict)) return;
    const objects::Offsets offsets(runtime_.layout);
    const objects::Values values(in_.reader.process().memory, offsets, runtime_.lookdict);
    const Address module = values.DictGet(interpreter.modules, "threading");
    const objects::TypeFacts* const type = module == 0 ? nullptr : in_.reader.Type(values.TypeOf(module));
    if (type == nullptr || type->name != "module") return;
    const Address active = values.DictGet(values.Pointer(module + runtime_.layout.Offset(Field::PyModuleObject_md_dict)), "_active");
    const std::optional<objects::DictTable> table = active == 0 ? std::nullopt : values.Dict(active);
    const objects::AsyncReader attributes(in_.reader);
    for (std::uint64_t i = 0; table && i < table->count && i < kMaxNamed; ++i) {
      const Address key = table->Key(i), thread = table->Value(i);
      const std::optional<std::int64_t> ident = key == 0 || thread == 0 ? std::nullopt : values.Int(key);
      if (!ident) continue;
      const Address own = attributes.Attribute(thread, "_name"), name = own != 0 ? own : attributes.Attribute(thread, "_Thread__name");  // 2.7
      if (name != 0) names_[static_cast<std::uint64_t>(*ident)] = in_.reader.Text(name, kMaxNameLength).value_or("");
    }
  }

  report::ThreadStackReport ThreadOf(const cpython::Interpreter& interpreter, const cpython::PyThread& thread) {
    report::ThreadStackReport out;
    out.interpreter = interpreter.id;
    out.thread_id = thread.thread_id;
    out.native_id = thread.native_thread_id;
    out.tstate = thread.tstate;
    if (const auto named = names_.find(thread.thread_id); named != names_.end()) out.name = named->second;
    out.holds_gil = HoldsGil(thread);
    out.signal = SignalOf(thread);
    const objects::ThreadStack stack = frames_.StackOf(thread, in_.request.limits);
    if (const target::Thread* const native = NativeThread(thread)) {
      if (!out.native_id) out.native_id = static_cast<std::uint64_t>(native->tid);  // up to 3.10 the interpreter does not say it
      if (const Address lock = resources_.AwaitedBy(*native)) {
        out.waits_for = ResourceAt(in_, resources_, stack.frames.empty() ? lock : resources_.AskedFor(stack.frames.front(), lock));
      }
    }
    out.complete = stack.complete;
    out.frame_count = stack.frames.size();
    if (in_.request.native) {
      if (!native_) native_.emplace(in_);
      const target::Thread* const of_kernel = NativeThread(thread);
      out.native = of_kernel != nullptr ? native_->Of(*of_kernel, stack.frames) : report::NativeStack{};
    }
    const std::size_t limit = in_.request.limit == 0 ? stack.frames.size() : static_cast<std::size_t>(std::min<std::uint64_t>(in_.request.limit, stack.frames.size()));
    out.left_out_before = limit - limit / 2;
    for (std::size_t i = 0; i < limit; ++i) {
      const std::size_t at = i < out.left_out_before ? i : stack.frames.size() - limit + i;
      out.frames.push_back(FrameOf(stack.frames[at]));
    }
    if (const std::optional<std::size_t> at = program_.InnermostOf(stack.frames, frames_)) out.of_program = FrameOf(stack.frames[*at]);
    return out;
  }

  // Circles of threads, each of which waits for a lock that the next one holds.
  static void FindDeadlocks(report::StacksReport& r) {
    constexpr std::size_t kNobody = ~std::size_t{0};
    const auto next = [&](std::size_t i) {
      const std::optional<report::ResourceRow>& lock = r.threads[i].waits_for;
      for (std::size_t k = 0; lock && lock->holder != 0 && k < r.threads.size(); ++k) {
        if (r.threads[k].thread_id == lock->holder) return k;
      }
      return kNobody;
    };
    std::vector<std::size_t> met(r.threads.size(), kNobody);  // by which walk
    for (std::size_t start = 0; start < r.threads.size(); ++start) {
      std::size_t at = start;
      while (at != kNobody && met[at] == kNobody) {
        met[at] = start;
        at = next(at);
      }
      if (at == kNobody || met[at] != start) continue;
      std::vector<std::size_t>& circle = r.deadlocks.emplace_back();
      for (std::size_t i = at; circle.empty() || i != at; i = next(i)) circle.push_back(i);
    }
  }

  [[nodiscard]] static bool IsSame(const cpython::PyThread& thread, const target::Thread& t) {
    return thread.native_thread_id ? static_cast<std::uint64_t>(t.tid) == *thread.native_thread_id : t.has_registers && t.fs_base() == thread.thread_id;
  }
  [[nodiscard]] const target::Thread* NativeThread(const cpython::PyThread& thread) const {
    for (const target::Thread& t : in_.reader.process().threads) {
      if (IsSame(thread, t)) return &t;
    }
    return nullptr;
  }

  // CPython: _PyRuntime.gilstate.tstate_current [3.7-3.11]. Later each interpreter may have a GIL of its own, and each thread says whether it holds it.
  [[nodiscard]] std::optional<bool> HoldsGil(const cpython::PyThread& thread) const {
    const cpython::Layout& layout = runtime_.layout;
    const std::optional<std::uint32_t> bit = cpython::GilStatusBit(layout.version, layout.flavor);
    if (bit && layout.Has(Field::PyThreadState_status)) {
      const Result<std::uint32_t> status = in_.reader.process().memory.ReadValue<std::uint32_t>(thread.tstate + layout.Offset(Field::PyThreadState_status));
      return status ? std::optional((*status & *bit) != 0) : std::nullopt;
    }
    if (runtime_.runtime_address == 0 || !layout.Has(Field::PyRuntimeState_gilstate_tstate_current)) return std::nullopt;
    const Result<Address> current =
        in_.reader.process().memory.ReadPointer(runtime_.runtime_address + layout.Offset(Field::PyRuntimeState_gilstate_tstate_current));
    return current ? std::optional(*current == thread.tstate) : std::nullopt;
  }

  // Only in cores: a live process is stopped by us.
  [[nodiscard]] std::int32_t SignalOf(const cpython::PyThread& thread) const {
    const target::Process& process = in_.reader.process();
    if (process.kind != target::TargetKind::kCore) return 0;
    if (process.threads.empty()) return 0;
    // The kernel notes the signal that ended the process with every thread; its own stands first. Linux: fill_prstatus(), fs/binfmt_elf.c.
    const bool one_for_all = std::all_of(process.threads.begin(), process.threads.end(), [&](const target::Thread& t) { return t.signal == process.threads.front().signal; });
    for (const target::Thread& t : process.threads) {
      if (one_for_all && &t != &process.threads.front()) break;
      if (IsSame(thread, t)) return t.signal;
    }
    return 0;
  }

  [[nodiscard]] report::StackFrame FrameOf(const objects::PythonFrame& frame) const {
    report::StackFrame out;
    out.function = frames_.FunctionName(frame.code);
    out.qualified_name = frames_.QualifiedName(frame.code);
    out.file = frames_.FileName(frame.code);
    out.line = frame.line;
    if (frame.frame_object != 0) out.frame_object = frame.frame_object;
    if (in_.request.locals && frames_.HasFastLocals(frame)) AddLocals(frame, out.locals);
    return out;
  }

  void AddLocals(const objects::PythonFrame& frame, std::vector<report::StackLocal>& out) const {
    for (const objects::FrameSlot& slot : frames_.Slots(frame)) {
      if (slot.kind != objects::FrameSlot::Kind::kLocal && slot.kind != objects::FrameSlot::Kind::kCell) continue;
      const Address value = frames_.ValueOf(slot);
      if (value == 0) continue;
      report::StackLocal& local = out.emplace_back();
      local.name = slot.name;
      local.address = value;
      local.type = labels_.TypeName(value);
      if (!in_.request.show_values) continue;
      objects::ReprLimits limits;
      limits.hide_values = in_.request.redact;
      local.value = repr_.Of(value, limits).text;
    }
  }

  static constexpr std::uint64_t kMaxNamed = 1u << 16;
  static constexpr std::size_t kMaxNameLength = 64;  // characters

  const CommandInput& in_;
  std::map<std::uint64_t, std::string> names_;  // of the interpreter's threads, by identity
  const cpython::Runtime& runtime_;
  objects::FrameReader frames_;
  ProgramCode program_;
  Labels labels_;
  objects::Repr repr_;
  objects::ResourceReader resources_;
  std::optional<NativeStacks> native_;  // where asked for
};

}  // namespace

report::StacksReport FindStacks(const CommandInput& in) { return StackFinder(in).Run(); }

Outcome RunStacks(const CommandInput& in) {
  const report::StacksReport r = FindStacks(in);
  const auto broken = std::count_if(r.threads.begin(), r.threads.end(), [](const report::ThreadStackReport& t) { return !t.complete; });
  report::Header header = in.header;
  if (broken > 0 && header.complete) {
    header.missing.push_back({fmt::format("frames of {}", report::Counted(static_cast<std::uint64_t>(broken), "thread")),
                              "what leads to them is in memory that is missing, or was being changed when the process stopped", "The frames shown are those that could be read"});
    header.complete = false;
    header.certainty = report::Certainty::kLowerBound;
  }
  Outcome outcome;
  outcome.document = Render(in, header, r);
  outcome.partial = broken > 0;
  return outcome;
}

}  // namespace pygc::engine
