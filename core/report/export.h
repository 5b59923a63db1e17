// The object graph for other tools: the SQLite schema of contract.md, and the same as JSON lines.
// Needs a snapshot with leaves. Rows are written straight from the columns.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/analysis/verdict.h"
#include "core/base/progress.h"
#include "core/base/result.h"
#include "core/graph/node_set.h"
#include "core/heap/heap_snapshot.h"
#include "core/heap/root_set.h"
#include "core/report/header.h"
#include "core/report/output_file.h"

namespace pygc::report {

/// A row of `roots`.
struct ExportRoot {
  heap::NodeId object = heap::kNoNode;
  const char* kind = "";
  std::string detail;
};
/// A row of `refcount_findings`.
struct ExportFinding {
  std::uint32_t object = 0;  // id in `objects`
  std::string kind;
  std::uint64_t recorded = 0, found = 0;
  std::string evidence;
};
/// An object that nothing known leads to, so that the snapshot has no node for it. Their ids follow those of the nodes.
struct ExportLostObject {
  Address address = 0;
  std::optional<std::uint32_t> type;
  std::optional<std::uint64_t> size;
  std::uint32_t refcount = 0;
};
/// A row of `types` that no node has, only objects without one. Their ids follow those of HeapSnapshot::types.
struct ExportType {
  Address address = 0;
  std::string name;
};
/// What the audit of counts adds.
struct ExportAudit {
  bool audited = false;
  std::vector<ExportType> types;
  std::vector<ExportRoot> roots;
  std::vector<ExportFinding> findings;
  std::vector<ExportLostObject> lost_objects;
  graph::NodeSet lost;  // nodes whose state is lost; without members where nothing is
};

/// A block of memory that tracemalloc saw being allocated: a row of `allocations`.
struct ExportBlock {
  static constexpr std::uint32_t kNone = 0xFFFFFFFFu;
  std::uint32_t object = kNone;     // id of the one that lies in it
  std::uint32_t traceback = kNone;  // index into ExportAllocations::tracebacks
  std::uint32_t domain = 0;         // 0: Python's own allocators
  Address address = 0;
  std::uint64_t bytes = 0;
};
/// One frame of a traceback.
struct ExportFrame {
  std::uint32_t file = 0;  // index into ExportAllocations::files
  std::uint32_t line = 0;
};
/// What the tables of tracemalloc say; without blocks where it was off.
struct ExportAllocations {
  std::vector<ExportBlock> blocks;                   // by object, then domain and address; those without an object last
  std::vector<std::vector<ExportFrame>> tracebacks;  // each with the most recent call first
  std::vector<std::string> files;                    // valid UTF-8
};

struct ExportInput {
  const heap::HeapSnapshot& heap;
  const analysis::Verdict& verdict;
  const Header& header;
  /// Name of a referent quality (HeapSnapshot::quality): "exact", "approximate", ... by value; the last one is that of objects that cannot be read.
  std::vector<std::string> quality_names;
  /// Fills one text for each reference of a node, in the graph's order; empty: not known. May be empty itself: then no reference has a label.
  std::function<void(heap::NodeId, std::vector<std::string>&)> edge_labels = {};
  /// Where objects are held from outside; may be nullptr.
  const heap::RootSet* roots = nullptr;
  ExportAudit audit = {};
  /// Makes the rows of `allocations` and `tracebacks`; empty: there are none.
  std::function<ExportAllocations()> allocations = {};
  /// Makes the rows of `roots` for objects in use that no known root leads to; empty: not asked for. Errors: kCancelled.
  std::function<Result<std::vector<ExportRoot>>()> held_by_count = {};
  /// Why roots are missing though objects and references are all there (raw); empty: none are.
  std::string roots_missing = {};
};

/// Calls `f(id, address, name)` for each row of `types`, by id.
template <typename F>
void ForEachExportType(const ExportInput& input, F&& f) {
  std::uint32_t id = 0;
  for (const heap::TypeRecord& t : input.heap.types) f(id++, t.address, t.name);
  for (const ExportType& t : input.audit.types) f(id++, t.address, t.name);
}

/// Writes the database into `file`, which is not committed yet. Errors: kOutput, kCancelled.
[[nodiscard]] Result<void> WriteSqlite(const ExportInput& input, OutputFile& file, ProgressSink& progress);

/// Receives the lines in blocks; returns false when nobody reads any more.
using ByteSink = std::function<bool(std::string_view)>;
/// One JSON document a line: the envelope, then a record for each type and each object with its references. Errors: kCancelled; a sink that gives up
/// is none.
[[nodiscard]] Result<void> WriteJsonLines(const ExportInput& input, const ByteSink& sink, ProgressSink& progress);

}  // namespace pygc::report
