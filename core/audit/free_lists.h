// CPython's free lists: where the interpreter keeps objects and key tables for their next use. An entry of such a list that was taken keeps its pointer, and
// what waits keeps the pointers that it gave up: none of these words is a reference, though the allocator calls the memory used.
#pragma once

#include <vector>

#include "core/base/address.h"
#include "core/cpython/runtime.h"
#include "core/target/process.h"

namespace pygc::audit {

struct FreeLists {
  std::vector<AddressRange> places;  // the lists themselves: no word of them holds a reference
  std::vector<Address> waiting;      // objects and key tables on them whose memory may still hold pointers; sorted
  std::vector<Address> types;        // where objects on them keep their type and their reference to it: ob_type of instances of heap types
};

/// Those of every interpreter, and of every thread where they are its own. What the layout, or before 3.10 a symbol, does not name is left out. Up to 3.9 the
/// first element of the tuples' array is the empty tuple, which it owns: it is not among `places`.
/// CPython: struct _Py_list_state and so on, Include/internal/pycore_interp.h [3.10, 3.11]; pycore_freelist.h [3.13], pycore_freelist_state.h [3.14+]; static
/// free_list, keys_free_list, slice_cache of Objects/ [2.7-3.9].
[[nodiscard]] FreeLists ReadFreeLists(const target::Process& process, const cpython::Runtime& runtime);

}  // namespace pygc::audit
