#include "core/elf/file_kind.h"

#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "core/base/byte_reader.h"

namespace pygc::elf {
namespace {

bool StartsWith(std::span<const std::byte> bytes, std::string_view magic) {
  return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
}

}  // namespace

std::string MachineName(unsigned machine) {
  switch (machine) {
    case EM_X86_64: return "x86-64";
    case EM_386: return "i386";
    case EM_AARCH64: return "aarch64";
    case EM_ARM: return "arm";
    case EM_PPC: return "powerpc";
    case EM_PPC64: return "ppc64";
    case EM_SPARC:
    case EM_SPARCV9: return "sparc";
    case EM_S390: return "s390x";
    case EM_RISCV: return "riscv";
    case EM_MIPS: return "mips";
    case EM_LOONGARCH: return "loongarch";
    default: return fmt::format("machine {}", machine);
  }
}

std::span<const std::byte> WithoutSkippableFrames(std::span<const std::byte> bytes) noexcept {
  constexpr std::uint32_t kMagic = 0x184D2A50, kVariants = 0xF;
  constexpr std::size_t kHeadBytes = 8;  // magic, length of what follows
  while (bytes.size() >= kHeadBytes && (LoadUnchecked<std::uint32_t>(bytes.data()) & ~kVariants) == kMagic) {
    bytes = bytes.subspan(kHeadBytes + std::min<std::size_t>(LoadUnchecked<std::uint32_t>(bytes.data() + 4), bytes.size() - kHeadBytes));
  }
  return bytes;
}

Compression CompressionOf(std::span<const std::byte> bytes) noexcept {
  const std::span<const std::byte> first_bytes = WithoutSkippableFrames(bytes);
  if (StartsWith(first_bytes, "\x28\xB5\x2F\xFD")) return Compression::kZstd;
  if (StartsWith(first_bytes, "\x04\x22\x4D\x18")) return Compression::kLz4;
  if (StartsWith(first_bytes, "\x1F\x8B")) return Compression::kGzip;
  if (StartsWith(first_bytes, std::string_view("\xFD" "7zXZ\0", 6))) return Compression::kXz;
  return Compression::kNone;
}

std::optional<ElfIdentity> ElfIdentityOf(std::span<const std::byte> bytes) noexcept {
  constexpr std::size_t kType = offsetof(Elf64_Ehdr, e_type), kMachine = offsetof(Elf64_Ehdr, e_machine);
  static_assert(kType == offsetof(Elf32_Ehdr, e_type) && kMachine == offsetof(Elf32_Ehdr, e_machine));
  if (!StartsWith(bytes, ELFMAG) || bytes.size() < kMachine + 2) return std::nullopt;
  const std::byte elf_class = bytes[EI_CLASS], order = bytes[EI_DATA];
  if (elf_class != std::byte{ELFCLASS32} && elf_class != std::byte{ELFCLASS64}) return std::nullopt;
  if (order != std::byte{ELFDATA2LSB} && order != std::byte{ELFDATA2MSB}) return std::nullopt;
  const bool little = order == std::byte{ELFDATA2LSB};
  const auto half = [&](std::size_t at) {
    const auto value = LoadUnchecked<std::uint16_t>(bytes.data() + at);
    return little ? value : static_cast<std::uint16_t>((value << 8) | (value >> 8));
  };
  return ElfIdentity{elf_class == std::byte{ELFCLASS64}, little, half(kType), half(kMachine)};
}

std::string DescribeFile(std::span<const std::byte> bytes) {
  if (bytes.empty()) return "an empty file";
  switch (CompressionOf(bytes)) {
    case Compression::kZstd: return "a zstd frame";
    case Compression::kLz4: return "an lz4 frame";
    case Compression::kGzip: return "a gzip file";
    case Compression::kXz: return "an xz file";
    case Compression::kNone: break;
  }
  if (WithoutSkippableFrames(bytes).size() != bytes.size()) return "a zstd or lz4 file without any frame of data";
  if (StartsWith(bytes, "MDMP")) return "a minidump";
  if (StartsWith(bytes, "makedumpfile")) return "a kernel dump (flattened by makedumpfile; makedumpfile -R makes a file of it)";
  if (StartsWith(bytes, "KDUMP   ") || StartsWith(bytes, "DISKDUMP")) return "a compressed kernel dump (kdump)";
  if (StartsWith(bytes, "PAGEDU")) return "a Windows kernel dump";
  if (StartsWith(bytes, "BZh")) return "a bzip2 file (unpack it: bunzip2)";
  if (StartsWith(bytes, "PK\x03\x04")) return "a zip archive (unpack it)";
  if (StartsWith(bytes, "MZ")) return "a Windows program";
  if (StartsWith(bytes, "\xCF\xFA\xED\xFE") || StartsWith(bytes, "\xCE\xFA\xED\xFE")) return "a Mach-O file";
  if (StartsWith(bytes, "SQLite format 3")) return "an SQLite database";
  if (StartsWith(bytes, "!<arch>\n")) return "a static library or package";
  if (StartsWith(bytes, "ProblemType: ")) return "an apport crash report (unpack it with apport-unpack)";
  if (!StartsWith(bytes, ELFMAG)) {
    const std::size_t looked_at = std::min<std::size_t>(bytes.size(), 512);
    const bool text = std::all_of(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(looked_at), [](std::byte b) {
      const unsigned c = static_cast<unsigned>(b);
      return c >= 0x20 ? c < 0x7F : (c >= '\t' && c <= '\r');
    });
    if (text) return StartsWith(bytes, "#!") ? "a script" : "a text file";
    if (bytes.size() >= 262 && StartsWith(bytes.subspan(257), "ustar")) return "a tar archive (unpack it)";
    if (std::all_of(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(looked_at), [](std::byte b) { return b == std::byte{0}; })) {
      return fmt::format("a file whose first {} bytes are zeroes", looked_at);  // written in part, or lost when the machine stopped
    }
    return "a file of unknown kind";
  }
  if (bytes.size() < sizeof(Elf32_Ehdr)) return fmt::format("the first {} bytes of an ELF file", bytes.size());
  const std::optional<ElfIdentity> elf = ElfIdentityOf(bytes);
  if (!elf) return "a damaged ELF file (unknown class or byte order)";
  if (elf->is_64_bit && bytes.size() < sizeof(Elf64_Ehdr)) return fmt::format("the first {} bytes of an ELF file", bytes.size());
  std::string sort = elf->is_64_bit && elf->is_little_endian ? "an " : "a ";
  if (!elf->is_64_bit) sort += "32-bit ";
  if (!elf->is_little_endian) sort += "big-endian ";
  const std::string machine = MachineName(elf->machine);
  switch (elf->type) {
    case ET_REL: return fmt::format("{}ELF object file or kernel module ({})", sort, machine);
    case ET_EXEC: return fmt::format("{}ELF program ({})", sort, machine);
    case ET_DYN: return fmt::format("{}ELF shared library or program ({})", sort, machine);
    case ET_CORE: return fmt::format("{}ELF core ({})", sort, machine);
    default: return fmt::format("{}ELF file of unknown type {} ({})", sort, elf->type, machine);
  }
}

}  // namespace pygc::elf
