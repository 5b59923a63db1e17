#include "core/target/read_ahead.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <system_error>
#include <vector>

namespace pygc::target {
namespace {

constexpr std::size_t kStepBytes = 4u << 20;  // one request; the kernel cuts it into smaller ones

}  // namespace

ReadAhead::ReadAhead(std::span<const std::byte> file, std::uint64_t most_bytes) {
  const auto part = file.first(static_cast<std::size_t>(std::min<std::uint64_t>(file.size(), most_bytes)));
  if (part.empty()) return;
  try {
    thread_ = std::thread([this, part] { Run(part); });
  } catch (const std::system_error&) {  // no thread to be had: the pages come when they are looked at
  }
}

ReadAhead::~ReadAhead() {
  stop_ = true;
  Wait();
}

void ReadAhead::Wait() {
  if (thread_.joinable()) thread_.join();
}

void ReadAhead::Run(std::span<const std::byte> file) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> present(kStepBytes / page + 1);
  for (std::size_t at = 0; at < file.size() && !stop_; at += kStepBytes) {
    const std::size_t size = std::min(kStepBytes, file.size() - at);
    auto* const from = const_cast<std::byte*>(file.data()) + at;
    if (mincore(from, size, present.data()) != 0) return;
    const auto pages = static_cast<std::ptrdiff_t>((size + page - 1) / page);
    if (std::all_of(present.begin(), present.begin() + pages, [](unsigned char p) { return (p & 1) != 0; })) continue;
    if (madvise(from, size, MADV_WILLNEED) != 0) return;
    requested_ += size;
  }
}

}  // namespace pygc::target
