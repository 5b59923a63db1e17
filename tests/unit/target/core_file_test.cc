#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <random>

#include "core/target/open.h"
#include "tests/support/core_writer.h"

namespace pygc::target {
namespace {

using test::CoreWriter;
using test::Filled;
using test::kExecute;
using test::kRead;
using test::kWrite;
using test::ModuleWriter;
using test::Slice;
using test::TemporaryFile;

constexpr Address kBase = 0x7F0000000000;    // where the module of these tests lies
constexpr Address kStack = 0x7FFF00000000;

Result<Process> Open(const std::vector<std::byte>& core, const OpenOptions& options = {}) {
  const TemporaryFile file(core);
  SilentProgress progress;
  return OpenCore(file.path(), options, progress);
}

std::vector<std::byte> StackBytes() {
  auto bytes = Filled(0x2000, 0x11);
  return bytes;
}

/// A core as the kernel writes it with filter 0x33: header page, data and .bss of the module, a heap, a stack; no code.
CoreWriter KernelCore(const std::vector<std::byte>& module, const std::string& path) {
  CoreWriter core;
  core.Load(0x10000, Filled(0x3000, 0x55));
  core.Load(kBase, Slice(module, 0, 0x1000), kRead);
  core.Load(kBase + 0x1000, {}, kRead | kExecute, 0x1000);
  core.Load(kBase + 0x3000, Filled(0x1000, 0xDA));
  core.Load(kBase + 0x4000, Filled(0x1000, 0xBB));
  core.Load(kStack, StackBytes());
  core.Thread(4242, kStack + 0x1000, 11);
  core.File({kBase, kBase + 0x1000}, 0, path).File({kBase + 0x1000, kBase + 0x2000}, 0x1000, path).File({kBase + 0x3000, kBase + 0x4000}, 0x2000, path);
  return core;
}

/// Stored, not packed. RFC 1951, 3.2.4; RFC 1952.
std::vector<std::byte> Gzip(const std::vector<std::byte>& bytes) {
  std::vector<std::byte> out;
  out.reserve(bytes.size() + bytes.size() / 8192 + 64);
  const auto put = [&](std::uint64_t value, int size) {
    for (int i = 0; i < size; ++i) out.push_back(static_cast<std::byte>(value >> (8 * i)));
  };
  std::array<std::uint32_t, 256> crc_of{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    crc_of[i] = i;
    for (int bit = 0; bit < 8; ++bit) crc_of[i] = crc_of[i] >> 1 ^ (0xEDB88320u & (0u - (crc_of[i] & 1)));
  }
  put(0x00088B1F, 4), put(0, 4), put(0, 2);
  std::uint32_t crc = ~0u;
  const auto* const data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t n = std::min<std::size_t>(bytes.size() - at, 65535);
    put(at + n == bytes.size(), 1), put(n, 2), put(~n & 0xFFFF, 2);
    out.insert(out.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at), bytes.begin() + static_cast<std::ptrdiff_t>(at + n));
    for (const std::size_t end = at + n; at < end; ++at) crc = crc >> 8 ^ crc_of[(crc ^ data[at]) & 0xFF];
  }
  put(~crc, 4), put(bytes.size(), 4);
  return out;
}

std::uint8_t ByteAt(const Process& p, Address a) {
  const std::byte* byte = p.memory.At(a, 1);
  REQUIRE(byte != nullptr);
  return static_cast<std::uint8_t>(*byte);
}

std::string Refusal(const Result<Process>& result, ErrorCode code = ErrorCode::kNotAnalysable) {
  REQUIRE(!result.has_value());
  CHECK(result.error().code == code);
  CHECK(result.error().message.find('\n') == std::string::npos);
  return result.error().message;
}

bool Has(const std::string& text, const std::string& part) {
  INFO(text);
  const bool found = text.find(part) != std::string::npos;
  CHECK(found);
  return found;
}

}  // namespace

TEST_CASE("code that the core leaves out comes from the module's file, data from the core") {
  const auto module = ModuleWriter{}.Build();
  const TemporaryFile file(module);
  const auto p = Open(KernelCore(module, file.path()).Build());
  REQUIRE(p.has_value());
  CHECK(p->missing.empty());
  REQUIRE(p->modules.size() == 1);
  const Module& m = p->modules[0];
  CHECK(m.match == ModuleMatch::kVerified);
  CHECK(m.build_id == "0123456789abcdef");
  CHECK(m.load_bias == static_cast<std::int64_t>(kBase));
  CHECK(m.file->FindSymbol("code_start")->address + kBase == kBase + 0x1000);
  CHECK(ByteAt(*p, kBase + 0x1000) == 0xC3);
  CHECK(p->memory.Find(kBase + 0x1000)->source == SegmentSource::kModuleFile);
  CHECK(p->memory.Find(kBase + 0x1000)->executable);
  CHECK(!p->memory.Find(kBase + 0x1000)->writable);
  CHECK(ByteAt(*p, kBase + 0x3000) == 0xDA);
  CHECK(ByteAt(*p, kBase + 0x4000) == 0xBB);
  CHECK(p->memory.At(kBase + 0x3FF8, 16) != nullptr);        // a static object across .data and .bss
  CHECK(p->FindModule(kBase + 0x4800) == &m);                // .bss belongs to the module
  CHECK(p->FindModule(0x10000) == nullptr);
  CHECK(p->threads.at(0).signal == 11);
  CHECK(p->missing_ranges.empty());
}

TEST_CASE("the gap that the dynamic linker leaves between the parts of a module is none of its parts, and no contradiction") {
  const auto module = ModuleWriter{}.Build();
  const TemporaryFile file(module);
  const auto warns = [&](std::uint32_t access, std::uint64_t file_offset) {
    auto core = KernelCore(module, file.path());
    core.Load(kBase + 0x2000, {}, access, 0x1000).File({kBase + 0x2000, kBase + 0x3000}, file_offset, file.path());
    const auto p = Open(core.Build());
    REQUIRE(p.has_value());
    REQUIRE(p->modules.size() == 1);
    CHECK(p->modules[0].match == ModuleMatch::kVerified);
    CHECK((p->memory.At(kBase + 0x2000, 1) == nullptr) == (access == 0));
    return std::any_of(p->warnings.begin(), p->warnings.end(), [](const std::string& w) { return w.find("does not lie where") != std::string::npos; });
  };
  CHECK_FALSE(warns(0, 0x2000));
  CHECK(warns(kRead, 0x1000));
}

TEST_CASE("a writable mapping that was not dumped does not read as the file: MADV_DONTDUMP leaves out what was written too") {
  const auto module = ModuleWriter{}.Build();
  const TemporaryFile file(module);
  CoreWriter core;
  core.Load(kBase, Slice(module, 0, 0x1000), kRead).Load(kBase + 0x1000, {}, kRead | kExecute, 0x1000).Load(kBase + 0x3000, {}, kRead | kWrite, 0x1000);
  core.Load(kBase + 0x4000, {}, kRead | kWrite, 0x1000).Load(kStack, StackBytes()).Thread(1, kStack + 0x100);
  core.File({kBase, kBase + 0x1000}, 0, file.path()).File({kBase + 0x1000, kBase + 0x2000}, 0x1000, file.path());
  core.File({kBase + 0x3000, kBase + 0x4000}, 0x2000, file.path());
  const auto p = Open(core.Build()).value();
  CHECK(ByteAt(p, kBase + 0x1000) == 0xC3);          // code is the file's
  CHECK(p.memory.At(kBase + 0x3000, 1) == nullptr);
  CHECK(p.memory.At(kBase + 0x4000, 1) == nullptr);  // untouched .bss: not in any file, and never made up
  REQUIRE(p.missing_ranges.size() == 2);
  CHECK(p.missing_ranges[0].range == AddressRange{kBase + 0x3000, kBase + 0x4000});
  CHECK(p.missing_ranges[0].reason == MissingReason::kNotDumped);
  CHECK(p.missing_ranges[0].use == MissingUse::kUsed);  // the dynamic linker writes to the data of every module
  CHECK(p.missing_ranges[1].range == AddressRange{kBase + 0x4000, kBase + 0x5000});
  CHECK(p.missing_ranges[1].use == MissingUse::kUnknown);
  CHECK(p.LostHeap());
  REQUIRE(p.missing.size() == 1);
  Has(p.missing[0].what, "4.0 KiB of the data of " + file.path());
  CHECK(p.warnings.size() == 1);
}

TEST_CASE("a hole in the memory of brk() was left out by who wrote the core; behind the last of it nothing is") {
  const auto module = ModuleWriter{}.Build();
  const TemporaryFile file(module);
  const Address heap = kBase + 0x200000;
  const auto missing = [&](std::uint32_t access) {
    auto core = KernelCore(module, file.path());
    core.Auxiliary(AT_PHDR, kBase + 64).Auxiliary(AT_PHNUM, 5);
    core.Load(heap, Filled(0x2000, 0), access).Load(heap + 0x5000, Filled(0x1000, 0), kRead | kWrite);
    return Open(core.Build()).value().missing_ranges;
  };
  const auto found = missing(kRead | kWrite);
  REQUIRE(found.size() == 1);
  CHECK(found[0].range == AddressRange{heap + 0x2000, heap + 0x5000});
  CHECK(found[0].reason == MissingReason::kNotDumped);
  CHECK(found[0].use == MissingUse::kUnknown);
  CHECK(found[0].writable);
  CHECK(missing(kRead).empty());  // not of brk()
}

TEST_CASE("a stack that the core does not tell of at all is missing; one that overflowed is not") {
  const auto module = ModuleWriter{}.Build();
  const TemporaryFile file(module);
  const auto lost = [&](Address stack_pointer) {
    auto core = KernelCore(module, file.path());
    core.Thread(4243, stack_pointer);
    return Open(core.Build()).value().LostStacks();
  };
  CHECK(lost(0x7e0000000100));
  CHECK_FALSE(lost(kStack - 0x100));
  CHECK_FALSE(lost(0));
}

TEST_CASE("nothing above the addresses of programs was written to by one") {
  const auto module = ModuleWriter{}.Build();
  const TemporaryFile file(module);
  auto core = KernelCore(module, file.path());
  core.Load(0xffffffffff600000, Filled(0x1000, 0x0f)).Load(0xfffffffffffff000, Filled(0xff8, 0x0f));
  const auto p = Open(core.Build()).value();
  REQUIRE(p.memory.Find(0xffffffffff600000) != nullptr);
  CHECK_FALSE(p.memory.Find(0xffffffffff600000)->writable);
  CHECK(p.memory.Find(0xfffffffffffff000) == nullptr);
}

TEST_CASE("what was dumped although nobody could access it when the process stopped is memory, and may have been written to") {
  const auto module = ModuleWriter{}.Build();
  const TemporaryFile file(module);
  auto core = KernelCore(module, file.path());
  core.Load(0x7e0000000000, Filled(0x1000, 0x5A), 0);
  const auto p = Open(core.Build()).value();
  CHECK(ByteAt(p, 0x7e0000000800) == 0x5A);
  CHECK(p.memory.Find(0x7e0000000800)->readable);
  CHECK(p.memory.Find(0x7e0000000800)->writable);
}

TEST_CASE("a file with the right build-id that is cut or overwritten is used as far as it goes, and said to be damaged") {
  ModuleWriter writer;
  const auto module = writer.Build();
  const auto open = [&](const std::vector<std::byte>& bytes) {
    const TemporaryFile file(bytes);
    return Open(KernelCore(module, file.path()).Build()).value();
  };
  CHECK(open(module).missing.empty());
  const auto cut = open(Slice(module, 0, 0x1800));
  REQUIRE(cut.missing.size() == 1);
  Has(cut.missing[0].reason, "damaged: it ends at 6.0 KiB");
  CHECK(ByteAt(cut, kBase + 0x1000) == 0xC3);
  CHECK(cut.memory.At(kBase + 0x1800, 1) == nullptr);
  auto changed = module;
  changed[0x800] ^= std::byte{1};
  const auto differs = open(changed);
  REQUIRE(differs.missing.size() == 1);
  Has(differs.missing[0].reason, "its constants differ from those in memory");
  auto moved_sections = module;
  moved_sections[40] ^= std::byte{1};  // e_shoff: `strip` changes it
  CHECK(open(moved_sections).missing.empty());
}

TEST_CASE("a separate debug file is not the module, although it has its build-id") {
  const auto module = ModuleWriter{}.Build();
  auto debug = module;
  Elf64_Ehdr header;
  std::memcpy(&header, debug.data(), sizeof header);
  for (int i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr p;
    std::byte* const at = debug.data() + header.e_phoff + static_cast<std::size_t>(i) * sizeof p;
    std::memcpy(&p, at, sizeof p);
    if (p.p_type == PT_LOAD && (p.p_flags & PF_X) != 0) p.p_filesz = 0;  // as objcopy --only-keep-debug leaves it
    std::memcpy(at, &p, sizeof p);
  }
  const TemporaryFile file(debug);
  const auto p = Open(KernelCore(module, file.path()).Build()).value();
  CHECK(p.modules[0].match == ModuleMatch::kMismatch);
  CHECK(p.memory.At(kBase + 0x1000, 1) == nullptr);
  REQUIRE(p.missing.size() == 1);
  Has(p.missing[0].reason, "a separate debug file");
}

TEST_CASE("a whole copy is found behind a damaged one") {
  const auto module = ModuleWriter{}.Build();
  const TemporaryFile damaged(Slice(module, 0, 0x1800)), whole(module);
  OpenOptions options;
  options.module_files = {{whole.path(), damaged.path()}};
  const auto p = Open(KernelCore(module, whole.path()).Build(), options).value();
  CHECK(p.missing.empty());
  CHECK(p.modules[0].file_path == whole.path());
}

TEST_CASE("a stack that is not in the core is missing, not the whole private memory") {
  CoreWriter core;
  core.Load(0x10000, Filled(0x1000, 1)).Load(kStack, {}, kRead | kWrite, 0x2000).Load(kBase, Filled(0x1000, 2)).Thread(1, kStack + 0x100).Thread(2, kBase + 0x100);
  const auto p = Open(core.Build()).value();
  REQUIRE(p.missing.size() == 1);
  CHECK(p.missing[0].what == "the stacks of 1 of 2 threads");
  CHECK(p.LostMemory());
  CHECK(!p.LostHeap());
}

TEST_CASE("a compressed core that fails its checksum says so of everything") {
  const auto module = ModuleWriter{}.Build();
  const TemporaryFile file(module);
  auto packed = Gzip(KernelCore(module, file.path()).Build());
  CHECK(Open(packed)->missing.empty());
  packed[packed.size() - 8] ^= std::byte{1};
  const auto p = Open(packed).value();
  REQUIRE(p.missing.size() == 1);
  CHECK(p.may_be_wrong);
  Has(p.missing[0].reason, fmt::format("changed after it was packed, at or before byte {} of {} (incorrect data check)", packed.size() - 4, packed.size()));
  packed.resize(packed.size() - 12);
  const auto cut = Open(packed).value();
  CHECK(!cut.may_be_wrong);
  REQUIRE(cut.missing.size() == 1);  // one cause, one note
}

TEST_CASE("a file with another build-id is never used, and both ids are told") {
  const auto module = ModuleWriter{}.Build();
  ModuleWriter other;
  other.build_id = "ffffffffffffffff";
  other.fill = 0x90;
  const TemporaryFile file(other.Build());
  for (const bool trust : {false, true}) {
    OpenOptions options;
    options.trust_file = trust;
    const auto p = Open(KernelCore(module, file.path()).Build(), options).value();
    CHECK(p.memory.At(kBase + 0x1000, 1) == nullptr);
    CHECK(p.modules[0].match == ModuleMatch::kMismatch);
    REQUIRE(p.modules[0].file != nullptr);  // the dynamic symbols of the true module, which happen to be in its first page
    CHECK(p.modules[0].file->build_id() == "0123456789abcdef");
    CHECK(p.modules[0].file->BytesAt(0x1000).empty());
    REQUIRE(p.missing.size() == 1);
    Has(p.missing[0].reason, "0123456789abcdef");
    Has(p.missing[0].reason, "ffffffffffffffff");
    Has(p.missing[0].reason, file.path());
    REQUIRE(p.missing_ranges.size() == 1);
    CHECK(p.missing_ranges[0].reason == MissingReason::kModuleMismatch);
    CHECK(p.missing_ranges[0].module == 0);
  }
}

TEST_CASE("a file that another process's modules are of is not read again, and only that very file") {
  const auto module = ModuleWriter{}.Build();
  const TemporaryFile file(module), copy(module);
  const auto core = KernelCore(module, file.path()).Build();
  const auto first = Open(core).value();
  REQUIRE(first.modules[0].file != nullptr);
  OpenOptions options;
  options.known_files = first.ModuleFiles();
  CHECK(Open(core, options)->modules[0].file == first.modules[0].file);
  CHECK(Open(core)->modules[0].file != first.modules[0].file);
  const auto other = Open(KernelCore(module, copy.path()).Build(), options).value();
  CHECK(other.modules[0].match == ModuleMatch::kVerified);
  CHECK(other.modules[0].file != first.modules[0].file);
  REQUIRE(rename(copy.path().c_str(), file.path().c_str()) == 0);  // another file under the same name
  CHECK(Open(core, options)->modules[0].file != first.modules[0].file);
}

TEST_CASE("a file that is gone is missing; --module, -e and --debug-dir find another with the same build-id") {
  const auto module = ModuleWriter{}.Build();
  const auto core = KernelCore(module, "/no/such/libsmall.so").Build();
  const auto without = Open(core).value();
  CHECK(without.modules[0].match == ModuleMatch::kMissing);
  REQUIRE(without.missing.size() == 1);
  Has(without.missing[0].what, "/no/such/libsmall.so");
  Has(without.missing[0].reason, "/no/such/libsmall.so");
  CHECK(without.missing_ranges[0].reason == MissingReason::kModuleMissing);

  const TemporaryFile file(module);
  OpenOptions by_name;
  by_name.module_files = {{"libsmall.so", file.path()}};
  CHECK(Open(core, by_name)->missing.empty());
  CHECK(Open(core, by_name)->modules[0].file_path == file.path());
  OpenOptions by_path;
  by_path.module_files = {{"/no/such/libsmall.so", file.path()}};
  CHECK(Open(core, by_path)->missing.empty());
  OpenOptions wrong_name;
  wrong_name.module_files = {{"libother.so", file.path()}};
  const auto unused = Open(core, wrong_name).value();
  CHECK(!unused.missing.empty());
  CHECK(std::any_of(unused.warnings.begin(), unused.warnings.end(), [](const std::string& w) { return w.find("not used") != std::string::npos; }));

  CoreWriter main = KernelCore(module, "/no/such/libsmall.so");
  main.Auxiliary(AT_PHDR, kBase + 64).Auxiliary(AT_PHNUM, 5);
  OpenOptions executable;
  executable.executable = file.path();
  CHECK(Open(main.Build(), executable)->missing.empty());
  CHECK(Open(main.Build(), executable)->executable == "/no/such/libsmall.so");

  char root[] = "/tmp/pygc-root-XXXXXX";
  REQUIRE(mkdtemp(root) != nullptr);
  const std::string directory = root, by_id = directory + "/.build-id/01", in_root = directory + "/no/such";
  REQUIRE(mkdir((directory + "/.build-id").c_str(), 0700) == 0);
  REQUIRE(mkdir(by_id.c_str(), 0700) == 0);
  REQUIRE(link(file.path().c_str(), (by_id + "/23456789abcdef").c_str()) == 0);
  OpenOptions debug;
  debug.debug_directories = {directory};
  CHECK(Open(core, debug)->missing.empty());
  OpenOptions sysroot;
  sysroot.sysroot = directory;
  CHECK(!Open(core, sysroot)->missing.empty());
  REQUIRE(mkdir((directory + "/no").c_str(), 0700) == 0);
  REQUIRE(mkdir(in_root.c_str(), 0700) == 0);
  REQUIRE(link(file.path().c_str(), (in_root + "/libsmall.so").c_str()) == 0);
  CHECK(Open(core, sysroot)->missing.empty());
  CHECK(Open(KernelCore(module, "/no/such/libsmall.so (deleted)").Build(), sysroot)->missing.empty());
  for (const std::string& name : {by_id + "/23456789abcdef", in_root + "/libsmall.so"}) unlink(name.c_str());
  for (const std::string& name : {by_id, directory + "/.build-id", in_root, directory + "/no", directory}) rmdir(name.c_str());
}

TEST_CASE("a file that cannot be verified is used only where it is trusted, and never where a byte differs") {
  ModuleWriter writer;
  writer.build_id.clear();
  const auto module = writer.Build();
  const TemporaryFile file(module);
  const auto core = KernelCore(module, file.path()).Build();
  const auto untrusted = Open(core).value();
  CHECK(untrusted.modules[0].match == ModuleMatch::kUnverifiable);
  REQUIRE(untrusted.modules[0].file != nullptr);
  CHECK(untrusted.modules[0].file->BytesAt(0x1000).empty());
  CHECK(untrusted.memory.At(kBase + 0x1000, 1) == nullptr);
  REQUIRE(untrusted.missing.size() == 1);
  Has(untrusted.missing[0].remedy, "--trust-file");
  OpenOptions trust;
  trust.trust_file = true;
  const auto trusted = Open(core, trust).value();
  CHECK(trusted.modules[0].match == ModuleMatch::kUnverifiable);
  CHECK(trusted.missing.empty());
  CHECK(ByteAt(trusted, kBase + 0x1000) == 0xC3);
  auto changed = module;
  changed[0xF00] = std::byte{0x77};
  file.Replace(changed);
  const auto other = Open(core, trust).value();
  CHECK(other.modules[0].match == ModuleMatch::kMismatch);
  CHECK(other.memory.At(kBase + 0x1000, 1) == nullptr);
  Has(other.modules[0].match_detail, "differs");
}

TEST_CASE("without header pages a module is still recognised, and needs trust") {
  const auto module = ModuleWriter{}.Build();
  const TemporaryFile file(module);
  CoreWriter core;
  core.Load(kBase, {}, kRead, 0x1000).Load(kBase + 0x1000, {}, kRead | kExecute, 0x1000).Load(kBase + 0x3000, Filled(0x1000, 0xDA)).Load(kStack, StackBytes());
  core.Thread(1, kStack + 0x100);
  core.File({kBase, kBase + 0x1000}, 0, file.path()).File({kBase + 0x1000, kBase + 0x2000}, 0x1000, file.path());
  core.File({kBase + 0x3000, kBase + 0x4000}, 0x2000, file.path());
  const auto p = Open(core.Build()).value();
  CHECK(p.modules[0].match == ModuleMatch::kUnverifiable);
  CHECK(p.modules[0].load_bias == static_cast<std::int64_t>(kBase));
  CHECK(p.missing.size() == 1);
  OpenOptions trust;
  trust.trust_file = true;
  const auto trusted = Open(core.Build(), trust).value();
  CHECK(trusted.missing.empty());
  CHECK(ByteAt(trusted, kBase + 0x1000) == 0xC3);
  CHECK(ByteAt(trusted, kBase + 0x3000) == 0xDA);
}

TEST_CASE("a core that holds everything needs no file") {
  const auto module = ModuleWriter{}.Build();
  CoreWriter core;
  core.Load(kBase, Slice(module, 0, 0x1000), kRead).Load(kBase + 0x1000, Slice(module, 0x1000, 0x1000), kRead | kExecute);
  core.Load(kBase + 0x3000, Filled(0x2000, 0xDA)).Load(kStack, StackBytes()).Thread(1, kStack + 0x100);
  core.File({kBase, kBase + 0x1000}, 0, "/gone").File({kBase + 0x1000, kBase + 0x2000}, 0x1000, "/gone").File({kBase + 0x3000, kBase + 0x4000}, 0x2000, "/gone");
  const auto p = Open(core.Build()).value();
  CHECK(p.modules[0].match == ModuleMatch::kMissing);
  CHECK(p.missing.empty());
  CHECK(p.missing_ranges.empty());
  const auto file = p.modules[0].file;
  REQUIRE(file != nullptr);
  CHECK(file->FindSymbol("code_start")->address == 0x1000);
  CHECK(file->build_id() == "0123456789abcdef");
  CHECK(file->relocations().size() == 2);
  CHECK(file->BytesAt(0x3000).empty());
}

TEST_CASE("segments that gcore leaves out of the list altogether are filled too") {
  const auto module = ModuleWriter{}.Build();
  const TemporaryFile file(module);
  CoreWriter core;
  core.Load(kBase, Slice(module, 0, 0x1000), kRead).Load(kBase + 0x3000, Filled(0x2000, 0xDA)).Load(kStack, StackBytes()).Thread(1, kStack + 0x100);
  core.File({kBase, kBase + 0x1000}, 0, file.path()).File({kBase + 0x1000, kBase + 0x2000}, 0x1000, file.path());
  core.File({kBase + 0x3000, kBase + 0x4000}, 0x2000, file.path());
  const auto p = Open(core.Build()).value();
  CHECK(ByteAt(p, kBase + 0x1000) == 0xC3);
  CHECK(p.memory.Find(kBase + 0x1000)->executable);
  CHECK(p.missing.empty());
  const auto gone = Open(KernelCore(module, "/gone").Build()).value();
  CHECK(gone.missing.size() == 1);
}

TEST_CASE("data files that are mapped do not make a core partial") {
  CoreWriter core;
  core.Load(0x10000, Filled(0x1000, 1)).Load(kBase, {}, kRead, 0x300000).Load(kStack, StackBytes()).Thread(1, kStack + 0x100);
  core.File({kBase, kBase + 0x300000}, 0, "/usr/lib/locale/locale-archive-that-is-gone");
  const auto p = Open(core.Build()).value();
  CHECK(p.missing.empty());
  REQUIRE(p.modules.size() == 1);
  CHECK(!p.modules[0].is_elf);
  CHECK(p.modules[0].match == ModuleMatch::kNotNeeded);
  CHECK(p.missing_ranges.size() == 1);
}

TEST_CASE("a library that is only mapped to be read is not taken for a loaded one") {
  const auto module = ModuleWriter{}.Build();
  const TemporaryFile file(module);
  CoreWriter core;
  core.Load(kBase, module, kRead).Load(kStack, StackBytes()).Thread(1, kStack + 0x100);
  core.File({kBase, kBase + 0x3000}, 0, file.path());
  const auto p = Open(core.Build()).value();
  REQUIRE(p.modules.size() == 1);
  CHECK(!p.modules[0].is_elf);
}

TEST_CASE("the same library loaded twice is two modules") {
  const auto module = ModuleWriter{}.Build();
  const TemporaryFile file(module);
  CoreWriter core = KernelCore(module, file.path());
  const Address second = kBase + 0x10000;
  core.Load(second, Slice(module, 0, 0x1000), kRead).Load(second + 0x1000, {}, kRead | kExecute, 0x1000).Load(second + 0x3000, Filled(0x2000, 0x22));
  core.File({second, second + 0x1000}, 0, file.path()).File({second + 0x1000, second + 0x2000}, 0x1000, file.path());
  core.File({second + 0x3000, second + 0x4000}, 0x2000, file.path());
  const auto p = Open(core.Build()).value();
  REQUIRE(p.modules.size() == 2);
  CHECK(p.modules[1].load_bias == static_cast<std::int64_t>(second));
  CHECK(ByteAt(p, second + 0x1000) == 0xC3);
  CHECK(p.FindModule(second + 0x3000) == &p.modules[1]);
}

TEST_CASE("without NT_FILE modules are found by their ELF headers, and by name through DT_SONAME") {
  const auto module = ModuleWriter{}.Build();
  const TemporaryFile file(module);
  CoreWriter core = KernelCore(module, file.path());
  core.write_files = false;
  const auto p = Open(core.Build()).value();
  REQUIRE(p.modules.size() == 1);
  CHECK(p.modules[0].path == "libsmall.so");
  CHECK(p.modules[0].build_id == "0123456789abcdef");
  CHECK(p.modules[0].load_bias == static_cast<std::int64_t>(kBase));
  CHECK(p.missing.size() == 1);
  OpenOptions options;
  options.module_files = {{"libsmall.so", file.path()}};
  const auto found = Open(core.Build(), options).value();
  CHECK(found.missing.empty());
  CHECK(ByteAt(found, kBase + 0x1000) == 0xC3);
}

TEST_CASE("without NT_FILE the dynamic linker's list names the modules") {
  const auto module = ModuleWriter{}.Build();
  const TemporaryFile file(module);
  CoreWriter core = KernelCore(module, file.path());
  core.write_files = false;
  // A program at 0x400000 whose PT_DYNAMIC holds DT_DEBUG -> r_debug -> two link_maps.
  auto program = Filled(0x1000, 0);
  const auto put = [&](std::size_t at, std::uint64_t value) { std::memcpy(program.data() + at, &value, 8); };
  const Elf64_Phdr headers[2] = {{PT_PHDR, PF_R, 64, 0x400040, 0x400040, 112, 112, 8}, {PT_DYNAMIC, PF_R, 0x200, 0x400200, 0x400200, 32, 32, 8}};
  std::memcpy(program.data() + 64, headers, sizeof headers);
  put(0x200, DT_DEBUG), put(0x208, 0x400300), put(0x210, DT_NULL);
  put(0x300, 1), put(0x308, 0x400400);                                                                    // r_debug
  put(0x400, 0), put(0x408, 0x400600), put(0x410, 0), put(0x418, 0x400500), put(0x420, 0);                // the program
  put(0x500, kBase), put(0x508, 0x400700), put(0x510, kBase + 0xE00), put(0x518, 0x400500);               // the library; its next is itself
  std::memcpy(program.data() + 0x700, file.path().c_str(), file.path().size() + 1);
  core.Load(0x400000, program).Auxiliary(AT_PHDR, 0x400040).Auxiliary(AT_PHNUM, 2);
  const auto p = Open(core.Build()).value();
  REQUIRE(p.modules.size() == 1);
  CHECK(p.modules[0].path == file.path());
  CHECK(p.modules[0].match == ModuleMatch::kVerified);
  CHECK(p.missing.empty());
}

TEST_CASE("a truncated core says how much is there and keeps what is") {
  const auto module = ModuleWriter{}.Build();
  const TemporaryFile file(module);
  const auto whole = KernelCore(module, file.path()).Build();
  std::size_t last_segments = ~std::size_t{0};
  for (std::size_t size = whole.size() - 1; size > 0x2000; size -= 0x733) {
    const auto p = Open(Slice(whole, 0, size));
    if (!p) {
      Has(p.error().message, "cut before its first byte of memory");
      continue;
    }
    REQUIRE(!p->missing.empty());
    Has(p->missing[0].reason, "core is truncated");
    Has(p->missing[0].remedy, "ulimit -c");
    CHECK(p->core_bytes_expected == whole.size());
    CHECK(p->core_bytes_present == size);
    std::uint64_t lost = 0, present = 0;
    for (const MissingRange& m : p->missing_ranges) lost += m.reason == MissingReason::kTruncated ? m.range.size() : 0;
    for (const Segment& s : p->memory.segments()) present += s.source == SegmentSource::kCore ? s.range.size() : 0;
    CHECK(lost + present >= 0x3000 + 0x1000 + 0x1000 + 0x1000);
    CHECK(present <= last_segments);
    last_segments = present;
    // Data that was written and lost is never taken from the file.
    if (const Segment* data = p->memory.Find(kBase + 0x3800)) CHECK(data->source == SegmentSource::kCore);
    // Code is: as long as the page that says which file it is has come through.
    if (p->memory.At(kBase, 0x1000) != nullptr) CHECK(ByteAt(*p, kBase + 0x1800) == 0xC3);
    if (p->memory.At(kBase, 0x300) == nullptr) CHECK(p->memory.At(kBase + 0x1800, 1) == nullptr);
  }
  for (std::size_t size = 0; size < 0x2000; size += 13) {
    const auto p = Open(Slice(whole, 0, size));
    if (p) CHECK(!p->missing.empty());
  }
}

TEST_CASE("unordered and overlapping segments are read, with a warning for the latter") {
  CoreWriter core;
  core.Load(kStack, StackBytes()).Load(0x20000, Filled(0x2000, 2)).Load(0x10000, Filled(0x1000, 1)).Load(0x21000, Filled(0x2000, 3)).Thread(1, kStack + 0x100);
  const auto p = Open(core.Build()).value();
  CHECK(ByteAt(p, 0x10000) == 1);
  CHECK(ByteAt(p, 0x21FFF) == 2);
  CHECK(ByteAt(p, 0x22000) == 3);
  CHECK(std::any_of(p.warnings.begin(), p.warnings.end(), [](const std::string& w) { return w.find("overlap") != std::string::npos; }));
}

TEST_CASE("more segments than 16 bits count are all found, also when the count is cut off") {
  CoreWriter core;
  core.extended_count = true;
  for (Address i = 0; i < 70000; ++i) core.Load(0x100000000 + i * 0x2000, {}, kRead | kWrite, 0x1000);
  core.Load(kStack, StackBytes()).Thread(1, kStack + 0x100);
  const auto bytes = core.Build();
  const auto p = Open(bytes).value();
  CHECK(p.missing.empty());
  CHECK(p.missing_ranges.size() == 70000);
  CHECK(p.memory.At(kStack, 1) != nullptr);
  const auto cut = Open(Slice(bytes, 0, bytes.size() - 64)).value();
  CHECK(cut.missing_ranges.size() == 70000);
  CHECK(cut.memory.At(kStack, 1) != nullptr);
}

TEST_CASE("a core without private memory cannot be analysed") {
  CoreWriter core;
  core.Load(0x10000, {}, kRead | kWrite, 0x1000).Load(kBase, Filled(0x1000, 1), kRead).Load(kStack, {}, kRead | kWrite, 0x2000).Thread(1, kStack + 0x100);
  Has(Refusal(Open(core.Build())), "coredump_filter");
  CoreWriter nothing;
  Has(Refusal(Open(nothing.Build())), "without memory");
}

TEST_CASE("zeroes where a stack must be are not believed") {
  CoreWriter core;
  core.Load(0x10000, Filled(0x1000, 1)).Load(kStack, StackBytes()).Load(kBase, Filled(0x10000, 0)).Thread(1, kStack + 0x100).Thread(2, kBase + 0x8000);
  const auto p = Open(core.Build()).value();
  CHECK(p.memory.At(kBase, 1) == nullptr);
  CHECK(p.memory.At(kStack, 1) != nullptr);
  REQUIRE(p.missing_ranges.size() == 1);
  CHECK(p.missing_ranges[0].reason == MissingReason::kUnreadable);
  CHECK(p.missing.empty());  // what does not ask for stacks is whole
  REQUIRE(p.thread_gaps.size() == 1);
  CHECK(p.thread_gaps[0].what == "the stack of 1 thread");
  Has(p.thread_gaps[0].reason, "starting or ending");
  Has(p.thread_gaps[0].reason, "gcore could not read them");
  Has(p.thread_gaps[0].remedy, "pygc -p");
}

TEST_CASE("a core without notes of threads says that registers are not known") {
  CoreWriter core;
  core.Load(0x10000, Filled(0x1000, 1)).Auxiliary(AT_PAGESZ, 4096);
  const auto p = Open(core.Build()).value();
  REQUIRE(p.thread_gaps.size() == 1);
  Has(p.thread_gaps[0].reason, "NT_PRSTATUS");
}

TEST_CASE("what a packed file is shows in its first bytes: the rest is not unpacked") {
  class Stop final : public ProgressSink {
   public:
    bool Update(std::string_view stage, std::uint64_t, std::uint64_t) override { return stage != "unpacking the core"; }
  } stop;
  const std::string is_core = "stopped";
  const auto refusal = [&](std::vector<std::byte> bytes) {
    bytes.resize(80u << 20);  // the first report of progress comes after 64 MiB
    const TemporaryFile file(Gzip(bytes));
    const Result<Process> p = OpenCore(file.path(), {}, stop);
    REQUIRE(!p);
    return p.error().code == ErrorCode::kCancelled ? is_core : p.error().message;
  };
  CoreWriter core;
  core.Load(kStack, StackBytes()).Thread(1, kStack + 0x100);
  CHECK(refusal(core.Build()) == is_core);
  Has(refusal({}), "a file whose first 512 bytes are zeroes, not an ELF core");
  core.machine = EM_AARCH64;
  Has(refusal(core.Build()), "an ELF core (aarch64); pygc reads cores of x86-64");
  core.machine = EM_X86_64;
  core.type = ET_DYN;
  Has(refusal(core.Build()), "a program, not a core");
}

TEST_CASE("of files that are missing the one of CPython that lacks most is named, and each place that was looked at is a path") {
  const auto module = ModuleWriter{}.Build();
  const std::string launcher = "/gone/bin/python3", library = "/gone/lib/libpython3.12.so.1.0", other = "/gone/lib/libbig.so";
  const Address at[] = {kBase, kBase + 0x100000, kBase + 0x200000};
  CoreWriter core;
  core.Load(0x10000, Filled(0x1000, 0x55)).Load(kStack, StackBytes()).Thread(1, kStack + 0x1000);
  for (int i = 0; i < 3; ++i) {
    const std::string& path = i == 0 ? launcher : i == 1 ? library : other;
    const auto code = i == 0 ? Slice(module, 0x1000, 0x800) : std::vector<std::byte>();  // of the launcher only half a page is missing
    core.Load(at[i], Slice(module, 0, 0x1000), kRead).Load(at[i] + 0x1000, code, kRead | kExecute, 0x1000).Load(at[i] + 0x3000, Filled(0x1000, 0xDA));
    core.File({at[i], at[i] + 0x1000}, 0, path).File({at[i] + 0x1000, at[i] + 0x2000}, 0x1000, path).File({at[i] + 0x3000, at[i] + 0x4000}, 0x2000, path);
  }
  OpenOptions options;
  options.debug_directories = {"/no/such/folder"};
  options.executable = "/no/such/program";
  const auto p = Open(core.Build(), options).value();
  REQUIRE(p.missing.size() == 1);
  Has(p.missing[0].what, library + " and 2 other files");
  Has(p.missing[0].reason, "/no/such/folder/libpython3.12.so.1.0");
  CHECK(p.missing[0].reason.find("folderlib") == std::string::npos);
  CHECK(std::count(p.warnings.begin(), p.warnings.end(), "/no/such/program: no such file: nothing was taken from it") == 1);
}

TEST_CASE("what is not a core is named in one line") {
  SilentProgress progress;
  const auto refuse = [&](const std::string& path) { return Refusal(OpenCore(path, {}, progress)); };
  Has(refuse("/no/such/core"), "no such file");
  Has(refuse("/"), "directory");
  Has(refuse("/dev/null"), "device");
  Has(refuse("/proc/self/exe"), "a program, not a core");
  Has(refuse("/etc/passwd"), "text file");
  const auto file = [](const std::vector<std::byte>& bytes) { return Refusal(Open(bytes)); };
  Has(file({}), "empty file");
  Has(refuse("/proc/self/mem"), "a file that the kernel makes as it is read");
  for (const int bytes : {0, 32}) {
    CoreWriter odd;
    auto damaged = odd.Load(kStack, StackBytes()).Thread(1, kStack + 0x100).Build();
    damaged[offsetof(Elf64_Ehdr, e_phentsize)] = static_cast<std::byte>(bytes);
    const std::string said = file(damaged);
    Has(said, fmt::format("its program headers are said to have {} bytes", bytes));
    CHECK(said.find("not an ELF core") == std::string::npos);
  }
  Has(file(Filled(600, 0x80)), "a file of unknown kind, not an ELF core");
  const char minidump[] = "MDMP\x93\xA7\0\0";
  std::vector<std::byte> bytes(sizeof minidump);
  std::memcpy(bytes.data(), minidump, sizeof minidump);
  Has(file(bytes), "minidump");
  CoreWriter core;
  core.Load(kStack, StackBytes()).Thread(1, kStack + 0x100);
  core.machine = EM_AARCH64;
  Has(file(core.Build()), "an ELF core (aarch64); pygc reads cores of x86-64 processes (64-bit) only");
  core.machine = EM_X86_64;
  core.elf_class = ELFCLASS32;
  Has(file(core.Build()), "a 32-bit ELF core (x86-64); pygc reads");
  core.elf_class = ELFCLASS64;
  core.data = ELFDATA2MSB;
  core.type = ET_CORE << 8;
  core.machine = EM_S390 << 8;
  Has(file(core.Build()), "a big-endian ELF core (s390x); pygc reads");
  core.elf_class = ELFCLASS32;
  core.machine = EM_PPC << 8;
  Has(file(core.Build()), "a 32-bit big-endian ELF core (powerpc); pygc reads");
  core.elf_class = ELFCLASS64;
  core.machine = EM_X86_64;
  core.data = ELFDATA2LSB;
  core.type = ET_REL;
  Has(file(core.Build()), "not an ELF core");
  core.type = ET_CORE;
  core.Note("QEMU", 0, Filled(400, 1));
  Has(file(core.Build()), "physical memory");
}

TEST_CASE("random changes of a core never crash, hang or invent memory") {
  const auto module = ModuleWriter{}.Build();
  const TemporaryFile file(module);
  const auto good = KernelCore(module, file.path()).Build();
  const std::size_t heads = 64 + 56 * 7, notes_end = heads + 1400;
  std::mt19937 random(11);
  int opened = 0;
  for (int round = 0; round < 1000; ++round) {
    auto bytes = good;
    for (unsigned i = 0; i < 1 + random() % 3; ++i) {
      const std::size_t at = random() % 3 == 0 ? 0x4000 + random() % 0x1000 : random() % (random() % 2 == 0 ? heads : notes_end);
      if (random() % 2 == 0) {
        bytes[at] = static_cast<std::byte>(random());
      } else {
        const std::uint64_t odd[] = {0, ~std::uint64_t{0}, 1ull << 63, 0x7FFFFFFFFFFFFFFF, 0x1000, kBase};
        std::memcpy(bytes.data() + at / 8 * 8, &odd[random() % std::size(odd)], 8);
      }
    }
    const auto p = Open(bytes);
    if (!p) continue;
    ++opened;
    for (const Segment& s : p->memory.segments()) {
      REQUIRE(!s.range.empty());
      volatile std::byte touched = s.bytes[s.range.size() - 1];
      touched = s.bytes[0];
      static_cast<void>(touched);
    }
  }
  CHECK(opened > 100);
}

TEST_CASE("opening does not read the memory in the core") {
  // 200 GB of file that is one hole: reading it would take minutes.
  CoreWriter core;
  core.Load(kStack, StackBytes()).Load(0x10000, {}, kRead | kWrite, 200ull << 30).Thread(1, kStack + 0x100);
  auto bytes = core.Build();
  Elf64_Phdr p;
  std::memcpy(&p, bytes.data() + 64 + 2 * 56, sizeof p);
  p.p_filesz = p.p_memsz;
  std::memcpy(bytes.data() + 64 + 2 * 56, &p, sizeof p);
  const TemporaryFile file(bytes);
  if (truncate(file.path().c_str(), static_cast<off_t>(p.p_offset + p.p_filesz)) != 0) return;  // a file system without large files
  SilentProgress progress;
  const auto start = std::chrono::steady_clock::now();
  const auto process = OpenCore(file.path(), {}, progress);
  const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  REQUIRE(process.has_value());
  CHECK(process->missing.empty());
  CHECK(process->memory.At(0x10000 + (150ull << 30), 8) != nullptr);
  CHECK(took < 1.0);
}

TEST_CASE("segments that all show the same bytes are not made into any amount of memory") {
  constexpr std::size_t kSegments = 200;
  CoreWriter writer;
  for (std::size_t i = 0; i < kSegments; ++i) writer.Load(0x10000000 + i * 0x100000, Filled(0x100, 7));
  writer.Thread(1, 0x10000080);
  std::vector<std::byte> core = writer.Build();
  Elf64_Ehdr header;
  std::memcpy(&header, core.data(), sizeof header);
  std::size_t segments = 0;
  for (std::size_t i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    std::byte* at = core.data() + header.e_phoff + i * sizeof segment;
    std::memcpy(&segment, at, sizeof segment);
    if (segment.p_type != PT_LOAD) continue;
    segment.p_offset = 0;
    segment.p_filesz = segment.p_memsz = core.size();
    std::memcpy(at, &segment, sizeof segment);
    ++segments;
  }
  REQUIRE(segments == kSegments);
  const auto process = Open(core);
  REQUIRE(process);
  std::uint64_t bytes = 0;
  for (const Segment& s : process->memory.segments()) bytes += s.range.size();
  CHECK(bytes > 0);
  CHECK(bytes <= 4 * core.size());
  REQUIRE_FALSE(process->missing.empty());
  CHECK(process->missing.front().what == std::to_string(kSegments - 4) + " segments of the core");
}

}  // namespace pygc::target
