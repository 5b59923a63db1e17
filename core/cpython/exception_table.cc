#include "core/cpython/exception_table.h"

#include <optional>

namespace pygc::cpython {
namespace {

// Six bits a byte, the highest first; bit 6 says that more follow.
std::optional<std::uint64_t> TakeNumber(std::span<const std::byte>& rest) noexcept {
  constexpr unsigned kMore = 0x40, kValue = 0x3F, kMaxBytes = 6;
  std::uint64_t value = 0;
  for (unsigned i = 0; i < kMaxBytes && !rest.empty(); ++i) {
    const auto byte = static_cast<unsigned>(rest.front());
    rest = rest.subspan(1);
    value = value << 6 | (byte & kValue);
    if ((byte & kMore) == 0) return value;
  }
  return std::nullopt;
}

}  // namespace

std::uint64_t HandlerDepthAt(std::span<const std::byte> table, std::int64_t code_offset) noexcept {
  constexpr std::int64_t kUnit = 2;  // bytes of a _Py_CODEUNIT
  if (code_offset < 0) return 0;
  const auto unit = static_cast<std::uint64_t>(code_offset / kUnit);
  while (!table.empty()) {  // entries do not overlap and rise
    const auto start = TakeNumber(table), size = TakeNumber(table), target = TakeNumber(table), depth_and_lasti = TakeNumber(table);
    if (!start || !size || !target || !depth_and_lasti || unit < *start) return 0;
    if (unit - *start < *size) return *depth_and_lasti >> 1;
  }
  return 0;
}

}  // namespace pygc::cpython
