// Types of C code that break the collector's rules: each such type is one finding, with its module and what to change. Judged by their instances in the heap.
#pragma once

#include <vector>

#include "core/engine/command.h"
#include "core/report/verify_report.h"

namespace pygc::engine {

/// What each rule says stands in TypeFault::rule and in core/engine/type_rules.cc. Types of CPython itself (the interpreter's module and its lib-dynload) are
/// held to the same rules where breaking one is a fault; not to those that it keeps on purpose (types without GC that hold objects).
[[nodiscard]] report::TypeRules CheckTypeRules(const CommandInput& in);

}  // namespace pygc::engine
