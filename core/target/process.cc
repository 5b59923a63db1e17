#include "core/target/process.h"

#include <algorithm>

namespace pygc::target {

const Module* Process::FindModule(Address a) const noexcept {
  if (const Segment* s = memory.Find(a); s != nullptr && s->module < modules.size()) return &modules[s->module];
  for (const Module& m : modules) {
    for (const AddressRange& r : m.ranges) {
      if (r.Contains(a)) return &m;
    }
  }
  return nullptr;
}

std::vector<std::shared_ptr<const elf::ElfFile>> Process::ModuleFiles() const {
  std::vector<std::shared_ptr<const elf::ElfFile>> out;
  for (const Module& m : modules)
    if (m.file) out.push_back(m.file);
  return out;
}

bool Process::LostMemory() const noexcept {
  return std::any_of(missing_ranges.begin(), missing_ranges.end(), [](const MissingRange& m) { return m.use != MissingUse::kUnknown; });
}

bool Process::LostStacks() const noexcept {
  return std::any_of(threads.begin(), threads.end(), [this](const Thread& t) {
    return t.has_registers && std::any_of(missing_ranges.begin(), missing_ranges.end(), [&t](const MissingRange& m) { return m.range.Contains(t.stack_pointer()); });
  });
}

bool Process::LostHeap() const noexcept {
  return std::any_of(missing_ranges.begin(), missing_ranges.end(), [](const MissingRange& m) { return m.use == MissingUse::kUsed; });
}

}  // namespace pygc::target
