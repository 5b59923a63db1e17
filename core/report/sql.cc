#include "core/report/sql.h"

#include <sqlite3.h>

#include <algorithm>
#include <exception>
#include <iterator>
#include <optional>
#include <utility>

#include "core/report/escape.h"
#include "core/report/numbers.h"
#include "core/report/sql_tables.h"

namespace pygc::report {
namespace {

constexpr int kOperationsBetweenLooks = 2000;  // of SQLite's machine, before it asks whether to go on: some microseconds
constexpr std::size_t kMaxQueryBytes = 1u << 20;
constexpr std::size_t kMaxTextCell = 160;  // code points of one value in a table of text

struct Close {
  void operator()(sqlite3* db) const { sqlite3_close(db); }
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Database = std::unique_ptr<sqlite3, Close>;
using Statement = std::unique_ptr<sqlite3_stmt, Close>;

// SQLite has one limit for the whole program; it stands only while a query runs.
class HeapLimit {
 public:
  explicit HeapLimit(std::int64_t bytes) : before_(sqlite3_hard_heap_limit64(bytes)) {}
  ~HeapLimit() { sqlite3_hard_heap_limit64(before_); }
  HeapLimit(const HeapLimit&) = delete;
  HeapLimit& operator=(const HeapLimit&) = delete;

 private:
  sqlite3_int64 before_;
};

bool IsOneOf(const char* word, std::initializer_list<const char*> words) {
  return word != nullptr && std::any_of(words.begin(), words.end(), [&](const char* w) { return sqlite3_stricmp(w, word) == 0; });
}

// Reading, and nothing that reaches beyond this database: no ATTACH, no PRAGMA but those that list columns, no writing, no extension.
int Authorize(void*, int action, const char* first, const char* second, const char*, const char*) {
  switch (action) {
    case SQLITE_SELECT:
    case SQLITE_READ:
    case SQLITE_RECURSIVE: return SQLITE_OK;
    case SQLITE_FUNCTION: return IsOneOf(second, {"load_extension", "fts3_tokenizer", "readfile", "writefile", "edit"}) ? SQLITE_DENY : SQLITE_OK;
    case SQLITE_PRAGMA: return IsOneOf(first, {"table_info", "table_xinfo", "table_list"}) ? SQLITE_OK : SQLITE_DENY;
    default: return SQLITE_DENY;
  }
}

// .tables and .schema [TABLE], which people know from the program sqlite3. `table` is empty where all are meant. nullopt: it is a query.
std::optional<std::string> TableOfShellCommand(const std::string& sql) {
  const std::size_t start = sql.find_first_not_of(" \t\n");
  if (start == std::string::npos || sql[start] != '.') return std::nullopt;
  const std::size_t end = std::min(sql.find_first_of(" \t\n;", start), sql.size());
  const std::string command = sql.substr(start, end - start);
  std::string table = sql.substr(end);
  std::erase_if(table, [](char c) { return c == ' ' || c == '\t' || c == '\n' || c == ';'; });
  const bool is_name = std::all_of(table.begin(), table.end(), [](char c) { return (c >= 'a' && c <= 'z') || c == '_'; });
  return (command == ".tables" || command == ".schema") && is_name ? std::optional(table) : std::nullopt;
}

class Query {
 public:
  Query(const SqlSources& sources, const SqlBounds& bounds, ProgressSink& progress)
      : bounds_(bounds), progress_(progress), heap_limit_(bounds.sqlite_bytes), tables_(sources) {}

  Result<SqlReport> Run(const std::string& sql) {
    if (sql.size() > kMaxQueryBytes) return Fail(ErrorCode::kUsage, "the query has {} bytes, more than {}", sql.size(), kMaxQueryBytes);
    if (sql.find('\0') != std::string::npos) return Fail(ErrorCode::kUsage, "the query holds a NUL character");
    if (const Result<void> opened = Open(); !opened) return tl::unexpected(opened.error());
    if (const std::optional<std::string> table = TableOfShellCommand(sql)) return table->empty() ? Tables() : Select(fmt::format("PRAGMA table_info({})", *table));
    if (sql.find_first_not_of(" \t\n") != std::string::npos && sql[sql.find_first_not_of(" \t\n")] == '.') {
      return Fail(ErrorCode::kUsage, "SQL: of the commands of the program sqlite3 only .tables and .schema [TABLE] are known here; a query starts with select");
    }
    return Select(sql);
  }

 private:
  Result<SqlReport> Select(const std::string& sql) {
    Result<Statement> statement = Prepare(sql);
    if (!statement) return tl::unexpected(statement.error());
    return Collect(statement->get());
  }

  // Every table and view with its columns.
  Result<SqlReport> Tables() {
    Result<SqlReport> names = Select("select name from sqlite_master where type in ('table', 'view') order by 1");
    if (!names) return names;
    SqlReport report;
    report.columns = {"table", "columns"};
    for (const SqlRow& name : names->rows) {
      const Result<SqlReport> columns = Select(fmt::format("PRAGMA table_info(\"{}\")", name[0].text));
      if (!columns) return columns;
      std::string text;
      for (const SqlRow& column : columns->rows) text += (text.empty() ? "" : ", ") + column[1].text;
      report.rows.push_back({name[0], SqlValue::Text(text)});
    }
    return report;
  }

  Result<void> Open() {
    sqlite3* raw = nullptr;
    const int opened = sqlite3_open_v2(":memory:", &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_MEMORY | SQLITE_OPEN_NOMUTEX, nullptr);
    db_.reset(raw);
    if (opened != SQLITE_OK) return Failed(opened);
    if (const int code = sqlite3_exec(raw, "PRAGMA temp_store=MEMORY", nullptr, nullptr, nullptr); code != SQLITE_OK) return Failed(code);
    if (const int code = tables_.Register(raw); code != SQLITE_OK) return Failed(code);
    sqlite3_limit(raw, SQLITE_LIMIT_LENGTH, bounds_.value_bytes);
    sqlite3_limit(raw, SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000);
    sqlite3_limit(raw, SQLITE_LIMIT_ATTACHED, 0);
    sqlite3_limit(raw, SQLITE_LIMIT_WORKER_THREADS, 0);
    sqlite3_db_config(raw, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
    sqlite3_db_config(raw, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, nullptr);
    sqlite3_set_authorizer(raw, Authorize, nullptr);
    sqlite3_progress_handler(raw, kOperationsBetweenLooks, &Query::ShallStop, this);
    return {};
  }

  Result<Statement> Prepare(const std::string& sql) {
    const char* rest = sql.c_str();
    Statement found;
    // Empty statements and comments are passed over; a second statement would never run, so it is refused.
    while (*rest != '\0') {
      sqlite3_stmt* raw = nullptr;
      const char* const text = rest;
      const int code = sqlite3_prepare_v3(db_.get(), text, -1, 0, &raw, &rest);
      Statement statement(raw);
      if (code != SQLITE_OK) return FailedNear(code, sql, static_cast<std::size_t>(text - sql.c_str()));
      if (!statement) {
        if (rest == text) break;
        continue;
      }
      if (found) return Fail(ErrorCode::kUsage, "SQL: one statement at a time");
      found = std::move(statement);
    }
    if (!found) return Fail(ErrorCode::kUsage, "SQL: the query is empty; for example: sql \"select count(*) from objects\"");
    if (!sqlite3_stmt_readonly(found.get())) return Fail(ErrorCode::kUsage, "SQL: only queries that read are possible");
    return found;
  }

  Result<SqlReport> Collect(sqlite3_stmt* statement) {
    SqlReport report;
    const int columns = sqlite3_column_count(statement);
    for (int i = 0; i < columns; ++i) {
      const char* name = sqlite3_column_name(statement, i);
      report.columns.emplace_back(name != nullptr ? name : "");
    }
    std::uint64_t bytes = 0;
    for (;;) {
      const int code = sqlite3_step(statement);
      if (thrown_) std::rethrow_exception(thrown_);
      if (code == SQLITE_DONE) return report;
      if (code == SQLITE_INTERRUPT) {
        report.interrupted = true;
        return report;
      }
      if (code != SQLITE_ROW) return Failed(code);
      if ((bounds_.rows != 0 && report.rows.size() == bounds_.rows) || bytes > bounds_.result_bytes) {
        report.cut = true;
        return report;
      }
      report.rows.push_back(RowOf(statement, columns, &bytes));
      ++rows_;
    }
  }

  static SqlRow RowOf(sqlite3_stmt* statement, int columns, std::uint64_t* bytes) {
    SqlRow row(static_cast<std::size_t>(columns));
    for (int i = 0; i < columns; ++i) {
      SqlValue& value = row[static_cast<std::size_t>(i)];
      switch (sqlite3_column_type(statement, i)) {
        case SQLITE_INTEGER: value = SqlValue::Integer(sqlite3_column_int64(statement, i)); break;
        case SQLITE_FLOAT:
          value.kind = SqlValue::Kind::kReal;
          value.real = sqlite3_column_double(statement, i);
          break;
        case SQLITE_TEXT:
        case SQLITE_BLOB: {
          value.kind = sqlite3_column_type(statement, i) == SQLITE_TEXT ? SqlValue::Kind::kText : SqlValue::Kind::kBlob;
          const void* data = value.kind == SqlValue::Kind::kText ? sqlite3_column_text(statement, i) : sqlite3_column_blob(statement, i);
          if (data != nullptr) value.text.assign(static_cast<const char*>(data), static_cast<std::size_t>(sqlite3_column_bytes(statement, i)));
          break;
        }
        default: break;
      }
      *bytes += sizeof(SqlValue) + value.text.size();
    }
    return row;
  }

  static int ShallStop(void* self) noexcept {
    Query& query = *static_cast<Query*>(self);
    try {
      return query.progress_.Update("running the query", query.rows_, 0) ? 0 : 1;
    } catch (...) {
      query.thrown_ = std::current_exception();
      return 1;
    }
  }

  [[nodiscard]] tl::unexpected<Error> Failed(int code) const {
    if (code == SQLITE_NOMEM) {
      return Fail(ErrorCode::kLimit, "SQL: sorting or grouping took more than {}; narrow the query with WHERE, or sort and group less", Bytes(static_cast<std::uint64_t>(bounds_.sqlite_bytes)));
    }
    return Fail(ErrorCode::kUsage, "SQL: {}", db_ ? sqlite3_errmsg(db_.get()) : sqlite3_errstr(code));
  }
  [[nodiscard]] tl::unexpected<Error> FailedNear(int code, const std::string& sql, std::size_t start) const {
    tl::unexpected<Error> failed = Failed(code);
#if SQLITE_VERSION_NUMBER >= 3038000
    const int offset = sqlite3_error_offset(db_.get());
    if (offset > 0 && start + static_cast<std::size_t>(offset) < sql.size()) {
      failed = Fail(failed.value().code, "{} (at: {})", failed.value().message, sql.substr(start + static_cast<std::size_t>(offset), 40));
    }
#endif
    return failed;
  }

  SqlBounds bounds_;
  ProgressSink& progress_;
  HeapLimit heap_limit_;
  SqlTables tables_;  // outlives db_
  Database db_;
  std::uint64_t rows_ = 0;
  std::exception_ptr thrown_;
};

std::string HexOf(std::string_view bytes) {
  std::string out = "x'";
  for (const char c : bytes) out += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return out + "'";
}

std::string CellText(const SqlValue& value) {
  switch (value.kind) {
    case SqlValue::Kind::kNull: return "";
    case SqlValue::Kind::kInteger: return fmt::format("{}", value.integer);
    case SqlValue::Kind::kReal: return fmt::format("{}", value.real);
    case SqlValue::Kind::kText: return value.text;
    case SqlValue::Kind::kBlob: return HexOf(value.text);
  }
  return "";
}

std::string Shortened(std::string text) {
  if (CodePoints(text) <= kMaxTextCell) return text;
  std::size_t bytes = 0, points = 0;
  while (bytes < text.size()) {
    if ((static_cast<unsigned char>(text[bytes]) & 0xC0) != 0x80 && ++points == kMaxTextCell) break;
    ++bytes;
  }
  return text.substr(0, bytes) + "…";
}

// As Printable, but tabs and line ends stay: in quotes they are part of the value.
std::string CsvSafe(std::string_view raw) {
  std::string out;
  while (!raw.empty()) {
    const std::size_t end = raw.find_first_of("\t\n");
    out += Printable(raw.substr(0, end));
    if (end == std::string_view::npos) break;
    out += raw[end];
    raw.remove_prefix(end + 1);
  }
  return out;
}

// A spreadsheet runs a cell that begins so as a formula, and names of a core are anybody's: a quote before it makes it text. Numbers are none.
bool IsFormula(std::string_view cell) {
  return !cell.empty() && std::string_view("=+-@\t").find(cell.front()) != std::string_view::npos && cell.find_first_not_of("0123456789+-.eE") != std::string_view::npos;
}

}  // namespace

Result<SqlReport> RunSqlQuery(const SqlSources& sources, const std::string& query, const SqlBounds& bounds, ProgressSink& progress) {
  return Query(sources, bounds, progress).Run(query);
}

void WriteText(const Header& h, const SqlReport& r, TextWriter& out) {
  WriteFirstLines(out, h);
  out.Line();
  Table table;
  table.right.assign(r.columns.size(), true);
  table.rows.push_back({});
  for (const std::string& name : r.columns) table.rows.back().push_back(Shortened(Printable(name)));
  for (const SqlRow& row : r.rows) {
    std::vector<std::string>& cells = table.rows.emplace_back();
    for (std::size_t i = 0; i < row.size(); ++i) {
      const bool is_number = row[i].kind == SqlValue::Kind::kInteger || row[i].kind == SqlValue::Kind::kReal;
      if (!is_number && row[i].kind != SqlValue::Kind::kNull) table.right[i] = false;
      const bool is_address = row[i].kind == SqlValue::Kind::kInteger && (r.columns[i] == "address" || r.columns[i].ends_with("_address"));
      cells.push_back(row[i].kind == SqlValue::Kind::kNull ? "NULL" : is_address ? fmt::format("{:#x}", row[i].integer) : Shortened(Printable(CellText(row[i]))));
    }
  }
  table.Write(out, 2);
  out.Line();
  if (r.interrupted) {
    out.To(2).Line(fmt::format("stopped before the end of the query: {}", r.rows.empty() ? "no row was found until then, there may be some" : Counted(r.rows.size(), "row") + " until then, there may be more"), Style::kWaiting);
  } else {
    out.To(2).Line(fmt::format("{}{}", Counted(r.rows.size(), "row"), r.cut ? ", and there are more (--limit 0 for all)" : ""), Style::kFaint);
  }
  WriteWarnings(out, h);
}

void WriteJson(const Header&, const SqlReport& r, JsonWriter& json) {
  json.Object().Key("columns").Array();
  for (const std::string& name : r.columns) json.String(name);
  json.EndArray().Unsigned("row_count", r.rows.size()).Bool("cut", r.cut).Bool("interrupted", r.interrupted).Key("rows").Array();
  for (const SqlRow& row : r.rows) {
    json.Array();
    for (const SqlValue& value : row) {
      switch (value.kind) {
        case SqlValue::Kind::kNull: json.Null(); break;
        case SqlValue::Kind::kInteger: json.Integer(value.integer); break;
        case SqlValue::Kind::kReal: json.Real(value.real); break;
        case SqlValue::Kind::kText: json.String(value.text); break;
        case SqlValue::Kind::kBlob: json.String(HexOf(value.text)); break;
      }
    }
    json.EndArray();
  }
  json.EndArray().EndObject();
}

void AppendCsvRow(const std::vector<std::string>& cells, std::string& out) {
  for (std::size_t i = 0; i < cells.size(); ++i) {
    if (i > 0) out += ',';
    std::string safe = CsvSafe(cells[i]);
    if (IsFormula(safe)) safe.insert(0, 1, '\'');
    const bool quoted = safe.find_first_of(",\"\n") != std::string::npos || safe.starts_with(' ') || safe.ends_with(' ');
    if (!quoted) {
      out += safe;
      continue;
    }
    out += '"';
    for (const char c : safe) {
      if (c == '"') out += '"';
      out += c;
    }
    out += '"';
  }
  out += '\n';
}

std::string WriteCsv(const SqlReport& r) {
  std::string out;
  AppendCsvRow(r.columns, out);
  std::vector<std::string> cells;
  for (const SqlRow& row : r.rows) {
    cells.clear();
    for (const SqlValue& value : row) cells.push_back(CellText(value));
    AppendCsvRow(cells, out);
  }
  return out;
}

}  // namespace pygc::report
