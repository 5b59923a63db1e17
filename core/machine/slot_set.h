// The set of addresses that the visits of one long run came from. Open addressing: a run visits millions at most, and most runs never ask.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/base/address.h"

namespace pygc::machine {

class SlotSet {
 public:
  void Clear() {
    if (count_ == 0) return;
    if (table_.size() > kKeptEntries) table_ = {};
    else std::fill(table_.begin(), table_.end(), 0);
    count_ = 0;
  }
  /// True when `slot` (not 0) was not in the set; it is now.
  bool Insert(Address slot) {
    if (2 * (count_ + 1) > table_.size()) Grow();
    Address& place = Place(slot);
    if (place == slot) return false;
    place = slot;
    ++count_;
    return true;
  }
  [[nodiscard]] std::size_t size() const noexcept { return count_; }

 private:
  static constexpr std::size_t kFirstEntries = 1u << 10, kKeptEntries = 1u << 14;

  // Where `slot` is, or where it would be: there is always a free place.
  [[nodiscard]] Address& Place(Address slot) noexcept {
    std::size_t k = (slot * 0x9e37'79b9'7f4a'7c15ull) >> 32;
    while (table_[k & (table_.size() - 1)] != 0 && table_[k & (table_.size() - 1)] != slot) ++k;
    return table_[k & (table_.size() - 1)];
  }
  void Grow() {
    std::vector<Address> old(std::max(kFirstEntries, 2 * table_.size()));
    old.swap(table_);
    for (const Address slot : old)
      if (slot != 0) Place(slot) = slot;
  }

  std::vector<Address> table_;  // a power of two; 0 is free
  std::size_t count_ = 0;
};

}  // namespace pygc::machine
