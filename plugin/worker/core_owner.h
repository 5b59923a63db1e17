// Root that reads a core of another user becomes that user first: whatever the core makes of the worker can then do no more than its owner could before.
#pragma once

#include <string>
#include <vector>

namespace pygc::worker {

/// What the command line names beside the core.
struct NamedFiles {
  std::vector<std::string> read;     // files and folders
  std::vector<std::string> written;  // may not exist yet
};

/// Where this process is root and `core` ("-": standard input) a regular file of another user who can reach it and `named`: becomes that user, for good, in
/// all threads, without other groups, and returns an empty text. Nothing changes, and the text says why as a warning, where that user cannot reach them or the
/// kernel refuses. Empty also where there is nothing to do: not root, a core of root's own, no file. Before Confine(), which forbids it.
[[nodiscard]] std::string BecomeOwnerOf(const std::string& core, const NamedFiles& named);

}  // namespace pygc::worker
