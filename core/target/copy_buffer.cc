#include "core/target/copy_buffer.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace pygc::target {
namespace {

constexpr std::uint64_t kSlack = 64u << 20;      // what a program maps in some milliseconds
constexpr std::uint64_t kJoin = 256u << 20;      // ranges nearer than this share a reservation
constexpr std::uint64_t kPage = 4096;
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23  // Linux 5.14
#endif

}  // namespace

CopyBuffer::~CopyBuffer() {
  for (const Reservation& r : reservations_) munmap(r.host, r.range.size());
}

bool CopyBuffer::Map(AddressRange range) {
  void* host = mmap(nullptr, range.size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (host == MAP_FAILED) return false;
  madvise(host, range.size(), MADV_DONTDUMP);  // another process's data: not into a core of this program
  reservations_.push_back({range, static_cast<std::byte*>(host)});
  return true;
}

const CopyBuffer::Reservation* CopyBuffer::Find(AddressRange range) const noexcept {
  const auto found = std::find_if(reservations_.begin(), reservations_.end(), [&](const Reservation& r) { return r.range.Contains(range.begin, range.size()); });
  return found == reservations_.end() ? nullptr : &*found;
}

Result<void> CopyBuffer::Reserve(const std::vector<AddressRange>& ranges) {
  std::vector<AddressRange> joined;
  for (const AddressRange& r : ranges) {
    if (!joined.empty() && r.begin - joined.back().end < kJoin) {
      joined.back().end = r.end;
    } else {
      joined.push_back(r);
    }
  }
  for (const AddressRange& r : joined) {
    const AddressRange wide = {r.begin - std::min(r.begin, kSlack), r.end + std::min(kSlack, ~Address{0} - r.end)};
    if (!Map(wide) && !Map(r)) {
      return Fail(ErrorCode::kLimit, "cannot reserve {} bytes of address space for the copy: {} (ulimit -v)", r.size(), std::strerror(errno));
    }
  }
  return {};
}

void CopyBuffer::Touch(AddressRange range) noexcept {
  const Reservation* r = Find(range);
  if (r == nullptr) return;
  std::byte* host = r->host + (range.begin - r->range.begin);
  if (madvise(host, range.size(), MADV_POPULATE_WRITE) == 0) return;
  for (std::uint64_t at = 0; at < range.size(); at += kPage) *static_cast<volatile std::byte*>(host + at) = std::byte{0};
}

std::byte* CopyBuffer::Place(AddressRange range) {
  const Reservation* r = Find(range);
  if (r == nullptr) {
    if (!Map(range)) return nullptr;
    r = &reservations_.back();
  }
  return r->host + (range.begin - r->range.begin);
}

}  // namespace pygc::target
