// Version numbers as text.
#include "core/cpython/version.h"

#include <fmt/format.h>

namespace pygc::cpython {

std::string PythonVersion::text() const {
  std::string out = fmt::format("{}.{}.{}", major, minor, micro);
  switch (level) {
    case 0xA: return out + fmt::format("a{}", serial);
    case 0xB: return out + fmt::format("b{}", serial);
    case 0xC: return out + fmt::format("rc{}", serial);
    default: return out;
  }
}

}  // namespace pygc::cpython
