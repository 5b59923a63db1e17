#include "core/base/address_map.h"

#include <algorithm>

namespace pygc {

AddressMap::AddressMap(std::span<const AddressRange> ranges) : ranges_(ranges.begin(), ranges.end()) {
  // A range of many terabytes (a sparse reservation) would make the table itself large; such maps use binary search throughout.
  std::uint64_t chunks = 0;
  for (const AddressRange& r : ranges_) chunks += (r.size() >> kChunkShift) + 2;
  if (chunks > (64ull << 20) || ranges_.size() >= kSeveral) return;
  top_.assign(kTopSize, kNone);
  for (std::uint32_t i = 0; i < ranges_.size(); ++i) {
    const AddressRange& r = ranges_[i];
    if (r.empty() || (r.end - 1) >> kTopShift >= kTopSize) continue;
    for (std::uint64_t chunk = r.begin >> kChunkShift; chunk <= (r.end - 1) >> kChunkShift; ++chunk) {
      std::uint32_t& page = top_[chunk >> (kTopShift - kChunkShift)];
      if (page == kNone) {
        page = static_cast<std::uint32_t>(pages_.size() / kPageSize);
        pages_.resize(pages_.size() + kPageSize, kNone);
      }
      std::uint32_t& entry = pages_[page * kPageSize + (chunk & (kPageSize - 1))];
      entry = entry == kNone ? i : kSeveral;
    }
  }
}

std::uint32_t AddressMap::FindSlow(Address a) const noexcept {
  const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), a, [](Address x, const AddressRange& r) { return x < r.begin; });
  if (after == ranges_.begin()) return kNone;
  const auto found = after - 1;
  return found->Contains(a) ? static_cast<std::uint32_t>(found - ranges_.begin()) : kNone;
}

}  // namespace pygc
