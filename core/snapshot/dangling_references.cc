#include "core/snapshot/dangling_references.h"

#include <algorithm>
#include <utility>

#include "core/base/parallel.h"

namespace pygc::snapshot {
namespace {

using graph::NodeId;

using cpython::Field;
using objects::ReaderKind;

constexpr unsigned kRangeShift = 14;  // ids in one piece of work

// Items that a container counts and does not have: its table was overwritten with zeroes. While a container is being filled it looks the same; what holds it
// then is a thread, and no verdict depends on it.
class ItemCounts {
 public:
  ItemCounts(const target::MemoryImage& memory, const cpython::Layout& layout) : memory_(memory), size_(layout.Offset(Field::PyVarObject_ob_size)), list_items_(layout.Offset(Field::PyListObject_ob_item)), tuple_items_(layout.Offset(Field::PyTupleObject_ob_item)) {
    if (layout.Has(Field::PyDictObject_ma_used)) used_ = layout.Offset(Field::PyDictObject_ma_used);
    if (layout.Has(Field::PyDictObject_ma_values)) values_ = layout.Offset(Field::PyDictObject_ma_values);
  }
  /// `found`: references that it holds. For list, tuple and dict themselves, and for subclasses of list and tuple.
  [[nodiscard]] bool AreMissing(Address object, const objects::TypeFacts& type, std::uint64_t found) const {
    if (type.reader == ReaderKind::kList || type.reader == ReaderKind::kTuple) return Count(object + size_) > found;
    if (type.reader == ReaderKind::kInstance && type.base_reader == ReaderKind::kList) return HasNull(memory_.ReadPointer(object + list_items_).value_or(0), Count(object + size_));
    if (type.reader == ReaderKind::kInstance && type.base_reader == ReaderKind::kTuple) return HasNull(object + tuple_items_, Count(object + size_));
    if (type.reader != ReaderKind::kDict || used_ == 0) return false;
    if (found == 0 && values_ != 0 && memory_.ReadPointer(object + values_).value_or(0) != 0) return false;  // the values inside an instance are the instance's
    const std::uint64_t used = Count(object + used_);
    return used != found && used * 2 != found;  // with keys or without
  }

 private:
  [[nodiscard]] std::uint64_t Count(Address at) const {
    const auto count = memory_.ReadValue<std::int64_t>(at);
    return count && *count > 0 ? static_cast<std::uint64_t>(*count) : 0;
  }

  // Other references of a subclass, to its dict and its type, hide a missing one in the sum. No item of a list or tuple that stands is NULL.
  [[nodiscard]] bool HasNull(Address items, std::uint64_t count) const {
    if (items == 0 || count > kMostItems) return false;  // such a table is not read either, and that is said
    const std::byte* const p = memory_.At(items, count * sizeof(Address));
    if (p == nullptr) return false;
    for (std::uint64_t i = 0; i < count; ++i) {
      if (LoadUnchecked<Address>(p + i * sizeof(Address)) == 0) return true;
    }
    return false;
  }

  static constexpr std::uint64_t kMostItems = std::uint64_t{1} << 40;

  const target::MemoryImage& memory_;
  std::uint32_t size_, list_items_, tuple_items_, used_ = 0, values_ = 0;
};

}  // namespace

ReferentTest::ReferentTest(const objects::ObjectReader& reader)
    : reader_(reader),
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

bool ReferentTest::IsUntracked(Address object) const {
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

Result<std::uint64_t> CheckReferences(const objects::ObjectReader& reader, const graph::NodeSet& nodes, const Limits& limits, ProgressSink& progress,
                                      heap::HeapSnapshot& heap) {
  if (reader.process().LostMemory()) return 0;
  std::vector<const objects::TypeFacts*> facts;
  facts.reserve(heap.types.size());
  for (const heap::TypeRecord& t : heap.types) facts.push_back(t.address == 0 ? nullptr : reader.Type(t.address));
  struct Found {
    std::vector<NodeId> nodes;
    std::uint64_t references = 0;
  };
  const ReferentTest test(reader);
  const bool all_tracked_known = !reader.runtime().layout.flavor.free_threaded && heap.coverage.lists_complete && heap.coverage.in_flight.empty() &&
                                 std::none_of(heap.interpreters.begin(), heap.interpreters.end(), [](const heap::InterpreterRecord& i) { return i.collecting; });
  const ItemCounts items(reader.process().memory, reader.runtime().layout);
  const auto why_no_object = [&](Address to) { return all_tracked_known ? test.WhyNoUntrackedObject(to) : test.WhyNoObject(to); };
  const std::size_t pieces = (std::size_t{heap.size()} + (std::size_t{1} << kRangeShift) - 1) >> kRangeShift;
  std::vector<Found> found(pieces);
  const auto check = [&](std::size_t piece, unsigned) {
    const auto begin = static_cast<NodeId>(piece << kRangeShift);
    const auto end = static_cast<NodeId>(std::min<std::uint64_t>((std::uint64_t{piece} + 1) << kRangeShift, heap.size()));
    NodeId first = begin;
    while (first < end && !nodes.Contains(first)) ++first;
    objects::ReferentBuffer referents;
    heap.index.ForEach(first, end, [&](NodeId n, Address object) {
      const objects::TypeFacts* const type = facts[heap.type[n]];
      const bool being_freed = heap.refcount[n] == 0;
      if (!nodes.Contains(n) || type == nullptr || being_freed || (heap.flags[n] & (heap::kApproximate | heap::kFault)) != 0) return;
      referents.clear();
      if (!objects::IsExact(reader.Referents(object, *type, referents))) return;
      const auto dangling = items.AreMissing(object, *type, referents.size()) + std::count_if(referents.begin(), referents.end(), [&](Address to) {
        return heap.index.Find(to) == heap::kNoNode && why_no_object(to) != nullptr;  // what is tracked was looked at for itself
      });
      if (dangling == 0 || std::binary_search(heap.incomplete.begin(), heap.incomplete.end(), n)) return;  // known already
      found[piece].nodes.push_back(n);
      found[piece].references += static_cast<std::uint64_t>(dangling);
    });
    return true;
  };
  const auto tick = [&](std::size_t done) { return progress.Update("checking references", done << kRangeShift, heap.size()); };
  if (!ForEachPiece(pieces, ThreadCount(limits.threads, pieces), check, tick)) return Fail(ErrorCode::kCancelled, "stopped while checking references");
  std::uint64_t fresh = 0;
  for (const Found& f : found) {
    fresh += f.nodes.size();
    heap.incomplete.insert(heap.incomplete.end(), f.nodes.begin(), f.nodes.end());
    heap.coverage.dangling_references += f.references;
  }
  heap.coverage.dangling_objects += fresh;
  std::sort(heap.incomplete.begin(), heap.incomplete.end());
  return fresh;
}

}  // namespace pygc::snapshot
