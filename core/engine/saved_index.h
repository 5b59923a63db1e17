// An index: what was built from a core, kept in a file beside it (`--save FILE`), so that `-c FILE` need not build it again. The columns of the snapshots with
// the collector's verdict and the roots; memory itself stays in the core, which the file names and which is opened with it. Not an exchange format: only the
// version of pygc that wrote it reads it (export is for others).
//
// The file may come from anybody. What it says is copied and checked before it is used: sizes against the file's own, ids against the number of objects, ranges
// against the core's memory; a checksum tells damage, not intent. Reading happens in the worker, as with a core.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/analysis/verdict.h"
#include "core/base/progress.h"
#include "core/base/result.h"
#include "core/heap/heap_snapshot.h"
#include "core/heap/root_set.h"
#include "core/target/open.h"

namespace pygc::engine {

/// What the session was told about its target: an index holds under the same options only.
struct IndexOptions {
  target::OpenOptions open;
  std::string layout_file;
  bool trust_anonymous_code = false;
};

/// One snapshot as it is kept.
struct IndexedSnapshot {
  heap::HeapSnapshot heap;
  analysis::Verdict verdict;
  heap::RootSet roots;
};
struct IndexedSnapshotView {
  const heap::HeapSnapshot& heap;
  const analysis::Verdict& verdict;
  const heap::RootSet& roots;
};

/// True where the file starts as an index does.
[[nodiscard]] bool IsIndex(const std::string& path);

/// An open index.
class SavedIndex {
 public:
  /// Reads the head of the file and finds its core, at the path that it had or beside the index, and makes sure that it is the same: size, samples of
  /// its bytes, and the times at which the file was written and changed. Where the times differ (it was copied or moved, or somebody wrote to it) all of it is
  /// read and compared by checksum, which takes as long as the disk does. Errors: kUsage (cannot be opened), kNotAnalysable (damaged, of another version of
  /// pygc, or its core is gone, another one, or changed since), kCancelled.
  [[nodiscard]] static Result<std::shared_ptr<const SavedIndex>> Open(const std::string& path, ProgressSink& progress);

  [[nodiscard]] const std::string& core_path() const noexcept { return core_path_; }
  [[nodiscard]] const IndexOptions& options() const noexcept { return options_; }
  /// The snapshot of tracked objects, or that with all objects. `process`: the core, opened; `interpreters`: how many it has.
  /// Errors: kNotAnalysable (damaged; says what), kLimit, kCancelled.
  [[nodiscard]] Result<IndexedSnapshot> Load(bool with_leaves, const target::Process& process, std::size_t interpreters, ProgressSink& progress) const;

 private:
  friend class IndexWriter;
  friend class IndexReader;
  struct Section {
    std::uint32_t id = 0;
    std::uint64_t offset = 0, bytes = 0, checksum = 0;
  };
  SavedIndex() = default;

  std::string path_, core_path_;
  IndexOptions options_;
  std::vector<Section> sections_;
  std::uint64_t file_bytes_ = 0;
};

/// Writes an index of the core at `core_path`. The file appears under its name when it is complete. Errors: kOutput, kNotAnalysable (the core cannot be read again).
[[nodiscard]] Result<void> WriteIndex(const std::string& path, const std::string& core_path, const IndexOptions& options, const IndexedSnapshotView& tracked,
                                      const IndexedSnapshotView& everything, ProgressSink& progress);

}  // namespace pygc::engine
