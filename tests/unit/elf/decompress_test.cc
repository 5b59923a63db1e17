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
