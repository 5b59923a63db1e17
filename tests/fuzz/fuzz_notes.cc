// Any bytes as the note segment of a core: the walk ends, nothing is larger than what was given, and damage is said.
// Input: a byte for the alignment, then the segment.
#include <elf.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "core/elf/core_notes.h"
#include "core/elf/note.h"

namespace {

using namespace pygc;

void Check(bool holds, int line = __builtin_LINE()) {
  if (holds) return;
  std::fprintf(stderr, "the check in line %d does not hold\n", line);
  std::abort();
}

/// A core of nothing but that segment.
std::vector<std::byte> CoreOf(const std::uint8_t* notes, std::size_t size, std::uint64_t alignment) {
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64, header.e_ident[EI_DATA] = ELFDATA2LSB, header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_CORE, header.e_machine = EM_X86_64, header.e_version = EV_CURRENT;
  header.e_phoff = header.e_ehsize = sizeof(Elf64_Ehdr), header.e_phentsize = sizeof(Elf64_Phdr), header.e_phnum = 1;
  Elf64_Phdr segment{};
  segment.p_type = PT_NOTE, segment.p_offset = sizeof header + sizeof segment, segment.p_filesz = size, segment.p_align = alignment;
  std::vector<std::byte> core(sizeof header + sizeof segment + size);
  std::memcpy(core.data(), &header, sizeof header);
  std::memcpy(core.data() + sizeof header, &segment, sizeof segment);
  if (size != 0) std::memcpy(core.data() + sizeof header + sizeof segment, notes, size);
  return core;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::uint64_t alignment = (data[0] & 1) != 0 ? 8 : 4;
  const std::uint8_t* notes = data + 1;
  const std::vector<std::byte> segment(reinterpret_cast<const std::byte*>(notes), reinterpret_cast<const std::byte*>(notes) + size - 1);  // reads past it are seen
  elf::NoteReader reader(segment, alignment);
  std::size_t before = 0, count = 0;
  while (const auto note = reader.Next()) {
    Check(reader.position() > before && reader.position() <= segment.size() + alignment);
    Check(note->name.size() + note->bytes.size() <= segment.size());
    before = reader.position();
    ++count;
  }
  Check(count <= segment.size() / 12 + 1);
  Check(elf::FindBuildId(segment, alignment).size() <= 2 * segment.size());

  const std::vector<std::byte> core = CoreOf(notes, size - 1, alignment);
  const Limits limits;
  const auto file = elf::ElfFile::FromBytes(core, limits);
  if (!file) return 0;
  const elf::CoreNotes read = elf::ReadCoreNotes(**file, limits);
  Check(read.threads.size() <= size && read.files.size() <= size && read.auxv.size() <= size && read.damage.size() <= size + 1);
  Check(read.program_name.size() <= 16 && read.arguments.size() <= 80);
  std::size_t named = 0;
  for (const elf::CoreFileMapping& mapping : read.files) {
    Check(mapping.range.begin < mapping.range.end);
    named += mapping.path.size();
  }
  Check(named <= size);
  return 0;
}
