// References that the interpreter itself holds in its structures: modules, builtins, thread states, type caches. No stacks and no module data.
#pragma once

#include <string_view>
#include <vector>

#include "core/base/address.h"
#include "core/cpython/runtime.h"
#include "core/target/process.h"

namespace pygc::audit {

/// One reference with a count, held by a structure of the interpreter.
struct RootReference {
  Address slot = 0;
  Address referent = 0;
  std::string_view where;  // "PyInterpreterState"; lives as long as the runtime's layout
  std::string_view member; // "imports.modules"
};

struct InterpreterRoots {
  std::vector<RootReference> references;   // by slot, each slot once
  std::vector<AddressRange> closed;        // structures of which every word is accounted for: counted above, or borrowed
  std::vector<Address> waiting;            // what lies in blocks in use and holds nothing: see FreeLists; sorted
  std::vector<Address> uncounted_tables;   // dicts whose keys and values hold no count: the table of interned strings
};

/// Reads them. What the layout does not name is left out: its words are possible references then.
[[nodiscard]] InterpreterRoots ReadInterpreterRoots(const target::Process& process, const cpython::Runtime& runtime);

}  // namespace pygc::audit
