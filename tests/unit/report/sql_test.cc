// The virtual tables against the file that the export writes of the same heap: same query, same rows.
#include "core/report/sql.h"

#include <doctest/doctest.h>
#include <sqlite3.h>
#include <unistd.h>

#include <filesystem>
#include <random>

#include "core/report/output_file.h"
#include "tests/support/sql_heap.h"

using namespace pygc;
using namespace pygc::report;
using pygc::test::kNodes;
using pygc::test::SourcesOf;
using pygc::test::SqlHeap;

namespace sql_test {
namespace {

std::string CellOf(const SqlValue& v) {
  return v.kind == SqlValue::Kind::kNull ? "NULL" : v.kind == SqlValue::Kind::kInteger ? std::to_string(v.integer) : v.kind == SqlValue::Kind::kReal ? std::to_string(v.real) : v.text;
}

using Rows = std::vector<std::string>;

struct Fixture {
  Fixture() : input(heap.Input()), sources(SourcesOf(heap, input)) {}
  [[nodiscard]] Result<SqlReport> Run(const std::string& query, SqlBounds bounds = {}) {
    SilentProgress progress;
    return RunSqlQuery(sources, query, bounds, progress);
  }
  [[nodiscard]] Rows Query(const std::string& query) {
    const Result<SqlReport> r = Run(query);
    if (!r) return {"error: " + r.error().message};
    Rows rows;
    for (const SqlRow& row : r->rows) {
      std::string line;
      for (const SqlValue& v : row) line += (line.empty() ? "" : "|") + CellOf(v);
      rows.push_back(line);
    }
    return rows;
  }
  [[nodiscard]] std::string Complaint(const std::string& query) {
    const Result<SqlReport> r = Run(query);
    REQUIRE_FALSE(r.has_value());
    CHECK(r.error().code == ErrorCode::kUsage);
    return r.error().message;
  }
  SqlHeap heap;
  ExportInput input;
  SqlSources sources;
};

struct Exported {
  explicit Exported(const ExportInput& input) {
    char name[] = "/tmp/pygc-sql-XXXXXX";
    folder = mkdtemp(name);
    SilentProgress progress;
    Result<OutputFile> file = OutputFile::Create(folder + "/heap.db", false);
    REQUIRE(file);
    REQUIRE(WriteSqlite(input, *file, progress));
    REQUIRE(file->Commit());
    REQUIRE(sqlite3_open_v2((folder + "/heap.db").c_str(), &db, SQLITE_OPEN_READONLY, nullptr) == SQLITE_OK);
  }
  ~Exported() {
    sqlite3_close(db);
    std::filesystem::remove_all(folder);
  }
  [[nodiscard]] Rows Query(const std::string& sql) const {
    Rows rows;
    const auto add = [](void* out, int n, char** values, char**) {
      std::string row;
      for (int i = 0; i < n; ++i) row += std::string(i ? "|" : "") + (values[i] ? values[i] : "NULL");
      static_cast<Rows*>(out)->push_back(row);
      return 0;
    };
    CHECK(sqlite3_exec(db, sql.c_str(), add, &rows, nullptr) == SQLITE_OK);
    return rows;
  }
  std::string folder;
  sqlite3* db = nullptr;
};

}  // namespace

TEST_CASE("a query gives the rows that the exported file gives") {
  Fixture f;
  const Exported file(f.input);
  for (const std::string query : {
           "select * from objects", "select rowid, * from objects where id = 7", "select id from objects where id = '7'", "select id from objects where id in (9, 3, 299, 300, -1, 3)",
           "select * from objects where address = 4160", "select address from objects where address in (4160, 4096, 1, 2.5, 'x')", "select * from objects where type_id = 3 order by address",
           "select * from objects where type_id = 5", "select * from objects where type_id = 99", "select id from objects where type_id is null", "select id from objects where id = null",
           "select id from objects where id = 7.0", "select * from types where id = 2", "select * from types order by name desc", "select * from meta order by key",
           "select rowid, * from refs", "select * from refs where src = 5", "select rowid, * from refs where dst = 5", "select * from refs where src = 5 and dst = 6",
           "select * from refs where src = 300 or dst = 300", "select * from refs where label is null and dst = 9", "select dst, count(*) from refs group by dst order by 2 desc, 1 limit 20",
           "select t.name, count(*), sum(o.size) from objects o join types t on t.id = o.type_id group by 1 order by 1",
           "select a.id, b.id from objects a join refs r on r.src = a.id join objects b on b.id = r.dst where a.state = 'unreachable' order by 1, 2",
           "select count(*) from objects a, objects b where a.address = b.address", "select id from objects order by id desc limit 5", "select address from objects order by address limit 5 offset 7",
           "with recursive r(id) as (values(0) union select dst from refs join r on src = r.id) select count(*) from r",
           "select id from objects where type_id in (select id from types where name like '%2') order by id", "select max(id), min(address), avg(size) > 0 from objects",
           "select count(*) from refcount_findings", "select rowid, * from allocations", "select * from allocations where object_id = 5", "select * from allocations where object_id is null",
           "select count(*) from allocations where object_id = 4294967295", "select rowid, * from tracebacks", "select depth, file, line from tracebacks where id = 0",
           "select t.file || ':' || t.line, count(*), sum(a.bytes) from allocations a join tracebacks t on t.id = a.traceback_id and t.depth = 0 group by 1 order by 1"}) {
    CAPTURE(query);
    const Rows want = file.Query(query);
    CHECK(f.Query(query) == want);
    CHECK((!want.empty() || query.find("99") != std::string::npos || query.find("300 or") != std::string::npos || query.find("null") != std::string::npos ||
           query.find("type_id = 5") != std::string::npos || query.find("dst = 6") != std::string::npos));
  }
}

TEST_CASE("lookups by the columns of the contract are no scans") {
  Fixture f;
  for (const std::string where : {"objects where id = 1", "objects where address = 1", "objects where type_id = 1", "refs where src = 1", "refs where dst = 1", "types where id = 1",
                                  "dominators where object_id = 1", "strings where object_id = 1", "roots where object_id = 3", "allocations where object_id = 5", "tracebacks where id = 1"}) {
    CAPTURE(where);
    const Rows plan = f.Query("explain query plan select * from " + where);
    REQUIRE(plan.size() == 1);
    CHECK(plan[0].find("VIRTUAL TABLE INDEX 0") == std::string::npos);
  }
  CHECK(f.Query("explain query plan select * from objects where size = 1")[0].find("VIRTUAL TABLE INDEX 0") != std::string::npos);
}

TEST_CASE("views and tables beside the export's") {
  Fixture f;
  CHECK(f.Query("select object_id, dominator_id, retained_objects from dominators").size() == f.heap.tree.preorder.size());
  CHECK(f.Query("select sum(retained) from dominators where dominator_id is null") == f.Query("select count(*) from dominators"));
  CHECK(f.Query("select d.object_id from dominators d where d.object_id = 299").size() == (f.heap.immediate[299] != heap::kNoNode));
  CHECK(f.Query("select referrer_id, label from referrers where object_id = 5") == f.Query("select src, label from refs where dst = 5"));
  CHECK(f.Query("select referrer_address, referrer_type from referrers where object_id = 5") ==
        f.Query("select o.address, t.name from refs r, objects o, types t where r.dst = 5 and o.id = r.src and t.id = o.type_id order by r.src"));
  CHECK(f.Query("select object_id, length, digest from strings where object_id < 30") == Rows{"4|4|68", "14|NULL|NULL", "24|24|408"});
  CHECK(f.Query("select kind, detail from roots where object_id = 3") == Rows{"module|x in y", "frame|z"});
  CHECK(f.Query("select count(*) from frames") == Rows{"0"});
}

TEST_CASE("the text of strings is only for those who asked for values") {
  Fixture f;
  CHECK(f.Complaint("select value from strings").find("--show-values") != std::string::npos);
  f.sources.may_show_values = true;
  CHECK(f.Query("select length, value from strings where object_id in (4, 24)") == Rows{"4|text 4", "24|text 24"});
}

TEST_CASE("nothing but reading is possible") {
  Fixture f;
  for (const std::string query : {"attach '/tmp/x.db' as x", "detach main", "create table t(a)", "create temp table t(a)", "create view v as select 1", "insert into objects(id) values(1)",
                                  "delete from refs", "update types set name = ''", "drop table objects", "drop view referrers", "pragma journal_mode=wal", "pragma temp_store_directory='/tmp'",
                                  "vacuum into '/tmp/x.db'", "begin", "savepoint a", "analyze", "select load_extension('/tmp/x.so')", "create virtual table v using objects"}) {
    CAPTURE(query);
    const std::string message = f.Complaint(query);
    bool is_refusal = false;
    for (const char* words : {"not authorized", "prohibited", "may not be modified", "only queries that read", "no such function"}) is_refusal = is_refusal || message.find(words) != std::string::npos;
    CHECK_MESSAGE(is_refusal, message);
  }
  CHECK(f.Query("pragma table_info(refs)").size() == 3);
}

TEST_CASE("errors are SQLite's words") {
  Fixture f;
  CHECK(f.Complaint("select nonsense from objects").find("no such column: nonsense") != std::string::npos);
  CHECK(f.Complaint("selct 1").find("syntax error") != std::string::npos);
  CHECK(f.Complaint("select * from nowhere").find("no such table: nowhere") != std::string::npos);
  CHECK(f.Complaint("select 1; select 2").find("one statement") != std::string::npos);
  CHECK(f.Complaint("").find("empty") != std::string::npos);
  CHECK(f.Complaint(" -- only a comment\n;").find("empty") != std::string::npos);
  CHECK(f.Query("; select 1; -- the end") == Rows{"1"});
  CHECK(f.Complaint("select zeroblob(1000000000)").find("too big") != std::string::npos);
  CHECK(f.Complaint(std::string("select 1\0", 9)).find("NUL") != std::string::npos);
}

TEST_CASE("rows, time and memory are bounded") {
  Fixture f;
  const std::string forever = "with recursive r(n) as (values(1) union all select n + 1 from r) select n from r";
  SqlBounds bounds;
  bounds.rows = 5;
  const Result<SqlReport> few = f.Run(forever, bounds);
  REQUIRE(few);
  CHECK(few->rows.size() == 5);
  CHECK(few->cut);
  const Result<SqlReport> all = f.Run("select 1 union all select 2", bounds);
  REQUIRE(all);
  CHECK_FALSE(all->cut);

  class StopAfter final : public ProgressSink {
   public:
    bool Update(std::string_view, std::uint64_t, std::uint64_t) override { return ++calls < 50; }
    int calls = 0;
  } stop;
  const Result<SqlReport> stopped = RunSqlQuery(f.sources, "select count(*) from (" + forever + ")", {}, stop);
  REQUIRE(stopped);
  CHECK(stopped->interrupted);
  CHECK(stop.calls == 50);

  bounds = {};
  bounds.sqlite_bytes = 1 << 20;
  const Result<SqlReport> large = f.Run("with recursive r(n) as (values(1) union all select n + 1 from r where n < 1000000) select n from r order by n desc", bounds);
  REQUIRE_FALSE(large.has_value());
  CHECK(large.error().code == ErrorCode::kLimit);
  CHECK(sqlite3_hard_heap_limit64(-1) == 0);  // as before

  bounds = {};
  bounds.rows = 0;
  bounds.result_bytes = 10000;
  const Result<SqlReport> cut = f.Run(forever, bounds);
  REQUIRE(cut);
  CHECK(cut->cut);
}

TEST_CASE("CSV: quotes where they are needed, no control characters of the target") {
  SqlReport r;
  r.columns = {"a", "b,c"};
  r.rows = {{SqlValue::Integer(-1), SqlValue::Text("say \"x\"")}, {SqlValue{}, SqlValue::Text("two\nlines")}, {SqlValue::Text(" led"), SqlValue::Text("\x1b[2J")}};
  CHECK(WriteCsv(r) == "a,\"b,c\"\n-1,\"say \"\"x\"\"\"\n,\"two\nlines\"\n\" led\",\\x1b[2J\n");
  std::string cells;  // what a spreadsheet would run is text; a number stays one
  AppendCsvRow({"=cmd|' /C calc'!A0", "-1.5e-3", "+1", "@SUM(A1)", "-x", "\t=1", "a=1", "-"}, cells);
  CHECK(cells == "'=cmd|' /C calc'!A0,-1.5e-3,+1,'@SUM(A1),'-x,'\t=1,a=1,-\n");
}

}  // namespace sql_test
