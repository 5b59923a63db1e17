// The heap that `pygc diff` compares with: another core, or a database that `export --format sqlite` wrote.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/analysis/verdict.h"
#include "core/base/progress.h"
#include "core/base/result.h"
#include "core/heap/heap_snapshot.h"
#include "core/heap/root_set.h"

namespace pygc::engine {

/// What tracemalloc saw a line allocate, of a saved export.
struct SavedSite {
  std::string place;  // "app.py:12"
  std::uint64_t blocks = 0, bytes = 0;
};

/// A saved export as a snapshot: objects with address, type, size, count, state and references. Roots are not in it, as far as the database has none.
struct SavedHeap {
  heap::HeapSnapshot heap;
  analysis::Verdict verdict;  // states only
  heap::RootSet roots;
  std::string python, build, path;  // of the process it was made of
  std::int32_t pid = 0;             // 0: not known
  bool complete = true;
  std::vector<SavedSite> sites;     // empty: tracemalloc was off, or the export is older than its tables for that
};

/// True where the file starts as a SQLite database does.
[[nodiscard]] bool IsDatabase(const std::string& path);

/// True where the file starts as an export of JSON Lines does.
[[nodiscard]] bool IsJsonLines(const std::string& path);

/// True where it is an export that was audited: then it also has objects that no tracked one leads to.
[[nodiscard]] bool IsAuditedExport(const std::string& path);

/// Objects that are no part of the graph (what an audit alone found, behind the others) are passed over. Errors: kUsage (cannot be opened), kNotAnalysable (no export of pygc, of another schema, or damaged: says what is wrong), kCancelled.
[[nodiscard]] Result<SavedHeap> ReadSavedHeap(const std::string& path, ProgressSink& progress);

}  // namespace pygc::engine
