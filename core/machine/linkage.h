// How calls between modules are bound in the target: what a slot of a global offset table stands for, by the relocation that fills it, and which entry
// points are library functions that the machine models or stops at.
// Built lazily, one module at a time; const and thread-safe. One Linkage serves every machine of a process.
#pragma once

#include <memory>
#include <string_view>

#include "core/base/address.h"
#include "core/machine/library_functions.h"
#include "core/target/process.h"

namespace pygc::machine {

/// A function with a name.
struct NamedFunction {
  std::string_view name;  // lives as long as the process
  LibraryFunction function = LibraryFunction::kNone;
};

/// What a pointer slot that a relocation fills stands for.
struct LinkSlot {
  NamedFunction target;
  bool is_unbound = false;  // the dynamic linker had not bound it yet: `address` is where it would lead
  Address address = 0;      // of an unbound slot: the definition, or 0 where no module has it or several differ
};

class Linkage {
 public:
  explicit Linkage(const target::Process& process);
  ~Linkage();
  Linkage(const Linkage&) = delete;
  Linkage& operator=(const Linkage&) = delete;

  /// The slot at `slot`, or nullopt when no relocation with a name fills it.
  [[nodiscard]] std::optional<LinkSlot> FindSlot(Address slot) const;
  /// The library function whose entry point is `entry`; function kNone when it is none that needs care.
  [[nodiscard]] NamedFunction FindFunction(Address entry) const;
  /// Where the exported symbol `name` is defined: the one definition, or the executable's where there are several; 0 when none or not decidable.
  [[nodiscard]] Address FindDefinition(std::string_view name) const;

  [[nodiscard]] const target::Process& process() const noexcept;

 private:
  struct ModuleLinks;
  struct Impl;
  [[nodiscard]] const ModuleLinks* LinksAt(Address a) const;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pygc::machine
