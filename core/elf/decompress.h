// Unpacking of single compressed streams (zstd, lz4, gzip, xz), bounded in bytes and ratio. Archives with several members are not for here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/base/result.h"

namespace pygc::elf {

/// What came out of a stream.
struct Unpacked {
  std::uint64_t bytes = 0;
  bool truncated = false;   // the stream ended early or is damaged; what came before is good
  std::string damage;       // the decompressor's words for it
};

/// Unpacks `packed`, handing pieces in order to `sink`, which returns false to stop (kCancelled).
/// Errors: kLimit (more than `max_bytes`, or more than `max_ratio` times the input), kNotAnalysable (not such a stream at all), kCancelled.
[[nodiscard]] Result<Unpacked> Decompress(std::span<const std::byte> packed, std::uint64_t max_bytes, std::uint32_t max_ratio,
                                          const std::function<bool(std::span<const std::byte>)>& sink);

}  // namespace pygc::elf
