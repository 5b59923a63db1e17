#include "core/objects/machine_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <thread>

namespace pygc::objects {
namespace {

// The thread that the machine pretends to be: its thread pointer, and its thread state and interpreter in CPython.
struct ChosenThread {
  Address fs_base = 0, tstate = 0, interpreter = 0;
};

// One that runs Python and has registers, else one that runs Python, else the first that has registers.
ChosenThread ChooseThread(const target::Process& process, const cpython::Runtime& runtime) {
  ChosenThread first;
  for (const target::Thread& t : process.threads) {
    if (!t.has_registers || t.fs_base() == 0) continue;
    if (first.fs_base == 0) first.fs_base = t.fs_base();
    for (const cpython::Interpreter& i : runtime.interpreters)
      for (const cpython::PyThread& python : i.threads)
        if (python.thread_id == t.fs_base()) return {t.fs_base(), python.tstate, i.address};
  }
  for (const cpython::Interpreter& i : runtime.interpreters) {
    if (i.threads.empty()) continue;
    const cpython::PyThread& python = i.threads.front();
    // pthread_self() is the thread pointer on x86-64 Linux (glibc and musl). It serves where the core has no registers.
    const bool readable = python.thread_id != 0 && process.memory.At(python.thread_id, 8) != nullptr;
    return {first.fs_base != 0 || !readable ? first.fs_base : python.thread_id, python.tstate, i.address};
  }
  return first;
}

// Where a process stopped outside Python code (in a system call, say) nothing is the current thread: the word that says which is NULL, and a tp_traverse
// that asks for the current interpreter's state would read address 0. The collector only ever runs with a current thread, so the machine gives it one.
// The words are found by running the accessors that return them.
std::vector<machine::Preset> FindPresets(const target::Process& process, const cpython::Runtime& runtime, const std::shared_ptr<const machine::Linkage>& linkage, machine::MachineOptions options,
                                         const ChosenThread& thread) {
  constexpr std::uint64_t kNullPage = 1u << 16;
  const auto last_null = [](const machine::ReadTrace& trace) -> Address {
    if (trace.reads.empty()) return 0;
    const machine::TracedRead& read = trace.reads.back();
    return read.size == 8 && read.value == 0 && read.address % 8 == 0 ? read.address : 0;
  };
  const auto run = [&](std::string_view name, machine::ReadTrace& trace) -> std::optional<machine::RunOutcome> {
    const std::optional<Address> function = cpython::FindInterpreterSymbol(process, runtime, name);
    if (!function) return std::nullopt;
    machine::TraverseMachine accessor(process, linkage, options);
    return accessor.RunFunction(*function, {}, &trace);
  };
  for (const char* name : {"PyThreadState_GetUnchecked", "_PyThreadState_UncheckedGet"}) {
    machine::ReadTrace trace;
    const std::optional<machine::RunOutcome> outcome = run(name, trace);
    if (!outcome || !outcome->is_exact()) continue;
    const Address slot = outcome->result == 0 ? last_null(trace) : 0;
    if (slot != 0 && thread.tstate != 0) options.presets.push_back({slot, thread.tstate});
    break;
  }
  if (options.presets.empty()) {  // 2.7: a static with a name, no accessor that takes NULL
    const std::optional<Address> current = cpython::FindInterpreterSymbol(process, runtime, "_PyThreadState_Current");
    const Result<Address> value = current ? process.memory.ReadPointer(*current) : Result<Address>(1);
    if (value && *value == 0 && thread.tstate != 0) options.presets.push_back({*current, thread.tstate});
  }
  // 3.15 has a word of its own for the current interpreter.
  machine::ReadTrace trace;
  const std::optional<machine::RunOutcome> outcome = run("PyGC_IsEnabled", trace);
  if (outcome && outcome->reason == machine::StopReason::kUnmappedRead && outcome->stop_operand < kNullPage && thread.interpreter != 0) {
    if (const Address slot = last_null(trace)) options.presets.push_back({slot, thread.interpreter});
  }
  return options.presets;
}

ReferentQuality QualityOf(machine::RunLabel label) {
  switch (label) {
    case machine::RunLabel::kExact: return ReferentQuality::kExact;
    case machine::RunLabel::kExactTls: return ReferentQuality::kExactTls;
    case machine::RunLabel::kExactWrote: return ReferentQuality::kExactWrote;
    case machine::RunLabel::kApproximate:
    case machine::RunLabel::kPartial: return ReferentQuality::kPartial;
    case machine::RunLabel::kRefused: break;
  }
  return ReferentQuality::kApproximate;
}

// How the slots of a run were reached, from what it read. HEURISTIC: a slot outside the object lies in the block whose pointer is the greatest that was read
// and is not above it, referents left out. A wrong one needs another pointer that was read to fall between the block's start and the slot; it would show a
// wrong place in a label, nothing else.
class ReadPaths {
 public:
  ReadPaths(const machine::ReadTrace& trace, const std::vector<machine::Visit>& visits, AddressRange object) : object_(object) {
    std::vector<Address> referents;
    referents.reserve(visits.size());
    for (const machine::Visit& v : visits) referents.push_back(v.referent);
    std::sort(referents.begin(), referents.end());
    for (const machine::TracedRead& r : trace.reads) {
      if (r.size == 8 && r.value != 0 && !object.Contains(r.value) && !std::binary_search(referents.begin(), referents.end(), r.value)) pointers_.push_back(r);
    }
    std::sort(pointers_.begin(), pointers_.end(), [&](const machine::TracedRead& a, const machine::TracedRead& b) {
      if (a.value != b.value) return a.value < b.value;
      if (object.Contains(a.address) != object.Contains(b.address)) return object.Contains(b.address);
      return a.address < b.address;
    });
  }
  [[nodiscard]] SlotOrigin Of(Address slot) const {
    SlotOrigin origin;
    origin.slot = slot;
    Address at = slot;
    for (Address& step : origin.through) {
      if (object_.Contains(at)) break;
      auto above = std::upper_bound(pointers_.begin(), pointers_.end(), at, [](Address a, const machine::TracedRead& r) { return a < r.value; });
      if (above == pointers_.begin() || at - (above - 1)->value > kMaxBlockBytes) break;
      step = at = (above - 1)->address;
    }
    origin.in_object = object_.Contains(at);
    return origin;
  }

 private:
  static constexpr std::uint64_t kMaxBlockBytes = 16u << 20;  // an array of two million pointers
  AddressRange object_;
  std::vector<machine::TracedRead> pointers_;
};

// Bounds on what one run may cost. Which thread meets one first decides which runs of the function are struck out, so nothing that a report says may depend
// on the difference between the two.
bool IsCostBound(machine::StopReason reason) {
  return reason == machine::StopReason::kStepLimit || reason == machine::StopReason::kVisitLimit || reason == machine::StopReason::kDepthLimit ||
         reason == machine::StopReason::kStruckOut;
}

}  // namespace

constexpr std::size_t kMaxTracedReads = 1u << 16;  // of one run, for labels

// A machine and the visits of its last run. Borrowed by one thread at a time.
struct MachineReader::Worker {
  Worker(const target::Process& process, std::shared_ptr<const machine::Linkage> linkage, const machine::MachineOptions& options)
      : machine(process, std::move(linkage), options) {}
  machine::TraverseMachine machine;
  std::vector<machine::Visit> visits;
};

// Takes the worker of this thread's slot, or a new one where another thread has it, and puts it back.
class MachineReader::Borrowed {
 public:
  explicit Borrowed(const MachineReader& reader) : slot_(reader.idle_[std::hash<std::thread::id>{}(std::this_thread::get_id()) % kSlots]) {
    worker_.reset(slot_.exchange(nullptr, std::memory_order_acquire));
    if (worker_ == nullptr) worker_ = std::make_unique<Worker>(*reader.process_, reader.linkage_, reader.options_);
  }
  ~Borrowed() {
    Worker* const back = worker_.release();
    delete slot_.exchange(back, std::memory_order_release);  // another thread of the same slot was quicker: one is enough
  }
  Borrowed(const Borrowed&) = delete;
  Borrowed& operator=(const Borrowed&) = delete;
  Worker* operator->() const noexcept { return worker_.get(); }

 private:
  std::atomic<Worker*>& slot_;
  std::unique_ptr<Worker> worker_;
};

MachineReader::MachineReader(const target::Process& process, const cpython::Runtime& runtime, const MachineReaderOptions& options)
    : process_(&process),
      linkage_(std::make_shared<const machine::Linkage>(process)),
      total_steps_(options.total_steps),
      ob_size_offset_(runtime.layout.Has(cpython::Field::PyVarObject_ob_size) ? runtime.layout.Offset(cpython::Field::PyVarObject_ob_size) : 0) {
  options_.trust_anonymous_code = options.trust_anonymous_code;
  const ChosenThread thread = ChooseThread(process, runtime);
  options_.fs_base = thread.fs_base;
  if (runtime.layout.Has(cpython::Field::PyObject_ob_type)) options_.ob_type_offset = runtime.layout.Offset(cpython::Field::PyObject_ob_type);
  options_.presets = FindPresets(process, runtime, linkage_, options_, thread);
  options_.budget = std::make_shared<std::atomic<std::int64_t>>(options.total_steps);
  if (options.threads > 1) options_.max_decoded_instructions = std::max<std::size_t>(options_.max_decoded_instructions * 4 / options.threads, 1u << 16);
}

MachineReader::~MachineReader() {
  for (std::atomic<Worker*>& slot : idle_) delete slot.load();
}

std::int64_t MachineReader::steps_taken() const noexcept { return total_steps_ - options_.budget->load(); }

// ob_size of variable-sized objects: many long tp_traverse loop over it. No more than the memory behind the object has room for.
std::uint64_t MachineReader::PlausibleItems(const TypeFacts& type, Address object) const {
  if (type.itemsize <= 0 || ob_size_offset_ == 0) return 0;
  const Result<std::int64_t> n = process_->memory.ReadValue<std::int64_t>(object + ob_size_offset_);
  const target::Segment* segment = n && *n > 0 ? process_->memory.Find(object) : nullptr;
  if (segment == nullptr) return 0;
  return std::min(static_cast<std::uint64_t>(*n), (segment->range.end - object) / static_cast<std::uint64_t>(type.itemsize));
}

ReferentQuality MachineReader::Run(const TypeFacts& type, Address object, std::vector<Address>& out, std::vector<SlotOrigin>* slots) const {
  return RunFunction(type.tp_traverse, type, object, PlausibleItems(type, object), out, slots);
}

ReferentQuality MachineReader::RunFunction(Address traverse, const TypeFacts& type, Address object, std::uint64_t items, std::vector<Address>& out,
                                           std::vector<SlotOrigin>* slots) const {
  const Borrowed worker(*this);
  worker->visits.clear();
  machine::ReadTrace trace;
  trace.limit = kMaxTracedReads;
  const machine::RunOutcome outcome = worker->machine.Traverse(traverse, object, worker->visits, items, slots != nullptr ? &trace : nullptr);
  ReferentQuality quality = QualityOf(outcome.label);
  if (!outcome.is_exact()) {
    Record(traverse, type, object, outcome);
    if (worker->visits.empty() || IsCostBound(outcome.reason)) quality = ReferentQuality::kApproximate;  // nothing was learned: the caller's scan is better
  }
  if (quality >= ReferentQuality::kApproximate) return quality;
  for (const machine::Visit& v : worker->visits) out.push_back(v.referent);
  if (slots != nullptr) {
    constexpr Address kBefore = 32;  // what may stand before an object: its dict and weak references, the collector's head
    const auto size = static_cast<std::uint64_t>(std::max<std::int64_t>(type.basicsize, 0)) +
                      std::min<std::uint64_t>(items, kMaxTracedReads) * static_cast<std::uint64_t>(std::max<std::int64_t>(type.itemsize, 0));
    const ReadPaths paths(trace, worker->visits, {object - kBefore, object + size});
    for (const machine::Visit& v : worker->visits) slots->push_back(paths.Of(v.slot));
  }
  return quality;
}

std::optional<bool> MachineReader::IsGc(Address tp_is_gc, Address object) const {
  const Borrowed worker(*this);
  const machine::RunOutcome outcome = worker->machine.RunFunction(tp_is_gc, std::array<std::uint64_t, 1>{object});
  if (!outcome.is_exact()) return std::nullopt;
  return static_cast<std::uint32_t>(outcome.result) != 0;
}

void MachineReader::Record(Address function, const TypeFacts& type, Address object, const machine::RunOutcome& outcome) const {
  const std::lock_guard lock(mutex_);
  if (outcome.reason == machine::StopReason::kBadReferent && astray_.insert(object).second && astray_.size() > kMaxAstray) astray_.erase(std::prev(astray_.end()));
  TraverseRecord& record = records_[function];
  // The example is the object at the lowest address, so that it does not depend on which thread came first. A run that was struck out says nothing new.
  const bool first = record.not_exact++ == 0;
  const bool struck_out = outcome.reason == machine::StopReason::kStruckOut;
  if (first || (object < record.object && !struck_out) || record.example.reason == machine::StopReason::kStruckOut) {
    record.function = function;
    record.example = outcome;
    if (IsCostBound(outcome.reason)) record.example.stop_address = record.example.stop_operand = 0;
    record.object = object;
    record.type = type.address;
  }
}

std::vector<TraverseRecord> MachineReader::NotExact() const {
  std::vector<TraverseRecord> all;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [function, record] : records_) all.push_back(record);
  }
  std::sort(all.begin(), all.end(), [](const TraverseRecord& a, const TraverseRecord& b) { return a.function < b.function; });
  return all;
}

std::vector<Address> MachineReader::ObjectsAstray() const {
  const std::lock_guard lock(mutex_);
  return {astray_.begin(), astray_.end()};
}

NotExactReason MachineReader::WhyNotExact(const TypeFacts& type) const {
  const std::lock_guard lock(mutex_);
  const auto it = records_.find(type.tp_traverse);
  if (it == records_.end()) return {};
  return {machine::StopReasonCode(it->second.example.reason), fmt::format("its tp_traverse {}", it->second.example.Text())};
}

}  // namespace pygc::objects
