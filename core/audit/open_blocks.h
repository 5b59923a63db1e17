// Blocks in use that belong to no object of the snapshot as far as is known: native memory, and objects to which nothing known leads.
#pragma once

#include <vector>

#include "core/audit/block_heap.h"
#include "core/audit/malloc_heap.h"
#include "core/audit/memory_cover.h"

namespace pygc::audit {

struct OpenBlock {
  AddressRange range;        // what its owner may write
  std::uint64_t slack = 0;   // bytes at most by which it is larger than what was asked for
  bool has_objects = true;   // false: nobody takes objects from its allocator
};

/// Blocks whose beginning `cover` has open, after everything that belongs to objects was closed. Nothing of damaged pools. By allocator, then by address
/// where the allocator's own lists are; no chunk of malloc in which CPython's allocator has an arena.
[[nodiscard]] std::vector<OpenBlock> FindOpenBlocks(const BlockHeap& blocks, const MallocHeap& chunks, const MemoryCover& cover, unsigned threads);

}  // namespace pygc::audit
