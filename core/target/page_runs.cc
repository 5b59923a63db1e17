#include "core/target/page_runs.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace pygc::target {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kSmall = 1u << 20;
constexpr std::uint64_t kJoin = 64u << 10;             // one long copy is cheaper than two short ones
constexpr std::uint64_t kMaxEntries = 1ull << 40;      // bytes of a range that is read entry by entry: 2 GiB of entries

// Linux include/uapi/linux/fs.h [6.7+]; older headers lack it.
struct ScanArguments {
  std::uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, category_inverted, category_mask, category_anyof_mask, return_mask;
};
struct ScannedRegion {
  std::uint64_t start, end, categories;
};
constexpr unsigned long kPagemapScan = _IOWR('f', 16, ScanArguments);
constexpr std::uint64_t kPresent = 1u << 3, kSwapped = 1u << 4;

void Add(std::vector<AddressRange>& out, AddressRange run) {
  if (!out.empty() && run.begin - out.back().end < kJoin) {
    out.back().end = run.end;
  } else {
    out.push_back(run);
  }
}

}  // namespace

PageRuns::PageRuns(std::int32_t pid) : pagemap_(open(fmt::format("/proc/{}/pagemap", pid).c_str(), O_RDONLY | O_CLOEXEC)) {}

bool PageRuns::Scan(AddressRange range, std::vector<AddressRange>& out) {
  ScannedRegion regions[512] = {};  // memcheck does not know that this ioctl writes them
  Address at = range.begin;
  while (at < range.end) {
    ScanArguments scan{};
    scan.size = sizeof scan;
    scan.start = at;
    scan.end = range.end;
    scan.vec = reinterpret_cast<std::uint64_t>(regions);
    scan.vec_len = std::size(regions);
    scan.category_anyof_mask = kPresent | kSwapped;
    const int n = ioctl(pagemap_.get(), kPagemapScan, &scan);
    if (n < 0) return false;
    for (int i = 0; i < n; ++i) Add(out, {regions[i].start, regions[i].end});
    if (scan.walk_end <= at) break;
    at = scan.walk_end;
  }
  return true;
}

bool PageRuns::ReadEntries(AddressRange range, std::vector<AddressRange>& out) {
  if (range.size() > kMaxEntries) return false;
  buffer_.resize(64u << 10);
  for (Address at = range.begin; at < range.end;) {
    const std::size_t wanted = static_cast<std::size_t>(std::min<std::uint64_t>(buffer_.size(), (range.end - at) / kPage));
    const ssize_t n = pread(pagemap_.get(), buffer_.data(), wanted * 8, static_cast<off_t>(at / kPage * 8));
    if (n < 8) return false;  // not known; where the process has ended, copying says so
    for (ssize_t i = 0; i < n / 8; ++i, at += kPage) {
      if (buffer_[static_cast<std::size_t>(i)] >> 62 != 0) Add(out, {at, at + kPage});  // bit 63: present, bit 62: swapped
    }
  }
  return true;
}

std::vector<AddressRange> PageRuns::Find(AddressRange range) {
  if (range.size() <= kSmall || !pagemap_.valid()) return {range};
  std::vector<AddressRange> out;
  if (can_scan_) {
    if (Scan(range, out)) return out;
    can_scan_ = false;  // an older kernel, or a filter of system calls that does not know it
    out.clear();
  }
  if (ReadEntries(range, out)) return out;
  return {range};  // too large to look at page by page on this kernel, or not readable: never taken for empty
}

}  // namespace pygc::target
