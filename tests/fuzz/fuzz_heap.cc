// A small Python heap of one of the releases with any words in it changed, through the whole analysis: snapshot, verdict, components.
// Input: the release, with its highest bit the leaves too, then changes of 7 bytes: which word (2 bytes), how (1), an operand (4).
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
    // What is written is copied up to the last word that is not zero, into one run of words that each input changes and leaves as it was.
    built = process.memory;
    std::vector<target::Segment> segments(built.segments().begin(), built.segments().end());
    for (target::Segment& s : segments) {
      if (!s.writable || s.bytes == nullptr) continue;
      const std::size_t used = UsedWords(s);
      s.range.end = s.range.begin + used * 8;
      words.resize(words.size() + used);
      std::memcpy(words.data() + words.size() - used, s.bytes, used * 8);
    }
    std::size_t at = 0;
    for (target::Segment& s : segments) {
      if (!s.writable || s.bytes == nullptr) continue;
      s.bytes = reinterpret_cast<const std::byte*>(&words[at]);
      at += s.range.size() / 8;
    }
    process.memory = target::MemoryImage(std::move(segments), {});
    before = words;
  }
  static std::size_t UsedWords(const target::Segment& s) {
    std::size_t used = s.range.size() / 8;
    for (std::uint64_t word = 0; used > 1; --used) {
      std::memcpy(&word, s.bytes + (used - 1) * 8, 8);
      if (word != 0) break;
    }
    return used;
  }
  test::PythonHeap heap;
  std::optional<cpython::Runtime> runtime;
  target::MemoryImage built;  // keeps what is not written
  target::Process process;
  std::vector<std::uint64_t> words, before;
};

Original& OriginalOf(std::uint8_t choice) {
  static std::vector<std::unique_ptr<Original>>& made = *new std::vector<std::unique_ptr<Original>>;
  const std::vector<cpython::Layout>& layouts = cpython::BuiltinLayouts();
  if (made.empty()) made.resize(layouts.size());
  const std::size_t i = (choice & 0x7F) % layouts.size();
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

void Analyse(const Original& original, bool with_leaves) {
  SilentProgress progress;
  Limits limits;
  limits.threads = 1;
  const objects::ObjectReader reader(original.process, *original.runtime, limits);
  snapshot::SnapshotOptions options;
  options.with_leaves = with_leaves;
  options.limits = limits;
  const Result<heap::HeapSnapshot> heap = snapshot::BuildSnapshot(reader, options, progress);
  if (!heap) return;
  const Result<analysis::Verdict> verdict = analysis::ReplayCollection(*heap, progress);
  if (!verdict) return;
  if (verdict->unreachable > heap->size() || verdict->collectable > verdict->unreachable || verdict->state.size() != heap->size()) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  Original& original = OriginalOf(data[0]);
  std::vector<std::size_t> changed;
  for (std::size_t i = 1; i + 7 <= size; i += 7) {
    std::uint16_t place = 0;
    std::uint32_t operand = 0;
    std::memcpy(&place, data + i, 2);
    std::memcpy(&operand, data + i + 3, 4);
    changed.push_back(place % original.words.size());
    std::uint64_t& word = original.words[changed.back()];
    word = Changed(word, data[i + 2], operand, original.before);
  }
  Analyse(original, (data[0] & 0x80) != 0);
  for (const std::size_t i : changed) original.words[i] = original.before[i];
  return 0;
}
