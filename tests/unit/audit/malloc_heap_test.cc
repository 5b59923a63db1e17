// A brk heap written by hand: chunks in use and free, a thread cache, a fastbin, the arena in a library's data; and the same damaged.
#include "core/audit/malloc_heap.h"

#include <doctest/doctest.h>

#include <vector>

#include "core/audit/static_data.h"
#include "tests/support/python_heap.h"

namespace pygc::audit {
namespace {

constexpr Address kHeap = 0x610000000000, kLibc = 0x6f0000000000, kArena = kLibc + 0x100;
constexpr std::uint64_t kHeapBytes = 0x20000;

struct Heap {
  explicit Heap(std::uint64_t more = 0) : python(*test::DefaultLayouts().back()) {
    runtime = python.runtime();
    runtime.interpreters.clear();
    test::FakeProcess& fake = python.fake();
    const std::uint32_t libc = fake.AddModule("/lib/libc.so.6", {{kLibc, kLibc + 0x2000}});
    fake.Map(kHeap, kHeapBytes).Map(kLibc, 0x2000, "rw-", libc);
    cache = Chunk(0x290, true);
    used = Chunk(0x40, true);
    cached = Chunk(0x30, true);
    fast = Chunk(0x20, true);
    free = Chunk(0x60, false);
    after_free = Chunk(0x40, true);
    for (std::uint64_t i = 0; i < more; ++i) static_cast<void>(Chunk(0x20 + i % 7 * 16, true));
    top = next;
    fake.Write<std::uint64_t>(top + 8, (kHeap + kHeapBytes - top) | 1);
    // The bit of the chunk behind the free one, and the free one's size once more at its end.
    fake.Write<std::uint64_t>(after_free, 0x60);
    fake.Write<std::uint64_t>(after_free + 8, 0x40);
    // counts[1] = 1, entries[1] = the cached chunk's memory, whose link is NULL mangled with its place.
    fake.Write<std::uint16_t>(cache + 16 + 2, 1);
    fake.Write<std::uint64_t>(cache + 16 + 128 + 8, cached + 16);
    fake.Write<std::uint64_t>(cached + 16, (cached + 16) >> 12);
    fake.Write<std::uint64_t>(kArena + 16, fast);
    fake.Write<std::uint64_t>(fast + 16, (fast + 16) >> 12);
    fake.Write<std::uint64_t>(kArena + 96, top);
    for (std::uint64_t bin = 0; bin < 127; ++bin) {
      fake.Write<std::uint64_t>(kArena + 112 + bin * 16, kArena + 112 + bin * 16 - 16);
      fake.Write<std::uint64_t>(kArena + 120 + bin * 16, kArena + 112 + bin * 16 - 16);
    }
  }
  Address Chunk(std::uint64_t bytes, bool) {
    const Address at = next;
    python.fake().Write<std::uint64_t>(at + 8, bytes | 1);
    next += bytes;
    return at;
  }
  [[nodiscard]] std::vector<Address> Free() {
    const target::Process process = python.Build();
    const MallocHeap heap(process);
    std::vector<Address> found;
    areas = heap.areas().size();
    heap.ForEachChunk([&](AddressRange memory, bool in_use) {
      if (!in_use) found.push_back(memory.begin - 16);
    });
    return found;
  }

  test::PythonHeap python;
  cpython::Runtime runtime;
  Address next = kHeap, cache = 0, used = 0, cached = 0, fast = 0, free = 0, after_free = 0, top = 0;
  std::size_t areas = 0;
};

TEST_CASE("free chunks are those without PREV_INUSE behind them, in a thread cache, in a fastbin, and the top") {
  Heap heap;
  CHECK(heap.Free() == std::vector<Address>{heap.cached, heap.fast, heap.free, heap.top});
  CHECK(heap.areas == 1);
}

TEST_CASE("the last word of a chunk, in the head of the next one, is its own") {
  Heap heap;
  const target::Process process = heap.python.Build();
  const MallocHeap chunks(process);
  const AddressRange memory{heap.used + 16, heap.cached + 8};
  CHECK(chunks.ChunkAt(heap.used + 16) == memory);
  CHECK(chunks.ChunkAt(heap.cached) == memory);
  CHECK(chunks.ChunkAt(heap.cached + 16)->begin == heap.cached + 16);
}

TEST_CASE("each word of a heap of many chunks lies in the chunk that a walk from its beginning finds there") {
  for (const std::uint64_t more : {0, 1, 56, 57, 58, 59, 1000}) {
    CAPTURE(more);
    Heap heap(more);
    const target::Process process = heap.python.Build();
    const MallocHeap chunks(process);
    std::uint64_t count = 0;
    chunks.ForEachChunk([&](AddressRange memory, bool) {
      ++count;
      for (const Address at : {memory.begin, memory.begin + 8, memory.end - 8}) {
        const std::optional<AddressRange> chunk = chunks.ChunkAt(at);
        REQUIRE(chunk);
        CHECK(chunk->begin == memory.begin);
      }
    });
    CHECK(count == 7 + more);
    CHECK(!chunks.ChunkAt(kHeap + kHeapBytes));
    CHECK(!chunks.ChunkAt(kHeap - 8));
  }
}

TEST_CASE("anonymous memory is a module's data behind writable data whose end nobody knows, and not behind a file that is only read") {
  constexpr Address kApp = 0x550000000000, kLocale = 0x560000000000;
  test::FakeProcess fake;
  const std::uint32_t app = fake.AddModule("/bin/app", {{kApp, kApp + 0x1000}}), locale = fake.AddModule("/usr/lib/locale/C.utf8/LC_CTYPE", {{kLocale, kLocale + 0x1000}});
  fake.Map(kApp, 0x1000, "rw-", app).Map(kApp + 0x1000, 0x1000).Map(kLocale, 0x1000, "r--", locale).Map(kLocale + 0x1000, 0x1000);
  target::Process process = fake.Build();
  for (target::Module& m : process.modules) m.is_elf = false;
  CHECK(ModuleOfData(process, kApp + 0x10) == &process.modules[app]);
  CHECK(ModuleOfData(process, kApp + 0x1010) == &process.modules[app]);
  CHECK(ModuleOfData(process, kLocale + 0x10) == &process.modules[locale]);
  CHECK(ModuleOfData(process, kLocale + 0x1010) == nullptr);
  process.modules[app].is_elf = true;  // its headers say where .bss ends
  CHECK(ModuleOfData(process, kApp + 0x1010) == nullptr);
}

TEST_CASE("a free chunk that does not repeat its size counts as used; so does a cache that contradicts itself") {
  Heap heap;
  heap.python.fake().Write<std::uint64_t>(heap.after_free, 0x70);
  heap.python.fake().Write<std::uint16_t>(heap.cache + 16 + 2, 2);
  CHECK(heap.Free() == std::vector<Address>{heap.fast, heap.top});
}

// num_slots[76], entries[76]; glibc: malloc/malloc.c [2.42+].
TEST_CASE("a thread cache that says how many more each bin takes") {
  for (const bool agrees : {true, false}) {
    Heap heap;
    test::FakeProcess& fake = heap.python.fake();
    const Address cache = heap.top, cached = cache + 0x300, large = cached + 0x50, top = large + 0x500;
    fake.Write<std::uint64_t>(cache + 8, 0x300 | 1);
    fake.Write<std::uint64_t>(cached + 8, 0x50 | 1);
    fake.Write<std::uint64_t>(large + 8, 0x500 | 1);
    fake.Write<std::uint64_t>(top + 8, (kHeap + kHeapBytes - top) | 1);
    fake.Write<std::uint64_t>(kArena + 96, top);
    for (std::uint32_t bin = 0; bin < 76; ++bin) fake.Write<std::uint16_t>(cache + 16 + bin * 2, bin == 3 || bin == 70 ? 15 : 16);
    fake.Write<std::uint64_t>(cache + 16 + 152 + 3 * 8, cached + 16);
    fake.Write<std::uint64_t>(cached + 16, (cached + 16) >> 12);
    fake.Write<std::uint64_t>(cache + 16 + 152 + 70 * 8, large + 16);
    fake.Write<std::uint64_t>(large + 16, (large + 16) >> 12);
    if (!agrees) fake.Write<std::uint16_t>(cache + 16 + 5 * 2, 9);
    CHECK(heap.Free() == (agrees ? std::vector<Address>{heap.cached, heap.fast, heap.free, cached, large, top} : std::vector<Address>{heap.cached, heap.fast, heap.free, top}));
  }
}

TEST_CASE("a chunk that is a mapping of its own is found at any page, a small one at the beginning of a mapping or behind another one alone") {
  constexpr Address kMapping = 0x620000000000;
  constexpr std::uint64_t kBytes = 0x100000;
  Heap heap;
  test::FakeProcess& fake = heap.python.fake();
  fake.Map(kMapping, kBytes);
  const auto chunk = [&](std::uint64_t at, std::uint64_t head, std::uint64_t offset = 0) {
    fake.Write<std::uint64_t>(kMapping + at, offset);
    fake.Write<std::uint64_t>(kMapping + at + 8, head);
  };
  chunk(0, 0x2002);               // the first of its mapping
  chunk(0x2000, 0x1000 - 16 + 2); // behind it, without its head
  chunk(0x5000, 0x2002);          // small, behind something else: any word may look so
  chunk(0x8000, 0x20002);
  chunk(0x9000, 0x20002);         // contents of the one before
  chunk(0x30000, 0x20002, 0x10);  // begins 16 bytes behind its mapping: not told
  chunk(0x40000, 0x20003);
  chunk(0x50000, 0x20012);
  chunk(0x60000, 0xfffffffffffff002);
  chunk(0x70000, 0x90000 + 0x1002);  // beyond the end
  chunk(0xe0000, 0x20000 - 16 + 2);
  const target::Process process = heap.python.Build();
  const MallocHeap chunks(process);
  CHECK(chunks.mapped() == std::vector<AddressRange>{{kMapping, kMapping + 0x2000}, {kMapping + 0x2000, kMapping + 0x3000}, {kMapping + 0x8000, kMapping + 0x28000},
                                                     {kMapping + 0xe0000, kMapping + 0x100000}});
  CHECK(chunks.ChunkAt(kMapping + 0x8020) == AddressRange{kMapping + 0x8010, kMapping + 0x28000});
}

// heap_info, malloc_state, chunks; glibc: malloc/arena.c, malloc/malloc.c. 2.43 has no fastbins.
TEST_CASE("the heaps of a thread's arena are followed, with fastbins in its malloc_state and without") {
  for (const bool fastbins : {true, false}) {
    CAPTURE(fastbins);
    constexpr Address kBase = 0x630000000000, kState = kBase + 0x30, kSecond = kBase + (64u << 20);
    constexpr std::uint64_t kBytes = 0x21000;
    const Address top_at = kState + (fastbins ? 96 : 8), bins = top_at + 16, first = (bins + 127 * 16 + 0x38 + 15) / 16 * 16, used = first + 0x300, free = used + 0x40;
    Heap heap;
    test::FakeProcess& fake = heap.python.fake();
    fake.Map(kBase, kBytes).Map(kSecond, kBytes);
    fake.Write<std::uint64_t>(kBase, kState);
    fake.Write<std::uint64_t>(kBase + 16, kBytes);
    fake.Write<std::uint64_t>(kSecond, kState);
    fake.Write<std::uint64_t>(kSecond + 8, kBase);
    fake.Write<std::uint64_t>(kSecond + 16, kBytes);
    fake.Write<std::uint32_t>(kState + 4, 2);  // flags: not the main one
    for (std::uint64_t bin = 0; bin < 127; ++bin) {
      fake.Write<std::uint64_t>(bins + bin * 16, bin == 5 ? free : bins + bin * 16 - 16);
      fake.Write<std::uint64_t>(bins + bin * 16 + 8, bin == 5 ? free : bins + bin * 16 - 16);
    }
    fake.Write<std::uint64_t>(first + 8, 0x300 | 5);
    fake.Write<std::uint64_t>(used + 8, 0x40 | 5);
    fake.Write<std::uint64_t>(free + 8, 0x60 | 1);
    fake.Write<std::uint64_t>(free + 0x60, 0x60);
    fake.Write<std::uint64_t>(free + 0x68, (kBase + kBytes - free - 0x60 - 0x20) | 4);
    fake.Write<std::uint64_t>(kBase + kBytes - 0x18, 0x10 | 5);  // fence chunks: the arena went on in its second heap
    fake.Write<std::uint64_t>(kSecond + 0x28, 0x100 | 5);
    fake.Write<std::uint64_t>(kSecond + 0x128, (kBytes - 0x120) | 5);
    fake.Write<std::uint64_t>(top_at, kSecond + 0x120);
    const target::Process process = heap.python.Build();
    const MallocHeap found(process);
    CHECK(found.doubts().empty());
    REQUIRE(found.areas().size() == 3);
    CHECK(found.areas()[1].range.begin == first);
    CHECK(found.areas()[1].FreeLists() == AddressRange{fastbins ? kState + 16 : top_at, bins + 127 * 16});
    CHECK(found.areas()[2].range == AddressRange{kSecond + 0x20, kSecond + kBytes});
    CHECK(found.areas()[2].top == kSecond + 0x120);
    std::vector<Address> unused;
    found.ForEachAreaChunk([&](AddressRange memory, bool in_use) {
      if (!in_use && memory.begin > kBase) unused.push_back(memory.begin - 16);
    });
    CHECK(unused == std::vector<Address>{free, kSecond + 0x120});
  }
}

TEST_CASE("a heap whose chunks do not lead to its end, or that no arena knows, is not believed at all") {
  Heap broken;
  broken.python.fake().Write<std::uint64_t>(broken.used + 8, 0x48 | 1);
  CHECK(broken.Free().empty());
  Heap unknown;
  unknown.python.fake().Write<std::uint64_t>(kArena + 96, unknown.used);
  CHECK(unknown.Free().empty());
  Heap huge;
  huge.python.fake().Write<std::uint64_t>(huge.used + 8, 0xfffffffffffffff1);
  CHECK(huge.Free().empty());
}

TEST_CASE("a fastbin that loops or leads elsewhere is left alone") {
  Heap heap;
  heap.python.fake().Write<std::uint64_t>(heap.fast + 16, heap.fast);
  CHECK(heap.Free() == std::vector<Address>{heap.cached, heap.free, heap.top});
}

}  // namespace
}  // namespace pygc::audit
