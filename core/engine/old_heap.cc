#include "core/engine/old_heap.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string_view>

namespace pygc::engine {
namespace {

using heap::NodeId;

constexpr std::string_view kMagic = "SQLite format 3";
constexpr std::uint64_t kProgressStep = 1u << 16, kLargestGap = 1u << 16, kMostObjects = 0xFFFFFFF0u;

struct Close {
  void operator()(sqlite3* db) const { sqlite3_close(db); }
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Database = std::unique_ptr<sqlite3, Close>;

// Rows of one query. The database is somebody else's: every value is checked by whoever takes it.
class Rows {
 public:
  Rows(sqlite3* db, const char* sql) {
    sqlite3_stmt* statement = nullptr;
    good_ = sqlite3_prepare_v2(db, sql, -1, &statement, nullptr) == SQLITE_OK;
    statement_.reset(statement);
  }
  bool Next() {
    if (!good_) return false;
    const int code = sqlite3_step(statement_.get());
    good_ = code == SQLITE_ROW || code == SQLITE_DONE;
    return code == SQLITE_ROW;
  }
  [[nodiscard]] bool good() const { return good_; }
  [[nodiscard]] std::int64_t Integer(int column, std::int64_t otherwise = 0) const {
    return sqlite3_column_type(statement_.get(), column) == SQLITE_INTEGER ? sqlite3_column_int64(statement_.get(), column) : otherwise;
  }
  [[nodiscard]] std::string Text(int column) const {
    const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_.get(), column));
    return text == nullptr ? "" : std::string(text, static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column)));
  }

 private:
  std::unique_ptr<sqlite3_stmt, Close> statement_;
  bool good_ = false;
};

class Reader {
 public:
  Reader(const std::string& path, ProgressSink& progress) : path_(path), progress_(progress) {}

  Result<SavedHeap> Run() {
    sqlite3* raw = nullptr;
    const int opened = sqlite3_open_v2(path_.c_str(), &raw, SQLITE_OPEN_READONLY, nullptr);
    db_.reset(raw);
    if (opened != SQLITE_OK) return Fail(ErrorCode::kUsage, "cannot open {}: {}", path_, db_ ? sqlite3_errmsg(db_.get()) : "out of memory");
    sqlite3_exec(db_.get(), "PRAGMA trusted_schema=OFF; PRAGMA query_only=ON;", nullptr, nullptr, nullptr);
    if (!HasTables()) return Bad("it is a database, but not one that pygc's export wrote");
    for (const auto& step : {&Reader::Meta, &Reader::Types, &Reader::Objects, &Reader::References, &Reader::OwnedReferences, &Reader::Roots, &Reader::Sites}) {
      if (Result<void> r = (this->*step)(); !r) return tl::unexpected(r.error());
    }
    return std::move(out_);
  }

 private:
  tl::unexpected<Error> Bad(std::string_view what) const { return Fail(ErrorCode::kNotAnalysable, "{} cannot be compared with: {}", path_, what); }
  static tl::unexpected<Error> Stopped() { return Fail(ErrorCode::kCancelled, "interrupted while the saved export was read"); }

  // Tables, and not views of the same names, which could run anything.
  bool HasTables() {
    Rows rows(db_.get(), "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ('meta', 'types', 'objects', 'refs', 'roots') AND sql NOT LIKE '%virtual%'");
    return rows.Next() && rows.Integer(0) == 5;
  }

  Result<void> Meta() {
    std::map<std::string, std::string> meta;
    Rows rows(db_.get(), "SELECT key, value FROM meta LIMIT 1000");
    while (rows.Next()) meta[rows.Text(0)] = rows.Text(1);
    if (meta["schema_version"] != "1") return Bad(fmt::format("it has schema {}, and this pygc reads 1", meta["schema_version"].empty() ? "?" : meta["schema_version"]));
    out_.python = meta["python_version"];
    out_.build = meta["build"];
    out_.path = meta["target_path"];
    out_.complete = meta["complete"] == "1";
    const std::string& pid = meta["target_pid"];
    std::from_chars(pid.data(), pid.data() + pid.size(), out_.pid);
    return {};
  }

  Result<void> Types() {
    Rows rows(db_.get(), "SELECT id, address, name FROM types ORDER BY id");
    while (rows.Next()) {
      if (rows.Integer(0, -1) != static_cast<std::int64_t>(out_.heap.types.size())) return Bad("its types are not numbered one by one");
      heap::TypeRecord& type = out_.heap.types.emplace_back();
      type.address = static_cast<Address>(rows.Integer(1));
      type.name = rows.Text(2);
    }
    return rows.good() ? Result<void>() : Bad(sqlite3_errmsg(db_.get()));
  }

  Result<void> Objects() {
    heap::HeapSnapshot& h = out_.heap;
    std::vector<Address> addresses;
    Rows rows(db_.get(), "SELECT id, address, type_id, size, refcount, immortal, tracked, generation, state FROM objects ORDER BY id");
    while (rows.Next()) {
      if (addresses.size() % kProgressStep == 0 && !progress_.Update("reading the saved export", addresses.size(), 0)) return Stopped();
      const auto address = static_cast<Address>(rows.Integer(1));
      const auto type = static_cast<std::uint64_t>(rows.Integer(2, -1));
      if (!addresses.empty() && address <= addresses.back() && rows.Text(8) == "lost") ++passed_over_;
      if (passed_over_ > 0) continue;
      const bool rising = addresses.empty() || address > addresses.back();
      if (rows.Integer(0, -1) != static_cast<std::int64_t>(addresses.size()) || !rising || type >= h.types.size() || addresses.size() >= kMostObjects) {
        return Bad(fmt::format("object {} is out of order, or of no type", addresses.size()));
      }
      addresses.push_back(address);
      h.type.push_back(static_cast<std::uint32_t>(type));
      h.size_bytes.push_back(static_cast<std::uint64_t>(rows.Integer(3, -1)));
      const std::int64_t count = rows.Integer(4, heap::kSaturated);
      h.refcount.push_back(rows.Integer(5) != 0 ? heap::kImmortal : static_cast<std::uint32_t>(std::clamp<std::int64_t>(count, 0, heap::kSaturated)));
      h.flags.push_back(static_cast<std::uint8_t>((rows.Integer(6) != 0 ? heap::kTracked : 0) | std::clamp<std::int64_t>(rows.Integer(7, heap::kUntracked), 0, 7)));
      const std::string state = rows.Text(8);
      out_.verdict.state.push_back(state == "unreachable" ? analysis::State::kUnreachable : state == "uncollectable" ? analysis::State::kUncollectable : analysis::State::kReachable);
    }
    if (!rows.good()) return Bad(sqlite3_errmsg(db_.get()));
    IndexObjects(addresses);
    if (h.index.size() != addresses.size()) return Bad("addresses of its objects are not aligned as objects are");
    h.with_leaves = true;
    return {};
  }

  // Ranges without wide gaps: the index has a bit for each place in them.
  void IndexObjects(const std::vector<Address>& addresses) {
    constexpr std::uint8_t kShift = 2;
    std::vector<heap::ObjectIndex::Range> ranges;
    for (const Address a : addresses) {
      const Address begin = a & ~Address{63}, end = begin + 64;
      if (!ranges.empty() && begin - ranges.back().range.begin < (1ull << 40) && begin < ranges.back().range.end + kLargestGap) {
        ranges.back().range.end = std::max(ranges.back().range.end, end);
      } else {
        ranges.push_back({{begin, end}, kShift});
      }
    }
    out_.heap.index = heap::ObjectIndex(ranges);
    for (const Address a : addresses) out_.heap.index.Mark(a);
    out_.heap.index.Seal();
  }

  Result<void> References() {
    const NodeId n = out_.heap.size();
    std::vector<graph::CsrGraph::Block> blocks(1);
    blocks[0].offsets.push_back(0);
    Rows rows(db_.get(), "SELECT src, dst FROM refs ORDER BY rowid");
    std::uint64_t done = 0;
    NodeId source = 0;
    while (rows.Next()) {
      if (done++ % kProgressStep == 0 && !progress_.Update("reading the saved export", done, 0)) return Stopped();
      const auto from = static_cast<std::uint64_t>(rows.Integer(0, -1)), to = static_cast<std::uint64_t>(rows.Integer(1, -1));
      if (passed_over_ > 0 && (from >= n || to >= n) && from < n + passed_over_ && to < n + passed_over_) continue;
      if (from >= n || to >= n || from < source) return Bad(fmt::format("reference {} leads from or to nowhere, or is out of order", done));
      for (; source < from; ++source) EndNode(blocks, source);
      blocks.back().edges.push_back(static_cast<NodeId>(to));
      if (blocks.back().edges.size() >= 0xFFFFFFF0u) return Bad("it has too many references of few objects");
    }
    if (!rows.good()) return Bad(sqlite3_errmsg(db_.get()));
    for (; source < n; ++source) EndNode(blocks, source);
    out_.heap.graph = graph::CsrGraph(std::move(blocks));
    return {};
  }
  // Those that no traversal visits, behind the others of their objects. Exports that were written before there was such a table stand without them.
  Result<void> OwnedReferences() {
    Rows tables(db_.get(), "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'owned_refs' AND sql NOT LIKE '%virtual%'");
    if (!tables.Next() || tables.Integer(0) != 1) return {};
    const NodeId n = out_.heap.size();
    Rows rows(db_.get(), "SELECT src, dst FROM owned_refs ORDER BY rowid");
    std::vector<heap::OwnedBeside>& counts = out_.heap.owns_beside;
    std::vector<NodeId> targets;
    while (rows.Next()) {
      if (targets.size() % kProgressStep == 0 && !progress_.Update("reading the saved export", targets.size(), 0)) return Stopped();
      const auto from = static_cast<std::uint64_t>(rows.Integer(0, -1)), to = static_cast<std::uint64_t>(rows.Integer(1, -1));
      if (from >= n || to >= n || (!counts.empty() && from < counts.back().node)) return Bad("a reference leads from or to nowhere, or is out of order");
      if (counts.empty() || counts.back().node != from) counts.push_back({static_cast<NodeId>(from), 0});
      ++counts.back().references;
      targets.push_back(static_cast<NodeId>(to));
      if (targets.size() >= 0xFFFFFFF0u) return Bad("it has too many references of few objects");
    }
    if (!rows.good()) return Bad(sqlite3_errmsg(db_.get()));
    std::vector<graph::CsrGraph::Block> blocks = out_.heap.graph.TakeBlocks();
    std::size_t row = 0, at = 0;
    for (graph::CsrGraph::Block& block : blocks) {
      const std::size_t first = row, start = at;
      for (; row < counts.size() && counts[row].node < block.first_node + (block.offsets.size() - 1); ++row) at += counts[row].references;
      if (block.edges.size() + (at - start) >= 0xFFFFFFF0u) return Bad("it has too many references of few objects");
      heap::AppendOwned(std::span(counts).subspan(first, row - first), std::span(targets).subspan(start, at - start), block);
    }
    out_.heap.graph = graph::CsrGraph(std::move(blocks));
    return {};
  }
  // Offsets of a block have 32 bits.
  static void EndNode(std::vector<graph::CsrGraph::Block>& blocks, NodeId node) {
    blocks.back().offsets.push_back(static_cast<std::uint32_t>(blocks.back().edges.size()));
    if (blocks.back().edges.size() < (1u << 31)) return;
    graph::CsrGraph::Block& next = blocks.emplace_back();
    next.first_node = node + 1;
    next.offsets.push_back(0);
  }

  Result<void> Roots() {
    // Without the words of native memory that an audit adds: they may be references, and no search for paths starts with them.
    Rows rows(db_.get(), "SELECT object_id FROM roots WHERE kind NOT IN ('stack', 'register', 'native', 'count') AND NOT (kind = 'static' AND detail GLOB '*+0x[0-9a-f]*')");
    while (rows.Next()) {
      const auto n = static_cast<std::uint64_t>(rows.Integer(0, -1));
      if (n >= out_.heap.size() && n < out_.heap.size() + passed_over_) continue;
      if (n >= out_.heap.size()) return Bad("a root is no object");
      heap::Root& root = out_.roots.roots.emplace_back();
      root.object = out_.heap.AddressOf(static_cast<NodeId>(n));
    }
    return rows.good() ? Result<void>() : Bad(sqlite3_errmsg(db_.get()));
  }

  // Exports that were written before there were such tables stand without them.
  Result<void> Sites() {
    Rows tables(db_.get(), "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ('allocations', 'tracebacks') AND sql NOT LIKE '%virtual%'");
    if (!tables.Next() || tables.Integer(0) != 2) return {};
    if (!progress_.Update("reading the saved export", 0, 0)) return Stopped();
    Rows rows(db_.get(),
              "SELECT t.file || ':' || t.line, sum(n), sum(b) FROM (SELECT traceback_id AS id, count(*) AS n, sum(bytes) AS b FROM allocations GROUP BY 1) a "
              "JOIN (SELECT id, file, line FROM tracebacks WHERE depth = 0) t ON t.id = a.id GROUP BY 1");
    while (rows.Next()) out_.sites.push_back({rows.Text(0), static_cast<std::uint64_t>(rows.Integer(1)), static_cast<std::uint64_t>(rows.Integer(2))});
    return rows.good() ? Result<void>() : Bad(sqlite3_errmsg(db_.get()));
  }

  const std::string& path_;
  ProgressSink& progress_;
  Database db_;
  SavedHeap out_;
  std::uint64_t passed_over_ = 0;
};

// Opening a FIFO would wait for somebody to write to it.
bool IsFile(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_regular_file(path, error);
}

}  // namespace

bool IsDatabase(const std::string& path) {
  if (!IsFile(path)) return false;
  std::ifstream file(path, std::ios::binary);
  std::string start(kMagic.size(), '\0');
  return file.read(start.data(), static_cast<std::streamsize>(start.size())) && start == kMagic;
}

bool IsJsonLines(const std::string& path) {
  constexpr std::string_view kStart = "{\"schema\": \"pygc.export/";
  if (!IsFile(path)) return false;
  std::ifstream file(path, std::ios::binary);
  std::string start(kStart.size(), '\0');
  return file.read(start.data(), static_cast<std::streamsize>(start.size())) && start == kStart;
}

bool IsAuditedExport(const std::string& path) {
  if (!IsDatabase(path)) return false;
  sqlite3* raw = nullptr;
  const bool opened = sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READONLY, nullptr) == SQLITE_OK;
  const Database db(raw);
  if (!opened) return false;
  sqlite3_exec(db.get(), "PRAGMA trusted_schema=OFF; PRAGMA query_only=ON;", nullptr, nullptr, nullptr);
  Rows rows(db.get(), "SELECT value FROM meta WHERE key = 'audited' AND (SELECT type FROM sqlite_master WHERE name = 'meta') = 'table'");
  return rows.Next() && rows.Text(0) == "1";
}

Result<SavedHeap> ReadSavedHeap(const std::string& path, ProgressSink& progress) { return Reader(path, progress).Run(); }

}  // namespace pygc::engine
