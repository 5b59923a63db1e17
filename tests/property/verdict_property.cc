// The verdict on random heaps against a second, naive collector that works as CPython's does: lists of objects, quadratic, nothing shared with the
// first.
#include <doctest/doctest.h>

#include <set>

#include "core/analysis/verdict.h"
#include "tests/property/rounds.h"
#include "tests/support/graph_text.h"

namespace pygc::analysis {
namespace {

using graph::NodeId;

// One collection as written in CPython's comments: copy the counts, subtract internal references, move what is not reachable, set finalizers apart.
struct NaiveCollector {
  const heap::HeapSnapshot& heap;
  std::set<NodeId> unreachable, finalizers;
  std::set<NodeId> stuck;  // of `finalizers`, what is left and kept when all other garbage has been cleared
  bool too_low = false;    // a count is lower than the references to its object

  // `none`: references, by source and place among its successors, that are none.
  using References = std::set<std::pair<NodeId, std::size_t>>;

  NaiveCollector(const heap::HeapSnapshot& h, bool count_approximate, bool with_permanent, const std::set<NodeId>& emptied = {}, const References& none = {}) : heap(h) {
    std::set<NodeId> young;
    for (NodeId n = 0; n < h.size(); ++n) {
      const bool permanent = h.Generation(n) == heap::kPermanent;
      if (h.IsTracked(n) && h.refcount[n] != heap::kImmortal && (!permanent || with_permanent)) young.insert(n);
    }
    const auto interpreter = [&](NodeId n) { return h.interpreter.empty() ? 0 : h.interpreter[n]; };
    std::vector<long> gc_refs(h.size());
    for (const NodeId n : young) gc_refs[n] = h.refcount[n] >= heap::kSaturated ? 1'000'000'000L : static_cast<long>(h.refcount[n]);
    for (const NodeId n : young) {
      if ((h.flags[n] & heap::kApproximate) && !count_approximate) continue;
      std::size_t place = 0;
      for (const NodeId to : h.graph.Successors(n)) {
        if (none.count({n, place++}) == 0 && young.count(to) && interpreter(n) == interpreter(to)) --gc_refs[to];
      }
    }
    for (const NodeId n : young) too_low = too_low || gc_refs[n] < 0;
    std::set<NodeId> reachable;
    for (bool again = true; again;) {
      again = false;
      for (const NodeId n : young) {
        if (reachable.count(n)) continue;
        bool keep = gc_refs[n] != 0 || emptied.count(n);
        for (const NodeId r : reachable) {
          if (emptied.count(r)) continue;
          std::size_t place = 0;
          for (const NodeId to : h.graph.Successors(r)) keep = keep || (none.count({r, place++}) == 0 && to == n);
        }
        if (keep) {
          reachable.insert(n);
          again = true;
        }
      }
    }
    for (const NodeId n : young) {
      if (!reachable.count(n)) unreachable.insert(n);
    }
    for (const NodeId n : unreachable) {
      if (h.flags[n] & heap::kLegacyFinalizer) finalizers.insert(n);
    }
    for (bool again = true; again;) {
      again = false;
      for (const NodeId n : std::set<NodeId>(finalizers)) {
        for (const NodeId to : h.graph.Successors(n)) {
          if (unreachable.count(to)) again = finalizers.insert(to).second || again;
        }
      }
    }
    KeepWhatStays();
  }

  // One object after the other dies that no other of them refers to; the legacy finalizers among the rest stay, with what they reach.
  void KeepWhatStays() {
    std::set<NodeId> left = finalizers;
    const auto refers = [&](NodeId from, NodeId to) {
      for (const NodeId n : heap.graph.Successors(from)) {
        if (n == to) return true;
      }
      return false;
    };
    for (bool again = true; again;) {
      again = false;
      for (const NodeId n : std::set<NodeId>(left)) {
        bool held = false;
        for (const NodeId other : left) held = held || refers(other, n);
        if (held) continue;
        left.erase(n);
        again = true;
      }
    }
    for (const NodeId n : left) {
      if (heap.flags[n] & heap::kLegacyFinalizer) stuck.insert(n);
    }
    for (bool again = true; again;) {
      again = false;
      for (const NodeId n : left) {
        for (const NodeId by : std::set<NodeId>(stuck)) {
          if (refers(by, n)) again = stuck.insert(n).second || again;
        }
      }
    }
  }
};

// What is unreachable for any choice of references of approximate objects that are none and that leaves no count too low; tried one by one.
std::set<NodeId> UnreachableForSome(const heap::HeapSnapshot& h) {
  std::vector<std::pair<NodeId, std::size_t>> guessed;
  for (NodeId n = 0; n < h.size(); ++n) {
    if (!(h.flags[n] & heap::kApproximate)) continue;
    for (std::size_t place = 0; place < h.graph.Successors(n).size(); ++place) guessed.emplace_back(n, place);
  }
  std::set<NodeId> found;
  for (std::uint64_t choice = 0; choice < std::uint64_t{1} << guessed.size(); ++choice) {
    NaiveCollector::References none;
    for (std::size_t i = 0; i < guessed.size(); ++i) {
      if (choice >> i & 1) none.insert(guessed[i]);
    }
    const NaiveCollector one(h, true, false, {}, none);
    if (!one.too_low) found.insert(one.unreachable.begin(), one.unreachable.end());
  }
  return found;
}

// A heap of a dozen objects whose counts are right, but for some references from outside, and some of approximate objects that are none.
test::TextHeap RandomHeap(std::mt19937_64& random) {
  const int n = static_cast<int>(1 + random() % 12);
  std::vector<std::vector<int>> edges(static_cast<std::size_t>(n));
  std::vector<int> count(static_cast<std::size_t>(n)), approximate(static_cast<std::size_t>(n));
  for (int& is : approximate) is = random() % 6 == 0;
  std::size_t guessed = 0;
  for (std::uint64_t i = random() % (2 * static_cast<unsigned>(n) + 1); i > 0; --i) {
    const std::size_t from = random() % edges.size(), to = random() % edges.size();
    if (approximate[from] && ++guessed > 7) continue;  // the naive way tries all of their combinations
    edges[from].push_back(static_cast<int>(to));
    count[to] += approximate[from] ? static_cast<int>(random() % 2) : 1;
  }
  const bool interpreters = random() % 4 == 0;
  std::string text;
  for (std::size_t i = 0; i < edges.size(); ++i) {
    const int outside = random() % 4 == 0 ? 1 : 0;
    text += "n" + std::to_string(i) + ":T refs=";
    text += random() % 16 == 0 ? "immortal" : random() % 16 == 0 ? "saturated" : std::to_string(count[i] + outside);
    text += random() % 6 == 0 ? " gen=permanent" : random() % 12 == 0 ? " gen=none" : random() % 6 == 0 ? " gen=detached" : " gen=0";
    if (random() % 8 == 0) text += " del";
    if (approximate[i]) text += " approx";
    if (interpreters) text += " interp=" + std::to_string(random() % 2);
    for (std::size_t k = 0; k < edges[i].size(); ++k) text += (k == 0 ? " -> n" : ", n") + std::to_string(edges[i][k]);
    text += "\n";
  }
  if (random() % 2) {  // the first node plays gc.garbage, held by the collector
    text += "garbage-list: n0\ngarbage:";
    for (const int to : edges[0]) text += " n" + std::to_string(to);
    text += "\n";
  }
  return test::ParseHeap(text);
}

TEST_CASE("the replay finds what a naive collector finds") {
  test::ForSeeds(20000, [](std::mt19937_64& random) {
    const test::TextHeap text = RandomHeap(random);
    const heap::HeapSnapshot& h = text.heap;
    INFO(test::GraphText(h.graph));
    SilentProgress progress;
    const auto verdict = ReplayCollection(h, progress);
    REQUIRE(verdict);
    const auto names = [&](const std::set<NodeId>& nodes) { return text.NamesWhere([&](NodeId n) { return nodes.count(n) > 0; }); };

    const NaiveCollector lower(h, false, false), all(h, false, true);
    const std::set<NodeId> upper = UnreachableForSome(h);
    REQUIRE(text.Names(verdict->unreachable_set) == names(lower.unreachable));
    REQUIRE(verdict->unreachable_upper == upper.size());
    REQUIRE((verdict->certainty == Certainty::kExact) == (upper == lower.unreachable));
    for (const NodeId n : upper) REQUIRE(!verdict->IsKnownInUse(n));
    REQUIRE(verdict->kept_by_finalizer == lower.stuck.size());
    for (const NodeId n : lower.unreachable) REQUIRE(verdict->IsStuck(n) == (lower.stuck.count(n) || verdict->in_garbage[n]));
    for (const NodeId n : lower.unreachable) {
      const bool stuck = lower.finalizers.count(n) || verdict->in_garbage[n];
      REQUIRE(verdict->state[n] == (stuck ? State::kUncollectable : State::kUnreachable));
    }
    std::set<NodeId> frozen;
    for (const NodeId n : all.unreachable) {
      if (h.Generation(n) == heap::kPermanent) frozen.insert(n);
    }
    REQUIRE(text.NamesWhere([&](NodeId n) { return verdict->frozen[n]; }) == names(frozen));
    if (h.interpreters[0].garbage_list_node != graph::kNoNode && h.IsTracked(0) && h.refcount[0] != heap::kImmortal &&
        h.Generation(0) != heap::kPermanent && !(h.flags[0] & heap::kApproximate) && h.interpreter.empty()) {
      NaiveCollector emptied(h, false, false, {0});
      for (const NodeId n : lower.unreachable) emptied.unreachable.erase(n);
      emptied.unreachable.erase(0);
      if (!h.interpreters[0].garbage.empty()) REQUIRE(text.Names(verdict->held_by_garbage) == names(emptied.unreachable));
    }
  });
}

}  // namespace
}  // namespace pygc::analysis
