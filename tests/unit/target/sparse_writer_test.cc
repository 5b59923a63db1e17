#include "core/target/sparse_writer.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <random>
#include <span>
#include <vector>

using pygc::target::SparseWriter;

namespace {

int Temporary() {
  std::array<char, 32> name{"/var/tmp/pygc-sparse-XXXXXX"};
  const int fd = mkstemp(name.data());
  REQUIRE(fd >= 0);
  unlink(name.data());
  return fd;
}

std::vector<std::byte> BytesOf(int fd, std::size_t size) {
  REQUIRE(ftruncate(fd, static_cast<off_t>(size)) == 0);
  std::vector<std::byte> bytes(size);
  std::size_t done = 0;
  while (done < size) {
    const ssize_t n = pread(fd, bytes.data() + done, size - done, static_cast<off_t>(done));
    REQUIRE(n > 0);
    done += static_cast<std::size_t>(n);
  }
  return bytes;
}

// 40 MB in pieces of many sizes, more than may wait at once, with stretches of zeroes that begin and end anywhere.
void CheckFile(bool beside) {
  std::mt19937 dice(7);
  std::vector<std::byte> all;
  const int fd = Temporary();
  {
    SparseWriter writer(fd, beside);
    while (all.size() < (40u << 20)) {
      std::vector<std::byte> piece(dice() % 700000);
      if (dice() % 3 != 0) {
        for (std::size_t i = dice() % 5000; i < piece.size(); i += 1 + dice() % 300) piece[i] = static_cast<std::byte>(dice());
      }
      REQUIRE(writer.Append(piece));
      all.insert(all.end(), piece.begin(), piece.end());
    }
    CHECK(writer.Finish());
    CHECK(writer.error() == 0);
  }
  struct stat s {};
  REQUIRE(fstat(fd, &s) == 0);
  CHECK(static_cast<std::size_t>(s.st_blocks) * 512 < all.size());  // the zeroes are holes
  CHECK(BytesOf(fd, all.size()) == all);
  close(fd);
}

}  // namespace

TEST_CASE("sparse writer: the bytes in order, zeroes as holes, by a thread of its own") { CheckFile(true); }
TEST_CASE("sparse writer: the same in the caller's thread") { CheckFile(false); }

TEST_CASE("sparse writer: a write that fails stops the caller, and says why") {
  for (const bool beside : {true, false}) {
    const int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    REQUIRE(full >= 0);
    SparseWriter writer(full, beside);
    const std::vector<std::byte> piece(1u << 20, std::byte{1});
    int taken = 0;
    while (taken < 1000 && writer.Append(piece)) ++taken;
    CHECK(taken <= 16);  // what may wait, and not more
    CHECK_FALSE(writer.Finish());
    CHECK(writer.error() == ENOSPC);
    close(full);
  }
}
