#include "core/analysis/verdict.h"

#include <doctest/doctest.h>

#include "tests/support/graph_text.h"

namespace pygc::analysis {
namespace {

using test::ParseHeap;
using test::TextHeap;

Verdict Replay(const TextHeap& text) {
  SilentProgress progress;
  auto verdict = ReplayCollection(text.heap, progress);
  REQUIRE(verdict);
  return *std::move(verdict);
}

// "unreachable: ...", "uncollectable: ..." and, where there are such, "frozen: ..." for a heap as text.
std::string VerdictText(const char* source) {
  const TextHeap text = ParseHeap(source);
  const Verdict v = Replay(text);
  std::string out = "unreachable: " + text.Names(v.unreachable_set) + "\n";
  const std::string stuck = text.NamesWhere([&](auto n) { return v.state[n] == State::kUncollectable; });
  if (stuck != "none") out += "uncollectable: " + stuck + "\n";
  const std::string frozen = text.NamesWhere([&](auto n) { return v.frozen[n]; });
  if (frozen != "none") out += "frozen: " + frozen + "\n";
  CHECK(v.unreachable == v.unreachable_set.Count());
  CHECK(v.collectable + v.kept_by_finalizer == v.unreachable);
  InterpreterTotals sum;
  for (const InterpreterTotals& t : v.interpreters) {
    sum.unreachable += t.unreachable;
    sum.collectable += t.collectable;
    sum.uncollectable += t.uncollectable;
    sum.frozen += t.frozen;
  }
  CHECK(sum.unreachable == v.unreachable);
  CHECK(sum.collectable == v.collectable);
  CHECK(sum.uncollectable == v.uncollectable);
  CHECK(sum.frozen == v.frozen_count);
  return out;
}

TEST_CASE("a cycle with one reference from outside stays reachable") {
  CHECK(VerdictText("a:list refs=2 -> b\n"
                    "b:dict refs=1 -> a\n") == "unreachable: none\n");
}

TEST_CASE("a cycle that only refers to itself is unreachable, and so is what hangs on it") {
  CHECK(VerdictText("r:module refs=1 -> x\n"
                    "x:dict\n"
                    "a:list -> b\n"
                    "b:dict -> a, c\n"
                    "c:tuple -> x\n") == "unreachable: a b c\n");
}

TEST_CASE("what a reachable object refers to stays, also inside a cycle") {
  CHECK(VerdictText("r:dict refs=1 -> a\n"
                    "a:list -> b\n"
                    "b:list -> a\n") == "unreachable: none\n");
}

TEST_CASE("immortal and saturated counts keep their objects") {
  CHECK(VerdictText("a:type refs=immortal -> b\nb:dict -> a\n") == "unreachable: none\n");
  CHECK(VerdictText("a:type refs=saturated -> b\nb:dict -> a\n") == "unreachable: none\n");
}

TEST_CASE("references of untracked and immortal objects are references from outside") {
  CHECK(VerdictText("t:tuple gen=none refs=0 -> a\na:list -> a\n") == "unreachable: none\n");
}

TEST_CASE("an object that a collection in progress has put aside is judged like any other") {
  CHECK(VerdictText("a:list gen=detached -> b\nb:list gen=detached -> a\n") == "unreachable: a b\n");
  CHECK(VerdictText("a:list gen=detached refs=2 -> b\nb:list gen=detached -> a\n") == "unreachable: none\n");
}

TEST_CASE("a legacy finalizer keeps itself and everything it reaches from being freed") {
  CHECK(VerdictText("a:P del -> b\n"
                    "b:dict -> a, c\n"
                    "c:file\n"
                    "d:list -> d, a\n") == "unreachable: a b c d\nuncollectable: a b c\n");
}

TEST_CASE("what hangs on cycles that the collector frees goes with them, legacy finalizer or not") {
  // h hangs on c; y, which only h leads to, is a cycle that the next collection finds. f and s are in cycles of their own, z hangs on both.
  const TextHeap text = ParseHeap("c:list -> c, h\n"
                                  "h:P del -> x, y\n"
                                  "x:dict -> k\n"
                                  "k:P del\n"
                                  "y:list -> y\n"
                                  "e:list -> e, f\n"
                                  "f:P del -> f, z\n"
                                  "s:dict -> s, t\n"
                                  "t:P del -> s, z\n"
                                  "z:P del\n");
  const Verdict v = Replay(text);
  CHECK(text.NamesWhere([&](auto n) { return v.state[n] == State::kUncollectable; }) == "h x k y f s t z");
  CHECK(text.NamesWhere([&](auto n) { return v.IsStuck(n); }) == "f s t z");
  CHECK(v.collectable == 6);
  CHECK(v.uncollectable == 4);
  CHECK(v.kept_by_finalizer == 4);
  CHECK(v.interpreters[0].collectable == 6);
  CHECK(v.interpreters[0].uncollectable == 4);
  graph::NodeSet kept(text.heap.size());
  for (const char* const name : {"h", "x", "k", "y", "f", "s", "t", "z"}) kept.Insert(text.Node(name));
  CHECK(text.Names(LeftWhenCyclesAreCleared(text.heap, kept)) == "y f s t z");
}

TEST_CASE("where something is missing, only what known roots and immortal objects lead to is known to be in use") {
  const TextHeap text = ParseHeap("m:dict refs=2 -> a\n"
                                  "a:list -> t, g\n"
                                  "t:tuple gen=none\n"
                                  "g:list approx -> h\n"
                                  "h:list\n"
                                  "i:type refs=immortal -> j\n"
                                  "j:list\n"
                                  "u:list refs=2 -> v\n"
                                  "v:list\n"
                                  "w:list -> w\n");
  Verdict v = Replay(text);
  const auto named = [&](std::string_view state) { return text.NamesWhere([&](auto n) { return v.StateText(n) == state; }); };
  CHECK(named("reachable") == "m a t g h i j u v");
  const std::vector<graph::NodeId> roots{text.Node("m")};
  FindNotKnown(text.heap, roots, v);
  CHECK(named("reachable") == "m a t g i j");
  CHECK(named("") == "h u v");
  CHECK(named("unreachable") == "w");
}

TEST_CASE("a reachable object with a legacy finalizer is not uncollectable") {
  CHECK(VerdictText("a:P del refs=2 -> b\nb:dict -> a\n") == "unreachable: none\n");
}

TEST_CASE("what only gc.garbage keeps alive is uncollectable, but not what a collection would find") {
  CHECK(VerdictText("g:list refs=2 -> a\n"
                    "a:P del -> d\n"
                    "d:dict -> a, f\n"
                    "f:file\n"
                    "garbage: a\n"
                    "garbage-list: g\n") == "unreachable: none\nuncollectable: a d f\n");
  // The same where the list itself was not read.
  CHECK(VerdictText("a:P del refs=2 -> d\n"
                    "d:dict -> a, f\n"
                    "f:file\n"
                    "garbage: a\n") == "unreachable: none\nuncollectable: a d f\n");
}

TEST_CASE("an item of gc.garbage that something else holds is in gc.garbage and nothing more") {
  CHECK(VerdictText("g:list refs=2 -> a\n"
                    "a:P refs=3 -> d\n"
                    "d:dict -> a\n"
                    "garbage: a\n"
                    "garbage-list: g\n") == "unreachable: none\nuncollectable: a\n");
}

TEST_CASE("what emptying gc.garbage would free by counting alone is no cycle and keeps its state") {
  CHECK(VerdictText("g:list refs=2 -> a\n"
                    "a:P -> d\n"
                    "d:dict -> x\n"
                    "x:list -> x\n"
                    "garbage: a\n"
                    "garbage-list: g\n") == "unreachable: none\nuncollectable: a x\n");
}

TEST_CASE("an item that lies in gc.garbage twice is held twice") {
  CHECK(VerdictText("g:list refs=2 -> a, a\n"
                    "a:P -> a\n"
                    "garbage: a a\n"
                    "garbage-list: g\n") == "unreachable: none\nuncollectable: a\n");
}

TEST_CASE("unreachable objects of the permanent generation are frozen and stay reachable by state") {
  CHECK(VerdictText("a:list gen=permanent -> b\n"
                    "b:list gen=permanent -> a, y\n"
                    "y:dict\n"
                    "k:list gen=permanent refs=2 -> k\n") == "unreachable: none\nfrozen: a b\n");
}

TEST_CASE("an interpreter's collector takes references from another interpreter for references from outside") {
  CHECK(VerdictText("a:list interp=0 -> b\n"
                    "b:list interp=1 -> a\n"
                    "c:list interp=1 -> c\n") == "unreachable: c\n");
}

TEST_CASE("more references than counted: the object stays from 3.8 on, and falls before") {
  TextHeap text = ParseHeap("a:list refs=1 -> b, b\nb:list refs=1 -> a\n");
  Verdict v = Replay(text);
  CHECK(text.Names(v.unreachable_set) == "none");
  CHECK(v.negative_counts == 1);
  CHECK(v.certainty == Certainty::kLowerBound);
  CHECK(v.unreachable_upper == 2);
  text.heap.deficit_stays_zero = true;
  v = Replay(text);
  CHECK(text.Names(v.unreachable_set) == "a b");
  CHECK(v.certainty == Certainty::kUnverifiable);
}

TEST_CASE("a count that is too low of an object that others hold as well changes nothing") {
  const Verdict v = Replay(ParseHeap("k:list refs=2 -> a, a\na:list refs=1\n"));
  CHECK(v.negative_counts == 1);
  CHECK(v.unreachable_upper == 0);
  CHECK(v.certainty == Certainty::kExact);
}

TEST_CASE("an approximate reference that decides the verdict makes it a lower bound") {
  const TextHeap text = ParseHeap(
      "a:X approx -> b\n"
      "b:list -> a\n"
      "c:list -> c\n");
  const Verdict v = Replay(text);
  CHECK(text.Names(v.unreachable_set) == "c");
  CHECK(v.unreachable_upper == 3);
  CHECK(v.certainty == Certainty::kLowerBound);
  CHECK(text.NamesWhere([&](auto n) { return *v.StateText(n) == '\0'; }) == "a b");
}

TEST_CASE("an approximate reference that decides nothing leaves the verdict exact") {
  const TextHeap text = ParseHeap(
      "a:X approx refs=1 -> b\n"
      "b:list refs=2 -> b\n"
      "c:list -> c\n");
  const Verdict v = Replay(text);
  CHECK(text.Names(v.unreachable_set) == "c");
  CHECK(v.certainty == Certainty::kExact);
  CHECK(text.NamesWhere([&](auto n) { return *v.StateText(n) == '\0'; }) == "none");
}

TEST_CASE("an approximate reference is followed, so that nothing is called unreachable that it may reach; where the count refutes it nothing is known") {
  const TextHeap text = ParseHeap(
      "a:X approx refs=1 -> b\n"
      "b:list refs=1 -> b\n");
  const Verdict v = Replay(text);
  CHECK(text.Names(v.unreachable_set) == "none");
  CHECK(v.unreachable_upper == 1);
  CHECK(v.certainty == Certainty::kLowerBound);
  CHECK(text.NamesWhere([&](auto n) { return *v.StateText(n) == '\0'; }) == "b");
}

TEST_CASE("an approximate object in use explains a count, one that may be unreachable itself does not") {
  const TextHeap text = ParseHeap(
      "a:X approx refs=1 -> b\n"
      "b:list refs=2 -> b, c\n"
      "c:Y approx -> d\n"
      "d:list refs=2 -> d\n"
      "e:X approx -> f\n"
      "f:list refs=2 -> f, e\n");
  const Verdict v = Replay(text);
  CHECK(v.unreachable_upper == 2);
  CHECK(text.NamesWhere([&](auto n) { return *v.StateText(n) == '\0'; }) == "e f");
}

TEST_CASE("references that were lost make the verdict a lower bound, except where their object is alive anyway") {
  // n is really held by l's lost item alone: both would be garbage.
  const char* const kLost = "m:dict refs=1 -> x\nx:list incomplete\nn:Node refs=1 -> l\nl:list incomplete\nc:list -> c\nroots: m\n";
  const TextHeap text = ParseHeap(kLost);
  const Verdict v = Replay(text);
  CHECK(text.Names(v.unreachable_set) == "c");
  CHECK(v.certainty == Certainty::kLowerBound);
  CHECK(v.unreachable_upper == Verdict::kNoBound);
  CHECK(Replay(ParseHeap("m:dict refs=1 -> x\nx:list incomplete\nroots: m\n")).certainty == Certainty::kExact);
  CHECK(Replay(ParseHeap("m:dict refs=1 -> x\nx:list incomplete\n")).certainty == Certainty::kLowerBound);
  CHECK(Replay(ParseHeap("x:list incomplete gen=none refs=1\n")).certainty == Certainty::kExact);
}

TEST_CASE("objects that were not read make the verdict a lower bound") {
  TextHeap text = ParseHeap("c:list -> c\n");
  text.heap.coverage.lists_complete = false;
  CHECK(Replay(text).certainty == Certainty::kLowerBound);
  CHECK(Replay(text).unreachable_upper == Verdict::kNoBound);
}

TEST_CASE("more than 255 references to one object are counted") {
  std::string source = "hub:dict refs=1000 -> hub\n";
  for (int i = 0; i < 999; ++i) source += "n" + std::to_string(i) + ":list refs=1 -> hub\n";
  source += "o:list -> hub\n";  // not counted in hub's refs=1000: 1 + 999 + 1 found, one more than recorded
  const TextHeap text = ParseHeap(source);
  const Verdict v = Replay(text);
  CHECK(v.negative_counts == 1);
}

TEST_CASE("a cancelled replay says so") {
  class Stop final : public ProgressSink {
   public:
    bool Update(std::string_view, std::uint64_t, std::uint64_t) override { return false; }
  } stop;
  const TextHeap text = ParseHeap("a:list -> a\n");
  const auto verdict = ReplayCollection(text.heap, stop);
  REQUIRE_FALSE(verdict);
  CHECK(verdict.error().code == ErrorCode::kCancelled);
}

}  // namespace
}  // namespace pygc::analysis
