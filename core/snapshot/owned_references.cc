#include "core/snapshot/owned_references.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "core/base/free_memory.h"
#include "core/base/parallel.h"

namespace pygc::snapshot {
namespace {

using heap::NodeId;
using objects::TypeFacts;

constexpr std::size_t kOwnersAhead = 16;          // objects between the first sight of one and its decoding
constexpr std::size_t kOwnersTableAfter = 8;      // of these, before its table is asked for
constexpr std::size_t kBatchOwned = 256;          // references whose targets are looked up together
constexpr std::uint64_t kMinBudget = 1u << 22;    // references that any memory is believed to hold
constexpr std::uint32_t kMaxEdges = 0xFFFFFFF0u;  // of one block

class Adder {
 public:
  Adder(const objects::ObjectReader& reader, const objects::Ownership& ownership, const Limits& limits, ProgressSink& progress,
        heap::HeapSnapshot& heap)
      : reader_(reader), memory_(reader.process().memory), ownership_(ownership), limits_(limits), progress_(progress), heap_(heap) {}

  Result<void> Run() {
    BoundReferences();
    FindTypes();
    FindTablesOfClasses();
    pieces_.resize(heap_.graph.blocks().size());
    const unsigned threads = ThreadCount(limits_.threads, pieces_.size());
    const bool done = ForEachPiece(
        pieces_.size(), threads, [&](std::size_t piece, unsigned) { return Read(piece); },
        [&](std::size_t pieces) { return progress_.Update("reading what objects own beside", pieces, pieces_.size()); });
    if (too_many_) {
      heap_.coverage.notes.push_back(
          fmt::format("references that no traversal visits (keys of dicts) are left out: more than {}, which {} bytes of memory can hold, so dicts "
                      "share their tables",
                      most_, bytes_));
      return {};
    }
    if (!done) return Fail(ErrorCode::kCancelled, "stopped while reading what objects own");
    AddTablesOfDicts();
    Merge(threads);
    return {};
  }

 private:
  // Of the nodes of one block of the graph.
  struct Piece {
    std::vector<heap::OwnedBeside> counts;  // rising by node
    std::vector<NodeId> targets;
    std::vector<std::pair<Address, NodeId>> tables;  // key tables that no class has, and the first dict that shares each
  };
  struct Candidate {
    NodeId node;
    Address object;
    const TypeFacts* type;
  };

  // A reference takes a word of the target's memory.
  void BoundReferences() {
    for (const target::Segment& s : memory_.segments()) bytes_ += s.range.size();
    most_ = std::max<std::uint64_t>(kMinBudget, bytes_ / 4);
  }
  void FindTypes() {
    for (const heap::TypeRecord& record : heap_.types) {
      const TypeFacts* const type = record.address == 0 ? nullptr : reader_.Type(record.address);
      types_.push_back(type != nullptr && ownership_.MayOwnMore(*type) ? type : nullptr);
    }
  }
  // The names of attributes that instances share belong to their class.
  void FindTablesOfClasses() {
    for (NodeId n = 0; n < heap_.size(); ++n) {
      const TypeFacts* const type = types_[heap_.type[n]];
      if (type == nullptr || type->body != objects::BodyKind::kTypeObject) continue;
      if (const Address table = ownership_.SharedKeys(heap_.AddressOf(n), *type)) of_classes_.insert(table);
    }
  }

  bool Read(std::size_t number) {
    const graph::CsrGraph::Block& block = heap_.graph.blocks()[number];
    const auto end = static_cast<NodeId>(block.first_node + block.offsets.size() - 1);
    std::vector<Candidate> candidates;
    heap_.index.ForEach(block.first_node, end, [&](NodeId n, Address object) {
      if (const TypeFacts* const type = types_[heap_.type[n]]; type != nullptr && !(heap_.flags[n] & heap::kFault))
        candidates.push_back({n, object, type});
    });
    Piece& piece = pieces_[number];
    Batch batch(heap_.index);
    for (std::size_t i = 0; i < std::min(kOwnersAhead, candidates.size()); ++i) __builtin_prefetch(memory_.At(candidates[i].object, 0));
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      if (i + kOwnersAhead < candidates.size()) __builtin_prefetch(memory_.At(candidates[i + kOwnersAhead].object, 0));
      if (i + kOwnersTableAfter < candidates.size())
        reader_.PrefetchReferents(candidates[i + kOwnersTableAfter].object, *candidates[i + kOwnersTableAfter].type);
      ReadOne(candidates[i], piece, batch);
      if (batch.numbers.size() >= kBatchOwned && !Resolve(batch, piece)) return false;
    }
    if (!Resolve(batch, piece)) return false;
    if (block.edges.size() + piece.targets.size() >= kMaxEdges) too_many_ = true;  // offsets have 32 bits
    return !too_many_;
  }
  // References whose targets are not looked up yet.
  struct Batch {
    explicit Batch(const heap::ObjectIndex& index) : places(index) {}
    heap::ObjectIndex::Numbers places;
    std::vector<std::uint64_t> numbers;
    std::vector<std::pair<NodeId, std::size_t>> ends;
    std::vector<objects::OwnedSlot> owned;
    Address last_table = 0;
  };
  void ReadOne(const Candidate& c, Piece& piece, Batch& batch) {
    batch.owned.clear();
    ownership_.NotVisited(c.object, *c.type, batch.owned);
    if (const Address table = ownership_.SharedKeys(c.object, *c.type)) {
      if (c.type->body == objects::BodyKind::kTypeObject) {
        ownership_.KeysOf(table, batch.owned);
      } else if (table != batch.last_table) {
        if (!of_classes_.contains(table)) piece.tables.emplace_back(table, c.node);
        batch.last_table = table;
      }
    }
    Take(c.node, batch);
  }
  void Take(NodeId node, Batch& batch) const {
    if (batch.owned.empty()) return;
    for (const objects::OwnedSlot& slot : batch.owned) {
      batch.numbers.push_back(batch.places.Of(slot.referent));
      if (batch.numbers.back() != heap::ObjectIndex::kNoNumber) heap_.index.PrefetchNumber(batch.numbers.back());
    }
    batch.ends.emplace_back(node, batch.numbers.size());
  }
  // False where there are too many.
  bool Resolve(Batch& batch, Piece& piece) {
    std::size_t at = 0;
    for (const auto& [node, end] : batch.ends) {
      const std::size_t before = piece.targets.size();
      for (; at < end; ++at) {
        const NodeId target = batch.numbers[at] == heap::ObjectIndex::kNoNumber ? heap::kNoNode : heap_.index.FindNumber(batch.numbers[at]);
        if (target != heap::kNoNode) piece.targets.push_back(target);
      }
      if (piece.targets.size() > before) piece.counts.push_back({node, static_cast<std::uint32_t>(piece.targets.size() - before)});
    }
    const std::size_t seen = batch.numbers.size();
    batch.numbers.clear();
    batch.ends.clear();
    if ((count_ += seen) > most_) too_many_ = true;
    return !too_many_;
  }

  // Tables that no class has any more are few. Their keys go to the first dict that shares them, behind its other references.
  void AddTablesOfDicts() {
    std::unordered_map<Address, NodeId> owners;
    for (const Piece& piece : pieces_) {
      for (const auto& [table, node] : piece.tables) owners.emplace(table, node);  // pieces and their nodes rise: the first stays
    }
    std::vector<std::pair<NodeId, Address>> sorted;
    for (const auto& [table, node] : owners) sorted.emplace_back(node, table);
    std::sort(sorted.begin(), sorted.end());
    for (std::size_t i = 0, number = 0; i < sorted.size(); ++number) {
      const graph::CsrGraph::Block& block = heap_.graph.blocks()[number];
      const auto end = static_cast<NodeId>(block.first_node + block.offsets.size() - 1);
      Piece of_tables;
      Batch batch(heap_.index);
      for (; i < sorted.size() && sorted[i].first < end; ++i) {
        batch.owned.clear();
        ownership_.KeysOf(sorted[i].second, batch.owned);
        Take(sorted[i].first, batch);
        if (!Resolve(batch, of_tables)) return;
      }
      if (!of_tables.counts.empty()) pieces_[number] = Joined(pieces_[number], of_tables);
    }
  }
  static Piece Joined(const Piece& a, const Piece& b) {
    Piece out;
    std::size_t i = 0, j = 0, at_a = 0, at_b = 0;
    const auto take = [&out](const Piece& from, std::size_t& k, std::size_t& at) {
      const std::uint32_t count = from.counts[k++].references;
      out.targets.insert(out.targets.end(), from.targets.begin() + static_cast<std::ptrdiff_t>(at),
                         from.targets.begin() + static_cast<std::ptrdiff_t>(at + count));
      out.counts.back().references += count;
      at += count;
    };
    while (i < a.counts.size() || j < b.counts.size()) {
      const NodeId node = std::min(i < a.counts.size() ? a.counts[i].node : heap::kNoNode, j < b.counts.size() ? b.counts[j].node : heap::kNoNode);
      out.counts.push_back({node, 0});
      if (i < a.counts.size() && a.counts[i].node == node) take(a, i, at_a);
      if (j < b.counts.size() && b.counts[j].node == node) take(b, j, at_b);
    }
    return out;
  }

  // Block by block, so that the references are never there twice.
  void Merge(unsigned threads) {
    std::vector<graph::CsrGraph::Block> blocks = heap_.graph.TakeBlocks();
    std::size_t owners = 0;
    for (const Piece& piece : pieces_) owners += piece.counts.size();
    heap_.owns_beside.reserve(owners);
    for (const Piece& piece : pieces_) heap_.owns_beside.insert(heap_.owns_beside.end(), piece.counts.begin(), piece.counts.end());
    ForEachPiece(
        blocks.size(), threads,
        [&](std::size_t number, unsigned) {
          if (!pieces_[number].counts.empty()) heap::AppendOwned(pieces_[number].counts, pieces_[number].targets, blocks[number]);
          FreeMemory(pieces_[number].targets);
          FreeMemory(pieces_[number].counts);
          return true;
        },
        [](std::size_t) { return true; });
    heap_.graph = graph::CsrGraph(std::move(blocks));
  }
  const objects::ObjectReader& reader_;
  const target::MemoryImage& memory_;
  const objects::Ownership& ownership_;
  const Limits& limits_;
  ProgressSink& progress_;
  heap::HeapSnapshot& heap_;
  std::vector<const TypeFacts*> types_;  // by type record; nullptr: instances own nothing beside
  std::unordered_set<Address> of_classes_;
  std::vector<Piece> pieces_;
  std::atomic<std::uint64_t> count_{0};
  std::atomic<bool> too_many_{false};
  std::uint64_t bytes_ = 0, most_ = 0;
};

}  // namespace

Result<void> AddOwnedReferences(const objects::ObjectReader& reader, const objects::Ownership& ownership, const Limits& limits,
                                ProgressSink& progress, heap::HeapSnapshot& heap) {
  Result<void> done = Adder(reader, ownership, limits, progress, heap).Run();
  TrimFreedMemory();
  return done;
}

}  // namespace pygc::snapshot
