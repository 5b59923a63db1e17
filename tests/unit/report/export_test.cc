#include "core/report/export.h"

#include <doctest/doctest.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "core/report/output_file.h"

using namespace pygc;
using namespace pygc::report;

namespace export_test {
namespace {

struct Directory {
  Directory() {
    char name[] = "/tmp/pygc-export-XXXXXX";
    path = mkdtemp(name);
  }
  ~Directory() { std::filesystem::remove_all(path); }
  [[nodiscard]] std::string operator/(const std::string& name) const { return path + "/" + name; }
  [[nodiscard]] std::size_t Entries() const {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(path), std::filesystem::directory_iterator()));
  }
  std::string path;
};

// Four objects: a tracked Node in a cycle with a dict, an immortal str, an approximate tracked thing that is reachable.
struct Heap {
  Heap() {
    const heap::ObjectIndex::Range range{{0x1000, 0x2000}, 4};
    heap.index = heap::ObjectIndex(std::span(&range, 1));
    for (const Address a : {0x1010, 0x1040, 0x1080, 0x10c0}) heap.index.Mark(a);
    heap.index.Seal();
    heap.refcount = {1, 1, heap::kImmortal, heap::kSaturated};
    heap.type = {0, 1, 2, 3};
    heap.flags = {heap::kTracked | 2 | heap::kFinalized, heap::kTracked | heap::kPermanent, heap::kUntracked,
                  heap::kTracked | heap::kDetached | heap::kApproximate};
    heap.size_bytes = {48, 232, ~0ull, 100};
    heap.graph = graph::CsrGraph({0, 2, 4, 4, 4}, {1, 1, 0, 2});
    heap.types.resize(4);
    heap.types[0].name = "app.Node";
    heap.types[0].finalizer = heap::TypeRecord::Finalizer::kDel;
    heap.types[1].name = "dict";
    heap.types[2].name = "evil\xff\x1b";
    heap.types[3].name = "x.Scan";
    heap.quality = {{3, 1}};
    heap.interpreters.resize(1);
    heap.with_leaves = true;
    verdict.state = {analysis::State::kUnreachable, analysis::State::kUncollectable, analysis::State::kReachable, analysis::State::kReachable};
    verdict.unreachable = 1;
    header.command = "export";
    header.target.python = "3.12.1";
  }
  [[nodiscard]] ExportInput Input() const { return {heap, verdict, header, {"exact", "approximate"}, {}}; }
  heap::HeapSnapshot heap;
  analysis::Verdict verdict;
  Header header;
};

std::vector<std::string> Query(const std::string& path, const char* sql) {
  sqlite3* db = nullptr;
  REQUIRE(sqlite3_open_v2(path.c_str(), &db, SQLITE_OPEN_READONLY, nullptr) == SQLITE_OK);
  std::vector<std::string> rows;
  const auto add = [](void* out, int n, char** values, char**) {
    std::string row;
    for (int i = 0; i < n; ++i) row += std::string(i ? "|" : "") + (values[i] ? values[i] : "NULL");
    static_cast<std::vector<std::string>*>(out)->push_back(row);
    return 0;
  };
  CHECK(sqlite3_exec(db, sql, add, &rows, nullptr) == SQLITE_OK);
  sqlite3_close(db);
  return rows;
}

using Rows = std::vector<std::string>;

class CancelAt final : public ProgressSink {
 public:
  explicit CancelAt(int calls) : left_(calls) {}
  bool Update(std::string_view, std::uint64_t, std::uint64_t) override { return left_-- > 0; }

 private:
  int left_;
};

}  // namespace

TEST_CASE("the database has the tables of the contract, filled from the columns") {
  const Directory dir;
  const Heap heap;
  SilentProgress progress;
  const std::string path = dir / "heap.db";
  {
    Result<OutputFile> file = OutputFile::Create(path, false);
    REQUIRE(file);
    REQUIRE(WriteSqlite(heap.Input(), *file, progress));
    CHECK_FALSE(std::filesystem::exists(path));
    // Without a name, so that a program that is killed leaves nothing; under another one where the file system cannot do that.
    CHECK(dir.Entries() == (file->temporary_path().starts_with("/proc/") ? 0 : 1));
    REQUIRE(file->Commit());
  }
  CHECK(dir.Entries() == 1);
  struct stat st {};
  REQUIRE(stat(path.c_str(), &st) == 0);
  CHECK((st.st_mode & 0777) == 0600);

  CHECK(Query(path,
              "select id, address, interpreter, type_id, size, refcount, immortal, tracked, generation, state, finalizer, finalized, exact, label "
              "from objects order by id") ==
        Rows{"0|4112|0|0|48|1|0|1|2|unreachable|__del__|1|1|exact", "1|4160|0|1|232|1|0|1|3|uncollectable|NULL|0|1|exact",
             "2|4224|0|2|NULL|NULL|1|0|NULL|reachable|NULL|0|1|exact", "3|4288|0|3|100|NULL|0|1|NULL|reachable|NULL|0|0|approximate"});
  CHECK(Query(path, "select src, dst, label from refs") == Rows{"0|1|NULL", "0|1|NULL", "1|0|NULL", "1|2|NULL"});
  CHECK(Query(path, "select name from types where id < 2") == Rows{"app.Node", "dict"});
  CHECK(Query(path, "select name from types where id = 2") == Rows{"evil\\xff\x1b"});  // data, not text for a terminal: only made valid UTF-8
  CHECK(Query(path, "select count(*) from refcount_findings") == Rows{"0"});
  CHECK(Query(path, "select count(*) from roots") == Rows{"0"});
  CHECK(Query(path, "select value from meta where key in ('python_version', 'complete', 'schema_version') order by key") == Rows{"1", "3.12.1", "1"});
}

TEST_CASE("roots stand in their table, and those that are no object of the graph do not") {
  const Directory dir;
  const Heap heap;
  SilentProgress progress;
  heap::RootSet roots;
  roots.places.push_back("f() at app.py:12");
  for (const Address a : {0x1080, 0x9990}) {
    heap::Root& root = roots.roots.emplace_back();
    root.object = a;
    root.kind = heap::RootKind::kFrame;
    root.name = "local x\xff";
    root.place = 1;
  }
  ExportInput input = heap.Input();
  input.roots = &roots;
  Result<OutputFile> file = OutputFile::Create(dir / "heap.db", false);
  REQUIRE(file);
  REQUIRE(WriteSqlite(input, *file, progress));
  REQUIRE(file->Commit());
  CHECK(Query(dir / "heap.db", "select object_id, kind, detail from roots") == Rows{"2|frame|local x\\xff in f() at app.py:12"});
}

TEST_CASE("what tracemalloc saw stands in its tables and records") {
  const Directory dir;
  const Heap heap;
  SilentProgress progress;
  ExportInput input = heap.Input();
  input.allocations = [] {
    ExportAllocations all;
    all.files = {"app.py", "a \"b\""};
    all.tracebacks = {{{0, 12}, {1, 7}}, {}};
    all.blocks = {{2, 0, 0, 0x1070, 48}, {ExportBlock::kNone, ExportBlock::kNone, 77, 0x10, 5}};
    return all;
  };
  Result<OutputFile> file = OutputFile::Create(dir / "heap.db", false);
  REQUIRE(file);
  REQUIRE(WriteSqlite(input, *file, progress));
  REQUIRE(file->Commit());
  CHECK(Query(dir / "heap.db", "select object_id, address, bytes, domain, traceback_id from allocations") == Rows{"2|4208|48|0|0", "NULL|16|5|77|NULL"});
  CHECK(Query(dir / "heap.db", "select id, depth, file, line from tracebacks") == Rows{"0|0|app.py|12", "0|1|a \"b\"|7"});
  std::string lines;
  REQUIRE(WriteJsonLines(input, [&](std::string_view bytes) { lines += bytes; return true; }, progress));
  CHECK(lines.ends_with(R"({"record":"traceback","id":0,"frames":[{"file":"app.py","line":12},{"file":"a \"b\"","line":7}]}
{"record":"traceback","id":1,"frames":[]}
{"record":"allocation","object":2,"address":"0x1070","bytes":48,"domain":0,"traceback":0}
{"record":"allocation","object":null,"address":"0x10","bytes":5,"domain":77,"traceback":null}
)"));
}

TEST_CASE("references carry their labels, where they are known") {
  const Directory dir;
  const Heap heap;
  SilentProgress progress;
  ExportInput input = heap.Input();
  input.edge_labels = [](heap::NodeId n, std::vector<std::string>& labels) {
    if (n == 0) labels = {".a", "[+0x10]->+0x8"};
    if (n == 1) labels = {"", "evil\xff"};
  };
  Result<OutputFile> file = OutputFile::Create(dir / "heap.db", false);
  REQUIRE(file);
  REQUIRE(WriteSqlite(input, *file, progress));
  REQUIRE(file->Commit());
  CHECK(Query(dir / "heap.db", "select src, dst, label from refs") == Rows{"0|1|.a", "0|1|[+0x10]->+0x8", "1|0|NULL", "1|2|evil\\xff"});
}

TEST_CASE("a cancelled or failed export leaves nothing behind") {
  const Directory dir;
  const Heap heap;
  for (int calls = 0; calls < 3; ++calls) {
    CAPTURE(calls);
    CancelAt progress(calls);
    {
      Result<OutputFile> file = OutputFile::Create(dir / "heap.db", false);
      REQUIRE(file);
      const Result<void> r = WriteSqlite(heap.Input(), *file, progress);
      REQUIRE_FALSE(r);
      CHECK(r.error().code == ErrorCode::kCancelled);
    }
    CHECK(dir.Entries() == 0);
  }
  const Result<OutputFile> nowhere = OutputFile::Create(dir / "no/such/heap.db", false);
  REQUIRE_FALSE(nowhere);
  CHECK(nowhere.error().code == ErrorCode::kOutput);
  CHECK_FALSE(OutputFile::Create(dir.path, true));
  CHECK_FALSE(OutputFile::Create("/dev/null", false));
}

TEST_CASE("a full disk is an output error") {
  Result<OutputFile> full = OutputFile::Create("/dev/full", true);
  REQUIRE(full);
  const Result<void> r = full->Write("x");
  REQUIRE_FALSE(r);
  CHECK(r.error().code == ErrorCode::kOutput);
}

TEST_CASE("an existing file is replaced only by a complete one") {
  const Directory dir;
  std::ofstream(dir / "out") << "old";
  {
    Result<OutputFile> file = OutputFile::Create(dir / "out", true);
    REQUIRE(file);
    REQUIRE(file->Write("new"));
  }
  std::string text;
  std::ifstream(dir / "out") >> text;
  CHECK(text == "old");
  {
    Result<OutputFile> file = OutputFile::Create(dir / "out", true);
    REQUIRE(file->Write("new"));
    REQUIRE(file->Commit());
  }
  std::ifstream(dir / "out") >> text;
  CHECK(text == "new");
}

TEST_CASE("JSON lines: the envelope, the types, then each object with its references") {
  const Heap heap;
  SilentProgress progress;
  std::string text;
  REQUIRE(WriteJsonLines(
      heap.Input(),
      [&](std::string_view bytes) {
        text += bytes;
        return true;
      },
      progress));
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find('\n', at);
    REQUIRE(end != std::string::npos);
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  REQUIRE(lines.size() == 9);
  CHECK(lines[0].starts_with("{\"schema\": \"pygc.export/1\""));
  CHECK(lines[1] == R"({"record":"type","id":0,"address":"0x0","name":"app.Node"})");
  CHECK(lines[3] == R"({"record":"type","id":2,"address":"0x0","name":"evil\\xff\u001B"})");
  CHECK(
      lines[5] ==
      R"({"record":"object","id":0,"address":"0x1010","type":0,"interpreter":0,"size":48,"refcount":1,"generation":2,"immortal":false,"tracked":true,"state":"unreachable","finalizer":"__del__","finalized":true,"exact":true,"label":"exact","refs":[1,1]})");
  CHECK(
      lines[7] ==
      R"({"record":"object","id":2,"address":"0x1080","type":2,"interpreter":0,"size":null,"refcount":null,"generation":null,"immortal":true,"tracked":false,"state":"reachable","finalizer":null,"finalized":false,"exact":true,"label":"exact","refs":[]})");
}

TEST_CASE("JSON lines: labels stand beside the references, in their order; null where one is not known") {
  const Heap heap;
  SilentProgress progress;
  ExportInput input = heap.Input();
  input.edge_labels = [](heap::NodeId n, std::vector<std::string>& labels) {
    if (n == 0) labels = {".a", "[+0x10]->+0x8"};
    if (n == 1) labels = {"", "evil\xff"};
  };
  std::string text;
  REQUIRE(WriteJsonLines(
      input,
      [&](std::string_view bytes) {
        text += bytes;
        return true;
      },
      progress));
  CHECK(text.find(R"("refs":[1,1],"ref_labels":[".a","[+0x10]->+0x8"]})") != std::string::npos);
  CHECK(text.find(R"("refs":[0,2],"ref_labels":[null,"evil\\xff"]})") != std::string::npos);
  CHECK(text.find(R"("refs":[]})") != std::string::npos);
}

TEST_CASE("JSON lines end quietly when nobody reads any more") {
  const Heap heap;
  SilentProgress progress;
  int calls = 0;
  CHECK(WriteJsonLines(
      heap.Input(), [&](std::string_view) { return ++calls < 2; }, progress));
  CHECK(calls == 2);
}

}  // namespace export_test
