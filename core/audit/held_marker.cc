#include "core/audit/held_marker.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace pygc::audit {

namespace {

using heap::Held;
using heap::kNoNode;
using heap::LinkKind;
using heap::NodeId;

constexpr std::uint64_t kObjectsPerUpdate = 1u << 20;
// Nodes ahead of the one in work whose type and offsets, and whose edges, are asked for.
constexpr std::size_t kOffsetsAhead = 16, kEdgesAhead = 8;
constexpr std::size_t kBatch = 1024;  // nodes that are looked at together

bool IsObjectAt(const std::vector<std::pair<BlockId, Address>>& object_blocks, BlockId b, Address a) {
  return std::binary_search(object_blocks.begin(), object_blocks.end(), std::pair<BlockId, Address>(b, a));
}

}  // namespace

HeldMarker::HeldMarker(const MarkInput& in, WordCounter& words, std::vector<Held>& held)
    : in_(in),
      heap_(in.audit.heap),
      words_(words),
      held_(held),
      type_marked_(heap_.types.size()),
      leaf_(heap_.size()),
      has_links_(heap_.size()),
      marked_(heap_.size()),
      noted_(heap_.size()),
      block_(in.blocks.size()),
      origin_(in.keep_origins ? in.blocks.size() : 0) {
  type_node_.reserve(heap_.types.size());
  for (const heap::TypeRecord& t : heap_.types) type_node_.push_back(t.address != 0 ? heap_.index.Find(t.address) : kNoNode);
  for (const HiddenLink& l : in_.links) has_links_.Insert(l.from);
  for (NodeId n = 0; n < heap_.size(); ++n) {
    if (in_.is_leaf[heap_.type[n]] != 0) leaf_.Insert(n);
  }
}

bool HeldMarker::IsSource(NodeId n) const { return std::find(in_.no_source.begin(), in_.no_source.end(), n) == in_.no_source.end(); }

void HeldMarker::Hold(NodeId n) {
  if (marked_.InsertNew(n) && !leaf_.Contains(n)) nodes_to_do_.push_back(n);
}

void HeldMarker::HoldBlock(BlockId b, Address slot, NodeId object) {
  if (b == kNoBlock || block_[b] != kUnmarked) return;
  block_[b] = kHeld;
  blocks_to_do_.push_back(b);
  if (in_.keep_origins) origin_[b] = {slot, object};
}

std::string HeldMarker::WhatLeadsTo(Address slot) const {
  const BlockId first = in_.blocks.Find(slot);
  if (origin_.empty() || first == kNoBlock) return {};
  if (block_[first] != kHeld) return "to which only lost objects lead";
  Origin from = origin_[first];
  std::size_t between = 0;
  for (BlockId b; from.object == kNoNode && (b = in_.blocks.Find(from.slot)) != kNoBlock; ++between) from = origin_[b];
  const std::string place = from.object != kNoNode ? fmt::format("{} at {:#x}", heap_.types[heap_.type[from.object]].name, heap_.AddressOf(from.object))
                            : from.slot == 0       ? std::string("a register")
                                                   : words_.PlaceOf(from.slot).second;
  return fmt::format("to which {} leads{}", place, between == 0 ? "" : between == 1 ? ", by way of another block" : fmt::format(", by way of {} others", between));
}

std::span<const HiddenLink> HeldMarker::LinksOf(NodeId n) const {
  if (!has_links_.Contains(n)) return {};
  const auto first = std::lower_bound(in_.links.begin(), in_.links.end(), n, [](const HiddenLink& l, NodeId id) { return l.from < id; });
  auto last = first;
  while (last != in_.links.end() && last->from == n) ++last;
  return {first, last};
}

template <typename F>
void HeldMarker::ForEachWord(BlockId b, F&& f) const {
  in_.cover.ForEachOpenWord(in_.blocks.Range(b), [&](Address at, const std::byte* p) { f(LoadUnchecked<std::uint64_t>(p), at); });
}

void HeldMarker::Expand(NodeId n) {
  const std::uint32_t type = heap_.type[n];
  if (!type_marked_[type]) {
    type_marked_[type] = 1;
    if (type_node_[type] != kNoNode) Hold(type_node_[type]);
  }
  for (const NodeId to : heap_.Visited(n)) Hold(to);
  for (const HiddenLink& l : LinksOf(n)) {
    if (l.kind != LinkKind::kBlock) {
      Hold(l.to);
    } else {
      HoldBlock(l.to, 0, n);
    }
  }
}

void HeldMarker::ExpandBlock(BlockId b) {
  ForEachWord(b, [&](std::uint64_t word, Address slot) {
    if (const NodeId n = words_.Count(word, slot); n != kNoNode) Hold(n);
    HoldBlockAt(word, slot);
  });
}

bool HeldMarker::Spread(Held as, ProgressSink& progress) {
  std::uint64_t steps = 0;
  while (!nodes_to_do_.empty() || !blocks_to_do_.empty()) {
    // The last ones first, as in a search by depth: a list of all that are met at one depth would be long.
    const std::size_t n = std::min(nodes_to_do_.size(), kBatch);
    level_.assign(nodes_to_do_.end() - static_cast<std::ptrdiff_t>(n), nodes_to_do_.end());
    nodes_to_do_.resize(nodes_to_do_.size() - n);
    for (std::size_t i = 0; i < level_.size(); ++i) {
      if (steps++ % kObjectsPerUpdate == 0 && !progress.Update("following what is held", steps, heap_.size())) return false;
      if (i + kOffsetsAhead < level_.size()) {
        heap_.graph.PrefetchOffsets(level_[i + kOffsetsAhead]);
        __builtin_prefetch(&heap_.type[level_[i + kOffsetsAhead]]);
      }
      if (i + kEdgesAhead < level_.size()) heap_.graph.PrefetchEdges(level_[i + kEdgesAhead]);
      if (IsSource(level_[i])) Expand(level_[i]);
    }
    std::vector<BlockId> blocks;
    std::swap(blocks, blocks_to_do_);
    for (const BlockId b : blocks) {
      if (steps++ % kObjectsPerUpdate == 0 && !progress.Update("following what is held", steps, heap_.size())) return false;
      ExpandBlock(b);
    }
  }
  graph::NodeSet fresh = marked_;
  fresh.Subtract(noted_);
  fresh.ForEach([&](NodeId n) { held_[n] = as; });
  noted_ = marked_;
  return true;
}

heap::LostPart HeldMarker::LostPart(std::span<const heap::Auditable> judged, std::span<const std::uint32_t> known, std::span<const heap::UnreachedObject> unreached,
                                 std::span<const Address> heads) {
  const auto is_lost = [&](NodeId n) { return !marked_.Contains(n) && judged[n] == heap::Auditable::kYes; };
  std::vector<NodeId> objects;
  graph::NodeSet left = marked_.Complement();
  left.Subtract(leaf_);
  left.ForEach([&](NodeId n) {
    if (is_lost(n) && IsSource(n)) objects.push_back(n);
  });
  // The blocks that only these lead to, and the objects among blocks that nothing known leads to.
  std::vector<BlockId> todo, blocks;
  const auto reach = [&](BlockId b) {
    if (b == kNoBlock || block_[b] != kUnmarked) return;
    block_[b] = kLost;
    todo.push_back(b);
    blocks.push_back(b);
  };
  std::vector<std::pair<BlockId, Address>> object_blocks;
  for (const NodeId n : objects) {
    for (const HiddenLink& l : LinksOf(n)) {
      if (l.kind == LinkKind::kBlock) reach(l.to);
    }
  }
  // A block that is one of these refers to nothing, whatever its content looks like: bytes that were never filled have what lay there before.
  std::vector<BlockId> leaf_blocks;
  const auto is_leaf_type = [&](Address type) {
    for (std::size_t i = 0; i < heap_.types.size(); ++i) {
      if (heap_.types[i].address == type) return in_.is_leaf[i] != 0;
    }
    return false;
  };
  std::map<Address, bool> leaf_types;
  for (const heap::UnreachedObject& u : unreached) {
    const BlockId b = in_.blocks.Find(u.object);
    reach(b);
    if (b == kNoBlock || block_[b] != kLost) continue;
    object_blocks.emplace_back(b, u.object);
    const auto [type, is_new] = leaf_types.try_emplace(u.type);
    if (is_new) type->second = is_leaf_type(u.type);
    if (type->second) leaf_blocks.push_back(b);
  }
  std::sort(leaf_blocks.begin(), leaf_blocks.end());
  std::vector<NodeId> leaves;
  const auto see = [&](NodeId to) {
    if (to != kNoNode && is_lost(to) && IsLeaf(to)) leaves.push_back(to);
  };
  while (!todo.empty()) {
    const BlockId b = todo.back();
    todo.pop_back();
    const bool is_leaf = std::binary_search(leaf_blocks.begin(), leaf_blocks.end(), b);
    ForEachWord(b, [&](std::uint64_t word, Address slot) {
      if (is_leaf && in_.blocks.Find(word & kUserBits) == b) return;
      see(words_.Count(word, slot, kNoNode, 0, true));
      reach(in_.blocks.Find(word & kUserBits));
    });
  }
  if (objects.empty() && blocks.empty()) return {};
  std::sort(blocks.begin(), blocks.end());
  std::sort(object_blocks.begin(), object_blocks.end());
  // A leaf hangs on lost objects where these explain all of its count.
  for (const NodeId n : objects) {
    for (const NodeId to : heap_.Visited(n)) see(to);
    for (const HiddenLink& l : LinksOf(n)) {
      if (l.kind != LinkKind::kBlock) see(l.to);
    }
  }
  std::sort(leaves.begin(), leaves.end());
  for (std::size_t i = 0; i < leaves.size();) {
    std::size_t end = i;
    while (end < leaves.size() && leaves[end] == leaves[i]) ++end;
    if (end - i >= heap_.refcount[leaves[i]]) objects.push_back(leaves[i]);
    i = end;
  }
  std::sort(objects.begin(), objects.end());

  heap::LostPart part;
  part.items.reserve(objects.size() + blocks.size());
  for (const NodeId n : objects) part.items.push_back({n, {}, true, false, (heap_.flags[n] & (heap::kApproximate | heap::kFault)) != 0});
  for (const BlockId b : blocks) {
    heap::LostPart::Item item{kNoNode, in_.blocks.Range(b), false};
    const auto at = std::lower_bound(object_blocks.begin(), object_blocks.end(), std::pair<BlockId, Address>(b, 0));
    if (at != object_blocks.end() && at->first == b) {
      item.is_object = true;
      item.memory.begin = at->second;
    } else {
      const auto head = std::lower_bound(heads.begin(), heads.end(), item.memory.begin);
      item.count_unexplained = head != heads.end() && *head < item.memory.end;
    }
    part.items.push_back(item);
  }
  std::vector<std::uint32_t> offsets{0};
  std::vector<NodeId> edges;
  const auto to_object = [&](NodeId to, LinkKind kind) {
    if ((kind == LinkKind::kWord || kind == LinkKind::kBlock) && heap_.refcount[to] <= known[to]) return;
    const auto at = std::lower_bound(objects.begin(), objects.end(), to);
    if (at == objects.end() || *at != to) return;
    edges.push_back(static_cast<NodeId>(at - objects.begin()));
    part.link.push_back(kind);
  };
  const auto to_block = [&](BlockId to) {
    const auto at = std::lower_bound(blocks.begin(), blocks.end(), to);
    if (at == blocks.end() || *at != to) return;
    edges.push_back(static_cast<NodeId>(objects.size() + static_cast<std::size_t>(at - blocks.begin())));
    part.link.push_back(LinkKind::kBlock);
  };
  for (const NodeId n : objects) {
    for (const NodeId to : heap_.Visited(n)) to_object(to, LinkKind::kVisited);
    for (const HiddenLink& l : LinksOf(n)) {
      if (l.kind == LinkKind::kBlock) {
        to_block(l.to);
      } else {
        to_object(l.to, l.kind);
      }
    }
    offsets.push_back(static_cast<std::uint32_t>(edges.size()));
  }
  for (const BlockId b : blocks) {
    const bool is_leaf = std::binary_search(leaf_blocks.begin(), leaf_blocks.end(), b);
    ForEachWord(b, [&](std::uint64_t word, Address) {
      if (is_leaf) return;
      if (const NodeId to = heap_.index.Find(WordCounter::Untagged(word)); to != kNoNode) {
        to_object(to, LinkKind::kBlock);
      } else if (const BlockId other = in_.blocks.Find(word & kUserBits); other != kNoBlock && (other != b || IsObjectAt(object_blocks, b, word))) {
        to_block(other);
      }
    });
    offsets.push_back(static_cast<std::uint32_t>(edges.size()));
  }
  std::vector<std::uint32_t> found(part.items.size());
  for (const NodeId to : edges) ++found[to];
  for (std::size_t i = objects.size(); i < part.items.size(); ++i) {
    heap::LostPart::Item& item = part.items[i];
    if (!item.is_object) continue;
    const auto u = std::lower_bound(unreached.begin(), unreached.end(), item.memory.begin, [](const heap::UnreachedObject& o, Address a) { return o.object < a; });
    item.count_unexplained = u != unreached.end() && u->object == item.memory.begin && u->recorded > found[i];
  }
  part.graph = graph::CsrGraph(std::move(offsets), std::move(edges));
  return part;
}

std::uint64_t HeldMarker::UnreachedBlocks() const { return static_cast<std::uint64_t>(std::count(block_.begin(), block_.end(), kUnmarked)); }

}  // namespace pygc::audit
