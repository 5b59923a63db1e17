#include "core/heap/object_index.h"

#include <doctest/doctest.h>

#include <random>
#include <set>

namespace pygc::heap {
namespace {

TEST_CASE("ids are ranks in address order, across ranges of different granularity") {
  const ObjectIndex::Range ranges[] = {{{0x1000, 0x5000}, 4}, {{0x7004, 0x7100}, 2}};
  ObjectIndex index(ranges);
  CHECK(index.Mark(0x7008));
  CHECK(index.Mark(0x1000));
  CHECK(index.Mark(0x4ff0));
  CHECK(index.Mark(0x7004));
  CHECK_FALSE(index.Mark(0x1000));  // twice
  CHECK_FALSE(index.Mark(0x1008));  // not aligned there
  CHECK_FALSE(index.Mark(0x7006));
  CHECK_FALSE(index.Mark(0x6000));  // in no range
  CHECK_FALSE(index.Mark(0x5000));  // half open
  CHECK_FALSE(index.Mark(~Address{0}));
  index.Seal();
  REQUIRE(index.size() == 4);
  CHECK(index.Find(0x1000) == 0);
  CHECK(index.Find(0x4ff0) == 1);
  CHECK(index.Find(0x7004) == 2);
  CHECK(index.Find(0x7008) == 3);
  CHECK(index.Find(0x7005) == kNoNode);
  CHECK(index.Find(0x1010) == kNoNode);
  CHECK(index.AddressOf(3) == 0x7008);
  index.Unmark(0x4ff0);
  index.Seal();
  CHECK(index.Find(0x7004) == 1);
}

TEST_CASE("an empty index finds nothing") {
  ObjectIndex index;
  index.Seal();
  CHECK(index.size() == 0);
  CHECK(index.Find(0x1000) == kNoNode);
  CHECK_FALSE(index.Mark(0));
}

TEST_CASE("lookup, address and iteration agree with a sorted set") {
  std::mt19937_64 random(7);
  for (int round = 0; round < 40; ++round) {
    std::vector<ObjectIndex::Range> ranges;
    Address next = 0x10000;
    for (int i = 0; i < 5; ++i) {
      const Address begin = next + (random() % 0x4000000 & ~Address{15});
      const Address end = begin + 16 + (random() % (round % 2 ? 0x800000 : 0x2000) & ~Address{15});
      ranges.push_back({{begin, end}, static_cast<std::uint8_t>(2 + random() % 3)});
      next = end;
    }
    ObjectIndex index(ranges);
    std::set<Address> marked;
    for (int i = 0; i < 3000; ++i) {
      const ObjectIndex::Range& r = ranges[random() % ranges.size()];
      const Address a = (r.range.begin + random() % r.range.size()) >> r.shift << r.shift;
      if (a < r.range.begin) continue;
      CHECK((i % 2 ? index.MarkShared(a) : index.Mark(a)) == marked.insert(a).second);
    }
    index.Seal();
    REQUIRE(index.size() == marked.size());
    NodeId id = 0;
    for (const Address a : marked) {
      REQUIRE(index.Find(a) == id);
      REQUIRE(index.AddressOf(id) == a);
      ++id;
    }
    const std::vector<Address> sorted(marked.begin(), marked.end());
    const NodeId begin = static_cast<NodeId>(random() % (sorted.size() + 1)),
                 end = static_cast<NodeId>(begin + random() % (sorted.size() + 1 - begin));
    NodeId expected = begin;
    index.ForEach(begin, end, [&](NodeId n, Address a) {
      REQUIRE(n == expected);
      REQUIRE(a == sorted[n]);
      ++expected;
    });
    CHECK(expected == end);
  }
}

TEST_CASE("the nearest object below an address is found within reach, in the same range") {
  const ObjectIndex::Range ranges[] = {{{0x1000, 0x9000}, 4}, {{0x9000, 0xa000}, 3}};
  ObjectIndex index(ranges);
  for (const Address a : {0x1000, 0x1400, 0x1410, 0x9008}) REQUIRE(index.Mark(a));
  index.Seal();
  CHECK(index.NearestBelow(0x1000, 0x100) == 0);
  CHECK(index.NearestBelow(0x1001, 0x100) == 0x1000);
  CHECK(index.NearestBelow(0x1410, 0x100) == 0x1400);
  CHECK(index.NearestBelow(0x1411, 0x100) == 0x1410);
  CHECK(index.NearestBelow(0x1400, 0x400) == 0x1000);
  CHECK(index.NearestBelow(0x1400, 0x3ff) == 0);
  CHECK(index.NearestBelow(0x8fff, 0x8000) == 0x1410);
  CHECK(index.NearestBelow(0x9008, 0x8000) == 0);  // the other range's
  CHECK(index.NearestBelow(0x9010, 0x8000) == 0x9008);
  CHECK(index.NearestBelow(0xffff0000, 0x8000) == 0);
  CHECK(index.NearestBelow(0, 0x8000) == 0);
  CHECK(ObjectIndex().NearestBelow(0x1000, 0x8000) == 0);
}

TEST_CASE("a wide empty range costs no memory") {
  const ObjectIndex::Range range{{0x10000, 0x10000 + (Address{1} << 40)}, 4};
  ObjectIndex index(std::span(&range, 1));
  CHECK(index.Mark(0x10000 + (Address{1} << 39)));
  index.Seal();
  CHECK(index.Find(0x10000 + (Address{1} << 39)) == 0);
  CHECK(index.memory_bytes() < (64u << 20));
}

TEST_CASE("numbers of places rise with addresses and stay when more is marked") {
  const std::vector<ObjectIndex::Range> ranges{{{0x1000, 0x3000}, 4}, {{0x3000, 0x3800}, 2}, {{0x7f0000000010, 0x7f0000100000}, 3}};
  ObjectIndex index(ranges);
  ObjectIndex::Numbers numbers(index);
  CHECK(numbers.Of(0) == ObjectIndex::kNoNumber);
  CHECK(numbers.Of(0x1008) == ObjectIndex::kNoNumber);
  CHECK(numbers.Of(0x4000) == ObjectIndex::kNoNumber);
  std::uint64_t last = 0;
  std::vector<Address> marked;
  for (const Address a : {0x1000ull, 0x2ff0ull, 0x3000ull, 0x3004ull, 0x37fcull, 0x7f0000000010ull, 0x7f0000000018ull, 0x7f00000ffff8ull}) {
    const std::uint64_t number = numbers.Of(a);
    REQUIRE(number < index.place_count());
    CHECK((marked.empty() || number > last));
    last = number;
    CHECK_FALSE(index.IsNumberMarkedShared(number));
    CHECK(index.MarkNumberShared(number));
    CHECK_FALSE(index.MarkNumberShared(number));
    CHECK(index.IsMarked(a));
    marked.push_back(a);
    CHECK(numbers.Of(a) == number);
  }
  index.Seal();
  for (const Address a : marked) CHECK(index.FindNumber(numbers.Of(a)) == index.Find(a));
  CHECK(index.FindNumber(numbers.Of(0x1010)) == kNoNode);
}

}  // namespace
}  // namespace pygc::heap
