// In three passes over the snapshot's objects:
//   1  their memory, and blocks that belong to them, are closed: every reference in it is known. For most types that is all that there is to do beside the
//      edges of the graph (instance_plans.h); keys of dicts are counted on the way
//   2  known references: edges of the graph, what no traversal visits, roots; objects of types that are not known are searched
//   3  what is still open of the target's memory, and the registers, are searched for words that are the address of an object: first what is a root, then
//      the native blocks that roots and objects lead to. Blocks to which nothing leads hold nothing
// A place of owned references that is missing here costs recall only: its words are found in pass 3. A wrong one makes a false finding.
#include "core/audit/reference_counter.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <mutex>
#include <span>

#include "core/audit/c_variables.h"
#include "core/audit/count_state.h"
#include "core/audit/dangling_references.h"
#include "core/audit/held_marker.h"
#include "core/audit/instance_plans.h"
#include "core/audit/left_out_memory.h"
#include "core/audit/known_structures.h"
#include "core/audit/memory_cover.h"
#include "core/audit/native_blocks.h"
#include "core/audit/open_blocks.h"
#include "core/audit/running_frames.h"
#include "core/audit/static_data.h"
#include "core/audit/unreached_objects.h"
#include "core/base/free_memory.h"
#include "core/base/parallel.h"
#include "core/objects/known_owners.h"
#include "core/snapshot/dangling_references.h"
#include "core/snapshot/stray_objects.h"
#include "core/snapshot/thread_words.h"

namespace pygc::audit {

namespace {

using heap::kNoNode;
using heap::NodeId;
using objects::OwnedSlot;
using objects::TypeFacts;

constexpr unsigned kPieceShift = 14;
constexpr std::size_t kLookAhead = 8;    // objects between the first sight of a dict and its table
constexpr std::size_t kEdgesAhead = 16;  // between the first sight of a reference and the count of its target
constexpr std::size_t kKeyBatch = 512;
constexpr std::size_t kAskedPiece = 1024;
constexpr std::uint64_t kMaxDeadStack = 64u << 20;
constexpr std::uint64_t kMaxOpenBody = 1u << 20;
constexpr int kMaxBases = 64;
constexpr std::array<std::byte, 256> kZeroes{};
constexpr std::uint64_t kMaxIntrusive = 1u << 14;  // of an object whose middle another one leads to
constexpr std::ptrdiff_t kMostOfHolder = 16;  // places of one holder that are told
constexpr std::size_t kMaxOwnBlocks = 64;   // of what one lost object leads to that are looked at
constexpr std::uint64_t kMaxTextWithin = 4096, kMostTextHead = 96;  // bytes of a text to whose middle pointers may lead; before the content of any
constexpr std::uint64_t kMaxSlack = 16;  // of a block: less than the allocator's alignment

void Change(std::uint32_t& cell, std::uint32_t by) { std::atomic_ref<std::uint32_t>(cell).fetch_add(by, std::memory_order_relaxed); }

// Sorted, and what overlaps or touches made one.
std::vector<AddressRange> Joined(std::vector<AddressRange> ranges) {
  std::sort(ranges.begin(), ranges.end(), [](const AddressRange& a, const AddressRange& b) { return a.begin < b.begin; });
  std::vector<AddressRange> joined;
  for (const AddressRange& r : ranges) {
    if (r.empty()) continue;
    if (!joined.empty() && r.begin <= joined.back().end) {
      joined.back().end = std::max(joined.back().end, r.end);
    } else {
      joined.push_back(r);
    }
  }
  return joined;
}

class Counter {
 public:
  Counter(const AuditInput& in, const Limits& limits, ProgressSink& progress)
      : in_(in),
        heap_(in.heap),
        memory_(in.reader.process().memory),
        limits_(limits),
        progress_(progress),
        state_(in.reader.process(), in.reader.runtime(), limits),
        statics_(in.reader.process(), in.blocks),
        words_(in, audit_),
        cover_(memory_),
        plans_(PlanInstances(in)),
        stack_ends_(StackEndsOfRunningFrames(in.reader, limits)) {
    std::vector<AddressRange> allocated(in_.blocks.arenas());
    for (const MallocArea& area : in_.chunks.areas()) allocated.push_back(area.range);
    allocated.insert(allocated.end(), in_.chunks.mapped().begin(), in_.chunks.mapped().end());
    native_areas_ = AddressMap(Joined(std::move(allocated)));
    for (const Address table : in_.roots.uncounted_tables) {
      if (const NodeId n = heap_.index.Find(table); n != kNoNode) uncounted_.push_back(n);
    }
  }

  /// One thread: the places come in the order of addresses.
  void Observe(const Watch& watch) { words_.Observe(&watch); }
  Result<heap::ReferenceAudit> Run() {
    const NodeId count = heap_.size();
    audit_.known.assign(count, 0);
    audit_.possible.assign(count, 0);
    Classify();
    CloseUnused();
    if (!SeeObjects()) return Stopped();
    CloseTables();
    CloseChunks();
    // With Py_TRACE_REFS lists lead from every object to every other, and objects that the snapshot does not have are not looked for: there all is held.
    if (!TracesReferences()) {
      const std::vector<OpenBlock> open = FindOpenBlocks(in_.blocks, in_.chunks, cover_, limits_.threads);
      native_ = NativeBlocks(open, cover_);
      NumberUnreached(open);
    }
    if (!CountVisited() || !CountAsked()) return Stopped();
    if (heap_.coverage.dangling_references > 0 || dangling_) audit_.dangling = FindDangling(in_, audit_.auditable, progress_);
    CountSharedKeys();
    CountRoots();
    CountBorrowed();
    const std::vector<Address> known_statics = KnownStatics();
    const std::vector<bool> open_types = OpenTypes();
    if (!Mark()) return Stopped();
    audit_.in_variables = FindInVariables(in_, audit_, cover_, statics_, known_statics, static_texts_, open_types, progress_);
    // A word that was counted as known and lies in open memory was found there again.
    for (NodeId n = 0; n < count; ++n) audit_.possible[n] = audit_.possible[n] >= 0x80000000u ? 0 : audit_.possible[n];
    audit_.blocks_in_use = in_.blocks.blocks_in_use();
    audit_.allocator_damage = in_.blocks.damage();
    audit_.native_blocks = native_.size();
    audit_.native_doubts = in_.chunks.doubts();
    if (TracesReferences()) audit_.native_doubts = {"Py_TRACE_REFS links all objects: native memory counts as held as a whole, and lost structures are found by their heads alone"};
    return std::move(audit_);
  }

 private:
  struct Scratch {
    std::vector<OwnedSlot> owned;
    std::vector<AddressRange> buffers;
    objects::ReferentBuffer not_owned, keys;
    std::vector<Address> slots;
    std::vector<Address> module_slots;                       // where modules have what they visit
    std::vector<Address> shared_keys;
    std::vector<Address> texts;
    std::vector<Address> own_chunks;                         // beginnings of objects and buffers that malloc may have given
    std::vector<AddressRange> states;                        // of modules, that malloc may have given: what was asked for
    std::vector<HiddenLink> links;
    std::vector<std::pair<NodeId, std::uint64_t>> pointers;  // words of objects, that may be pointers to native memory
    std::vector<std::pair<Address, NodeId>> held_words;      // the same, of ints
    std::vector<std::pair<Address, NodeId>> open_slots;      // known references in memory that pass 3 searches
    std::vector<std::pair<NodeId, Address>> asked;           // objects that pass 2 looks at
    std::vector<std::uint32_t> owned_types;                  // by type record: references of instances to it that are not visited
  };
  static tl::unexpected<Error> Stopped() { return Fail(ErrorCode::kCancelled, "stopped while counting references"); }

  // Calls f(begin, end, scratch) for pieces of the ids.
  template <typename F>
  bool EachPiece(const char* stage, F&& f) {
    const std::size_t pieces = (std::size_t{heap_.size()} + (1u << kPieceShift) - 1) >> kPieceShift;
    const unsigned threads = ThreadCount(limits_.threads, pieces);
    scratch_.resize(std::max<std::size_t>({scratch_.size(), threads, 1}));
    for (Scratch& s : scratch_) s.owned_types.resize(plans_.size());
    return ForEachPiece(
        pieces, threads,
        [&](std::size_t piece, unsigned thread) {
          const auto begin = static_cast<NodeId>(piece << kPieceShift);
          f(begin, static_cast<NodeId>(std::min<std::uint64_t>(std::uint64_t{begin} + (1u << kPieceShift), heap_.size())), scratch_[thread]);
          return true;
        },
        [&](std::size_t done) { return progress_.Update(stage, done << kPieceShift, heap_.size()); });
  }
  [[nodiscard]] bool TracesReferences() const { return in_.reader.runtime().layout.flavor.trace_refs; }
  [[nodiscard]] const TypeFacts* FactsOf(NodeId n) const { return plans_[heap_.type[n]].type; }
  [[nodiscard]] bool IsUncounted(NodeId n) const { return std::find(uncounted_.begin(), uncounted_.end(), n) != uncounted_.end(); }
  // An object that is being freed may have given up what it still refers to.
  [[nodiscard]] bool IsAlive(NodeId n) const { return audit_.auditable[n] != heap::Auditable::kNoCount && audit_.auditable[n] != heap::Auditable::kFreed; }
  [[nodiscard]] bool IsRead(NodeId n) const { return !(heap_.flags[n] & (heap::kApproximate | heap::kFault)) && IsAlive(n); }
  // True when what the object visits is known exactly.
  [[nodiscard]] bool IsExactSource(NodeId n, Address a, const TypeFacts& type) const {
    if (!IsRead(n)) return false;
    return !(has_stale_slots_ && in_.ownership.IsExecuting(a, type));
  }

  void Classify() {
    const bool static_counts = in_.reader.runtime().refcount == cpython::RefcountFormat::kPlain;
    const snapshot::ReferentTest referents(in_.reader);
    audit_.auditable.assign(heap_.size(), heap::Auditable::kYes);
    heap_.index.ForEach(0, heap_.size(), [&](NodeId n, Address a) {
      const std::uint32_t count = heap_.refcount[n];
      heap::Auditable& is = audit_.auditable[n];
      if (FactsOf(n) == nullptr || count == heap::kSaturated) {
        is = heap::Auditable::kUnreadable;
      } else if (count == heap::kImmortal) {
        is = heap::Auditable::kImmortalCount;
      } else if (count == 0 && !state_.LivesWithout(a)) {
        is = heap::Auditable::kNoCount;
      } else if (!state_.IsSettled(a)) {
        is = heap::Auditable::kUnsettled;
      } else if (static_counts && IsStatic(a)) {
        is = heap::Auditable::kStatic;
      }
      // Few counts can be the lower half of an address.
      if (count == heap::kSaturated || (!static_counts && (count == heap::kImmortal || (count != 0 && count % 8 == 0)))) {
        const std::byte* const p = memory_.At(a, in_.reader.runtime().layout.Size(cpython::Struct::PyObject));
        if (p != nullptr && referents.HasLinkForCount(p)) is = heap::Auditable::kFreed;
      }
    });
  }
  [[nodiscard]] bool IsStatic(Address a) const { return statics_.Holds(a); }

  // ---- pass 1

  void CloseUnused() {
    MemoryCloser closer(cover_);
    in_.blocks.ForEachUnused([&](AddressRange r) { closer.Close(r); });
    for (const AddressRange& r : in_.blocks.bookkeeping()) cover_.CloseInside(r);
    const std::vector<Address>& waiting = in_.roots.waiting;
    for (const Address a : waiting) {
      if (const std::optional<BlockHeap::Block> block = in_.blocks.BlockAt(a)) closer.Close(block->range);
    }
    auto in_chunk = waiting.begin();
    in_.chunks.ForEachChunk([&](AddressRange memory, bool in_use) {
      if (in_chunk == waiting.end() || *in_chunk < memory.begin || *in_chunk >= memory.end) in_chunk = std::lower_bound(waiting.begin(), waiting.end(), memory.begin);
      const bool waits = in_chunk != waiting.end() && memory.Contains(*in_chunk) && !in_.blocks.BlockAt(*in_chunk);
      // The last word of a chunk that waits in a cache lies in the head of the next one, which holds nothing else but a size.
      if (!in_use || waits) closer.Close({memory.begin, memory.end + 8});
    });
    CloseDeadFrames();
    CloseUnusedSlots();
    cover_.CloseInside(EmergencyPool(in_.reader.process()));
    for (const AddressRange& buffer : StdioBuffers(in_.reader.process())) cover_.CloseInside(buffer);
    for (const MallocArea& area : in_.chunks.areas()) cover_.CloseInside(area.FreeLists());
    for (const snapshot::UsedStack& stack : snapshot::UsedStacks(in_.reader.process())) {
      const Address sp = stack.thread->stack_pointer(), top = stack.range.begin;
      const target::Segment* const s = memory_.Find(sp);
      if (s == nullptr || in_.reader.process().FindModule(sp) != nullptr || in_.blocks.BlockAt(sp)) continue;
      const Address bottom = stack.is_whole ? stack.memory.begin : std::max(stack.memory.begin, BottomOfDeadStack(*s, top));
      if (bottom < top) cover_.CloseInside({bottom, top});
    }
    for (const std::vector<AddressRange>* known : {&in_.roots.closed, &state_.queues()}) {
      for (const AddressRange& r : *known) cover_.CloseInside(r);
    }
  }
  // Where nothing tells how far down a stack goes: to the first page that was never written to. A guard page need not be a mapping of its own: where glibc makes it within the stack's (2.42 on Linux 6.13)
  // the kernel dumps it as zeroes, and what is mapped below, a chunk of Python's frames or an arena, is in one segment with the stack.
  [[nodiscard]] static Address BottomOfDeadStack(const target::Segment& s, Address top) {
    constexpr Address kPage = 4096;
    const Address least = std::max(s.range.begin, top > kMaxDeadStack ? top - kMaxDeadStack : 0);
    Address bottom = top;
    while (bottom > least) {
      const Address page = std::max(least, (bottom - 1) / kPage * kPage);
      const std::span<const std::byte> bytes{s.bytes + (page - s.range.begin), bottom - page};
      if (std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; })) break;
      bottom = page;
    }
    return bottom;
  }
  // What is above a value stack's top was popped.
  void CloseUnusedSlots() {
    for (const AddressRange& slots : UnusedStackSlots(in_.reader, limits_)) {
      if (memory_.At(slots.begin, slots.size()) != nullptr) cover_.CloseInside(slots);
    }
  }
  // Frames that have returned lie above the top of the thread's stack of frames. CPython: _PyThreadState_PushFrame(), Python/pystate.c [3.11+].
  void CloseDeadFrames() {
    const cpython::Layout& layout = in_.reader.runtime().layout;
    if (!layout.Has(cpython::Field::PyThreadState_datastack_top) || !layout.Has(cpython::Field::PyThreadState_datastack_limit)) return;
    for (const cpython::Interpreter& i : in_.reader.runtime().interpreters) {
      for (const cpython::PyThread& t : i.threads) {
        const Address top = memory_.ReadPointer(t.tstate + layout.Offset(cpython::Field::PyThreadState_datastack_top)).value_or(0);
        const Address limit = memory_.ReadPointer(t.tstate + layout.Offset(cpython::Field::PyThreadState_datastack_limit)).value_or(0);
        if (top != 0 && top < limit && limit - top <= kMaxDeadStack && memory_.At(top, limit - top) != nullptr) cover_.CloseInside({top, limit});
      }
    }
  }
  // False where it lies in no block of CPython's allocator.
  bool Close(AddressRange range) {
    const std::optional<BlockHeap::Block> block = in_.blocks.BlockAt(range.begin);
    cover_.Close(block ? block->range : range);  // whatever the structure says: a block has one owner
    return block.has_value();
  }
  // Closes what belongs to each object, and counts what need not be asked for. Objects come in the order of addresses, so their pools do too.
  bool SeeObjects() {
    return EachPiece("closing the memory of objects", [this](NodeId begin, NodeId end, Scratch& s) {
      MemoryCloser closer(cover_);
      BlockHeap::Cursor blocks(in_.blocks);
      std::array<std::pair<NodeId, Address>, kLookAhead> ahead{};
      std::size_t seen = 0;
      heap_.index.ForEach(begin, end, [&](NodeId n, Address a) {
        if (seen >= kLookAhead) SeeObject(ahead[seen % kLookAhead].first, ahead[seen % kLookAhead].second, blocks, closer, s);
        ahead[seen++ % kLookAhead] = {n, a};
        const InstancePlan& plan = plans_[heap_.type[n]];
        if (plan.kind == InstancePlan::Kind::kDict) in_.reader.PrefetchReferents(a, *plan.type);
      });
      for (std::size_t i = seen > kLookAhead ? seen - kLookAhead : 0; i < seen; ++i) SeeObject(ahead[i % kLookAhead].first, ahead[i % kLookAhead].second, blocks, closer, s);
      CountKeys(s, 0);
    });
  }
  void SeeObject(NodeId n, Address a, BlockHeap::Cursor& blocks, MemoryCloser& closer, Scratch& s) {
    const InstancePlan& plan = plans_[heap_.type[n]];
    if (plan.type == nullptr) return;
    if (const AddressRange block = blocks.BlockAt(a - plan.head_bytes); !block.empty()) {
      closer.Close(block);  // whatever the structure says: a block has one owner
      if (!blocks.InUse()) audit_.auditable[n] = heap::Auditable::kFreed;
    } else if (in_.blocks.IsFree(a)) {
      audit_.auditable[n] = heap::Auditable::kFreed;
    } else if (IsStatic(a)) {
      s.asked.emplace_back(n, a);  // its memory is searched with its module's
      s.slots.clear();
      in_.ownership.BorrowedSlots(a, *plan.type, s.slots);
      for (const Address slot : s.slots) cover_.CloseInside({slot, slot + 8});
      return;
    } else {
      closer.Close(in_.ownership.Body(a, *plan.type));
      if (plan.kind != InstancePlan::Kind::kAsk || plan.type->body == objects::BodyKind::kTypeObject) s.own_chunks.push_back(a - plan.head_bytes);
    }
    if (audit_.auditable[n] == heap::Auditable::kFreed) return;  // its words are stale
    const bool read = IsRead(n);
    if (!read || plan.kind == InstancePlan::Kind::kAsk) s.asked.emplace_back(n, a);
    if (!read) return;
    switch (plan.kind) {
      case InstancePlan::Kind::kBody: break;
      case InstancePlan::Kind::kDict: SeeDict(n, a, *plan.type, s); break;
      default:
        s.buffers.clear();
        in_.ownership.Buffers(a, *plan.type, s.buffers);
        if (const Address keys = in_.ownership.SharedKeys(a, *plan.type)) in_.ownership.KeysBuffer(keys, s.buffers);
        CloseBuffers(s);
        if (plan.type->body == objects::BodyKind::kTypeObject) CloseTexts(a, *plan.type, s);
        if (plan.type->body == objects::BodyKind::kModule) CloseBehindState(a, *plan.type, s);
        break;
    }
    if (plan.kind == InstancePlan::Kind::kAsk) return;
    s.owned_types[heap_.type[n]] += plan.owns_type;
    if (plan.may_point_to_native) NotePointers(n, a, plan, s);
  }
  void CloseBuffers(Scratch& s) {
    for (const AddressRange& r : s.buffers) {
      if (IsStatic(r.begin)) continue;
      if (!Close(r)) s.own_chunks.push_back(r.begin);
    }
  }
  // What lies behind a text in its block was there before it. A text that begins no block is a part of something else.
  void CloseTexts(Address a, const TypeFacts& type, Scratch& s) {
    s.texts.clear();
    in_.ownership.TextsOfClass(a, type, s.texts);
    for (const Address text : s.texts) {
      const std::optional<BlockHeap::Block> block = in_.blocks.BlockAt(text);
      if (!block) {
        s.own_chunks.push_back(text);
      } else if (text == block->range.begin || text == block->range.begin + debug_bytes_) {
        cover_.Close(block->range);
      }
    }
  }
  // What lies behind a module's state in its block was there before it. A module without any is given a block of its own, too.
  void CloseBehindState(Address a, const TypeFacts& type, Scratch& s) {
    const AddressRange state = in_.ownership.StateOfModule(a, type);
    if (state.begin == 0) return;
    if (const std::optional<BlockHeap::Block> block = in_.blocks.BlockAt(state.begin)) {
      if (block->range.begin <= state.begin && state.end <= block->range.end) cover_.CloseInside({state.end, block->range.end});
    } else if (!IsStatic(state.begin)) {
      s.states.push_back(state);
    }
  }
  void SeeDict(NodeId n, Address a, const TypeFacts& type, Scratch& s) {
    s.buffers.clear();
    const std::size_t before = s.keys.size();
    Address shared = 0;
    in_.ownership.DictMemory(a, type, s.keys, s.buffers, shared);
    CloseBuffers(s);
    if (IsUncounted(n)) {
      s.keys.resize(before);
      return;
    }
    if (shared != 0 && (s.shared_keys.empty() || s.shared_keys.back() != shared)) s.shared_keys.push_back(shared);
    for (std::size_t i = before; i < s.keys.size(); ++i) heap_.index.Prefetch(s.keys[i]);
    if (s.keys.size() >= kKeyBatch) CountKeys(s, before);
  }
  // Counts the keys up to `end` and keeps those behind it, whose places are still on their way.
  void CountKeys(Scratch& s, std::size_t end) {
    if (end == 0) end = s.keys.size();
    std::size_t found = 0;
    for (std::size_t i = 0; i < end; ++i) {
      const NodeId n = heap_.index.Find(s.keys[i]);
      if (n == kNoNode) {
        dangling_ = true;
        continue;
      }
      __builtin_prefetch(&audit_.known[n], 1);
      s.keys[found++] = n;
    }
    for (std::size_t i = 0; i < found; ++i) Change(audit_.known[s.keys[i]], 1);
    s.keys.erase(s.keys.begin(), s.keys.begin() + static_cast<std::ptrdiff_t>(end));
  }
  // Pointers from an object whose references are all known to native memory: a capsule's structure, the number that a handle is.
  void NotePointers(NodeId n, Address a, const InstancePlan& plan, Scratch& s) {
    if (plan.is_int) {
      if (native_areas_.ranges().empty() || !in_.ownership.MayReach(a, *plan.type, native_areas_.ranges().front().begin)) return;
      if (const std::optional<std::int64_t> value = in_.ownership.SmallInt(a); value && *value > 0 && native_areas_.Find(static_cast<std::uint64_t>(*value)) != AddressMap::kNone)
        s.held_words.emplace_back(static_cast<std::uint64_t>(*value), n);
      return;
    }
    const auto note = [&](const std::byte* p) {
      const auto word = LoadUnchecked<std::uint64_t>(p);
      if (native_areas_.Find(word) != AddressMap::kNone && heap_.index.Find(word) == kNoNode) s.pointers.emplace_back(n, word);
    };
    if (!plan.all_words) {
      const std::byte* const p = plan.words.empty() ? nullptr : memory_.At(a, plan.words.back() + 8);
      for (std::size_t i = 0; p != nullptr && i < plan.words.size(); ++i) note(p + plan.words[i]);
      return;
    }
    const AddressRange words = OwnWords(a, *plan.type);
    for (Address at = words.begin; at < words.end; at += 8) note(memory_.At(at, 8));
  }
  // The whole words of an object from its address on that can be read.
  [[nodiscard]] AddressRange OwnWords(Address a, const TypeFacts& type) const {
    AddressRange body = in_.ownership.Body(a, type);
    body.begin = a;
    if (type.body == objects::BodyKind::kCode) body.end = std::min(body.end, a + type.fixed_bytes);  // behind it are instructions
    const target::Segment* const segment = memory_.Find(a);
    if (segment == nullptr) return {};
    body.end = std::min({body.end, body.begin + kMaxOpenBody, segment->range.end});
    body.end -= std::min(body.size(), body.size() % 8);
    return body;
  }
  // A buffer, or an object whose every word is known, that begins a malloc chunk has all of it. The last word of a chunk lies in the head of the next one: where all before it belongs to an object, it
  // is room that nobody asked for.
  void CloseChunks() {
    std::vector<Address> begins;
    for (Scratch& s : scratch_) {
      begins.insert(begins.end(), s.own_chunks.begin(), s.own_chunks.end());
      FreeMemory(s.own_chunks);
    }
    std::sort(begins.begin(), begins.end());
    std::vector<AddressRange> states;
    for (const Scratch& s : scratch_) states.insert(states.end(), s.states.begin(), s.states.end());
    const auto by_begin = [](const AddressRange& x, const AddressRange& y) { return x.begin < y.begin; };
    std::sort(states.begin(), states.end(), by_begin);
    in_.chunks.ForEachChunk([&](AddressRange memory, bool in_use) {
      if (in_use) {
        for (auto s = std::lower_bound(states.begin(), states.end(), memory, by_begin); s != states.end() && s->begin <= memory.begin + debug_bytes_; ++s) {
          const bool at_start = s->begin == memory.begin || s->begin == memory.begin + debug_bytes_;
          if (at_start && s->end <= memory.end) cover_.CloseInside({s->end, memory.end});
        }
      }
      if (in_use) {
        for (const AddressRange& r : PartsWithoutReferences(memory_, memory)) cover_.CloseInside(r);
      }
      if (in_use && (std::binary_search(begins.begin(), begins.end(), memory.begin) || std::binary_search(begins.begin(), begins.end(), memory.begin + debug_bytes_))) cover_.Close(memory);
      if (in_use && memory.size() > 16 && cover_.IsClosed(memory.begin) && cover_.IsClosed(memory.end - 16)) cover_.Close({memory.end - 8, memory.end});
    });
  }
  // Tables whose entries hold no count (2.7: but the dummies of removed ones do), and which are no objects of the snapshot where the collector does not track them.
  void CloseTables() {
    std::vector<AddressRange> buffers;
    for (const Address table : in_.roots.uncounted_tables) {
      const std::byte* p = memory_.At(table, in_.reader.runtime().layout.Size(cpython::Struct::PyObject));
      const TypeFacts* const type = p != nullptr ? in_.reader.Type(LoadUnchecked<std::uint64_t>(p + in_.reader.runtime().layout.Offset(cpython::Field::PyObject_ob_type))) : nullptr;
      if (type == nullptr || type->body != objects::BodyKind::kDict) continue;
      static_cast<void>(Close(in_.ownership.Body(table, *type)));
      buffers.clear();
      in_.ownership.Buffers(table, *type, buffers);
      for (const AddressRange& r : buffers) static_cast<void>(Close(r));
      if (in_.reader.runtime().layout.Value(cpython::Constant::RULE_DICT_VISITS_KEYS_ALWAYS) == 0) continue;
      std::vector<OwnedSlot> dummies;
      in_.ownership.NotVisited(table, *type, dummies);
      for (const OwnedSlot& o : dummies) Known(o.referent);
    }
  }

  static bool IsBytes(const TypeFacts& type) {
    return !type.have_gc && !type.is_heap_type && type.itemsize == 1 && (type.body == objects::BodyKind::kClosed || type.body == objects::BodyKind::kText);
  }
  void NumberUnreached(std::span<const OpenBlock> open) {
    Unreached unreached = FindUnreached(in_, open, cover_, state_);
    audit_.unreached = std::move(unreached.objects);
    heads_ = std::move(unreached.heads);
    freed_ = std::move(unreached.freed);
    words_.NumberUnreached();
    // One of bytes alone holds nothing: what a read() is given to fill has what lay there before. Not in the blocks of CPython's allocator, where a buffer may
    // begin with the head of what was there before it; malloc writes over that.
    for (const heap::UnreachedObject& u : audit_.unreached) {
      if (u.by_head) continue;
      const TypeFacts* const type = in_.reader.Type(u.type);
      const bool is_bytes = type != nullptr && IsBytes(*type);
      // Nor in modules' data, where two words beside each other may look like the head of one.
      const std::optional<BlockHeap::Block> block = in_.blocks.BlockAt(u.object);
      if (is_bytes && !block && !IsStatic(u.object)) cover_.CloseInside(in_.ownership.Body(u.object, *type));
      // What the allocator added at the end of the block was not asked for.
      if (type == nullptr || !block) continue;
      const Address end = in_.ownership.Body(u.object, *type).end;
      if (end < block->range.end && block->range.end - end < kMaxSlack) cover_.CloseInside({end, block->range.end});
    }
  }

  // ---- pass 2

  NodeId Known(Address slot, Address referent, std::vector<std::pair<Address, NodeId>>& open_slots) {
    const NodeId n = heap_.index.Find(referent);
    if (n == kNoNode) return n;
    Change(audit_.known[n], 1);
    if (slot != 0 && !cover_.IsClosed(slot)) open_slots.emplace_back(slot, n);
    return n;
  }
  void Known(Address referent) {
    if (const NodeId n = heap_.index.Find(referent); n != kNoNode) Change(audit_.known[n], 1);
  }
  // The edges of the graph, block by block.
  bool CountVisited() {
    const std::span<const graph::CsrGraph::Block> blocks = heap_.graph.blocks();
    return ForEachPiece(
        blocks.size(), ThreadCount(limits_.threads, blocks.size()),
        [&](std::size_t i, unsigned) {
          const graph::CsrGraph::Block& block = blocks[i];
          const std::size_t nodes = block.offsets.empty() ? 0 : block.offsets.size() - 1;
          const auto is_source = [&](NodeId n) {
            if (!IsRead(n)) return false;
            const InstancePlan& plan = plans_[heap_.type[n]];
            if (plan.kind != InstancePlan::Kind::kAsk) return plan.kind != InstancePlan::Kind::kDict || !IsUncounted(n);
            return plan.type != nullptr && !IsUncounted(n) && (!has_stale_slots_ || IsExactSource(n, heap_.AddressOf(n), *plan.type));
          };
          const NodeId* const edges = block.edges.data();
          const std::size_t last = block.edges.size();
          // Where the graph has them, references that no traversal shows are counted below, with all others of their kind.
          auto beside = std::partition_point(heap_.owns_beside.begin(), heap_.owns_beside.end(), [&](const heap::OwnedBeside& o) { return o.node < block.first_node; });
          const auto beside_of = [&](NodeId n) {
            while (beside != heap_.owns_beside.end() && beside->node < n) ++beside;
            return beside != heap_.owns_beside.end() && beside->node == n ? beside->references : 0;
          };
          for (std::size_t k = 0; k < nodes; ++k) {
            const std::uint32_t begin = block.offsets[k], end = block.offsets[k + 1] - beside_of(block.first_node + static_cast<NodeId>(k));
            if (begin == end || !is_source(block.first_node + static_cast<NodeId>(k))) continue;
            // A module's traversal may show what it keeps for reuse. CPython: module_traverse(), Modules/_asynciomodule.c [3.12].
            const TypeFacts* const type = FactsOf(block.first_node + static_cast<NodeId>(k));
            const bool of_module = type != nullptr && type->body == objects::BodyKind::kModule;
            for (std::uint32_t e = begin; e < end; ++e) {
              if (e + kEdgesAhead < last) __builtin_prefetch(&audit_.known[edges[e + kEdgesAhead]], 1);
              if (of_module && !IsAlive(edges[e])) continue;
              Change(audit_.known[edges[e]], 1);
            }
          }
          return true;
        },
        [&](std::size_t done) { return progress_.Update("counting references", done, blocks.size()); });
  }
  // Objects of which more must be asked than the plans of their types say.
  bool CountAsked() {
    std::vector<std::pair<NodeId, Address>> asked;
    for (Scratch& s : scratch_) {
      asked.insert(asked.end(), s.asked.begin(), s.asked.end());
      FreeMemory(s.asked);
      for (std::size_t t = 0; t < plans_.size(); ++t) {
        const NodeId type = s.owned_types[t] == 0 ? kNoNode : heap_.index.Find(heap_.types[t].address);
        if (type != kNoNode) Change(audit_.known[type], s.owned_types[t]);
      }
      for (const auto& [n, word] : s.pointers) {
        if (const BlockId b = native_.Find(word); b != kNoBlock) s.links.push_back({n, b, heap::LinkKind::kBlock});
      }
      FreeMemory(s.pointers);
      std::erase_if(s.held_words, [&](const auto& held) { return native_.Find(held.first) == kNoBlock; });
    }
    std::sort(asked.begin(), asked.end());
    const std::size_t pieces = (asked.size() + kAskedPiece - 1) / kAskedPiece;
    return ForEachPiece(
        pieces, static_cast<unsigned>(std::min<std::size_t>(scratch_.size(), std::max<std::size_t>(pieces, 1))),
        [&](std::size_t piece, unsigned thread) {
          for (std::size_t i = piece * kAskedPiece; i < std::min(asked.size(), (piece + 1) * kAskedPiece); ++i) CountObject(asked[i].first, asked[i].second, scratch_[thread]);
          return true;
        },
        [&](std::size_t done) { return progress_.Update("counting what no traversal shows", done, pieces); });
  }
  void CountObject(NodeId n, Address a, Scratch& s) {
    const InstancePlan& plan = plans_[heap_.type[n]];
    const TypeFacts* const type = plan.type;
    if (type == nullptr || IsUncounted(n)) return;
    const bool exact = IsExactSource(n, a, *type);
    s.owned.clear();
    if (!IsAlive(n)) return SearchBody(n, a, *type, false, s);
    in_.ownership.NotVisited(a, *type, s.owned);
    if (exact && type->body == objects::BodyKind::kModule) {
      const std::size_t before = s.module_slots.size();
      in_.ownership.VisitedSlots(a, *type, s.module_slots);
      NoteOpenSlots(std::span(s.module_slots).subspan(before), {}, s);
    }
    const bool has_links = type->body != objects::BodyKind::kDict;  // its keys are leaves
    for (const OwnedSlot& o : s.owned) {
      const NodeId to = Known(o.slot, o.referent, s.open_slots);
      if (has_links && to != kNoNode && o.slot != a + type_offset_ && !plans_[heap_.type[to]].is_leaf) s.links.push_back({n, to, heap::LinkKind::kOwned});
    }
    if (const Address keys = in_.ownership.SharedKeys(a, *type); keys != 0 && (s.shared_keys.empty() || s.shared_keys.back() != keys)) s.shared_keys.push_back(keys);
    s.not_owned.clear();
    in_.ownership.NotOwned(a, *type, s.not_owned);
    for (const Address r : s.not_owned) {
      if (const NodeId to = heap_.index.Find(r); to != kNoNode) Change(audit_.known[to], ~0u);
    }
    if (IsStatic(a)) {  // its memory is searched with its module's
      // PyObject_HEAD_INIT gives it a count of 1 that nobody holds. (Up to 3.11 no such object is audited.)
      if (audit_.auditable[n] == heap::Auditable::kYes) words_.CountInside(n, a);
      return;
    }
    if (in_.ownership.HasStartCount(*type)) words_.CountInside(n, a);
    if (!exact || !in_.ownership.IsClosed(a, *type)) {
      SearchBody(n, a, *type, exact, s);
    } else if (plan.may_point_to_native) {
      SearchPointers(n, a, *type, s);
    }
  }
  // Pointers from an object whose references are all known to native memory: a module's state.
  void SearchPointers(NodeId n, Address a, const TypeFacts& type, Scratch& s) {
    if (type.size_rule == objects::SizeRule::kInt) {
      const std::optional<std::int64_t> value = in_.ownership.SmallInt(a);
      if (value && *value > 0 && native_.Find(static_cast<std::uint64_t>(*value)) != kNoBlock) s.held_words.emplace_back(static_cast<std::uint64_t>(*value), n);
      return;
    }
    const AddressRange words = OwnWords(a, type);
    const Address unwritten = in_.ownership.UnwrittenWord(a, type);
    for (Address at = words.begin; at < words.end; at += 8) {
      if (at == unwritten) continue;
      const auto word = LoadUnchecked<std::uint64_t>(memory_.At(at, 8));
      if (const BlockId b = native_.Find(word); b != kNoBlock && heap_.index.Find(word) == kNoNode) s.links.push_back({n, b, heap::LinkKind::kBlock});
    }
  }
  // What an object visits in memory outside of `body` that pass 3 searches: a module's state.
  void NoteOpenSlots(std::span<const Address> slots, AddressRange body, Scratch& s) const {
    for (const Address slot : slots) {
      const std::byte* const p = body.Contains(slot) || cover_.IsClosed(slot) ? nullptr : memory_.At(slot, 8);
      if (p == nullptr) continue;
      if (const NodeId n = heap_.index.Find(LoadUnchecked<std::uint64_t>(p) & ~Address{7}); n != kNoNode) s.open_slots.emplace_back(slot, n);
    }
  }
  // Words of the object's own memory that are not the places of its known references.
  void SearchBody(NodeId n, Address a, const TypeFacts& type, bool exact, Scratch& s) {
    AddressRange body = in_.ownership.Body(a, type);
    if (const std::optional<BlockHeap::Block> block = in_.blocks.BlockAt(body.begin)) body = block->range;
    body.begin = (body.begin + 7) & ~Address{7};
    body.end = std::min(body.end, body.begin + kMaxOpenBody);
    const target::Segment* const segment = memory_.Find(body.begin);
    if (segment == nullptr) return;
    body.end = std::min(body.end, segment->range.end);
    if (type.body == objects::BodyKind::kFrame) {
      const auto running = std::lower_bound(stack_ends_.begin(), stack_ends_.end(), std::pair<Address, Address>(a, 0));
      if (running != stack_ends_.end() && running->first == a) body.end = std::min(body.end, running->second);
    }
    s.slots.clear();
    if (exact) in_.ownership.VisitedSlots(a, type, s.slots);
    NoteOpenSlots(s.slots, body, s);
    for (const OwnedSlot& o : s.owned) s.slots.push_back(o.slot);
    in_.ownership.BorrowedSlots(a, type, s.slots);
    std::sort(s.slots.begin(), s.slots.end());
    for (Address at = body.begin; at + 8 <= body.end; at += 8) {
      if (std::binary_search(s.slots.begin(), s.slots.end(), at)) continue;
      const auto word = LoadUnchecked<std::uint64_t>(segment->bytes + (at - segment->range.begin));
      if (const NodeId to = words_.Count(word, at, n); to != kNoNode) {
        s.links.push_back({n, to, heap::LinkKind::kWord});
      } else if (const BlockId b = native_.Find(word & kUserBits); b != kNoBlock) {
        s.links.push_back({n, b, heap::LinkKind::kBlock});
      } else if (const NodeId next = NextInIntrusiveList(a, type, word); next != kNoNode) {
        words_.CountInside(next, at, n);
        s.links.push_back({n, next, heap::LinkKind::kWord});
      }
    }
  }
  // A library may link the structures that it was given in the middle of an extension's objects: libev's watchers of one descriptor. The word in one of them that
  // leads to where another has the same structure: at the same place, of a type that both have or derive from. kNoNode: `word` is none.
  [[nodiscard]] NodeId NextInIntrusiveList(Address a, const TypeFacts& type, Address word) const {
    if (type.body != objects::BodyKind::kOpen || word % 8 != 0) return kNoNode;
    const Address b = heap_.index.NearestBelow(word, std::min<std::uint64_t>(type.fixed_bytes, kMaxIntrusive));
    const NodeId n = b != 0 && b != a ? heap_.index.Find(b) : kNoNode;
    const TypeFacts* const other = n != kNoNode ? FactsOf(n) : nullptr;
    if (other == nullptr || other->body != objects::BodyKind::kOpen) return kNoNode;
    const TypeFacts* const declares = DeclaringType(type, word - b);
    return declares != nullptr && declares->tp_base != 0 && declares == DeclaringType(*other, word - b) && !objects::HasBorrowedMiddle(declares->name) ? n : kNoNode;
  }
  // True where the type, or one that it derives from, is one whose middle no pointer holds.
  [[nodiscard]] bool HasBorrowedMiddle(const TypeFacts& type) const {
    const TypeFacts* t = &type;
    for (int i = 0; i < kMaxBases && t != nullptr; ++i) {
      if (objects::HasBorrowedMiddle(t->name)) return true;
      t = t->tp_base != 0 ? in_.reader.Type(t->tp_base) : nullptr;
    }
    return false;
  }
  // The type farthest down the line of bases that has the field at `offset`, or nullptr.
  [[nodiscard]] const TypeFacts* DeclaringType(const TypeFacts& type, std::uint64_t offset) const {
    const TypeFacts* found = nullptr;
    const TypeFacts* t = &type;
    for (int i = 0; i < kMaxBases && t != nullptr && t->fixed_bytes >= offset + 8; ++i) {
      found = t;
      t = t->tp_base != 0 ? in_.reader.Type(t->tp_base) : nullptr;
    }
    return found;
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
      for (const OwnedSlot& o : owned) Known(o.referent);
    }
  }
  void CountRoots() {
    // A module may visit what lies in the interpreter's structures: counted with the module. CPython: faulthandler_traverse(), Modules/faulthandler.c [3.12, 3.13].
    std::vector<Address> of_modules;
    for (const Scratch& s : scratch_) of_modules.insert(of_modules.end(), s.module_slots.begin(), s.module_slots.end());
    std::sort(of_modules.begin(), of_modules.end());
    for (const RootReference& r : in_.roots.references) {
      if (!std::binary_search(of_modules.begin(), of_modules.end(), r.slot)) Known(r.slot, r.referent, scratch_.front().open_slots);
    }
  }
  void CountBorrowed() {
    for (const auto& [from, to] : heap_.borrowed) {
      const TypeFacts* const type = FactsOf(from);
      if (type != nullptr && !IsUncounted(from) && IsExactSource(from, heap_.AddressOf(from), *type)) Change(audit_.known[to], ~0u);
    }
  }

  // Places of known references in static data that pass 3 searches.
  [[nodiscard]] std::vector<Address> KnownStatics() const {
    std::vector<Address> slots;
    for (const Scratch& s : scratch_) {
      for (const auto& [slot, n] : s.open_slots) {
        if (IsStatic(slot)) slots.push_back(slot);
      }
    }
    std::sort(slots.begin(), slots.end());
    return slots;
  }

  // By type record: instances have words that lead to objects and that nobody knows.
  [[nodiscard]] std::vector<bool> OpenTypes() const {
    std::vector<bool> open(plans_.size());
    for (const Scratch& s : scratch_) {
      for (const HiddenLink& link : s.links) {
        if (link.kind == heap::LinkKind::kWord) open[heap_.type[link.from]] = true;
      }
    }
    return open;
  }

  // ---- pass 3

  // What real roots lead to; then what waits for the collector; what is left is lost.
  bool Mark() {
    std::vector<HiddenLink> links;
    for (Scratch& s : scratch_) {
      links.insert(links.end(), s.links.begin(), s.links.end());
      std::vector<HiddenLink>().swap(s.links);
    }
    std::sort(links.begin(), links.end(), [](const HiddenLink& a, const HiddenLink& b) { return a.from != b.from ? a.from < b.from : a.kind != b.kind ? a.kind < b.kind : a.to < b.to; });
    audit_.held.assign(heap_.size(), heap::Held::kNothing);
    std::vector<std::uint8_t> is_leaf;
    for (const InstancePlan& plan : plans_) is_leaf.push_back(plan.is_leaf);
    const MarkInput input{in_, native_, cover_, links, is_leaf, uncounted_, words_.IsObserved()};
    HeldMarker marker(input, words_, audit_.held);
    if (!SearchRoots(marker)) return false;
    HoldRoots(marker);
    if (!marker.Spread(heap::Held::kRoot, progress_)) return false;
    SubtractFoundAgain(marker);
    FindPointersInside();
    if (!FollowPointersInside(marker, heap::Held::kRoot)) return false;
    if (in_.garbage != nullptr) in_.garbage->ForEach([&](NodeId n) { marker.Hold(n); });
    if (!marker.Spread(heap::Held::kGarbage, progress_) || !FollowPointersInside(marker, heap::Held::kGarbage)) return false;
    SettleHeads(marker);
    if (!TracesReferences()) audit_.lost = marker.LostPart(audit_.auditable, audit_.known, audit_.unreached, heads_);
    audit_.native_unreached = marker.UnreachedBlocks();
    SubtractFoundAgain(marker);
    std::erase_if(pointers_inside_, [&](const std::pair<Address, std::size_t>& pointer) { return IsOwnMemory(marker, inside_[pointer.second], native_.Find(pointer.first)); });
    static_cast<void>(CountPointersInside(marker, false));  // those in memory that lost objects lead to
    words_.ForEachObserved([&](PossibleHolder& h) {
      const bool is_block = h.place.starts_with("block of ") || h.place.starts_with("malloc block of ");
      if (std::string what = is_block ? marker.WhatLeadsTo(h.slot) : std::string(); !what.empty()) h.place += ", " + what;
    });
    return true;
  }
  // Where only a head says that there is an object, nothing at all may lead to its block: neither to its beginning nor to its middle. Nor may it refer to memory that is free.
  void SettleHeads(const HeldMarker& marker) {
    for (heap::UnreachedObject& u : audit_.unreached) {
      if (!u.by_head || u.possible != 0) continue;
      if (const BlockId b = native_.Find(u.object); b == kNoBlock || marker.IsReached(b)) u.possible = 1;
    }
    for (const Unreached::Freed& f : freed_) {
      const auto u = std::lower_bound(audit_.unreached.begin(), audit_.unreached.end(), f.object, [](const heap::UnreachedObject& o, Address a) { return o.object < a; });
      if (u != audit_.unreached.end() && u->object == f.object) words_.CountRemains(static_cast<std::size_t>(u - audit_.unreached.begin()), f.word);
    }
  }
  // A known reference in memory that was searched was found there again.
  void SubtractFoundAgain(const HeldMarker& marker) {
    for (Scratch& s : scratch_) {
      std::erase_if(s.open_slots, [&](const std::pair<Address, NodeId>& open) {
        const BlockId b = native_.Find(open.first);
        if (b != kNoBlock && !marker.IsReached(b)) return false;
        Change(audit_.possible[open.second], ~0u);
        return true;
      });
    }
  }
  // C code that keeps the char* of a str or bytes object (a docstring) keeps a reference to the object and no pointer to its beginning. Looked for where a
  // count is not explained otherwise: in memory that is open, and in type objects.
  // CPython: PyUnicode_AsUTF8(), PyBytes_AS_STRING(): the pointer is good for as long as the object lives.
  // So does a library that was given a structure in the middle of an extension's object: libev's lists of gevent's watchers, an intrusive list.
  // Such a pointer holds as any other word does: where it lies in memory that something leads to.
  // An old word of which something shorter was written over leads nearly anywhere: of a long text C code keeps where the content begins.
  struct Inside {
    AddressRange body;
    NodeId node;  // kNoNode: unreached[index]
    std::size_t index;
    bool is_text = false;

    [[nodiscard]] bool LeadsInside(Address a) const { return body.Contains(a) && a != body.begin && (!is_text || body.size() <= kMaxTextWithin || a - body.begin <= kMostTextHead); }
  };
  void FindPointersInside() {
    std::vector<Inside>& inside = inside_;
    const auto is_text = [](const TypeFacts* f) {
      return f != nullptr && (f->size_rule == objects::SizeRule::kStr || f->size_rule == objects::SizeRule::kBytes || f->size_rule == objects::SizeRule::kByteArray || IsBytes(*f));
    };
    std::vector<Inside> unexplained;  // their addresses alone
    heap_.index.ForEach(0, heap_.size(), [&](NodeId n, Address a) {
      const std::uint32_t possible = audit_.possible[n] >= 0x80000000u ? 0 : audit_.possible[n];
      if (audit_.auditable[n] != heap::Auditable::kYes || heap_.refcount[n] <= std::uint64_t{audit_.known[n]} + possible) return;
      unexplained.push_back({{a, a}, n, 0});
      const TypeFacts* const type = FactsOf(n);
      if (is_text(type)) {
        inside.push_back({in_.ownership.Body(a, *type), n, 0, true});
      } else if (type != nullptr && type->body == objects::BodyKind::kOpen && !HasBorrowedMiddle(*type)) {
        inside.push_back({{a, in_.ownership.Body(a, *type).end}, n, 0});
      }
    });
    for (std::size_t i = 0; i < audit_.unreached.size(); ++i) {
      const heap::UnreachedObject& u = audit_.unreached[i];
      const TypeFacts* const type = in_.reader.Type(u.type);
      // The head may be what was left in a block that C code got and uses from its second word on.
      if (u.possible == 0 && u.hanging == 0) unexplained.push_back({{u.object, u.object}, kNoNode, i});
      if (u.possible == 0 && u.hanging == 0 && type != nullptr && !type->have_gc) inside.push_back({in_.ownership.Body(u.object, *type), kNoNode, i, is_text(type)});
    }
    if (inside.empty()) return FindUnaligned(unexplained);
    std::sort(inside.begin(), inside.end(), [](const Inside& a, const Inside& b) { return a.body.begin < b.body.begin; });
    const Address lowest = inside.front().body.begin;
    const Address highest = std::max_element(inside.begin(), inside.end(), [](const Inside& a, const Inside& b) { return a.body.end < b.body.end; })->body.end;
    const auto word = [&](std::uint64_t w, Address slot, NodeId known) {
      if (w <= lowest || w >= highest) return;
      const auto after = std::upper_bound(inside.begin(), inside.end(), w, [](Address a, const Inside& t) { return a < t.body.begin; });
      if (after == inside.begin()) return;
      const Inside& t = *(after - 1);
      if (t.LeadsInside(w) && !t.body.Contains(slot) && (t.node == kNoNode || t.node != known)) pointers_inside_.emplace_back(slot, static_cast<std::size_t>(&t - inside.data()));
    };
    cover_.ForEachOpen(0, cover_.part_count(), [&](Address at, const std::byte* p, std::uint64_t count) {
      for (std::uint64_t i = 0; i < count; ++i) word(LoadUnchecked<std::uint64_t>(p + i * 8), at + i * 8, kNoNode);
    });
    heap_.index.ForEach(0, heap_.size(), [&](NodeId n, Address a) {
      const TypeFacts* const type = FactsOf(n);
      if (type == nullptr || type->body != objects::BodyKind::kTypeObject || !cover_.IsClosed(a)) return;
      const std::byte* const p = memory_.At(a, type->fixed_bytes);
      // A class's tp_name leads to the content of its own __name__, a reference that is known. CPython: type_new_impl(), type_set_name(), Objects/typeobject.c.
      const bool has_name = heap_name_ + 8 <= type->fixed_bytes;
      const Address name = p != nullptr && has_name ? LoadUnchecked<std::uint64_t>(p + heap_name_) : 0;
      const NodeId own = name != 0 ? heap_.index.Find(name) : kNoNode;
      for (std::uint32_t at = 0; p != nullptr && at + 8 <= type->fixed_bytes; at += 8) word(LoadUnchecked<std::uint64_t>(p + at), a + at, at == type_name_ ? own : kNoNode);
    });
    FindUnaligned(unexplained);
  }
  // A packed structure has references where no word begins: looked for only where a count is not explained otherwise.
  void FindUnaligned(std::vector<Inside>& targets) {
    if (targets.empty()) return;
    const auto by_address = [](const Inside& a, const Inside& b) { return a.body.begin < b.body.begin; };
    std::sort(targets.begin(), targets.end(), by_address);
    const Address lowest = targets.front().body.begin, span = targets.back().body.begin - lowest;
    std::mutex mutex;
    std::vector<std::pair<Address, std::size_t>> found;
    const std::size_t parts = cover_.part_count();
    static_cast<void>(ForEachPiece(
        parts, ThreadCount(limits_.threads, parts),
        [&](std::size_t part, unsigned) {
          cover_.ForEachOpen(part, part + 1, [&](Address at, const std::byte* p, std::uint64_t count) {
            for (std::uint64_t i = 1; i + 8 <= count * 8; i += i % 8 == 7 ? 2 : 1) {
              const auto word = LoadUnchecked<std::uint64_t>(p + i);
              if (word - lowest > span) continue;
              const auto to = std::lower_bound(targets.begin(), targets.end(), Inside{{word, word}, kNoNode, 0}, by_address);
              if (to == targets.end() || to->body.begin != word) continue;
              const std::lock_guard lock(mutex);
              found.emplace_back(at + i, static_cast<std::size_t>(to - targets.begin()));
            }
          });
          return true;
        },
        [&](std::size_t part) { return progress_.Update("searching packed structures for references", part, parts); }));
    std::sort(found.begin(), found.end());
    for (const auto& [slot, to] : found) pointers_inside_.emplace_back(slot, inside_.size() + to);
    inside_.insert(inside_.end(), targets.begin(), targets.end());
  }
  // Counts those in memory that something leads to, each once, and has the marker hold their objects. True where there were any.
  bool CountPointersInside(HeldMarker& marker, bool hold) {
    return std::erase_if(pointers_inside_, [&](const std::pair<Address, std::size_t>& pointer) {
             const BlockId b = native_.Find(pointer.first);
             if (b != kNoBlock && !marker.IsReached(b)) return false;
             const Inside& to = inside_[pointer.second];
             if (to.node == kNoNode) {
               words_.CountInsideUnreached(to.index, pointer.first);
             } else {
               words_.CountInside(to.node, pointer.first);
               if (to.is_text && IsStatic(pointer.first)) static_texts_.push_back(to.node);
               if (hold) marker.Hold(to.node);
             }
             return true;
           }) > 0;
  }
  // True for memory that only lost objects lead to, and which an object of a type that is not known leads to itself: what a library made for the structure in its
  // middle leads back there.
  [[nodiscard]] bool IsOwnMemory(const HeldMarker& marker, const Inside& object, BlockId memory) const {
    const heap::UnreachedObject* const u = object.node == kNoNode ? &audit_.unreached[object.index] : nullptr;
    if (u == nullptr || !u->by_head || memory == kNoBlock || !marker.IsLost(memory)) return false;
    std::vector<BlockId> seen{native_.Find(u->object)};
    for (std::size_t i = 0; i < seen.size() && seen.size() < kMaxOwnBlocks; ++i) {
      if (seen[i] == kNoBlock || seen[i] == memory) return seen[i] == memory;
      cover_.ForEachOpenWord(native_.Range(seen[i]), [&](Address, const std::byte* p) {
        const BlockId to = native_.Find(LoadUnchecked<std::uint64_t>(p) & kUserBits);
        if (to != kNoBlock && marker.IsLost(to) && std::find(seen.begin(), seen.end(), to) == seen.end()) seen.push_back(to);
      });
    }
    return std::find(seen.begin(), seen.end(), memory) != seen.end();
  }
  bool FollowPointersInside(HeldMarker& marker, heap::Held as) {
    while (CountPointersInside(marker, true)) {
      if (!marker.Spread(as, progress_)) return false;
    }
    return true;
  }
  void HoldRoots(HeldMarker& marker) {
    const auto hold = [&](NodeId n) {
      if (n != kNoNode) marker.Hold(n);
    };
    for (const RootReference& r : in_.roots.references) {
      hold(heap_.index.Find(r.referent));
      marker.HoldBlockAt(r.slot, r.slot);
    }
    // What is never freed holds what it refers to for ever. What the collector or a thread has in hand is theirs.
    for (NodeId n = 0; n < heap_.size(); ++n) {
      if (audit_.auditable[n] != heap::Auditable::kYes) hold(n);
    }
    for (const heap::InterpreterRecord& i : heap_.interpreters) {
      for (const NodeId n : i.roots) hold(n);
    }
    for (const std::vector<NodeId>* nodes : {&heap_.condemned, &heap_.held_by_dying, &heap_.dying}) {
      for (const NodeId n : *nodes) hold(n);
    }
    for (const Scratch& s : scratch_) {
      for (const auto& [word, of] : s.held_words) marker.HoldBlockAt(word, 0, of);
    }
    for (const target::Thread& t : in_.reader.process().threads) {
      if (!t.has_registers) continue;
      for (const std::uint64_t word : t.registers) {
        hold(words_.Count(word, 0, kNoNode, t.tid));
        marker.HoldBlockAt(word, 0);
      }
    }
  }
  // All open memory that is no native block.
  bool SearchRoots(HeldMarker& marker) {
    std::atomic<std::uint64_t> bytes{0};
    std::mutex mutex;
    const std::size_t parts = cover_.part_count();
    const bool done = ForEachPiece(
        parts, ThreadCount(limits_.threads, parts),
        [&](std::size_t part, unsigned) {
          std::uint64_t words = 0;
          std::vector<NodeId> objects;
          std::vector<std::pair<std::uint64_t, Address>> pointers;
          const auto root = [&](std::uint64_t word, Address at) {
            if (const NodeId n = words_.Count(word, at); n != kNoNode) {
              objects.push_back(n);
            } else if (native_.Find(word & kUserBits) != kNoBlock) {
              pointers.emplace_back(word, at);
            }
          };
          cover_.ForEachOpen(part, part + 1, [&](Address at, const std::byte* p, std::uint64_t count) {
            words += count;
            ForEachOutsideBlocks(at, p, count, root);
          });
          bytes += words * 8;
          const std::lock_guard lock(mutex);
          for (const NodeId n : objects) marker.Hold(n);
          for (const auto& [word, at] : pointers) marker.HoldBlockAt(word, at);
          return true;
        },
        [&](std::size_t part) { return progress_.Update("searching memory for references", part, parts); });
    audit_.open_bytes = bytes;
    return done;
  }
  template <typename F>
  void ForEachOutsideBlocks(Address at, const std::byte* p, std::uint64_t count, F&& f) const {
    const Address end = at + count * 8;
    for (BlockId b = native_.FirstBehind(at); at < end; ++b) {
      const AddressRange block = b < native_.size() ? native_.Range(b) : AddressRange{end, end};
      for (const Address stop = std::min(block.begin, end); at < stop;) {
        const auto word = LoadUnchecked<std::uint64_t>(p);
        if (word != 0) f(word, at);
        // What was never written is all zeroes, and may be large: what mimalloc keeps for more segments.
        const std::uint64_t step = word == 0 && stop - at >= kZeroes.size() && std::memcmp(p, kZeroes.data(), kZeroes.size()) == 0 ? kZeroes.size() : 8;
        at += step;
        p += step;
      }
      if (const Address behind = std::min((block.end + 7) & ~Address{7}, end); behind > at) {
        p += behind - at;
        at = behind;
      }
    }
  }

  const AuditInput& in_;
  const heap::HeapSnapshot& heap_;
  const target::MemoryImage& memory_;
  const Limits& limits_;
  ProgressSink& progress_;
  CountState state_;
  StaticData statics_;
  WordCounter words_;
  MemoryCover cover_;
  NativeBlocks native_;
  AddressMap native_areas_;  // where allocators have memory: a superset of native_
  std::vector<InstancePlan> plans_;  // by type record
  std::vector<std::pair<Address, Address>> stack_ends_;  // see running_frames.h
  std::vector<NodeId> uncounted_;
  const std::uint64_t debug_bytes_ = static_cast<std::uint64_t>(in_.reader.runtime().layout.Value(cpython::Constant::DEBUG_ALLOC_HEADER_BYTES, 16));  // in front of what the debug allocator gives
  // What an executing generator shows: 3.14+ slots above the saved stack pointer; 3.11 what is below a height that a profiler left.
  const bool has_stale_slots_ = in_.reader.HasBorrowedReferents() || in_.reader.runtime().layout.Has(cpython::Field::PyInterpreterFrame_stacktop);
  const std::uint32_t type_name_ = in_.reader.runtime().layout.Offset(cpython::Field::PyTypeObject_tp_name), heap_name_ = in_.reader.runtime().layout.Offset(cpython::Field::PyHeapTypeObject_ht_name);
  const std::uint32_t type_offset_ = in_.reader.runtime().layout.Offset(cpython::Field::PyObject_ob_type);
  std::vector<Scratch> scratch_;
  std::vector<Address> heads_;  // see Unreached
  std::vector<Unreached::Freed> freed_;  // the same
  std::vector<Inside> inside_;  // objects whose count is not explained otherwise, by address; behind them all such by their addresses alone
  std::vector<NodeId> static_texts_;  // static variables lead to their content, one for each
  std::vector<std::pair<Address, std::size_t>> pointers_inside_;  // where pointers to the middle of one lie, or unaligned ones to its beginning, and its index
  std::atomic<bool> dangling_ = false;  // a key that leads to no object was met
  heap::ReferenceAudit audit_;
};

}  // namespace

bool CanCount(const cpython::Runtime& runtime) {
  return runtime.refcount != cpython::RefcountFormat::kBiased || runtime.layout.Value(cpython::Constant::REF_DEFERRED) == 0;
}

Result<heap::ReferenceAudit> CountReferences(const AuditInput& input, const Limits& limits, ProgressSink& progress) {
  Result<heap::ReferenceAudit> counts = Counter(input, limits, progress).Run();
  const target::Process& process = input.reader.process();
  if (counts && (snapshot::LostMemory(process) || input.heap.coverage.lists_lead_out || !input.reader.runtime().state_lost.empty())) {
    counts->memory_lost = true;
    counts->surplus_doubts.push_back("memory that may hold references is missing, so a count that is higher than those found may be right");
  } else if (counts && (LeftOutMemoryMayRefer(process) || input.heap.coverage.left_out_objects > 0)) {
    counts->surplus_doubts.push_back("memory that the process could write to was left out (MADV_DONTDUMP, coredump_filter, a file mapped as shared): it may hold references, so a count "
                                     "that is higher than those found may be right");
  } else if (counts && process.LostStacks()) {
    counts->surplus_doubts.push_back("the stacks of threads are missing, and functions in C hold references there, so a count that is higher than those found may be right");
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
    if (holders == nullptr || holders->size() >= max) return;
    // An array that has it thousands of times leaves room for others.
    if (std::ssize(*holders) >= kMostOfHolder && from != kNoNode && (holders->end() - kMostOfHolder)->holder == from) return;
    holders->push_back({from, std::move(place)});
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
    const std::span<const NodeId> visited = in.heap.Visited(n);
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
