// Blocks in use that belong to no object of the snapshot as far as is known: native memory, and objects to which nothing known leads.
#pragma once

#include <vector>

#include "core/audit/malloc_heap.h"
#include "core/audit/memory_cover.h"
#include "core/audit/pymalloc_heap.h"

namespace pygc::audit {

struct OpenBlock {
  AddressRange range;        // what its owner may write
  bool of_pymalloc = false;  // otherwise a chunk of malloc; none in which pymalloc has an arena
};

/// Blocks whose beginning `cover` has open, after everything that belongs to objects was closed. Nothing of damaged pools. By allocator, then by address
/// where the allocator's own lists are.
[[nodiscard]] std::vector<OpenBlock> FindOpenBlocks(const PymallocHeap& blocks, const MallocHeap& chunks, const MemoryCover& cover, unsigned threads);

}  // namespace pygc::audit
