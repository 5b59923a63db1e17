// Small ELF cores and modules, byte by byte, for tests: well-formed by default, damaged where a test says so.
//
//   CoreWriter core;
//   core.Load(0x10000, Bytes(0x1000), kRead | kWrite);
//   core.Thread(42, 0x10800).File({0x400000, 0x401000}, 0, "/lib/x.so");
//   const test::TemporaryFile file(core.Build());
//   target::OpenCore(file.path(), ...);
#pragma once

#include <elf.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/address.h"

namespace pygc::test {

inline constexpr std::uint32_t kExecute = PF_X, kWrite = PF_W, kRead = PF_R;

/// A file under the temporary directory that is removed with the object.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::vector<std::byte>& bytes);
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  /// Writes other bytes into the same file.
  void Replace(const std::vector<std::byte>& bytes) const;

 private:
  std::string path_;
};

class CoreWriter {
 public:
  /// A PT_LOAD. `memory_size` 0 means the size of the bytes; a larger one is a segment that was not dumped whole.
  CoreWriter& Load(Address begin, std::vector<std::byte> bytes, std::uint32_t flags = kRead | kWrite, std::uint64_t memory_size = 0);
  /// NT_PRSTATUS.
  CoreWriter& Thread(std::int32_t tid, Address stack_pointer, std::int16_t signal = 0, Address instruction_pointer = 0, Address fs_base = 0);
  /// An entry of NT_FILE; the offset is in bytes.
  CoreWriter& File(AddressRange range, std::uint64_t file_offset, std::string path);
  CoreWriter& Auxiliary(std::uint64_t type, std::uint64_t value);
  /// Any other note, behind the ones above.
  CoreWriter& Note(std::string name, std::uint32_t type, std::vector<std::byte> bytes);

  // What a damaged or foreign core has otherwise.
  std::uint16_t type = ET_CORE, machine = EM_X86_64;
  std::uint8_t elf_class = ELFCLASS64, data = ELFDATA2LSB;
  bool extended_count = false;   // PN_XNUM: e_phnum is 0xffff, the count stands in section header 0 at the end
  bool write_files = true;       // NT_FILE when there are entries
  std::int32_t pid = 4242;

  [[nodiscard]] std::vector<std::byte> Build() const;

 private:
  struct Segment {
    Address begin;
    std::vector<std::byte> bytes;
    std::uint32_t flags;
    std::uint64_t memory_size;
  };
  struct OtherNote {
    std::string name;
    std::uint32_t type;
    std::vector<std::byte> bytes;
  };
  struct MappedFile {
    AddressRange range;
    std::uint64_t file_offset;
    std::string path;
  };
  std::vector<Segment> segments_;
  std::vector<OtherNote> threads_, others_;
  std::vector<MappedFile> files_;
  std::vector<std::uint64_t> auxv_;
};

/// A shared library of four pages: page 0 holds headers, build-id, dynamic symbols and hash (R); page 1 "code" (RX); page 2 data (RW, at link-time
/// address 0x3000: offset and address differ as in real libraries), with 0x1800 bytes of memory, so that .bss follows. No section headers.
struct ModuleWriter {
  std::string build_id = "0123456789abcdef";   // hex; empty: no note
  struct Symbol {
    std::string name;
    std::uint64_t address, size;
    unsigned char type = STT_FUNC;
  };
  std::vector<Symbol> symbols = {{"code_start", 0x1000, 0x10}, {"data_start", 0x3000, 8, STT_OBJECT}};
  std::uint8_t fill = 0xC3;                    // of the code page
  bool use_sysv_hash = false;                  // DT_HASH instead of DT_GNU_HASH
  std::string soname = "libsmall.so";

  [[nodiscard]] std::vector<std::byte> Build() const;
};

[[nodiscard]] std::vector<std::byte> Filled(std::size_t size, std::uint8_t value);
/// bytes[begin, end) of a vector.
[[nodiscard]] std::vector<std::byte> Slice(const std::vector<std::byte>& bytes, std::size_t begin, std::size_t size);

}  // namespace pygc::test
