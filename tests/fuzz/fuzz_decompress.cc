// Any bytes as a compressed core: bounded in bytes and ratio, and what comes out before the damage is handed on in order.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "core/elf/decompress.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::uint64_t kMostBytes = 1u << 20;
  const std::vector<std::byte> packed(reinterpret_cast<const std::byte*>(data), reinterpret_cast<const std::byte*>(data) + size);
  std::uint64_t seen = 0;
  const auto result = pygc::elf::Decompress(packed, kMostBytes, 200, [&seen](std::span<const std::byte> piece) {
    seen += piece.size();
    return true;
  });
  if (seen > kMostBytes + (1u << 20) || (result && result->bytes != seen)) std::abort();
  return 0;
}
