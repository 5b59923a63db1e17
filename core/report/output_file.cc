#include "core/report/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "core/report/escape.h"

namespace pygc::report {
namespace {

auto CannotWrite(const std::string& path, int error) {
  return Fail(ErrorCode::kOutput, "cannot write {}: {}", Printable(path), std::strerror(error));
}

std::string NameOfDescriptor(int fd) { return fmt::format("/proc/self/fd/{}", fd); }

/// A file in the folder of `path` that has no name yet: it is gone with the program, however that ends. -1 where the file system has no such files.
int OpenUnnamed(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const int fd = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0 || ::access(NameOfDescriptor(fd).c_str(), W_OK) == 0) return fd;  // without /proc it could not be given a name
  ::close(fd);
  return -1;
}

}  // namespace

Result<OutputFile> OutputFile::Create(const std::string& path, bool may_be_stream) {
  OutputFile out;
  out.path_ = path;
  struct stat st {};
  if (::stat(path.c_str(), &st) == 0 && !S_ISREG(st.st_mode)) {
    if (S_ISDIR(st.st_mode)) return CannotWrite(path, EISDIR);
    if (!may_be_stream) return Fail(ErrorCode::kOutput, "cannot write {}: a database needs a regular file", Printable(path));
    out.fd_ = ::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (out.fd_ < 0) return CannotWrite(path, errno);
    return out;
  }
  out.fd_ = OpenUnnamed(path);
  if (out.fd_ >= 0) {
    out.unnamed_ = true;
    out.temporary_ = NameOfDescriptor(out.fd_);
    return out;
  }
  for (unsigned attempt = 0; attempt < 100; ++attempt) {
    out.temporary_ = out.PartName(attempt);
    out.fd_ = ::open(out.temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (out.fd_ >= 0) return out;
    if (errno != EEXIST) break;
  }
  const int error = errno;
  out.temporary_.clear();
  return CannotWrite(path, error);
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::exchange(other.temporary_, {})),
      fd_(std::exchange(other.fd_, -1)),
      unnamed_(std::exchange(other.unnamed_, false)) {}

OutputFile& OutputFile::operator=(OutputFile&& other) noexcept {
  if (this != &other) {
    Discard();
    path_ = std::move(other.path_);
    temporary_ = std::exchange(other.temporary_, {});
    fd_ = std::exchange(other.fd_, -1);
    unnamed_ = std::exchange(other.unnamed_, false);
  }
  return *this;
}

OutputFile::~OutputFile() { Discard(); }

void OutputFile::Discard() noexcept {
  if (fd_ >= 0) ::close(fd_);
  if (!temporary_.empty() && !unnamed_) ::unlink(temporary_.c_str());
  fd_ = -1;
  unnamed_ = false;
  temporary_.clear();
}

std::string OutputFile::PartName(unsigned attempt) const { return fmt::format("{}.part-{}-{}", path_, ::getpid(), attempt); }

Result<void> OutputFile::Write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return CannotWrite(path_, errno);
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

Result<void> OutputFile::Commit() {
  if (temporary_.empty()) return {};  // a stream
  if (::fsync(fd_) != 0 && errno != EINVAL && errno != EROFS) return CannotWrite(path_, errno);
  if (unnamed_) {
    const std::string unnamed = std::exchange(temporary_, {});
    if (::linkat(AT_FDCWD, unnamed.c_str(), AT_FDCWD, path_.c_str(), AT_SYMLINK_FOLLOW) == 0) return {};
    // There is a file of that name already. It is replaced in one step, for which the new one needs a name for a moment.
    for (unsigned attempt = 0; errno == EEXIST && attempt < 100; ++attempt) {
      temporary_ = PartName(attempt);
      if (::linkat(AT_FDCWD, unnamed.c_str(), AT_FDCWD, temporary_.c_str(), AT_SYMLINK_FOLLOW) != 0) continue;
      unnamed_ = false;
      break;
    }
    if (unnamed_) return CannotWrite(path_, errno);
  }
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return CannotWrite(path_, errno);
  temporary_.clear();
  return {};
}

}  // namespace pygc::report
