// Lost structures on parts made by hand: which item is the head, what hangs on it, which cycle cannot be seen.
#include "core/analysis/lost_structures.h"

#include <doctest/doctest.h>

#include <tuple>
#include <vector>

namespace pygc::analysis {
namespace {

using heap::LinkKind;

/// Objects 0 .. objects - 1 with the node ids 10, 11, ...; then `blocks` native blocks. Edges (from, to, kind), sorted by from.
heap::ReferenceAudit Part(std::uint32_t objects, std::uint32_t blocks, const std::vector<std::tuple<std::uint32_t, std::uint32_t, LinkKind>>& edges) {
  heap::ReferenceAudit counts;
  for (std::uint32_t i = 0; i < objects; ++i) counts.lost.items.push_back({10 + i, {}, true});
  for (std::uint32_t i = 0; i < blocks; ++i) counts.lost.items.push_back({graph::kNoNode, {0x1000 + i * 0x100, 0x1080 + i * 0x100}, false});
  std::vector<std::uint32_t> offsets{0};
  std::vector<graph::NodeId> targets;
  for (std::uint32_t i = 0; i < objects + blocks; ++i) {
    for (const auto& [from, to, kind] : edges) {
      if (from != i) continue;
      targets.push_back(to);
      counts.lost.link.push_back(kind);
    }
    offsets.push_back(static_cast<std::uint32_t>(targets.size()));
  }
  counts.lost.graph = graph::CsrGraph(std::move(offsets), std::move(targets));
  return counts;
}

CountAudit TooHigh(const std::vector<std::uint32_t>& objects) {
  CountAudit audit;
  for (const std::uint32_t i : objects) audit.findings.push_back({10 + i, 0, CountFindingKind::kLost, 2, 1, 0});
  return audit;
}

TEST_CASE("a cycle through a native block is hidden; it is shown through the block, and what hangs on it is not part of it") {
  // 0 -> 1 (visited) -> block 3 -> 0; 1 -> 2.
  const auto counts = Part(3, 1, {{0, 1, LinkKind::kVisited}, {1, 3, LinkKind::kBlock}, {1, 2, LinkKind::kVisited}, {3, 0, LinkKind::kBlock}});
  const auto found = FindLostStructures(counts, {});
  REQUIRE(found.size() == 1);
  CHECK(found[0].kind == CountFindingKind::kHiddenCycle);
  CHECK(found[0].cycle == std::vector<std::uint32_t>{1, 3, 0});
  CHECK(found[0].members == std::vector<std::uint32_t>{0, 1});
  CHECK(found[0].held == std::vector<std::uint32_t>{2});
}

TEST_CASE("a cycle through what may be an object whose count is not explained is none for certain") {
  auto counts = Part(1, 1, {{0, 1, LinkKind::kBlock}, {1, 0, LinkKind::kBlock}});
  CHECK(FindLostStructures(counts, {}).size() == 1);
  counts.lost.items[1].count_unexplained = true;
  CHECK(FindLostStructures(counts, {}).empty());
}

TEST_CASE("a cycle that is all visited is the collector's matter; one with an owned reference or a word is not") {
  CHECK(FindLostStructures(Part(2, 0, {{0, 1, LinkKind::kVisited}, {1, 0, LinkKind::kVisited}}), {}).empty());
  CHECK(FindLostStructures(Part(2, 0, {{0, 1, LinkKind::kVisited}, {1, 0, LinkKind::kOwned}}), {}).size() == 1);
  const auto itself = FindLostStructures(Part(1, 0, {{0, 0, LinkKind::kWord}}), {});
  REQUIRE(itself.size() == 1);
  CHECK(itself[0].cycle == std::vector<std::uint32_t>{0});
  auto guessed = Part(2, 0, {{0, 1, LinkKind::kVisited}, {1, 0, LinkKind::kWord}});
  guessed.lost.items[1].traversal_guessed = true;  // a tp_traverse that could not be run may visit that word
  CHECK(FindLostStructures(guessed, {}).empty());
  guessed.lost.link[1] = LinkKind::kOwned;  // or that name
  CHECK(FindLostStructures(guessed, {}).empty());
  // By way of memory that the guessed traversal may go through; an edge of an object whose traversal is known is hidden all the same.
  auto through = Part(2, 1, {{0, 1, LinkKind::kVisited}, {1, 2, LinkKind::kBlock}, {2, 0, LinkKind::kBlock}});
  CHECK(FindLostStructures(through, {}).size() == 1);
  through.lost.items[1].traversal_guessed = true;
  CHECK(FindLostStructures(through, {}).empty());
  through.lost.link[0] = LinkKind::kWord;
  CHECK(FindLostStructures(through, {}).size() == 1);
}

TEST_CASE("a count that is too high makes a head; a hidden cycle that hangs on it is no finding of its own") {
  // 0 (too high) -> 1 <-> 2 hidden.
  const auto counts = Part(3, 0, {{0, 1, LinkKind::kVisited}, {1, 2, LinkKind::kWord}, {2, 1, LinkKind::kVisited}});
  const auto found = FindLostStructures(counts, TooHigh({0}));
  REQUIRE(found.size() == 1);
  CHECK(found[0].kind == CountFindingKind::kLost);
  CHECK(found[0].head == 0);
  CHECK(found[0].held == std::vector<std::uint32_t>{1, 2});
}

TEST_CASE("a hidden cycle to which another one leads keeps itself; a cycle that the collector would see hangs on it") {
  // 0 <-> block 5 (hidden) -> 1 <-> 2 (hidden) -> 3 <-> 4 (visited).
  const auto found = FindLostStructures(Part(5, 1, {{0, 5, LinkKind::kBlock}, {1, 2, LinkKind::kVisited}, {2, 1, LinkKind::kOwned}, {2, 3, LinkKind::kVisited}, {3, 4, LinkKind::kVisited},
                                                    {4, 3, LinkKind::kVisited}, {5, 0, LinkKind::kBlock}, {5, 1, LinkKind::kBlock}}), {});
  REQUIRE(found.size() == 2);
  std::vector<std::vector<std::uint32_t>> members, held;
  for (const LostStructure& s : found) {
    CHECK(s.kind == CountFindingKind::kHiddenCycle);
    members.push_back(s.members);
    held.push_back(s.held);
  }
  const bool first_is_second = members[0] == std::vector<std::uint32_t>{1, 2};
  CHECK(members[first_is_second ? 1 : 0] == std::vector<std::uint32_t>{0});
  CHECK(members[first_is_second ? 0 : 1] == std::vector<std::uint32_t>{1, 2});
  CHECK(held[0].size() + held[1].size() == 2);  // 3 and 4, with the first that leads there
}

TEST_CASE("what hangs on two heads is counted once, and a head hangs on nobody") {
  const auto counts = Part(4, 0, {{0, 1, LinkKind::kVisited}, {0, 2, LinkKind::kVisited}, {1, 2, LinkKind::kVisited}, {1, 3, LinkKind::kVisited}});
  const auto found = FindLostStructures(counts, TooHigh({0, 1}));
  REQUIRE(found.size() == 2);
  CHECK(found[0].held == std::vector<std::uint32_t>{2});
  CHECK(found[1].held == std::vector<std::uint32_t>{3});
}

TEST_CASE("without all memory nothing is called lost") {
  auto counts = Part(1, 0, {{0, 0, LinkKind::kWord}});
  counts.surplus_doubts.push_back("412 MiB of memory are missing");
  CHECK(FindLostStructures(counts, {}).empty());
}

}  // namespace
}  // namespace pygc::analysis
