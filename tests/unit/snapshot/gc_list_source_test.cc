#include <doctest/doctest.h>

#include <algorithm>

#include "core/snapshot/object_source.h"
#include "tests/support/fake_process.h"

namespace pygc::snapshot::gc_list_source_test {
namespace {

constexpr Address kHeads = 0x10000;  // generation heads, 0x20 apart
constexpr Address kHeap = 0x200000;  // PyGC_Heads of objects, 0x40 apart
constexpr Address kStack = 0x7f0000;
constexpr Address kStride = 0x40;
constexpr Address kSomeType = 0x11000;

// Lists in a fake process. Objects are numbers: object i has its PyGC_Head at kHeap + i * kStride.
class Lists {
 public:
  explicit Lists(std::uint32_t head_size = 16) : head_size_(head_size) {
    fake.Map(kHeads, 0x2000).Map(kHeap, 0x10000).Map(kStack, 0x1000);
    runtime.gc_head.size = head_size;
    if (head_size == 16) {
      runtime.gc_head.pointer_mask = ~3ull;
      runtime.gc_head.finalized_bit = 1;
      runtime.gc_head.collecting_bit = 2;
      runtime.gc_head.unreachable_bit = 1;
    } else {
      runtime.gc_head.refs_offset = 16;
    }
    runtime.interpreters.resize(1);
  }
  static Address Head(int object) { return kHeap + static_cast<Address>(object) * kStride; }
  Address Object(int object) const { return Head(object) + head_size_; }

  // Links a ring through `head`. `next_flags`, `prev_flags`: low bits of the words of objects.
  void Ring(Address head, const std::vector<int>& objects, std::uint64_t next_flags = 0, std::uint64_t prev_flags = 0) {
    std::vector<Address> nodes{head};
    for (const int o : objects) {
      nodes.push_back(Head(o));
      fake.WriteWords(Object(o), {1, kSomeType});
    }
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      const std::uint64_t flags = i == 0 ? 0 : 1;
      fake.WriteWords(nodes[i],
                      {nodes[(i + 1) % nodes.size()] | flags * next_flags, nodes[(i + nodes.size() - 1) % nodes.size()] | flags * prev_flags});
    }
  }
  Address Generation(int generation, const std::vector<int>& objects, std::size_t interpreter = 0) {
    const Address head = kHeads + 0x100 * interpreter + 0x20 * static_cast<Address>(generation);
    Ring(head, objects);
    cpython::Interpreter& in = runtime.interpreters[interpreter];
    in.generations.push_back({head, 700, 0});
    in.generation_number.push_back(static_cast<std::uint8_t>(generation));
    return head;
  }
  Result<FoundObjects> Find(SourceOptions options = {}) {
    process_ = fake.Build();
    SilentProgress progress;
    const auto is_object = [this](Address a) {
      const auto type = process_.memory.ReadPointer(a + 8);
      return type && *type == kSomeType;
    };
    return FindObjectsInLists(process_, runtime, options, is_object, progress);
  }
  // "gen 0: 1 2\ndetached: 3\n" and the notes.
  std::string Text() {
    Result<FoundObjects> found = Find();
    if (!found) return "error: " + found.error().message + "\n";
    found->index.Seal();
    std::vector<std::uint8_t> flags(found->index.size()), interpreter(found->index.size());
    FillListColumns(process_.memory, runtime.gc_head, *found, flags, interpreter, 1);
    std::string text;
    for (std::size_t in = 0; in <= runtime.interpreters.size(); ++in) {
      for (const std::uint8_t generation : {0, 1, 2, 3, 4}) {
        std::string objects;
        found->index.ForEach(0, found->index.size(), [&](heap::NodeId n, Address a) {
          const bool here = in == runtime.interpreters.size() ? interpreter[n] == heap::kNoInterpreter : interpreter[n] == in;
          if (here && (flags[n] & heap::kGenerationMask) == generation) objects += " " + std::to_string((a - head_size_ - kHeap) / kStride);
        });
        if (objects.empty()) continue;
        if (runtime.interpreters.size() > 1) text += in == runtime.interpreters.size() ? "shared " : "interpreter " + std::to_string(in) + " ";
        text += (generation == 3 ? "permanent" : generation == 4 ? "detached" : "gen " + std::to_string(generation)) + ":" + objects + "\n";
      }
    }
    CHECK(found->objects == found->index.size());
    for (const std::string& note : found->coverage.notes) text += "note: " + note + "\n";
    for (const std::string& moment : found->coverage.in_flight) text += "moment: " + moment + "\n";
    if (!found->coverage.lists_complete) text += "incomplete\n";
    return text;
  }

  test::FakeProcess fake;
  cpython::Runtime runtime;

 private:
  std::uint32_t head_size_;
  target::Process process_;
};

TEST_CASE("objects are found in every generation and the permanent one") {
  Lists lists;
  lists.Generation(0, {5, 1, 9});
  lists.Generation(1, {});
  lists.Generation(2, {4, 3, 8, 7});
  lists.Ring(kHeads + 0x80, {2});
  lists.runtime.interpreters[0].permanent = cpython::GcGeneration{kHeads + 0x80, 0, 0};
  CHECK(lists.Text() == "gen 0: 1 5 9\ngen 2: 3 4 7 8\npermanent: 2\n");
}

TEST_CASE("heads of 32 bytes, as up to 3.7") {
  Lists lists(32);
  lists.Generation(0, {2, 1});
  CHECK(lists.Text() == "gen 0: 1 2\n");
}

TEST_CASE("a head that was taken out of its ring still leads to it, until the objects are freed") {
  Lists lists;  // _PyGC_Fini() [3.13+]
  lists.Generation(2, {1, 2, 3});
  lists.fake.WriteWords(Lists::Head(1), {Lists::Head(2), Lists::Head(3)});
  lists.fake.WriteWords(Lists::Head(3), {Lists::Head(1), Lists::Head(2)});
  const std::string whole = lists.Text();
  CHECK(whole.starts_with("gen 2: 1 2 3\n"));
  CHECK(whole.find("none is missing") != std::string::npos);
  CHECK(whole.find("incomplete") == std::string::npos);
  lists.fake.WriteWords(Lists::Head(2), {0, 0});
  const std::string torn = lists.Text();
  CHECK(torn.starts_with("note: generation 2 of interpreter 0 was taken apart"));
  CHECK(torn.find("incomplete") != std::string::npos);
}

TEST_CASE("flag bits in the links are no part of them") {
  Lists lists;
  const Address head = lists.Generation(2, {});
  lists.Ring(head, {1, 2, 3}, 1, 3);
  CHECK(lists.Text() == "gen 2: 1 2 3\n");
}

TEST_CASE("a list head may be aligned to 4 bytes only") {
  Lists lists;
  lists.Ring(kHeads + 0x804, {1, 2});
  lists.runtime.interpreters[0].generations.push_back({kHeads + 0x804, 0, 0});
  lists.runtime.interpreters[0].generation_number.push_back(2);
  CHECK(lists.Text() == "gen 2: 1 2\n");
}

TEST_CASE("objects aligned to 8 bytes, as old builds made them, are found") {
  Lists lists;
  const Address head = lists.Generation(0, {});
  lists.fake.WriteWords(head, {kHeap + 0x48, kHeap + 0x48});
  lists.fake.WriteWords(kHeap + 0x48, {head, head, 1, kSomeType});
  const auto found = lists.Find();
  REQUIRE(found);
  CHECK(found->objects == 1);
  CHECK(found->coverage.lists_complete);
}

TEST_CASE("a next link outside memory cuts the list, and the rest comes from the other side") {
  Lists lists;
  const Address head = lists.Generation(2, {1, 2, 3, 4, 5});
  lists.fake.WriteWords(Lists::Head(3), {0x18});
  (void)head;
  CHECK(
      lists.Text() ==
      "gen 2: 1 2 3 4 5\n"
      "note: cannot follow generation 2 of interpreter 0: _gc_next of the object at 0x2000d0 is 0x18, not in any region (3 objects read before it); "
      "followed from its end by _gc_prev to the same object, 2 more: none is missing\n");
}

TEST_CASE("a list whose first link is junk is found from its end") {
  Lists lists;
  lists.fake.WriteWords(lists.Generation(2, {1, 2, 3}), {0x18});
  CHECK(lists.Text().substr(0, 13) == "gen 2: 1 2 3\n");
  CHECK(lists.Text().find("3 more: none is missing") != std::string::npos);
  Lists empty;  // the two links of the head contradict each other: nothing shows that the list is empty
  const Address head = empty.Generation(2, {});
  empty.fake.WriteWords(head, {0x18});
  CHECK(empty.Text().find("those between are lost") != std::string::npos);
}

TEST_CASE("a smashed object in the middle loses no neighbour") {
  Lists lists;
  lists.Generation(2, {1, 2, 3, 4, 5});
  lists.fake.WriteWords(Lists::Head(3), {0xdbdbdbdbdbdbdbd8, 0xdbdbdbdbdbdbdbd8});
  const std::string text = lists.Text();
  CHECK(text.substr(0, 17) == "gen 2: 1 2 3 4 5\n");
  CHECK(text.find("none is missing") != std::string::npos);
  CHECK(text.find("_gc_prev of 1 object does not lead back") != std::string::npos);
}

TEST_CASE("objects that a link leads past are found by the links back") {
  Lists inside;
  inside.Generation(2, {1, 2, 3, 4, 5});
  inside.fake.WriteWords(Lists::Head(1), {Lists::Head(4)});
  CHECK(inside.Text() ==
        "gen 2: 1 2 3 4 5\n"
        "note: generation 2 of interpreter 0: _gc_prev of 1 object does not lead back, first at 0x200110\n"
        "note: generation 2 of interpreter 0: _gc_next of the object at 0x200050 leads past 2 objects, found by _gc_prev: none is missing\n");
  Lists tail;
  const Address head = tail.Generation(2, {1, 2, 3, 4, 5});
  tail.fake.WriteWords(Lists::Head(2), {head});
  CHECK(tail.Text().substr(0, 17) == "gen 2: 1 2 3 4 5\n");
  CHECK(tail.Text().find("leads past 3 objects, found by _gc_prev: none is missing") != std::string::npos);
  Lists empty;  // the head leads to itself, and back to the last object
  const Address emptied = empty.Generation(2, {1, 2, 3});
  empty.fake.WriteWords(emptied, {emptied});
  CHECK(empty.Text().substr(0, 13) == "gen 2: 1 2 3\n");
  Lists broken;  // the links back do not get there either
  broken.Generation(2, {1, 2, 3, 4, 5, 6});
  broken.fake.WriteWords(Lists::Head(1), {Lists::Head(5)});
  broken.fake.WriteWords(Lists::Head(3), {Lists::Head(4), 8});
  CHECK(broken.Text().find("leads past 2 objects, found by _gc_prev; those before them are lost") != std::string::npos);
}

TEST_CASE("two cuts lose what is between them, and say so") {
  Lists lists;
  lists.Generation(2, {1, 2, 3, 4, 5, 6});
  lists.fake.WriteWords(Lists::Head(2), {8, Lists::Head(1)});
  lists.fake.WriteWords(Lists::Head(5), {Lists::Head(6), 8});
  CHECK(lists.Text() ==
        "gen 2: 1 2 5 6\n"
        "note: cannot follow generation 2 of interpreter 0: _gc_next of the object at 0x200090 is 0x8, not in any region (2 objects read before it); "
        "2 more "
        "found from its end by _gc_prev, those between are lost\n"
        "incomplete\n");
}

TEST_CASE("a list that loops ends where it meets itself") {
  Lists lists;
  lists.Generation(2, {1, 2, 3, 4});
  lists.fake.WriteWords(Lists::Head(3), {Lists::Head(1)});
  const std::string text = lists.Text();
  CHECK(text.find("gen 2: 1 2 3 4\n") == 0);
  CHECK(text.find("an object that was met before") != std::string::npos);
}

TEST_CASE("two lists that merge are told apart from the first") {
  Lists lists;
  lists.Generation(0, {1, 2});
  lists.Generation(2, {3, 4, 5});
  lists.fake.WriteWords(Lists::Head(4), {Lists::Head(1)});
  CHECK(lists.Text().find("gen 0: 1 2\ngen 2: 3 4 5\n") == 0);
}

TEST_CASE("links that are misaligned, NULL or into missing memory cut the list") {
  for (const auto& [link, says] :
       {std::pair<Address, const char*>{kHeap + 0x4c, "not aligned like an object"}, {0, "is NULL"}, {0x55550000, "not in any region"}}) {
    Lists lists;
    const Address head = lists.Generation(2, {1, 2, 3});
    lists.fake.WriteWords(Lists::Head(2), {link});
    lists.fake.WriteWords(head + 8, {8});
    const std::string text = lists.Text();
    INFO(text);
    CHECK(text.find("gen 2: 1 2\n") == 0);
    CHECK(text.find(says) != std::string::npos);
    CHECK(text.find("incomplete") != std::string::npos);
  }
}

TEST_CASE("a head that cannot be read is no empty list") {
  Lists lists;
  lists.Generation(0, {1});
  lists.runtime.interpreters[0].generations.push_back({0x99990000, 0, 0});
  lists.runtime.interpreters[0].generation_number.push_back(2);
  CHECK(lists.Text() == "gen 0: 1\nnote: cannot follow generation 2 of interpreter 0: its head at 0x99990000 cannot be read\nincomplete\n");
  Lists none;
  none.runtime.interpreters[0].generations.push_back({0x99990000, 0, 0});
  CHECK(none.Text().find("error: cannot follow any of the collector's lists") == 0);
}

TEST_CASE("an object that is just being tracked is recognised and not counted") {
  Lists lists;
  const Address head = lists.Generation(0, {1, 2});
  lists.fake.WriteWords(Lists::Head(2), {Lists::Head(3)});  // last->next = new; nothing else is written yet
  lists.fake.WriteWords(Lists::Head(3), {0, 0, 1, kSomeType});
  (void)head;
  CHECK(
      lists.Text() ==
      "gen 0: 1 2\nmoment: the object at 0x2000d0 was just being added to generation 0 of interpreter 0 when the process stopped; it is not counted\n");
}

TEST_CASE("an object that is just being tracked, its own link back written last, is counted") {
  for (const bool head_knows : {false, true}) {
    Lists lists;
    const Address head = lists.Generation(0, {1, 2, 3});
    lists.fake.WriteWords(Lists::Head(3) + 8, {0});
    if (!head_knows) lists.fake.WriteWords(head + 8, {Lists::Head(2)});
    CHECK(lists.Text() ==
          "gen 0: 1 2 3\nmoment: the object at 0x2000d0 was just being added to generation 0 of interpreter 0 when the process stopped; it is counted\n");
  }
  Lists damaged;  // the head leads elsewhere: not that moment
  damaged.fake.WriteWords(damaged.Generation(0, {1, 2, 3}) + 8, {Lists::Head(1)});
  damaged.fake.WriteWords(Lists::Head(3) + 8, {0});
  CHECK(damaged.Text().find("note: ") != std::string::npos);
}

TEST_CASE("an object that is just being untracked is recognised and not counted") {
  for (const bool next_cleared : {false, true}) {
    Lists lists;
    lists.Generation(0, {1, 2, 3});
    lists.fake.WriteWords(Lists::Head(1), {Lists::Head(3)});  // previous->next = next; next->prev is not written yet
    if (next_cleared) lists.fake.WriteWords(Lists::Head(2), {0});
    CHECK(lists.Text() ==
          "gen 0: 1 3\nmoment: the object at 0x200090 was just being taken off generation 0 of interpreter 0 when the process stopped; it is not "
          "counted\n");
  }
  Lists damaged;  // a back link to an object that does not lead on to here
  damaged.Generation(0, {1, 3});
  damaged.Ring(kHeads + 0x200, {2, 4});
  damaged.fake.WriteWords(Lists::Head(3) + 8, {Lists::Head(2)});
  CHECK(damaged.Text().find("note: generation 0 of interpreter 0: _gc_prev of 1 object does not lead back") != std::string::npos);
}

TEST_CASE("what looks like such a moment is one only where a thread has the object in hand") {
  constexpr Address kThreadStack = 0x7ffd00000000;
  for (const bool in_hand : {true, false}) {
    CAPTURE(in_hand);
    const auto thread = [&](Lists& lists, int object) {
      lists.fake.Map(kThreadStack, 0x1000);
      lists.fake.AddThread(1, kThreadStack + 0x700);
      if (in_hand) lists.fake.base.threads.back().registers[14] = Lists::Head(object) + 16;
    };
    Lists untracked;
    untracked.Generation(0, {1, 2, 3});
    untracked.fake.WriteWords(Lists::Head(1), {Lists::Head(3)});
    thread(untracked, 2);
    CHECK(untracked.Text().starts_with(in_hand ? "gen 0: 1 3\nmoment: " : "gen 0: 1 2 3\nnote: "));
    CHECK(untracked.Text().ends_with("incomplete\n") == !in_hand);
    Lists tracked;
    tracked.Generation(0, {1, 2, 3});
    tracked.fake.WriteWords(Lists::Head(3) + 8, {0});
    thread(tracked, 3);
    CHECK(tracked.Text().starts_with(in_hand ? "gen 0: 1 2 3\nmoment: " : "gen 0: 1 2 3\nnote: "));
    CHECK(tracked.Text().ends_with("incomplete\n") == !in_hand);
    Lists half;
    half.Generation(0, {1, 2});
    half.fake.WriteWords(Lists::Head(2), {Lists::Head(3)});
    half.fake.WriteWords(Lists::Head(3), {0, 0, 1, kSomeType});
    thread(half, 3);
    CHECK((half.Text().find("\nmoment: ") != std::string::npos) == in_hand);
    CHECK((half.Text().find("\nnote: ") != std::string::npos) == !in_hand);
  }
}

TEST_CASE("lists that are just being joined are whole at each of the stores") {
  // gc_list_merge(young, old): to_tail->next = first; first->prev = to_tail; last->next = to; to->prev = last; then young is emptied.
  for (int stores = 1; stores <= 4; ++stores) {
    Lists lists;
    const Address young = lists.Generation(0, {1, 2}), old = lists.Generation(1, {3, 4});
    lists.runtime.interpreters[0].collecting = true;
    lists.fake.WriteWords(Lists::Head(4), {Lists::Head(1)});
    if (stores >= 2) lists.fake.WriteWords(Lists::Head(1) + 8, {Lists::Head(4)});
    if (stores >= 3) lists.fake.WriteWords(Lists::Head(2), {old});
    if (stores >= 4) lists.fake.WriteWords(old + 8, {Lists::Head(2)});
    (void)young;
    const std::string text = lists.Text();
    INFO(stores, ": ", text);
    CHECK(text.find("gen 0: 1 2\ngen 1: 3 4\n") == 0);
    CHECK(text.find("moment: the collector was just joining") != std::string::npos);
    CHECK(text.find("incomplete") == std::string::npos);
    CHECK(text.find("note:") == std::string::npos);
  }
}

TEST_CASE("the phase of a collection is told by the marks in the objects") {
  using heap::CollectionPhase;
  const auto phase = [](Lists& lists) { return lists.Find()->phases.at(0); };
  Lists idle;
  idle.Generation(2, {1, 2});
  CHECK(phase(idle) == CollectionPhase::kNone);
  Lists counting;
  counting.Generation(2, {1, 2});
  counting.runtime.interpreters[0].collecting = true;
  CHECK(phase(counting) == CollectionPhase::kBetween);
  counting.fake.WriteWords(Lists::Head(1) + 8, {(1 << 2) | 2});  // update_refs() has come to the first object
  CHECK(phase(counting) == CollectionPhase::kDeciding);
  Lists freeing;
  freeing.Generation(2, {1, 2});
  freeing.runtime.interpreters[0].collecting = true;
  freeing.Ring(kStack + 0x900, {5, 6}, 0, 2);
  freeing.fake.AddThread(42, kStack + 0x800);
  CHECK(phase(freeing) == CollectionPhase::kFreeing);
  const auto found = freeing.Find();
  REQUIRE(found->lists.size() == 2);
  CHECK(found->lists[1].condemned);
  CHECK_FALSE(found->lists[0].condemned);
  Lists old_style(32);  // 3.7 and older: gc_refs in a word of its own
  old_style.Generation(2, {1});
  old_style.runtime.interpreters[0].collecting = true;
  for (const auto& [refs, wanted] : {std::pair{std::int64_t{-3}, CollectionPhase::kBetween}, {0, CollectionPhase::kDeciding}, {7, CollectionPhase::kDeciding}}) {
    old_style.fake.WriteWords(Lists::Head(1) + 16, {static_cast<std::uint64_t>(refs)});
    CHECK(phase(old_style) == wanted);
  }
}

TEST_CASE("while a collection runs, back links are counts and are not looked at") {
  Lists lists;
  const Address head = lists.Generation(2, {1, 2, 3});
  lists.runtime.interpreters[0].collecting = true;
  for (const int o : {1, 2, 3}) lists.fake.WriteWords(Lists::Head(o) + 8, {(1 << 2) | 2});
  CHECK(lists.Text() == "gen 2: 1 2 3\n");
  lists.fake.WriteWords(Lists::Head(2), {8});
  (void)head;
  CHECK(lists.Text().find("what follows is lost") != std::string::npos);
}

TEST_CASE("lists headed on a C stack are found while a collection runs") {
  Lists lists;
  lists.Generation(0, {});
  lists.Generation(2, {1});
  lists.Ring(kStack + 0x808, {5, 6, 7}, 1, 2);                              // `unreachable`, with NEXT_MASK_UNREACHABLE and COLLECTING
  lists.Ring(kStack + 0x900, {8}, 0, 3);                                    // `seen`
  lists.Ring(kStack + 0x100, {9});                                          // below the stack pointer: dead
  lists.fake.WriteWords(kStack + 0xa00, {kStack + 0xa00, kStack + 0xa00});  // an empty list
  lists.fake.AddThread(42, kStack + 0x800);
  CHECK(lists.Text() == "gen 2: 1\n");
  lists.runtime.interpreters[0].collecting = true;
  CHECK(lists.Text() == "gen 2: 1\ndetached: 5 6 7 8\n");
}

TEST_CASE("a stale head on a stack, and one whose nodes are no objects, are no lists") {
  Lists lists;
  lists.runtime.interpreters[0].collecting = true;
  const Address head = lists.Generation(2, {1, 2});
  lists.fake.AddThread(42, kStack + 0x800);
  lists.fake.WriteWords(kStack + 0x900, {Lists::Head(1), Lists::Head(2)});  // copied head of generation 2
  lists.Ring(kStack + 0xa00, {5, 6});
  lists.fake.WriteWords(lists.Object(6), {1, 0x1234});  // not a type
  (void)head;
  CHECK(lists.Text() == "gen 2: 1 2\n");
}

TEST_CASE("without registers in the dump any writable memory may hold the collector's stack") {
  Lists lists;
  lists.runtime.interpreters[0].collecting = true;
  lists.Generation(2, {1});
  lists.Ring(kStack + 0x808, {5, 6, 7});
  CHECK(lists.Text() == "gen 2: 1\ndetached: 5 6 7\n");
}

TEST_CASE("interpreters have their own lists from 3.9 on, and share them before") {
  Lists lists;
  lists.runtime.interpreters.resize(2);
  lists.runtime.interpreters[1].id = 1;
  lists.Generation(0, {1, 2}, 0);
  lists.Generation(0, {3}, 1);
  CHECK(lists.Text() == "interpreter 0 gen 0: 1 2\ninterpreter 1 gen 0: 3\n");
  Lists shared;
  shared.Generation(0, {1, 2}, 0);
  shared.runtime.interpreters.push_back(shared.runtime.interpreters[0]);
  CHECK(shared.Text() == "shared gen 0: 1 2\n");
}

TEST_CASE("the collecting thread tells whose detached list it is") {
  Lists lists;
  lists.runtime.interpreters.resize(2);
  lists.Generation(0, {1}, 0);
  lists.Generation(0, {2}, 1);
  for (auto& in : lists.runtime.interpreters) in.collecting = true;
  lists.runtime.interpreters[1].threads.push_back({0x9000, 0, 42});
  lists.Ring(kStack + 0x808, {5});
  lists.fake.AddThread(42, kStack + 0x800);
  CHECK(lists.Text() == "interpreter 0 gen 0: 1\ninterpreter 1 gen 0: 2\ninterpreter 1 detached: 5\n");
}

TEST_CASE("following the lists can be cancelled") {
  class Stop final : public ProgressSink {
   public:
    bool Update(std::string_view, std::uint64_t, std::uint64_t) override { return false; }
  } stop;
  test::FakeProcess fake;
  const int count = 300000;
  fake.Map(kHeads, 0x1000).Map(0x1000000, static_cast<std::uint64_t>(count) * 0x20 + 0x40);
  cpython::Runtime runtime;
  runtime.gc_head.pointer_mask = ~3ull;
  runtime.interpreters.resize(1);
  runtime.interpreters[0].generations.push_back({kHeads, 0, 0});
  fake.WriteWords(kHeads, {0x1000000, 0x1000000 + 0x20 * static_cast<Address>(count - 1)});
  for (int i = 0; i < count; ++i) {
    const Address a = 0x1000000 + 0x20 * static_cast<Address>(i);
    fake.WriteWords(a, {i + 1 < count ? a + 0x20 : kHeads, i > 0 ? a - 0x20 : kHeads});
  }
  const target::Process process = fake.Build();
  const auto found = FindObjectsInLists(
      process, runtime, {}, [](Address) { return true; }, stop);
  REQUIRE_FALSE(found);
  CHECK(found.error().code == ErrorCode::kCancelled);
  SilentProgress go_on;
  const auto all = FindObjectsInLists(
      process, runtime, {}, [](Address) { return true; }, go_on);
  REQUIRE(all);
  CHECK(all->objects == count);
}

}  // namespace
}  // namespace pygc::snapshot::gc_list_source_test
