#include "core/cpython/accessor.h"

#include <algorithm>
#include <array>

#include "core/cpython/interpreter_site.h"

namespace pygc::cpython {
namespace {

machine::MachineOptions Options() {
  machine::MachineOptions options;
  options.max_decoded_instructions = 1u << 14;
  return options;
}

}  // namespace

Accessors::Accessors(const target::Process& process, const target::Module& module)
    : module_(module), data_(WritableData(process, module)), machine_(process, Options()) {}

machine::RunOutcome Accessors::Run(Address function) {
  trace_.reads.clear();
  // No real arguments: a function of a module that takes `self` and arguments and looks at neither gets NULL for both.
  return machine_.RunFunction(function, std::array<std::uint64_t, 2>{}, &trace_);
}

bool Accessors::IsStatic(const machine::TracedRead& read, std::uint8_t bytes) const {
  return read.size == bytes && read.address % bytes == 0 &&
         std::any_of(data_.begin(), data_.end(), [&](const AddressRange& r) { return r.Contains(read.address, bytes); });
}

std::optional<Address> Accessors::Returned(std::string_view name, std::uint8_t bytes) {
  const std::optional<Address> function = SymbolAddress(module_, name);
  if (!function) return std::nullopt;
  const machine::RunOutcome outcome = Run(*function);
  if (!outcome.is_exact()) return std::nullopt;
  const auto last = std::find_if(trace_.reads.rbegin(), trace_.reads.rend(), [&](const machine::TracedRead& r) { return IsStatic(r, bytes); });
  if (last == trace_.reads.rend() || last->value != outcome.result) return std::nullopt;
  return last->address;
}

std::optional<Address> Accessors::Read(Address function, std::uint8_t bytes, std::size_t index) {
  (void)Run(function);
  std::vector<Address> seen;
  for (const machine::TracedRead& r : trace_.reads) {
    if (!IsStatic(r, bytes) || std::find(seen.begin(), seen.end(), r.address) != seen.end()) continue;
    if (seen.size() == index) return r.address;
    seen.push_back(r.address);
  }
  return std::nullopt;
}

std::optional<Address> Accessors::Read(std::string_view name, std::uint8_t bytes, std::size_t index) {
  const std::optional<Address> function = SymbolAddress(module_, name);
  return function ? Read(*function, bytes, index) : std::nullopt;
}

}  // namespace pygc::cpython
