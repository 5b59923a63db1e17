#include "core/target/read_ahead.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>
#include <span>
#include <vector>

using pygc::target::ReadAhead;

namespace {

constexpr std::size_t kBytes = 9u << 20;  // not a whole number of requests

bool IsPresent(std::span<const std::byte> file) {
  std::vector<unsigned char> pages(file.size() / 4096 + 1);
  REQUIRE(mincore(const_cast<std::byte*>(file.data()), file.size(), pages.data()) == 0);
  return std::all_of(pages.begin(), pages.begin() + static_cast<std::ptrdiff_t>((file.size() + 4095) / 4096), [](unsigned char p) { return (p & 1) != 0; });
}

// A mapped file that has a name no more, and that the kernel was told to forget; where it lies in memory alone (tmpfs) it stays.
std::span<const std::byte> FileOf(std::size_t bytes) {
  std::array<char, 32> name{"/var/tmp/pygc-ahead-XXXXXX"};
  const int fd = mkstemp(name.data());
  REQUIRE(fd >= 0);
  unlink(name.data());
  const std::vector<char> text(bytes, 'x');
  REQUIRE(write(fd, text.data(), bytes) == static_cast<ssize_t>(bytes));
  fsync(fd);
  posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  void* const at = mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
  close(fd);
  REQUIRE(at != MAP_FAILED);
  return {static_cast<const std::byte*>(at), bytes};
}

}  // namespace

TEST_CASE("read ahead: all of a file that is not in the cache, nothing of one that is") {
  const auto file = FileOf(kBytes);
  const bool was_present = IsPresent(file);
  ReadAhead first(file, kBytes);
  first.Wait();
  CHECK((first.requested_bytes() > 0) == !was_present);
  REQUIRE(std::all_of(file.begin(), file.end(), [](std::byte b) { return b == std::byte{'x'}; }));
  REQUIRE(IsPresent(file));
  ReadAhead again(file, kBytes);
  again.Wait();
  CHECK(again.requested_bytes() == 0);
}

TEST_CASE("read ahead: not more than it may, and it ends when it is destroyed") {
  const auto file = FileOf(kBytes);
  ReadAhead some(file, 1u << 20);
  some.Wait();
  CHECK(some.requested_bytes() <= 1u << 20);
  ReadAhead none(file, 0);
  none.Wait();
  CHECK(none.requested_bytes() == 0);
  const ReadAhead left(file, kBytes);
}
