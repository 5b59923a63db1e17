// Who holds an object that no object and no structure of the interpreter is known to hold: the words of native memory, stacks and registers that lead to it.
// For the few objects of a report; the audit (core/audit) does the same for all.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/engine/command.h"
#include "core/heap/root_set.h"

namespace pygc::engine {

struct NativeHolder {
  heap::RootKind kind = heap::RootKind::kNative;
  std::string place;  // "libfoo.so: table+0x18", "a block of 48 bytes at 0x..., which libfoo.so: head+0x0 leads to"
};

/// The nearest place with a word that leads to each of `objects`, where there is one in memory that is in use. A word may look like a reference by chance; its
/// count says that somebody holds one. Time: some passes over all writable memory.
[[nodiscard]] std::map<Address, NativeHolder> FindNativeHolders(const CommandInput& input, std::vector<Address> objects);

}  // namespace pygc::engine
