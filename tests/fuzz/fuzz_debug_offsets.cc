// A process of 3.13 or later whose _Py_DebugOffsets say anything: the built-in table wins where they do not make sense, and what is read through them stays
// within the memory and its bounds. Input: the release, then changes of 11 bytes: which word of the block (1), how (2), a value (8).
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/cpython/layout_resolver.h"
#include "core/cpython/runtime.h"
#include "tests/unit/cpython/fake_python.h"

namespace {

using namespace pygc;

constexpr std::size_t kBlockBytes = 1024;

void Check(bool holds, int line = __builtin_LINE()) {
  if (holds) return;
  std::fprintf(stderr, "the check in line %d does not hold\n", line);
  std::abort();
}

/// One for each release that has the block; its segments end and begin anew at the block, so that only that is copied.
struct Original {
  explicit Original(const cpython::Layout& wanted) : layout(wanted), process(test::FakePython(wanted).fake.Build()) {
    for (target::Segment s : process.memory.segments()) {
      CutZeros(s);
      const std::uint64_t block = test::FakePython::kRuntime - s.range.begin;
      if (s.range.begin > test::FakePython::kRuntime || s.range.end <= test::FakePython::kRuntime) {
        segments.push_back(s);
        continue;
      }
      target::Segment head = s, tail = s;
      head.range.end = test::FakePython::kRuntime;
      tail.range.begin = test::FakePython::kRuntime + kBlockBytes, tail.bytes = s.bytes + block + kBlockBytes;
      bytes.assign(s.bytes + block, s.bytes + block + kBlockBytes);
      segments.insert(segments.end(), {head, tail});
      middle = s;
      middle.range = {test::FakePython::kRuntime, test::FakePython::kRuntime + kBlockBytes};
    }
  }
  /// Nothing is searched for in a megabyte of zeros; the block stays whole.
  static void CutZeros(target::Segment& s) {
    static const std::vector<std::byte> zeros(4096);
    const bool has_block = s.range.begin <= test::FakePython::kRuntime && test::FakePython::kRuntime < s.range.end;
    const Address least = has_block ? test::FakePython::kRuntime + 2 * kBlockBytes : s.range.begin + zeros.size();
    while (s.range.end >= least + zeros.size() && std::memcmp(s.bytes + s.range.size() - zeros.size(), zeros.data(), zeros.size()) == 0) s.range.end -= zeros.size();
  }
  cpython::Layout layout;
  target::Process process;
  std::vector<target::Segment> segments;  // all but the block
  target::Segment middle;
  std::vector<std::byte> bytes;           // of the block
};

const Original& OriginalOf(std::uint8_t choice) {
  static std::vector<std::unique_ptr<Original>>& made = *new std::vector<std::unique_ptr<Original>>;
  if (made.empty()) {
    for (const cpython::Layout& layout : cpython::BuiltinLayouts())
      if (layout.Has(cpython::Struct::DebugOffsets)) made.push_back(std::make_unique<Original>(layout));
  }
  return *made[choice % made.size()];
}

std::uint64_t Changed(std::uint64_t word, std::uint16_t how, std::uint64_t value) {
  switch (how % 6) {
    case 0: return value;
    case 1: return value % 4096;
    case 2: return word + value;
    case 3: return word ^ (1ull << (value % 64));
    case 4: return ~value % 4096 * 8;
    default: return 0 - value;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const Original& original = OriginalOf(data[0]);
  std::vector<std::byte> block = original.bytes;
  for (std::size_t at = 1; at + 11 <= size; at += 11) {
    std::uint16_t how = 0;
    std::uint64_t value = 0, word = 0;
    std::memcpy(&how, data + at + 1, 2);
    std::memcpy(&value, data + at + 3, 8);
    std::byte* place = block.data() + data[at] % (kBlockBytes / 8) * 8;
    std::memcpy(&word, place, 8);
    word = Changed(word, how, value);
    std::memcpy(place, &word, 8);
  }
  std::vector<target::Segment> segments = original.segments;
  segments.push_back(original.middle);
  segments.back().bytes = block.data();
  target::Process process = original.process;
  process.memory = target::MemoryImage(std::move(segments), {});

  cpython::Layout layout = original.layout;
  std::vector<std::string> explanation, warnings;
  (void)cpython::ApplyDebugOffsets(process.memory, test::FakePython::kRuntime, true, layout, explanation, warnings);
  for (std::size_t i = 0; i < static_cast<std::size_t>(cpython::Field::kCount); ++i) {
    const auto field = static_cast<cpython::Field>(i);
    Check(layout.Has(field) == original.layout.Has(field) && (!layout.Has(field) || layout.Offset(field) <= 1u << 24));
  }
  Limits limits;
  limits.threads = 1;
  const Result<cpython::Runtime> runtime = cpython::LocateRuntime(process, limits);
  if (!runtime) return 0;
  Check(runtime->interpreters.size() <= limits.max_interpreters);
  for (const cpython::Interpreter& one : runtime->interpreters) Check(one.threads.size() <= limits.max_threads && one.generations.size() <= 4);
  return 0;
}
