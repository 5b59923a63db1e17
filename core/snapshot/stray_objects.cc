// See stray_objects.h. CPython: gc_list_append(), _PyObject_GC_TRACK(); pool_header, Objects/obmalloc.c [2.7-3.11], pycore_obmalloc.h [3.12+].
#include "core/snapshot/stray_objects.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "core/base/byte_reader.h"
#include "core/cpython/object_header.h"
#include "core/snapshot/collection_phase.h"
#include "core/snapshot/gc_links.h"
#include "core/snapshot/thread_words.h"

namespace pygc::snapshot {
namespace {

using cpython::Constant;
using cpython::Field;
using cpython::Struct;
using target::MissingRange;

constexpr const char* kStage = "looking for objects without their lists";
constexpr std::uint64_t kProgressSteps = 1u << 22;
constexpr std::uint32_t kSmallRequestBytes = 512;  // SMALL_REQUEST_THRESHOLD
constexpr std::uint32_t kWord = 8;
constexpr std::uint32_t kMaxLoneCount = 1u << 24;

// Anonymous memory that a core leaves out: never touched, or left out on purpose.
bool MayBeHeap(const MissingRange& m) { return m.module == 0xFFFFFFFFu && m.use == target::MissingUse::kUnknown; }

// HEURISTIC: many words of the target that are addresses in one such range, on several pages. A wrong yes (a table of places in a buffer that nobody has
// written to yet) makes a partial result of one that already lacks something, or leaves a surplus of references unjudged. A wrong no needs a heap
// that hardly anything refers to.
bool IsPointedTo(const target::Process& process) {
  constexpr std::uint64_t kEnoughWords = 64, kMaxBytes = 256u << 20, kPage = 4096;  // LIMIT: kMaxBytes are looked through
  constexpr std::size_t kEnoughPages = 4;
  struct Range {
    AddressRange range;
    std::uint64_t words = 0;
    std::vector<Address> pages;  // at most kEnoughPages
  };
  std::vector<Range> ranges;
  for (const MissingRange& m : process.missing_ranges) {
    if (MayBeHeap(m) && m.range.size() > kPage) ranges.push_back({m.range, 0, {}});
  }
  if (ranges.empty()) return false;
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.range.begin < b.range.begin; });
  const Address lowest = ranges.front().range.begin, highest = ranges.back().range.end;
  std::uint64_t looked_at = 0;
  for (const target::Segment& s : process.memory.segments()) {
    if (!s.writable || !s.readable || looked_at >= kMaxBytes) continue;
    looked_at += s.range.size();
    for (std::uint64_t at = (kWord - s.range.begin % kWord) % kWord; at + kWord <= s.range.size(); at += kWord) {
      const auto word = LoadUnchecked<std::uint64_t>(s.bytes + at);
      if (word < lowest || word >= highest) continue;
      const auto after = std::partition_point(ranges.begin(), ranges.end(), [&](const Range& r) { return r.range.begin <= word; });
      if (after == ranges.begin() || !std::prev(after)->range.Contains(word)) continue;
      Range& range = *std::prev(after);
      const Address page = word / kPage;
      if (range.pages.size() < kEnoughPages && std::find(range.pages.begin(), range.pages.end(), page) == range.pages.end()) range.pages.push_back(page);
      if (++range.words >= kEnoughWords && range.pages.size() >= kEnoughPages) return true;
    }
  }
  return false;
}

// Pools of CPython's allocator told by their own header: the arenas that hold them need not be known.
class PoolShape {
 public:
  PoolShape(const target::MemoryImage& memory, const cpython::Layout& layout)
      : memory_(memory),
        layout_(layout),
        pool_bytes_(static_cast<std::uint64_t>(layout.Value(Constant::OBMALLOC_POOL_BYTES))),
        alignment_(static_cast<std::uint64_t>(layout.Value(Constant::OBMALLOC_ALIGNMENT, 16))) {
    if (pool_bytes_ == 0 || !std::has_single_bit(pool_bytes_) || alignment_ == 0 || !layout.Has(Struct::pool_header)) pool_bytes_ = 0;
    overhead_ = pool_bytes_ == 0 ? 0 : (layout.Size(Struct::pool_header) + alignment_ - 1) / alignment_ * alignment_;
  }

  /// True where [begin, begin + bytes) just fills a block that a whole and sound pool has handed out.
  [[nodiscard]] bool Holds(Address begin, std::uint64_t bytes) const {
    if (pool_bytes_ == 0) return false;
    const Address pool = begin & ~(pool_bytes_ - 1);
    const std::byte* const p = memory_.At(pool, pool_bytes_);
    if (p == nullptr) return false;
    const auto half = [&](Field f) { return LoadUnchecked<std::uint32_t>(p + layout_.Offset(f)); };
    const std::uint64_t block_bytes = (std::uint64_t{half(Field::pool_header_szidx)} + 1) * alignment_;
    const std::uint64_t used = half(Field::pool_header_ref_count), next = half(Field::pool_header_nextoffset);
    if (block_bytes > kSmallRequestBytes || used == 0 || next < overhead_ || (next - overhead_) % block_bytes != 0 || next > pool_bytes_ + block_bytes) return false;
    const std::uint64_t blocks = std::min(next - overhead_, pool_bytes_ - overhead_) / block_bytes;
    if (begin < pool + overhead_ || used > blocks || bytes > block_bytes || bytes + alignment_ <= block_bytes) return false;
    const std::uint64_t block = (begin - pool - overhead_) / block_bytes;
    if (block >= blocks || (begin - pool - overhead_) % block_bytes != 0) return false;
    return IsInUse(pool + overhead_, block_bytes, blocks, used, LoadUnchecked<std::uint64_t>(p + layout_.Offset(Field::pool_header_freeblock)), block);
  }

 private:
  // The list of free blocks must account for exactly those that are not counted as used, and `wanted` must not be among them.
  [[nodiscard]] bool IsInUse(Address first, std::uint64_t block_bytes, std::uint64_t blocks, std::uint64_t used, Address free, std::uint64_t wanted) const {
    std::uint64_t length = 0;
    for (; free != 0; ++length) {
      if (length >= blocks || free < first || (free - first) % block_bytes != 0 || (free - first) / block_bytes >= blocks) return false;
      if ((free - first) / block_bytes == wanted) return false;
      const auto next = memory_.ReadPointer(free);
      if (!next) return false;
      free = *next;
    }
    return length + used == blocks;
  }

  const target::MemoryImage& memory_;
  const cpython::Layout& layout_;
  std::uint64_t pool_bytes_, alignment_, overhead_ = 0;
};

class StrayFinder {
 public:
  StrayFinder(const target::Process& process, const cpython::Runtime& runtime, const GcObjectTest& gc_object, ProgressSink& progress, FoundObjects& found)
      : process_(process),
        gc_object_(gc_object),
        progress_(progress),
        found_(found),
        links_(process.memory, runtime.gc_head),
        header_(runtime),
        pools_(process.memory, runtime.layout),
        step_(Address{1} << ObjectShift(runtime.layout)),
        strays_(std::vector<heap::ObjectIndex::Range>(found.index.ranges().begin(), found.index.ranges().end())) {
    for (const MissingRange& m : process.missing_ranges) {
      if (m.use != target::MissingUse::kUnknown || MayBeHeap(m)) lost_.push_back(m.range);
    }
  }

  Result<StrayCount> Run() {
    const std::vector<UsedStack> stacks = UsedStacks(process_);
    for (const target::Segment& s : process_.memory.segments()) {
      // Stacks hold heads of lists, and what looks like parts of objects.
      const bool stack = std::any_of(stacks.begin(), stacks.end(), [&](const UsedStack& u) { return s.range.Contains(u.range.begin); });
      if (s.writable && s.readable && s.module == kAnonymous && !stack && !Scan(s)) return Fail(ErrorCode::kCancelled, "stopped while {}", kStage);
    }
    KeepStretches();
    return count_;
  }

 private:
  static constexpr std::uint32_t kAnonymous = 0xFFFFFFFFu;

  bool Scan(const target::Segment& s) {
    const cpython::GcHeadFormat& f = links_.format();
    const std::uint64_t bytes = std::uint64_t{f.size} + header_.size();
    for (Address head = (s.range.begin + step_ - 1) & ~(step_ - 1); head < s.range.end && s.range.end - head >= bytes; head += step_) {
      if (++steps_ % kProgressSteps == 0 && !progress_.Update(kStage, steps_, 0)) return false;
      const std::byte* const p = s.bytes + (head - s.range.begin);
      const Address next = LoadUnchecked<std::uint64_t>(p + f.next_offset) & f.pointer_mask;
      if (next == 0 || next % kLinkAlignment != 0 || next == head || LoadUnchecked<std::uint64_t>(p + f.prev_offset) == 0) continue;
      if (!found_.index.IsMarked(links_.ObjectOf(head)) && IsTracked(head, p + f.size)) Take(head);
    }
    return true;
  }
  void Take(Address head) {
    const Address object = links_.ObjectOf(head);
    if (!found_.index.Mark(object)) return;
    strays_.Mark(object);
    heads_.push_back(head);
    ++count_.objects;
  }

  [[nodiscard]] bool IsTracked(Address head, const std::byte* object) {
    const std::uint32_t count = header_.Refcount(object);
    if (count == 0 || count == cpython::kSaturatedRefcount) return false;
    const bool linked = HasNeighbour(head);
    const bool alone = !linked && IsLost(links_.Next(head)) && IsLost(links_.Previous(head)) && HasSmallCount(object, count);
    if (!linked && !alone) return false;
    const std::optional<GcObjectBytes> taken = gc_object_(links_.ObjectOf(head));
    if (!taken) return false;
    if (linked) return true;
    const bool fills = taken->bytes != 0 && pools_.Holds(head - taken->before, taken->before + links_.format().size + taken->bytes);
    count_.by_block += fills;
    return fills;
  }
  // A neighbour that leads back. While a collection counts references, a link back holds a count: then two heads that bear its mark speak for each other.
  [[nodiscard]] bool HasNeighbour(Address head) const {
    const std::optional<Address> next = links_.Next(head), previous = links_.Previous(head);
    if (next && links_.Previous(*next) == head) return true;
    if (previous && *previous % kLinkAlignment == 0 && links_.Next(*previous) == head) return true;
    return links_.format().refs_offset == 0 && next && IsBeingCounted(process_.memory, links_.format(), head) &&
           IsBeingCounted(process_.memory, links_.format(), *next) && gc_object_(links_.ObjectOf(*next)).has_value();
  }
  // Where nothing else speaks for an object, a pointer does not pass for a count: up to 3.13 nothing stands above the count's 32 bits, later flags above 48.
  [[nodiscard]] static bool HasSmallCount(const std::byte* object, std::uint32_t count) {
    return (count < kMaxLoneCount || count == cpython::kImmortalRefcount) && (LoadUnchecked<std::uint64_t>(object) >> 32 & 0xFFFF) == 0;
  }
  [[nodiscard]] bool IsLost(const std::optional<Address>& head) const {
    if (!head || *head % step_ != 0) return false;
    // One that the end of the core cuts through is lost too.
    const Address last = *head + links_.format().size + header_.size() - 1;
    const auto after = std::upper_bound(lost_.begin(), lost_.end(), last, [](Address a, const AddressRange& r) { return a < r.begin; });
    return last >= *head && after != lost_.begin() && std::prev(after)->end > *head;
  }

  [[nodiscard]] bool IsStray(const std::optional<Address>& head) const { return head && strays_.IsMarked(links_.ObjectOf(*head)); }

  // Each object in one stretch, so that the stretches can be followed again. First those that begin behind something that is no stray, then the rings.
  void KeepStretches() {
    ObjectList list{heap::kNoInterpreter, heap::kUntrackable, 0, 0, {}, false};
    const auto follow = [&](Address head) {
      ListStretch stretch{head, 0, false};
      for (Address at = head; IsStray(at);) {
        strays_.Unmark(links_.ObjectOf(at));
        ++stretch.count;
        const std::optional<Address> next = links_.Next(at);
        if (next == head) ++count_.closed;
        if (!IsStray(next) || links_.Previous(*next) != at) break;
        at = *next;
      }
      list.stretches.push_back(stretch);
      list.count += stretch.count;
      ++count_.stretches;
    };
    std::vector<Address> rest;
    for (const Address head : heads_) {
      const std::optional<Address> previous = links_.Previous(head);
      if (IsStray(previous) && links_.Next(*previous) == head) {
        rest.push_back(head);
      } else {
        starts_.push_back(head);
      }
    }
    for (const Address head : starts_) follow(head);
    for (const Address head : rest) {
      if (IsStray(head)) follow(head);
    }
    if (list.count == 0) return;
    found_.objects += list.count;
    found_.lists.push_back(std::move(list));
  }

  static constexpr Address kLinkAlignment = 4;  // Debian's 3.13 aligns the heads of lists so

  const target::Process& process_;
  const GcObjectTest& gc_object_;
  ProgressSink& progress_;
  FoundObjects& found_;
  GcLinks links_;
  cpython::ObjectHeaderReader header_;
  PoolShape pools_;
  Address step_;
  heap::ObjectIndex strays_;  // those in no stretch yet
  std::vector<AddressRange> lost_;
  std::vector<Address> heads_, starts_;
  std::uint64_t steps_ = 0;
  StrayCount count_;
};

}  // namespace

bool HasDataOf(const target::Process& process, std::size_t module_index) {
  const auto segments = process.memory.segments();
  return std::any_of(segments.begin(), segments.end(), [&](const target::Segment& s) {
    return s.module == module_index && s.writable && s.source != target::SegmentSource::kModuleFile;
  });
}

std::string LeftOut(const target::Process& process) {
  if (process.kind == target::TargetKind::kLive && !process.missing.empty())
    return fmt::format(": {} {}; {}", process.missing.front().what, process.missing.front().reason, process.missing.front().remedy);
  if (process.kind != target::TargetKind::kCore || process.core_bytes_present < process.core_bytes_expected) return {};
  return ": it was left out of the core (coredump_filter, MADV_DONTDUMP); before the next one: echo 0x37 > /proc/PID/coredump_filter";
}

bool LostHeap(const target::Process& process) { return process.LostHeap() || IsPointedTo(process); }

bool LostMemory(const target::Process& process) { return process.LostMemory() || IsPointedTo(process); }

std::uint8_t ObjectShift(const cpython::Layout& layout) noexcept { return layout.Value(Constant::OBMALLOC_ALIGNMENT, 16) == kWord ? 3 : 4; }

Result<StrayCount> AddStrayObjects(const target::Process& process, const cpython::Runtime& runtime, const GcObjectTest& gc_object, ProgressSink& progress,
                                   FoundObjects& found) {
  return StrayFinder(process, runtime, gc_object, progress, found).Run();
}

}  // namespace pygc::snapshot
