// Which memory is the data of modules: mapped from their files, or the anonymous memory behind it (.bss).
#pragma once

#include <algorithm>
#include <vector>

#include "core/audit/block_heap.h"
#include "core/base/address.h"
#include "core/target/process.h"

namespace pygc::audit {

/// The module in whose data `a` lies, or nullptr: mapped from its file, or its .bss. A module's headers tell how far that reaches; where they are not known it
/// is the anonymous memory right behind writable data. A file that is only read (a locale) has none behind it.
[[nodiscard]] inline const target::Module* ModuleOfData(const target::Process& process, Address a) noexcept {
  if (const target::Module* const module = process.FindModule(a)) return module;
  const target::Segment* const segment = process.memory.Find(a);
  if (segment == nullptr || segment->range.begin == 0) return nullptr;
  const target::Module* const before = process.FindModule(segment->range.begin - 1);
  if (before == nullptr || before->is_elf) return nullptr;
  const target::Segment* const data = process.memory.Find(segment->range.begin - 1);
  return data != nullptr && data->writable ? before : nullptr;
}

class StaticData {
 public:
  StaticData(const target::Process& process, const BlockHeap& blocks) : memory_(&process.memory), blocks_(&blocks) {
    for (const target::Segment& s : memory_->segments()) end_.push_back(EndOf(process, s));
  }
  /// True where `a` lies in a segment that has static data.
  [[nodiscard]] bool HoldsSome(Address a) const {
    const std::uint32_t i = memory_->map().Find(a);
    return i != AddressMap::kNone && memory_->map().ranges()[i].begin < end_[i];
  }
  [[nodiscard]] bool Holds(Address a) const {
    const std::uint32_t i = memory_->map().Find(a);
    return i != AddressMap::kNone && a < end_[i] && !blocks_->BlockAt(a);
  }

 private:
  // Other anonymous memory may follow .bss in the same mapping.
  static Address EndOf(const target::Process& process, const target::Segment& s) {
    const target::Module* const module = ModuleOfData(process, s.range.begin);
    if (module == nullptr) return s.range.begin;
    if (s.module != 0xFFFFFFFFu) return s.range.end;
    const auto own = std::find_if(module->ranges.begin(), module->ranges.end(), [&](const AddressRange& r) { return r.Contains(s.range.begin); });
    return own == module->ranges.end() ? s.range.end : std::min(s.range.end, own->end);
  }

  const target::MemoryImage* memory_;
  const BlockHeap* blocks_;
  std::vector<Address> end_;  // by segment: where static data end, its beginning where it has none
};

}  // namespace pygc::audit
