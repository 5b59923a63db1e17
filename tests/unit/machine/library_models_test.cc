// What the machine does in place of a library function, held against the C library's own.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <random>
#include <string>

#include "core/machine/traverse.h"
#include "tests/support/core_writer.h"
#include "tests/support/fake_process.h"

namespace pygc::machine {
namespace {

constexpr Address kCaller = 0x400000, kLibrary = 0x50000000, kText = 0x10000000, kTextBytes = 0x3000;

// Code that calls functions of a library by name: the library's code is never looked at.
class CallerOfLibrary {
 public:
  CallerOfLibrary() {
    test::ModuleWriter writer;
    writer.symbols.clear();
    std::uint64_t at = 0x1000;
    for (const char* name : {"memcmp", "strcmp", "strncmp", "memcpy", "memmove", "memset", "memchr", "strchr", "strlen", "strnlen", "malloc", "calloc", "realloc", "free",
                             "pthread_mutex_lock", "abort"}) {
      writer.symbols.push_back({name, at, 0x10});
      functions_[name] = kLibrary + at;
      at += 0x10;
    }
    Result<std::shared_ptr<const elf::ElfFile>> file = elf::ElfFile::FromOwnedBytes(writer.Build(), "libsmall.so", Limits());
    REQUIRE(file);
    const std::uint32_t program = fake.AddModule("program", {{kCaller, kCaller + 0x1000}});
    const std::uint32_t library = fake.AddModule("libsmall.so", {{kLibrary, kLibrary + 0x4000}}, kLibrary, *file);
    fake.Map(kCaller, 0x1000, "r-x", program).Map(kText, kTextBytes).Map(kLibrary + 0x1000, std::vector<std::uint8_t>(0x1000, 0xCC), "r-x", library);
  }
  /// Bytes; "NAME" of a function becomes e8 or e9 (call, jmp), whichever stands before it, with the way to it.
  void Code(std::initializer_list<std::pair<std::vector<std::uint8_t>, const char*>> parts) {
    std::vector<std::uint8_t> code;
    for (const auto& [bytes, name] : parts) {
      code.insert(code.end(), bytes.begin(), bytes.end());
      if (name == nullptr) continue;
      const auto way = static_cast<std::uint32_t>(functions_.at(name) - (kCaller + code.size() + 4));
      for (int shift = 0; shift < 32; shift += 8) code.push_back(static_cast<std::uint8_t>(way >> shift));
    }
    fake.WriteBytes(kCaller, std::as_bytes(std::span(code)));
  }
  RunOutcome Run(std::initializer_list<std::uint64_t> arguments) {
    const target::Process process = fake.Build();
    TraverseMachine machine(process, MachineOptions());
    return machine.RunFunction(kCaller, std::span(arguments.begin(), arguments.size()));
  }
  /// The function by itself.
  RunOutcome Call(const char* name, std::initializer_list<std::uint64_t> arguments) {
    Code({{{0xE9}, name}});
    return Run(arguments);
  }
  /// The function, and then the word `offset` bytes behind what it returns.
  RunOutcome CallAndLoad(const char* name, std::uint32_t offset, std::initializer_list<std::uint64_t> arguments) {
    std::vector<std::uint8_t> load{0x48, 0x8B, 0x80};  // mov rax,[rax+offset]
    for (int shift = 0; shift < 32; shift += 8) load.push_back(static_cast<std::uint8_t>(offset >> shift));
    load.insert(load.end(), {0x48, 0x83, 0xC4, 0x08, 0xC3});    // add rsp,8; ret
    Code({{{0x48, 0x83, 0xEC, 0x08, 0xE8}, name}, {load, nullptr}});  // sub rsp,8; call
    return Run(arguments);
  }
  test::FakeProcess fake;

 private:
  std::map<std::string, Address> functions_;
};

int SignOf(std::uint64_t rax) { return static_cast<std::int32_t>(rax) < 0 ? -1 : static_cast<std::int32_t>(rax) > 0; }
int SignOf(int result) { return result < 0 ? -1 : result > 0; }

}  // namespace

TEST_CASE("comparing, searching and measuring give what the C library gives") {
  std::mt19937 random(5);
  const auto below = [&](std::uint32_t n) { return std::uniform_int_distribution<std::uint32_t>(0, n - 1)(random); };
  for (int round = 0; round < 150; ++round) {
    CAPTURE(round);
    // Two texts of few letters and high bytes that are equal for a while, each with a NUL at its end.
    std::string a(1 + below(70), 'a');
    for (char& c : a) c = below(12) == 0 ? '\xe9' : below(20) == 0 ? '\0' : static_cast<char>('a' + below(2));
    std::string b = a;
    if (below(3) != 0) b[below(static_cast<std::uint32_t>(b.size()))] = static_cast<char>(below(256));
    CallerOfLibrary c;
    constexpr Address kA = kText + 3, kB = kText + 0x1005;
    c.fake.WriteBytes(kA, std::as_bytes(std::span(a)));
    c.fake.WriteBytes(kB, std::as_bytes(std::span(b)));
    const std::uint64_t n = below(static_cast<std::uint32_t>(a.size() + 1));
    const int letter = static_cast<unsigned char>(below(3) == 0 ? 'z' : a[below(static_cast<std::uint32_t>(a.size()))]);
    const auto result = [&](const char* name, std::initializer_list<std::uint64_t> arguments) {
      const RunOutcome outcome = c.Call(name, arguments);
      CAPTURE(name);
      CHECK(outcome.is_exact());
      return outcome.result;
    };
    const auto place = [](const std::string& text, const void* found, Address at) { return found == nullptr ? 0 : at + static_cast<std::uint64_t>(static_cast<const char*>(found) - text.data()); };
    CHECK(SignOf(result("memcmp", {kA, kB, n})) == SignOf(std::memcmp(a.data(), b.data(), n)));
    CHECK(SignOf(result("strcmp", {kA, kB})) == SignOf(std::strcmp(a.c_str(), b.c_str())));
    CHECK(SignOf(result("strncmp", {kA, kB, n})) == SignOf(std::strncmp(a.c_str(), b.c_str(), n)));
    CHECK(result("memchr", {kA, static_cast<std::uint64_t>(letter), n}) == place(a, std::memchr(a.data(), letter, n), kA));
    CHECK(result("strchr", {kA, static_cast<std::uint64_t>(letter)}) == place(a, std::strchr(a.c_str(), letter), kA));
    CHECK(result("strlen", {kA}) == std::strlen(a.c_str()));
    CHECK(result("strnlen", {kA, n}) == strnlen(a.c_str(), n));
  }
}

TEST_CASE("copies of any size and overlap are those of memmove, and what is filled is filled to its end") {
  std::array<char, 0x400> whole;
  for (std::size_t i = 0; i < whole.size(); ++i) whole[i] = static_cast<char>(i * 7 + i / 64);
  for (const std::uint64_t size : {0, 1, 8, 63, 64, 65, 200}) {
    for (const int by : {-130, -64, -3, 0, 1, 64, 100, 250}) {
      CAPTURE(size);
      CAPTURE(by);
      std::array<char, 0x400> expected = whole;
      const std::size_t from = 300, to = static_cast<std::size_t>(300 + by);
      std::memmove(expected.data() + to, expected.data() + from, size);
      CallerOfLibrary c;
      c.fake.WriteBytes(kText, std::as_bytes(std::span(whole)));
      for (const std::uint32_t offset : {0u, 1u, static_cast<std::uint32_t>(size / 2), static_cast<std::uint32_t>(size)}) {
        const RunOutcome outcome = c.CallAndLoad("memmove", offset, {kText + to, kText + from, size});
        std::uint64_t word = 0;
        std::memcpy(&word, expected.data() + to + offset, 8);
        CHECK(outcome.result == word);
        CHECK(outcome.is_exact());
      }
    }
    CallerOfLibrary c;
    c.fake.WriteBytes(kText, std::as_bytes(std::span(whole)));
    std::array<char, 0x400> filled = whole;
    std::memset(filled.data() + 16, 0x5A, size);
    const RunOutcome outcome = c.CallAndLoad("memset", static_cast<std::uint32_t>(size), {kText + 16, 0x15A, size});  // an int of which a byte counts
    std::uint64_t word = 0;
    std::memcpy(&word, filled.data() + 16 + size, 8);
    CHECK(outcome.result == word);
    if (size >= 8) CHECK(c.CallAndLoad("memset", static_cast<std::uint32_t>(size - 8), {kText + 16, 0x15A, size}).result == 0x5A5A5A5A5A5A5A5Au);
  }
}

TEST_CASE("a function that leaves its memory faults as the code would") {
  CallerOfLibrary c;
  constexpr Address kEnd = kText + kTextBytes;
  const std::string no_end(16, 'x');
  c.fake.WriteBytes(kEnd - 16, std::as_bytes(std::span(no_end)));
  CHECK(c.Call("strlen", {kEnd - 16}).reason == StopReason::kUnmappedRead);
  CHECK(c.Call("strnlen", {kEnd - 16, 16}).result == 16);
  CHECK(c.Call("memcmp", {kEnd - 16, kText, 1}).is_exact());
  CHECK(c.Call("memcmp", {kEnd - 16, kEnd - 16, 17}).reason == StopReason::kUnmappedRead);
  CHECK(c.Call("memchr", {kEnd - 16, 'y', 17}).reason == StopReason::kUnmappedRead);
  CHECK(c.Call("memchr", {kEnd - 16, 'x', 17}).result == kEnd - 16);
  CHECK(c.Call("memcpy", {kText, kEnd - 8, 9}).reason == StopReason::kUnmappedRead);
  CHECK(c.Call("memcpy", {kEnd - 8, kText, 9}).reason == StopReason::kUnmappedWrite);
  CHECK(c.Call("memset", {kCaller, 0, 8}).reason == StopReason::kReadOnlyWrite);
  CHECK(c.Call("abort", {}).reason == StopReason::kStopFunction);
  CHECK(c.Call("pthread_mutex_lock", {kText}).result == 0);
}

TEST_CASE("bytes that a library function goes through are steps") {
  CallerOfLibrary c;
  const std::string long_text(0x2000, 'x');
  c.fake.WriteBytes(kText, std::as_bytes(std::span(long_text)));
  const std::uint64_t few = c.Call("memchr", {kText, 'y', 16}).steps, many = c.Call("memchr", {kText, 'y', 0x2000}).steps;
  CHECK(many - few == 0x2000 / 16 - 1);
}

TEST_CASE("memory that a run asks for is its own: zeroed by calloc, kept by realloc, bounded") {
  CallerOfLibrary c;
  CHECK(c.CallAndLoad("calloc", 56, {8, 8}).result == 0);
  CHECK(c.CallAndLoad("calloc", 56, {8, 8}).is_exact());
  CHECK_FALSE(c.CallAndLoad("malloc", 8, {64}).is_exact());  // read before it was written
  c.fake.WriteWords(kText, {11, 22, 33});
  CHECK(c.CallAndLoad("realloc", 8, {kText, 24}).result == 22);
  CHECK(c.CallAndLoad("realloc", 0, {kText + kTextBytes - 8, 24}).result == 0);  // what lies behind the old block's region is not there to copy
  CHECK(c.Call("realloc", {0x1000, 24}).reason == StopReason::kUnmappedRead);
  CHECK(c.Call("realloc", {kText, 0}).reason == StopReason::kStopFunction);
  CHECK(c.Call("malloc", {1u << 20}).reason == StopReason::kStopFunction);
  CHECK(c.Call("realloc", {kText, 1u << 20}).reason == StopReason::kStopFunction);
  CHECK(c.Call("calloc", {std::uint64_t{1} << 33, std::uint64_t{1} << 33}).reason == StopReason::kStopFunction);
  CHECK(c.Call("free", {0}).is_exact());
  CHECK(c.Call("free", {kText}).reason == StopReason::kStopFunction);  // the target's
  // sub rsp,8; call malloc; mov qword [rax],0x77; mov rdi,rax; mov esi,64; call realloc; mov rax,[rax]; add rsp,8; ret
  c.Code({{{0x48, 0x83, 0xEC, 0x08, 0xE8}, "malloc"},
          {{0x48, 0xC7, 0x00, 0x77, 0, 0, 0, 0x48, 0x89, 0xC7, 0xBE, 64, 0, 0, 0, 0xE8}, "realloc"},
          {{0x48, 0x8B, 0x00, 0x48, 0x83, 0xC4, 0x08, 0xC3}, nullptr}});
  CHECK(c.Run({32}).result == 0x77);
  CHECK(c.Run({32}).is_exact());
  // ... mov rdi,rax; call free; xor eax,eax; add rsp,8; ret
  c.Code({{{0x48, 0x83, 0xEC, 0x08, 0xE8}, "malloc"}, {{0x48, 0x89, 0xC7, 0xE8}, "free"}, {{0x31, 0xC0, 0x48, 0x83, 0xC4, 0x08, 0xC3}, nullptr}});
  CHECK(c.Run({32}).is_exact());
}

}  // namespace pygc::machine
