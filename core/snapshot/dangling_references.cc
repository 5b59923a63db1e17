#include "core/snapshot/dangling_references.h"

#include <algorithm>
#include <utility>

#include "core/base/parallel.h"
#include "core/objects/offsets.h"
#include "core/snapshot/look_ahead.h"
#include "core/snapshot/object_source.h"
#include "core/snapshot/thread_words.h"

namespace pygc::snapshot {
namespace {

using graph::NodeId;

constexpr unsigned kRangeShift = 14;  // ids in one piece of work
constexpr Address kLeastAlignment = 8;  // of any object
constexpr std::uint64_t kMaxFixedBytes = 1u << 14;  // of an object that a reference may lead into

}  // namespace

ReferentTest::ReferentTest(const objects::ObjectReader& reader, std::function<bool(Address)> is_free)
    : reader_(reader),
      is_free_(std::move(is_free)),
      format_(reader.runtime().gc_head),
      header_(reader.runtime()),
      refs_shift_(reader.runtime().layout.Value(cpython::Constant::GC_REFS_SHIFT)),
      refs_untracked_(reader.runtime().layout.Value(cpython::Constant::GC_REFS_UNTRACKED)) {
  for (const target::MissingRange& m : reader.process().missing_ranges) missing_.push_back(m.range);
  std::sort(missing_.begin(), missing_.end(), [](const AddressRange& a, const AddressRange& b) { return a.begin < b.begin; });
  Address end = 0;
  for (AddressRange& r : missing_) {
    r.begin = std::max(r.begin, end);
    end = std::max(end, r.end);
  }
  std::erase_if(missing_, [](const AddressRange& r) { return r.empty(); });
}

// Memory that the process has and the image has not.
bool ReferentTest::IsMissing(Address a) const {
  const target::Process& process = reader_.process();
  if (process.memory.At(a, 1) != nullptr) return false;
  const auto after = std::partition_point(missing_.begin(), missing_.end(), [a](const AddressRange& r) { return r.begin <= a; });
  return (after != missing_.begin() && std::prev(after)->Contains(a)) || process.FindModule(a) != nullptr;
}

const char* ReferentTest::WhyNoObject(Address a) const {
  const std::byte* const p = reader_.process().memory.At(a, header_.size());
  if (p == nullptr) return IsMissing(a) || IsMissing(a + header_.size() - 1) ? nullptr : "where no memory is";
  const Address type = header_.Type(p);
  return reader_.Type(type) != nullptr || IsMissing(type) ? nullptr : "where no object is";
}

bool ReferentTest::MayBeMissing(Address a) const {
  const std::byte* const p = reader_.process().memory.At(a, header_.size());
  if (p == nullptr) return IsMissing(a) || IsMissing(a + header_.size() - 1);
  const Address type = header_.Type(p);
  return reader_.Type(type) == nullptr && IsMissing(type);
}

const char* ReferentTest::WhyNoLiveObject(Address a) const {
  const std::byte* const p = reader_.process().memory.At(a, header_.size());
  if (p != nullptr && is_free_ && is_free_(a)) return "in a block that was freed";
  if (const char* const why = WhyNoObject(a); why != nullptr || p == nullptr) return why;
  if (HasLinkForCount(p)) return "an object on a free list";
  return header_.IsBeingFreed(p) ? "an object with ob_refcnt 0, which was freed" : nullptr;
}

bool ReferentTest::HasLinkForCount(const std::byte* object) const {
  if (reader_.runtime().refcount == cpython::RefcountFormat::kBiased) return false;
  // No count is as high as an address beyond 4 GiB. From 3.14 on the count has 32 bits, and the 16 above are its overflow, which no live object has.
  const auto word = LoadUnchecked<std::uint64_t>(object + reader_.runtime().layout.Offset(cpython::Field::PyObject_ob_refcnt));
  return word >> 32 != 0 && word >> 48 == 0 && word % 8 == 0 && reader_.process().memory.At(word, 8) != nullptr;
}

bool ReferentTest::IsUntracked(Address object) const {
  if (reader_.runtime().refcount == cpython::RefcountFormat::kBiased) {
    const std::byte* const bits = reader_.process().memory.At(object + reader_.runtime().layout.Offset(cpython::Field::PyObject_ob_gc_bits), 1);
    return bits != nullptr && !GcBits(reader_.runtime().layout).Tracked(LoadUnchecked<std::uint8_t>(bits));
  }
  const std::byte* const p = reader_.process().memory.At(object - format_.size, format_.size);
  if (p == nullptr) return false;
  if (format_.refs_offset != 0) return LoadUnchecked<std::int64_t>(p + format_.refs_offset) >> refs_shift_ == refs_untracked_;  // 2.7 - 3.7
  return LoadUnchecked<std::uint64_t>(p + format_.next_offset) == 0 && (LoadUnchecked<std::uint64_t>(p + format_.prev_offset) & format_.pointer_mask) == 0;
}

// A static object may have no such head; a word in the middle of an object that happens to be the address of a type makes no head before it.
const char* ReferentTest::WhyNoUntrackedObject(Address a) const {
  if (const char* const why = WhyNoObject(a)) return why;
  const target::Process& process = reader_.process();
  const std::byte* const p = process.memory.At(a, header_.size());
  const objects::TypeFacts* const type = p == nullptr ? nullptr : reader_.Type(header_.Type(p));
  if (type == nullptr || !type->have_gc || type->tp_is_gc != 0 || process.FindModule(a) != nullptr) return nullptr;
  return process.memory.At(a - format_.size, format_.size) == nullptr || IsUntracked(a) ? nullptr : "where no object is";
}

std::uint64_t ReferentTest::Dangling(Address object, const objects::TypeFacts& type) const {
  objects::ReferentBuffer referents;
  if (!objects::IsExact(reader_.Referents(object, type, referents))) return 0;
  return static_cast<std::uint64_t>(std::count_if(referents.begin(), referents.end(), [this](Address to) { return WhyNoObject(to) != nullptr; }));
}

namespace {

// Items at the end of a list that C code has not filled yet. One NULL is not enough: it may be one word that was overwritten. More of them are, up to the last
// item and in no other list than PyList_New() makes, unless the page that they begin in is all zeroes: then it was lost.
std::uint64_t NotFilledYet(const objects::ObjectReader& reader, Address object, const objects::TypeFacts& type) {
  constexpr std::uint64_t kPage = 4096, kLeast = 2;
  const AddressRange items = reader.UnfilledItems(object, type);
  if (items.size() < kLeast * 8) return 0;
  const std::byte* const page = reader.process().memory.At(items.begin & ~(kPage - 1), kPage);
  if (page != nullptr && std::all_of(page, page + kPage, [](std::byte b) { return b == std::byte{0}; })) return 0;
  return items.size() / 8;
}

// What lacks members because it is not complete: a thread is just changing it, C code is still making it, and then nothing else refers to it, or takes out one
// after the other.
class Unfinished {
 public:
  Unfinished(const objects::ObjectReader& reader, const heap::HeapSnapshot& heap) : reader_(reader), heap_(heap) {}

  void RemoveFrom(std::vector<NodeId>& nodes) const {
    if (nodes.empty()) return;
    const WordsInHand hand = WordsOfRunningThreads(reader_.process());
    graph::NodeSet emptied(heap_.size());
    const graph::NodeSet referred = ReferredTo(nodes, emptied), on_stacks = hand.any_registers ? OnStacks(nodes) : graph::NodeSet(heap_.size());
    std::erase_if(nodes, [&](NodeId n) {
      const bool changing = hand.any_registers && !hand.died && (hand.Has(heap_.AddressOf(n)) || hand.Has(HeadOf(n)));
      return changing || emptied.Contains(n) || (!referred.Contains(n) && (on_stacks.Contains(n) || IsUnfilledList(n)));
    });
  }

 private:
  [[nodiscard]] Address HeadOf(NodeId n) const { return heap_.AddressOf(n) - reader_.runtime().gc_head.size; }
  [[nodiscard]] bool IsUnfilledList(NodeId n) const {
    const objects::TypeFacts* const type = reader_.Type(heap_.types[heap_.type[n]].address);
    return type != nullptr && !reader_.UnfilledItems(heap_.AddressOf(n), *type).empty();
  }
  [[nodiscard]] graph::NodeSet Set(const std::vector<NodeId>& nodes) const {
    graph::NodeSet set(heap_.size());
    for (const NodeId n : nodes) set.Insert(n);
    return set;
  }
  // True where the object's C code takes items out of a tuple of its own.
  [[nodiscard]] bool TakesItems(NodeId holder) const {
    const objects::TypeFacts* type = reader_.Type(heap_.types[heap_.type[holder]].address);
    if (type != nullptr && type->reader == objects::ReaderKind::kInstance) type = type->traverse_base;
    return type != nullptr && std::any_of(type->fields.begin(), type->fields.end(), [](const objects::VisitedField& f) { return f.items_go; });
  }
  // `emptied`: those that belong to such an object.
  [[nodiscard]] graph::NodeSet ReferredTo(const std::vector<NodeId>& nodes, graph::NodeSet& emptied) const {
    const graph::NodeSet asked = Set(nodes);
    graph::NodeSet referred(heap_.size());
    for (const graph::CsrGraph::Block& block : heap_.graph.blocks()) {
      for (std::size_t i = 0; i + 1 < block.offsets.size(); ++i) {
        for (std::uint32_t e = block.offsets[i]; e < block.offsets[i + 1]; ++e) {
          const NodeId holder = block.first_node + static_cast<NodeId>(i);
          if (!asked.Contains(block.edges[e]) || block.edges[e] == holder) continue;
          referred.Insert(block.edges[e]);
          if (TakesItems(holder)) emptied.Insert(block.edges[e]);
        }
      }
    }
    return referred;
  }
  [[nodiscard]] graph::NodeSet OnStacks(const std::vector<NodeId>& nodes) const {
    const graph::NodeSet asked = Set(nodes);
    graph::NodeSet found(heap_.size());
    ForEachThreadWord(reader_.process(), UsedStacks(reader_.process()), [&](std::uint64_t word, const target::Thread&) {
      for (const Address object : {Address{word}, Address{word} + reader_.runtime().gc_head.size}) {
        if (const NodeId n = heap_.index.Find(object); n != heap::kNoNode && asked.Contains(n)) found.Insert(n);
      }
      return true;
    });
    return found;
  }

  const objects::ObjectReader& reader_;
  const heap::HeapSnapshot& heap_;
};

}  // namespace

Result<std::vector<LostReferences>> FindLostReferences(const objects::ObjectReader& reader, const heap::HeapSnapshot& heap, const graph::NodeSet& nodes,
                                                       const Limits& limits, ProgressSink& progress) {
  std::vector<LostReferences> lost;
  if (reader.process().LostMemory()) return lost;
  std::vector<const objects::TypeFacts*> facts;
  facts.reserve(heap.types.size());
  for (const heap::TypeRecord& t : heap.types) facts.push_back(t.address == 0 ? nullptr : reader.Type(t.address));
  const ReferentTest test(reader);
  const cpython::ObjectHeaderReader header(reader.runtime());
  const auto is_being_freed = [&](NodeId n, Address object) {
    if (heap.refcount[n] != 0) return false;
    const std::byte* const p = reader.process().memory.At(object, header.size());
    return p == nullptr || header.IsBeingFreed(p);
  };
  const auto any = [&](auto&& is) { return std::any_of(heap.interpreters.begin(), heap.interpreters.end(), is); };
  const bool all_tracked_known = !reader.runtime().layout.flavor.free_threaded && heap.coverage.lists_complete && heap.coverage.in_flight.empty() &&
                                 !any([](const heap::InterpreterRecord& i) { return i.collecting; });
  const bool frees = any([](const heap::InterpreterRecord& i) { return i.phase == heap::CollectionPhase::kFreeing || i.phase == heap::CollectionPhase::kBetween; });
  const auto why_no_object = [&](Address to) { return all_tracked_known ? test.WhyNoUntrackedObject(to) : test.WhyNoObject(to); };
  // No object lies in another one. Two fields of one may look like the head of an object: of a tuple with a class in it, the number of its items and the class.
  // A class may have got a metaclass of larger instances after it was made (Shiboken.Object): what it has for certain is what every class has.
  const std::uint32_t class_bytes = objects::Offsets(reader.runtime().layout).heap_type_size;
  const auto is_inside = [&](Address to) {
    const Address before = heap.index.NearestBelow(to, kMaxFixedBytes);
    const NodeId n = before == 0 ? heap::kNoNode : heap.index.Find(before);
    const objects::TypeFacts* const type = n == heap::kNoNode || !heap.IsTracked(n) ? nullptr : facts[heap.type[n]];
    return type != nullptr && to - before < (type->body == objects::BodyKind::kTypeObject ? std::min<std::uint64_t>(type->fixed_bytes, class_bytes) : type->fixed_bytes);
  };
  struct Asked {
    NodeId node;
    Address object;
    const objects::TypeFacts* type;
  };
  const std::size_t pieces = (std::size_t{heap.size()} + (std::size_t{1} << kRangeShift) - 1) >> kRangeShift;
  std::vector<std::vector<LostReferences>> found(pieces);
  const auto check = [&](std::size_t piece, unsigned) {
    const auto begin = static_cast<NodeId>(piece << kRangeShift);
    const auto end = static_cast<NodeId>(std::min<std::uint64_t>((std::uint64_t{piece} + 1) << kRangeShift, heap.size()));
    NodeId first = begin;
    while (first < end && !nodes.Contains(first)) ++first;
    std::vector<Asked> asked;
    heap.index.ForEach(first, end, [&](NodeId n, Address object) {
      const objects::TypeFacts* const type = facts[heap.type[n]];
      if (nodes.Contains(n) && type != nullptr && (heap.flags[n] & (heap::kApproximate | heap::kFault)) == 0) asked.push_back({n, object, type});
    });
    // First the referents of all, then a look at each: both with what comes next asked for.
    std::vector<LostReferences> lost_by;
    std::vector<std::uint32_t> ends;
    objects::ReferentBuffer referents;
    for (std::size_t i = 0; i < asked.size() + kLookAhead; ++i) {
      if (i < asked.size()) __builtin_prefetch(reader.process().memory.At(asked[i].object, 0));
      if (i >= kTableAfter && i - kTableAfter < asked.size()) reader.PrefetchReferents(asked[i - kTableAfter].object, *asked[i - kTableAfter].type);
      if (i < kLookAhead) continue;
      const auto& [n, object, type] = asked[i - kLookAhead];
      if (is_being_freed(n, object) || (!heap.IsTracked(n) && !(type->have_gc && reader.IsGc(object, *type)))) continue;
      const std::size_t before = referents.size();
      if (!objects::IsExact(reader.Referents(object, *type, referents))) {
        referents.resize(before);
        continue;
      }
      LostReferences of{n, frees ? 0 : reader.AbsentMembers(object, *type), 0, 0};
      if (of.absent > 0) of.absent -= std::min(of.absent, NotFilledYet(reader, object, *type));
      lost_by.push_back(of);
      ends.push_back(static_cast<std::uint32_t>(referents.size()));
    }
    std::size_t at = 0;
    for (std::size_t i = 0; i < lost_by.size(); ++i) {
      LostReferences& of = lost_by[i];
      for (; at < ends[i]; ++at) {
        if (at + kLookAhead < referents.size()) heap.index.Prefetch(referents[at + kLookAhead]);
        if (at + kTableAfter < referents.size()) {
          const Address next = referents[at + kTableAfter];
          if (heap.index.Find(next) == heap::kNoNode) __builtin_prefetch(reader.process().memory.At(next, 0));
        }
        const Address to = referents[at];
        const NodeId target = heap.index.Find(to);
        if (target != heap::kNoNode && heap.IsTracked(target)) continue;  // what is tracked was looked at for itself
        const bool inside = is_inside(to);
        if (!inside && (target != heap::kNoNode || why_no_object(to) == nullptr)) continue;
        ++(inside || to % kLeastAlignment != 0 || reader.process().memory.Find(to) == nullptr ? of.astray : of.dangling);
      }
      if (of.Sum() > 0) found[piece].push_back(of);
    }
    return true;
  };
  const auto tick = [&](std::size_t done) { return progress.Update("checking references", done << kRangeShift, heap.size()); };
  if (!ForEachPiece(pieces, ThreadCount(limits.threads, pieces), check, tick)) return Fail(ErrorCode::kCancelled, "stopped while checking references");
  std::vector<NodeId> incomplete;
  for (const std::vector<LostReferences>& f : found) lost.insert(lost.end(), f.begin(), f.end());
  for (const LostReferences& of : lost) {
    if (of.absent > 0) incomplete.push_back(of.node);
  }
  Unfinished(reader, heap).RemoveFrom(incomplete);
  for (LostReferences& of : lost) {
    if (!std::binary_search(incomplete.begin(), incomplete.end(), of.node)) of.absent = 0;
  }
  std::erase_if(lost, [](const LostReferences& of) { return of.Sum() == 0; });
  return lost;
}

Result<std::uint64_t> CheckReferences(const objects::ObjectReader& reader, const graph::NodeSet& nodes, const Limits& limits, ProgressSink& progress,
                                      heap::HeapSnapshot& heap) {
  const Result<std::vector<LostReferences>> lost = FindLostReferences(reader, heap, nodes, limits, progress);
  if (!lost) return tl::unexpected(lost.error());
  std::vector<NodeId> fresh;
  for (const LostReferences& of : *lost) {
    if (std::binary_search(heap.incomplete.begin(), heap.incomplete.end(), of.node)) continue;  // known already
    fresh.push_back(of.node);
    heap.coverage.dangling_references += of.Sum();
  }
  heap.coverage.dangling_objects += fresh.size();
  heap.incomplete.insert(heap.incomplete.end(), fresh.begin(), fresh.end());
  std::sort(heap.incomplete.begin(), heap.incomplete.end());
  return std::uint64_t{fresh.size()};
}

}  // namespace pygc::snapshot
