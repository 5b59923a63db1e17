#include <fcntl.h>
#include <sqlite3.h>

#include <cstring>
#include <exception>
#include <memory>
#include <string_view>

#include "core/report/escape.h"
#include "core/report/export_row.h"

namespace pygc::report {
namespace {

constexpr const char* kSchema = R"(
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT);
CREATE TABLE types(id INTEGER PRIMARY KEY, address INTEGER, name TEXT);
CREATE TABLE objects(id INTEGER PRIMARY KEY, address INTEGER UNIQUE, interpreter INTEGER, type_id INTEGER REFERENCES types(id), size INTEGER,
  refcount INTEGER, immortal INTEGER, tracked INTEGER, generation INTEGER, state TEXT, finalizer TEXT, finalized INTEGER, exact INTEGER, label TEXT);
CREATE TABLE refs(src INTEGER, dst INTEGER, label TEXT);
CREATE TABLE owned_refs(src INTEGER, dst INTEGER, label TEXT);
CREATE TABLE roots(object_id INTEGER, kind TEXT, detail TEXT);
CREATE TABLE refcount_findings(object_id INTEGER, kind TEXT, recorded INTEGER, found INTEGER, evidence TEXT);
CREATE TABLE allocations(object_id INTEGER, address INTEGER, bytes INTEGER, domain INTEGER, traceback_id INTEGER);
CREATE TABLE tracebacks(id INTEGER, depth INTEGER, file TEXT, line INTEGER);
)";

// The file is renamed only when complete, so a crash leaves nothing that needs a journal.
constexpr const char* kFast =
    "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA locking_mode=EXCLUSIVE; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-65536; BEGIN;";
// Indexes after the rows: sorting once is several times faster than inserting into a tree.
constexpr const char* kIndexes = "CREATE INDEX refs_src ON refs(src); CREATE INDEX refs_dst ON refs(dst); CREATE INDEX owned_refs_src ON owned_refs(src); CREATE INDEX owned_refs_dst ON owned_refs(dst);";
constexpr int kOperationsBetweenLooks = 100000;  // of SQLite's machine; some ten milliseconds

class Statement {
 public:
  Statement(sqlite3* db, const char* sql) { sqlite3_prepare_v2(db, sql, -1, &statement_, nullptr); }
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& Integer(int i, std::int64_t value) {
    sqlite3_bind_int64(statement_, i, value);
    return *this;
  }
  template <typename T>
  Statement& Integer(int i, const std::optional<T>& value) {
    if (value) return Integer(i, static_cast<std::int64_t>(*value));
    sqlite3_bind_null(statement_, i);
    return *this;
  }
  // `text` must live until Step().
  Statement& Text(int i, std::string_view text, bool empty_is_null = false) {
    if (text.empty() && empty_is_null) {
      sqlite3_bind_null(statement_, i);
    } else {
      sqlite3_bind_text(statement_, i, text.data(), static_cast<int>(text.size()), SQLITE_STATIC);
    }
    return *this;
  }
  // False on an error; the statement is ready for the next row.
  [[nodiscard]] bool Step() {
    const bool done = statement_ != nullptr && sqlite3_step(statement_) == SQLITE_DONE;
    sqlite3_reset(statement_);
    return done;
  }

 private:
  sqlite3_stmt* statement_ = nullptr;
};

struct Close {
  void operator()(sqlite3* db) const { sqlite3_close(db); }
};

// SQLite follows links itself and opens what they lead to, which the link of a file without a name (/proc/self/fd/N, OutputFile) does not say. A file system of
// ours takes such a path as it is, and lets the kernel follow it.
constexpr const char* kPathsAsGiven = "pygc-paths-as-given";

int TakeAsGiven(sqlite3_vfs*, const char* path, int capacity, char* out) {
  const std::size_t size = std::strlen(path) + 1;
  if (size > static_cast<std::size_t>(capacity)) return SQLITE_CANTOPEN;
  std::memcpy(out, path, size);
  return SQLITE_OK;
}

int OpenFollowing(const char* path, int flags, int mode) {
  return ::open(path, std::string_view(path).starts_with("/proc/self/fd/") ? flags & ~O_NOFOLLOW : flags, mode);
}

/// Its name for sqlite3_open_v2; nullptr (the usual one) where SQLite has no such file system to take after.
const char* FileSystem() {
  static const bool registered = [] {
    sqlite3_vfs* usual = sqlite3_vfs_find("unix");
    if (usual == nullptr || usual->xSetSystemCall == nullptr) return false;
    static sqlite3_vfs ours = *usual;
    ours.zName = kPathsAsGiven;
    ours.pNext = nullptr;
    ours.xFullPathname = TakeAsGiven;
    return usual->xSetSystemCall(usual, "open", reinterpret_cast<sqlite3_syscall_ptr>(OpenFollowing)) == SQLITE_OK && sqlite3_vfs_register(&ours, 0) == SQLITE_OK;
  }();
  return registered ? kPathsAsGiven : nullptr;
}

class Writer {
 public:
  Writer(const ExportInput& input, ProgressSink& progress) : input_(input), progress_(progress) {}

  Result<void> Run(const std::string& path) {
    sqlite3* raw = nullptr;
    const int opened = sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE, FileSystem());
    db_.reset(raw);
    if (opened != SQLITE_OK) return Failed();
    for (const char* sql : {kFast, kSchema}) {
      if (!Execute(sql)) return Failed();
    }
    for (const auto& step : {&Writer::Meta, &Writer::Types, &Writer::Objects, &Writer::LostObjects, &Writer::References, &Writer::Roots, &Writer::WordRoots, &Writer::Findings, &Writer::Allocations}) {
      if (Result<void> r = (this->*step)(); !r) return r;
    }
    if (!progress_.Update("writing indexes", 0, 0)) return Cancelled();
    sqlite3_progress_handler(db_.get(), kOperationsBetweenLooks, &Writer::ShallStop, this);  // sorting the references of a large heap takes minutes
    const bool indexed = Execute(kIndexes) && Execute("COMMIT");
    sqlite3_progress_handler(db_.get(), 0, nullptr, nullptr);
    if (thrown_) std::rethrow_exception(thrown_);
    if (stopped_) return Cancelled();
    if (!indexed) return Failed();
    if (sqlite3_close(db_.release()) != SQLITE_OK) return Fail(ErrorCode::kOutput, "cannot write the database: closing it failed");
    return {};
  }

 private:
  bool Execute(const char* sql) { return sqlite3_exec(db_.get(), sql, nullptr, nullptr, nullptr) == SQLITE_OK; }
  tl::unexpected<Error> Failed() {
    return Fail(ErrorCode::kOutput, "cannot write the database: {}", db_ ? sqlite3_errmsg(db_.get()) : "out of memory");
  }
  static tl::unexpected<Error> Cancelled() { return Fail(ErrorCode::kCancelled, "interrupted while the database was written"); }
  static int ShallStop(void* self) noexcept {
    Writer& writer = *static_cast<Writer*>(self);
    try {
      writer.stopped_ = !writer.progress_.Update("writing indexes", 0, 0);
    } catch (...) {
      writer.thrown_ = std::current_exception();
    }
    return writer.stopped_ || writer.thrown_ ? 1 : 0;
  }

  Result<void> Meta() {
    Statement insert(db_.get(), "INSERT INTO meta VALUES(?,?)");
    for (const auto& [key, value] : ExportMeta(input_)) {
      const std::string safe = JsonSafe(value);
      if (!insert.Text(1, key).Text(2, safe).Step()) return Failed();
    }
    return {};
  }

  Result<void> Types() {
    Statement insert(db_.get(), "INSERT INTO types VALUES(?,?,?)");
    bool good = true;
    ForEachExportType(input_, [&](std::uint32_t id, Address address, const std::string& name) {
      const std::string safe = JsonSafe(name);
      good = good && insert.Integer(1, id).Integer(2, static_cast<std::int64_t>(address)).Text(3, safe).Step();
    });
    if (!good) return Failed();
    return {};
  }

  Result<void> Objects() {
    Statement insert(db_.get(), "INSERT INTO objects VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?)");
    const heap::HeapSnapshot& h = input_.heap;
    bool good = true, go_on = true;
    h.index.ForEach(0, h.size(), [&](heap::NodeId n, Address address) {
      if (!good || !go_on) return;
      if (n % kExportProgressStep == 0) go_on = progress_.Update("writing objects", n, h.size());
      const ExportRow row = RowOf(input_, n);
      insert.Integer(1, n)
          .Integer(2, static_cast<std::int64_t>(address))
          .Integer(3, row.interpreter)
          .Integer(4, row.type)
          .Integer(5, row.size)
          .Integer(6, row.refcount);
      insert.Integer(7, row.immortal)
          .Integer(8, row.tracked)
          .Integer(9, row.generation)
          .Text(10, row.state, true)
          .Text(11, row.finalizer, true)
          .Integer(12, row.finalized);
      good = insert.Integer(13, row.exact).Text(14, row.label).Step();
    });
    if (!go_on) return Cancelled();
    if (!good) return Failed();
    return {};
  }

  Result<void> LostObjects() {
    Statement insert(db_.get(), "INSERT INTO objects VALUES(?,?,NULL,?,?,?,0,0,NULL,'lost',NULL,0,1,'exact')");
    std::int64_t id = input_.heap.size();
    for (const ExportLostObject& o : input_.audit.lost_objects) {
      insert.Integer(1, id++).Integer(2, static_cast<std::int64_t>(o.address)).Integer(3, o.type).Integer(4, o.size).Integer(5, o.refcount);
      if (!insert.Step()) return Failed();
    }
    return {};
  }

  Result<void> WordRoots() {
    Statement insert(db_.get(), "INSERT INTO roots VALUES(?,?,?)");
    for (const ExportRoot& r : input_.audit.roots) {
      const std::string safe = JsonSafe(r.detail);
      if (!insert.Integer(1, r.object).Text(2, r.kind).Text(3, safe).Step()) return Failed();
    }
    return {};
  }

  Result<void> Findings() {
    Statement insert(db_.get(), "INSERT INTO refcount_findings VALUES(?,?,?,?,?)");
    for (const ExportFinding& f : input_.audit.findings) {
      const std::string safe = JsonSafe(f.evidence);
      insert.Integer(1, f.object).Text(2, f.kind).Integer(3, static_cast<std::int64_t>(f.recorded)).Integer(4, static_cast<std::int64_t>(f.found)).Text(5, safe);
      if (!insert.Step()) return Failed();
    }
    return {};
  }

  Result<void> Allocations() {
    if (!input_.allocations) return {};
    const ExportAllocations all = input_.allocations();
    const auto id = [](std::uint32_t value) { return value == ExportBlock::kNone ? std::nullopt : std::optional(value); };
    Statement insert(db_.get(), "INSERT INTO allocations VALUES(?,?,?,?,?)");
    std::uint64_t done = 0;
    for (const ExportBlock& b : all.blocks) {
      if (done++ % kExportProgressStep == 0 && !progress_.Update("writing allocations", done, all.blocks.size())) return Cancelled();
      insert.Integer(1, id(b.object)).Integer(2, static_cast<std::int64_t>(b.address)).Integer(3, static_cast<std::int64_t>(b.bytes)).Integer(4, b.domain).Integer(5, id(b.traceback));
      if (!insert.Step()) return Failed();
    }
    Statement frame(db_.get(), "INSERT INTO tracebacks VALUES(?,?,?,?)");
    for (std::size_t i = 0; i < all.tracebacks.size(); ++i) {
      for (std::size_t depth = 0; depth < all.tracebacks[i].size(); ++depth) {
        const ExportFrame& f = all.tracebacks[i][depth];
        frame.Integer(1, static_cast<std::int64_t>(i)).Integer(2, static_cast<std::int64_t>(depth)).Text(3, all.files[f.file]).Integer(4, f.line);
        if (!frame.Step()) return Failed();
      }
    }
    return {};
  }

  // What traversals visit, and what objects own beside.
  Result<void> References() {
    Statement visited(db_.get(), "INSERT INTO refs VALUES(?,?,?)"), beside(db_.get(), "INSERT INTO owned_refs VALUES(?,?,?)");
    const heap::HeapSnapshot& h = input_.heap;
    std::vector<std::string> labels;
    for (heap::NodeId n = 0; n < h.size(); ++n) {
      if (n % kExportProgressStep == 0 && !progress_.Update("writing references", n, h.size())) return Cancelled();
      const auto successors = h.graph.Successors(n);
      if (input_.edge_labels && !successors.empty()) input_.edge_labels(n, labels);
      labels.resize(successors.size());
      const std::size_t first_beside = successors.size() - h.OwnsBeside(n);
      for (std::size_t i = 0; i < successors.size(); ++i) {
        labels[i] = JsonSafe(labels[i]);
        Statement& insert = i < first_beside ? visited : beside;
        if (!insert.Integer(1, n).Integer(2, successors[i]).Text(3, labels[i], true).Step()) return Failed();
      }
      labels.clear();
    }
    return {};
  }

  Result<void> Roots() {
    if (input_.roots == nullptr) return {};
    Statement insert(db_.get(), "INSERT INTO roots VALUES(?,?,?)");
    for (const heap::Root& root : input_.roots->roots) {
      const heap::NodeId n = input_.heap.index.Find(root.object);
      if (n == heap::kNoNode) continue;
      const std::string detail = JsonSafe(heap::DescribeRoot(*input_.roots, root));
      if (!insert.Integer(1, n).Text(2, heap::RootKindName(root.kind)).Text(3, detail).Step()) return Failed();
    }
    if (!input_.held_by_count) return {};
    const Result<std::vector<ExportRoot>> held = input_.held_by_count();
    if (!held) return tl::unexpected(held.error());
    for (const ExportRoot& r : *held) {
      if (!insert.Integer(1, r.object).Text(2, r.kind).Text(3, r.detail).Step()) return Failed();
    }
    return {};
  }

  const ExportInput& input_;
  ProgressSink& progress_;
  std::unique_ptr<sqlite3, Close> db_;
  bool stopped_ = false;
  std::exception_ptr thrown_;
};

}  // namespace

Result<void> WriteSqlite(const ExportInput& input, OutputFile& file, ProgressSink& progress) {
  return Writer(input, progress).Run(file.temporary_path());
}

}  // namespace pygc::report
