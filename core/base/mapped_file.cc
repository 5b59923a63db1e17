#include "core/base/mapped_file.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace pygc {
namespace {

constexpr int kOpenFlags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY;

tl::unexpected<Error> OpenFailure(const std::string& path, int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return Fail(ErrorCode::kNotFound, "{}: no such file", path);
    case EACCES:
    case EPERM:
      return Fail(ErrorCode::kNotPermitted, "{}: not permitted to read it (uid {}): run as its owner, or chmod it", path, geteuid());
    case ENXIO:
      return Fail(ErrorCode::kNotAnalysable, "{}: a socket or a device, not a file", path);
    case ELOOP:
      return Fail(ErrorCode::kNotAnalysable, "{}: its symbolic links lead round in a circle", path);
    case EXDEV:
      return Fail(ErrorCode::kNotAnalysable, "{}: its symbolic links lead out of the folder", path);
    default:
      return Fail(ErrorCode::kHost, "{}: cannot open: {}", path, std::strerror(error));
  }
}

const char* KindOf(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a FIFO (named pipe)";
  if (S_ISSOCK(mode)) return "a socket";
  if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
  return "something special";
}

}  // namespace

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(value_, other.value_);
  return *this;
}

Descriptor::~Descriptor() {
  if (value_ >= 0) close(value_);
}

MappedFile::MappedFile(std::string path, std::span<const std::byte> bytes, FileIdentity identity)
    : path_(std::move(path)), bytes_(bytes), identity_(identity) {}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

Result<std::shared_ptr<const MappedFile>> MappedFile::Open(const std::string& path, std::uint64_t max_bytes) {
  if (path.find('\0') != std::string::npos) return Fail(ErrorCode::kNotFound, "no such file: the name contains a NUL byte");
  const Descriptor descriptor(open(path.c_str(), kOpenFlags));
  if (!descriptor.valid()) return OpenFailure(path, errno);
  return FromDescriptor(descriptor.get(), path, max_bytes);
}

Result<std::shared_ptr<const MappedFile>> MappedFile::OpenBeneath(const std::string& root, const std::string& path, std::uint64_t max_bytes) {
  const std::string name = root + (path.starts_with('/') ? "" : "/") + path;
  if (name.find('\0') != std::string::npos) return Fail(ErrorCode::kNotFound, "no such file: the name contains a NUL byte");
  const Descriptor directory(open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) return OpenFailure(root, errno);
  open_how how{};
  how.flags = static_cast<std::uint64_t>(kOpenFlags);
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  const Descriptor descriptor(static_cast<int>(syscall(SYS_openat2, directory.get(), path.c_str(), &how, sizeof how)));
  if (!descriptor.valid()) {
    if (errno == ENOSYS) return Fail(ErrorCode::kHost, "{}: this kernel cannot open files beneath a directory safely (openat2, Linux 5.6)", name);
    return OpenFailure(name, errno);
  }
  return FromDescriptor(descriptor.get(), name, max_bytes);
}

Result<std::shared_ptr<const MappedFile>> MappedFile::FromDescriptor(int descriptor, const std::string& path, std::uint64_t max_bytes) {
  struct stat status {};
  if (fstat(descriptor, &status) != 0) return Fail(ErrorCode::kHost, "{}: cannot read its kind: {}", path, std::strerror(errno));
  if (!S_ISREG(status.st_mode)) return Fail(ErrorCode::kNotAnalysable, "{}: {}, not a file", path, KindOf(status.st_mode));
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (max_bytes != 0 && size > max_bytes) return Fail(ErrorCode::kLimit, "{}: {} bytes, more than the {} allowed", path, size, max_bytes);
  std::span<const std::byte> bytes;
  if (size != 0) {
    void* at = mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_NORESERVE, descriptor, 0);
    if (at == MAP_FAILED) return Fail(ErrorCode::kHost, "{}: cannot map its {} bytes: {}", path, size, std::strerror(errno));
    bytes = {static_cast<const std::byte*>(at), size};
  }
  return std::shared_ptr<const MappedFile>(
      new MappedFile(path, bytes, {static_cast<std::uint64_t>(status.st_dev), static_cast<std::uint64_t>(status.st_ino)}));
}

}  // namespace pygc
