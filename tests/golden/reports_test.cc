// The wording of every report, on reports made by hand: the figures here come from nowhere but this file.
#include "core/report/cycles_report.h"
#include "core/report/escape.h"
#include "core/report/finalizers_report.h"
#include "core/report/garbage_report.h"
#include "core/report/heap_report.h"
#include "core/report/leaks_report.h"
#include "core/report/object_report.h"
#include "core/report/path_report.h"
#include "core/report/sql.h"
#include "core/report/stacks_report.h"
#include "core/report/status_report.h"
#include "core/report/triage_report.h"
#include "core/report/refcounts_report.h"
#include "core/report/value_report.h"
#include "core/report/verify_report.h"
#include "tests/golden/golden.h"

using namespace pygc::report;
using pygc::test::CheckGolden;

namespace {

CycleStep Attribute(const std::string& type, const std::string& name) {
  return {type, "", 0x7fe84a3bc110, EdgeKind::kAttribute, "." + name, name, 0};
}

Header HeaderOf(const std::string& command) {
  Header h;
  h.command = command;
  h.target = {"core", "/var/crash/core.4711", 4711, "2.7.18", "default", false};
  h.tracked = 5610;
  CollectorFacts c;
  c.tracked = 5610;
  c.in_garbage = 602;
  c.thresholds = {700, 10, 10};
  c.counts = {411, 3, 8};
  c.generations = {{"0", 411, true, 120, 10, 0}, {"1", 199, true, 11, 2, 0}, {"2", 5000, true, 1, 0, 602}};
  c.long_lived_total = 5000;
  c.long_lived_pending = 120;
  c.threads = 2;
  h.interpreters = {c};
  h.timing = {{"locate_seconds", 0.001}, {"snapshot_seconds", 0.002}};
  return h;
}

Header Modern(const std::string& command) {
  Header h = HeaderOf(command);
  h.target = {"live", "", 4711, "3.12.1", "default", false};
  h.interpreters[0].in_garbage = 0;
  return h;
}

LeakGroup PipeHolders() {
  LeakGroup g;
  g.severity = Severity::kDefinite;
  g.uncollectable = true;
  g.reason = Reason::kLegacyFinalizer;
  g.type = "app.pipes.OsPipeHolder";
  g.count = 602;
  g.objects = 1806;
  g.in_garbage = 602;
  g.bytes = 250000;
  g.bytes_with_held = 1900000;
  g.cycle = {{"app.pipes.OsPipeHolder", "", 0x7fe84a3bc110, EdgeKind::kField, ".__dict__", "", 0},
             {"dict", "", 0x7fe84a3bc200, EdgeKind::kKey, "['isClosed']", "isClosed", 0},
             {"instancemethod", "is_closed", 0x7fe84a3bc300, EdgeKind::kField, ".__self__", "", 0}};
  g.members = {{"app.pipes.OsPipeHolder", 1, 64, ""}, {"dict", 1, 280, ""}, {"instancemethod", 1, 80, ""}};
  g.held = {{"file", 1204, 173376, "open"}, {"str", 301, 12000, ""}};
  g.finalizers = {{"app.pipes.OsPipeHolder", "__del__", 602, 0}};
  g.generations = {{"2", 1806}};
  g.addresses = {0x7fe84a3bc110, 0x7fe84a3bc1d0};
  return g;
}

LeakGroup Trees() {
  LeakGroup g;
  g.type = "app.tree.Node";
  g.count = 24;
  g.objects = 96;
  g.bytes = g.bytes_with_held = 9600;
  g.cycle = {
      Attribute("app.tree.Node", "children"), {"list", "", 0x7fe84a3bc400, EdgeKind::kItem, "[0]", "0", 0}, Attribute("app.tree.Node", "parent")};
  g.members = {{"app.tree.Node", 3, 200, ""}, {"list", 1, 200, ""}};
  g.generations = {{"0", 40}, {"1", 56}};
  g.addresses = {0x7fe84a3bc500};
  return g;
}

LeaksReport TwoGroups() {
  LeaksReport r;
  r.unreachable = 96;
  r.collectable = 96;
  r.uncollectable = 1806;
  r.in_garbage = 602;
  r.unreachable_upper = 96;
  r.group_count = 2;
  r.legacy_instances = true;
  r.groups = {PipeHolders(), Trees()};
  return r;
}

template <typename Report>
std::string Text(const Header& h, const Report& r) {
  TextWriter out;
  WriteText(h, r, out);
  return out.Take();
}
template <typename Report>
std::string Json(const Header& h, const Report& r) {
  JsonWriter json;
  BeginEnvelope(json, h);
  WriteJson(h, r, json);
  EndEnvelope(json);
  return json.Take() + "\n";
}

}  // namespace

TEST_CASE("leaks: stuck and waiting groups") {
  CheckGolden("leaks.txt", Text(HeaderOf("leaks"), TwoGroups()));
  CheckGolden("leaks.json", Json(HeaderOf("leaks"), TwoGroups()));
}

TEST_CASE("leaks: nothing found") {
  LeaksReport r;
  CheckGolden("leaks-none.txt", Text(Modern("leaks"), r));
  CheckGolden("leaks-none.json", Json(Modern("leaks"), r));
}

TEST_CASE("leaks: the collector is off, and a cycle of every other reason") {
  Header h = Modern("leaks");
  h.interpreters[0].enabled = false;
  h.interpreters[0].debug_flags = {"DEBUG_SAVEALL"};
  LeaksReport r;
  r.unreachable_upper = r.unreachable = r.collectable = 97;
  r.frozen = 2;
  LeakGroup waiting = Trees();
  waiting.reason = Reason::kFinalizer;
  waiting.finalizers = {{"app.tree.Node", "__del__", 24, 0}, {"app.tree.Leaf", "__del__", 20, 4}};
  waiting.order_undefined = true;
  LeakGroup frozen = Trees();
  frozen.severity = Severity::kDefinite;
  frozen.reason = Reason::kFrozen;
  frozen.generations = {{"permanent", 96}};
  LeakGroup saved = Trees(), by_hand = Trees(), held = Trees();
  for (LeakGroup* g : {&saved, &by_hand, &held}) {
    g->severity = Severity::kDefinite;
    g->uncollectable = true;
  }
  saved.reason = Reason::kSaveAll;
  saved.in_garbage = saved.objects;
  by_hand.reason = Reason::kInGarbage;
  by_hand.cycle.clear();
  held.reason = Reason::kHeldByGarbage;
  LeakGroup alone;
  alone.type = "app.Alone";
  alone.count = alone.objects = 1;
  alone.bytes = 48;
  alone.bytes_with_held = 1000000048;
  alone.held = {{"bytearray", 1, 1000000000, ""}};
  alone.addresses = {0x7f0000000010};
  r.groups = {frozen, saved, by_hand, held, waiting, alone};
  r.group_count = 9;
  r.groups_ignored = 3;
  CheckGolden("leaks-off.txt", Text(h, r));
  CheckGolden("leaks-off.json", Json(h, r));
  h.interpreters[0].enabled = true;
  h.interpreters[0].enabled_known = false;
  h.interpreters[0].debug_flags.clear();
  r.groups = {waiting};
  CheckGolden("leaks-unknown.txt", Text(h, r));
  CheckGolden("leaks-unknown.json", Json(h, r));
}

TEST_CASE("leaks: partial data and guessed references") {
  Header h = HeaderOf("leaks");
  h.complete = false;
  h.certainty = Certainty::kLowerBound;
  h.missing = {{"412 MiB of memory", "the core file is truncated: 1.2 of 3.9 GiB present", "Copy the whole core, or raise ulimit -c"}};
  h.warnings = {"file /usr/lib/libfoo.so.1: no build-id in the core"};
  LeaksReport r = TwoGroups();
  r.unreachable_upper = 110;
  r.groups[1].approximate = true;
  CheckGolden("leaks-partial.txt", Text(h, r));
  LeaksReport none;
  CheckGolden("leaks-partial-none.txt", Text(h, none));
  h.missing.clear();
  h.complete = true;
  none.unreachable_upper = 14;
  CheckGolden("leaks-guessed-none.txt", Text(h, none));
}

TEST_CASE("leaks: hostile names reach neither the terminal nor the JSON raw") {
  Header h = HeaderOf("leaks");
  h.target.path = "/tmp/\x1b]0;x\x07/core";
  LeaksReport r = TwoGroups();
  r.groups[0].type = r.groups[0].cycle[0].type = "app.\x1b[2J\xe2\x80\xae\xff";
  r.groups[0].held = {{"a\nb", 1, 1, ""}};
  const std::string text = Text(h, r), json = Json(h, r);
  for (const char c : text) CHECK((static_cast<unsigned char>(c) >= 0x20 || c == '\n'));
  CHECK(text.find("\xe2\x80\xae") == std::string::npos);
  for (const char c : json) CHECK(((c >= 0x20 && c < 0x7f) || c == '\n'));
  CheckGolden("leaks-hostile.json", json);
}

TEST_CASE("refcounts: nothing wrong, and one finding of each kind") {
  const Header h = Modern("refcounts");
  RefcountsReport r;
  r.objects = 252365;
  r.audited = 223949;
  r.exact = 223899;
  r.accounted = 223941;
  r.explained = 50;
  r.not_audited = {{"immortal", "immortal, their count never changes", 28416}};
  CheckGolden("refcounts-none.txt", Text(h, r));
  r.deficits = 2;
  r.surpluses = r.lost = 1;
  r.explained = 47;
  r.findings = {{"deficit", 0x7f0010, "dict", "", 1, 3, 0, {{0x7f0100, "app.Cache", "._entries"}, {0, "", "PyInterpreterState imports.modules"}}, {}, ""},
                {"deficit", 0x7f0018, "", "", 0, 1, 0, {{0x7f0100, "app.Cache", "._last"}}, {}, "", true},
                {"surplus", 0x7f0020, "function", "handle", 4, 1, 2, {{0x7f0200, "dict", "['handle']"}}, {{0, "", "libapp.so: cache+0x8"}}, ""},
                {"lost", 0x7f0030, "app.\x1b[2JMessage", "", 1, 0, 0, {}, {}, ""}};
  r.findings[3].bytes = 48;
  r.findings[3].bytes_with_held = 5448;
  r.findings[3].held = {{"dict", 12, 5000, ""}, {"file", 1, 400, "open"}};
  r.findings[3].alike = 1;
  r.lost = 3;
  r.all = true;
  r.known = {{"surplus", 0x7f0040, "module", "_warnings", 4, 3, 0, {}, {}, "Python/pylifecycle.c: never released"}};
  r.known_count = 1;
  r.in_flux = {{"deficit", 0x7f0060, "tuple", "", 1, 2, 0, {{0x7f0400, "list", "[0]"}}, {}, ""}};
  r.deficit_types = {{"app.Cache", "/usr/lib/app.so", 2, 3, ""}, {"app.Twice", "/usr/lib/app.so", 1, 2, ".content"}};
  r.findings[0].through = r.findings[1].through = "app.Cache";
  r.explained_list = {{"explained", 0x7f0050, "str", "", 3, 2, 1, {}, {{0x7f0300, "app.Native", "+0x18"}}, ""}};
  r.explained_left_out = 46;
  CheckGolden("refcounts.txt", Text(h, r));
  JsonWriter json;
  BeginEnvelope(json, h);
  WriteJson(h, r, json);
  EndEnvelope(json);
  CheckGolden("refcounts.json", json.Take() + "\n");
}

ObjectCard NodeCard() {
  ObjectCard o;
  o.address = 0x7fe84a3bc110;
  o.is_object = o.in_graph = o.tracked = true;
  o.type = "app.tree.Node";
  o.value = "<app.tree.Node object at 0x7fe84a3bc110>";
  o.size = 48;
  o.refcount = 3;
  o.generation = "2";
  o.state = "reachable";
  o.finalizer = "__del__";
  o.finalizer_state = "not run";
  o.quality = "exact";
  o.field_count = 12;
  o.fields = {{"object", 0x7fe84a3bc400, "list", "", ".children", "", 64}};
  o.owner_count = o.references_found.emplace(2);
  o.owners = {{"object", 0x7fe84a3bc300, "dict", "", "['root\x1b[2J']", "", 232}, {"frame", {}, "", "main() at app.py:7, thread 4711", "local root", "", {}}};
  return o;
}

TEST_CASE("show: an object, and an address where none lies") {
  const Header h = Modern("show");
  ShowReport r;
  r.objects = {NodeCard(), {}};
  r.objects[1].address = 0x7fe84a3bc113;
  r.objects[1].where = "inside a app.tree.Node at 0x7fe84a3bc110, at +3";
  CheckGolden("show.txt", Text(h, r));
  JsonWriter json;
  BeginEnvelope(json, h);
  WriteJson(h, r, json);
  EndEnvelope(json);
  CheckGolden("show.json", json.Take() + "\n");
}

TEST_CASE("referrers: objects, a frame's variable, more than shown") {
  const Header h = Modern("referrers");
  ReferencesReport r;
  r.outgoing = false;
  r.object = NodeCard();
  r.reference_count = 7;
  r.references = NodeCard().owners;
  r.references.push_back({"object", 0x7fe84a3bc700, "frame", "f() at app.py:3", "local x", "", 400});
  CheckGolden("referrers.txt", Text(h, r));
  JsonWriter json;
  BeginEnvelope(json, h);
  WriteJson(h, r, json);
  EndEnvelope(json);
  CheckGolden("referrers.json", json.Take() + "\n");
}

RootPath CachedSession() {
  RootPath path;
  path.root = {"module", "the dict of module app", "", "sys.modules['app'].__dict__"};
  path.steps = {{"dict", "", 0x7f0010, EdgeKind::kKey, "['CACHE']", "CACHE", 0},
                {"dict", "", 0x7f0020, EdgeKind::kKey, "['k\x1b[2J']", "k\x1b[2J", 0},
                {"list", "", 0x7f0030, EdgeKind::kItem, "[3]", "3", 0},
                {"method", "close", 0x7f0040, EdgeKind::kField, ".__self__", "__self__", 0},
                {"app.Session", "", 0x7f0050, EdgeKind::kOther, "", "", 0}};
  path.steps[1].subscript = "['k\\x1b[2J']";
  path.steps[2].subscript = "[3]";
  path.length = 4;
  return path;
}

TEST_CASE("path: one object, with an expression and with a frame") {
  const Header h = Modern("path");
  PathReport r;
  r.query = "0x7f0050";
  r.type = "app.Session";
  r.objects = r.by_root = 1;
  r.path_count = 5;
  r.paths = {CachedSession(), {}};
  r.paths[1].root = {"frame", "local s", "main() at app.py:7, thread 4711", "s"};
  r.paths[1].steps = {CachedSession().steps.back()};
  CheckGolden("path.txt", Text(h, r));
  JsonWriter json;
  BeginEnvelope(json, h);
  WriteJson(h, r, json);
  EndEnvelope(json);
  CheckGolden("path.json", json.Take() + "\n");
}

TEST_CASE("path: all of a type as one tree, none of a type, no object") {
  const Header h = Modern("path");
  PathReport r;
  r.query = "app.Session";
  r.is_type = true;
  r.objects = 1003;
  r.by_root = 1000;
  r.by_count_only = 2;
  r.unreachable = 1;
  PathBranch top;
  top.objects = 1000;
  top.path = CachedSession();
  top.path.steps.resize(3);
  top.path.steps.back().label.clear();
  top.path.length = 2;
  top.leaves = 998;
  top.leaf_examples = {{0x7f0100, "[0]"}, {0x7f0200, "[1]"}};
  PathBranch below = top;
  below.depth = 1;
  below.objects = 2;
  below.path = CachedSession();
  below.leaves = 0;
  below.leaf_examples.clear();
  below.left_out = 1;
  below.alike = 1;
  r.tree = {top, below};
  CheckGolden("path-type.txt", Text(h, r));
  JsonWriter json;
  BeginEnvelope(json, h);
  WriteJson(h, r, json);
  EndEnvelope(json);
  CheckGolden("path-type.json", json.Take() + "\n");
  PathReport none;
  none.query = "app.Sesion";
  none.is_type = true;
  none.nearest_types = {"app.Session"};
  CheckGolden("path-none.txt", Text(h, none));
}

TEST_CASE("heap and dominators") {
  const Header h = Modern("heap");
  HeapReport r;
  r.objects = 1502;
  r.bytes = 90000;
  r.unreachable = 2;
  r.unreachable_bytes = 96;
  r.unknown_sizes = 1;
  r.type_count = 3;
  r.rows = {{"dict", 1000, 60000, 80000, 0}, {"app.\x1b[2JNode", 502, 30000, 85000, 2}};
  CheckGolden("heap.txt", Text(h, r));
  JsonWriter json;
  BeginEnvelope(json, h);
  WriteJson(h, r, json);
  EndEnvelope(json);
  CheckGolden("heap.json", json.Take() + "\n");
  Header cut = h;
  cut.complete = false;
  cut.certainty = Certainty::kLowerBound;
  cut.missing = {{"at least 2 objects that the collector does not track", "their memory was left out", ""}};
  CheckGolden("heap-cut.txt", Text(cut, r));
  r.by = "module";
  r.reachable_bytes = 90000;
  Suspect s;
  s.address = 0x7f0010;
  s.type = "app.Cache";
  s.retained = 60000;
  s.retained_objects = 900;
  s.pile = 0x7f0020;
  s.pile_type = "dict";
  s.pile_retained = 59000;
  s.pile_parts = 800;
  s.path = s.expression = "sys.modules['app'].CACHE.data";
  s.keywords = {"app.Cache", "dict", "app.\x1b[2JNode"};
  s.contents = {{"app.\x1b[2JNode", 800}, {"app.Leaf", 12345}};
  Suspect group;
  group.type = "app.Session";
  group.objects = 40;
  group.retained = 20000;
  group.retained_objects = 400;
  group.path = "<local x in f() at app.py:1>";
  group.keywords = {"app.Session"};
  r.suspects = {s, group};
  r.containers = {{"list", 10, 2, 100, 50, 400, {{0x7f0030, "list", 60, 10, 400}}}, {"dict", 3, 3, 0, 0, 0, {}}, {"set", 0, 0, 0, 0, 0, {}}};
  r.duplicates = {{"str", 100, 9000, 8910, 40, 0x7f0040, "same\x1b[2J"}, {"tuple", 3, 192, 128, 2, 0x7f0050, std::nullopt}};
  r.duplicate_bytes = 9038;
  MemoryUse m;
  m.parts = {{"pymalloc: blocks in use", 80000, 0, 1500}, {"files: data of modules", 20000, 4096, std::nullopt}, {"stacks of threads", 0, 8192, 2}};
  m.zero_bytes = 12288;
  m.reserved_bytes = 67108864;
  m.bytes = 100000;
  m.file_bytes = 5000;
  m.object_bytes = 90000;
  m.objects = 1502;
  m.notes = {"no heap of glibc's malloc was found: its memory counts as anonymous memory"};
  r.memory = m;
  CheckGolden("heap-sections.txt", Text(h, r));
  BeginEnvelope(json, h);
  WriteJson(h, r, json);
  EndEnvelope(json);
  CheckGolden("heap-sections.json", json.Take() + "\n");
  CHECK(WriteCsv(r) == "module,objects,bytes,retained,unreachable\ndict,1000,60000,80000,0\napp.\\x1b[2JNode,502,30000,85000,2\n");
  const Header hd = Modern("dominators");
  DominatorsReport d;
  d.objects = 1500;
  d.bytes = 89904;
  d.top_count = 1;
  d.rows = {{0, 0x7f0010, "module", "app", 72, 80000, 1200, ""}, {1, 0x7f0020, "dict", "", 232, 79000, 1100, ""}};
  d.by_root = {{"module", "module app\x1b", 80000, 1200}, {"frame", "frames of thread 4711", 5904, 200}, {"static", "", 4000, 100}};
  d.roots_shown = 2;
  CheckGolden("dominators.txt", Text(hd, d));
  BeginEnvelope(json, hd);
  WriteJson(hd, d, json);
  EndEnvelope(json);
  CheckGolden("dominators.json", json.Take() + "\n");
}

TEST_CASE("sql: every kind of value, more rows than shown") {
  const Header h = Modern("sql");
  SqlReport r;
  r.columns = {"name", "count(*)", "share", "b\x1b"};
  SqlValue share;
  share.kind = SqlValue::Kind::kReal;
  share.real = 0.25;
  SqlValue blob;
  blob.kind = SqlValue::Kind::kBlob;
  blob.text = std::string("\x00\xff", 2);
  r.rows = {{SqlValue::Text("app.\x1b[2JNode"), SqlValue::Integer(502), share, blob}, {SqlValue{}, SqlValue::Integer(-7), SqlValue{}, SqlValue{}}};
  r.cut = true;
  CheckGolden("sql.txt", Text(h, r));
  SqlReport stopped = r;
  stopped.interrupted = true;
  stopped.cut = false;
  CHECK(Text(h, stopped).find("\n  stopped before the end of the query: 2 rows until then, there may be more\n") != std::string::npos);
  stopped.rows.clear();
  CHECK(Text(h, stopped).find("\n  stopped before the end of the query: no row was found until then") != std::string::npos);
  JsonWriter json;
  BeginEnvelope(json, h);
  WriteJson(h, r, json);
  EndEnvelope(json);
  CheckGolden("sql.json", json.Take() + "\n");
}

TEST_CASE("stacks: a thread with variables, one that runs no Python, a deep one") {
  Header h = Modern("stacks");
  h.objects_read = false;
  StacksReport r;
  r.with_locals = true;
  ThreadStackReport main;
  main.thread_id = 0x7f00aa00;
  main.native_id = 4711;
  main.tstate = 0x55550000;
  main.holds_gil = true;
  main.signal = 11;
  main.frame_count = main.left_out_before = 2;
  main.frames = {{"run", "Worker.run", "/srv/app\x1b[2J.py", 12, 0x7f0010, {{"self", "app.Worker", 0x7f0020, {}}, {"n", "int", 0x7f0030, "3"}}}, {"<module>", "<module>", "/srv/app.py", -1, {}, {}}};
  ThreadStackReport idle, deep = main;
  idle.thread_id = 0x7f00bb00;
  deep.holds_gil = false;
  deep.signal = 0;
  deep.frame_count = 1002;
  deep.left_out_before = 1;
  deep.complete = false;
  ResourceRow lock;
  lock.kind = "lock";
  lock.type = "_thread.lock";
  lock.address = 0x7f0040;
  lock.locked = true;
  lock.holder = deep.thread_id = 0x7f00cc00;
  lock.holder_native_id = deep.native_id = 4712;
  lock.holder_place = "Bank.transfer() at /srv/app\x1b[2J.py:12";
  lock.waiters = {4711};
  main.waits_for = deep.waits_for = lock;
  deep.waits_for->address = 0x7f0050;
  deep.waits_for->holder = main.thread_id;
  deep.waits_for->holder_native_id = 4711;
  deep.waits_for->waiters = {4712};
  r.threads = {main, idle, deep};
  r.deadlocks = {{0, 2}, {1}};
  r.threads[1].waits_for = deep.waits_for;
  CheckGolden("stacks.txt", Text(h, r));
  JsonWriter json;
  BeginEnvelope(json, h);
  WriteJson(h, r, json);
  EndEnvelope(json);
  CheckGolden("stacks.json", json.Take() + "\n");
  h.interpreters.push_back(h.interpreters[0]);
  h.interpreters[1].id = 1;
  r.threads = {idle};
  r.deadlocks.clear();
  CheckGolden("stacks-interpreters.txt", Text(h, r));
}

TriageReport Crashed() {
  TriageReport r;
  r.crash.kind = CrashFacts::Kind::kSignal;
  r.crash.signal = 11;
  r.crash.thread = 4711;
  r.crash.place = "libfoo.so: foo_parse+0x1f";
  r.crash.module = "/srv/lib/libfoo.so";
  r.crash.code = 1;
  r.crash.fault = 0x18;
  r.crash.fault_place = "no memory of the process";
  r.crash.python_thread = 0;
  ThreadStackReport main, idle;
  main.thread_id = 0x7f00aa00;
  main.native_id = 4711;
  main.holds_gil = true;
  main.signal = 11;
  main.frame_count = main.left_out_before = 2;
  main.frames = {{"run", "Worker.run", "/srv/app\x1b[2J.py", 12, {}, {}}, {"<module>", "<module>", "/srv/app.py", -1, {}, {}}};
  idle.thread_id = 0x7f00bb00;
  r.stacks.threads = {idle, main};
  r.crash.python_thread = 1;
  r.leaks = TwoGroups();
  DominatorsReport holders;
  holders.objects = 52011;
  holders.bytes = 4200000;
  holders.top_count = 300;
  holders.rows = {{0, 0x7f0010, "dict", "", 232, 2100000, 20000, "sys.modules['app'].CACHE"}, {1, 0x7f0020, "list", "", 100, 2000000, 19000, ""}, {0, 0x7f0030, "module", "app", 72, 1000000, 9000, ""}};
  r.holders = holders;
  Suspect s;
  s.type = s.pile_type = "dict";
  s.address = s.pile = 0x7f0010;
  s.retained = s.pile_retained = 2100000;
  s.pile_parts = 800;
  s.path = s.expression = "sys.modules['app'].CACHE";
  s.contents = {{"app.\x1b[2JNode", 800}, {"app.Leaf", 12345}};
  r.suspects = {s};
  return r;
}

// What a thread waits for that another one holds.
ResourceRow HeldLock(const std::string& place) {
  ResourceRow lock;
  lock.kind = "lock";
  lock.type = "_thread.lock";
  lock.address = 0x7f0040;
  lock.locked = true;
  lock.holder = 0x7f00aa00;
  lock.holder_place = place;
  lock.waiters = {1, 2, 3};
  return lock;
}

TEST_CASE("triage: a crash with leaks") {
  const std::string text = Text(HeaderOf("triage"), Crashed());
  CheckGolden("triage.txt", text);
  CheckGolden("triage.json", Json(HeaderOf("triage"), Crashed()));
  TriageReport small = Crashed();
  small.rows = 23;
  CheckGolden("triage-small.txt", Text(HeaderOf("triage"), small));
}

TEST_CASE("triage: whatever there is, one screen: no line over 80 columns, at most 50 lines, 23 on a small one") {
  Header h = HeaderOf("triage");
  h.complete = false;
  h.target.path = "/var/crash/" + std::string(300, 'c');
  for (int i = 0; i < 20; ++i) h.missing.push_back({"file " + std::string(200, 'm'), "not found", "give --sysroot"});
  for (int i = 0; i < 20; ++i) h.warnings.emplace_back(300, 'w');
  h.interpreters.resize(40, h.interpreters[0]);
  TriageReport r = Crashed();
  r.crash.place = std::string(500, 'p');
  for (StackFrame& f : r.stacks.threads[1].frames) f.file = "/srv/" + std::string(400, '\xc3') + ".py";
  r.stacks.threads[1].frames.resize(40, r.stacks.threads[1].frames[0]);
  r.stacks.threads[1].frame_count = 40;
  r.stacks.threads[1].waits_for = HeldLock(std::string(300, 'l') + " " + std::string(300, 'l'));
  r.stacks.threads.resize(500, r.stacks.threads[1]);
  r.stacks.deadlocks.resize(40, {1, 2, 3, 4, 5});
  r.suspects[0].expression = std::string(50, 'e') + " " + std::string(400, 'e');
  r.suspects[0].contents.resize(3, {std::string(300, 'c'), 5});
  r.suspects.resize(5, r.suspects[0]);
  r.leaks.groups.clear();
  LeakGroup g = PipeHolders();
  for (CycleStep& s : g.cycle) s.type += std::string(200, 't');
  g.type += std::string(200, 't');
  r.leaks.groups.resize(5, g);
  r.leaks.group_count = 600;
  r.leaks.groups_known = 7;
  r.holders->rows.resize(5, {0, 0x7f0010, std::string(200, 'h'), std::string(200, 'n'), 232, 2100000, 20000, std::string(200, 'q')});
  const std::string text = Text(h, r);
  std::size_t lines = 0;
  for (std::size_t start = 0; start < text.size(); ++lines) {
    const std::size_t end = text.find('\n', start);
    CHECK(CodePoints(text.substr(start, end - start)) <= 80);
    start = end + 1;
  }
  CHECK(lines <= 50);
  // The usual terminal: what cannot be left out fits.
  r.rows = 23;
  const std::string small = Text(h, r);
  CHECK_MESSAGE(std::count(small.begin(), small.end(), '\n') <= 23, small);
  for (const char* row : {"crash ", "Python ", "deadlock ", "stacks ", "collector ", "leaks ", "  #1 ", "suspect ", "holders "}) CHECK_MESSAGE(small.find(row) != std::string::npos, row);
  r.rows = 50;
  // In a pipe nothing is cut off: lines end between words, and longer words stay whole.
  r.whole_lines = true;
  const std::string whole = Text(h, r);
  for (const std::size_t length : {std::size_t{500}, std::size_t{200}}) CHECK(whole.find(std::string(length, length == 500 ? 'p' : 'q')) != std::string::npos);
  CHECK(whole.find("/srv/" + std::string(10, '\xc3')) == std::string::npos);  // bytes of the target are escaped all the same
  for (std::size_t start = 0; start < whole.size();) {
    const std::size_t end = whole.find('\n', start);
    const std::string line = whole.substr(start, end - start);
    CHECK_MESSAGE((CodePoints(line) <= 80 || line.rfind(' ') + 1 < 14), line);  // one word, behind a label at most
    start = end + 1;
  }
}

TEST_CASE("triage: a crash in the standard library is told by the program's line, one without Python by its native functions") {
  TriageReport r;
  r.no_holders = "stopped while finding dominators";
  r.crash.kind = CrashFacts::Kind::kSignal;
  r.crash.signal = 11;
  r.crash.python_thread = 0;
  ThreadStackReport& t = r.stacks.threads.emplace_back();
  t.frames = {{"string_at", "string_at", "/usr/lib/python3.12/ctypes/__init__.py", 519, {}, {}}, {"charge", "Card.charge", "/srv/shop/pay.py", 40, {}, {}}};
  t.frame_count = t.left_out_before = 2;
  t.of_program = t.frames[1];
  CheckGolden("triage-library.txt", Text(Modern("triage"), r));
  CheckGolden("triage-library.json", Json(Modern("triage"), r));
  t.frames.clear();
  t.of_program.reset();
  t.frame_count = t.left_out_before = 0;
  r.crash.place = "libc.so.6+0x8aeec";
  r.crash.program = "/srv/shop/embed\x1b[2J";
  r.crash.native = {{"on_\x1b[2Jtimer", "embed\x1b[2J"}, {"", "embed"}, {"main", ""}};
  CheckGolden("triage-native.txt", Text(Modern("triage"), r));
  CheckGolden("triage-native.json", Json(Modern("triage"), r));
}

TEST_CASE("triage: a core of gcore, nothing leaks, no holders; a live process") {
  TriageReport r;
  r.crash.kind = CrashFacts::Kind::kStopped;
  r.crash.thread = 4711;
  r.no_holders = "stopped while finding dominators";
  CheckGolden("triage-stopped.txt", Text(Modern("triage"), r));
  CheckGolden("triage-stopped.json", Json(Modern("triage"), r));
  r.crash = {};
  CheckGolden("triage-live.txt", Text(Modern("triage"), r));
}

TEST_CASE("value: objects, and an address that is none") {
  ValueReport r;
  r.objects = {{0x7f0010, "dict", "{'a': [1, 2]}", true, true}, {0x7f0020, "", "", true, true}, {0x7f0030, "app.\x1b[2JThing", "<app.Thing object at 0x7f0030>", false, false}};
  CheckGolden("value.txt", Text(Modern("value"), r));
  CheckGolden("value.json", Json(Modern("value"), r));
}

TEST_CASE("verify: nothing found") {
  const Header h = Modern("verify");
  VerifyReport r;
  r.checks = {{"generation-lists", "every list closes", 5610, 0, {}}};
  r.not_checked = {{"allocator-pools", "not read in this version"}};
  CheckGolden("verify-none.txt", Text(h, r));
}

TEST_CASE("verify --traverse: damage and a difference") {
  Header h = Modern("verify");
  h.missing = {{"the comparison of 2 objects", "x.Thing: its tp_traverse comes to a trap instruction", ""}};
  h.complete = false;
  VerifyReport r;
  r.findings = 4;
  r.checks = {{"generation-lists", "every list closes", 5610, 2, {"cannot follow generation 2 of interpreter 0: _gc_next of the object at 0x7f01 is NULL"}},
              {"types", "ob_type is a type object", 5610, 0, {}}};
  r.not_checked = {{"allocator-pools", "not read in this version"}};
  TraverseResult& t = r.traverse.emplace();
  t = {5000, 4998, 2, 2, 7, 120, false, {}, {}};
  t.types = {{"x.Thing", "/usr/lib/x.so", 1, 0, 2, "trap", "its tp_traverse comes to a trap instruction"}, {"dict", "", 900, 2, 0, "", ""}};
  t.differences = {{0x7f00a0, "dict", "", 3, 2, 1, 0, {0x10, 0x20, 0x30}, {0x10, 0x30}}};
  CheckGolden("verify.txt", Text(h, r));
  JsonWriter json;
  BeginEnvelope(json, h);
  WriteJson(h, r, json);
  EndEnvelope(json);
  CheckGolden("verify.json", json.Take() + "\n");
}

TEST_CASE("status: everything known") {
  Header h = HeaderOf("status");
  StatusReport r;
  r.build_text = "2.7.18 (default, Apr 20 2020, 20:30:41) [GCC 9.3.0]";
  r.exact_objects = 5600;
  r.approximate_objects = 10;
  r.types = 320;
  r.labels = {{"exact", 5590}, {"exact-tls", 7}, {"exact-wrote", 3}, {"partial", 0}, {"approximate", 10}, {"unknown", 0}};
  r.references = 21000;
  r.approximate_types = {{"lxml.etree._Element", "approximate", "unmapped-read", "its tp_traverse stopped at 0x7f12: reads memory that is not in the image (0x18)", "/usr/lib/python2.7/lxml/etree.so", 10}};
  r.details.executable = "/usr/bin/python2.7";
  r.details.layout = "cpython-2.7.18-default-lp64";
  r.details.explanation = {"version 2.7.18 from the symbol Py_Version", "layout from the built-in table"};
  r.details.memory_bytes = 123456789;
  r.details.modules = {{"/usr/bin/python2.7", "verified by build-id", "build-id 0123abcd"}};
  h.interpreters[0].debug_flags = {"DEBUG_STATS", "DEBUG_SAVEALL"};
  CheckGolden("status.txt", Text(h, r));
  JsonWriter json;
  WriteStatusDocument(h, r, json);
  CheckGolden("status.json", json.Take() + "\n");
}

TEST_CASE("status: two interpreters, a live process, damage") {
  Header h = Modern("status");
  h.interpreters.push_back(h.interpreters[0]);
  h.interpreters[1].id = 1;
  h.interpreters[1].enabled = false;
  h.interpreters[1].collecting = true;
  h.interpreters[1].generations.push_back({"permanent", 375, false, 0, 0, 0});
  h.complete = false;
  h.missing = {{"3 tracked objects", "in a generation list, but not readable", ""}};
  StatusReport r;
  r.tried_on_real_process = false;
  r.details.pause_seconds = 0.0231;
  r.details.core_bytes_expected = 100;
  r.details.core_bytes_present = 90;
  r.unreadable_objects = 3;
  r.dangling_references = 1;
  r.notes = {"generation 2 of interpreter 0: _gc_next of 0x7f3a10c2e4d0 is 0x18, not in any region"};
  CheckGolden("status-damaged.txt", Text(h, r));
}

TEST_CASE("cycles") {
  CyclesReport r;
  r.unreachable_components = 24;
  r.unreachable_objects = 96;
  r.reachable_components = 3;
  r.reachable_objects = 2400;
  r.group_count = 3;
  r.groups = {
      {"unreachable", "app.tree.Node", "", 24, 96, Trees().cycle, Trees().members, {0x7fe84a3bc500}},
      {"reachable", "module", "app", 1, 2000, {}, {{"function", 1500, 0, ""}, {"dict", 400, 0, ""}, {"module", 100, 0, ""}}, {0x7fe84a3bc600}}};
  CheckGolden("cycles.txt", Text(Modern("cycles"), r));
  CheckGolden("cycles.json", Json(Modern("cycles"), r));
}

TEST_CASE("cycles of a core that was cut") {
  Header h = Modern("cycles");
  h.complete = false;
  h.certainty = Certainty::kLowerBound;
  h.missing = {{"412 MiB of memory", "core is truncated", "take it again"}};
  CyclesReport r;
  r.unreachable_components = 24;
  r.unreachable_objects = 96;
  r.reachable_components = 3;
  r.reachable_objects = 2400;
  r.unknown_components = 2;
  r.unknown_objects = 7;
  r.reachable_exact = false;
  r.group_count = 1;
  r.groups = {{"", "app.tree.Node", "", 2, 7, Trees().cycle, Trees().members, {0x7fe84a3bc500, 0x7fe84a3bc700}}};
  CheckGolden("cycles-cut.txt", Text(h, r));
  CheckGolden("cycles-cut.json", Json(h, r));
}

TEST_CASE("garbage") {
  GarbageReport r;
  r.in_garbage = 605;
  r.held = 1204;
  r.legacy_instances = true;
  r.group_count = 3;
  r.groups = {{"app.pipes.OsPipeHolder", Reason::kLegacyFinalizer, "__del__", 0, 602, 38528, {0x7fe84a3bc110, 0x7fe84a3bc1d0}},
              {"dict", Reason::kSaveAll, "", 0, 2, 560, {0x7fe84a3bc200, 0x7fe84a3bc300}},
              {"str", Reason::kInGarbage, "", 0, 1, 40, {0x7fe84a3bc400}}};
  CheckGolden("garbage.txt", Text(HeaderOf("garbage"), r));
  CheckGolden("garbage.json", Json(HeaderOf("garbage"), r));
  CheckGolden("garbage-none.txt", Text(Modern("garbage"), GarbageReport{}));
}

TEST_CASE("finalizers") {
  FinalizersReport r;
  r.objects = 30;
  r.pending = 26;
  r.run = 4;
  r.unreachable = 20;
  r.order_undefined = 2;
  r.callbacks = 1;
  r.callbacks_known = true;
  r.group_count = 2;
  r.groups = {{"app.tree.Node",
               "__del__",
               false,
               24,
               20,
               4,
               1,
               20,
               0,
               24,
               2,
               {0x7fe84a3bc500, 0x7fe84a3bc600, 0x7fe84a3bc700, 0x7fe84a3bc800, 0x7fe84a3bc900}},
              {"_io.FileIO", "tp_finalize", false, 6, 6, 0, 0, 0, 0, 0, 0, {0x7fe84a3bd000}}};
  r.suspended = {{"coroutine", true, "Pool.fetch", "/srv/app/pool.py", 41, 3, 1, {0x7fe84a3be000, 0x7fe84a3be100, 0x7fe84a3be200}}, {"generator", false, "rows", "/srv/app/table.py", -1, 1, 0, {0x7fe84a3be300}}};
  r.suspended_objects = 5;
  r.suspended_groups = 3;
  CheckGolden("finalizers.txt", Text(Modern("finalizers"), r));
  CheckGolden("finalizers.json", Json(Modern("finalizers"), r));
  CheckGolden("finalizers-none.txt", Text(Modern("finalizers"), FinalizersReport{}));
}
