// A file that appears under its name only when it is complete: written without a name in the same folder, owner-readable only, synced, then named. Where the file
// system has no files without a name (NFS), it is written under another one and renamed; only there a program that is killed leaves it behind.
#pragma once

#include <string>
#include <string_view>

#include "core/base/result.h"

namespace pygc::report {

/// Destroyed without Commit(): nothing is left behind.
class OutputFile {
 public:
  /// Creates the temporary file beside `path`. An existing `path` that is no regular file (a pipe, a terminal, /dev/null) is written directly
  /// instead, where `may_be_stream`. Errors: kOutput with the reason.
  [[nodiscard]] static Result<OutputFile> Create(const std::string& path, bool may_be_stream);
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&& other) noexcept;
  ~OutputFile();

  /// Errors: kOutput (disk full, ...).
  [[nodiscard]] Result<void> Write(std::string_view bytes);
  /// Syncs and gives the file its name. Errors: kOutput.
  [[nodiscard]] Result<void> Commit();
  /// What opens the file that is being written, for a library that does so itself (below /proc where it has no name); empty for a stream.
  [[nodiscard]] const std::string& temporary_path() const noexcept { return temporary_; }

 private:
  OutputFile() = default;
  void Discard() noexcept;
  [[nodiscard]] std::string PartName(unsigned attempt) const;

  std::string path_, temporary_;
  int fd_ = -1;
  bool unnamed_ = false;
};

}  // namespace pygc::report
