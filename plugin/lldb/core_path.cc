#include "plugin/lldb/core_path.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <set>
#include <vector>

namespace pygc::lldb_host {
namespace {

constexpr std::size_t kSampleBytes = 256, kSamples = 64, kEnough = 8;
constexpr std::size_t kMaxHeaders = 1u << 16;  // more (PN_XNUM) are not looked at here

class File {
 public:
  explicit File(const std::string& path) : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)) {
    struct stat s{};
    if (fd_ >= 0 && (fstat(fd_, &s) != 0 || !S_ISREG(s.st_mode))) {
      close(fd_);
      fd_ = -1;
    }
  }
  ~File() {
    if (fd_ >= 0) close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  bool ReadAt(std::uint64_t offset, void* out, std::size_t size) const {
    return fd_ >= 0 && offset < (1ull << 62) && pread(fd_, out, size, static_cast<off_t>(offset)) == static_cast<ssize_t>(size);
  }

 private:
  int fd_;
};

// Program headers of an x86-64 ELF core that hold bytes; empty for any other file.
std::vector<Elf64_Phdr> DumpedSegments(const File& file) {
  Elf64_Ehdr header{};
  if (!file.ReadAt(0, &header, sizeof header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
      header.e_type != ET_CORE || header.e_machine != EM_X86_64 || header.e_phentsize != sizeof(Elf64_Phdr))
    return {};
  std::vector<Elf64_Phdr> all(std::min<std::size_t>(header.e_phnum, kMaxHeaders));
  if (all.empty() || !file.ReadAt(header.e_phoff, all.data(), all.size() * sizeof(Elf64_Phdr))) return {};
  std::erase_if(all, [](const Elf64_Phdr& p) { return p.p_type != PT_LOAD || p.p_filesz < kSampleBytes; });
  return all;
}

}  // namespace

bool IsCoreOf(const std::string& path, const ReadThroughDebugger& read) {
  const File file(path);
  const std::vector<Elf64_Phdr> segments = DumpedSegments(file);
  if (segments.empty()) return false;
  // Spread over the segments, the last ones (stacks) included; small processes have fewer segments than samples, so some are looked at twice.
  std::size_t equal = 0;
  for (std::size_t i = 0; i < kSamples; ++i) {
    const Elf64_Phdr& p = segments[(segments.size() - 1) * i / (kSamples - 1)];
    const std::uint64_t inside = (p.p_filesz - kSampleBytes) / kSamples * i;
    std::array<std::byte, kSampleBytes> there, here;
    if (!file.ReadAt(p.p_offset + inside, here.data(), kSampleBytes)) continue;  // truncated there
    if (read(p.p_vaddr + inside, there) != kSampleBytes) continue;
    if (there != here) return false;
    const bool says_something = std::any_of(here.begin(), here.end(), [&](std::byte b) { return b != here[0]; });
    if (says_something) ++equal;
  }
  return equal >= kEnough;
}

std::optional<std::string> FindMappedCore(const ReadThroughDebugger& read) {
  std::FILE* maps = std::fopen("/proc/self/maps", "re");
  if (maps == nullptr) return std::nullopt;
  std::set<std::string> paths;
  std::array<char, 8192> line;
  while (std::fgets(line.data(), static_cast<int>(line.size()), maps) != nullptr) {
    const char* slash = std::strchr(line.data(), '/');
    if (slash == nullptr) continue;
    std::string path(slash);
    if (!path.empty() && path.back() == '\n') path.pop_back();
    paths.insert(std::move(path));
  }
  std::fclose(maps);
  std::optional<std::string> found;
  for (const std::string& path : paths) {
    if (!IsCoreOf(path, read)) continue;
    if (found) return std::nullopt;  // two copies of one core, or two of the same moment: either might be cut
    found = path;
  }
  return found;
}

}  // namespace pygc::lldb_host
