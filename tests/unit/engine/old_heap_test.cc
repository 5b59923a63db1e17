#include "core/engine/old_heap.h"

#include <doctest/doctest.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

using namespace pygc;
using namespace pygc::engine;

namespace {

constexpr const char* kTables =
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT); CREATE TABLE types(id INTEGER PRIMARY KEY, address INTEGER, name TEXT);"
    "CREATE TABLE objects(id INTEGER PRIMARY KEY, address INTEGER UNIQUE, interpreter INTEGER, type_id INTEGER, size INTEGER, refcount INTEGER, immortal INTEGER,"
    " tracked INTEGER, generation INTEGER, state TEXT, finalizer TEXT, finalized INTEGER, exact INTEGER, label TEXT);"
    "CREATE TABLE refs(src INTEGER, dst INTEGER, label TEXT); CREATE TABLE roots(object_id INTEGER, kind TEXT, detail TEXT);"
    "INSERT INTO meta VALUES('schema_version','1'),('python_version','3.12.1'),('build','default'),('target_pid','47'),('complete','1');"
    "INSERT INTO types VALUES(0, 4096, 'app.Node');";
constexpr const char* kObjects =
    "INSERT INTO objects VALUES(0, 4112, 0, 0, 48, 1, 0, 1, 2, 'unreachable', NULL, 0, 1, 'exact'), (1, 140000000000016, 0, 0, NULL, NULL, 1, 0, NULL, 'reachable', NULL, 0, 1, 'exact');";

struct File {
  explicit File(const std::string& sql) {
    char name[] = "/tmp/pygc-old-XXXXXX";
    close(mkstemp(name));
    path = name;
    sqlite3* db = nullptr;
    REQUIRE(sqlite3_open(name, &db) == SQLITE_OK);
    REQUIRE(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK);
    sqlite3_close(db);
  }
  ~File() { std::remove(path.c_str()); }
  [[nodiscard]] Result<SavedHeap> Read() const {
    SilentProgress progress;
    return ReadSavedHeap(path, progress);
  }
  std::string path;
};

std::string Complaint(const std::string& sql) {
  const Result<SavedHeap> r = File(sql).Read();
  REQUIRE_FALSE(r);
  CHECK(r.error().code == ErrorCode::kNotAnalysable);
  return r.error().message;
}
bool Contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("a saved export becomes a snapshot") {
  const File file(std::string(kTables) + kObjects + "INSERT INTO refs VALUES(0, 1, NULL), (0, 0, '.me'); INSERT INTO roots VALUES(1, 'module', 'sys');");
  CHECK(IsDatabase(file.path));
  const Result<SavedHeap> r = file.Read();
  REQUIRE(r);
  CHECK(r->python == "3.12.1");
  CHECK(r->pid == 47);
  CHECK(r->complete);
  REQUIRE(r->heap.size() == 2);
  CHECK(r->heap.AddressOf(1) == 140000000000016);
  CHECK(r->heap.index.Find(4112) == 0);
  CHECK(r->heap.size_bytes == heap::SizeColumn{48, heap::kUnknownSize});
  CHECK(r->heap.refcount == std::vector<std::uint32_t>{1, heap::kImmortal});
  CHECK(r->heap.IsTracked(0));
  CHECK(r->verdict.state[0] == analysis::State::kUnreachable);
  const auto successors = r->heap.graph.Successors(0);
  CHECK(std::vector<heap::NodeId>(successors.begin(), successors.end()) == std::vector<heap::NodeId>{1, 0});
  CHECK(r->heap.graph.Successors(1).empty());
  REQUIRE(r->roots.roots.size() == 1);
  CHECK(r->roots.roots[0].object == 140000000000016);
}

TEST_CASE("lines that allocated, where the export has them") {
  const std::string graph = std::string(kTables) + kObjects;
  const std::string tables = "CREATE TABLE allocations(object_id INTEGER, address INTEGER, bytes INTEGER, domain INTEGER, traceback_id INTEGER);"
                             "CREATE TABLE tracebacks(id INTEGER, depth INTEGER, file TEXT, line INTEGER);";
  const auto sites = [](const std::string& sql) {
    const Result<SavedHeap> r = File(sql).Read();
    REQUIRE(r);
    std::string text;
    for (const SavedSite& s : r->sites) text += s.place + " " + std::to_string(s.blocks) + " " + std::to_string(s.bytes) + "; ";
    return text;
  };
  CHECK(sites(graph).empty());
  CHECK(sites(graph + tables).empty());
  CHECK(sites(graph + tables + "INSERT INTO tracebacks VALUES(0, 0, 'app.py', 3), (0, 1, 'lib.py', 9), (1, 0, 'app.py', 3), (2, 0, 'b.py', 1);"
              "INSERT INTO allocations VALUES(1, 4112, 48, 0, 0), (NULL, 5000, 2, 0, 1), (NULL, 5002, 7, 0, 1), (NULL, 5100, 7, 0, NULL), (NULL, 5200, 7, 0, 99);") == "app.py:3 3 57; ");
  // Views of these names are not run.
  CHECK(sites(graph + "CREATE TABLE tracebacks(id INTEGER, depth INTEGER, file TEXT, line INTEGER); CREATE VIEW allocations AS SELECT 1 AS traceback_id, 1 AS bytes;").empty());
  CHECK(Contains(Complaint(graph + tables + "INSERT INTO tracebacks VALUES(0, 0, 'a', 1); INSERT INTO allocations VALUES(1, 1, 9223372036854775807, 0, 0), (1, 1, 9223372036854775807, 0, 0);"), "overflow"));
}

TEST_CASE("what is no export, or a damaged one, is refused in a line that says why") {
  CHECK(Contains(Complaint("CREATE TABLE meta(a)"), "not one that pygc's export wrote"));
  CHECK(Contains(Complaint(std::string(kTables) + "UPDATE meta SET value = '9' WHERE key = 'schema_version'"), "schema 9"));
  CHECK(Contains(Complaint(std::string(kTables) + "INSERT INTO objects(id, address, type_id) VALUES(0, 16, 7)"), "of no type"));
  CHECK(Contains(Complaint(std::string(kTables) + "INSERT INTO objects(id, address, type_id) VALUES(3, 16, 0)"), "out of order"));
  CHECK(Contains(Complaint(std::string(kTables) + kObjects + "INSERT INTO objects(id, address, type_id) VALUES(2, 5000, 0)"), "out of order"));
  CHECK(Contains(Complaint(std::string(kTables) + "INSERT INTO objects(id, address, type_id) VALUES(0, 17, 0)"), "not aligned"));
  CHECK(Contains(Complaint(std::string(kTables) + kObjects + "INSERT INTO refs VALUES(0, 9, NULL)"), "leads from or to nowhere"));
  CHECK(Contains(Complaint(std::string(kTables) + kObjects + "INSERT INTO refs VALUES(1, 0, NULL), (0, 1, NULL)"), "out of order"));
  CHECK(Contains(Complaint(std::string(kTables) + kObjects + "INSERT INTO roots VALUES(2, 'x', 'y')"), "a root is no object"));
  CHECK(Contains(Complaint(std::string(kTables) + "DROP TABLE refs; CREATE VIEW refs AS SELECT 1 AS src, 2 AS dst"), "not one that"));
}

TEST_CASE("references that no traversal visits stand behind the others") {
  constexpr const char* kOwned = "CREATE TABLE owned_refs(src INTEGER, dst INTEGER, label TEXT);";
  const std::string refs = "INSERT INTO refs VALUES(0, 1, NULL), (1, 1, NULL);";
  const Result<SavedHeap> r = File(std::string(kTables) + kObjects + refs + kOwned + "INSERT INTO owned_refs VALUES(0, 0, 'key'), (0, 1, NULL);").Read();
  REQUIRE(r);
  const auto first = r->heap.graph.Successors(0);
  CHECK(std::vector<heap::NodeId>(first.begin(), first.end()) == std::vector<heap::NodeId>{1, 0, 1});
  CHECK(r->heap.Visited(0).size() == 1);
  CHECK(r->heap.Visited(1).size() == 1);
  CHECK(Contains(Complaint(std::string(kTables) + kObjects + kOwned + "INSERT INTO owned_refs VALUES(0, 2, NULL)"), "leads from or to nowhere"));
  CHECK(Contains(Complaint(std::string(kTables) + kObjects + kOwned + "INSERT INTO owned_refs VALUES(1, 0, NULL), (0, 1, NULL)"), "out of order"));
}

TEST_CASE("an export of JSON Lines is told by its first line") {
  char name[] = "/tmp/pygc-old-XXXXXX";
  close(mkstemp(name));
  CHECK_FALSE(IsJsonLines(name));
  std::ofstream(name) << "{\"schema\": \"pygc.export/1\",\"pygc\": \"0.1.0\"";
  CHECK(IsJsonLines(name));
  std::remove(name);
  CHECK_FALSE(IsJsonLines("/nonexistent"));
}

TEST_CASE("a file that is no database is none") {
  char name[] = "/tmp/pygc-old-XXXXXX";
  close(mkstemp(name));
  CHECK_FALSE(IsDatabase(name));
  std::ofstream(name) << "SQLite format 3";
  CHECK(IsDatabase(name));
  SilentProgress progress;
  CHECK_FALSE(ReadSavedHeap(name, progress));
  std::remove(name);
  CHECK_FALSE(IsDatabase("/nonexistent"));
}
