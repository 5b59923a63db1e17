#include "core/audit/running_frames.h"

#include <algorithm>

#include "core/base/byte_reader.h"
#include "core/objects/frames.h"
#include "core/snapshot/thread_words.h"

namespace pygc::audit {

namespace {

using cpython::Field;

struct Running {
  Address frame = 0;
  AddressRange slots;   // of its value stack
  Address highest = 0;  // pointer into them that was found
};

}  // namespace

std::vector<std::pair<Address, Address>> StackEndsOfRunningFrames(const objects::ObjectReader& reader, const Limits& limits) {
  const cpython::Layout& layout = reader.runtime().layout;
  const target::Process& process = reader.process();
  if (!layout.Has(Field::PyThreadState_frame) || !layout.Has(Field::PyFrameObject_f_valuestack) || !layout.Has(Field::PyCodeObject_co_stacksize)) return {};
  const std::vector<snapshot::UsedStack> stacks = snapshot::UsedStacks(process);
  // A thread on a stack of its own making may have left words on another one.
  const bool all_known = std::all_of(process.threads.begin(), process.threads.end(), [&](const target::Thread& t) {
    return t.has_registers && std::any_of(stacks.begin(), stacks.end(), [&t](const snapshot::UsedStack& s) { return s.thread == &t && s.is_whole; });
  });
  if (!all_known || process.LostStacks()) return {};
  const objects::FrameReader frames(reader);
  std::vector<Running> running;
  for (const cpython::Interpreter& i : reader.runtime().interpreters) {
    for (const cpython::PyThread& thread : i.threads) {
      if (std::none_of(process.threads.begin(), process.threads.end(), [&](const target::Thread& t) { return t.fs_base() == thread.thread_id; })) continue;
      for (const objects::PythonFrame& frame : frames.StackOf(thread, limits).frames) {
        const Address begin = process.memory.ReadPointer(frame.address + layout.Offset(Field::PyFrameObject_f_valuestack)).value_or(0);
        const std::byte* const room = process.memory.At(frame.code + layout.Offset(Field::PyCodeObject_co_stacksize), 4);
        const std::int32_t slots = room == nullptr ? 0 : LoadUnchecked<std::int32_t>(room);
        constexpr std::int32_t kMaxSlots = 1 << 20;
        if (begin > frame.address && slots > 0 && slots <= kMaxSlots) running.push_back({frame.address, {begin, begin + static_cast<Address>(slots) * 8}, 0});
      }
    }
  }
  std::sort(running.begin(), running.end(), [](const Running& a, const Running& b) { return a.slots.begin < b.slots.begin; });
  const auto see = [&](std::uint64_t word) {
    const auto after = std::upper_bound(running.begin(), running.end(), word, [](Address a, const Running& r) { return a < r.slots.begin; });
    if (after == running.begin()) return;
    Running& r = *(after - 1);
    if (word <= r.slots.end) r.highest = std::max(r.highest, word);
  };
  snapshot::ForEachThreadWord(process, stacks, [&](std::uint64_t word, const target::Thread&) {
    see(word);
    return true;
  });
  std::vector<std::pair<Address, Address>> ends;
  for (const Running& r : running) {
    if (r.highest != 0) ends.emplace_back(r.frame, ((r.highest + 7) & ~Address{7}) + 8);
  }
  std::sort(ends.begin(), ends.end());
  return ends;
}

}  // namespace pygc::audit
