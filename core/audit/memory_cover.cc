#include "core/audit/memory_cover.h"

#include <algorithm>

namespace pygc::audit {

MemoryCover::MemoryCover(const target::MemoryImage& memory) {
  std::uint64_t bits = 0;
  std::vector<AddressRange> ranges;
  for (const target::Segment& s : memory.segments()) {
    if (!s.writable || !s.readable || s.bytes == nullptr) continue;
    ranges.push_back(s.range);
    areas_.push_back({s.range, bits});
    for (Address begin = s.range.begin; begin < s.range.end;) {
      const Address end = std::min((begin & ~kMask) + kPartBytes, s.range.end);
      parts_.push_back({{begin, end}, s.bytes + (begin - s.range.begin), BitOf(areas_.back(), begin)});
      begin = end;
    }
    bits += (((s.range.end + kMask) >> kShift) - (s.range.begin >> kShift) + 63) & ~std::uint64_t{63};
  }
  map_ = AddressMap(ranges);
  bits_.assign(bits / 64, 0);
}

void MemoryCover::Mark(Address begin, Address end) noexcept {
  if (begin >= end) return;
  const std::uint32_t found = map_.Find(begin);
  auto area = areas_.begin() + found;
  if (found == AddressMap::kNone) area = std::upper_bound(areas_.begin(), areas_.end(), begin, [](Address a, const Area& s) { return a < s.range.end; });
  for (; area != areas_.end() && area->range.begin < end; ++area) {
    const Address from = std::max(begin, area->range.begin & ~kMask), to = std::min(end, (area->range.end + kMask) & ~kMask);
    if (from < to) MarkBits(area->first_bit + ((from >> kShift) - (area->range.begin >> kShift)), area->first_bit + ((to >> kShift) - (area->range.begin >> kShift)));
  }
}

void MemoryCover::MarkBits(std::uint64_t bit, std::uint64_t last) noexcept {
  while (bit < last) {
    const std::uint64_t n = std::min<std::uint64_t>(64 - (bit & 63), last - bit);
    MarkWord(bit >> 6, (n == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << n) - 1) << (bit & 63));
    bit += n;
  }
}

std::vector<MemoryCover::Part>::const_iterator MemoryCover::PartAt(Address a) const noexcept {
  return std::upper_bound(parts_.begin(), parts_.end(), a, [](Address x, const Part& p) { return x < p.range.end; });
}

}  // namespace pygc::audit
