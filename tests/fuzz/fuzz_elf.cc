// Any bytes as an ELF file, a core or a module: everything that is asked of either, and the name of what it is instead.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "core/elf/core_notes.h"
#include "core/elf/dwarf_structs.h"
#include "core/elf/elf_file.h"
#include "core/elf/file_kind.h"

namespace {

using namespace pygc;

void Check(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::vector<std::byte> copy(reinterpret_cast<const std::byte*>(data), reinterpret_cast<const std::byte*>(data) + size);  // reads past it are seen
  const Limits limits;
  (void)elf::CompressionOf(copy);
  Check(elf::DescribeFile(copy).size() < 4096);
  const auto file = elf::ElfFile::FromBytes(copy, limits);
  if (!file) return 0;
  const elf::ElfFile& f = **file;
  for (const auto& header : f.program_headers()) (void)f.BytesAt(header.address);
  for (const auto& section : f.sections()) Check(section.name.size() <= size);
  for (const auto& symbol : f.symbols()) Check(symbol.name.size() <= size);
  (void)f.FindSymbol("_PyRuntime");
  (void)f.SymbolAt(0x1000);
  (void)f.relocations();
  (void)f.build_id();
  const elf::CoreNotes notes = elf::ReadCoreNotes(f, limits);
  for (const auto& mapping : notes.files) Check(mapping.path.size() <= size);
  Check(notes.threads.size() <= size && notes.auxv.size() <= size);
  if (f.has_dwarf()) (void)elf::DwarfStructs::Open(f);
  return 0;
}
