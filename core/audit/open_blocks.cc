#include "core/audit/open_blocks.h"

#include <algorithm>

#include "core/base/parallel.h"

namespace pygc::audit {

namespace {

constexpr std::size_t kPoolsAPiece = 256;
constexpr std::uint64_t kMallocSlack = 31;  // sizes are rounded to 16 bytes, and the smallest chunk has 24
// A chunk that is a mapping of its own goes on to the end of its page. glibc: sysmalloc_mmap(): ALIGN_UP(request2size(bytes) + SIZE_SZ, page) less the head.
constexpr std::uint64_t kMappedSlack = 4096 + 15;

}  // namespace

std::vector<OpenBlock> FindOpenBlocks(const BlockHeap& blocks, const MallocHeap& chunks, const MemoryCover& cover, unsigned threads) {
  const std::vector<BlockPool>& pools = blocks.pools();
  const std::size_t pieces = (pools.size() + kPoolsAPiece - 1) / kPoolsAPiece;
  std::vector<std::vector<OpenBlock>> of_piece(pieces);
  ForEachPiece(
      pieces, ThreadCount(threads, pieces),
      [&](std::size_t piece, unsigned) {
        for (std::size_t i = piece * kPoolsAPiece; i < std::min(pools.size(), (piece + 1) * kPoolsAPiece); ++i) {
          const BlockPool& pool = pools[i];
          if (pool.damaged) continue;
          Address begin = pool.first;
          for (std::uint32_t b = 0; b < pool.count; ++b, begin += pool.block_bytes) {
            if (!cover.IsClosed(begin) && blocks.InUse(pool, b)) of_piece[piece].push_back({{begin, begin + pool.block_bytes}, pool.slack, pool.use != BlockUse::kBuffers});
          }
        }
        return true;
      },
      [](std::size_t) { return true; });
  std::vector<OpenBlock> open;
  for (const std::vector<OpenBlock>& piece : of_piece) open.insert(open.end(), piece.begin(), piece.end());
  const std::vector<AddressRange>& arenas = blocks.arenas();
  const auto add = [&](AddressRange memory, std::uint64_t slack) {
    if (memory.empty() || cover.IsClosed(memory.begin)) return;
    const auto after = std::upper_bound(arenas.begin(), arenas.end(), memory.begin, [](Address a, const AddressRange& r) { return a < r.end; });
    if (after == arenas.end() || after->begin >= memory.end) open.push_back({memory, slack, true});
  };
  chunks.ForEachAreaChunk([&](AddressRange memory, bool in_use) {
    if (in_use) add(memory, kMallocSlack);
  });
  chunks.ForEachMappedChunk([&](AddressRange memory) { add(memory, kMappedSlack); });
  return open;
}

}  // namespace pygc::audit
