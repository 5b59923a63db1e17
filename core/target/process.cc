#include "core/target/process.h"

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

}  // namespace pygc::target
