// Which memory is the data of modules: mapped from their files, or the anonymous memory behind it (.bss).
#pragma once

#include <vector>

#include "core/audit/pymalloc_heap.h"
#include "core/base/address.h"
#include "core/target/process.h"

namespace pygc::audit {

class StaticData {
 public:
  StaticData(const target::Process& process, const PymallocHeap& blocks) : memory_(&process.memory), blocks_(&blocks) {
    for (const target::Segment& s : memory_->segments()) {
      const Address begin = s.range.begin;
      is_static_.push_back(s.module != 0xFFFFFFFFu || process.FindModule(begin) != nullptr || (begin > 0 && process.FindModule(begin - 1) != nullptr));
    }
  }
  [[nodiscard]] bool Holds(Address a) const {
    const std::uint32_t i = memory_->map().Find(a);
    return i != AddressMap::kNone && is_static_[i] && !blocks_->BlockAt(a);
  }

 private:
  const target::MemoryImage* memory_;
  const PymallocHeap* blocks_;
  std::vector<bool> is_static_;  // by segment
};

}  // namespace pygc::audit
