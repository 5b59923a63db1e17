#include "core/snapshot/chain_walk.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "core/snapshot/object_source.h"
#include "tests/support/fake_process.h"

namespace pygc::snapshot {
namespace {

constexpr Address kHeads = 0x10000;
constexpr Address kHeap = 0x40000000;
constexpr Address kStride = 0x40;
constexpr Address kType = 0x11000;
constexpr int kObjects = 150000;  // 9.6 MB: some tens of samples

// Three rings in scrambled order over one large heap: a small one, a large one and an empty one.
struct LargeLists {
  LargeLists() {
    fake.Map(kHeads, 0x2000).Map(kHeap, kStride * (kObjects + 1));
    runtime.gc_head.pointer_mask = ~3ull;
    runtime.interpreters.resize(1);
    std::vector<int> order(kObjects);
    std::iota(order.begin(), order.end(), 0);
    std::mt19937_64 random(3);
    std::shuffle(order.begin(), order.end(), random);
    Ring(0, {order.begin(), order.begin() + 20000});
    Ring(1, {order.begin() + 20000, order.end()});
    Ring(2, {});
  }
  static Address Head(int object) { return kHeap + kStride * static_cast<Address>(object); }
  void Ring(int generation, const std::vector<int>& objects) {
    const Address head = kHeads + 0x20 * static_cast<Address>(generation);
    std::vector<Address> nodes{head};
    for (const int o : objects) {
      nodes.push_back(Head(o));
      fake.WriteWords(Head(o) + 16, {1, kType});
    }
    for (std::size_t i = 0; i < nodes.size(); ++i)
      fake.WriteWords(nodes[i], {nodes[(i + 1) % nodes.size()], nodes[(i + nodes.size() - 1) % nodes.size()]});
    runtime.interpreters[0].generations.push_back({head, 0, 0});
    runtime.interpreters[0].generation_number.push_back(static_cast<std::uint8_t>(generation));
    rings.push_back(objects);
  }
  struct Outcome {
    std::vector<std::uint8_t> flags;
    std::uint64_t objects = 0;
    std::vector<std::string> notes;
    std::size_t stretches = 0;
    bool complete = false;
    friend bool operator==(const Outcome& a, const Outcome& b) {
      return a.flags == b.flags && a.objects == b.objects && a.notes == b.notes && a.complete == b.complete;
    }
  };
  Outcome Follow(bool one_by_one, unsigned threads) const {
    const target::Process process = fake.Build();
    SourceOptions options;
    options.one_by_one = one_by_one;
    options.limits.threads = threads;
    SilentProgress progress;
    const auto is_object = [&](Address a) { return process.memory.ReadPointer(a + 8).value_or(0) == kType; };
    auto found = FindObjectsInLists(process, runtime, options, is_object, progress);
    REQUIRE(found);
    found->index.Seal();
    Outcome outcome;
    outcome.flags.resize(found->index.size());
    std::vector<std::uint8_t> interpreter;
    FillListColumns(process.memory, runtime.gc_head, *found, outcome.flags, interpreter, threads);
    outcome.objects = found->objects;
    outcome.notes = found->coverage.notes;
    outcome.complete = found->coverage.lists_complete;
    for (const ObjectList& list : found->lists) outcome.stretches += list.stretches.size();
    return outcome;
  }

  test::FakeProcess fake;
  cpython::Runtime runtime;
  std::vector<std::vector<int>> rings;
};

TEST_CASE("many chains find what one chain finds, for any number of threads") {
  const LargeLists lists;
  const LargeLists::Outcome one = lists.Follow(true, 1);
  CHECK(one.objects == kObjects);
  CHECK(one.stretches == 2);
  for (const unsigned threads : {1u, 2u, 4u}) {
    const LargeLists::Outcome many = lists.Follow(false, threads);
    CHECK(many == one);
    CHECK(many.stretches > 20);  // it did go by chains
  }
}

TEST_CASE("where anything is wrong the lists are followed one by one, with the same result and notes") {
  const auto check = [](auto&& damage) {
    LargeLists lists;
    damage(lists);
    const LargeLists::Outcome one = lists.Follow(true, 1), many = lists.Follow(false, 2);
    CHECK(many == one);
    CHECK(many.stretches == one.stretches);
    CHECK(!one.notes.empty());
  };
  const auto object = [](LargeLists& l, std::size_t i) { return LargeLists::Head(l.rings[1][i]); };
  check([&](LargeLists& l) { l.fake.WriteWords(object(l, 60000), {0x18}); });  // a link outside memory
  check([&](LargeLists& l) { l.fake.WriteWords(object(l, 60000), {object(l, 100)}); });  // a loop
  check([&](LargeLists& l) { l.fake.WriteWords(object(l, 60000) + 8, {object(l, 100)}); });  // a wrong back link
  check([&](LargeLists& l) { l.fake.WriteWords(object(l, 60000), {kHeads}); });  // into another list's head
  check([&](LargeLists& l) { l.fake.WriteWords(object(l, 60000), {LargeLists::Head(l.rings[0][5])}); });  // two lists merge
  check([&](LargeLists& l) { l.fake.WriteWords(kHeads + 0x20 + 8, {object(l, 3)}); });  // only the head's back link
}

TEST_CASE("a ring of objects that no list leads to is not taken for part of one") {
  LargeLists lists;
  // All objects of the large ring leave it for a ring of their own, headed nowhere: samples will be among them.
  const std::vector<int>& ring = lists.rings[1];
  lists.fake.WriteWords(LargeLists::Head(ring.back()), {LargeLists::Head(ring.front())});
  lists.fake.WriteWords(LargeLists::Head(ring.front()) + 8, {LargeLists::Head(ring.back())});
  lists.fake.WriteWords(kHeads + 0x20, {kHeads + 0x20, kHeads + 0x20});
  const LargeLists::Outcome many = lists.Follow(false, 2);
  CHECK(many.objects == 20000);
  CHECK(many.complete);
}

}  // namespace
}  // namespace pygc::snapshot
