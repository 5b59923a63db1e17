#include "core/audit/immortal_objects.h"

#include "core/cpython/object_header.h"

namespace pygc::audit {

std::vector<Address> FindImmortals(const objects::ObjectReader& reader, const BlockHeap& blocks) {
  std::vector<Address> found;
  const cpython::ObjectHeaderReader header(reader.runtime());
  for (const BlockPool& pool : blocks.pools()) {
    if (pool.use != BlockUse::kCollected || pool.damaged || pool.block_bytes < pool.object_offset + header.size()) continue;
    for (std::uint32_t b = 0; b < pool.count; ++b) {
      const Address object = pool.first + b * pool.block_bytes + pool.object_offset;
      const std::byte* const p = blocks.InUse(pool, b) ? reader.process().memory.At(object, header.size()) : nullptr;
      if (p == nullptr || header.Refcount(p) != cpython::kImmortalRefcount) continue;
      const objects::TypeFacts* const type = reader.Type(header.Type(p));
      if (type != nullptr && type->have_gc) found.push_back(object);
    }
  }
  return found;
}

}  // namespace pygc::audit
