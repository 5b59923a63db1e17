// Names of places in C structs: from a file that a compiler makes here, and from the same file damaged at random.
#include "core/elf/dwarf_structs.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

namespace pygc::elf {
namespace {

constexpr char kSource[] = R"(
struct node { struct node *next; void *value; };
typedef struct { long a, b; } head;
typedef struct {
  head base;
  void *hidden;
  union { struct { void *left, *right; }; void *both[2]; };
  struct node *first;
  void **items;
  void *tail[1];
} owner;
int walk(void *op) { owner *self = op; return self->first->value != 0; }
int other(long *op) { return op[0] != 0; }
)";

// The bytes of a relocated object of kSource, or empty where there is no compiler.
std::vector<std::byte> Compile(const std::string& flags) {
  std::string folder = "/tmp/pygc-dwarf-XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) return {};
  std::ofstream(folder + "/a.c") << kSource;
  std::vector<std::byte> bytes;
  if (std::system(("cc -shared -fPIC " + flags + " -o " + folder + "/a.so " + folder + "/a.c 2>/dev/null").c_str()) == 0) {
    std::ifstream file(folder + "/a.so", std::ios::binary);
    const std::string all((std::istreambuf_iterator<char>(file)), {});
    const auto* const begin = reinterpret_cast<const std::byte*>(all.data());
    bytes.assign(begin, begin + all.size());
  }
  for (const char* name : {"/a.c", "/a.so", ""}) (void)std::remove((folder + name).c_str());
  return bytes;
}

std::string Name(const ElfFile& file, const char* function, std::initializer_list<std::int64_t> offsets, std::uint64_t item_size = 0) {
  const std::unique_ptr<DwarfStructs> structs = DwarfStructs::Open(file);
  const std::optional<Symbol> symbol = file.FindSymbol(function);
  if (structs == nullptr || !symbol) return "none";
  return structs->NameOf(symbol->address, 64 - item_size, item_size, std::vector<std::int64_t>(offsets));
}

}  // namespace

TEST_CASE("places have the names of the struct that the function walks") {
  for (const std::string flags : {"-g -O0", "-g -O2", "-gdwarf-4 -O2", "-g -O1"}) {
    CAPTURE(flags);
    const std::vector<std::byte> bytes = Compile(flags);
    if (bytes.empty()) {
      MESSAGE("no C compiler here: not tested");
      return;
    }
    const auto file = ElfFile::FromBytes(bytes, Limits{});
    REQUIRE(file);
    CHECK(Name(**file, "walk", {16}) == "hidden");
    CHECK(Name(**file, "walk", {8}) == "base.b");
    CHECK(Name(**file, "walk", {32}) == "right");
    CHECK(Name(**file, "walk", {40, 8}) == "first->value");
    CHECK(Name(**file, "walk", {40, 0, 0, 8}) == "first->next->next->value");
    CHECK(Name(**file, "walk", {48, 24}) == "items[3]");
    CHECK(Name(**file, "walk", {56}) == "tail[0]");
    CHECK(Name(**file, "walk", {56}, 8) == "tail[0]");
    CHECK(Name(**file, "walk", {72}, 8) == "tail[2]");
    CHECK(Name(**file, "walk", {20}).empty());      // inside a pointer
    CHECK(Name(**file, "walk", {-8}).empty());      // before the object
    CHECK(Name(**file, "walk", {16, 8}).empty());   // behind a pointer to nobody knows what
    CHECK(Name(**file, "walk", {}).empty());
    CHECK(Name(**file, "other", {16}).empty());     // no struct of that size
  }
}

TEST_CASE("without DWARF there are none") {
  const std::vector<std::byte> bytes = Compile("-g0");
  const auto file = ElfFile::FromBytes(bytes, Limits{});
  if (file) CHECK(DwarfStructs::Open(**file) == nullptr);
}

TEST_CASE("damaged DWARF gives names or none") {
  const std::vector<std::byte> good = Compile("-g -O2");
  if (good.empty()) return;
  const auto original = ElfFile::FromBytes(good, Limits{});
  REQUIRE(original);
  const std::optional<Symbol> walk = (*original)->FindSymbol("walk");
  REQUIRE(walk);
  std::vector<Section> debug;
  for (const Section& s : (*original)->sections())
    if (s.name.starts_with(".debug_")) debug.push_back(s);
  REQUIRE(!debug.empty());
  std::mt19937_64 random(1);
  std::size_t named = 0;
  for (int round = 0; round < 1000; ++round) {
    std::vector<std::byte> bytes = good;
    for (std::uint64_t n = 1 + random() % 8; n != 0; --n) {
      const Section& s = debug[random() % debug.size()];
      bytes[s.file_offset + random() % s.size] = random() % 2 == 0 ? static_cast<std::byte>(random()) : std::byte{0xff};
    }
    const auto file = ElfFile::FromBytes(bytes, Limits{});
    const std::unique_ptr<DwarfStructs> structs = file ? DwarfStructs::Open(**file) : nullptr;
    if (structs == nullptr) continue;
    for (const std::vector<std::int64_t>& offsets : {std::vector<std::int64_t>{16}, {40, 0, 8}, {48, 8}})
      named += structs->NameOf(walk->address, 64, 0, offsets).empty() ? 0 : 1;
  }
  CHECK(named > 300);
}

}  // namespace pygc::elf
