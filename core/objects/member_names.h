// What the C code of an extension module calls the places that the machine found references at: by the DWARF of the module's file, else by a table of a few types
// that many programs have. For labels alone.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "core/cpython/layout.h"
#include "core/elf/dwarf_structs.h"
#include "core/objects/type_table.h"
#include "core/target/process.h"

namespace pygc::objects {

class MemberNames {
 public:
  MemberNames(const target::Process& process, const cpython::Layout& layout) : process_(&process), layout_(&layout) {}
  /// The C expression for the place that `offsets` lead to from an object of `type`, as elf::DwarfStructs::NameOf() says it; empty where nothing does.
  [[nodiscard]] std::string Of(const TypeFacts& type, std::span<const std::int64_t> offsets) const;

 private:
  [[nodiscard]] std::string FromDwarf(const TypeFacts& type, std::span<const std::int64_t> offsets) const;

  const target::Process* process_;
  const cpython::Layout* layout_;
  mutable std::mutex mutex_;
  mutable std::map<const target::Module*, std::unique_ptr<elf::DwarfStructs>> modules_;  // nullptr: has none
};

}  // namespace pygc::objects
