// Gives the memory of a container back before its end of life.
#pragma once

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <vector>

namespace pygc {

/// Empties `v` and gives its memory back, which assigning {} does not: that takes an empty list of elements and keeps the room for them.
template <typename T>
void FreeMemory(std::vector<T>& v) {
  std::vector<T>().swap(v);
}

/// After much was freed in pieces, by several threads: gives the allocator's free pages back to the system. glibc's would keep them, and what follows comes in
/// large blocks of its own.
inline void TrimFreedMemory() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

}  // namespace pygc
