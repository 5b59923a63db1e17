#include "core/audit/running_frames.h"

#include <algorithm>
#include <optional>

#include "core/base/byte_reader.h"
#include "core/objects/frames.h"
#include "core/snapshot/thread_words.h"

namespace pygc::audit {

namespace {

using cpython::Field;

struct Running {
  Address frame = 0;
  AddressRange slots;      // of its value stack
  std::uint64_t more = 0;  // bytes behind the highest pointer that count as live
  Address highest = 0;     // pointer into them that was found
};

// Empty where a thread on a stack of its own making may have left words on another one.
std::vector<snapshot::UsedStack> KnownStacks(const target::Process& process) {
  std::vector<snapshot::UsedStack> stacks = snapshot::UsedStacks(process);
  const bool all_known = std::all_of(process.threads.begin(), process.threads.end(), [&](const target::Thread& t) {
    return t.has_registers && std::any_of(stacks.begin(), stacks.end(), [&t](const snapshot::UsedStack& s) { return s.thread == &t && s.is_whole; });
  });
  if (!all_known || process.LostStacks()) stacks.clear();
  return stacks;
}

// f(PythonFrame) for those of threads that the process has.
template <typename F>
void ForEachFrame(const objects::ObjectReader& reader, const Limits& limits, F&& f) {
  const target::Process& process = reader.process();
  const objects::FrameReader frames(reader);
  for (const cpython::Interpreter& i : reader.runtime().interpreters) {
    for (const cpython::PyThread& thread : i.threads) {
      if (std::none_of(process.threads.begin(), process.threads.end(), [&](const target::Thread& t) { return t.fs_base() == thread.thread_id; })) continue;
      for (const objects::PythonFrame& frame : frames.StackOf(thread, limits).frames) f(frames, frame);
    }
  }
}

void FindHighestPointers(const target::Process& process, const std::vector<snapshot::UsedStack>& stacks, std::vector<Running>& running) {
  std::sort(running.begin(), running.end(), [](const Running& a, const Running& b) { return a.slots.begin < b.slots.begin; });
  snapshot::ForEachThreadWord(process, stacks, [&](std::uint64_t word, const target::Thread&) {
    const auto after = std::upper_bound(running.begin(), running.end(), word, [](Address a, const Running& r) { return a < r.slots.begin; });
    if (after == running.begin()) return true;
    Running& r = *(after - 1);
    if (word <= r.slots.end) r.highest = std::max(r.highest, word);
    return true;
  });
}

Address EndOf(const Running& r) { return ((r.highest + 7) & ~Address{7}) + r.more; }

}  // namespace

std::vector<std::pair<Address, Address>> StackEndsOfRunningFrames(const objects::ObjectReader& reader, const Limits& limits) {
  const cpython::Layout& layout = reader.runtime().layout;
  const target::Process& process = reader.process();
  if (!layout.Has(Field::PyThreadState_frame) || !layout.Has(Field::PyFrameObject_f_valuestack) || !layout.Has(Field::PyCodeObject_co_stacksize)) return {};
  const std::vector<snapshot::UsedStack> stacks = KnownStacks(process);
  if (stacks.empty()) return {};
  std::vector<Running> running;
  ForEachFrame(reader, limits, [&](const objects::FrameReader&, const objects::PythonFrame& frame) {
    const Address begin = process.memory.ReadPointer(frame.address + layout.Offset(Field::PyFrameObject_f_valuestack)).value_or(0);
    const std::byte* const room = process.memory.At(frame.code + layout.Offset(Field::PyCodeObject_co_stacksize), 4);
    const std::int32_t slots = room == nullptr ? 0 : LoadUnchecked<std::int32_t>(room);
    constexpr std::int32_t kMaxSlots = 1 << 20;
    if (begin > frame.address && slots > 0 && slots <= kMaxSlots) running.push_back({frame.address, {begin, begin + static_cast<Address>(slots) * 8}, 8, 0});
  });
  FindHighestPointers(process, stacks, running);
  std::vector<std::pair<Address, Address>> ends;
  for (const Running& r : running) {
    if (r.highest != 0) ends.emplace_back(r.frame, EndOf(r));
  }
  std::sort(ends.begin(), ends.end());
  return ends;
}

std::vector<AddressRange> UnusedStackSlots(const objects::ObjectReader& reader, const Limits& limits) {
  const target::Process& process = reader.process();
  if (!reader.runtime().layout.Has(Field::PyInterpreterFrame_stacktop)) return {};
  const std::vector<snapshot::UsedStack> stacks = KnownStacks(process);
  if (stacks.empty()) return {};
  std::vector<Running> running;
  std::vector<AddressRange> unused;
  ForEachFrame(reader, limits, [&](const objects::FrameReader& frames, const objects::PythonFrame& frame) {
    const objects::FrameReader::ValueStack stack = frames.ValueStackOf(frame);
    if (stack.room.empty()) return;
    if (stack.height) {
      unused.push_back({stack.room.begin + *stack.height * 8, stack.room.end});
    } else if (const std::optional<std::uint8_t> argument = frames.InstructionArgument(frame)) {
      running.push_back({frame.address, stack.room, (*argument + 2u) * std::uint64_t{8}, 0});
    }
  });
  FindHighestPointers(process, stacks, running);
  for (const Running& r : running) {
    if (r.highest != 0) unused.push_back({EndOf(r), r.slots.end});
  }
  std::erase_if(unused, [](const AddressRange& r) { return r.begin >= r.end; });
  return unused;
}

}  // namespace pygc::audit
