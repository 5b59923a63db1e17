// Which core file an LLDB process was opened from, for LLDB before version 18, which does not tell: it is among the files that this program has mapped.
// A path is only believed when bytes of the file equal bytes that LLDB reads; another core is never taken for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>

namespace pygc::lldb_host {

/// Reads target memory through LLDB; returns how many bytes.
using ReadThroughDebugger = std::function<std::size_t(std::uint64_t address, std::span<std::byte> out)>;

/// True when `path` is an x86-64 ELF core whose bytes equal the debugger's at every one of some dozens of places.
[[nodiscard]] bool IsCoreOf(const std::string& path, const ReadThroughDebugger& read);

/// The one core file mapped into this program for which IsCoreOf holds; nothing when there is none or more than one.
[[nodiscard]] std::optional<std::string> FindMappedCore(const ReadThroughDebugger& read);

}  // namespace pygc::lldb_host
