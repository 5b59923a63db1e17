#include "core/elf/decompress.h"

#include <archive.h>
#include <archive_entry.h>
#include <doctest/doctest.h>

#include <random>

#include "core/elf/file_kind.h"

namespace pygc::elf {
namespace {

std::vector<std::byte> Pack(std::span<const std::byte> bytes, int (*filter)(archive*)) {
  std::vector<std::byte> out(bytes.size() + (1u << 20));
  std::size_t used = 0;
  archive* a = archive_write_new();
  REQUIRE(filter(a) == ARCHIVE_OK);
  archive_write_set_format_raw(a);
  archive_write_set_bytes_per_block(a, 0);
  REQUIRE(archive_write_open_memory(a, out.data(), out.size(), &used) == ARCHIVE_OK);
  archive_entry* entry = archive_entry_new();
  archive_entry_set_filetype(entry, AE_IFREG);
  archive_write_header(a, entry);
  archive_write_data(a, bytes.data(), bytes.size());
  archive_write_close(a);
  archive_entry_free(entry);
  archive_write_free(a);
  out.resize(used);
  return out;
}

std::vector<std::byte> Random(std::size_t size) {
  std::mt19937 random(9);
  std::vector<std::byte> bytes(size);
  for (std::byte& b : bytes) b = static_cast<std::byte>(random());
  return bytes;
}

}  // namespace

TEST_CASE("skippable frames before the packed data, and between two parts of it, are passed over") {
  const auto skippable = [](std::byte variant, std::size_t size) {
    std::vector<std::byte> frame{std::byte{0x50} | variant, std::byte{0x2A}, std::byte{0x4D}, std::byte{0x18}, static_cast<std::byte>(size), {}, {}, {}};
    frame.resize(8 + size, std::byte{0xFD});
    return frame;
  };
  for (const auto& [filter, kind] : {std::pair(&archive_write_add_filter_zstd, Compression::kZstd), std::pair(&archive_write_add_filter_lz4, Compression::kLz4)}) {
    const auto bytes = Random(100000), packed = Pack(bytes, filter);
    std::vector<std::byte> file = skippable(std::byte{0}, 4), out;
    for (const auto& part : {skippable(std::byte{0xF}, 0), packed, skippable(std::byte{7}, 20), packed}) file.insert(file.end(), part.begin(), part.end());
    CHECK(CompressionOf(file) == kind);
    const auto whole = Decompress(file, 1u << 30, 2000, [&](std::span<const std::byte> piece) {
      out.insert(out.end(), piece.begin(), piece.end());
      return true;
    });
    REQUIRE(whole.has_value());
    CHECK(!whole->truncated);
    REQUIRE(out.size() == 2 * bytes.size());
    CHECK(std::equal(bytes.begin(), bytes.end(), out.begin() + static_cast<std::ptrdiff_t>(bytes.size())));
  }
  const auto nothing = skippable(std::byte{0}, 4);
  CHECK(CompressionOf(nothing) == Compression::kNone);
  CHECK(CompressionOf(std::span(nothing).first(10)) == Compression::kNone);
  CHECK(DescribeFile(nothing) == "a zstd or lz4 file without any frame of data");
}

TEST_CASE("what each format packs comes out again, and a cut stream gives its beginning") {
  const std::pair<int (*)(archive*), Compression> formats[] = {{archive_write_add_filter_gzip, Compression::kGzip},
                                                               {archive_write_add_filter_xz, Compression::kXz},
                                                               {archive_write_add_filter_lz4, Compression::kLz4},
                                                               {archive_write_add_filter_zstd, Compression::kZstd}};
  for (const auto& [filter, kind] : formats) {
    const auto bytes = Random(kind == Compression::kLz4 ? 12u << 20 : 1u << 20);  // lz4 packs blocks of 4 MiB
    const auto packed = Pack(bytes, filter);
    CHECK(CompressionOf(packed) == kind);
    std::vector<std::byte> out;
    const auto sink = [&](std::span<const std::byte> piece) {
      out.insert(out.end(), piece.begin(), piece.end());
      return true;
    };
    const auto whole = Decompress(packed, 1u << 30, 2000, sink);
    REQUIRE(whole.has_value());
    CHECK(!whole->truncated);
    CHECK(out == bytes);
    out.clear();
    const auto cut = Decompress(std::span(packed).first(packed.size() / 2), 1u << 30, 2000, sink);
    REQUIRE(cut.has_value());
    CHECK(cut->truncated);
    CHECK(!cut->damage.empty());
    CHECK(out.size() < bytes.size());
    CHECK(std::equal(out.begin(), out.end(), bytes.begin()));
  }
}

TEST_CASE("a stream that was changed is told from a whole one and from one that is only cut") {
  std::vector<std::byte> bytes(1u << 20);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * i >> 7);  // packs to a part of it
  const auto ignore = [](std::span<const std::byte>) { return true; };
  const auto unpack = [&](const std::vector<std::byte>& packed) { return Decompress(packed, 1u << 30, 2000, ignore).value(); };
  for (const auto filter : {archive_write_add_filter_gzip, archive_write_add_filter_xz, archive_write_add_filter_zstd, archive_write_add_filter_lz4}) {
    auto packed = Pack(bytes, filter);
    const bool checks = unpack(packed).remark.empty();
    CHECK(!unpack(packed).truncated);
    packed[packed.size() / 2] ^= std::byte{0x10};
    const auto changed = Decompress(packed, 1u << 30, 2000, ignore);
    if (!checks || !changed) continue;  // an lz4 frame need not have a checksum
    CHECK(changed->truncated);
    CHECK(changed->wrong);
  }
  const auto gz = Pack(bytes, archive_write_add_filter_gzip);
  for (const std::size_t from_end : {8u, 4u, 1u}) {  // CRC and length
    auto changed = gz;
    changed[changed.size() - from_end] ^= std::byte{1};
    CHECK(unpack(changed).wrong);
  }
  for (const std::size_t from_end : {1u, 8u, 9u, 2000u}) {
    const auto cut = unpack({gz.begin(), gz.end() - static_cast<std::ptrdiff_t>(from_end)});
    CHECK(cut.truncated);
    CHECK(!cut.wrong);
  }
  auto two = gz;
  two.insert(two.end(), gz.begin(), gz.end());
  CHECK(unpack(two).bytes == 2 * bytes.size());
  CHECK(!unpack(two).truncated);
  two.back() ^= std::byte{1};
  CHECK(unpack(two).wrong);
  auto padded = gz;
  padded.resize(padded.size() + 512);
  CHECK(unpack(padded).remark.empty());
  padded.back() = std::byte{1};
  CHECK(!unpack(padded).truncated);
  CHECK(!unpack(padded).remark.empty());
}

TEST_CASE("bombs, other data and a sink that has enough end it") {
  const auto bomb = Pack(std::vector<std::byte>(64u << 20), archive_write_add_filter_zstd);
  const auto ignore = [](std::span<const std::byte>) { return true; };
  CHECK(Decompress(bomb, 1u << 20, 2000, ignore).error().code == ErrorCode::kLimit);
  CHECK(Decompress(bomb, 1ull << 40, 10, ignore).error().code == ErrorCode::kLimit);
  CHECK(Decompress(bomb, 1ull << 40, 2000, ignore).value().bytes == 64u << 20);
  CHECK(Decompress(bomb, 1ull << 40, 2000, [](std::span<const std::byte>) { return false; }).error().code == ErrorCode::kCancelled);
  CHECK(Decompress(Random(1000), 1u << 20, 2000, ignore).error().code == ErrorCode::kNotAnalysable);
  CHECK(Decompress({}, 1u << 20, 2000, ignore).error().code == ErrorCode::kNotAnalysable);
}

}  // namespace pygc::elf
