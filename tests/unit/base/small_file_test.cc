#include "core/base/small_file.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>

namespace pygc::small_file_test {
namespace {

struct Folder {
  Folder() { REQUIRE(mkdtemp(name.data()) != nullptr); }
  ~Folder() {
    unlink(At("file").c_str());
    unlink(At("pipe").c_str());
    rmdir(name.c_str());
  }
  [[nodiscard]] std::string At(const char* file) const { return name + "/" + file; }
  std::string name = "/tmp/pygc-small-file-XXXXXX";
};

std::string Why(const std::string& path, std::size_t most = 100) {
  const Result<std::string> read = ReadSmallFile(path, most);
  return read ? "" : read.error().message;
}

}  // namespace

TEST_CASE("a small file is read whole, and what is none is said") {
  const Folder folder;
  std::ofstream(folder.At("file")) << "text";
  CHECK(ReadSmallFile(folder.At("file"), 4).value_or("") == "text");
  CHECK(Why(folder.At("file"), 3) == "has more than 3 bytes");
  CHECK(Why(folder.At("nothing")) == "cannot be read: No such file or directory");
  CHECK(Why(folder.name) == "cannot be read: it is a directory");
  CHECK(Why("/dev/zero") == "cannot be read: it is no file");
}

TEST_CASE("a pipe is read to its end, and one to which nobody writes is not waited for") {
  const Folder folder;
  REQUIRE(mkfifo(folder.At("pipe").c_str(), 0600) == 0);
  CHECK(Why(folder.At("pipe")) == "cannot be read: it is a pipe to which nobody writes");
  const int reader = open(folder.At("pipe").c_str(), O_RDONLY | O_NONBLOCK), writer = open(folder.At("pipe").c_str(), O_WRONLY);
  REQUIRE(writer >= 0);
  std::thread late([writer] {
    usleep(50000);
    CHECK(write(writer, "from a pipe", 11) == 11);
    close(writer);
  });
  CHECK(ReadSmallFile(folder.At("pipe"), 100).value_or("") == "from a pipe");
  late.join();
  close(reader);
}

}  // namespace pygc::small_file_test
