#include "core/base/small_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

namespace pygc {
namespace {

constexpr std::chrono::milliseconds kNap{10};
constexpr int kMostNaps = 1000;

class File {
 public:
  explicit File(const std::string& path) : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)) {}
  ~File() {
    if (fd_ >= 0) close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  [[nodiscard]] int fd() const noexcept { return fd_; }

 private:
  int fd_;
};

}  // namespace

Result<std::string> ReadSmallFile(const std::string& path, std::size_t most) {
  const File file(path);
  if (file.fd() < 0) return Fail(ErrorCode::kUsage, "cannot be read: {}", std::strerror(errno));
  struct stat status {};
  if (fstat(file.fd(), &status) != 0) return Fail(ErrorCode::kUsage, "cannot be read: {}", std::strerror(errno));
  const bool is_pipe = S_ISFIFO(status.st_mode);
  if (!is_pipe && !S_ISREG(status.st_mode)) return Fail(ErrorCode::kUsage, "cannot be read: it is {}", S_ISDIR(status.st_mode) ? "a directory" : "no file");
  std::string text;
  char block[65536];
  for (int naps = 0; text.size() <= most;) {
    const ssize_t n = read(file.fd(), block, sizeof block);
    if (n > 0) {
      text.append(block, static_cast<std::size_t>(n));
    } else if (n == 0) {
      if (is_pipe && text.empty()) return Fail(ErrorCode::kUsage, "cannot be read: it is a pipe to which nobody writes");
      return text;
    } else if (errno == EAGAIN) {
      if (++naps > kMostNaps) return Fail(ErrorCode::kUsage, "cannot be read: it is a pipe from which nothing came for ten seconds");
      std::this_thread::sleep_for(kNap);
    } else if (errno != EINTR) {
      return Fail(ErrorCode::kUsage, "cannot be read: {}", std::strerror(errno));
    }
  }
  return Fail(ErrorCode::kUsage, "has more than {} bytes", most);
}

}  // namespace pygc
