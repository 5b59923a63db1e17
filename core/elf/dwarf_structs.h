// Names of places in C structs, from the DWARF of one file: what a function's author calls the member that lies at an offset. libdw stays in the .cc.
// For labels alone: nothing that pygc counts or concludes depends on it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "core/elf/elf_file.h"

namespace pygc::elf {

class DwarfStructs {
 public:
  /// nullptr where the file has no DWARF, or libdw cannot read it; compressed debug sections (-gz) give no names. `file` outlives the object.
  [[nodiscard]] static std::unique_ptr<DwarfStructs> Open(const ElfFile& file);
  ~DwarfStructs();
  DwarfStructs(const DwarfStructs&) = delete;
  DwarfStructs& operator=(const DwarfStructs&) = delete;

  /// The C expression for the place that `offsets` (bytes) lead to from an object of `size` bytes, and perhaps one item of `item_size` more: each but the last is that of a pointer, the next one
  /// counts from where it points. "hidden", "items[2]", "left->data[5]". The object is of the struct of that size that a parameter, else a variable, of the
  /// function at link-time address `function` points to. Empty where the file does not say. Thread-safe.
  [[nodiscard]] std::string NameOf(std::uint64_t function, std::uint64_t size, std::uint64_t item_size, std::span<const std::int64_t> offsets);

 private:
  struct Impl;
  explicit DwarfStructs(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace pygc::elf
