// A target::Process made by hand, for tests of every layer: map ranges, write values, build. Nothing is read from a file or a live process.
// Unwritten bytes of a mapped range are zero; what is not mapped cannot be read.
//
//   FakeProcess fake;
//   fake.Map(0x10000, 0x1000);
//   fake.Write<std::uint64_t>(0x10010, 0x20000);
//   fake.WriteString(0x10100, "dict");
//   const target::Process process = fake.Build();
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/target/process.h"

namespace pygc::test {

/// Builds a target::Process. Wrong use (a write outside a mapped range) throws std::logic_error, which fails the test.
class FakeProcess {
 public:
  /// Maps `size` zero bytes at `begin`. `access` is like "rw-"; `module` the index that AddModule() returned. Ranges must not overlap.
  FakeProcess& Map(Address begin, std::uint64_t size, std::string_view access = "rw-", std::uint32_t module = 0xFFFFFFFFu,
                   target::SegmentSource source = target::SegmentSource::kCore);
  /// Maps exactly `bytes` at `begin`.
  FakeProcess& Map(Address begin, const std::vector<std::uint8_t>& bytes, std::string_view access = "rw-", std::uint32_t module = 0xFFFFFFFFu);

  /// Writes into mapped ranges.
  template <typename T>
  FakeProcess& Write(Address a, const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    return WriteBytes(a, std::as_bytes(std::span<const T, 1>(&value, 1)));
  }
  FakeProcess& WriteWords(Address a, std::initializer_list<std::uint64_t> words);
  FakeProcess& WriteWords(Address a, const std::vector<std::uint64_t>& words);
  FakeProcess& WriteString(Address a, std::string_view text);  // with a NUL behind it
  FakeProcess& WriteBytes(Address a, std::span<const std::byte> bytes);

  /// Maps and writes from text. One line each, `#` starts a comment; numbers in hex with or without 0x:
  ///   map 0x10000 0x1000 rw-        (zero bytes; the access may be left out)
  ///   0x10010: 8b 48 10 c3          (bytes)
  ///   0x10020: q 0x20000 7          (64-bit words)
  ///   0x10030: d 5 6                (32-bit words)
  ///   0x10040: "text"               (NUL-terminated, no escapes)
  FakeProcess& Text(std::string_view lines);

  /// A value that was written (reads the bytes as they are now).
  template <typename T>
  [[nodiscard]] T Read(Address a) const {
    T value;
    ReadBytes(a, std::as_writable_bytes(std::span<T, 1>(&value, 1)));
    return value;
  }

  /// Adds a module and returns its index. Its `match` is kVerified when a file is given.
  std::uint32_t AddModule(std::string path, std::vector<AddressRange> ranges, std::int64_t load_bias = 0,
                          std::shared_ptr<const elf::ElfFile> file = nullptr);
  /// Adds a thread with registers.
  FakeProcess& AddThread(std::int32_t tid, Address stack_pointer, Address instruction_pointer = 0, Address fs_base = 0);
  /// Records memory that is not here. In complete processes there is none.
  FakeProcess& AddMissing(AddressRange range, target::MissingReason reason);

  /// The process as of now; later writes do not change it. Can be called again.
  [[nodiscard]] target::Process Build() const;
  /// Fields that Build() copies into the process before it adds memory (kind, path, pid, warnings ...).
  target::Process base;

 private:
  struct Range {
    std::vector<std::byte> bytes;
    bool readable, writable, executable;
    std::uint32_t module;
    target::SegmentSource source;
  };
  std::byte* Locate(Address a, std::uint64_t size);
  void ReadBytes(Address a, std::span<std::byte> out) const;

  std::map<Address, Range> ranges_;
};

}  // namespace pygc::test
