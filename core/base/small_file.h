// Files that a user names on the command line and that are read whole: baselines, layouts. Never waits for a FIFO to which nobody writes.
#pragma once

#include <cstddef>
#include <string>

#include "core/base/result.h"

namespace pygc {

/// The bytes of the file or pipe at `path`, at most `most` of them. Pipes that somebody writes to are read to their end (`<(zcat known.json.gz)`).
/// Errors, as the end of a sentence that names the path: kUsage for what cannot be opened or read, is a directory or a device, is larger, or is a pipe from
/// which nothing came for ten seconds.
[[nodiscard]] Result<std::string> ReadSmallFile(const std::string& path, std::size_t most);

}  // namespace pygc
