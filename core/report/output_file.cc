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
  for (unsigned attempt = 0; attempt < 100; ++attempt) {
    out.temporary_ = fmt::format("{}.part-{}-{}", path, ::getpid(), attempt);
    out.fd_ = ::open(out.temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (out.fd_ >= 0) return out;
    if (errno != EEXIST) break;
  }
  const int error = errno;
  out.temporary_.clear();
  return CannotWrite(path, error);
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)), temporary_(std::exchange(other.temporary_, {})), fd_(std::exchange(other.fd_, -1)) {}

OutputFile& OutputFile::operator=(OutputFile&& other) noexcept {
  if (this != &other) {
    Discard();
    path_ = std::move(other.path_);
    temporary_ = std::exchange(other.temporary_, {});
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

OutputFile::~OutputFile() { Discard(); }

void OutputFile::Discard() noexcept {
  if (fd_ >= 0) ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  fd_ = -1;
  temporary_.clear();
}

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
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return CannotWrite(path_, errno);
  temporary_.clear();
  return {};
}

}  // namespace pygc::report
