#include "core/elf/note.h"

#include <doctest/doctest.h>
#include <elf.h>

#include <cstring>

#include "core/elf/core_notes.h"
#include "tests/support/core_writer.h"

namespace pygc::elf {
namespace {

CoreNotes NotesOf(const std::vector<std::byte>& core) { return ReadCoreNotes(*ElfFile::FromBytes(core, Limits{}).value(), Limits{}); }

/// The offset of the first NT_FILE note's bytes in a core that has one thread.
std::size_t Find(const std::vector<std::byte>& bytes, std::uint32_t note_type) {
  std::size_t at = 0;
  while (at + 12 < bytes.size()) {
    std::uint32_t header[3];
    std::memcpy(header, bytes.data() + at, 12);
    if (header[0] == 5 && header[2] == note_type && std::memcmp(bytes.data() + at + 12, "CORE", 5) == 0) return at;
    at += 4;
  }
  return 0;
}

test::CoreWriter Sample() {
  test::CoreWriter core;
  core.Load(0x10000, test::Filled(0x1000, 1)).Thread(7, 0x10800, 11, 0x400123, 0x10900).Thread(8, 0x10700);
  core.File({0x400000, 0x401000}, 0, "/bin/x").File({0x401000, 0x403000}, 0x1000, "/bin/x (deleted)").Auxiliary(AT_PHDR, 0x400040);
  return core;
}

}  // namespace

TEST_CASE("threads, files and auxiliary vector come out as written") {
  const CoreNotes notes = NotesOf(Sample().Build());
  REQUIRE(notes.threads.size() == 2);
  CHECK(notes.threads[0].tid == 7);
  CHECK(notes.threads[0].signal == 11);
  CHECK(notes.threads[0].registers[19] == 0x10800);
  CHECK(notes.threads[0].registers[16] == 0x400123);
  CHECK(notes.threads[0].registers[21] == 0x10900);
  REQUIRE(notes.files.size() == 2);
  CHECK(notes.files[1].range == AddressRange{0x401000, 0x403000});
  CHECK(notes.files[1].file_offset == 0x1000);
  CHECK(notes.files[1].path == "/bin/x (deleted)");
  CHECK(notes.Auxiliary(AT_PHDR) == 0x400040);
  CHECK(!notes.Auxiliary(AT_ENTRY).has_value());
  CHECK(notes.pid == 4242);
  CHECK(notes.program_name == "test");
  CHECK(notes.arguments == "test --flag");
  CHECK(notes.damage.empty());
}

TEST_CASE("a damaged note ends the segment, and the notes before it stand") {
  for (const std::uint32_t bad : {0xFFFFFFFFu, 0xFFFFFFF0u, 0x7FFFFFFFu, 0x10000000u}) {
    for (const std::size_t field : {0u, 4u}) {
      auto bytes = Sample().Build();
      const std::size_t at = Find(bytes, NT_AUXV);
      REQUIRE(at != 0);
      std::memcpy(bytes.data() + at + field, &bad, 4);
      const CoreNotes notes = NotesOf(bytes);
      CHECK(notes.threads.size() == 2);
      CHECK(notes.auxv.empty());
      CHECK(notes.files.empty());
      CHECK(notes.damage.size() == 1);
    }
  }
}

TEST_CASE("an NT_FILE whose count or names do not fit gives what is whole") {
  auto bytes = Sample().Build();
  const std::size_t at = Find(bytes, NT_FILE) + 20;
  auto many = bytes;
  const std::uint64_t count = ~std::uint64_t{0} / 24;
  std::memcpy(many.data() + at, &count, 8);
  CHECK(NotesOf(many).files.empty());
  CHECK(NotesOf(many).damage.size() == 1);
  auto unnamed = bytes;
  for (std::size_t i = at + 16 + 48; unnamed[i] != std::byte{0} || unnamed[i + 1] != std::byte{0}; ++i) {
    if (unnamed[i] == std::byte{0}) unnamed[i] = std::byte{'x'};
  }
  CHECK(NotesOf(unnamed).files.size() <= 1);
  auto overflow = bytes;
  const std::uint64_t pages = ~std::uint64_t{0};
  std::memcpy(overflow.data() + at + 16 + 16, &pages, 8);
  CHECK(NotesOf(overflow).files.size() == 1);
}

TEST_CASE("a walk over notes always ends") {
  const std::vector<std::byte> zeroes(4096);
  NoteReader reader(zeroes, 4);
  std::size_t count = 0;
  while (reader.Next()) ++count;
  CHECK(count <= zeroes.size() / 12);
  CHECK(FindBuildId(zeroes, 4).empty());
  CHECK(FindBuildId({}, 8).empty());
}

TEST_CASE("dumps of physical memory are recognised") {
  test::CoreWriter core = Sample();
  core.Note("VMCOREINFO", 0, test::Filled(16, 'x'));
  CHECK(NotesOf(core.Build()).is_kernel_dump);
  CHECK(!NotesOf(Sample().Build()).is_kernel_dump);
}

}  // namespace pygc::elf
