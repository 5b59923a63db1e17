#include "core/elf/decompress.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <memory>

#include "core/base/byte_reader.h"
#include "core/elf/file_kind.h"

namespace pygc::elf {
namespace {

using Sink = std::function<bool(std::span<const std::byte>)>;

// A change shows where the unpacker cannot go on, or in the checksum behind all: that is no sooner than it is.
std::string ChangedText(std::uint64_t at, std::uint64_t of, std::string_view why, std::uint64_t out) {
  return fmt::format("it was changed after it was packed, at or before byte {} of {} ({}); {} bytes come out before that", at, of, why, out);
}

constexpr std::size_t kPieceBytes = 1u << 18;

std::string WordsOf(archive* a) {
  const char* text = archive_error_string(a);
  return text != nullptr ? text : "";
}

/// Hands pieces on, as long as they are not more than is allowed.
class BoundedSink {
 public:
  BoundedSink(std::uint64_t packed_bytes, std::uint64_t max_bytes, std::uint32_t max_ratio, const Sink& sink)
      : packed_bytes_(packed_bytes),
        max_bytes_(max_bytes),
        max_ratio_(max_ratio),
        by_ratio_(std::max<std::uint64_t>(1u << 20, packed_bytes) * max_ratio),
        sink_(sink) {}

  Result<void> Take(std::span<const std::byte> piece, Unpacked& out) const {
    if (piece.size() > max_bytes_ - out.bytes || piece.size() > by_ratio_ - std::min(by_ratio_, out.bytes)) {
      return Fail(ErrorCode::kLimit, "unpacking stopped at {} bytes: {} packed bytes would give more than is allowed ({} bytes, {}-fold)", out.bytes,
                  packed_bytes_, max_bytes_, max_ratio_);
    }
    out.bytes += piece.size();
    if (!piece.empty() && !sink_(piece)) return Fail(ErrorCode::kCancelled, "unpacking was stopped");
    return {};
  }

 private:
  std::uint64_t packed_bytes_, max_bytes_;
  std::uint32_t max_ratio_;
  std::uint64_t by_ratio_;
  const Sink& sink_;
};

/// zlib's inflate, which holds each member's length and CRC against its trailer (RFC 1952); libarchive skips the trailer.
class Inflater {
 public:
  Inflater() : ready_(inflateInit2(&stream_, 16 + MAX_WBITS) == Z_OK) {}
  ~Inflater() {
    if (ready_) inflateEnd(&stream_);
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  [[nodiscard]] bool ready() const noexcept { return ready_; }

  /// Unpacks as much of `packed` as fits into `out`; returns zlib's status, what was made, and takes what was used off `packed`.
  std::pair<int, std::size_t> Step(std::span<const std::byte>& packed, std::span<std::byte> out) {
    const std::size_t given = std::min<std::size_t>(packed.size(), 1u << 30);  // zlib counts in 32 bits
    stream_.next_in = reinterpret_cast<z_const Bytef*>(const_cast<std::byte*>(packed.data()));  // not written to
    stream_.avail_in = static_cast<uInt>(given);
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(out.size());
    const int status = inflate(&stream_, Z_NO_FLUSH);
    packed = packed.subspan(given - stream_.avail_in);
    return {status, out.size() - stream_.avail_out};
  }
  bool NextMember() { return inflateReset(&stream_) == Z_OK; }
  [[nodiscard]] const char* words() const noexcept { return stream_.msg != nullptr ? stream_.msg : "damaged data"; }

 private:
  z_stream stream_{};
  bool ready_;
};

Result<Unpacked> Gunzip(std::span<const std::byte> packed, const BoundedSink& sink) {
  Inflater inflater;
  if (!inflater.ready()) return Fail(ErrorCode::kHost, "cannot start zlib");
  Unpacked out;
  std::vector<std::byte> piece(kPieceBytes);
  const std::uint64_t all = packed.size();
  for (;;) {
    const std::uint64_t before = packed.size();
    const auto [status, made] = inflater.Step(packed, piece);
    if (auto taken = sink.Take(std::span(piece).first(made), out); !taken) return tl::unexpected(taken.error());
    if (status == Z_OK && (made != 0 || packed.size() != before)) continue;
    if (status == Z_STREAM_END) {
      if (packed.empty() || IsZero(packed)) return out;  // tapes and disks are padded so
      if (CompressionOf(packed) == Compression::kGzip && inflater.NextMember()) continue;
      out.remark = fmt::format("{} bytes that are no gzip data follow the packed ones; they were left out, as gzip does", packed.size());
      return out;
    }
    out.truncated = true;
    if ((status == Z_OK || status == Z_BUF_ERROR) && packed.empty()) {
      out.damage = "the file ends inside its packed data";
    } else {
      out.wrong = true;
      out.damage = ChangedText(all - packed.size(), all, inflater.words(), out.bytes);
    }
    return out;
  }
}

/// lz4 frames and zstd frames may do without a checksum of their contents. lz4: doc/lz4_Frame_format.md, FLG bit 2; zstd: RFC 8878, 3.1.1.1.1, bit 2.
bool HasChecksum(std::span<const std::byte> packed, Compression kind) {
  if (packed.size() < 5) return true;
  if (kind != Compression::kLz4 && kind != Compression::kZstd) return true;
  return (packed[4] & std::byte{4}) != std::byte{0};
}

Result<Unpacked> ByLibarchive(std::span<const std::byte> packed, Compression kind, const BoundedSink& sink) {
  const std::unique_ptr<archive, int (*)(archive*)> reader(archive_read_new(), archive_read_free);
  if (reader == nullptr) return Fail(ErrorCode::kHost, "cannot start libarchive");
  archive* a = reader.get();
  // Only filters that work inside this process: libarchive would run a program for others.
  archive_read_support_filter_xz(a);
  archive_read_support_filter_lz4(a);
  archive_read_support_filter_zstd(a);
  archive_read_support_format_raw(a);
  Unpacked out;
  const auto damaged = [&] {
    const std::string words = WordsOf(a);
    out.truncated = true;
    out.wrong = words.find("runcated") == std::string::npos && words.find("No progress") == std::string::npos;
    const auto used = static_cast<std::uint64_t>(std::max<la_int64_t>(archive_filter_bytes(a, -1), 0));
    out.damage = out.wrong ? ChangedText(used, packed.size(), words.empty() ? "damaged data" : words, out.bytes) : "the file ends inside its packed data";
  };
  archive_entry* entry = nullptr;
  if (archive_read_open_memory(a, packed.data(), packed.size()) != ARCHIVE_OK || archive_read_next_header(a, &entry) != ARCHIVE_OK) {
    damaged();
    return out;
  }
  if (archive_filter_count(a) < 2) return Fail(ErrorCode::kNotAnalysable, "cannot unpack: the head of the packed data is damaged");
  for (;;) {
    const void* piece = nullptr;
    std::size_t size = 0;
    la_int64_t offset = 0;
    const int status = archive_read_data_block(a, &piece, &size, &offset);
    if (status == ARCHIVE_EOF) break;
    if (status != ARCHIVE_OK && status != ARCHIVE_WARN) {
      damaged();
      return out;
    }
    if (auto taken = sink.Take({static_cast<const std::byte*>(piece), size}, out); !taken) return tl::unexpected(taken.error());
  }
  if (!HasChecksum(packed, kind)) out.remark = "its packed data carry no checksum, so a change in them cannot be noticed";
  return out;
}

}  // namespace

Result<Unpacked> Decompress(std::span<const std::byte> packed, std::uint64_t max_bytes, std::uint32_t max_ratio,
                            const std::function<bool(std::span<const std::byte>)>& sink) {
  const Compression kind = CompressionOf(packed);
  if (kind == Compression::kNone) return Fail(ErrorCode::kNotAnalysable, "cannot unpack: not a zstd, lz4, gzip or xz stream");
  const BoundedSink bounded(packed.size(), max_bytes, max_ratio, sink);
  return kind == Compression::kGzip ? Gunzip(packed, bounded) : ByLibarchive(WithoutSkippableFrames(packed), kind, bounded);
}

}  // namespace pygc::elf
