// What a file is that somebody took for a core or a module, in words for an error message.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace pygc::elf {

/// Compressed formats that pygc opens by itself.
enum class Compression { kNone, kZstd, kLz4, kGzip, kXz };
[[nodiscard]] Compression CompressionOf(std::span<const std::byte> bytes) noexcept;
/// `bytes` without the skippable frames that may stand before the first frame of zstd or lz4 (pzstd writes them, and tools that put a table of contents
/// there). RFC 8878, 3.1.2. Empty where the file ends inside of one.
[[nodiscard]] std::span<const std::byte> WithoutSkippableFrames(std::span<const std::byte> bytes) noexcept;

/// What the first bytes of an ELF file of any class and byte order say it is.
struct ElfIdentity {
  bool is_64_bit = true, is_little_endian = true;
  std::uint16_t type = 0;     // ET_CORE, ...
  std::uint16_t machine = 0;  // EM_X86_64, ...
};
/// nullopt: no ELF file, one of an unknown class or byte order, or less than these bytes of one.
[[nodiscard]] std::optional<ElfIdentity> ElfIdentityOf(std::span<const std::byte> bytes) noexcept;

/// "an empty file", "a minidump", "an ELF shared library or PIE program (x86-64)", "a 32-bit big-endian ELF core (powerpc)", "text" ... Never fails.
[[nodiscard]] std::string DescribeFile(std::span<const std::byte> bytes);
/// The name of an ELF machine: "x86-64", "aarch64", "machine 1234".
[[nodiscard]] std::string MachineName(unsigned machine);

}  // namespace pygc::elf
