#include "core/report/fingerprint.h"

#include <doctest/doctest.h>

using namespace pygc::report;

namespace {

CycleStep Step(const std::string& type, EdgeKind kind, const std::string& label, const std::string& key, pygc::Address address) {
  return {type, "", address, kind, label, key, 0};
}

// A tree: a node, its list of children, a child that knows its parent.
LeakGroup Tree(pygc::Address at, const std::string& item) {
  LeakGroup g;
  g.type = "app.Node";
  g.count = 3;
  g.cycle = {Step("app.Node", EdgeKind::kAttribute, ".children", "children", at), Step("list", EdgeKind::kItem, "[" + item + "]", item, at + 64),
             Step("app.Node", EdgeKind::kAttribute, ".parent", "parent", at + 128)};
  return g;
}

}  // namespace

TEST_CASE("a leak keeps its fingerprint: other addresses, counts, positions and keys") {
  LeakGroup other = Tree(0x9000, "17");
  other.count = 99;
  other.objects = 1000;
  CHECK(LeakFingerprint(Tree(0x1000, "0")) == LeakFingerprint(other));
  LeakGroup keyed = Tree(0x1000, "0"), redacted = keyed;
  keyed.cycle[1] = Step("dict", EdgeKind::kKey, "['alice']", "alice", 0x1040);
  redacted.cycle[1] = Step("dict", EdgeKind::kKey, "['\u2026']", "", 0x1040);
  CHECK(LeakFingerprint(keyed) == LeakFingerprint(redacted));
}

TEST_CASE("a leak keeps its fingerprint where attributes lie in a dict (up to 3.10), and in a longer ring") {
  LeakGroup inline_values = Tree(0x1000, "0"), with_dict = inline_values;
  with_dict.cycle = {Step("app.Node", EdgeKind::kField, ".__dict__", "", 0x1000), Step("dict", EdgeKind::kKey, "['children']", "children", 0x1100),
                     Step("list", EdgeKind::kItem, "[0]", "0", 0x1040),           Step("app.Node", EdgeKind::kField, ".__dict__", "", 0x1080),
                     Step("dict", EdgeKind::kKey, "['parent']", "parent", 0x1200)};
  CHECK(LeakFingerprint(inline_values) == LeakFingerprint(with_dict));
  LeakGroup ring, longer;
  ring.type = longer.type = "app.Link";
  ring.cycle.assign(3, Step("app.Link", EdgeKind::kAttribute, ".next", "next", 0x1000));
  longer.cycle.assign(8, ring.cycle[0]);
  longer.cycle[4] = {};
  longer.cycle[4].elided = 1000;
  CHECK(LeakFingerprint(ring) == LeakFingerprint(longer));
}

TEST_CASE("other leaks have other fingerprints: type, attribute, reason, common name") {
  const LeakGroup g = Tree(0x1000, "0");
  LeakGroup type = g, attribute = g, reason = g, named = g, many = g;
  type.type = "app.Leaf";
  attribute.cycle[2].label = ".owner";
  reason.reason = Reason::kFrozen;
  named.name = "handler";
  for (const LeakGroup& other : {type, attribute, reason, named}) CHECK(LeakFingerprint(other) != LeakFingerprint(g));
  many.name = "a, b, c, \u2026";  // whatever comes first: no common name
  CHECK(LeakFingerprint(many) == LeakFingerprint(g));
}

TEST_CASE("a crash keeps its fingerprint over line shifts and folders, and has another in another function or by another signal") {
  const std::vector<StackFrame> frames = {{"f", "A.f", "/srv/one/app.py", 10, {}, {}}, {"main", "main", "/srv/one/app.py", 90, {}, {}}};
  std::vector<StackFrame> shifted = {{"f", "A.f", "/opt/two/app.py", 14, {}, {}}, {"main", "main", "/opt/two/app.py", 99, {}, {}}};
  CHECK(CrashFingerprint(11, frames, "/lib/x.so") == CrashFingerprint(11, shifted, "/lib/y.so"));
  CHECK(CrashFingerprint(6, frames, "") != CrashFingerprint(11, frames, ""));
  shifted[0].qualified_name = "A.g";
  CHECK(CrashFingerprint(11, frames, "") != CrashFingerprint(11, shifted, ""));
  CHECK(CrashFingerprint(11, {}, "/lib/x.so") == CrashFingerprint(11, {}, "/usr/lib/x.so"));
  CHECK(CrashFingerprint(11, {}, "/lib/x.so") != CrashFingerprint(11, {}, "/lib/y.so"));
}

TEST_CASE("a wrong count keeps its fingerprint: other numbers and positions, the same places") {
  RefcountFinding f;
  f.kind = "surplus";
  f.type = "app.Thing";
  f.recorded = 5;
  f.holders = {{0x1000, "list", "[3]"}, {0x2000, "dict", "['key']"}};
  RefcountFinding other = f;
  other.recorded = 500;
  other.object = 0x9999;
  other.holders = {{0x3000, "dict", "['other']"}, {0x4000, "list", "[77]"}};
  CHECK(RefcountFingerprint(f) == RefcountFingerprint(other));
  other.kind = "deficit";
  CHECK(RefcountFingerprint(f) != RefcountFingerprint(other));
}
