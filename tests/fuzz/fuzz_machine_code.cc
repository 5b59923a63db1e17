// Any bytes as the code of a tp_traverse, on a small made-up heap: whatever they do, the machine stops within its bounds, visits only what looks like an
// object, gives the same answer twice, and leaves the heap alone.
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "core/machine/traverse.h"

namespace {

using namespace pygc;

constexpr Address kCode = 0x400000, kHeap = 0x10000000, kThread = 0x20000000;
constexpr std::size_t kCodeBytes = 4096, kHeapBytes = 32768, kThreadBytes = 4096, kObjectBytes = 64;

// Objects of 64 bytes: refcount, type, then pointers to others, NULLs, tagged pointers, small numbers.
std::vector<std::byte> MakeHeap() {
  std::vector<std::byte> heap(kHeapBytes);
  std::uint64_t state = 88172645463325252ull;
  const auto next = [&] {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state;
  };
  for (std::size_t at = 0; at < kHeapBytes; at += 8) {
    std::uint64_t word = 0;
    if (at % kObjectBytes == 0) word = 1 + next() % 5;
    else if (at % kObjectBytes == 8) word = kHeap + next() % 8 * kObjectBytes;
    else if (next() % 8 < 5) word = kHeap + next() % (kHeapBytes / kObjectBytes) * kObjectBytes;
    else if (next() % 2 == 0) word = next() % 100;
    std::memcpy(&heap[at], &word, 8);
  }
  return heap;
}

[[noreturn]] void Broken(const char* what) {
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::vector<std::byte> heap_before = MakeHeap();
  std::vector<std::byte> heap = heap_before, code(kCodeBytes, std::byte{0xcc}), thread(kThreadBytes);
  const std::uint8_t choice = size > 0 ? data[0] : 0;
  if (size > 1) std::memcpy(code.data(), data + 1, std::min(size - 1, kCodeBytes));

  target::Process process;
  target::Module module;
  module.path = "fuzzed";
  module.ranges = {{kCode, kCode + kCodeBytes}};
  process.modules.push_back(module);
  std::vector<target::Segment> segments(3);
  segments[0].range = {kCode, kCode + kCodeBytes}, segments[0].bytes = code.data(), segments[0].executable = true, segments[0].module = 0;
  segments[1].range = {kHeap, kHeap + kHeapBytes}, segments[1].bytes = heap.data(), segments[1].writable = true;
  segments[2].range = {kThread, kThread + kThreadBytes}, segments[2].bytes = thread.data(), segments[2].writable = true;
  process.memory = target::MemoryImage(segments, {});

  machine::MachineOptions options;
  if ((choice & 1) != 0) options.fs_base = kThread + 2048;
  options.shortcuts = (choice & 2) == 0;
  options.max_steps = (choice & 0x3F) == 0 ? 50'000 : 1000;  // a loop without end is the usual case: few of them take long
  if ((choice & 4) != 0) options.presets = {{kHeap + 256, kHeap + 512}};
  machine::TraverseMachine machine(process, options);
  const Address object = kHeap + (choice >> 3) * kObjectBytes;
  std::vector<machine::Visit> first, second;
  const machine::RunOutcome a = machine.Traverse(kCode, object, first, choice);
  const machine::RunOutcome b = machine.Traverse(kCode, object, second, choice);
  if (a.label != b.label || a.reason != b.reason || a.steps != b.steps || a.stop_operand != b.stop_operand || first.size() != second.size())
    Broken("two runs of one function on one object differ");
  for (std::size_t k = 0; k < first.size(); ++k) {
    if (first[k].referent != second[k].referent || first[k].slot != second[k].slot) Broken("two runs visit different things");
    const std::byte* header = process.memory.At(first[k].referent, 16);
    if (header == nullptr || first[k].referent % 8 != 0) Broken("visited something that is no object");
  }
  if (a.steps > options.max_steps + 64) Broken("took more steps than it was given");
  if (a.is_exact() != (a.reason == machine::StopReason::kNone)) Broken("label and reason do not fit");
  (void)a.Text();
  machine::ReadTrace trace;
  const std::array<std::uint64_t, 2> arguments = {object, kHeap};
  (void)machine.RunFunction(kCode, arguments, &trace);
  if (trace.reads.size() > trace.limit) Broken("the trace is longer than its limit");
  if (heap != heap_before) Broken("the target was written to");
  return 0;
}
