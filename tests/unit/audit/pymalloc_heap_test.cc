// Arenas and pools written into memory by hand, whole and damaged in every way that the walk has a word for.
#include "core/audit/pymalloc_heap.h"

#include <doctest/doctest.h>

#include <string>

#include "tests/support/python_heap.h"

namespace pygc::audit::pymalloc_heap_test {
namespace {

using cpython::Constant;
using cpython::Field;
using cpython::Struct;

constexpr Address kArena = 0x6e0000000000, kArray = 0x6d0000000000, kState = 0x6d0000010000;

/// One arena whose first pool has blocks of 64 bytes, of which block 1 is free, and whose second pool is not in use.
struct Allocator {
  explicit Allocator(const cpython::Layout& l) : python(l), layout(l) {
    arena_bytes = static_cast<std::uint64_t>(layout.Value(Constant::OBMALLOC_ARENA_BYTES));
    pool_bytes = static_cast<std::uint64_t>(layout.Value(Constant::OBMALLOC_POOL_BYTES));
    runtime = python.runtime();
    test::FakeProcess& fake = python.fake();
    fake.Map(kArena, arena_bytes).Map(kArray, 0x10000).Map(kState, 0x80000);
    Put(kArray, Field::arena_object_address, kArena);
    Put(kArray, Field::arena_object_pool_address, kArena + 2 * pool_bytes);
    Put(kArray, Field::arena_object_ntotalpools, arena_bytes / pool_bytes);
    Put(kArray, Field::arena_object_nfreepools, arena_bytes / pool_bytes - 1);
    Put(kArena, Field::pool_header_ref_count, 3);
    Put(kArena, Field::pool_header_szidx, 64 / 16 - 1);
    Put(kArena, Field::pool_header_nextoffset, 48 + 4 * 64);
    Put(kArena, Field::pool_header_freeblock, Block(1));
    if (layout.Has(Struct::obmalloc_state)) {
      runtime.interpreters[0].address = kState;
      Address state = kState + layout.Offset(Field::PyInterpreterState_obmalloc);
      if (layout.Value(Constant::OBMALLOC_IS_POINTER) != 0) {
        fake.Write<std::uint64_t>(state, kState + 0x40000);
        state = kState + 0x40000;
      }
      fake.Write<std::uint64_t>(state + layout.Offset(Field::obmalloc_state_mgmt_arenas), kArray);
      fake.Write<std::uint32_t>(state + layout.Offset(Field::obmalloc_state_mgmt_maxarenas), 16);
    } else {
      // No symbols here: a word of the interpreter's data leads to the array.
      const std::uint32_t module = fake.AddModule("/usr/bin/python-data", {{kState + 0x100000, kState + 0x101000}});
      fake.Map(kState + 0x100000, 0x1000, "rw-", module);
      fake.Write<std::uint64_t>(kState + 0x100080, kArray);
    }
  }
  static Address Block(std::uint64_t i) { return kArena + 48 + i * 64; }
  void Put(Address base, Field f, std::uint64_t value) {
    if (layout.Place(f).bytes == 4) {
      python.fake().Write<std::uint32_t>(base + layout.Offset(f), static_cast<std::uint32_t>(value));
    } else {
      python.fake().Write<std::uint64_t>(base + layout.Offset(f), value);
    }
  }
  BlockHeap Read() {
    process = python.Build();
    if (const target::Module* m = process.FindModule(kState + 0x100080)) runtime.module_index = static_cast<std::size_t>(m - process.modules.data());
    return ReadPymalloc(process, runtime, Limits());
  }

  test::PythonHeap python;
  const cpython::Layout& layout;
  cpython::Runtime runtime;
  target::Process process;
  std::uint64_t arena_bytes = 0, pool_bytes = 0;
};

template <typename F>
void OnEveryLayout(F body) {
  for (const cpython::Layout* layout : test::DefaultLayouts()) {
    CAPTURE(layout->name);
    Allocator allocator(*layout);
    body(allocator);
  }
}

TEST_CASE("blocks in use and free ones are told apart on every layout") {
  OnEveryLayout([](Allocator& a) {
    const BlockHeap heap = a.Read();
    REQUIRE(heap.found());
    REQUIRE(heap.pools().size() == 1);
    CHECK(heap.damage().empty());
    CHECK(heap.bookkeeping().size() == 1);  // the array of arenas
    CHECK(heap.blocks_in_use() == 3);
    const auto used = heap.BlockAt(Allocator::Block(2) + 17), free = heap.BlockAt(Allocator::Block(1));
    REQUIRE(used);
    CHECK(used->in_use);
    CHECK(used->range == AddressRange{Allocator::Block(2), Allocator::Block(3)});
    REQUIRE(free);
    CHECK_FALSE(free->in_use);
    CHECK_FALSE(heap.BlockAt(kArena));                  // the pool's header
    CHECK_FALSE(heap.BlockAt(Allocator::Block(4)));     // never handed out
    CHECK_FALSE(heap.BlockAt(kArena + a.pool_bytes));   // a pool not in use
    CHECK_FALSE(heap.BlockAt(kArena - 1));
    BlockHeap::Cursor cursor(heap);
    for (const Address at : {Allocator::Block(2) + 17, Allocator::Block(1), kArena, Allocator::Block(4), Allocator::Block(0), kArena + a.pool_bytes, kArena - 1, Allocator::Block(3) + 63}) {
      const auto block = heap.BlockAt(at);
      CHECK(cursor.BlockAt(at) == (block ? block->range : AddressRange{}));
    }
    std::uint64_t unused = 0;
    heap.ForEachUnused([&](AddressRange r) { unused += r.size(); });
    CHECK(unused == a.arena_bytes - 3 * 64);
  });
}

TEST_CASE("a list of free blocks that loops or leads elsewhere is named, and every block of the pool counts as used") {
  OnEveryLayout([](Allocator& a) {
    const auto damaged = [&](Address next) {
      a.python.fake().Write<std::uint64_t>(Allocator::Block(1), next);
      const BlockHeap heap = a.Read();
      REQUIRE(heap.damage().size() == 1);
      CHECK(heap.damage()[0].find("free blocks") != std::string::npos);
      CHECK(heap.blocks_in_use() == 4);
      CHECK(heap.BlockAt(Allocator::Block(1))->in_use);
    };
    damaged(Allocator::Block(1));
    damaged(Allocator::Block(0) + 8);
    damaged(0xdeadbeef);
    damaged(Allocator::Block(4));
  });
}

TEST_CASE("counters that contradict what is found, size classes and offsets that do not exist") {
  OnEveryLayout([](Allocator& a) {
    a.Put(kArena, Field::pool_header_ref_count, 2);
    CHECK(a.Read().damage().size() == 1);
    a.Put(kArena, Field::pool_header_ref_count, 3);
    a.Put(kArray, Field::arena_object_nfreepools, 1);
    CHECK(a.Read().damage().size() == 1);
    a.Put(kArray, Field::arena_object_nfreepools, a.arena_bytes / a.pool_bytes - 1);
    a.Put(kArena, Field::pool_header_szidx, 5000);
    CHECK(a.Read().damage().size() == 1);
    CHECK_FALSE(a.Read().BlockAt(Allocator::Block(0)));
    a.Put(kArena, Field::pool_header_szidx, 3);
    a.Put(kArena, Field::pool_header_nextoffset, 0xfffffff0u);
    CHECK(a.Read().damage().size() == 1);
  });
}

TEST_CASE("arenas that cannot be are no arenas") {
  OnEveryLayout([](Allocator& a) {
    a.Put(kArray, Field::arena_object_pool_address, kArena - 64);
    CHECK_FALSE(a.Read().found());
  });
}

TEST_CASE("an arena in use that the image lacks, or lacks a part of, is told where nothing else tells of it") {
  OnEveryLayout([](Allocator& a) {
    const auto absent = [&] {
      static_cast<void>(a.Read());
      return FindAbsentArenas(a.process, a.runtime, Limits());
    };
    CHECK(absent().empty());
    const std::uint32_t size = a.layout.Size(Struct::arena_object);
    const Address left_out = kArena + 16 * a.arena_bytes, other = kArena + 32 * a.arena_bytes;
    const auto put = [&](Address entry, Address base) {
      a.Put(entry, Field::arena_object_address, base);
      a.Put(entry, Field::arena_object_pool_address, base);
      a.Put(entry, Field::arena_object_ntotalpools, a.arena_bytes / a.pool_bytes);
    };
    put(kArray + size, left_out);
    if (!a.layout.Has(Struct::obmalloc_state)) CHECK(absent().empty());  // as many absent as present: these may be any words. With two that are there they are arenas
    put(kArray + 2 * size, other);
    a.python.fake().Map(other, a.arena_bytes / 2);
    REQUIRE(absent().size() == 2);
    CHECK(absent()[0] == AddressRange{left_out, left_out + a.arena_bytes});
    CHECK(absent()[1] == AddressRange{other + a.arena_bytes / 2, other + a.arena_bytes});
    a.python.fake().base.missing_ranges.push_back({absent()[0], target::MissingReason::kNotDumped, 0xFFFFFFFFu, target::MissingUse::kUnknown, true});
    REQUIRE(absent().size() == 1);
    CHECK(absent()[0].begin == other + a.arena_bytes / 2);
  });
}

}  // namespace
}  // namespace pygc::audit::pymalloc_heap_test
