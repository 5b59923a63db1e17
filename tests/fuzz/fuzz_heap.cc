// A small Python heap of one of the releases with any words in it changed, through the whole analysis: snapshot, verdict, components.
// Input: the release, then changes of 7 bytes: which word (2 bytes), how (1), an operand (4).
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/analysis/verdict.h"
#include "core/cpython/layout.h"
#include "core/objects/object_reader.h"
#include "core/snapshot/snapshot_builder.h"
#include "tests/support/python_heap.h"

namespace {

using namespace pygc;

/// Made once for each release: what every kind of reader meets.
struct Original {
  explicit Original(const cpython::Layout& layout) : heap(layout) {
    using test::ClassOptions;
    const Address name = heap.Str("name"), number = heap.Int(70000);
    ClassOptions with_slots;
    with_slots.slots = {"next", "other"};
    ClassOptions with_dict;
    with_dict.has_dict = true;
    const Address slotted = heap.Class("app", "Link", with_slots), plain = heap.Class("app", "Node", with_dict);
    const Address a = heap.Instance(slotted), b = heap.Instance(slotted), c = heap.Instance(plain);
    heap.SetSlot(a, slotted, "next", b);
    heap.SetSlot(b, slotted, "next", a);
    const Address dict = heap.Dict({{name, a}, {heap.Str("count"), number}});
    heap.SetDict(c, plain, dict);
    const Address list = heap.List({a, c, number, dict}), tuple = heap.Tuple({list, b}), set = heap.Set({name, number});
    const Address module = heap.Module("app", heap.Dict({{name, tuple}, {heap.Str("s"), set}}));
    for (const Address o : {a, b, c, dict, list, tuple, set, module, slotted, plain}) heap.Track(o);
    runtime.emplace(heap.runtime());
    process = heap.Build();
    for (const target::Segment& s : process.memory.segments())
      if (s.writable && s.bytes != nullptr) words += s.range.size() / 8;
  }
  test::PythonHeap heap;
  std::optional<cpython::Runtime> runtime;
  target::Process process;
  std::uint64_t words = 0;
};

Original& OriginalOf(std::uint8_t choice) {
  static std::vector<std::unique_ptr<Original>>& made = *new std::vector<std::unique_ptr<Original>>;
  const std::vector<cpython::Layout>& layouts = cpython::BuiltinLayouts();
  if (made.empty()) made.resize(layouts.size());
  const std::size_t i = choice % layouts.size();
  if (!made[i]) made[i] = std::make_unique<Original>(layouts[i]);
  return *made[i];
}

std::uint64_t Changed(std::uint64_t word, std::uint8_t how, std::uint32_t operand, const std::vector<std::uint64_t>& all) {
  switch (how % 8) {
    case 0: return operand;
    case 1: return ~0ull - operand;
    case 2: return word + operand - 0x80000000u;
    case 3: return word ^ (1ull << (operand % 64));
    case 4: return all[operand % all.size()];
    case 5: return word << (operand % 64);
    case 6: return (static_cast<std::uint64_t>(operand) << 32) | operand;
    default: return 0;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  Original& original = OriginalOf(data[0]);
  // The writable segments as one run of words that are changed, then the process with copies in their place.
  std::vector<std::uint64_t> words;
  words.reserve(original.words);
  std::vector<target::Segment> segments(original.process.memory.segments().begin(), original.process.memory.segments().end());
  for (const target::Segment& s : segments) {
    if (!s.writable || s.bytes == nullptr) continue;
    const std::size_t at = words.size();
    words.resize(at + s.range.size() / 8);
    std::memcpy(&words[at], s.bytes, s.range.size() / 8 * 8);
  }
  const std::vector<std::uint64_t> before = words;
  for (std::size_t i = 1; i + 7 <= size && !words.empty(); i += 7) {
    std::uint16_t place = 0;
    std::uint32_t operand = 0;
    std::memcpy(&place, data + i, 2);
    std::memcpy(&operand, data + i + 3, 4);
    std::uint64_t& word = words[place % words.size()];
    word = Changed(word, data[i + 2], operand, before);
  }
  std::size_t at = 0;
  for (target::Segment& s : segments) {
    if (!s.writable || s.bytes == nullptr) continue;
    s.bytes = reinterpret_cast<const std::byte*>(&words[at]);
    s.range.end = s.range.begin + s.range.size() / 8 * 8;
    at += s.range.size() / 8;
  }
  target::Process process = original.process;
  process.memory = target::MemoryImage(std::move(segments), {});

  SilentProgress progress;
  Limits limits;
  limits.threads = 1;
  const objects::ObjectReader reader(process, *original.runtime, limits);
  for (const bool with_leaves : {false, true}) {
    snapshot::SnapshotOptions options;
    options.with_leaves = with_leaves;
    options.limits = limits;
    const Result<heap::HeapSnapshot> heap = snapshot::BuildSnapshot(reader, options, progress);
    if (!heap) continue;
    const Result<analysis::Verdict> verdict = analysis::ReplayCollection(*heap, progress);
    if (!verdict) continue;
    if (verdict->unreachable > heap->size() || verdict->collectable > verdict->unreachable || verdict->state.size() != heap->size()) std::abort();
  }
  return 0;
}
