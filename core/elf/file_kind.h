// What a file is that somebody took for a core or a module, in words for an error message.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace pygc::elf {

/// Compressed formats that pygc opens by itself.
enum class Compression { kNone, kZstd, kLz4, kGzip, kXz };
[[nodiscard]] Compression CompressionOf(std::span<const std::byte> bytes) noexcept;
/// `bytes` without the skippable frames that may stand before the first frame of zstd or lz4 (pzstd writes them, and tools that put a table of contents
/// there). RFC 8878, 3.1.2. Empty where the file ends inside of one.
[[nodiscard]] std::span<const std::byte> WithoutSkippableFrames(std::span<const std::byte> bytes) noexcept;

/// "an empty file", "a minidump", "an ELF shared library or PIE program (x86-64)", "a 32-bit ELF file", "text" ... Never fails.
[[nodiscard]] std::string DescribeFile(std::span<const std::byte> bytes);
/// The name of an ELF machine: "x86-64", "aarch64", "machine 1234".
[[nodiscard]] std::string MachineName(unsigned machine);

}  // namespace pygc::elf
