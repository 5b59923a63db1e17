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
#include "core/graph/node_set.h"
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
  std::span<const std::uint8_t> is_leaf;     // by type record: instances refer to nothing, so that they hold nothing else
  std::span<const heap::NodeId> no_source;   // objects whose references hold nothing (the table of interned strings)
  bool keep_origins = false;                 // for WhatLeadsTo()
};

class HeldMarker {
 public:
  /// `words` counts what the words of blocks lead to, when a block is first reached. `held` has a place for each node, all kNothing.
  HeldMarker(const MarkInput& in, WordCounter& words, std::vector<heap::Held>& held);

  /// A root: an object, or a word of root memory at `slot` (0: a register) or in `object` that leads to a block. It is held as the next Spread() says; what was marked before stays.
  void Hold(heap::NodeId n);
  void HoldBlockAt(std::uint64_t word, Address slot, heap::NodeId object = heap::kNoNode) { HoldBlock(in_.blocks.Find(word & kUserBits), slot, object); }
  /// Marks everything that the roots lead to. False where it was stopped.
  [[nodiscard]] bool Spread(heap::Held as, ProgressSink& progress);

  /// What nothing holds, and all references in it. `judged`: by node, whether a count says anything; what has none is no part of it. `known`: by node, references
  /// that are known exactly: where these are all, a word that leads to it is no reference. `heads`: see Unreached.
  [[nodiscard]] heap::LostPart LostPart(std::span<const heap::Auditable> judged, std::span<const std::uint32_t> known, std::span<const heap::UnreachedObject> unreached,
                                        std::span<const Address> heads);
  [[nodiscard]] std::uint64_t UnreachedBlocks() const;
  /// "to which libfoo.so: table+0x18 leads": what holds the block in which `slot` lies, through blocks that lead to it; empty where it lies in none, or where that
  /// is not known (MarkInput::keep_origins). One thread at a time.
  [[nodiscard]] std::string WhatLeadsTo(Address slot) const;
  [[nodiscard]] bool IsReached(BlockId b) const noexcept { return block_[b] != kUnmarked; }
  /// Only lost objects lead to it.
  [[nodiscard]] bool IsLost(BlockId b) const noexcept { return block_[b] == kLost; }

 private:
  static constexpr std::uint8_t kUnmarked = 0, kHeld = 1, kLost = 2;  // block_
  [[nodiscard]] bool IsLeaf(heap::NodeId n) const { return leaf_.Contains(n); }
  [[nodiscard]] bool IsSource(heap::NodeId n) const;
  [[nodiscard]] std::span<const HiddenLink> LinksOf(heap::NodeId n) const;
  void Expand(heap::NodeId n);
  void ExpandBlock(BlockId b);
  // What first led to a block: an object, or else a word at `slot` (0: a register).
  struct Origin {
    Address slot = 0;
    heap::NodeId object = heap::kNoNode;
  };
  void HoldBlock(BlockId b, Address slot, heap::NodeId object = heap::kNoNode);
  /// f(word, slot) for the open words of the block.
  template <typename F>
  void ForEachWord(BlockId b, F&& f) const;

  const MarkInput& in_;
  const heap::HeapSnapshot& heap_;
  WordCounter& words_;
  std::vector<heap::Held>& held_;
  std::vector<heap::NodeId> type_node_;   // by type record
  std::vector<std::uint8_t> type_marked_;
  graph::NodeSet leaf_, has_links_;
  graph::NodeSet marked_, noted_;         // held by anything; of these, in `held_`
  std::vector<std::uint8_t> block_;       // by block
  std::vector<Origin> origin_;            // the same, where they are kept
  std::vector<heap::NodeId> nodes_to_do_, level_;  // level_: those in work
  std::vector<BlockId> blocks_to_do_;
};

}  // namespace pygc::audit
