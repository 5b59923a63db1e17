// In three passes over the snapshot's objects:
//   1  their memory, and blocks that belong to them, are closed: every reference in it is known
//   2  known references: edges of the graph, what no traversal visits, roots; objects of types that are not known are searched
//   3  what is still open of the target's memory, and the registers, are searched for words that are the address of an object
// A place of owned references that is missing here costs recall only: its words are found in pass 3. A wrong one makes a false finding.
#include "core/audit/reference_counter.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <span>

#include "core/audit/memory_cover.h"
#include "core/audit/unreached_objects.h"
#include "core/snapshot/parallel.h"
#include "core/snapshot/stray_objects.h"

namespace pygc::audit {

namespace {

using heap::kNoNode;
using heap::NodeId;
using objects::OwnedSlot;
using objects::TypeFacts;

constexpr unsigned kPieceShift = 14;
constexpr Address kTagBits = 7;               // tagged pointers: stack references, dict-or-values
constexpr std::uint64_t kRedZone = 128;       // below the stack pointer, x86-64 ABI
constexpr std::uint64_t kMaxDeadStack = 64u << 20;
constexpr std::uint64_t kMaxOpenBody = 1u << 20;

void Change(std::uint32_t& cell, std::uint32_t by) { std::atomic_ref<std::uint32_t>(cell).fetch_add(by, std::memory_order_relaxed); }

/// Told of each word that counts as a possible reference to one of a few objects.
struct Watch {
  std::span<const NodeId> targets;
  std::size_t max = 0;
  std::vector<std::vector<PossibleHolder>>* found = nullptr;
};

class Counter {
 public:
  Counter(const AuditInput& in, const Limits& limits, ProgressSink& progress)
      : in_(in), heap_(in.heap), memory_(in.reader.process().memory), limits_(limits), progress_(progress), cover_(memory_) {
    facts_.reserve(heap_.types.size());
    for (const heap::TypeRecord& t : heap_.types) facts_.push_back(t.address != 0 ? in_.reader.Type(t.address) : nullptr);
    for (const Address table : in_.roots.uncounted_tables) {
      if (const NodeId n = heap_.index.Find(table); n != kNoNode) uncounted_.push_back(n);
    }
    FindStaticSegments();
  }

  /// One thread: the places come in the order of addresses.
  void Observe(const Watch& watch) { watch_ = &watch; }
  Result<heap::ReferenceAudit> Run() {
    const NodeId count = heap_.size();
    audit_.known.assign(count, 0);
    audit_.possible.assign(count, 0);
    Classify();
    CloseUnused();
    const bool done = EachPiece("closing the memory of objects", [this](NodeId n, Address a, Scratch& s) { CloseObject(n, a, s); });
    if (done) {
      CloseTables();
      NumberUnreached();
    }
    if (!done || !EachPiece("counting references", [this](NodeId n, Address a, Scratch& s) { CountObject(n, a, s); })) {
      return Fail(ErrorCode::kCancelled, "stopped while counting references");
    }
    CountSharedKeys();
    CountRoots();
    CountBorrowed();
    if (!Search()) return Fail(ErrorCode::kCancelled, "stopped while searching memory for references");
    SearchRegisters();
    // A word that was counted as known and lies in open memory was found there again.
    for (NodeId n = 0; n < count; ++n) audit_.possible[n] = audit_.possible[n] >= 0x80000000u ? 0 : audit_.possible[n];
    audit_.blocks_in_use = in_.blocks.blocks_in_use();
    audit_.allocator_damage = in_.blocks.damage();
    return std::move(audit_);
  }

 private:
  struct Scratch {
    std::vector<OwnedSlot> owned;
    std::vector<AddressRange> buffers;
    objects::ReferentBuffer not_owned;
    std::vector<Address> slots;
    std::vector<Address> shared_keys;
  };

  template <typename F>
  bool EachPiece(const char* stage, F&& f) {
    const std::size_t pieces = (std::size_t{heap_.size()} + (1u << kPieceShift) - 1) >> kPieceShift;
    const unsigned threads = snapshot::ThreadCount(limits_.threads, pieces);
    scratch_.resize(std::max<std::size_t>(scratch_.size(), threads));
    return snapshot::ForEachPiece(
        pieces, threads,
        [&](std::size_t piece, unsigned thread) {
          const auto begin = static_cast<NodeId>(piece << kPieceShift);
          const auto end = static_cast<NodeId>(std::min<std::uint64_t>(std::uint64_t{begin} + (1u << kPieceShift), heap_.size()));
          heap_.index.ForEach(begin, end, [&](NodeId n, Address a) { f(n, a, scratch_[thread]); });
          return true;
        },
        [&](std::size_t done) { return progress_.Update(stage, done << kPieceShift, heap_.size()); });
  }
  [[nodiscard]] const TypeFacts* FactsOf(NodeId n) const { return facts_[heap_.type[n]]; }
  [[nodiscard]] bool IsUncounted(NodeId n) const { return std::find(uncounted_.begin(), uncounted_.end(), n) != uncounted_.end(); }
  // True when what the object visits is known exactly.
  [[nodiscard]] bool IsExactSource(NodeId n, Address a, const TypeFacts& type) const {
    if (heap_.flags[n] & (heap::kApproximate | heap::kFault)) return false;
    return !(in_.reader.HasBorrowedReferents() && in_.ownership.IsExecuting(a, type));  // 3.14+: stale slots above the saved stack pointer
  }

  void Classify() {
    const bool static_counts = in_.reader.runtime().refcount == cpython::RefcountFormat::kPlain;
    audit_.auditable.assign(heap_.size(), heap::Auditable::kYes);
    heap_.index.ForEach(0, heap_.size(), [&](NodeId n, Address a) {
      const std::uint32_t count = heap_.refcount[n];
      heap::Auditable& is = audit_.auditable[n];
      if (FactsOf(n) == nullptr || count == heap::kSaturated) {
        is = heap::Auditable::kUnreadable;
      } else if (count == heap::kImmortal) {
        is = heap::Auditable::kImmortalCount;
      } else if (count == 0) {
        is = heap::Auditable::kNoCount;
      } else if (static_counts && IsStatic(a)) {
        is = heap::Auditable::kStatic;
      }
    });
  }
  // True for an address in a module's data: its file's, or the anonymous memory behind it (.bss).
  [[nodiscard]] bool IsStatic(Address a) const {
    const std::uint32_t i = memory_.map().Find(a);
    return i != AddressMap::kNone && static_segment_[i] && !in_.blocks.BlockAt(a);
  }
  void FindStaticSegments() {
    const target::Process& process = in_.reader.process();
    for (const target::Segment& s : memory_.segments()) {
      const Address begin = s.range.begin;
      static_segment_.push_back(s.module != 0xFFFFFFFFu || process.FindModule(begin) != nullptr || (begin > 0 && process.FindModule(begin - 1) != nullptr));
    }
  }

  // ---- pass 1

  void CloseUnused() {
    in_.blocks.ForEachUnused([&](AddressRange r) { cover_.Close(r); });
    in_.chunks.ForEachChunk([&](AddressRange memory, bool in_use) {
      if (!in_use) cover_.CloseInside(memory);
    });
    for (const target::Thread& t : in_.reader.process().threads) {
      if (!t.has_registers) continue;
      const target::Segment* const s = memory_.Find(t.stack_pointer());
      if (s == nullptr || in_.reader.process().FindModule(t.stack_pointer()) != nullptr || in_.blocks.BlockAt(t.stack_pointer())) continue;
      const Address top = t.stack_pointer() > kRedZone ? t.stack_pointer() - kRedZone : 0;
      const Address bottom = std::max(s->range.begin, top > kMaxDeadStack ? top - kMaxDeadStack : 0);
      if (bottom < top) cover_.CloseInside({bottom, top});
    }
    for (const AddressRange& r : in_.roots.closed) cover_.CloseInside(r);
  }
  void Close(AddressRange range) {
    if (const std::optional<PymallocHeap::Block> block = in_.blocks.BlockAt(range.begin)) {
      cover_.Close(block->range);  // whatever the structure says: a block has one owner
    } else {
      cover_.Close(range);
    }
  }
  void CloseObject(NodeId n, Address a, Scratch& s) {
    const TypeFacts* const type = FactsOf(n);
    if (type == nullptr || IsStatic(a)) return;
    Close(in_.ownership.Body(a, *type));
    if (heap_.flags[n] & (heap::kApproximate | heap::kFault)) return;
    s.buffers.clear();
    in_.ownership.Buffers(a, *type, s.buffers);
    if (const Address keys = in_.ownership.SharedKeys(a, *type)) in_.ownership.KeysBuffer(keys, s.buffers);
    for (const AddressRange& r : s.buffers) {
      if (!IsStatic(r.begin)) Close(r);
    }
  }
  // Tables whose entries hold no count (2.7: but the dummies of removed ones do), and which are no objects of the snapshot where the collector does not track them.
  void CloseTables() {
    std::vector<AddressRange> buffers;
    for (const Address table : in_.roots.uncounted_tables) {
      const std::byte* p = memory_.At(table, in_.reader.runtime().layout.Size(cpython::Struct::PyObject));
      const TypeFacts* const type = p != nullptr ? in_.reader.Type(LoadUnchecked<std::uint64_t>(p + in_.reader.runtime().layout.Offset(cpython::Field::PyObject_ob_type))) : nullptr;
      if (type == nullptr || type->body != objects::BodyKind::kDict) continue;
      Close(in_.ownership.Body(table, *type));
      buffers.clear();
      in_.ownership.Buffers(table, *type, buffers);
      for (const AddressRange& r : buffers) Close(r);
      if (in_.reader.runtime().layout.Value(cpython::Constant::RULE_DICT_VISITS_KEYS_ALWAYS) == 0) continue;
      std::vector<OwnedSlot> dummies;
      in_.ownership.NotVisited(table, *type, dummies);
      for (const OwnedSlot& o : dummies) Known(0, o.referent);
    }
  }

  void NumberUnreached() {
    // Py_TRACE_REFS: every object is on a list of its own, so words lead to each, and no word to one is no sign.
    if (in_.reader.runtime().layout.flavor.trace_refs) return;
    audit_.unreached = FindUnreached(in_.reader, in_.ownership, heap_, in_.blocks, in_.chunks, cover_);
    if (audit_.unreached.empty()) return;
    unreached_ = heap::ObjectIndex(heap_.index.ranges());
    std::vector<heap::UnreachedObject> numbered;
    for (const heap::UnreachedObject& u : audit_.unreached) {
      if (unreached_.Mark(u.object)) numbered.push_back(u);
    }
    unreached_.Seal();
    audit_.unreached = std::move(numbered);  // ids are ranks by address, as the elements are
  }

  // ---- pass 2

  void Known(Address slot, Address referent) {
    const NodeId n = heap_.index.Find(referent);
    if (n == kNoNode) return;
    Change(audit_.known[n], 1);
    if (slot != 0 && !cover_.IsClosed(slot)) Change(audit_.possible[n], ~0u);  // pass 3 finds the same word
  }
  void CountObject(NodeId n, Address a, Scratch& s) {
    const TypeFacts* const type = FactsOf(n);
    if (type == nullptr || IsUncounted(n)) return;
    const bool exact = IsExactSource(n, a, *type);
    const std::span<const NodeId> visited = heap_.graph.Successors(n);
    if (exact) {
      for (const NodeId to : visited) Change(audit_.known[to], 1);
    }
    s.owned.clear();
    in_.ownership.NotVisited(a, *type, s.owned);
    for (const OwnedSlot& o : s.owned) Known(o.slot, o.referent);
    if (const Address keys = in_.ownership.SharedKeys(a, *type); keys != 0 && (s.shared_keys.empty() || s.shared_keys.back() != keys)) s.shared_keys.push_back(keys);
    s.not_owned.clear();
    in_.ownership.NotOwned(a, *type, s.not_owned);
    for (const Address r : s.not_owned) {
      if (const NodeId to = heap_.index.Find(r); to != kNoNode) Change(audit_.known[to], ~0u);
    }
    if (IsStatic(a)) return;  // its memory is searched with its module's
    if (!exact || !in_.ownership.IsClosed(a, *type)) SearchBody(n, a, *type, exact, s);
  }
  // Words of the object's own memory that are not the places of its known references.
  void SearchBody(NodeId n, Address a, const TypeFacts& type, bool exact, Scratch& s) {
    AddressRange body = in_.ownership.Body(a, type);
    if (const std::optional<PymallocHeap::Block> block = in_.blocks.BlockAt(body.begin)) body = block->range;
    body.begin = (body.begin + 7) & ~Address{7};
    body.end = std::min(body.end, body.begin + kMaxOpenBody);
    const target::Segment* const segment = memory_.Find(body.begin);
    if (segment == nullptr) return;
    body.end = std::min(body.end, segment->range.end);
    s.slots.clear();
    if (exact) in_.ownership.VisitedSlots(a, type, s.slots);
    for (const OwnedSlot& o : s.owned) s.slots.push_back(o.slot);
    std::sort(s.slots.begin(), s.slots.end());
    for (Address at = body.begin; at + 8 <= body.end; at += 8) {
      if (!std::binary_search(s.slots.begin(), s.slots.end(), at)) Possible(LoadUnchecked<std::uint64_t>(segment->bytes + (at - segment->range.begin)), at, n);
    }
  }
  void CountSharedKeys() {
    std::vector<Address> tables;
    for (const Scratch& s : scratch_) tables.insert(tables.end(), s.shared_keys.begin(), s.shared_keys.end());
    std::sort(tables.begin(), tables.end());
    tables.erase(std::unique(tables.begin(), tables.end()), tables.end());
    std::vector<OwnedSlot> owned;
    for (const Address table : tables) {
      owned.clear();
      in_.ownership.KeysOf(table, owned);
      for (const OwnedSlot& o : owned) Known(0, o.referent);
    }
  }
  void CountRoots() {
    for (const RootReference& r : in_.roots.references) Known(r.slot, r.referent);
  }
  void CountBorrowed() {
    for (const auto& [from, to] : heap_.borrowed) {
      const TypeFacts* const type = FactsOf(from);
      if (type != nullptr && !IsUncounted(from) && IsExactSource(from, heap_.AddressOf(from), *type)) Change(audit_.known[to], ~0u);
    }
  }

  // ---- pass 3

  bool Search() {
    std::atomic<std::uint64_t> bytes{0};
    const std::size_t parts = cover_.part_count();
    const bool done = snapshot::ForEachPiece(
        parts, snapshot::ThreadCount(limits_.threads, parts),
        [&](std::size_t part, unsigned) {
          std::uint64_t words = 0;
          cover_.ForEachOpen(part, part + 1, [&](Address at, const std::byte* p, std::uint64_t count) {
            words += count;
            for (std::uint64_t i = 0; i < count; ++i) Possible(LoadUnchecked<std::uint64_t>(p + i * 8), at + i * 8, kNoNode);
          });
          bytes += words * 8;
          return true;
        },
        [&](std::size_t part) { return progress_.Update("searching memory for references", part, parts); });
    audit_.open_bytes = bytes;
    return done;
  }
  void SearchRegisters() {
    for (const target::Thread& t : in_.reader.process().threads) {
      if (!t.has_registers) continue;
      for (const std::uint64_t word : t.registers) Possible(word, 0, kNoNode, t.tid);
    }
  }
  void Possible(std::uint64_t word, Address slot, NodeId owner, std::int32_t tid = 0) {
    if (const NodeId n = heap_.index.Find(word & ~kTagBits); n != kNoNode) {
      Change(audit_.possible[n], 1);
      if (watch_ != nullptr) [[unlikely]] Note(n, slot, owner, tid);
    } else if (unreached_.size() > 0) {
      if (const NodeId u = unreached_.Find(word & ~kTagBits); u != kNoNode) Change(audit_.unreached[u].possible, 1);
    }
  }
  void Note(NodeId n, Address slot, NodeId owner, std::int32_t tid) {
    const auto at = std::lower_bound(watch_->targets.begin(), watch_->targets.end(), n);
    if (at == watch_->targets.end() || *at != n) return;
    std::vector<PossibleHolder>& found = (*watch_->found)[static_cast<std::size_t>(at - watch_->targets.begin())];
    // What was counted as known already lies in open memory too; it is no further reference.
    if (found.size() >= watch_->max || (slot != 0 && IsKnownSlot(slot))) return;
    found.push_back({slot, owner, slot == 0 ? fmt::format("register of thread {}", tid) : PlaceOf(slot)});
  }
  [[nodiscard]] bool IsKnownSlot(Address slot) const {
    const auto at = std::lower_bound(in_.roots.references.begin(), in_.roots.references.end(), slot, [](const RootReference& r, Address a) { return r.slot < a; });
    return at != in_.roots.references.end() && at->slot == slot;
  }
  // "libfoo.so.1: table+0x18"; "stack of thread 12"; "block of 64 bytes at 0x..., +0x8".
  [[nodiscard]] std::string PlaceOf(Address slot) const {
    const target::Process& process = in_.reader.process();
    const target::Module* module = process.FindModule(slot);
    if (module == nullptr && IsStatic(slot)) module = process.FindModule(memory_.Find(slot)->range.begin - 1);  // .bss
    if (module != nullptr) {
      const std::string file = module->path.substr(module->path.rfind('/') + 1);
      const std::uint64_t linked = slot - static_cast<Address>(module->load_bias);
      if (module->file) {
        if (const auto symbol = module->file->SymbolAt(linked); symbol && symbol->is_object) return fmt::format("{}: {}+{:#x}", file, symbol->name, linked - symbol->address);
      }
      return fmt::format("{}+{:#x}", file, linked);
    }
    for (const target::Thread& t : process.threads) {
      const target::Segment* const s = memory_.Find(slot);
      if (t.has_registers && s != nullptr && s->range.Contains(t.stack_pointer()) && slot + kRedZone >= t.stack_pointer()) return fmt::format("stack of thread {}", t.tid);
    }
    if (const auto block = in_.blocks.BlockAt(slot)) return fmt::format("block of {} bytes at {:#x}, +{:#x}", block->range.size(), block->range.begin, slot - block->range.begin);
    if (const std::optional<AddressRange> chunk = in_.chunks.ChunkAt(slot)) return fmt::format("malloc block of {} bytes at {:#x}, +{:#x}", chunk->size(), chunk->begin, slot - chunk->begin);
    return fmt::format("memory at {:#x}", slot);
  }

  const AuditInput& in_;
  const heap::HeapSnapshot& heap_;
  const target::MemoryImage& memory_;
  const Limits& limits_;
  ProgressSink& progress_;
  MemoryCover cover_;
  std::vector<const TypeFacts*> facts_;  // by type record
  std::vector<NodeId> uncounted_;
  std::vector<bool> static_segment_;     // by segment
  std::vector<Scratch> scratch_;
  const Watch* watch_ = nullptr;
  heap::ObjectIndex unreached_;
  heap::ReferenceAudit audit_;
};

}  // namespace

Result<heap::ReferenceAudit> CountReferences(const AuditInput& input, const Limits& limits, ProgressSink& progress) {
  Result<heap::ReferenceAudit> counts = Counter(input, limits, progress).Run();
  if (counts && snapshot::LostMemory(input.reader.process())) {
    counts->surplus_doubts.push_back("memory that may hold references is missing, so a count that is higher than those found may be right");
  }
  return counts;
}

std::vector<std::vector<PossibleHolder>> FindPossibleHolders(const AuditInput& input, std::span<const NodeId> targets, std::size_t max, const Limits& limits,
                                                             ProgressSink& progress) {
  std::vector<std::vector<PossibleHolder>> found(targets.size());
  const Watch watch{targets, max, &found};
  Limits one = limits;
  one.threads = 1;
  Counter counter(input, one, progress);
  counter.Observe(watch);
  static_cast<void>(counter.Run());  // stopped: what was found so far is true
  for (std::vector<PossibleHolder>& list : found) {
    std::sort(list.begin(), list.end(), [](const PossibleHolder& a, const PossibleHolder& b) { return a.slot - 1 < b.slot - 1; });  // registers (0) last
  }
  return found;
}

std::vector<std::vector<Holder>> FindHolders(const AuditInput& in, std::span<const NodeId> targets, std::size_t max, ProgressSink& progress) {
  std::vector<std::vector<Holder>> result(targets.size());
  const auto slot_of = [&](NodeId n) -> std::vector<Holder>* {
    const auto at = std::lower_bound(targets.begin(), targets.end(), n);
    return at != targets.end() && *at == n ? &result[static_cast<std::size_t>(at - targets.begin())] : nullptr;
  };
  const auto add = [&](NodeId to, NodeId from, std::string place) {
    std::vector<Holder>* const holders = slot_of(to);
    if (holders != nullptr && holders->size() < max) holders->push_back({from, std::move(place)});
  };
  for (const RootReference& r : in.roots.references) {
    if (const NodeId n = in.heap.index.Find(r.referent); n != kNoNode && slot_of(n) != nullptr) add(n, kNoNode, fmt::format("{} {}", r.where, r.member));
  }
  std::vector<OwnedSlot> owned;
  std::vector<objects::LabelledReferent> labelled;
  std::uint64_t steps = 0;
  in.heap.index.ForEach(0, in.heap.size(), [&](NodeId n, Address a) {
    if (++steps % 65536 == 0) static_cast<void>(progress.Update("finding holders", steps, in.heap.size()));
    const heap::TypeRecord& record = in.heap.types[in.heap.type[n]];
    const TypeFacts* const type = record.address != 0 ? in.reader.Type(record.address) : nullptr;
    if (type == nullptr) return;
    const std::span<const NodeId> visited = in.heap.graph.Successors(n);
    if (std::any_of(visited.begin(), visited.end(), [&](NodeId to) { return slot_of(to) != nullptr; })) {
      labelled.clear();
      in.reader.LabelledReferents(a, *type, labelled);
      for (const objects::LabelledReferent& l : labelled) {
        if (const NodeId to = in.heap.index.Find(l.referent); to != kNoNode && slot_of(to) != nullptr) add(to, n, in.reader.LabelText(l));
      }
    }
    owned.clear();
    in.ownership.NotVisited(a, *type, owned);
    for (const OwnedSlot& o : owned) {
      if (const NodeId to = in.heap.index.Find(o.referent); to != kNoNode && slot_of(to) != nullptr) add(to, n, fmt::format(".{}", o.name));
    }
  });
  return result;
}

}  // namespace pygc::audit
