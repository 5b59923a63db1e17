// Variables of the interpreter's own module, by symbol.
#pragma once

#include <string_view>

#include "core/base/address.h"
#include "core/cpython/runtime.h"
#include "core/target/process.h"

namespace pygc::audit {

/// Calls `visit(AddressRange)` for each variable of that name in the module that holds the interpreter: several files may have a static one of the same name.
/// None where the module's file is not known or has no symbols.
template <typename Visit>
void ForEachStaticVariable(const target::Process& process, const cpython::Runtime& runtime, std::string_view name, Visit&& visit) {
  if (runtime.module_index >= process.modules.size() || !process.modules[runtime.module_index].file) return;
  const target::Module& module = process.modules[runtime.module_index];
  for (const auto& s : module.file->symbols()) {
    const Address begin = s.address + static_cast<Address>(module.load_bias);
    if (s.name == name && s.is_object) visit(AddressRange{begin, begin + s.size});
  }
}

}  // namespace pygc::audit
