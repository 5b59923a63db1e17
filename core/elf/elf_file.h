// One ELF file on this machine, mapped read-only: segments, sections, symbols, build-id, relocations. libelf stays in the .cc.
// Every file is hostile: any offset or count is checked against the file's size before use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/address.h"
#include "core/base/limits.h"
#include "core/base/mapped_file.h"
#include "core/base/result.h"

namespace pygc::elf {

/// A program header, checked: [file_offset, file_offset + file_size) lies inside the file (clamped), sizes do not wrap.
struct ProgramHeader {
  std::uint32_t type = 0, flags = 0;  // PT_*, PF_*
  std::uint64_t file_offset = 0, address = 0, file_size = 0, memory_size = 0, alignment = 0;
  std::uint64_t wanted_file_size = 0;  // before clamping: larger than file_size in a truncated file
};

struct Section {
  std::string name;
  std::uint32_t type = 0;
  std::uint64_t flags = 0, address = 0, file_offset = 0, size = 0;
};

/// A symbol of .symtab or .dynsym; `address` is the link-time one.
struct Symbol {
  std::string_view name;
  std::uint64_t address = 0, size = 0;
  bool is_function = false, is_object = false, is_tls = false, is_undefined = false;
};

/// A dynamic relocation (R_X86_64_GLOB_DAT, JUMP_SLOT, 64, ...), for naming GOT slots.
struct Relocation {
  std::uint64_t address = 0;  // link-time address of the slot
  std::uint32_t type = 0;
  std::string_view symbol;    // empty for RELATIVE
  std::int64_t addend = 0;
};

class ElfFile {
 public:
  /// Opens `path`, which must be a regular file (opened non-blocking, checked before it is read).
  /// Errors: kNotAnalysable (what it is instead), kNotPermitted, kNotFound (no such file), kLimit.
  [[nodiscard]] static Result<std::shared_ptr<const ElfFile>> Open(const std::string& path, const Limits& limits);
  /// The same over bytes that are already here and outlive the object (tests, images in memory).
  [[nodiscard]] static Result<std::shared_ptr<const ElfFile>> FromBytes(std::span<const std::byte> bytes, const Limits& limits);
  /// The same over a file that is mapped already.
  [[nodiscard]] static Result<std::shared_ptr<const ElfFile>> FromFile(std::shared_ptr<const MappedFile> file, const Limits& limits);
  /// The same over bytes that the object keeps (a module put together from memory, .gnu_debugdata); `path` is for messages.
  [[nodiscard]] static Result<std::shared_ptr<const ElfFile>> FromOwnedBytes(std::vector<std::byte> bytes, const std::string& path,
                                                                             const Limits& limits);
  ~ElfFile();
  ElfFile(const ElfFile&) = delete;
  ElfFile& operator=(const ElfFile&) = delete;

  [[nodiscard]] const std::string& path() const noexcept;
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept;  // the whole file
  /// True where it was read from that very file under that name: nothing of it has to be read again.
  [[nodiscard]] bool IsOf(const MappedFile& file) const noexcept;
  [[nodiscard]] std::uint16_t type() const noexcept;     // ET_*
  [[nodiscard]] std::uint16_t machine() const noexcept;  // EM_*
  [[nodiscard]] std::uint64_t entry() const noexcept;
  [[nodiscard]] std::span<const ProgramHeader> program_headers() const noexcept;
  /// True when the file ends inside its table of program headers, or the count of a large one is lost with the file's end.
  [[nodiscard]] bool program_headers_cut() const noexcept;
  [[nodiscard]] std::span<const Section> sections() const;           // empty when the headers are stripped; read at the first call
  [[nodiscard]] const std::string& build_id() const noexcept;        // hex; empty where there is none
  /// The file's bytes of a PT_LOAD at link-time `address`, at most to the end of its file part; empty where there are none.
  [[nodiscard]] std::span<const std::byte> BytesAt(std::uint64_t address) const noexcept;
  /// .symtab and .dynsym (found through PT_DYNAMIC where section headers are gone) and .gnu_debugdata; built at the first call, thread-safe.
  /// First the definition with that exact name in .symtab, then in .dynsym.
  [[nodiscard]] std::optional<Symbol> FindSymbol(std::string_view name) const;
  /// The function or object that contains the link-time `address`, or nullopt.
  [[nodiscard]] std::optional<Symbol> SymbolAt(std::uint64_t address) const;
  /// All symbols, sorted by address.
  [[nodiscard]] std::span<const Symbol> symbols() const;
  /// Dynamic relocations, sorted by address (from DT_RELA and DT_JMPREL; RELR entries carry no symbol and are left out).
  [[nodiscard]] std::span<const Relocation> relocations() const;
  /// True where a .debug_info is in the file.
  [[nodiscard]] bool has_dwarf() const;

 private:
  struct Impl;
  static Result<std::shared_ptr<const ElfFile>> Parse(std::unique_ptr<Impl> impl, const Limits& limits);
  explicit ElfFile(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace pygc::elf
