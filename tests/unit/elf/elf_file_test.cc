#include "core/elf/elf_file.h"

#include <dlfcn.h>
#include <doctest/doctest.h>
#include <link.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>

#include "core/elf/file_kind.h"
#include "tests/support/core_writer.h"

namespace pygc::elf {
namespace {

/// Calls everything that reads the file's tables.
void UseAll(const ElfFile& file) {
  std::size_t touched = file.sections().size() + file.build_id().size() + (file.has_dwarf() ? 1 : 0);
  for (const Symbol& s : file.symbols()) touched += s.name.size() + (file.SymbolAt(s.address) ? 1 : 0);
  for (const Relocation& r : file.relocations()) touched += r.symbol.size();
  for (const ProgramHeader& p : file.program_headers()) touched += file.BytesAt(p.address).size();
  touched += file.FindSymbol("code_start") ? 1 : 0;
  CHECK(touched != ~std::size_t{0});
}

}  // namespace

TEST_CASE("symbols of the C library are where the dynamic linker says") {
  void* library = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
  REQUIRE(library != nullptr);
  link_map* map = nullptr;
  REQUIRE(dlinfo(library, RTLD_DI_LINKMAP, &map) == 0);
  const auto file = ElfFile::Open(map->l_name, Limits{});
  REQUIRE(file.has_value());
  for (const char* name : {"malloc", "free", "getenv", "qsort", "environ"}) {
    const void* truth = dlsym(library, name);
    REQUIRE(truth != nullptr);
    INFO(name);
    const auto symbol = (*file)->FindSymbol(name);
    REQUIRE(symbol.has_value());
    CHECK(symbol->address + map->l_addr == reinterpret_cast<std::uint64_t>(truth));
    if (symbol->is_function) CHECK((*file)->SymbolAt(symbol->address + 1)->address == symbol->address);
  }
  CHECK(!(*file)->FindSymbol("no_such_function_anywhere").has_value());
  CHECK(!(*file)->FindSymbol("").has_value());
  CHECK((*file)->build_id().size() == 40);
  CHECK((*file)->machine() == EM_X86_64);
  const auto all = (*file)->symbols();
  CHECK(std::is_sorted(all.begin(), all.end(), [](const Symbol& a, const Symbol& b) { return a.address < b.address; }));
  // Its code is mapped here too: the file's bytes are those in memory.
  const auto symbol = (*file)->FindSymbol("qsort");
  const auto bytes = (*file)->BytesAt(symbol->address);
  REQUIRE(bytes.size() >= 16);
  CHECK(std::equal(bytes.begin(), bytes.begin() + 16, reinterpret_cast<const std::byte*>(symbol->address + map->l_addr)));
}

TEST_CASE("a file without section headers gives its symbols through PT_DYNAMIC, with either hash table") {
  for (const bool sysv : {false, true}) {
    test::ModuleWriter module;
    module.use_sysv_hash = sysv;
    const auto bytes = module.Build();
    const auto file = ElfFile::FromBytes(bytes, Limits{});
    REQUIRE(file.has_value());
    CHECK((*file)->build_id() == "0123456789abcdef");
    CHECK((*file)->sections().empty());
    REQUIRE((*file)->symbols().size() == 2);
    CHECK((*file)->FindSymbol("code_start")->address == 0x1000);
    CHECK((*file)->FindSymbol("data_start")->is_object);
    CHECK((*file)->SymbolAt(0x100F)->name == "code_start");
    CHECK(!(*file)->SymbolAt(0x1010).has_value());
    REQUIRE((*file)->relocations().size() == 2);
    CHECK((*file)->relocations()[0].address == 0x3008);
    CHECK((*file)->relocations()[0].symbol.empty());
    CHECK((*file)->relocations()[0].addend == 0x1000);
    CHECK((*file)->relocations()[1].symbol == "code_start");
    CHECK((*file)->BytesAt(0x3FFF).size() == 1);
    CHECK((*file)->BytesAt(0x4000).empty());
    CHECK((*file)->BytesAt(0x2000).empty());
    UseAll(**file);
  }
}

TEST_CASE("among symbols with one name the global definition wins, and the innermost one contains an address") {
  test::ModuleWriter module;
  module.symbols = {{"outer", 0x1000, 0x100}, {"inner", 0x1020, 0x10}, {"alias", 0x1000, 0x100}, {"variable", 0x3000, 4, STT_OBJECT}, {"tls", 0x10, 8, STT_TLS}};
  const auto bytes = module.Build();
  const auto file = ElfFile::FromBytes(bytes, Limits{}).value();
  CHECK(file->SymbolAt(0x1025)->name == "inner");
  CHECK(file->SymbolAt(0x1030)->name == "alias");  // at one address: in order of names
  CHECK(file->SymbolAt(0x3003)->name == "variable");
  CHECK(!file->SymbolAt(0x12).has_value());  // offsets in thread-local storage are no addresses
  CHECK(file->FindSymbol("tls")->is_tls);
}

TEST_CASE("lazy tables can be asked for by many threads at once") {
  const auto file = ElfFile::Open("/proc/self/exe", Limits{}).value();
  std::vector<std::thread> threads;
  std::atomic<std::size_t> total{0};
  for (int i = 0; i < 8; ++i) threads.emplace_back([&] { total += file->symbols().size() + file->relocations().size() + file->sections().size(); });
  for (std::thread& t : threads) t.join();
  CHECK(total == 8 * (file->symbols().size() + file->relocations().size() + file->sections().size()));
  CHECK(file->FindSymbol("main").has_value());
}

TEST_CASE("what is not a file is said, and nothing blocks") {
  const std::string fifo = test::TemporaryFile({}).path() + ".fifo";
  REQUIRE(mkfifo(fifo.c_str(), 0600) == 0);
  const auto check = [](const std::string& path, ErrorCode code, const std::string& words) {
    const auto file = ElfFile::Open(path, Limits{});
    INFO(path);
    REQUIRE(!file.has_value());
    INFO(file.error().message);
    CHECK(file.error().code == code);
    CHECK(file.error().message.find(words) != std::string::npos);
  };
  check(fifo, ErrorCode::kNotAnalysable, "FIFO");
  unlink(fifo.c_str());
  check("/", ErrorCode::kNotAnalysable, "directory");
  check("/dev/zero", ErrorCode::kNotAnalysable, "device");
  check("/no/such/file", ErrorCode::kNotFound, "no such file");
  const std::string loop = fifo + "-loop";
  REQUIRE(symlink(loop.c_str(), loop.c_str()) == 0);
  check(loop, ErrorCode::kNotAnalysable, "round in a circle");
  unlink(loop.c_str());
  check("/etc/passwd/x", ErrorCode::kNotFound, "no such file");
  check("/etc/passwd", ErrorCode::kNotAnalysable, "text");
  check(std::string("/etc/pass\0wd", 12), ErrorCode::kNotFound, "NUL");
  const test::TemporaryFile empty({});
  check(empty.path(), ErrorCode::kNotAnalysable, "empty");
  Limits small;
  small.max_module_file_bytes = 100;
  CHECK(ElfFile::Open("/proc/self/exe", small).error().code == ErrorCode::kLimit);
}

TEST_CASE("links cannot lead out of a root directory") {
  char root[] = "/tmp/pygc-root-XXXXXX";
  REQUIRE(mkdtemp(root) != nullptr);
  const std::string directory = root;
  REQUIRE(symlink("/etc/passwd", (directory + "/absolute").c_str()) == 0);
  REQUIRE(symlink("../../../../../../etc/passwd", (directory + "/relative").c_str()) == 0);
  REQUIRE(mkdir((directory + "/etc").c_str(), 0700) == 0);
  CHECK(MappedFile::OpenBeneath(directory, "/absolute", 0).error().code == ErrorCode::kNotFound);
  CHECK(MappedFile::OpenBeneath(directory, "relative", 0).error().code == ErrorCode::kNotFound);
  CHECK(MappedFile::OpenBeneath(directory, "/../../../etc/passwd", 0).error().code == ErrorCode::kNotFound);
  FILE* f = fopen((directory + "/etc/passwd").c_str(), "w");
  REQUIRE(f != nullptr);
  fputs("inside", f);
  fclose(f);
  CHECK(MappedFile::OpenBeneath(directory, "/absolute", 0).value()->bytes().size() == 6);
  CHECK(MappedFile::OpenBeneath(directory, "relative", 0).value()->bytes().size() == 6);
  for (const char* name : {"/absolute", "/relative", "/etc/passwd"}) unlink((directory + name).c_str());
  rmdir((directory + "/etc").c_str());
  rmdir(root);
}

TEST_CASE("every cut and many random changes of a module are survived") {
  const auto good = test::ModuleWriter{}.Build();
  for (std::size_t size = 0; size < 0x1000; size += 7) {
    const auto cut = test::Slice(good, 0, size);
    if (const auto file = ElfFile::FromBytes(cut, Limits{})) UseAll(**file);
  }
  std::mt19937 random(7);
  for (int round = 0; round < 5000; ++round) {
    auto bytes = good;
    for (unsigned i = 0; i < 1 + random() % 4; ++i) {
      const std::size_t at = random() % 0x1000;
      bytes[random() % 2 == 0 ? at : at % 0x200] = static_cast<std::byte>(random() % 3 == 0 ? 0xFF : random());
    }
    if (const auto file = ElfFile::FromBytes(bytes, Limits{})) UseAll(**file);
  }
}

TEST_CASE("random changes of a real file with sections and symbols are survived") {
  const auto self = MappedFile::Open("/proc/self/exe", 0).value();
  std::vector<std::byte> good(self->bytes().begin(), self->bytes().end());
  std::uint64_t sections_at;
  std::memcpy(&sections_at, good.data() + offsetof(Elf64_Ehdr, e_shoff), 8);
  std::mt19937 random(8);
  for (int round = 0; round < 12; ++round) {
    auto bytes = good;
    for (int i = 0; i < 6; ++i) {
      const std::size_t table = random() % 2 == 0 ? 0 : sections_at;
      bytes[table + random() % std::min<std::size_t>(2000, bytes.size() - table)] = static_cast<std::byte>(random());
    }
    if (const auto file = ElfFile::FromBytes(bytes, Limits{})) UseAll(**file);
  }
}

TEST_CASE("files that are no ELF are named") {
  const auto words = [](std::string_view text) { return DescribeFile(std::as_bytes(std::span(text.data(), text.size()))); };
  CHECK(words("") == "an empty file");
  CHECK(words("MDMP\x93\xA7") == "a minidump");
  CHECK(words("\x28\xB5\x2F\xFD....") == "a zstd frame");
  CHECK(words("KDUMP   ") == "a compressed kernel dump (kdump)");
  CHECK(words("#!/bin/sh\n") == "a script");
  CHECK(words("\x7F" "ELF") == "the first 4 bytes of an ELF file");
  CHECK(words(std::string_view("\0\0\0\0", 4)) == "a file whose first 4 bytes are zeroes");
  CHECK(words("\x80\x81\x82") == "a file of unknown kind");
  CHECK(words("BZh9") == "a bzip2 file (unpack it: bunzip2)");
  CHECK(words(std::string("core") + std::string(253, '\0') + "ustar") == "a tar archive (unpack it)");
}

}  // namespace pygc::elf
