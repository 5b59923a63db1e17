// Hidden statics, found by running the interpreter's exported functions in the bounded machine and looking at what they read: where neither a symbol nor
// _Py_DebugOffsets says where a static lies. No pattern of any compiler's code is known here. Nothing runs in the target.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "core/machine/traverse.h"
#include "core/target/process.h"

namespace pygc::cpython {

/// Runs functions of one module. Costs a few milliseconds to make: only where symbols are missing.
class Accessors {
 public:
  /// Both outlive it.
  Accessors(const target::Process& process, const target::Module& module);

  /// The static that the exported function `name` returns the value of: read as `bytes` bytes from the module's writable data, as the last such read, with
  /// the value that it returns. nullopt: no such function, it stopped, or its result comes from elsewhere.
  [[nodiscard]] std::optional<Address> Returned(std::string_view name, std::uint8_t bytes);
  /// The same of the function at `function`, which returns anything: the `index`-th different place of `bytes` bytes in the module's writable data that it
  /// reads, also where it stops later.
  [[nodiscard]] std::optional<Address> Read(Address function, std::uint8_t bytes, std::size_t index = 0);
  [[nodiscard]] std::optional<Address> Read(std::string_view name, std::uint8_t bytes, std::size_t index = 0);

 private:
  [[nodiscard]] machine::RunOutcome Run(Address function);
  [[nodiscard]] bool IsStatic(const machine::TracedRead& read, std::uint8_t bytes) const;

  const target::Module& module_;
  std::vector<AddressRange> data_;
  machine::TraverseMachine machine_;
  machine::ReadTrace trace_;
};

}  // namespace pygc::cpython
