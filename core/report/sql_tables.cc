// Rows are made when SQLite asks for them. Every table offers its rows in full, in the order of the export, and by equality with some columns (a "plan");
// SQLite checks every condition again, so a plan only has to leave out no row.
#include "core/report/sql_tables.h"

#include <algorithm>
#include <exception>
#include <initializer_list>
#include <new>
#include <optional>
#include <span>
#include <utility>

#include "core/report/escape.h"
#include "core/report/export_row.h"

namespace pygc::report {
namespace {

using heap::NodeId;

void GiveText(sqlite3_context* out, std::string_view text) {
  sqlite3_result_text64(out, text.data(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
}
void GiveTextOrNull(sqlite3_context* out, std::string_view text) { text.empty() ? sqlite3_result_null(out) : GiveText(out, text); }
void GiveInteger(sqlite3_context* out, std::uint64_t value) { sqlite3_result_int64(out, static_cast<std::int64_t>(value)); }
template <typename T>
void GiveInteger(sqlite3_context* out, const std::optional<T>& value) {
  value ? sqlite3_result_int64(out, static_cast<std::int64_t>(*value)) : sqlite3_result_null(out);
}
void Give(sqlite3_context* out, const SqlValue& value) {
  switch (value.kind) {
    case SqlValue::Kind::kNull: return sqlite3_result_null(out);
    case SqlValue::Kind::kInteger: return sqlite3_result_int64(out, value.integer);
    case SqlValue::Kind::kReal: return sqlite3_result_double(out, value.real);
    case SqlValue::Kind::kText: return GiveText(out, JsonSafe(value.text));
    case SqlValue::Kind::kBlob: return sqlite3_result_blob64(out, value.text.data(), value.text.size(), SQLITE_TRANSIENT);
  }
}

// A column that rows can be found by, and what that costs.
struct Lookup {
  int column = 0;
  int plan = 0;       // > 0
  bool unique = false;
  double rows = 1;    // that one value gives, about
};

// What a cursor walks over: positions [at, end) of something that the plan decides.
struct Walk {
  std::uint64_t at = 0, end = 0;
  NodeId node = 0;
  int plan = 0;
};

// A number that a column of integers may be equal to; nullopt: no row is.
std::optional<std::uint64_t> KeyOf(sqlite3_value* value) {
  switch (sqlite3_value_numeric_type(value)) {
    case SQLITE_INTEGER: return static_cast<std::uint64_t>(sqlite3_value_int64(value));
    case SQLITE_FLOAT: {
      const double d = sqlite3_value_double(value);
      if (!(d >= -9.2e18 && d <= 9.2e18) || d != static_cast<double>(static_cast<std::int64_t>(d))) return std::nullopt;
      return static_cast<std::uint64_t>(static_cast<std::int64_t>(d));
    }
    default: return std::nullopt;
  }
}

// ---- from a table to sqlite3_module
//
// A Table has: Declaration(), AllRows(), Lookups(), RisingColumns() (columns that rise from row to row), Start(walk, key) (nullopt: all rows) -> Result<void>,
// Next(walk), Give(context, walk, column), RowId(walk).

template <typename Table>
class Module {
 public:
  static int Register(sqlite3* db, const char* name, Table* table) {
    static const sqlite3_module module = Make();
    if (const int code = sqlite3_create_module_v2(db, name, &module, table, nullptr); code != SQLITE_OK) return code;
    char* sql = sqlite3_mprintf("CREATE VIRTUAL TABLE \"%w\" USING \"%w\"", name, name);
    const int code = sql == nullptr ? SQLITE_NOMEM : sqlite3_exec(db, sql, nullptr, nullptr, nullptr);
    sqlite3_free(sql);
    return code;
  }

 private:
  struct Vtab : sqlite3_vtab {
    Table* table = nullptr;
  };
  struct Cursor : sqlite3_vtab_cursor {
    Walk walk;
  };
  static Table& TableOf(sqlite3_vtab_cursor* cursor) { return *static_cast<Vtab*>(cursor->pVtab)->table; }
  static Walk& WalkOf(sqlite3_vtab_cursor* cursor) { return static_cast<Cursor*>(cursor)->walk; }

  // No exception may pass through SQLite, which is C.
  template <typename F>
  static int Guarded(F&& f) noexcept {
    try {
      return f();
    } catch (const std::bad_alloc&) {
      return SQLITE_NOMEM;
    } catch (const std::exception&) {
      return SQLITE_INTERNAL;
    }
  }

  static int Connect(sqlite3* db, void* table, int, const char* const*, sqlite3_vtab** out, char**) {
    return Guarded([&] {
      if (const int code = sqlite3_declare_vtab(db, static_cast<Table*>(table)->Declaration()); code != SQLITE_OK) return code;
      auto vtab = std::make_unique<Vtab>();
      vtab->table = static_cast<Table*>(table);
      *out = vtab.release();
      return SQLITE_OK;
    });
  }
  static int Disconnect(sqlite3_vtab* vtab) {
    delete static_cast<Vtab*>(vtab);
    return SQLITE_OK;
  }
  static int Open(sqlite3_vtab*, sqlite3_vtab_cursor** out) {
    return Guarded([&] {
      *out = new Cursor;
      return SQLITE_OK;
    });
  }
  static int Close(sqlite3_vtab_cursor* cursor) {
    delete static_cast<Cursor*>(cursor);
    return SQLITE_OK;
  }

  static int BestIndex(sqlite3_vtab* vtab, sqlite3_index_info* info) {
    return Guarded([&] {
      Table& table = *static_cast<Vtab*>(vtab)->table;
      double rows = table.AllRows();
      info->idxNum = 0;
      int chosen = -1;
      for (int i = 0; i < info->nConstraint; ++i) {
        const auto& constraint = info->aConstraint[i];
        if (!constraint.usable || constraint.op != SQLITE_INDEX_CONSTRAINT_EQ) continue;
        for (const Lookup& lookup : table.Lookups()) {
          if (lookup.column != constraint.iColumn && !(constraint.iColumn == -1 && lookup.column == 0 && lookup.unique)) continue;
          if (chosen >= 0 && lookup.rows >= rows) continue;
          chosen = i;
          rows = lookup.rows;
          info->idxNum = lookup.plan;
          info->idxFlags = lookup.unique ? SQLITE_INDEX_SCAN_UNIQUE : 0;
        }
      }
      if (chosen >= 0) info->aConstraintUsage[chosen].argvIndex = 1;
      info->estimatedCost = chosen >= 0 ? rows * 2 + 5 : rows * 2 + 100;
      info->estimatedRows = static_cast<sqlite3_int64>(rows) + 1;
      const std::span<const int> rising = table.RisingColumns();
      info->orderByConsumed = info->nOrderBy == 1 && !info->aOrderBy[0].desc && std::find(rising.begin(), rising.end(), info->aOrderBy[0].iColumn) != rising.end();
      return SQLITE_OK;
    });
  }

  static int Filter(sqlite3_vtab_cursor* cursor, int plan, const char*, int argc, sqlite3_value** argv) {
    return Guarded([&] {
      Walk& walk = WalkOf(cursor);
      walk = {};
      walk.plan = plan;
      std::optional<std::uint64_t> key;
      if (argc > 0) {
        key = KeyOf(argv[0]);
        if (!key) return SQLITE_OK;  // no row
      }
      const Result<void> started = TableOf(cursor).Start(walk, key);
      if (started) return SQLITE_OK;
      walk = {};
      if (started.error().code == ErrorCode::kCancelled) return SQLITE_INTERRUPT;
      sqlite3_free(cursor->pVtab->zErrMsg);
      cursor->pVtab->zErrMsg = sqlite3_mprintf("%s", started.error().message.c_str());
      return SQLITE_ERROR;
    });
  }
  static int Next(sqlite3_vtab_cursor* cursor) {
    TableOf(cursor).Next(WalkOf(cursor));
    return SQLITE_OK;
  }
  static int Eof(sqlite3_vtab_cursor* cursor) { return WalkOf(cursor).at >= WalkOf(cursor).end; }
  static int Column(sqlite3_vtab_cursor* cursor, sqlite3_context* out, int column) {
    return Guarded([&] {
      TableOf(cursor).Give(out, WalkOf(cursor), column);
      return SQLITE_OK;
    });
  }
  static int RowId(sqlite3_vtab_cursor* cursor, sqlite3_int64* out) {
    *out = static_cast<sqlite3_int64>(TableOf(cursor).RowId(WalkOf(cursor)));
    return SQLITE_OK;
  }

  static sqlite3_module Make() {
    sqlite3_module m{};
    m.xCreate = Connect;
    m.xConnect = Connect;
    m.xBestIndex = BestIndex;
    m.xDisconnect = Disconnect;
    m.xDestroy = Disconnect;
    m.xOpen = Open;
    m.xClose = Close;
    m.xFilter = Filter;
    m.xNext = Next;
    m.xEof = Eof;
    m.xColumn = Column;
    m.xRowid = RowId;
    return m;
  }
};

// ---- the tables

// Few rows, made as a list when first asked for; where the first column is a number, rows rise by it and are found by it.
class ListTable {
 public:
  ListTable(const char* declaration, std::function<std::vector<SqlRow>()> make, bool has_key, bool unique)
      : declaration_(declaration), make_(std::move(make)), unique_(unique) {
    if (has_key) lookups_.push_back({0, 1, unique, unique ? 1.0 : 4.0});
  }
  [[nodiscard]] const char* Declaration() const { return declaration_; }
  [[nodiscard]] double AllRows() const { return 1000; }
  [[nodiscard]] std::span<const Lookup> Lookups() const { return lookups_; }
  [[nodiscard]] std::span<const int> RisingColumns() const { return {}; }
  Result<void> Start(Walk& walk, std::optional<std::uint64_t> key) {
    if (!rows_) rows_ = make_ ? make_() : std::vector<SqlRow>();
    walk.end = rows_->size();
    if (!key) return {};
    const auto wanted = static_cast<std::int64_t>(*key);
    const auto low = std::partition_point(rows_->begin(), rows_->end(), [&](const SqlRow& row) { return row[0].integer < wanted; });
    const auto high = std::partition_point(low, rows_->end(), [&](const SqlRow& row) { return row[0].integer <= wanted; });
    walk.at = static_cast<std::uint64_t>(low - rows_->begin());
    walk.end = static_cast<std::uint64_t>(high - rows_->begin());
    return {};
  }
  void Next(Walk& walk) const { ++walk.at; }
  void Give(sqlite3_context* out, const Walk& walk, int column) const { report::Give(out, (*rows_)[walk.at].at(static_cast<std::size_t>(column))); }
  // As the export's: the key where it is the primary one, else from 1 on.
  [[nodiscard]] std::uint64_t RowId(const Walk& walk) const { return unique_ ? static_cast<std::uint64_t>((*rows_)[walk.at][0].integer) : walk.at + 1; }

 private:
  const char* declaration_;
  std::function<std::vector<SqlRow>()> make_;
  bool unique_;
  std::vector<Lookup> lookups_;
  std::optional<std::vector<SqlRow>> rows_;
};

// The nodes of each type, rising: made by counting, when first asked for.
class NodesByType {
 public:
  explicit NodesByType(const heap::HeapSnapshot& heap) : heap_(heap) {}
  [[nodiscard]] std::span<const NodeId> Of(std::uint64_t type) {
    if (first_.empty()) Make();
    if (type >= heap_.types.size()) return {};
    return std::span(nodes_).subspan(first_[type], first_[type + 1] - first_[type]);
  }

 private:
  void Make() {
    first_.assign(heap_.types.size() + 1, 0);
    for (const std::uint32_t type : heap_.type) ++first_[type + 1];
    for (std::size_t t = 1; t < first_.size(); ++t) first_[t] += first_[t - 1];
    std::vector<std::uint64_t> next(first_.begin(), first_.end() - 1);
    nodes_.resize(heap_.size());
    for (NodeId n = 0; n < heap_.size(); ++n) nodes_[next[heap_.type[n]]++] = n;
  }

  const heap::HeapSnapshot& heap_;
  std::vector<std::uint64_t> first_;
  std::vector<NodeId> nodes_;
};

class ObjectsTable {
 public:
  explicit ObjectsTable(const SqlSources& sources) : input_(sources.graph), heap_(sources.graph.heap), lost_(sources.graph.audit.lost_objects), by_type_(heap_) {
    const double of_a_type = static_cast<double>(heap_.size()) / (static_cast<double>(heap_.types.size()) + 1) + 1;
    lookups_ = {Lookup{0, kById, true, 1}, Lookup{1, kByAddress, true, 1}};
    if (lost_.empty()) lookups_.push_back({3, kByType, false, of_a_type});
  }
  [[nodiscard]] const char* Declaration() const {
    return "CREATE TABLE x(id INTEGER PRIMARY KEY, address INTEGER UNIQUE, interpreter INTEGER, type_id INTEGER, size INTEGER, refcount INTEGER, immortal INTEGER, "
           "tracked INTEGER, generation INTEGER, state TEXT, finalizer TEXT, finalized INTEGER, exact INTEGER, label TEXT, type TEXT HIDDEN)";  // the name of the type: beside what the export has, and not in *
  }
  [[nodiscard]] double AllRows() const { return static_cast<double>(Rows()); }
  [[nodiscard]] std::span<const Lookup> Lookups() const { return lookups_; }
  [[nodiscard]] std::span<const int> RisingColumns() const { return std::span(kRising).first(lost_.empty() ? 3 : 2); }

  Result<void> Start(Walk& walk, std::optional<std::uint64_t> key) {
    switch (walk.plan) {
      case kById: One(walk, *key < Rows() ? static_cast<NodeId>(*key) : heap::kNoNode); break;
      case kByAddress: One(walk, AtAddress(*key)); break;
      case kByType: {
        const std::span<const NodeId> nodes = by_type_.Of(*key);
        // The whole column is one array: a cursor keeps its part of it as positions.
        base_ = by_type_.Of(0).data();
        walk.at = static_cast<std::uint64_t>(nodes.empty() ? 0 : nodes.data() - base_);
        walk.end = walk.at + nodes.size();
        break;
      }
      default: walk.end = Rows();
    }
    return {};
  }
  void Next(Walk& walk) const { ++walk.at; }
  [[nodiscard]] std::uint64_t RowId(const Walk& walk) const { return NodeOf(walk); }

  void Give(sqlite3_context* out, const Walk& walk, int column) const {
    const NodeId n = NodeOf(walk);
    if (n >= heap_.size()) return GiveLost(out, n, column);
    switch (column) {
      case 0: return GiveInteger(out, std::uint64_t{n});
      case 1: return GiveInteger(out, heap_.AddressOf(n));
      case 3: return GiveInteger(out, std::uint64_t{heap_.type[n]});
      case kTypeName: return GiveText(out, JsonSafe(heap_.types[heap_.type[n]].name));
      default: break;
    }
    const ExportRow row = RowOf(input_, n);
    switch (column) {
      case 2: return GiveInteger(out, row.interpreter);
      case 4: return GiveInteger(out, row.size);
      case 5: return GiveInteger(out, row.refcount);
      case 6: return GiveInteger(out, std::uint64_t{row.immortal});
      case 7: return GiveInteger(out, std::uint64_t{row.tracked});
      case 8: return GiveInteger(out, row.generation);
      case 9: return GiveTextOrNull(out, row.state);
      case 10: return GiveTextOrNull(out, row.finalizer);
      case 11: return GiveInteger(out, std::uint64_t{row.finalized});
      case 12: return GiveInteger(out, std::uint64_t{row.exact});
      default: return GiveText(out, row.label);
    }
  }

 private:
  enum Plan { kAll, kById, kByAddress, kByType };
  static constexpr int kTypeName = 14;
  static constexpr int kRising[] = {-1, 0, 1};  // ids are in address order, but for the objects behind the nodes

  [[nodiscard]] std::uint64_t Rows() const { return std::uint64_t{heap_.size()} + lost_.size(); }
  [[nodiscard]] NodeId AtAddress(Address address) const {
    if (const NodeId n = heap_.index.Find(address); n != heap::kNoNode) return n;
    const auto at = std::find_if(lost_.begin(), lost_.end(), [&](const ExportLostObject& o) { return o.address == address; });
    return at == lost_.end() ? heap::kNoNode : static_cast<NodeId>(heap_.size() + (at - lost_.begin()));
  }
  // As the export writes them.
  void GiveLost(sqlite3_context* out, NodeId n, int column) const {
    const ExportLostObject& o = lost_[n - heap_.size()];
    switch (column) {
      case 0: return GiveInteger(out, std::uint64_t{n});
      case 1: return GiveInteger(out, o.address);
      case 3: return GiveInteger(out, o.type);
      case 4: return GiveInteger(out, o.size);
      case 5: return GiveInteger(out, std::uint64_t{o.refcount});
      case 6:
      case 7:
      case 11: return GiveInteger(out, std::uint64_t{0});
      case 9: return GiveText(out, "lost");
      case 12: return GiveInteger(out, std::uint64_t{1});
      case 13: return GiveText(out, "exact");
      case kTypeName: {
        if (!o.type) return sqlite3_result_null(out);
        return GiveText(out, JsonSafe(*o.type < heap_.types.size() ? heap_.types[*o.type].name : input_.audit.types[*o.type - heap_.types.size()].name));
      }
      default: return sqlite3_result_null(out);
    }
  }

  static void One(Walk& walk, NodeId n) {
    walk.at = n;
    walk.end = n == heap::kNoNode ? 0 : std::uint64_t{n} + 1;
  }
  [[nodiscard]] NodeId NodeOf(const Walk& walk) const { return walk.plan == kByType ? base_[walk.at] : static_cast<NodeId>(walk.at); }

  const ExportInput& input_;
  const heap::HeapSnapshot& heap_;
  const std::vector<ExportLostObject>& lost_;  // ids from heap_.size() on
  NodesByType by_type_;
  const NodeId* base_ = nullptr;
  std::vector<Lookup> lookups_;
};

// References: those that traversals visit, or those that objects own beside (`beside`).
class RefsTable {
 public:
  RefsTable(const SqlSources& sources, bool beside) : sources_(sources), input_(sources.graph), heap_(sources.graph.heap), graph_(sources.graph.heap.graph), beside_(beside) {
    const double degree = AllRows() / (static_cast<double>(graph_.node_count()) + 1) + 1;
    lookups_ = {Lookup{0, kBySource, false, degree}, Lookup{1, kByTarget, false, degree * 1.5}};
  }
  [[nodiscard]] const char* Declaration() const { return "CREATE TABLE x(src INTEGER, dst INTEGER, label TEXT)"; }
  [[nodiscard]] double AllRows() const { return beside_ ? static_cast<double>(heap_.owns_beside.size()) * 4 : static_cast<double>(graph_.edge_count()); }
  [[nodiscard]] std::span<const Lookup> Lookups() const { return lookups_; }
  [[nodiscard]] std::span<const int> RisingColumns() const { return kRising; }

  // kAll, kBySource: at and end are edges, `node` the source of `at`. kByTarget: `node` is the target, at and end are positions among its referrers.
  Result<void> Start(Walk& walk, std::optional<std::uint64_t> key) {
    if (key && *key >= graph_.node_count()) return {};
    if (walk.plan == kByTarget) {
      if (reverse_ == nullptr) {
        const Result<const graph::CsrGraph*> made = sources_.reverse_graph();
        if (!made) return tl::unexpected(made.error());
        reverse_ = *made;
      }
      walk.node = static_cast<NodeId>(*key);
      walk.end = reverse_->Successors(walk.node).size();
      SkipOthers(walk);
    } else if (walk.plan == kBySource) {
      walk.node = static_cast<NodeId>(*key);
      const auto [begin, end] = EdgesOf(walk.node);
      walk.at = begin;
      walk.end = end;
    } else {
      walk.end = graph_.edge_count();
      SkipEmpty(walk);
    }
    return {};
  }
  void Next(Walk& walk) const {
    ++walk.at;
    if (walk.plan == kAll) SkipEmpty(walk);
    if (walk.plan == kByTarget) SkipOthers(walk);
  }
  [[nodiscard]] std::uint64_t RowId(const Walk& walk) const {
    const Edge edge = EdgeOf(walk);
    return graph_.FirstEdge(edge.source) + edge.position + 1;
  }
  void Give(sqlite3_context* out, const Walk& walk, int column) {
    const Edge edge = EdgeOf(walk);
    if (column == 0) return GiveInteger(out, std::uint64_t{edge.source});
    if (column == 1) return GiveInteger(out, std::uint64_t{walk.plan == kByTarget ? walk.node : graph_.Successors(edge.source)[edge.position]});
    if (!input_.edge_labels) return sqlite3_result_null(out);
    if (labelled_ != edge.source) {
      labels_.clear();
      input_.edge_labels(edge.source, labels_);
      labelled_ = edge.source;
    }
    GiveTextOrNull(out, edge.position < labels_.size() ? JsonSafe(labels_[edge.position]) : std::string());
  }

 private:
  enum Plan { kAll, kBySource, kByTarget };
  static constexpr int kRising[] = {-1, 0};
  struct Edge {
    NodeId source = 0;
    std::size_t position = 0;
  };

  // The node's edges that are rows of this table.
  [[nodiscard]] std::pair<std::uint64_t, std::uint64_t> EdgesOf(NodeId n) const {
    const std::uint64_t begin = graph_.FirstEdge(n), end = begin + graph_.Successors(n).size(), first_beside = end - heap_.OwnsBeside(n);
    return beside_ ? std::pair(first_beside, end) : std::pair(begin, first_beside);
  }
  // On to the node that has edge `at`, or to the next edge that is a row.
  void SkipEmpty(Walk& walk) const {
    while (walk.at < walk.end) {
      const auto [begin, end] = EdgesOf(walk.node);
      walk.at = std::max(walk.at, begin);
      if (walk.at < end) return;
      const NodeId next = NextSource(walk.node);
      if (next >= graph_.node_count()) {
        walk.at = walk.end;
        return;
      }
      walk.node = next;
    }
  }
  [[nodiscard]] NodeId NextSource(NodeId n) const {
    if (!beside_) return n + 1;
    const auto after = std::upper_bound(heap_.owns_beside.begin(), heap_.owns_beside.end(), n, [](NodeId node, const heap::OwnedBeside& o) { return node < o.node; });
    return after == heap_.owns_beside.end() ? graph_.node_count() : after->node;
  }
  void SkipOthers(Walk& walk) const {
    for (; walk.at < walk.end; ++walk.at) {
      const Edge edge = EdgeOf(walk);
      const auto [begin, end] = EdgesOf(edge.source);
      const std::uint64_t at = graph_.FirstEdge(edge.source) + edge.position;
      if (at >= begin && at < end) return;
    }
  }
  [[nodiscard]] Edge EdgeOf(const Walk& walk) const {
    if (walk.plan != kByTarget) return {walk.node, static_cast<std::size_t>(walk.at - graph_.FirstEdge(walk.node))};
    // The referrers come rising, one for each reference: this is the n-th reference of its source to the target.
    const std::span<const NodeId> sources = reverse_->Successors(walk.node);
    const NodeId source = sources[walk.at];
    const auto first = std::lower_bound(sources.begin(), sources.begin() + static_cast<std::ptrdiff_t>(walk.at), source);
    std::uint64_t nth = walk.at - static_cast<std::uint64_t>(first - sources.begin());
    const std::span<const NodeId> targets = graph_.Successors(source);
    std::size_t position = 0;
    for (; position < targets.size(); ++position) {
      if (targets[position] == walk.node && nth-- == 0) break;
    }
    return {source, position};
  }

  const SqlSources& sources_;
  const ExportInput& input_;
  const heap::HeapSnapshot& heap_;
  const graph::CsrGraph& graph_;
  const bool beside_;
  const graph::CsrGraph* reverse_ = nullptr;
  NodeId labelled_ = heap::kNoNode;
  std::vector<std::string> labels_;
  std::vector<Lookup> lookups_;
};

class DominatorsTable {
 public:
  explicit DominatorsTable(const SqlSources& sources) : sources_(sources) {}
  [[nodiscard]] const char* Declaration() const {
    return "CREATE TABLE x(object_id INTEGER PRIMARY KEY, dominator_id INTEGER, retained INTEGER, retained_objects INTEGER)";
  }
  [[nodiscard]] double AllRows() const { return sources_.graph.heap.size(); }
  [[nodiscard]] std::span<const Lookup> Lookups() const { return kLookups; }
  [[nodiscard]] std::span<const int> RisingColumns() const { return kRising; }
  Result<void> Start(Walk& walk, std::optional<std::uint64_t> key) {
    if (!retention_) {
      Result<SqlRetention> made = sources_.retention();
      if (!made) return tl::unexpected(made.error());
      retention_.emplace(*made);
    }
    const std::uint64_t nodes = retention_->immediate.size();
    if (key && *key >= nodes) return {};
    walk.at = key.value_or(0);
    walk.end = key ? walk.at + 1 : nodes;
    SkipUnreached(walk);
    return {};
  }
  void Next(Walk& walk) const {
    ++walk.at;
    SkipUnreached(walk);
  }
  [[nodiscard]] std::uint64_t RowId(const Walk& walk) const { return walk.at; }
  void Give(sqlite3_context* out, const Walk& walk, int column) const {
    const NodeId above = retention_->immediate[walk.at];
    switch (column) {
      case 0: return GiveInteger(out, walk.at);
      case 1: return above == graph::DominatorTree::kVirtualRoot ? sqlite3_result_null(out) : GiveInteger(out, std::uint64_t{above});
      case 2: return GiveInteger(out, retention_->bytes[retention_->tree.position[walk.at]]);
      default: return GiveInteger(out, std::uint64_t{retention_->tree.CountBelow(static_cast<NodeId>(walk.at))});
    }
  }

 private:
  static constexpr Lookup kLookups[] = {{0, 1, true, 1}};
  static constexpr int kRising[] = {-1, 0};

  void SkipUnreached(Walk& walk) const {
    while (walk.at < walk.end && retention_->immediate[walk.at] == heap::kNoNode) ++walk.at;
  }

  const SqlSources& sources_;
  std::optional<SqlRetention> retention_;
};

class StringsTable {
 public:
  explicit StringsTable(const SqlSources& sources) : sources_(sources) {}
  [[nodiscard]] const char* Declaration() const {
    return "CREATE TABLE x(object_id INTEGER PRIMARY KEY, address INTEGER, length INTEGER, digest INTEGER, value TEXT)";
  }
  [[nodiscard]] double AllRows() const { return static_cast<double>(sources_.graph.heap.size()) / 4; }
  [[nodiscard]] std::span<const Lookup> Lookups() const { return kLookups; }
  [[nodiscard]] std::span<const int> RisingColumns() const { return kRising; }
  Result<void> Start(Walk& walk, std::optional<std::uint64_t> key) {
    const std::uint64_t nodes = sources_.graph.heap.size();
    if (key && *key >= nodes) return {};
    walk.at = key.value_or(0);
    walk.end = key ? walk.at + 1 : nodes;
    SkipOthers(walk);
    return {};
  }
  void Next(Walk& walk) const {
    ++walk.at;
    SkipOthers(walk);
  }
  [[nodiscard]] std::uint64_t RowId(const Walk& walk) const { return walk.at; }
  void Give(sqlite3_context* out, const Walk& walk, int column) {
    const auto n = static_cast<NodeId>(walk.at);
    if (column == 0) return GiveInteger(out, walk.at);
    if (column == 1) return GiveInteger(out, sources_.graph.heap.AddressOf(n));
    const bool with_value = column == 4;
    if (with_value && !sources_.may_show_values) {
      return sqlite3_result_error(out, "strings.value is data of the process: give --show-values (length and digest need no permission)", -1);
    }
    if (read_ != n || (with_value && !has_value_)) {
      string_ = {};
      is_readable_ = sources_.string(n, with_value, &string_);
      has_value_ = with_value;
      read_ = n;
    }
    if (!is_readable_) return sqlite3_result_null(out);
    switch (column) {
      case 2: return GiveInteger(out, string_.length);
      case 3: return GiveInteger(out, string_.digest);
      default: return GiveText(out, JsonSafe(string_.value));
    }
  }

 private:
  static constexpr Lookup kLookups[] = {{0, 1, true, 1}};
  static constexpr int kRising[] = {-1, 0, 1};

  void SkipOthers(Walk& walk) const {
    while (walk.at < walk.end && !sources_.is_string(static_cast<NodeId>(walk.at))) ++walk.at;
  }

  const SqlSources& sources_;
  NodeId read_ = heap::kNoNode;
  bool has_value_ = false, is_readable_ = false;
  SqlString string_;
};

// Blocks that tracemalloc saw, found by the object that lies in them.
class AllocationsTable {
 public:
  explicit AllocationsTable(const std::function<const ExportAllocations&()>& source) : source_(source) {}
  [[nodiscard]] const char* Declaration() const { return "CREATE TABLE x(object_id INTEGER, address INTEGER, bytes INTEGER, domain INTEGER, traceback_id INTEGER)"; }
  [[nodiscard]] double AllRows() const { return 1e6; }
  [[nodiscard]] std::span<const Lookup> Lookups() const { return kLookups; }
  [[nodiscard]] std::span<const int> RisingColumns() const { return {}; }
  Result<void> Start(Walk& walk, std::optional<std::uint64_t> key) {
    blocks_ = source_().blocks;
    walk.end = blocks_.size();
    if (!key) return {};
    const auto low = std::partition_point(blocks_.begin(), blocks_.end(), [&](const ExportBlock& b) { return b.object < *key; });
    const auto high = std::partition_point(low, blocks_.end(), [&](const ExportBlock& b) { return b.object <= *key; });
    walk.at = static_cast<std::uint64_t>(low - blocks_.begin());
    walk.end = static_cast<std::uint64_t>(high - blocks_.begin());
    return {};
  }
  void Next(Walk& walk) const { ++walk.at; }
  void Give(sqlite3_context* out, const Walk& walk, int column) const {
    const ExportBlock& b = blocks_[walk.at];
    const auto give_id = [&](std::uint32_t id) { id == ExportBlock::kNone ? sqlite3_result_null(out) : GiveInteger(out, std::uint64_t{id}); };
    switch (column) {
      case 0: return give_id(b.object);
      case 1: return GiveInteger(out, b.address);
      case 2: return GiveInteger(out, b.bytes);
      case 3: return GiveInteger(out, std::uint64_t{b.domain});
      default: return give_id(b.traceback);
    }
  }
  [[nodiscard]] std::uint64_t RowId(const Walk& walk) const { return walk.at + 1; }

 private:
  static constexpr Lookup kLookups[] = {{0, 1, false, 1.0}};
  const std::function<const ExportAllocations&()>& source_;
  std::span<const ExportBlock> blocks_;
};

std::vector<SqlRow> TracebackRows(const ExportAllocations& all) {
  std::vector<SqlRow> rows;
  for (std::size_t i = 0; i < all.tracebacks.size(); ++i) {
    for (std::size_t depth = 0; depth < all.tracebacks[i].size(); ++depth) {
      const ExportFrame& f = all.tracebacks[i][depth];
      rows.push_back({SqlValue::Integer(static_cast<std::int64_t>(i)), SqlValue::Integer(static_cast<std::int64_t>(depth)), SqlValue::Text(all.files[f.file]), SqlValue::Integer(f.line)});
    }
  }
  return rows;
}

std::vector<SqlRow> MetaRows(const ExportInput& input) {
  std::vector<SqlRow> rows;
  for (const auto& [key, value] : ExportMeta(input)) rows.push_back({SqlValue::Text(key), SqlValue::Text(value)});
  return rows;
}
std::vector<SqlRow> TypeRows(const ExportInput& input) {
  std::vector<SqlRow> rows;
  ForEachExportType(input, [&](std::uint32_t id, Address address, const std::string& name) {
    rows.push_back({SqlValue::Integer(id), SqlValue::Integer(static_cast<std::int64_t>(address)), SqlValue::Text(name)});
  });
  return rows;
}

constexpr const char* kViews =
    "CREATE VIEW all_refs AS SELECT src, dst, label FROM refs UNION ALL SELECT src, dst, label FROM owned_refs;"
    "CREATE VIEW referrers AS SELECT r.dst AS object_id, r.src AS referrer_id, o.address AS referrer_address, t.name AS referrer_type, r.label AS label "
    "FROM all_refs r JOIN objects o ON o.id = r.src JOIN types t ON t.id = o.type_id;";

}  // namespace

struct SqlTables::Impl {
  explicit Impl(const SqlSources& sources)
      : meta("CREATE TABLE x(key TEXT PRIMARY KEY, value TEXT)", [&sources] { return MetaRows(sources.graph); }, false, false),
        types("CREATE TABLE x(id INTEGER PRIMARY KEY, address INTEGER, name TEXT)", [&sources] { return TypeRows(sources.graph); }, true, true),
        roots("CREATE TABLE x(object_id INTEGER, kind TEXT, detail TEXT)", sources.roots, true, false),
        findings("CREATE TABLE x(object_id INTEGER, kind TEXT, recorded INTEGER, found INTEGER, evidence TEXT)", sources.findings, true, false),
        frames_declaration(std::string("CREATE TABLE x(") + kFrameColumns + ")"),
        frames(frames_declaration.c_str(), sources.frames, false, false),
        objects(sources),
        refs(sources, false),
        owned_refs(sources, true),
        dominators(sources),
        strings(sources),
        get_allocations([this, &sources]() -> const ExportAllocations& {
          if (!made_) made_ = sources.graph.allocations ? sources.graph.allocations() : ExportAllocations();
          return *made_;
        }),
        allocations(get_allocations),
        tracebacks("CREATE TABLE x(id INTEGER, depth INTEGER, file TEXT, line INTEGER)", [this] { return TracebackRows(get_allocations()); }, true, false) {}
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  ListTable meta, types, roots, findings;
  std::string frames_declaration;
  ListTable frames;
  ObjectsTable objects;
  RefsTable refs, owned_refs;
  DominatorsTable dominators;
  StringsTable strings;
  std::optional<ExportAllocations> made_;
  std::function<const ExportAllocations&()> get_allocations;
  AllocationsTable allocations;
  ListTable tracebacks;
};

SqlTables::SqlTables(const SqlSources& sources) : impl_(std::make_unique<Impl>(sources)) {}
SqlTables::~SqlTables() = default;

int SqlTables::Register(sqlite3* db) {
  const std::pair<const char*, ListTable*> lists[] = {
      {"meta", &impl_->meta}, {"types", &impl_->types}, {"roots", &impl_->roots}, {"refcount_findings", &impl_->findings}, {"frames", &impl_->frames}, {"tracebacks", &impl_->tracebacks}};
  for (const auto& [name, table] : lists) {
    if (const int code = Module<ListTable>::Register(db, name, table); code != SQLITE_OK) return code;
  }
  if (const int code = Module<ObjectsTable>::Register(db, "objects", &impl_->objects); code != SQLITE_OK) return code;
  if (const int code = Module<RefsTable>::Register(db, "refs", &impl_->refs); code != SQLITE_OK) return code;
  if (const int code = Module<RefsTable>::Register(db, "owned_refs", &impl_->owned_refs); code != SQLITE_OK) return code;
  if (const int code = Module<DominatorsTable>::Register(db, "dominators", &impl_->dominators); code != SQLITE_OK) return code;
  if (const int code = Module<StringsTable>::Register(db, "strings", &impl_->strings); code != SQLITE_OK) return code;
  if (const int code = Module<AllocationsTable>::Register(db, "allocations", &impl_->allocations); code != SQLITE_OK) return code;
  return sqlite3_exec(db, kViews, nullptr, nullptr, nullptr);
}

}  // namespace pygc::report
