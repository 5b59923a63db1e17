// /proc of a live process as values: mappings, status, auxiliary vector, threads. Internal to core/target.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/result.h"
#include "core/target/process_draft.h"

namespace pygc::target {

/// One line of /proc/PID/maps.
struct MapsLine {
  AddressRange range;
  bool readable = false, writable = false, executable = false, shared = false;
  std::uint64_t file_offset = 0;
  FileIdentity identity;  // inode 0: no file
  std::string path;       // unescaped; "[heap]", "[stack]", "" for anonymous memory
};
[[nodiscard]] std::vector<MapsLine> ParseMaps(std::string_view text);

/// The fields of /proc/PID/status that matter here; -1 or "" where absent.
struct ProcStatus {
  char state = '?';  // R S D T t Z X
  std::int32_t tgid = -1, tracer = -1, uid = -1;
  std::uint64_t capabilities = 0;       // CapEff
  std::uint64_t resident_kib = 0, swapped_kib = 0;
  bool has_memory = false;              // VmSize is there: kernel threads and zombies have none
  std::string name;
};
[[nodiscard]] ProcStatus ParseStatus(std::string_view text);

/// The whole of a small file of /proc. Errors: kNotFound, kNotPermitted, kHost.
[[nodiscard]] Result<std::string> ReadProcFile(const std::string& path);
[[nodiscard]] Result<ProcStatus> ReadStatus(std::int32_t pid);
/// The thread ids under /proc/PID/task, sorted.
[[nodiscard]] Result<std::vector<std::int32_t>> ListThreads(std::int32_t pid);
/// Start time of a process or thread in clock ticks since boot: with the id it names one process for ever.
[[nodiscard]] std::optional<std::uint64_t> StartTime(std::int32_t pid);

/// Bytes that this program may still allocate: MemAvailable, or less where its control group says so.
[[nodiscard]] std::uint64_t AvailableMemory();

/// Why reading process `pid` was refused, which rule it is and the command that helps: one line for an error message.
[[nodiscard]] std::string ExplainRefusal(std::int32_t pid, const ProcStatus& target);

}  // namespace pygc::target
