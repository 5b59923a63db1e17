// Variables of an interpreter whose file has no symbols, found by what lies in them. Each kind proves itself: its elements say at which place of an array they
// lie, or stand beside the text that the object they refer to has.
#pragma once

#include <string_view>
#include <vector>

#include "core/base/address.h"
#include "core/cpython/runtime.h"
#include "core/target/process.h"

namespace pygc::audit {

struct UnnamedStatics {
  struct Slot {
    Address slot = 0;
    std::string_view name;  // of the variable in CPython's source; static text
  };
  std::vector<Slot> owned;   // pointers that hold a count, in any order
  std::vector<AddressRange> free_lists;  // arrays of objects that wait for their next use: no word of them holds a count
  AddressRange type_cache;   // empty where none was found, or where it lies in the interpreter's state
  std::vector<Address> interned;  // dicts of interned strings: neither keys nor values hold a count
};

/// Looks through the data of all modules. LIMIT: 32 MiB of them.
[[nodiscard]] UnnamedStatics FindUnnamedStatics(const target::Process& process, const cpython::Runtime& runtime);

}  // namespace pygc::audit
