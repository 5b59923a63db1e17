#include "core/elf/decompress.h"

#include <archive.h>
#include <archive_entry.h>

#include <algorithm>
#include <memory>

namespace pygc::elf {
namespace {

std::string WordsOf(archive* a) {
  const char* text = archive_error_string(a);
  return text != nullptr ? text : "unknown error of libarchive";
}

}  // namespace

Result<Unpacked> Decompress(std::span<const std::byte> packed, std::uint64_t max_bytes, std::uint32_t max_ratio,
                            const std::function<bool(std::span<const std::byte>)>& sink) {
  const std::unique_ptr<archive, int (*)(archive*)> reader(archive_read_new(), archive_read_free);
  if (reader == nullptr) return Fail(ErrorCode::kHost, "cannot start libarchive");
  archive* a = reader.get();
  // Only filters that work inside this process: libarchive would run a program for others.
  archive_read_support_filter_gzip(a);
  archive_read_support_filter_xz(a);
  archive_read_support_filter_lz4(a);
  archive_read_support_filter_zstd(a);
  archive_read_support_format_raw(a);
  archive_entry* entry = nullptr;
  if (archive_read_open_memory(a, packed.data(), packed.size()) != ARCHIVE_OK || archive_read_next_header(a, &entry) != ARCHIVE_OK) {
    return Fail(ErrorCode::kNotAnalysable, "cannot unpack: {}", WordsOf(a));
  }
  if (archive_filter_count(a) < 2) return Fail(ErrorCode::kNotAnalysable, "cannot unpack: not a zstd, lz4, gzip or xz stream");
  const std::uint64_t by_ratio = std::max<std::uint64_t>(1u << 20, packed.size()) * max_ratio;
  Unpacked out;
  for (;;) {
    const void* piece = nullptr;
    std::size_t size = 0;
    la_int64_t offset = 0;
    const int status = archive_read_data_block(a, &piece, &size, &offset);
    if (status == ARCHIVE_EOF) return out;
    if (status != ARCHIVE_OK && status != ARCHIVE_WARN) {
      out.truncated = true;
      out.damage = WordsOf(a);
      return out;
    }
    if (size > max_bytes - out.bytes || size > by_ratio - std::min(by_ratio, out.bytes)) {
      return Fail(ErrorCode::kLimit, "unpacking stopped at {} bytes: {} packed bytes would give more than is allowed ({} bytes, {}-fold)", out.bytes,
                  packed.size(), max_bytes, max_ratio);
    }
    out.bytes += size;
    if (!sink({static_cast<const std::byte*>(piece), size})) return Fail(ErrorCode::kCancelled, "unpacking was stopped");
  }
}

}  // namespace pygc::elf
