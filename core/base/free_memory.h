// Gives the memory of a container back before its end of life.
#pragma once

#include <vector>

namespace pygc {

/// Empties `v` and gives its memory back, which assigning {} does not: that takes an empty list of elements and keeps the room for them.
template <typename T>
void FreeMemory(std::vector<T>& v) {
  std::vector<T>().swap(v);
}

}  // namespace pygc
