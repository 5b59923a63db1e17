#include "core/heap/object_index.h"

#include <algorithm>
#include <atomic>
#include <new>

namespace pygc::heap {

ObjectIndex::ObjectIndex(std::span<const Range> ranges) : ranges_(ranges.begin(), ranges.end()) {
  std::vector<AddressRange> plain;
  plain.reserve(ranges_.size());
  range_cells_.reserve(ranges_.size());
  for (const Range& r : ranges_) {
    plain.push_back(r.range);
    const std::uint64_t first = r.range.begin >> r.shift;
    const std::uint64_t last = (r.range.end - 1) >> r.shift;
    range_cells_.push_back({first, cell_count_, (std::uint64_t{1} << r.shift) - 1, r.shift});
    cell_count_ += (last - first) / 64 + 1;
  }
  map_ = AddressMap(plain);
  if (cell_count_ == 0) return;
  // NOLINTNEXTLINE(cppcoreguidelines-no-malloc): see Free
  cells_.reset(static_cast<Cell*>(std::calloc(cell_count_, sizeof(Cell))));
  if (!cells_) throw std::bad_alloc();
  page_used_.resize((cell_count_ >> kPageShift) + 1);
}

bool ObjectIndex::Numbers::Enter(Address a) noexcept {
  const std::uint32_t i = index_->map_.Find(a);
  if (i == AddressMap::kNone) return false;
  range_ = index_->map_.ranges()[i];
  const RangeCells& r = index_->range_cells_[i];
  cells_ = {r.first_granule, r.first_cell, r.low_bits, r.shift};
  return true;
}

bool ObjectIndex::MarkPage(std::uint64_t page, std::span<const std::uint64_t> words) noexcept {
  if (page >= page_used_.size() || words.size() != kWordsPerPage) return false;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::uint64_t cell = (page << kPageShift) + i;
    if (cell < cell_count_) cells_[cell].bits = words[i];
    else if (words[i] != 0) return false;
  }
  page_used_[page] = 1;
  return true;
}

bool ObjectIndex::MarkPlace(Place p, bool shared) noexcept {
  std::uint64_t& bits = cells_[p.cell].bits;
  std::uint8_t& used = page_used_[p.cell >> kPageShift];
  if (shared) {
    const std::uint64_t before = std::atomic_ref(bits).fetch_or(p.bit, std::memory_order_relaxed);
    if (before & p.bit) return false;
    std::atomic_ref(used).store(1, std::memory_order_relaxed);
    return true;
  }
  if (bits & p.bit) return false;
  bits |= p.bit;
  used = 1;
  return true;
}

bool ObjectIndex::Mark(Address a) noexcept {
  const Place p = PlaceOf(a);
  return p.cell != kNoCell && MarkPlace(p, false);
}

bool ObjectIndex::MarkShared(Address a) noexcept {
  const Place p = PlaceOf(a);
  return p.cell != kNoCell && MarkPlace(p, true);
}

void ObjectIndex::Unmark(Address a) noexcept {
  const Place p = PlaceOf(a);
  if (p.cell != kNoCell) cells_[p.cell].bits &= ~p.bit;
}

Address ObjectIndex::NearestBelow(Address a, std::uint64_t reach) const noexcept {
  const std::uint32_t i = a == 0 ? AddressMap::kNone : map_.Find(a - 1);
  if (i == AddressMap::kNone) return 0;
  const RangeCells& r = range_cells_[i];
  const std::uint64_t granule = ((a - 1) >> r.shift) - r.first_granule;
  const Address lowest = a > reach ? a - reach : 0;
  std::uint64_t cell = r.first_cell + (granule >> 6), below = ~std::uint64_t{0} >> (63 - (granule & 63));
  for (;; --cell, below = ~std::uint64_t{0}) {
    if (const std::uint64_t bits = cells_[cell].bits & below; bits != 0) {
      const Address found = AddressOfBit(cell, 63 - static_cast<unsigned>(std::countl_zero(bits)), i);
      return found >= lowest ? found : 0;
    }
    if (cell == r.first_cell || AddressOfBit(cell, 0, i) <= lowest) return 0;
  }
}

void ObjectIndex::Seal() {
  used_pages_.clear();
  NodeId rank = 0;
  for (std::uint64_t page = 0; page < page_used_.size(); ++page) {
    if (!page_used_[page]) continue;
    used_pages_.push_back({page, rank});
    const std::uint64_t end = std::min((page + 1) << kPageShift, cell_count_);
    for (std::uint64_t cell = page << kPageShift; cell < end; ++cell) {
      cells_[cell].rank = rank;
      rank += CountBits(cells_[cell].bits);
    }
  }
  size_ = rank;
}

std::uint64_t ObjectIndex::CellOf(NodeId id) const noexcept {
  const auto after_page = std::upper_bound(used_pages_.begin(), used_pages_.end(), id, [](NodeId n, const UsedPage& p) { return n < p.rank; });
  const std::uint64_t page = (after_page - 1)->page;
  const Cell* const first = cells_.get() + (page << kPageShift);
  const Cell* const last = cells_.get() + std::min((page + 1) << kPageShift, cell_count_);
  // The last cell whose rank is not above `id`. Empty cells share the rank of the next full one and stand before it, so it is never empty.
  const Cell* const cell = std::upper_bound(first, last, id, [](NodeId n, const Cell& c) { return n < c.rank; }) - 1;
  return static_cast<std::uint64_t>(cell - cells_.get());
}

std::size_t ObjectIndex::RangeOfCell(std::uint64_t cell) const noexcept {
  const auto after =
      std::upper_bound(range_cells_.begin(), range_cells_.end(), cell, [](std::uint64_t c, const RangeCells& r) { return c < r.first_cell; });
  return static_cast<std::size_t>(after - range_cells_.begin()) - 1;
}

Address ObjectIndex::AddressOf(NodeId id) const noexcept {
  const std::uint64_t cell = CellOf(id);
  std::uint64_t bits = cells_[cell].bits;
  for (NodeId skip = id - cells_[cell].rank; skip > 0; --skip) bits &= bits - 1;
  return AddressOfBit(cell, static_cast<unsigned>(std::countr_zero(bits)), RangeOfCell(cell));
}

std::uint64_t ObjectIndex::memory_bytes() const noexcept {
  return page_used_.size() + used_pages_.size() * ((sizeof(Cell) << kPageShift) + sizeof(UsedPage));
}

}  // namespace pygc::heap
