#include "core/report/numbers.h"

#include <fmt/format.h>

namespace pygc::report {

std::string Thousands(std::uint64_t n) {
  std::string out = std::to_string(n);
  for (std::size_t i = out.size(); i > 3; i -= 3) out.insert(i - 3, 1, ',');
  return out;
}

std::string Bytes(std::uint64_t n) {
  constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
  double value = static_cast<double>(n);
  std::size_t unit = 0;
  while (value >= 999.5 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  return unit == 0 || value >= 99.95 ? fmt::format("{:.0f} {}", value, kUnits[unit]) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string Counted(std::uint64_t n, std::string_view noun) {
  std::string plural(noun);
  if (n != 1) {
    if (plural.ends_with('y') && !plural.ends_with("ey")) {
      plural.replace(plural.size() - 1, 1, "ies");
    } else if (plural.ends_with('s')) {
      plural += "es";
    } else {
      plural += 's';
    }
  }
  return Thousands(n) + " " + plural;
}

std::string LevelText(std::uint32_t depth) { return depth == ShownDepth(depth) ? "" : fmt::format("(level {}) ", Thousands(depth)); }

}  // namespace pygc::report
