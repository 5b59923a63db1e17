// An index that was written and read again says the same, column by column; one that is damaged, even with sums that are right, is refused or says only what can be.
#include "core/engine/saved_index.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/support/fake_process.h"

using namespace pygc;
using namespace pygc::engine;
using heap::NodeId;

namespace {

constexpr NodeId kIndexed = 40;
constexpr Address kHeapBegin = 0x100000;

graph::NodeSet IndexedNodes(std::initializer_list<NodeId> nodes) {
  graph::NodeSet set(kIndexed);
  for (const NodeId n : nodes) set.Insert(n);
  return set;
}

// Something in every column and every list, of different values where that can be.
IndexedSnapshot FullSnapshot(bool with_leaves) {
  IndexedSnapshot s;
  heap::HeapSnapshot& h = s.heap;
  const heap::ObjectIndex::Range ranges[] = {{{kHeapBegin, kHeapBegin + 0x10000}, 4}, {{kHeapBegin + 0x20000, kHeapBegin + 0x21000}, 3}};
  h.index = heap::ObjectIndex(ranges);
  for (NodeId n = 0; n < kIndexed; ++n) h.index.Mark(n < kIndexed - 2 ? kHeapBegin + n * 0x310u / 16 * 16 : kHeapBegin + 0x20008 + n * 8u);
  h.index.Seal();
  REQUIRE(h.index.size() == kIndexed);
  for (NodeId n = 0; n < kIndexed; ++n) {
    h.refcount.push_back(n == 3 ? heap::kImmortal : n + 1);
    h.type.push_back(n % 2);
    h.flags.push_back(static_cast<std::uint8_t>(heap::kTracked | n % 3));
    h.interpreter.push_back(n == 5 ? heap::kNoInterpreter : static_cast<std::uint8_t>(n % 2));
    if (with_leaves) h.size_bytes.push_back(n == 7 ? heap::kUnknownSize : n == 8 ? std::uint64_t{5} << 32 : 48 + n);
    s.verdict.state.push_back(n % 5 == 0 ? analysis::State::kUnreachable : n == 1 ? analysis::State::kUncollectable : analysis::State::kReachable);
  }
  std::vector<graph::CsrGraph::Block> blocks(2);
  for (NodeId n = 0; n < kIndexed; ++n) {
    graph::CsrGraph::Block& b = blocks[n / 32];
    if (b.offsets.empty()) {
      b.first_node = n;
      b.offsets.push_back(0);
    }
    for (NodeId i = 0; i < n % 4; ++i) b.edges.push_back((n * 7 + i) % kIndexed);
    b.offsets.push_back(static_cast<std::uint32_t>(b.edges.size()));
  }
  h.graph = graph::CsrGraph(std::move(blocks));
  h.with_leaves = with_leaves;
  h.deficit_stays_zero = true;
  h.owns_beside = {{2, 1}, {3, 2}};
  h.types.resize(2);
  h.types[0] = {0x5000, "app.Node", "", heap::TypeRecord::Finalizer::kDel, true, false, "", ""};
  h.types[1] = {0x6000, "ext.\xff", "/usr/lib/ext.so", heap::TypeRecord::Finalizer::kTpDel, false, true, "untrusted-code", "its file is not known"};
  h.interpreters.resize(2);
  h.interpreters[0] = {0, 0x7000, kHeapBegin, {4, heap::kNoNode}, {kHeapBegin, 0x9000}, {1, 2, 3, 4, 5, 6}, true, heap::CollectionPhase::kFreeing, 32, 9, {1, 2}};
  h.interpreters[1].id = 1;
  h.coverage.objects = kIndexed;
  h.coverage.approximate_objects = 1;
  h.coverage.unreadable_objects = 2;
  h.coverage.dangling_references = 3;
  h.coverage.dangling_objects = 4;
  h.coverage.lists_complete = false;
  h.coverage.detached_lists = 5;
  h.coverage.type_errors = 6;
  h.coverage.damaged_objects = 7;
  h.coverage.left_out_objects = 8;
  h.coverage.unread_garbage = {"why"};
  h.coverage.notes = {"cut", "short"};
  h.coverage.in_flight = {"half a link"};
  h.borrowed = {{1, 2}, {1, 3}, {4, 0}};
  h.quality = {{2, 1}, {9, 5}};
  h.not_gc = {6};
  h.incomplete = {7, 8};
  h.condemned = {10, 11};
  h.held_by_dying = {12, 3, 12};
  h.dying = {13};
  analysis::Verdict& v = s.verdict;
  v.in_garbage.assign(kIndexed, false);
  v.in_garbage[4] = true;
  v.unreachable_set = IndexedNodes({0, 5, 10});
  v.held_by_garbage = IndexedNodes({4});
  v.not_known = IndexedNodes({39});
  v.unreachable = 8;
  v.collectable = 7;
  v.uncollectable = 1;
  v.kept_by_finalizer = 2;
  v.garbage_count = 3;
  v.frozen_count = 4;
  v.unreachable_upper = 9;
  v.negative_counts = 6;
  v.certainty = analysis::Certainty::kLowerBound;
  v.interpreters = {{1, 2, 3, 4, 5}, {6, 7, 8, 9, 10}, {0, 0, 0, 0, 1}};
  s.roots.places = {"", "f() at app.py:3"};
  s.roots.notes = {"a stack is missing"};
  s.roots.roots = {{kHeapBegin, heap::RootKind::kFrame, 1, "local x", "x", heap::Root::Shape::kCell}, {kHeapBegin + 0x310, heap::RootKind::kNative, 0, "", "", heap::Root::Shape::kPlain}};
  return s;
}

class StopsAt final : public ProgressSink {
 public:
  explicit StopsAt(std::string_view stage) : stage_(stage) {}
  bool Update(std::string_view stage, std::uint64_t, std::uint64_t) override { return stage != stage_; }

 private:
  std::string_view stage_;
};

// A folder with a core and the index of it.
class IndexFolder {
 public:
  IndexFolder() {
    char name[] = "/tmp/pygc-index-XXXXXX";
    REQUIRE(mkdtemp(name) != nullptr);
    folder = name;
    core = folder + "/core.1";
    index = folder + "/saved.pygc";
    std::string bytes(300000, '\0');
    for (std::size_t i = 0; i < bytes.size(); i += i < 150000 ? 37 : 9000) bytes[i] = static_cast<char>(i * 31 + 1);
    Write(core, bytes);
    options.open.executable = "/usr/bin/python3";
    options.open.sysroot = "/target";
    options.open.debug_directories = {"/debug", ""};
    options.open.module_files = {{"libc.so.6", "/lib/libc.so.6"}};
    options.open.trust_file = true;
    options.layout_file = "my.layout";
    options.trust_anonymous_code = true;
    REQUIRE(Save(quiet));
  }
  ~IndexFolder() { std::filesystem::remove_all(folder); }
  IndexFolder(const IndexFolder&) = delete;
  IndexFolder& operator=(const IndexFolder&) = delete;

  static void Write(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }
  static std::string Read(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  Result<void> Save(ProgressSink& progress) const {
    return WriteIndex(index, core, options, {tracked.heap, tracked.verdict, tracked.roots}, {everything.heap, everything.verdict, everything.roots}, progress);
  }
  /// What stops the index from being opened.
  [[nodiscard]] std::string Refusal(ErrorCode code = ErrorCode::kNotAnalysable) {
    const auto opened = SavedIndex::Open(index, quiet);
    REQUIRE_FALSE(opened);
    CHECK(opened.error().code == code);
    return opened.error().message;
  }
  [[nodiscard]] Result<IndexedSnapshot> Load(bool with_leaves, std::size_t interpreters = 2) {
    const auto opened = SavedIndex::Open(index, quiet);
    REQUIRE(opened);
    return (*opened)->Load(with_leaves, process, interpreters, quiet);
  }

  std::string folder, core, index;
  IndexOptions options;
  IndexedSnapshot tracked = FullSnapshot(false), everything = FullSnapshot(true);
  SilentProgress quiet;
  target::Process process = test::FakeProcess().Map(kHeapBegin, 0x30000).Build();
};

// The file's sum, a second time: four lanes over words of eight bytes, the rest filled with zeros.
std::uint64_t SumOf(std::string bytes) {
  constexpr std::uint64_t kFirst = 0x9E3779B97F4A7C15u, kSecond = 0xC2B2AE3D27D4EB4Fu;
  std::uint64_t lanes[4] = {1, 2, 3, 4}, h = bytes.size();
  bytes.resize((bytes.size() + 31) / 32 * 32);
  for (std::size_t at = 0; at < bytes.size(); at += 8) {
    std::uint64_t word = 0, &lane = lanes[at / 8 % 4];
    std::memcpy(&word, bytes.data() + at, 8);
    lane = std::rotl(lane ^ (word * kFirst), 29) * kSecond;
  }
  for (const std::uint64_t lane : lanes) h = std::rotl(h ^ lane, 31) * kFirst;
  return h ^ (h >> 32);
}

// The file's parts, to change them and make its sums right again.
struct IndexBytes {
  struct Part {
    std::uint32_t id;
    std::uint64_t offset, size;
    std::size_t entry;  // where it stands in the head
  };
  explicit IndexBytes(std::string all) : bytes(std::move(all)) {
    const std::size_t end = 32 + Number<std::uint32_t>(12);
    std::uint64_t count = 24;  // of two snapshots
    table = end - count * 28;
    REQUIRE(Number<std::uint64_t>(table - 8) == count);
    for (std::size_t at = table; at < end; at += 28) parts.push_back({Number<std::uint32_t>(at), Number<std::uint64_t>(at + 4), Number<std::uint64_t>(at + 12), at});
  }
  template <typename T>
  [[nodiscard]] T Number(std::size_t at) const {
    T value;
    std::memcpy(&value, bytes.data() + at, sizeof value);
    return value;
  }
  template <typename T>
  void Put(std::size_t at, T value) {
    std::memcpy(bytes.data() + at, &value, sizeof value);
  }
  void MendHead() { Put(24, SumOf(bytes.substr(32, Number<std::uint32_t>(12)))); }
  void Mend(const Part& part) {
    Put(part.entry + 20, SumOf(bytes.substr(part.offset, part.size)));
    MendHead();
  }
  std::string bytes;
  std::size_t table = 0;
  std::vector<Part> parts;
};

void CheckEqual(const IndexedSnapshot& a, const IndexedSnapshot& b) {
  const heap::HeapSnapshot &h = a.heap, &g = b.heap;
  REQUIRE(h.size() == g.size());
  for (NodeId n = 0; n < h.size(); ++n) {
    CHECK(h.AddressOf(n) == g.AddressOf(n));
    const auto s = h.graph.Successors(n), t = g.graph.Successors(n);
    CHECK(std::vector<NodeId>(s.begin(), s.end()) == std::vector<NodeId>(t.begin(), t.end()));
    CHECK(h.OwnsBeside(n) == g.OwnsBeside(n));
  }
  CHECK(h.refcount == g.refcount);
  CHECK(h.type == g.type);
  CHECK(h.flags == g.flags);
  CHECK(h.interpreter == g.interpreter);
  CHECK((h.size_bytes == g.size_bytes));
  CHECK(h.borrowed == g.borrowed);
  CHECK(h.quality == g.quality);
  CHECK(h.with_leaves == g.with_leaves);
  CHECK(h.deficit_stays_zero == g.deficit_stays_zero);
  CHECK(h.not_gc == g.not_gc);
  CHECK(h.incomplete == g.incomplete);
  CHECK(h.condemned == g.condemned);
  CHECK(h.held_by_dying == g.held_by_dying);
  CHECK(h.dying == g.dying);
  REQUIRE(h.types.size() == g.types.size());
  for (std::size_t i = 0; i < h.types.size(); ++i) {
    const heap::TypeRecord &t = h.types[i], &u = g.types[i];
    CHECK(t.address == u.address);
    CHECK(t.name == u.name);
    CHECK(t.module_file == u.module_file);
    CHECK((t.finalizer == u.finalizer && t.legacy_finalizer == u.legacy_finalizer && t.may_have_legacy_finalizer == u.may_have_legacy_finalizer));
    CHECK(t.approximate_code == u.approximate_code);
    CHECK(t.approximate_reason == u.approximate_reason);
  }
  REQUIRE(h.interpreters.size() == g.interpreters.size());
  for (std::size_t i = 0; i < h.interpreters.size(); ++i) {
    const heap::InterpreterRecord &p = h.interpreters[i], &q = g.interpreters[i];
    CHECK((p.id == q.id && p.address == q.address && p.garbage_list == q.garbage_list && p.collecting == q.collecting && p.phase == q.phase && p.debug == q.debug));
    CHECK(p.garbage == q.garbage);
    CHECK(p.garbage_addresses == q.garbage_addresses);
    CHECK(std::equal(std::begin(p.generation_counts), std::end(p.generation_counts), q.generation_counts));
    CHECK(p.garbage_list_node == q.garbage_list_node);
    CHECK(p.roots == q.roots);
  }
  const heap::Coverage &c = h.coverage, &d = g.coverage;
  CHECK((c.objects == d.objects && c.approximate_objects == d.approximate_objects && c.unreadable_objects == d.unreadable_objects));
  CHECK((c.dangling_references == d.dangling_references && c.dangling_objects == d.dangling_objects && c.lists_complete == d.lists_complete));
  CHECK((c.detached_lists == d.detached_lists && c.type_errors == d.type_errors && c.damaged_objects == d.damaged_objects && c.left_out_objects == d.left_out_objects));
  CHECK(c.unread_garbage == d.unread_garbage);
  CHECK(c.notes == d.notes);
  CHECK(c.in_flight == d.in_flight);
  const analysis::Verdict &v = a.verdict, &w = b.verdict;
  CHECK(v.state == w.state);
  CHECK(v.in_garbage == w.in_garbage);
  CHECK(v.frozen == w.frozen);
  for (auto set : {&analysis::Verdict::unreachable_set, &analysis::Verdict::held_by_garbage, &analysis::Verdict::held_by_frozen, &analysis::Verdict::freed_with_cycles,
                   &analysis::Verdict::not_known}) {
    CHECK((v.*set).node_count() == (w.*set).node_count());
    CHECK((v.*set).Nodes() == (w.*set).Nodes());
  }
  for (auto n : {&analysis::Verdict::unreachable, &analysis::Verdict::collectable, &analysis::Verdict::uncollectable, &analysis::Verdict::kept_by_finalizer,
                 &analysis::Verdict::garbage_count, &analysis::Verdict::frozen_count, &analysis::Verdict::unreachable_upper, &analysis::Verdict::negative_counts})
    CHECK(v.*n == w.*n);
  CHECK(v.certainty == w.certainty);
  REQUIRE(v.interpreters.size() == w.interpreters.size());
  for (std::size_t i = 0; i < v.interpreters.size(); ++i) {
    const analysis::InterpreterTotals &p = v.interpreters[i], &q = w.interpreters[i];
    CHECK((p.unreachable == q.unreachable && p.collectable == q.collectable && p.uncollectable == q.uncollectable && p.in_garbage == q.in_garbage && p.frozen == q.frozen));
  }
  CHECK(a.roots.places == b.roots.places);
  CHECK(a.roots.notes == b.roots.notes);
  REQUIRE(a.roots.roots.size() == b.roots.roots.size());
  for (std::size_t i = 0; i < a.roots.roots.size(); ++i) {
    const heap::Root &p = a.roots.roots[i], &q = b.roots.roots[i];
    CHECK((p.object == q.object && p.kind == q.kind && p.place == q.place && p.name == q.name && p.expression == q.expression && p.shape == q.shape));
  }
}

// What later stages rely on without looking again.
void CheckInBounds(const IndexedSnapshot& s) {
  const heap::HeapSnapshot& h = s.heap;
  const NodeId n = h.size();
  bool good = h.type.size() == n && h.flags.size() == n && s.verdict.state.size() == n && h.graph.node_count() == n && h.index.size() == n;
  for (const std::uint32_t t : h.type) good = good && t < h.types.size();
  for (NodeId i = 0; good && i < n; ++i) {
    for (const NodeId to : h.graph.Successors(i)) good = good && to < n;
    good = good && h.OwnsBeside(i) <= h.graph.Successors(i).size();
    good = good && (h.interpreter.empty() || h.interpreter[i] < h.interpreters.size() || h.interpreter[i] == heap::kNoInterpreter);
    good = good && s.verdict.state[i] <= analysis::State::kUncollectable;
  }
  for (const auto& [from, to] : h.borrowed) good = good && from < n && to < n;
  for (const std::vector<NodeId>* nodes : {&h.not_gc, &h.incomplete, &h.condemned, &h.held_by_dying, &h.dying})
    for (const NodeId node : *nodes) good = good && node < n;
  for (const heap::InterpreterRecord& i : h.interpreters) {
    for (const NodeId node : i.garbage) good = good && (node < n || node == heap::kNoNode);
    for (const NodeId node : i.roots) good = good && node < n;
    good = good && i.garbage.size() == i.garbage_addresses.size();
  }
  for (const heap::Root& r : s.roots.roots) good = good && r.place < s.roots.places.size();
  CHECK(good);
}

bool Says(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("an index gives back every column, list and option") {
  IndexFolder f;
  CHECK(IsIndex(f.index));
  CHECK_FALSE(IsIndex(f.core));
  CHECK_FALSE(IsIndex(f.folder));
  CHECK_FALSE(IsIndex(f.folder + "/nothing"));
  struct stat status {};
  REQUIRE(stat(f.index.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
  const auto opened = SavedIndex::Open(f.index, f.quiet);
  REQUIRE(opened);
  CHECK((*opened)->core_path() == std::filesystem::canonical(f.core));
  const IndexOptions& o = (*opened)->options();
  CHECK(o.open.executable == f.options.open.executable);
  CHECK(o.open.sysroot == f.options.open.sysroot);
  CHECK(o.open.debug_directories == f.options.open.debug_directories);
  CHECK(o.open.module_files == f.options.open.module_files);
  CHECK(o.open.trust_file);
  CHECK(o.layout_file == f.options.layout_file);
  CHECK(o.trust_anonymous_code);
  for (const bool with_leaves : {false, true}) {
    CAPTURE(with_leaves);
    const Result<IndexedSnapshot> s = f.Load(with_leaves);
    REQUIRE(s);
    CheckEqual(*s, with_leaves ? f.everything : f.tracked);
  }
}

TEST_CASE("the same heap gives the same bytes") {
  IndexFolder f;
  const std::string first = IndexFolder::Read(f.index);
  REQUIRE(f.Save(f.quiet));
  CHECK(IndexFolder::Read(f.index) == first);
}

TEST_CASE("the core of an index: touched, moved beside it, written to, another one, gone") {
  IndexFolder f;
  const std::string bytes = IndexFolder::Read(f.core);
  IndexFolder::Write(f.core, bytes);  // other times: its bytes are read, all of them
  CHECK(SavedIndex::Open(f.index, f.quiet));
  StopsAt stops("reading the core for its checksum");
  const auto stopped = SavedIndex::Open(f.index, stops);
  REQUIRE_FALSE(stopped);
  CHECK(stopped.error().code == ErrorCode::kCancelled);
  std::string changed = bytes;
  changed[4096 + 300] ^= 1;  // in the middle between two samples or not: whichever, it is another one
  IndexFolder::Write(f.core, changed);
  CHECK(Says(f.Refusal(), "another one than that the index was made of, or was changed since"));
  IndexFolder::Write(f.core, bytes + "x");
  CHECK(Says(f.Refusal(), "or was changed since"));
  std::filesystem::remove(f.core);
  CHECK(Says(f.Refusal(), "needs its core, with the memory"));
  const std::string beside = f.folder + "/moved";
  std::filesystem::create_directory(beside);
  IndexFolder::Write(beside + "/core.1", bytes);
  std::filesystem::rename(f.index, beside + "/saved.pygc");
  f.index = beside + "/saved.pygc";
  const auto moved = SavedIndex::Open(f.index, f.quiet);
  REQUIRE(moved);
  CHECK(std::filesystem::equivalent((*moved)->core_path(), beside + "/core.1"));
  std::filesystem::create_directory(f.core);  // where it was
  std::filesystem::remove(beside + "/core.1");
  CHECK(Says(f.Refusal(), "is no file"));
}

TEST_CASE("zeros and holes of a core are the same") {
  IndexFolder f;
  std::string bytes(std::size_t{1} << 20, '\0');
  bytes.replace(70000, 4, "core");
  IndexFolder::Write(f.core, bytes);
  REQUIRE(f.Save(f.quiet));
  std::filesystem::remove(f.core);
  IndexFolder::Write(f.core, bytes.substr(0, 70004));
  std::filesystem::resize_file(f.core, bytes.size());
  CHECK(SavedIndex::Open(f.index, f.quiet));
}

TEST_CASE("what cannot be written or is interrupted leaves no index") {
  IndexFolder f;
  std::filesystem::remove(f.index);
  for (const char* stage : {"reading the core for its checksum", "writing the index"}) {
    StopsAt stops(stage);
    const Result<void> r = f.Save(stops);
    REQUIRE_FALSE(r);
    CHECK(r.error().code == ErrorCode::kCancelled);
  }
  CHECK_FALSE(std::filesystem::exists(f.index));
  f.options.open.debug_directories.assign(2, std::string(600000, 'd'));
  Result<void> r = f.Save(f.quiet);
  REQUIRE_FALSE(r);
  CHECK(r.error().code == ErrorCode::kUsage);
  CHECK(Says(r.error().message, "too many for an index"));
  f.options = {};
  f.index = f.folder + "/no/such/folder";
  r = f.Save(f.quiet);
  REQUIRE_FALSE(r);
  CHECK(r.error().code == ErrorCode::kOutput);
  f.index = f.folder + "/saved.pygc";
  f.core = f.folder;
  r = f.Save(f.quiet);
  REQUIRE_FALSE(r);
  CHECK(r.error().code == ErrorCode::kNotAnalysable);
  CHECK(std::distance(std::filesystem::directory_iterator(f.folder), {}) == 1);  // the core
}

TEST_CASE("a damaged head is refused, and the words say how") {
  IndexFolder f;
  const IndexBytes whole(IndexFolder::Read(f.index));
  const auto refusal = [&](auto change) {
    IndexBytes file = whole;
    change(file);
    IndexFolder::Write(f.index, file.bytes);
    return f.Refusal();
  };
  CHECK(Says(refusal([](IndexBytes& i) { i.bytes.resize(20); }), "it ends in its head"));
  CHECK(Says(refusal([](IndexBytes& i) { i.bytes.resize(100); }), "it ends in its head"));
  CHECK(Says(refusal([](IndexBytes& i) {
               i.Put(16, static_cast<std::uint64_t>(i.bytes.size() + 64));
             }),
             "it is cut off"));
  CHECK(Says(refusal([](IndexBytes& i) { i.bytes.resize(i.bytes.size() - 4096); }), "it is cut off"));
  CHECK(Says(refusal([](IndexBytes& i) { i.Put(8, std::uint32_t{254}); }), "has format 254"));
  CHECK(Says(refusal([](IndexBytes& i) { i.Put(12, std::uint32_t{0xFFFFFFFF}); }), "it ends in its head"));
  CHECK(Says(refusal([](IndexBytes& i) { i.bytes[40] ^= 1; }), "the checksum of its head differs"));
  CHECK(Says(refusal([](IndexBytes& i) {
               i.bytes[40] = '9';  // the version that wrote it
               i.MendHead();
             }),
             "was written by pygc 9"));
  CHECK(Says(refusal([](IndexBytes& i) {
               i.Put(i.parts[0].entry + 4, i.parts[0].offset + 1);
               i.MendHead();
             }),
             "its table of sections"));
  CHECK(Says(refusal([](IndexBytes& i) {
               i.Put(i.table - 8, ~std::uint64_t{0});
               i.MendHead();
             }),
             "its table of sections"));
  IndexFolder::Write(f.index, whole.bytes + std::string(64, '\0'));
  CHECK(Says(f.Refusal(), "its table of sections"));
  std::filesystem::remove(f.index);
  CHECK(Says(f.Refusal(ErrorCode::kUsage), "cannot open"));
  std::filesystem::create_directory(f.index);
  CHECK(Says(f.Refusal(), "it is no file"));
}

TEST_CASE("a section that is missing, of another sum or cut short is refused") {
  IndexFolder f;
  const IndexBytes whole(IndexFolder::Read(f.index));
  for (const IndexBytes::Part& part : whole.parts) {
    CAPTURE(part.id);
    const bool with_leaves = part.id > 100;
    IndexBytes gone = whole;
    gone.Put(part.entry, std::uint32_t{99});
    gone.MendHead();
    IndexFolder::Write(f.index, gone.bytes);
    const Result<IndexedSnapshot> without = f.Load(with_leaves);
    REQUIRE_FALSE(without);
    CHECK(without.error().code == ErrorCode::kNotAnalysable);
    CHECK(Says(without.error().message, fmt::format("section {}, which is not there,", part.id)));
    CHECK(f.Load(!with_leaves));  // the other snapshot is whole
    if (part.size == 0) continue;
    IndexBytes other = whole;
    other.bytes[part.offset] ^= 1;
    IndexFolder::Write(f.index, other.bytes);
    const Result<IndexedSnapshot> differs = f.Load(with_leaves);
    REQUIRE_FALSE(differs);
    CHECK(Says(differs.error().message, fmt::format("section {}, whose checksum differs,", part.id)));
    IndexBytes shorter = whole;
    shorter.Put(part.entry + 12, part.size - 1);
    shorter.Mend({part.id, part.offset, part.size - 1, part.entry});
    IndexFolder::Write(f.index, shorter.bytes);
    const Result<IndexedSnapshot> cut = f.Load(with_leaves);
    REQUIRE_FALSE(cut);
    CHECK(cut.error().code == ErrorCode::kNotAnalysable);
  }
}

TEST_CASE("an index that gets shorter or is interrupted while it is read") {
  IndexFolder f;
  const auto opened = SavedIndex::Open(f.index, f.quiet);
  REQUIRE(opened);
  StopsAt stops("reading the index");
  const Result<IndexedSnapshot> stopped = (*opened)->Load(true, f.process, 2, stops);
  REQUIRE_FALSE(stopped);
  CHECK(stopped.error().code == ErrorCode::kCancelled);
  const std::string bytes = IndexFolder::Read(f.index);
  for (const IndexBytes::Part& part : IndexBytes(bytes).parts) {
    if (part.size == 0) continue;
    CAPTURE(part.id);
    REQUIRE(truncate(f.index.c_str(), static_cast<off_t>(part.offset)) == 0);
    const Result<IndexedSnapshot> cut = (*opened)->Load(part.id > 100, f.process, 2, f.quiet);
    REQUIRE_FALSE(cut);
    CHECK(cut.error().code == ErrorCode::kNotAnalysable);
    CHECK(Says(cut.error().message, "cannot be read beyond byte"));
    IndexFolder::Write(f.index, bytes);
  }
  std::filesystem::remove(f.index);
  const Result<IndexedSnapshot> gone = (*opened)->Load(true, f.process, 2, f.quiet);
  REQUIRE_FALSE(gone);
  CHECK(gone.error().code == ErrorCode::kUsage);
}

TEST_CASE("an index of another number of interpreters is refused") {
  IndexFolder f;
  const Result<IndexedSnapshot> r = f.Load(true, 3);
  REQUIRE_FALSE(r);
  CHECK(r.error().code == ErrorCode::kNotAnalysable);
  CHECK(Says(r.error().message, "types, interpreters or roots"));
}

TEST_CASE("whatever a section says with a sum that is right: refused, or nothing in it leads out of its columns") {
  IndexFolder f;
  const IndexBytes whole(IndexFolder::Read(f.index));
  std::size_t refused = 0, tried = 0;
  for (const IndexBytes::Part& part : whole.parts) {
    if (part.id < 100 || part.size == 0) continue;
    CAPTURE(part.id);
    const std::size_t step = part.size > 4096 ? 61 : part.size > 256 ? 3 : 1;
    for (std::uint64_t at = 0; at < part.size; at += step) {
      for (const unsigned char value : {0x00, 0x01, 0xFF}) {
        if (static_cast<unsigned char>(whole.bytes[part.offset + at]) == value) continue;
        CAPTURE(at);
        IndexBytes file = whole;
        file.bytes[part.offset + at] = static_cast<char>(value);
        file.Mend(part);
        IndexFolder::Write(f.index, file.bytes);
        const Result<IndexedSnapshot> r = f.Load(true);
        ++tried;
        if (!r) {
          ++refused;
          if (r.error().code != ErrorCode::kLimit) CHECK(r.error().code == ErrorCode::kNotAnalysable);
        } else {
          CheckInBounds(*r);
        }
      }
    }
  }
  CHECK(tried > 500);
  CHECK(refused > tried / 4);
}
