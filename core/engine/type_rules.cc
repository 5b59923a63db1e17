#include "core/engine/type_rules.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/audit/block_heap.h"
#include "core/cpython/object_header.h"
#include "core/engine/audit_data.h"
#include "core/report/numbers.h"

namespace pygc::engine {
namespace {

using cpython::Constant;
using heap::NodeId;
using objects::ReaderKind;
using objects::TypeFacts;

constexpr std::uint64_t kMaxInstances = 1000;    // of one type that are looked at
constexpr std::uint64_t kMaxBody = 1u << 16;     // bytes of one
constexpr std::uint64_t kMaxInstancesWithBlocks = 64;  // the same, whose memory elsewhere is looked at
constexpr std::size_t kMaxBlocksOfOne = 64, kMaxBlocks = 1u << 16;
constexpr std::size_t kNoBlockYet = ~std::size_t{0};
constexpr std::size_t kMaxFaults = 1000;
constexpr std::size_t kMaxCycle = 256;           // objects without tp_clear that are followed from one
constexpr std::uint8_t kNotKnown = 2;

struct Instances {
  NodeId first = heap::kNoNode;
  std::uint64_t count = 0;
  // of a type without Py_TPFLAGS_HAVE_GC:
  std::uint64_t looked_at = 0, holding = 0;
  Address example = 0, held = 0;
  Address last_holding = 0;
  // in memory that was freed, or with a count of 0 though nothing frees them:
  std::uint64_t freed = 0;
  Address freed_example = 0;
};

class Checker {
 public:
  explicit Checker(const CommandInput& in) : in_(in), heap_(in.heap), layout_(in.reader.runtime().layout), pools_(audit::ReadBlocks(in.reader.process(), in.reader.runtime(), in.request.limits)), instances_(heap_.types.size()) {}

  report::TypeRules Run() {
    LookAtInstances();
    LookAtHolders();
    for (std::uint32_t t = 0; t < heap_.types.size(); ++t) {
      const TypeFacts* const facts = heap_.types[t].address != 0 ? in_.reader.Type(heap_.types[t].address) : nullptr;
      if (facts == nullptr || instances_[t].count == 0) continue;
      ++rules_.types;
      CheckVisitsType(t, *facts);
      CheckSlots(t, *facts);
      CheckClears(t, *facts);
      CheckVisitsOwned(t, *facts);
      CheckHolds(t);
      CheckUntracks(t);
    }
    if (in_.audit == nullptr) rules_.not_checked.push_back({"holds-objects-without-gc", "it needs the audit of counts, which this build does not have"});
    if (!VisitingRuleHolds()) rules_.not_checked.push_back({"traverse-visits-type", "instances of heap types do not own their type, or subtype_traverse visits it, up to 3.8"});
    return std::move(rules_);
  }

 private:
  [[nodiscard]] bool VisitingRuleHolds() const { return layout_.Value(Constant::RULE_HEAP_TYPE_VISITED_UNLESS_BASE_DOES, 0) != 0; }

  void LookAtInstances() {
    const cpython::ObjectHeaderReader header(in_.reader.runtime());
    heap_.index.ForEach(0, heap_.size(), [&](NodeId n, Address a) {
      const std::uint32_t t = heap_.type[n];
      Instances& i = instances_[t];
      if (i.count++ == 0) i.first = n;
      if (!heap_.IsTracked(n)) return;
      const auto block = pools_.BlockAt(a);
      const std::byte* const p = in_.reader.process().memory.At(a, header.size());
      const bool dying = std::binary_search(heap_.dying.begin(), heap_.dying.end(), n);
      if ((block && !block->in_use) || (!dying && heap_.refcount[n] == 0 && (p == nullptr || header.StoredCountIsZero(p)))) {
        if (i.freed++ == 0) i.freed_example = a;
      }
    });
  }

  [[nodiscard]] bool OfInterpreter(std::uint32_t t) const { return IsOfInterpreter(in_.reader, heap_.types[t]); }
  void Add(std::uint32_t t, const char* rule, std::string what, const char* remedy, Address example) {
    if (rules_.faults.size() >= kMaxFaults) return;
    const std::string& file = heap_.types[t].module_file;
    rules_.faults.push_back({rule, heap_.types[t].name, file, std::move(what), remedy, instances_[t].count, example});
  }

  // CPython 3.9+: every instance of a heap type owns its type, and subtype_traverse leaves it to the C code of a base to visit it.
  void CheckVisitsType(std::uint32_t t, const TypeFacts& f) {
    if (!VisitingRuleHolds() || !f.is_heap_type || !f.have_gc || f.traverse_reader != ReaderKind::kMachine || in_.audit == nullptr) return;
    const NodeId n = instances_[t].first;
    if (heap_.flags[n] & (heap::kApproximate | heap::kFault)) return;
    const Address a = heap_.AddressOf(n);
    if (in_.audit->ownership.VisitsOwnType(a, f)) return;
    Add(t, "traverse-visits-type", "its tp_traverse does not visit the type, which every instance owns: a cycle through the type is never freed",
        "Py_VISIT(Py_TYPE(self)) in tp_traverse, for 3.9 and later", a);
  }

  void CheckSlots(std::uint32_t t, const TypeFacts& f) {
    if (!f.have_gc) return;
    if (f.tp_traverse == 0) {
      Add(t, "gc-has-traverse", "it has Py_TPFLAGS_HAVE_GC and no tp_traverse: what its instances hold is hidden from the collector", "give it a tp_traverse that visits every object it owns",
          heap_.AddressOf(instances_[t].first));
    }
  }

  // A type whose instances cannot change need no tp_clear; others do where a cycle has nothing else that the collector can break. Told by its effect: an
  // instance that leads back to itself through objects of types without tp_clear alone.
  void CheckClears(std::uint32_t t, const TypeFacts& f) {
    if (!f.have_gc || f.tp_traverse == 0 || OfInterpreter(t) || !IsWithoutClear(t)) return;
    NodeId n = instances_[t].first;
    for (std::uint64_t seen = 0; n < heap_.size() && seen < kMaxInstances; ++n) {
      if (heap_.type[n] != t) continue;
      ++seen;
      if (!LeadsBack(n)) continue;
      Add(t, "gc-has-clear", "it has Py_TPFLAGS_HAVE_GC and no tp_clear, and an instance is in a cycle in which nothing has one: the collector cannot break it",
          "give it a tp_clear that gives up every reference through which a cycle can be made", heap_.AddressOf(n));
      return;
    }
  }
  [[nodiscard]] bool IsWithoutClear(std::uint32_t t) {
    if (without_clear_.empty()) without_clear_.resize(heap_.types.size(), kNotKnown);
    std::uint8_t& is = without_clear_[t];
    if (is == kNotKnown) {
      const Address type = heap_.types[t].address;
      const bool known = type != 0 && layout_.Has(cpython::Field::PyTypeObject_tp_clear);
      is = known && in_.reader.process().memory.ReadPointer(type + layout_.Offset(cpython::Field::PyTypeObject_tp_clear)).value_or(1) == 0;
    }
    return is == 1;
  }
  [[nodiscard]] bool LeadsBack(NodeId from) {
    std::vector<NodeId> seen{from};
    for (std::size_t next = 0; next < seen.size() && seen.size() < kMaxCycle; ++next) {
      for (const NodeId to : heap_.Visited(seen[next])) {
        if (to == from) return true;
        if (IsWithoutClear(heap_.type[to]) && std::find(seen.begin(), seen.end(), to) == seen.end() && seen.size() < kMaxCycle) seen.push_back(to);
      }
    }
    return false;
  }

  [[nodiscard]] std::string VisitedTwiceText(const DeficitSource& s, const TypeFacts& f) const {
    const Address a = heap_.AddressOf(s.example);
    if (in_.audit->ownership.Body(a, f).Contains(s.twice)) return fmt::format("the word at +{:#x} of its instances", s.twice - a);
    return fmt::format("a word that its instances point to ({:#x}, of the one at {:#x})", s.twice, a);
  }
  // See deficit_sources.h: many deficits, one type.
  void CheckVisitsOwned(std::uint32_t t, const TypeFacts& f) {
    if (in_.audit == nullptr) return;
    for (const DeficitSource& s : in_.audit->deficit_sources) {
      if (s.type != &f) continue;
      Add(t, "traverse-visits-owned",
          fmt::format("its tp_traverse shows {} to {} whose counts have no room for them{}", report::Counted(s.references, "reference"), report::Counted(s.objects.size(), "object"),
                      s.twice == 0 ? "" : "; it visits " + VisitedTwiceText(s, f) + " twice"),
          s.twice == 0 ? "visit only what the instance holds a counted reference to, and keep that reference for as long" : "visit each reference once", heap_.AddressOf(s.example));
    }
  }

  // Objects of a type without GC whose memory holds counted references to objects that can be in cycles.
  void CheckHolds(std::uint32_t t) {
    const Instances& i = instances_[t];
    if (i.holding == 0) return;
    Add(t, "holds-objects-without-gc",
        fmt::format("it has no Py_TPFLAGS_HAVE_GC, and {} of {} instances looked at hold an object that can be in a cycle (one: {:#x} holds {:#x})", i.holding, i.looked_at, i.example, i.held),
        "add Py_TPFLAGS_HAVE_GC with tp_traverse and tp_clear", i.example);
  }

  void CheckUntracks(std::uint32_t t) {
    const Instances& i = instances_[t];
    if (i.freed == 0) return;
    Add(t, "dealloc-untracks", fmt::format("{} of its instances are in the collector's lists although they were freed", i.freed), "PyObject_GC_UnTrack(self) at the beginning of tp_dealloc",
        i.freed_example);
  }

  // Fills Instances::holding.
  void LookAtHolders() {
    if (in_.audit == nullptr) return;
    std::vector<const TypeFacts*> open(heap_.types.size(), nullptr);
    for (std::uint32_t t = 0; t < heap_.types.size(); ++t) {
      const TypeFacts* const f = heap_.types[t].address != 0 ? in_.reader.Type(heap_.types[t].address) : nullptr;
      if (f != nullptr && !f->have_gc && f->body == objects::BodyKind::kOpen && !OfInterpreter(t)) open[t] = f;
    }
    heap_.index.ForEach(0, heap_.size(), [&](NodeId n, Address a) {
      const TypeFacts* const f = open[heap_.type[n]];
      Instances& i = instances_[heap_.type[n]];
      if (f == nullptr || i.looked_at >= kMaxInstances) return;
      ++i.looked_at;
      const AddressRange body = in_.audit->ownership.Body(a, *f);
      for (Address at = a + layout_.Size(cpython::Struct::PyObject); at + 8 <= std::min(body.end, a + kMaxBody); at += 8) {
        const std::byte* const p = in_.reader.process().memory.At(at, 8);
        const NodeId to = p != nullptr ? heap_.index.Find(LoadUnchecked<std::uint64_t>(p)) : heap::kNoNode;
        if (to == heap::kNoNode || !IsExplainedByWords(to)) continue;
        if (i.holding++ == 0) {
          i.example = a;
          i.held = heap_.AddressOf(to);
        }
        return;
      }
    });
    LookIntoBlocks(open);
  }

  /// A block of C code's memory that an instance leads to, by way of other such blocks.
  struct OwnBlock {
    AddressRange range;
    std::size_t from;  // the block that leads to it; its own index where the instance does
    std::uint32_t type;
    Address instance;
    Address held = 0;        // a tracked object that it may hold
    std::uint32_t words = 0;  // that lead to it, in all memory
  };
  // True where the count of the object needs a reference from a word like this; other words may be stale, or borrowed.
  [[nodiscard]] bool IsExplainedByWords(NodeId n) const {
    const heap::ReferenceAudit& counts = in_.audit->counts;
    return heap_.IsTracked(n) && counts.auditable[n] == heap::Auditable::kYes && heap_.refcount[n] > counts.known[n] && heap_.refcount[n] - counts.known[n] >= counts.possible[n];
  }
  // The same for what lies in memory of the instance's own: blocks that nothing else leads to (a std::vector, an array of PyObject*).
  void LookIntoBlocks(const std::vector<const TypeFacts*>& open) {
    std::vector<AddressRange> chunks;  // that C code has
    in_.audit->chunks.ForEachChunk([&](AddressRange memory, bool in_use) {
      if (in_use) chunks.push_back(memory);
    });
    std::sort(chunks.begin(), chunks.end(), [](const AddressRange& a, const AddressRange& b) { return a.begin < b.begin; });
    const auto block_at = [&](Address a) -> AddressRange {
      if (heap_.index.Find(a) != heap::kNoNode) return {};
      if (const auto block = pools_.BlockAt(a)) return block->in_use && block->range.begin == a ? block->range : AddressRange{};
      const auto at = std::lower_bound(chunks.begin(), chunks.end(), a, [](const AddressRange& c, Address w) { return c.begin < w; });
      return at != chunks.end() && at->begin == a && !pools_.IsFree(a) ? *at : AddressRange{};
    };
    std::vector<OwnBlock> blocks;
    std::vector<std::uint64_t> looked_at(heap_.types.size());
    heap_.index.ForEach(0, heap_.size(), [&](NodeId n, Address a) {
      const std::uint32_t t = heap_.type[n];
      if (open[t] == nullptr || instances_[t].holding != 0 || looked_at[t]++ >= kMaxInstancesWithBlocks || blocks.size() >= kMaxBlocks) return;
      const std::size_t first = blocks.size();
      const auto read = [&](AddressRange memory, std::size_t from) {
        for (Address at = memory.begin; at + 8 <= std::min(memory.end, memory.begin + kMaxBody); at += 8) {
          const std::byte* const p = in_.reader.process().memory.At(at, 8);
          const std::uint64_t word = p != nullptr ? LoadUnchecked<std::uint64_t>(p) : 0;
          if (word == 0 || word % 8 != 0) continue;
          if (from != kNoBlockYet) {
            const NodeId to = heap_.index.Find(word);
            if (to != heap::kNoNode && IsExplainedByWords(to)) blocks[from].held = word;
          }
          const AddressRange block = block_at(word);
          const bool seen = block.end == 0 || std::any_of(blocks.begin() + static_cast<std::ptrdiff_t>(first), blocks.end(), [&](const OwnBlock& b) { return b.range.begin == word; });
          if (!seen && blocks.size() - first < kMaxBlocksOfOne) blocks.push_back({block, from == kNoBlockYet ? blocks.size() : from, t, a});
        }
      };
      read({a + layout_.Size(cpython::Struct::PyObject), in_.audit->ownership.Body(a, *open[t]).end}, kNoBlockYet);
      for (std::size_t next = first; next < blocks.size(); ++next) read(blocks[next].range, next);
    });
    CountWordsTo(blocks);
    for (const OwnBlock& b : blocks) {
      if (b.held == 0) continue;
      const OwnBlock* at = &b;
      while (at->words == 1 && &blocks[at->from] != at) at = &blocks[at->from];
      Instances& i = instances_[b.type];
      if (at->words != 1 || i.last_holding == b.instance) continue;
      i.last_holding = b.instance;
      i.looked_at = std::min(looked_at[b.type], kMaxInstancesWithBlocks);
      if (i.holding++ == 0) {
        i.example = b.instance;
        i.held = b.held;
      }
    }
  }
  void CountWordsTo(std::vector<OwnBlock>& blocks) const {
    if (std::none_of(blocks.begin(), blocks.end(), [](const OwnBlock& b) { return b.held != 0; })) return;
    std::vector<std::pair<Address, std::size_t>> begins;
    for (std::size_t i = 0; i < blocks.size(); ++i) begins.emplace_back(blocks[i].range.begin, i);
    std::sort(begins.begin(), begins.end());
    for (const target::Segment& s : in_.reader.process().memory.segments()) {
      if (!s.writable || s.bytes == nullptr) continue;
      const Address first = (s.range.begin + 7) & ~Address{7};
      for (Address at = first; at + 8 <= s.range.end; at += 8) {
        const auto word = LoadUnchecked<std::uint64_t>(s.bytes + (at - s.range.begin));
        if (word < begins.front().first || word > begins.back().first) continue;
        for (auto i = std::lower_bound(begins.begin(), begins.end(), std::pair<Address, std::size_t>(word, 0)); i != begins.end() && i->first == word; ++i) ++blocks[i->second].words;
      }
    }
  }

  const CommandInput& in_;
  const heap::HeapSnapshot& heap_;
  const cpython::Layout& layout_;
  const audit::BlockHeap pools_;
  std::vector<Instances> instances_;  // by type record
  std::vector<std::uint8_t> without_clear_;  // by type record: 0, 1, kNotKnown
  report::TypeRules rules_;
};

}  // namespace

report::TypeRules CheckTypeRules(const CommandInput& in) {
  return Checker(in).Run();
}

}  // namespace pygc::engine
