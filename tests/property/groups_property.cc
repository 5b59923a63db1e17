// Groups of random excerpts: every object in one group, sums that close, and equality that does not depend on addresses.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "core/analysis/groups.h"
#include "tests/property/rounds.h"
#include "tests/support/graph_text.h"

namespace pygc::analysis {
namespace {

struct Edge {
  int to;
  std::string label;
};
using Shape = std::vector<std::pair<std::string, std::vector<Edge>>>;  // type and edges of each object

// A ring with chords and a tail, so that there is a cycle and something that hangs on it.
Shape RandomShape(std::mt19937_64& random) {
  const int n = static_cast<int>(1 + random() % 4), tail = static_cast<int>(random() % 3);
  Shape shape;
  for (int i = 0; i < n; ++i) {
    shape.push_back({random() % 2 ? "app.A" : "app.B", {{(i + 1) % n, ".n" + std::to_string(random() % 2)}}});
    if (random() % 3 == 0) shape.back().second.push_back({static_cast<int>(random() % static_cast<unsigned>(n)), ".c"});
  }
  for (int i = 0; i < tail; ++i) {
    shape[random() % shape.size()].second.push_back({static_cast<int>(shape.size()), ".t"});
    shape.push_back({"tuple", {}});
  }
  return shape;
}

// Writes the shapes with their objects in any order.
std::string Shuffled(std::mt19937_64& random, const std::vector<Shape>& shapes) {
  std::vector<std::pair<int, int>> objects;
  for (std::size_t s = 0; s < shapes.size(); ++s) {
    for (std::size_t o = 0; o < shapes[s].size(); ++o) objects.emplace_back(s, o);
  }
  std::shuffle(objects.begin(), objects.end(), random);
  std::string text;
  const auto name = [](int s, int o) { return "s" + std::to_string(s) + "o" + std::to_string(o); };
  for (const auto& [s, o] : objects) {
    const auto& [type, edges] = shapes[static_cast<std::size_t>(s)][static_cast<std::size_t>(o)];
    text += name(s, o) + ":" + type;
    for (std::size_t e = 0; e < edges.size(); ++e) text += std::string(e == 0 ? " -> " : ", ") + edges[e].label + " " + name(s, edges[e].to);
    text += "\n";
  }
  return text;
}

// Fingerprint -> how many structures have it.
std::map<std::uint64_t, std::uint64_t> Census(const std::string& source, std::uint64_t* held) {
  const test::TextHeap text = test::ParseHeap(source);
  SilentProgress progress;
  const auto verdict = ReplayCollection(text.heap, progress);
  REQUIRE(verdict);
  REQUIRE(verdict->unreachable == text.heap.size());
  const heap::Excerpt excerpt = test::ExcerptOf(text, LeakedNodes(*verdict));
  const auto groups = GroupStructures(text.heap, *verdict, excerpt, progress);
  REQUIRE(groups);
  std::map<std::uint64_t, std::uint64_t> census;
  std::uint64_t objects = 0, bytes = 0;
  *held = 0;
  std::vector<std::uint64_t> in_group(groups->groups.size());
  for (const std::uint32_t g : groups->group_of) ++in_group[g];
  for (std::size_t i = 0; i < groups->groups.size(); ++i) {
    const Group& g = groups->groups[i];
    REQUIRE(g.heads.size() == g.count);
    REQUIRE(std::is_sorted(g.heads.begin(), g.heads.end()));
    REQUIRE(in_group[i] == g.objects + g.held_objects);
    for (const graph::NodeId head : g.heads) REQUIRE(excerpt.type[head] == g.type);
    census[g.fingerprint] += g.count;
    objects += g.objects + g.held_objects;
    bytes += g.bytes + g.held_bytes;
    *held += g.held_objects;
    std::uint64_t members = 0;
    for (const GroupTypeCount& c : g.members) members += c.objects;
    REQUIRE(members * g.count == g.objects);
  }
  REQUIRE(objects == excerpt.size());
  REQUIRE(bytes == 100 * objects);
  return census;
}

TEST_CASE("copies of structures in any order of addresses fall into the same groups") {
  test::ForSeeds(600, [](std::mt19937_64& random) {
    std::vector<Shape> shapes;
    for (std::uint64_t i = 1 + random() % 3; i > 0; --i) shapes.push_back(RandomShape(random));
    std::vector<Shape> copies;
    const std::uint64_t times = 1 + random() % 4;
    for (std::uint64_t i = 0; i < times; ++i) copies.insert(copies.end(), shapes.begin(), shapes.end());
    std::uint64_t held_once = 0, held_often = 0;
    const std::string text = Shuffled(random, copies);
    INFO(text);
    auto once = Census(Shuffled(random, shapes), &held_once);
    const auto often = Census(text, &held_often);
    for (auto& [fingerprint, count] : once) count *= times;
    REQUIRE(once == often);
    REQUIRE(held_often == times * held_once);
  });
}

}  // namespace
}  // namespace pygc::analysis
