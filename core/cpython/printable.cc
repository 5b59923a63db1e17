#include "core/cpython/printable.h"

#include <algorithm>
#include <iterator>

namespace pygc::cpython {
namespace {

struct Run {
  std::uint32_t first, last;
  std::uint8_t since_minor;
};

constexpr Run kRuns[] = {
#define PYGC_PRINTABLE(first, last, since_minor) {first, last, since_minor},
#include "core/cpython/printable.def"
#undef PYGC_PRINTABLE
};

}  // namespace

bool IsPrintable(PythonVersion version, std::uint32_t code_point) noexcept {
  if (version.major < 3) return code_point >= 0x20 && code_point < 0x7F;
  const Run* const after = std::upper_bound(std::begin(kRuns), std::end(kRuns), code_point, [](std::uint32_t c, const Run& r) { return c < r.first; });
  if (after == std::begin(kRuns)) return false;
  const Run& run = *(after - 1);
  return code_point <= run.last && version.minor >= run.since_minor;
}

}  // namespace pygc::cpython
