// What is held by something real: from stacks, registers, static data and the interpreter through objects and native blocks, transitively. Conservative: a word
// that may be a pointer is one. What is left has nothing but its count, or what leads to it is lost itself.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/audit/memory_cover.h"
#include "core/audit/native_blocks.h"
#include "core/audit/word_counter.h"
#include "core/base/progress.h"
#include "core/heap/lost_part.h"

namespace pygc::audit {

/// A reference that is not in the snapshot's graph: to an object, or (kBlock) to a native block.
struct HiddenLink {
  heap::NodeId from = heap::kNoNode;
  std::uint32_t to = 0;  // NodeId; kBlock: BlockId
  heap::LinkKind kind = heap::LinkKind::kOwned;
};

/// What the marker works on; outlives it.
struct MarkInput {
  const AuditInput& audit;
  const NativeBlocks& blocks;
  const MemoryCover& cover;
  std::span<const HiddenLink> links;         // sorted by `from`
  std::span<const std::uint8_t> is_leaf;     // by type record: instances refer to nothing and need not be looked at
  std::span<const heap::NodeId> no_source;   // objects whose references hold nothing (the table of interned strings)
};

class HeldMarker {
 public:
  /// `words` counts what the words of blocks lead to, when a block is first reached. `held` has a place for each node, all kNothing.
  HeldMarker(const MarkInput& in, WordCounter& words, std::vector<heap::Held>& held);

  /// A root: an object, a block, or a word of root memory that leads to a block. What it was marked with first stays.
  void Hold(heap::NodeId n, heap::Held as);
  void HoldBlockAt(std::uint64_t word, heap::Held as);
  /// Marks everything that the roots lead to. False where it was stopped.
  [[nodiscard]] bool Spread(heap::Held as, ProgressSink& progress);

  /// What nothing holds, and all references in it. `judged`: by node, whether a count says anything; what has none is no part of it.
  [[nodiscard]] heap::LostPart LostPart(std::span<const heap::Auditable> judged, std::span<const heap::UnreachedObject> unreached);
  [[nodiscard]] std::uint64_t UnreachedBlocks() const;
  [[nodiscard]] bool IsReached(BlockId b) const noexcept { return block_[b] != kUnmarked; }

 private:
  static constexpr std::uint8_t kUnmarked = 0, kLost = 0xFF;  // block_: otherwise 1 + Held
  [[nodiscard]] bool IsLeaf(heap::NodeId n) const { return in_.is_leaf[heap_.type[n]] != 0; }
  [[nodiscard]] std::span<const HiddenLink> LinksOf(heap::NodeId n) const;
  void Expand(heap::NodeId n, heap::Held as);
  void ExpandBlock(BlockId b, heap::Held as);
  /// f(word, slot) for the open words of the block.
  template <typename F>
  void ForEachWord(BlockId b, F&& f) const;

  const MarkInput& in_;
  const heap::HeapSnapshot& heap_;
  WordCounter& words_;
  std::vector<heap::Held>& held_;
  std::vector<heap::NodeId> type_node_;   // by type record
  std::vector<std::uint8_t> type_marked_;
  std::vector<bool> has_links_;           // by node
  std::vector<std::uint8_t> block_;       // by block
  std::vector<heap::NodeId> nodes_to_do_;
  std::vector<BlockId> blocks_to_do_;
};

}  // namespace pygc::audit
