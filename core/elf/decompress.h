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
  bool truncated = false;   // the stream ended early or is damaged: something is missing behind these bytes, or wrong among them
  bool wrong = false;       // not only cut: bytes that came out may be others than were packed
  std::string damage;       // of either, in words
  std::string remark;       // something odd that leaves the bytes sound: other data behind the stream; no checksum in it
};

/// Unpacks `packed`, checking whatever checksums the format has, and hands pieces in order to `sink`, which returns false to stop (kCancelled).
/// Streams that follow each other are one (gzip members, xz streams, zstd and lz4 frames), as for the tools of these formats.
/// Errors: kLimit (more than `max_bytes`, or more than `max_ratio` times the input), kNotAnalysable (not such a stream at all), kCancelled.
[[nodiscard]] Result<Unpacked> Decompress(std::span<const std::byte> packed, std::uint64_t max_bytes, std::uint32_t max_ratio,
                                          const std::function<bool(std::span<const std::byte>)>& sink);

}  // namespace pygc::elf
