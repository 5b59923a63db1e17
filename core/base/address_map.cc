#include "core/base/address_map.h"

#include <algorithm>

namespace pygc {
namespace {

constexpr std::uint32_t kNear = 6;

}  // namespace

AddressMap::AddressMap(std::span<const AddressRange> ranges) : ranges_(ranges.begin(), ranges.end()) {
  // A range of many terabytes (a sparse reservation) would take a second to enter chunk by chunk; such maps use binary search throughout.
  std::uint64_t chunks = 0;
  for (const AddressRange& r : ranges_) chunks += (r.size() >> kChunkShift) + 2;
  if (ranges_.empty() || chunks > (64ull << 20) || ranges_.size() >= kSeveral) return;
  behind_ = static_cast<std::uint32_t>(std::find_if(ranges_.begin(), ranges_.end(), [](const AddressRange& r) { return r.begin >> kTopShift >= kTopSize; }) - ranges_.begin());
  if (behind_ == 0) return;
  // The table of a process spans from its program to its stack; that of a few arenas is small, and made often.
  const Address last = std::max(ranges_[behind_ - 1].end, ranges_[behind_ - 1].begin + 1) - 1;
  first_slot_ = ranges_[0].begin >> kTopShift;
  slot_count_ = std::min(last >> kTopShift, kTopSize - 1) - first_slot_ + 1;
  top_.assign(slot_count_, kNone);
  for (std::uint32_t i = 0; i < ranges_.size(); ++i) {
    const AddressRange& r = ranges_[i];
    if (r.empty() || (r.end - 1) >> kTopShift >= kTopSize) continue;
    for (std::uint64_t chunk = r.begin >> kChunkShift; chunk <= (r.end - 1) >> kChunkShift; ++chunk) {
      std::uint32_t& page = top_[(chunk >> (kTopShift - kChunkShift)) - first_slot_];
      if (page == kNone) {
        const std::uint64_t used = pages_.size() / kPageSize;
        page = used < kMaxPages ? static_cast<std::uint32_t>(used) : kSeveral;  // LIMIT: kMaxPages
        if (page != kSeveral) pages_.resize(pages_.size() + kPageSize, kNone);
      }
      if (page == kSeveral) continue;
      std::uint32_t& entry = pages_[page * kPageSize + (chunk & (kPageSize - 1))];
      entry = entry == kNone ? i : entry | kSeveral;
    }
  }
}

std::uint32_t AddressMap::FindSlow(Address a) const noexcept {
  const std::uint64_t slot = a >> kTopShift;
  if (slot_count_ == 0 || slot - first_slot_ < slot_count_) return FindFrom(0, a);
  return slot < first_slot_ ? kNone : FindFrom(behind_, a);
}

std::uint32_t AddressMap::FindFrom(std::uint32_t first, Address a) const noexcept {
  const std::size_t count = ranges_.size();
  // The ranges of one chunk are few, as a rule.
  for (std::size_t i = first, near = std::min<std::size_t>(count, std::size_t{first} + kNear); i < near; ++i) {
    if (a < ranges_[i].end) return a >= ranges_[i].begin ? static_cast<std::uint32_t>(i) : kNone;
  }
  first += kNear;
  if (first >= count || a < ranges_[first].begin) return kNone;
  // Double the step until a range begins behind `a`, then halve.
  std::size_t low = first, step = 1;
  while (step < count - low && ranges_[low + step].begin <= a) {
    low += step;
    step *= 2;
  }
  const auto begin = ranges_.begin() + static_cast<std::ptrdiff_t>(low);
  const auto end = begin + static_cast<std::ptrdiff_t>(std::min(step, count - low));
  const auto after = std::upper_bound(begin, end, a, [](Address x, const AddressRange& r) { return x < r.begin; });
  const auto found = after - 1;
  return found->Contains(a) ? static_cast<std::uint32_t>(found - ranges_.begin()) : kNone;
}

}  // namespace pygc
