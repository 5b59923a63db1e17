// An ELF module as it lies in the target's memory: its program headers, load bias, extent and build-id, read from a MemoryImage.
// Knows nothing of files. Internal to core/target.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/elf/elf_file.h"
#include "core/target/memory_image.h"

namespace pygc::target {

struct MemoryElf {
  std::uint16_t type = 0, machine = 0;               // ET_*, EM_*
  std::int64_t load_bias = 0;
  std::vector<elf::ProgramHeader> program_headers;   // as in memory: file sizes not clamped
  AddressRange extent;                               // run-time range of all PT_LOADs, whole pages
  std::string build_id;                              // hex; empty where it cannot be read
  bool has_build_id_note = false;                    // a PT_NOTE is named but was not readable: there may be one
};

/// Reads the ELF header that starts at `begin`, where the file's first page is mapped. nullopt when there is none, or it makes no sense.
[[nodiscard]] std::optional<MemoryElf> ReadMemoryElf(const MemoryImage& memory, Address begin);
/// Bias and extent of a module whose program headers come from elsewhere (its file), with its first page at `begin`.
[[nodiscard]] std::optional<MemoryElf> PlaceElf(const elf::ElfFile& file, Address begin);
/// The DT_SONAME in memory, or empty.
[[nodiscard]] std::string ReadSoname(const MemoryImage& memory, const MemoryElf& module);

/// The libraries that a module asks the dynamic linker for, and the folders that it names for them (DT_RUNPATH, DT_RPATH), as they stand in memory.
struct NeededLibraries {
  std::vector<std::string> names, folders;
};
[[nodiscard]] NeededLibraries ReadNeeded(const MemoryImage& memory, const MemoryElf& module);

/// True for a program (fixed address, or PIE by its DT_FLAGS_1), as against a library; the C library can be run too, but is none.
[[nodiscard]] bool IsProgram(const MemoryImage& memory, const MemoryElf& module);

/// The module as a file put together from memory, for its dynamic symbols and relocations where the real file is not to be had: its constant segments as
/// far as they hold the symbol tables, and PT_DYNAMIC with link-time addresses. Writable segments have no bytes in it: they are not what the file held.
/// nullptr when a table is not wholly in memory.
[[nodiscard]] std::shared_ptr<const elf::ElfFile> ElfFromMemory(const MemoryImage& memory, const MemoryElf& module, const std::string& name, const Limits& limits);

/// One entry of the dynamic linker's list.
struct LinkMapEntry {
  Address load_bias = 0, dynamic = 0;
  std::string path;  // empty for the main program
};
/// r_debug through the program headers at `phdr_address` (AT_PHDR, `phdr_count` of them). Empty where the chain cannot be read.
[[nodiscard]] std::vector<LinkMapEntry> ReadLinkMap(const MemoryImage& memory, Address phdr_address, std::uint64_t phdr_count);

}  // namespace pygc::target
