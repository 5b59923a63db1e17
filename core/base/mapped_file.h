// A file of this machine, mapped read-only. Paths may come from a dump, so they are hostile: a FIFO must not block, a device must not be read,
// and with a root directory no link may lead out of it. A file that shrinks while it is mapped raises SIGBUS: that is the worker's business.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "core/base/result.h"

namespace pygc {

/// What identifies a file while it exists.
struct FileIdentity {
  std::uint64_t device = 0, inode = 0;
  friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
};

class MappedFile {
 public:
  /// Opens and maps `path`. It must be a regular file of at most `max_bytes` (0: no bound). An empty file has empty bytes().
  /// Errors: kNotFound (no such file), kNotAnalysable (a directory, FIFO, device, socket: the message names which), kNotPermitted, kLimit, kHost.
  [[nodiscard]] static Result<std::shared_ptr<const MappedFile>> Open(const std::string& path, std::uint64_t max_bytes);
  /// The same for `path` as it looks to a process whose root directory is `root`: links are followed inside it and cannot leave it.
  [[nodiscard]] static Result<std::shared_ptr<const MappedFile>> OpenBeneath(const std::string& root, const std::string& path, std::uint64_t max_bytes);
  /// Maps an open descriptor, which stays the caller's; `path` is for messages.
  [[nodiscard]] static Result<std::shared_ptr<const MappedFile>> FromDescriptor(int descriptor, const std::string& path, std::uint64_t max_bytes);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }
  [[nodiscard]] FileIdentity identity() const noexcept { return identity_; }

 private:
  MappedFile(std::string path, std::span<const std::byte> bytes, FileIdentity identity);

  std::string path_;
  std::span<const std::byte> bytes_;
  FileIdentity identity_;
};

/// A descriptor of this program that is closed with it.
class Descriptor {
 public:
  explicit Descriptor(int value = -1) noexcept : value_(value) {}
  Descriptor(Descriptor&& other) noexcept : value_(other.value_) { other.value_ = -1; }
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor();
  [[nodiscard]] int get() const noexcept { return value_; }
  [[nodiscard]] bool valid() const noexcept { return value_ >= 0; }

 private:
  int value_;
};

}  // namespace pygc
