// The contract's word for what runs when an object dies.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/heap/heap_snapshot.h"

namespace pygc::report {

/// "__del__", "tp_finalize" or "tp_del"; empty where an object of this type with these ObjectFlags has none.
[[nodiscard]] inline std::string_view FinalizerKind(const heap::TypeRecord& type, std::uint8_t flags) noexcept {
  switch (type.finalizer) {
    case heap::TypeRecord::Finalizer::kDel:
      return "__del__";
    case heap::TypeRecord::Finalizer::kTpFinalize:
      return "tp_finalize";
    case heap::TypeRecord::Finalizer::kTpDel:
      return "tp_del";
    case heap::TypeRecord::Finalizer::kNone:
      break;
  }
  // The object itself decides [2.7]: a generator suspended inside a try block (gen_del), or a classic instance whose class has __del__.
  if (!(flags & heap::kLegacyFinalizer)) return {};
  return type.name == "generator" ? "tp_del" : "__del__";
}

}  // namespace pygc::report
