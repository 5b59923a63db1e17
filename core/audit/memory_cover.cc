#include "core/audit/memory_cover.h"

#include <algorithm>

namespace pygc::audit {

MemoryCover::MemoryCover(const target::MemoryImage& memory) {
  std::uint64_t bits = 0;
  for (const target::Segment& s : memory.segments()) {
    if (!s.writable || !s.readable || s.bytes == nullptr) continue;
    for (Address begin = s.range.begin; begin < s.range.end;) {
      const Address end = std::min((begin & ~Address{15}) + kPartBytes, s.range.end);
      parts_.push_back({{begin, end}, s.bytes + (begin - s.range.begin), bits});
      bits += ((((end + 15) >> kShift) - (begin >> kShift)) + 63) & ~std::uint64_t{63};
      begin = end;
    }
  }
  bits_.assign(bits / 64, 0);
}

void MemoryCover::Mark(Address begin, Address end) noexcept {
  begin = (begin + 15) & ~Address{15};
  if (begin >= end) return;
  auto part = std::upper_bound(parts_.begin(), parts_.end(), begin, [](Address a, const Part& p) { return a < p.range.begin; });
  if (part != parts_.begin()) --part;
  for (; part != parts_.end() && part->range.begin < end; ++part) {
    const Address from = std::max(begin, part->range.begin & ~Address{15}), to = std::min(end, (part->range.end + 15) & ~Address{15});
    if (from >= to) continue;
    const Address base = part->range.begin & ~Address{15};
    std::uint64_t bit = part->first_bit + ((from - base) >> kShift);
    const std::uint64_t last = part->first_bit + ((to - base) >> kShift);
    while (bit < last) {
      const std::uint64_t n = std::min<std::uint64_t>(64 - (bit & 63), last - bit);
      const std::uint64_t mask = (n == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << n) - 1) << (bit & 63);
      std::atomic_ref<std::uint64_t>(bits_[bit >> 6]).fetch_or(mask, std::memory_order_relaxed);
      bit += n;
    }
  }
}

std::vector<MemoryCover::Part>::const_iterator MemoryCover::PartAt(Address a) const noexcept {
  return std::upper_bound(parts_.begin(), parts_.end(), a, [](Address x, const Part& p) { return x < p.range.end; });
}

bool MemoryCover::IsClosed(Address a) const noexcept {
  auto part = std::upper_bound(parts_.begin(), parts_.end(), a, [](Address x, const Part& p) { return x < p.range.begin; });
  if (part == parts_.begin()) return true;
  --part;
  if (!part->range.Contains(a)) return true;
  const std::uint64_t bit = part->first_bit + ((a >> kShift) - (part->range.begin >> kShift));
  return bits_[bit >> 6] >> (bit & 63) & 1;
}

}  // namespace pygc::audit
