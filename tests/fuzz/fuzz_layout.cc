// Any text as a layout file (--layout FILE, the built-in tables): refused with a line, or a layout whose every offset is within its bounds.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "core/cpython/layout.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace pygc;
  const auto layout = cpython::ParseLayout({reinterpret_cast<const char*>(data), size}, "fuzzed");
  if (!layout) {
    if (layout.error().message.empty() || layout.error().message.size() > 4096 + size) std::abort();
    return 0;
  }
  for (std::size_t i = 0; i < static_cast<std::size_t>(cpython::Field::kCount); ++i) {
    const auto field = static_cast<cpython::Field>(i);
    if (layout->Has(field) && layout->Width(field) > 1u << 20) std::abort();
  }
  return 0;
}
