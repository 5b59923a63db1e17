// `pygc sql`: the tables of the SQLite export as virtual tables over the columns of the snapshot, without a copy, and the views beside them. One query
// against a database in memory that can reach nothing else: no file, no extension, no writing. Not for what the tables hold: export_row.h says that.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/progress.h"
#include "core/base/result.h"
#include "core/graph/csr_graph.h"
#include "core/graph/dominators.h"
#include "core/report/export.h"
#include "core/report/header.h"

namespace pygc::report {

/// One value of a row, as SQLite has it.
struct SqlValue {
  enum class Kind : std::uint8_t { kNull, kInteger, kReal, kText, kBlob } kind = Kind::kNull;
  std::int64_t integer = 0;
  double real = 0;
  std::string text;  // of kText and kBlob

  [[nodiscard]] static SqlValue Integer(std::int64_t value) { return {Kind::kInteger, value, 0, {}}; }
  [[nodiscard]] static SqlValue Text(std::string value) { return {Kind::kText, 0, 0, std::move(value)}; }
  /// Text, NULL where it is empty.
  [[nodiscard]] static SqlValue TextOrNull(std::string value) { return value.empty() ? SqlValue{} : Text(std::move(value)); }
};
using SqlRow = std::vector<SqlValue>;

/// What each object alone keeps alive, by node: the columns of `dominators`.
struct SqlRetention {
  const graph::DominatorTree& tree;
  const graph::RetainedColumn& bytes;             // by position in the tree
  const std::vector<graph::NodeId>& immediate;    // as graph::ImmediateDominators()
};

/// A str of the target: the columns of `strings`.
struct SqlString {
  std::uint64_t length = 0;   // code points (2.7 str: bytes; unicode: UTF-16 units)
  std::uint64_t digest = 0;   // of the characters: equal texts have equal digests
  std::string value;          // UTF-8; only where asked for
};

/// Where rows come from. What is not asked for is not made; the functions are called at most once a query, apart from `string`.
struct SqlSources {
  const ExportInput& graph;
  std::function<Result<const graph::CsrGraph*>()> reverse_graph;  // for lookups by refs.dst
  std::function<Result<SqlRetention>()> retention;
  std::function<std::vector<SqlRow>()> roots;     // object_id, kind, detail; rising by the first
  std::function<std::vector<SqlRow>()> findings;  // object_id, kind, recorded, found, evidence; rising by the first
  std::function<std::vector<SqlRow>()> frames;    // as kFrameColumns
  std::function<bool(heap::NodeId)> is_string;
  std::function<bool(heap::NodeId, bool with_value, SqlString*)> string;  // false: cannot be read
  bool may_show_values = false;  // false: strings.value is an error that names --show-values
};
/// Columns of `frames`, in the order of SqlSources::frames.
inline constexpr const char* kFrameColumns =
    "interpreter INTEGER, thread INTEGER, depth INTEGER, function TEXT, qualified_name TEXT, file TEXT, line INTEGER, frame_object INTEGER";

struct SqlBounds {
  std::uint64_t rows = 10000;              // of the result; 0: all
  std::uint64_t result_bytes = 1u << 30;   // of the result
  std::int64_t sqlite_bytes = 4ll << 30;   // what SQLite may take for sorting and grouping
  int value_bytes = 16 << 20;              // of one value
};

/// The result of a query.
struct SqlReport {
  std::vector<std::string> columns;
  std::vector<SqlRow> rows;
  bool cut = false;          // there are more rows
  bool interrupted = false;  // rows are those known until then
};

/// Runs one SELECT. Errors: kUsage (SQLite's message: syntax, no such table, not authorized, ...), kLimit (SQLite's memory).
/// A stop by `progress` is none: the report says so.
[[nodiscard]] Result<SqlReport> RunSqlQuery(const SqlSources& sources, const std::string& query, const SqlBounds& bounds, ProgressSink& progress);

void WriteText(const Header& header, const SqlReport& report, TextWriter& out);
void WriteJson(const Header& header, const SqlReport& report, JsonWriter& json);
/// RFC 4180 with \n as line end: names of the columns, then the rows; NULL is empty. Control characters other than tab and line end become \xNN.
[[nodiscard]] std::string WriteCsv(const SqlReport& report);

/// One line of CSV.
void AppendCsvRow(const std::vector<std::string>& cells, std::string& out);

}  // namespace pygc::report
