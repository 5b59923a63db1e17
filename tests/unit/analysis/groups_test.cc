#include "core/analysis/groups.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "core/analysis/fingerprint.h"
#include "tests/support/graph_text.h"

namespace pygc::analysis {
namespace {

using test::ExcerptOf;
using test::ParseHeap;
using test::TextHeap;

const char* ReasonText(GroupReason reason) {
  switch (reason) {
    case GroupReason::kCycle:
      return "cycle";
    case GroupReason::kFinalizer:
      return "finalizer";
    case GroupReason::kLegacyFinalizer:
      return "legacy-finalizer";
    case GroupReason::kHeldByLegacy:
      return "held-by-legacy";
    case GroupReason::kInGarbage:
      return "in-garbage";
    case GroupReason::kHeldByGarbage:
      return "held-by-garbage";
    case GroupReason::kFrozen:
      return "frozen";
  }
  return "?";
}

struct Grouped {
  TextHeap text;
  heap::Excerpt excerpt;
  Groups groups;
};

Grouped GroupsOf(const std::string& source) {
  Grouped g;
  g.text = ParseHeap(source);
  SilentProgress progress;
  auto verdict = ReplayCollection(g.text.heap, progress);
  REQUIRE(verdict);
  g.excerpt = ExcerptOf(g.text, LeakedNodes(*verdict));
  auto groups = GroupStructures(g.text.heap, *verdict, g.excerpt, progress);
  REQUIRE(groups);
  g.groups = *std::move(groups);
  std::uint64_t objects = 0;  // every object once
  for (const Group& group : g.groups.groups) objects += group.objects + group.held_objects;
  CHECK(objects == g.excerpt.size());
  return g;
}

// One line a group: severity, reason, count x type, member and held types with counts, bytes, the cycle with labels.
std::string GroupsText(const std::string& source) {
  const Grouped g = GroupsOf(source);
  std::string out;
  const auto types = [&](const std::vector<GroupTypeCount>& counts) {
    std::string text;
    for (const GroupTypeCount& c : counts) text += (text.empty() ? "" : ", ") + std::to_string(c.objects) + " " + g.excerpt.types[c.type].name;
    return text;
  };
  for (const Group& group : g.groups.groups) {
    out += group.definite ? "definite " : "pending ";
    out += std::string(ReasonText(group.reason)) + " " + std::to_string(group.count) + " x " + g.excerpt.types[group.type].name;
    out += " [" + types(group.members) + "] " + std::to_string(group.bytes) + " B";
    if (group.held_objects > 0) out += " + {" + types(group.held) + "} " + std::to_string(group.held_bytes) + " B";
    if (group.shared_objects > 0) out += " (" + std::to_string(group.shared_objects) + " shared)";
    if (group.order_undefined) out += " order undefined";
    out += "\n ";
    for (const CycleStep& step : group.cycle) out += " " + g.text.names[g.excerpt.node[step.node]] + " " + g.excerpt.label_texts[step.label];
    out += "\n";
  }
  return out;
}

TEST_CASE("equal structures are one group with a count, whatever their addresses and the order of their objects") {
  CHECK(GroupsText("a:app.Holder -> .closed m, .file f1\n"
                   "m:method -> .__self__ a\n"
                   "f1:file\n"
                   "n:method -> .__self__ b\n"
                   "f2:file\n"
                   "b:app.Holder -> .closed n, .file f2\n") ==
        "pending cycle 2 x app.Holder [1 app.Holder, 1 method] 400 B + {2 file} 200 B\n"
        "  a .closed m .__self__\n");
}

TEST_CASE("of several cycles in one structure the same is told, whichever object lies first") {
  const auto cycle_of = [](const std::string& source) {
    const Grouped g = GroupsOf(source);
    REQUIRE(g.groups.groups.size() == 1);
    std::vector<std::string> labels;
    for (const CycleStep& step : g.groups.groups[0].cycle) labels.push_back(g.excerpt.label_texts[step.label]);
    std::sort(labels.begin(), labels.end());
    return labels;
  };
  const std::string a = "a:N -> .p b\n", b = "b:N -> .q a, .r c\n", c = "c:N -> .s b\n";
  const std::vector<std::string> told = cycle_of(a + b + c);
  CHECK(told.size() == 2);
  for (const std::string& other : {a + c + b, b + a + c, b + c + a, c + a + b, c + b + a}) CHECK(cycle_of(other) == told);
}

TEST_CASE("other types, shapes or labels make other groups") {
  CHECK(GroupsOf("a:list -> [0] a\nb:dict -> [0] b\n").groups.groups.size() == 2);
  CHECK(GroupsOf("a:list -> [0] a\nb:list -> [1] b\n").groups.groups.size() == 2);
  CHECK(GroupsOf("a:list -> [0] a\nb:list -> [0] b, [0] b\n").groups.groups.size() == 2);
  CHECK(GroupsOf("a:N -> .n b\nb:N -> .n c\nc:N -> .n a\nx:N -> .n y\ny:N -> .n x\n").groups.groups.size() == 2);
  // Same members and number of references, labels and degrees; only where they lead differs.
  CHECK(GroupsOf("a:P -> .n b\nb:Q -> .n c\nc:P -> .n d\nd:Q -> .n a\n"
                 "x:P -> .n y\ny:P -> .n z\nz:Q -> .n w\nw:Q -> .n x\n")
            .groups.groups.size() == 2);
}

TEST_CASE("functions, frames and generators that the source calls otherwise make other groups, the same ones of other addresses do not") {
  const std::string one = "f:function code=A.make.<locals>.handler -> .__closure__ c\nc:cell -> .cell_contents f\n";
  CHECK(GroupsOf(one + "g:function code=A.make.<locals>.handler -> .__closure__ d\nd:cell -> .cell_contents g\n").groups.groups.size() == 1);
  CHECK(GroupsOf(one + "g:function code=B.make.<locals>.handler -> .__closure__ d\nd:cell -> .cell_contents g\n").groups.groups.size() == 2);
  CHECK(GroupsOf("e:ValueError -> .__traceback__ t\nt:traceback -> .tb_frame f\nf:frame code=load -> .x e\n"
                 "h:ValueError -> .__traceback__ u\nu:traceback -> .tb_frame g\ng:frame code=save -> .x h\n")
            .groups.groups.size() == 2);
}

TEST_CASE("uncollectable structures are one group whether or not the collector has put them into gc.garbage yet") {
  const std::string source =
      "g:list refs=2 -> [0] a\n"
      "a:app.P del -> .d d\n"
      "d:dict -> ['me'] a\n"
      "b:app.P del -> .d e\n"
      "e:dict -> ['me'] b\n"
      "garbage: a\n"
      "garbage-list: g\n";
  CHECK(GroupsText(source) ==
        "definite legacy-finalizer 2 x app.P [1 app.P, 1 dict] 400 B\n"
        "  a .d d ['me']\n");
  CHECK(GroupsOf(source).groups.groups[0].in_garbage == 1);
}

TEST_CASE("what has another reason or severity is another group") {
  CHECK(GroupsText("p:app.Q -> .x x\n"
                   "x:app.P del -> .x x\n"
                   "q:app.P -> .x q\n") ==
        "definite legacy-finalizer 1 x app.P [1 app.P] 100 B\n"
        "  x .x\n"
        "pending cycle 1 x app.Q [1 app.Q] 100 B\n"
        " \n"
        "pending cycle 1 x app.P [1 app.P] 100 B\n"
        "  q .x\n");
}

TEST_CASE("a group in gc.garbage tells how many of its objects lie there") {
  const Grouped g = GroupsOf(
      "g:list refs=2 -> [0] a, [1] d\n"
      "a:app.P -> .d d\n"
      "d:dict -> ['me'] a\n"
      "garbage: a d\n"
      "garbage-list: g\n");
  REQUIRE(g.groups.groups.size() == 1);
  CHECK(g.groups.groups[0].in_garbage == 2);
  CHECK(g.groups.groups[0].reason == GroupReason::kInGarbage);
}

TEST_CASE("an item of gc.garbage without a cycle stands for itself") {
  CHECK(GroupsText("g:list refs=2 -> [0] a\n"
                   "a:app.P -> .f f\n"
                   "f:file\n"
                   "garbage: a\n"
                   "garbage-list: g\n") ==
        "definite in-garbage 1 x app.P [1 app.P] 100 B + {1 file} 100 B\n"
        " \n");
}

TEST_CASE("a cycle that hangs on another is a group of its own, since both must be broken") {
  CHECK(GroupsText("a:app.A -> .a a, .b b\n"
                   "b:app.B -> .b b, .t t\n"
                   "t:tuple size=1000\n") ==
        "pending cycle 1 x app.B [1 app.B] 100 B + {1 tuple} 1000 B\n"
        "  b .b\n"
        "pending cycle 1 x app.A [1 app.A] 100 B\n"
        "  a .a\n");
}

TEST_CASE("what hangs on several groups is counted once and said to be shared") {
  const Grouped g = GroupsOf(
      "a:app.A -> .a a, .t t\n"
      "b:app.B -> .b b, .t t\n"
      "t:tuple -> u\n"
      "u:tuple\n"
      "v:app.A -> .a v\n");
  REQUIRE(g.groups.groups.size() == 2);
  const Group& first = g.groups.groups[0];
  CHECK(first.held_objects == 2);
  CHECK(first.shared_objects == 2);
  CHECK(first.shared_with == std::vector<std::uint32_t>{1});
  CHECK(g.groups.groups[1].held_objects == 0);
}

TEST_CASE("what hangs on several structures of one group is not shared with others") {
  CHECK(GroupsText("a:app.A -> .a a, .t t\n"
                   "b:app.A -> .a b, .t t\n"
                   "t:tuple\n") ==
        "pending cycle 2 x app.A [1 app.A] 200 B + {1 tuple} 100 B\n"
        "  a .a\n");
}

TEST_CASE("definite groups come first, then the largest") {
  CHECK(GroupsText("a:app.Small -> .a a\n"
                   "b:app.Large size=5000 -> .b b\n"
                   "c:app.Stuck del -> .c c\n") ==
        "definite legacy-finalizer 1 x app.Stuck [1 app.Stuck] 100 B\n"
        "  c .c\n"
        "pending cycle 1 x app.Large [1 app.Large] 5000 B\n"
        "  b .b\n"
        "pending cycle 1 x app.Small [1 app.Small] 100 B\n"
        "  a .a\n");
}

TEST_CASE("what only a legacy finalizer keeps is told from what has one") {
  CHECK(GroupsText("p:app.P del -> .p p, .x x\n"
                   "x:app.X -> .x x\n") ==
        "definite legacy-finalizer 1 x app.P [1 app.P] 100 B\n"
        "  p .p\n"
        "definite held-by-legacy 1 x app.X [1 app.X] 100 B\n"
        "  x .x\n");
}

TEST_CASE("finalizers: kind, pending or run, and whether their order is undefined") {
  const Grouped g = GroupsOf(
      "a:app.A tp_finalize -> .b b, .f f\n"
      "b:app.A finalized -> .a a\n"
      "f:io.F tp_finalize\n"
      "c:app.B tp_finalize -> .d d\n"
      "d:app.B -> .c c\n");
  REQUIRE(g.groups.groups.size() == 2);
  const auto of = [&](const char* type) {
    return *std::find_if(g.groups.groups.begin(), g.groups.groups.end(),
                         [&](const Group& group) { return g.excerpt.types[group.type].name == type; });
  };
  const Group one = of("app.A"), two = of("app.B");
  CHECK_FALSE(one.order_undefined);
  REQUIRE(one.finalizers.size() == 1);
  CHECK(one.finalizers[0].pending == 1);
  CHECK(one.finalizers[0].run == 1);
  REQUIRE(one.held_finalizers.size() == 1);
  CHECK(one.held_finalizers[0].pending == 1);
  CHECK(one.reason == GroupReason::kFinalizer);
  CHECK(two.order_undefined);
}

TEST_CASE("frozen garbage is definite, with what it holds") {
  CHECK(GroupsText("a:app.A gen=permanent -> .a a, .y y\n"
                   "y:dict gen=0\n") ==
        "definite frozen 1 x app.A [1 app.A] 100 B + {1 dict} 100 B\n"
        "  a .a\n");
}

TEST_CASE("generations of the members are counted") {
  const Grouped g = GroupsOf("a:app.A gen=0 -> .b b\nb:app.A gen=2 -> .a a\n");
  REQUIRE(g.groups.groups.size() == 1);
  CHECK(g.groups.groups[0].generations == std::array<std::uint64_t, 5>{1, 0, 1, 0, 0});
}

TEST_CASE("an interpreter's garbage is a group of its own") {
  const Grouped g = GroupsOf("a:list interp=0 -> [0] a\nb:list interp=1 -> [0] b\n");
  REQUIRE(g.groups.groups.size() == 2);
  CHECK(g.groups.groups[0].interpreter == 0);
  CHECK(g.groups.groups[1].interpreter == 1);
}

TEST_CASE("a structure is named after an instance of the program's own class, not after its dictionary or class") {
  const Grouped g = GroupsOf(
      "d:dict -> ['o'] o\n"
      "o:app.models.Order -> .__dict__ d, type t\n"
      "t:type -> .__mro__ m, ['default'] o\n"
      "m:tuple -> [0] t\n");
  REQUIRE(g.groups.groups.size() == 1);
  CHECK(g.excerpt.types[g.groups.groups[0].type].name == "app.models.Order");
  CHECK(g.groups.groups[0].cycle.size() == 2);
}

TEST_CASE("a fingerprint does not change from version to version of this program") {
  const Grouped g = GroupsOf("a:app.A -> .b b\nb:dict -> ['a'] a\n");
  CHECK(g.groups.groups[0].fingerprint == Fingerprinter(g.excerpt).Of(g.groups.groups[0].components[0], kRefinementRounds));
  CHECK(StableHash("dict") == 0xd2b826dfd238e2a3ull);
}

}  // namespace
}  // namespace pygc::analysis
