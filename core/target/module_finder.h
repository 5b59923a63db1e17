// Which files are mapped in a target, from three sources that check each other: its named mappings, the dynamic linker's list, and ELF headers at the
// starts of segments. Opens no file except to read the program headers of a module whose first page is not in memory. Internal to core/target.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/target/memory_elf.h"
#include "core/target/process_draft.h"

namespace pygc::target {

/// A module before its file is known.
struct FoundModule {
  Module module;                     // path, ranges, load_bias, is_elf, build_id
  std::vector<FileMapping> mappings; // its parts of the file, sorted
  std::optional<MemoryElf> elf;      // set when is_elf and the headers could be had
  bool headers_in_memory = false;
  bool file_is_memory = false;       // module.file was put together from memory: it has symbols, and no bytes that memory lacks
};

/// Opens the files that a path of the target may mean, without checking what they are; empty when there is none.
using HeaderSource = std::function<std::vector<std::shared_ptr<const elf::ElfFile>>(const FileMapping&)>;

/// Modules sorted by first range. `regions` are those of `draft`. `warnings` receives contradictions between the sources.
[[nodiscard]] std::vector<FoundModule> FindModules(const MemoryImage& memory, const ProcessDraft& draft, const RegionMap& regions, const HeaderSource& headers,
                                                   std::vector<std::string>& warnings);

/// Sorts and joins what touches.
void Normalize(std::vector<AddressRange>& ranges);

}  // namespace pygc::target
