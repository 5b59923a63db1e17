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

CrashFacts BySignal(std::int32_t signal, const std::string& module = "") {
  CrashFacts c;
  c.kind = CrashFacts::Kind::kSignal;
  c.signal = signal;
  c.module = module;
  return c;
}

// Functions and files, innermost first.
NativeStack Native(const std::vector<std::pair<std::string, std::string>>& functions) {
  NativeStack stack;
  for (const auto& [symbol, module] : functions) {
    NativeFrame& f = stack.frames.emplace_back();
    f.address = 0x7f0000 + stack.frames.size() * 64;
    f.symbol = symbol;
    f.module = module;
    f.offset = 7;
  }
  return stack;
}

CrashFacts NativeCrash(const NativeStack& stack) {
  CrashFacts c = BySignal(6, stack.frames[0].module);
  c.program = "/srv/program";
  c.native = CrashFunctions(stack);
  return c;
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

TEST_CASE("leaks of functions of one name have other fingerprints where they are called otherwise in the source, or lie in another file") {
  LeakGroup one;
  one.type = "function";
  one.name = "handler";
  one.cycle = {Step("function", EdgeKind::kClosure, "closure handler", "handler", 0x1000), Step("cell", EdgeKind::kField, ".cell_contents", "", 0x1040)};
  one.cycle[0].code_name = "A.make.<locals>.handler app.py";
  LeakGroup other = one, file = one, alone = one;
  other.cycle[0].code_name = "B.make.<locals>.handler app.py";
  file.cycle[0].code_name = "A.make.<locals>.handler lib.py";
  CHECK(LeakFingerprint(one) != LeakFingerprint(other));
  CHECK(LeakFingerprint(one) != LeakFingerprint(file));
  alone.cycle.clear();
  LeakGroup named = alone;
  named.code_name = "A.make.<locals>.handler app.py";
  CHECK(LeakFingerprint(alone) != LeakFingerprint(named));
}

TEST_CASE("keys of dicts that the source spells are in the fingerprint, hidden or not, without numbers; data is not") {
  LeakGroup parent = Tree(0x1000, "0"), hidden = parent, other = parent, numbered = parent;
  parent.cycle[1] = Step("dict", EdgeKind::kKey, "['parent']", "parent", 0x1040);
  parent.cycle[1].program_key = "parent";
  hidden.cycle[1] = Step("dict", EdgeKind::kKey, "['\u2026']", "", 0x1040);
  hidden.cycle[1].program_key = "parent";
  other.cycle[1] = Step("dict", EdgeKind::kKey, "['owner']", "owner", 0x1040);
  other.cycle[1].program_key = "owner";
  numbered.cycle[1].program_key = "parent_2";
  numbered.cycle[1].kind = EdgeKind::kKey;
  LeakGroup again = numbered;
  again.cycle[1].program_key = "parent_17";
  CHECK(LeakFingerprint(parent) == LeakFingerprint(hidden));
  CHECK(LeakFingerprint(parent) != LeakFingerprint(other));
  CHECK(LeakFingerprint(numbered) == LeakFingerprint(again));
}

TEST_CASE("a crash keeps its fingerprint over line shifts and folders, and has another in another function or by another signal") {
  const std::vector<StackFrame> frames = {{"f", "A.f", "/srv/one/app.py", 10, {}, {}}, {"main", "main", "/srv/one/app.py", 90, {}, {}}};
  std::vector<StackFrame> shifted = {{"f", "A.f", "/opt/two/app.py", 14, {}, {}}, {"main", "main", "/opt/two/app.py", 99, {}, {}}};
  CHECK(CrashFingerprint(BySignal(11, "/lib/x.so"), frames) == CrashFingerprint(BySignal(11, "/usr/lib/x.so.6"), shifted));
  CHECK(CrashFingerprint(BySignal(11, "/lib/x.so"), frames) != CrashFingerprint(BySignal(11, "/lib/y.so"), frames));
  CHECK(CrashFingerprint(BySignal(11, "/usr/bin/python3.11"), frames) == CrashFingerprint(BySignal(11, "/lib/libpython3.12.so.1.0"), frames));
  CHECK(CrashFingerprint(BySignal(6), frames) != CrashFingerprint(BySignal(11), frames));
  shifted[0].qualified_name = "A.g";
  CHECK(CrashFingerprint(BySignal(11), frames) != CrashFingerprint(BySignal(11), shifted));
  CHECK(CrashFingerprint(BySignal(11, "/lib/x.so"), {}) == CrashFingerprint(BySignal(11, "/usr/lib/x.so"), {}));
  CHECK(CrashFingerprint(BySignal(11, "/lib/x.so"), {}) != CrashFingerprint(BySignal(11, "/lib/y.so"), {}));
}

TEST_CASE("a native crash is told by its functions, not by libc's abort: other addresses, offsets, versions of Python and of libraries are the same crash") {
  const NativeStack one = Native({{"", "/lib/libc.so.6"}, {"abort", "/lib/libc.so.6"}, {"on_message.cold", "/srv/v1/server"}, {"main", "/srv/v1/server"}, {"_start", "/srv/v1/server"}});
  NativeStack other = Native({{"raise", "/lib/libc-2.31.so"}, {"abort", "/lib/libc-2.31.so"}, {"on_message.part.0", "/srv/v2/server"}, {"main", "/srv/v2/server"}, {"_start", "/srv/v2/server"}});
  for (NativeFrame& f : other.frames) {
    f.address += 0x5000;
    f.offset += 16;
  }
  const CrashFacts first = NativeCrash(one), second = NativeCrash(other);
  CHECK(NativeChainText(first) == "on_message (server) ← main (server) ← _start (server)");
  CHECK(CrashFingerprint(first, {}) == CrashFingerprint(second, {}));
  other.frames[2].symbol = "on_timer";
  CHECK(CrashFingerprint(NativeCrash(other), {}) != CrashFingerprint(first, {}));
  other.frames[2].symbol = "on_message";
  for (NativeFrame& f : other.frames) f.module += f.module.ends_with("server") ? "2" : "";
  CHECK(CrashFingerprint(NativeCrash(other), {}) != CrashFingerprint(first, {}));
  CrashFacts program = first;
  program.program = "/srv/other";
  CHECK(CrashFingerprint(program, {}) != CrashFingerprint(first, {}));
  const NativeStack old = Native({{"dealloc", "/x/_fast.cpython-311-x86_64-linux-gnu.so"}, {"subtype_dealloc", "/lib/libpython3.11.so.1.0"}, {"main", "/usr/bin/python3.11"}});
  const NativeStack next = Native({{"dealloc", "/y/_fast.cpython-312-x86_64-linux-gnu.so"}, {"subtype_dealloc", "/lib/libpython3.12.so.1.0"}, {"main", "/usr/bin/python3.12"}});
  CHECK(CrashFingerprint(NativeCrash(old), {}) == CrashFingerprint(NativeCrash(next), {}));
}

TEST_CASE("functions of a native crash: recursion once, five at most, libc's own where there is nothing else, a stripped file by its name") {
  CHECK(NativeChainText(NativeCrash(Native({{"walk", "/a"}, {"walk", "/a"}, {"walk", "/a"}, {"", "/a"}, {"", "/a"}, {"b", "/b"}, {"c", ""}, {"d", "/d"}, {"e", "/e"}}))) ==
        "walk (a) ← ? (a) ← b (b) ← c (no file) ← d (d)");
  CHECK(NativeChainText(NativeCrash(Native({{"raise", "/lib/libc.so.6"}, {"abort", "/lib/libc.so.6"}}))) == "raise (libc.so.6) ← abort (libc.so.6)");
  CHECK(CrashFingerprint(NativeCrash(Native({{"", "/srv/a"}})), {}) != CrashFingerprint(NativeCrash(Native({{"", "/srv/b"}})), {}));
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
