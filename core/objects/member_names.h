// What the C code of an extension module calls the places that the machine found references at, where the module's file has DWARF. For labels alone.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "core/elf/dwarf_structs.h"
#include "core/objects/type_table.h"
#include "core/target/process.h"

namespace pygc::objects {

class MemberNames {
 public:
  explicit MemberNames(const target::Process& process) : process_(&process) {}
  /// The C expression for the place that `offsets` lead to from an object of `type`, as elf::DwarfStructs::NameOf() says it; empty where nothing does.
  [[nodiscard]] std::string Of(const TypeFacts& type, std::span<const std::int64_t> offsets) const;

 private:
  const target::Process* process_;
  mutable std::mutex mutex_;
  mutable std::map<const target::Module*, std::unique_ptr<elf::DwarfStructs>> modules_;  // nullptr: has none
};

}  // namespace pygc::objects
