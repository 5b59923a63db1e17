#include "core/snapshot/chain_walk.h"

#include <algorithm>
#include <atomic>
#include <unordered_map>

#include "core/base/byte_reader.h"
#include "core/base/parallel.h"

namespace pygc::snapshot {
namespace {

using heap::ObjectIndex;

constexpr std::size_t kLanes = 32;             // chains in work at once on one thread (performance.md: knee at 16-32)
constexpr std::size_t kSamplesPerThread = 96;  // chains are of unequal length; those that end early take another start
constexpr std::uint64_t kSampleWindow = 1u << 16;
constexpr std::uint64_t kBytesPerSample = 1u << 18;  // fewer samples in small heaps

struct Chain {
  Address start = 0;  // the first object's PyGC_Head, or a list head
  bool from_head = false;
  std::uint64_t count = 0;
  Address first = 0;  // PyGC_Head of the first object
  Address last = 0;   // of the last one; the list head where count is 0
  Address end = 0;    // the list head or chain start that it ran into
};

class ChainWalk {
 public:
  ChainWalk(const target::Process& process, const GcLinks& links, std::span<const Address> heads, ObjectIndex& index,
            const std::function<bool(Address)>& is_object, unsigned threads, ProgressSink& progress)
      : process_(process),
        links_(links),
        heads_(heads.begin(), heads.end()),
        index_(index),
        is_object_(is_object),
        threads_(threads),
        progress_(progress) {
    std::sort(heads_.begin(), heads_.end());
  }

  std::optional<std::vector<std::vector<ListStretch>>> Run(std::span<const Address> heads) {
    for (const Address head : heads) chains_.push_back({head, true, 0, 0, head, 0});
    Sample();
    for (std::size_t i = 0; i < chains_.size(); ++i) chain_at_[chains_[i].start] = i;
    if (chain_at_.size() != chains_.size()) return std::nullopt;
    if (!Walk()) return std::nullopt;
    return Link(heads);
  }

 private:
  [[nodiscard]] bool IsHead(Address a) const noexcept {
    return a >= heads_.front() && a <= heads_.back() && std::binary_search(heads_.begin(), heads_.end(), a);
  }

  // Objects whose links agree on both sides, found at regular distances in anonymous memory.
  void Sample() {
    std::uint64_t total = 0;
    const auto fits = [](const target::Segment& s) { return s.writable && s.module == 0xFFFFFFFFu; };
    for (const target::Segment& s : process_.memory.segments()) total += fits(s) ? s.range.size() : 0;
    const std::uint64_t wanted = std::min<std::uint64_t>(total / kBytesPerSample, kSamplesPerThread * threads_);
    if (wanted == 0) return;
    const std::uint64_t distance = total / wanted;
    std::uint64_t at = distance / 2;  // within the fitting segments, laid end to end
    std::uint64_t passed = 0;
    for (const target::Segment& s : process_.memory.segments()) {
      if (!fits(s)) continue;
      for (; at < passed + s.range.size(); at += distance) SampleNear(s, s.range.begin + (at - passed));
      passed += s.range.size();
    }
  }
  void SampleNear(const target::Segment& segment, Address from) {
    const std::uint32_t size = links_.format().size;
    const Address end = std::min(segment.range.end, from + kSampleWindow);
    for (Address head = (from + 15) & ~Address{15}; head + size + 16 <= end; head += 16) {
      if (!Plausible(head)) continue;
      const Address object = links_.ObjectOf(head);
      if (is_object_(object) && index_.Mark(object)) chains_.push_back({head, false, 0, 0, 0, 0});
      return;
    }
  }
  [[nodiscard]] bool Plausible(Address head) const {
    const std::optional<Address> next = links_.Next(head), previous = links_.Previous(head);
    if (!next || !previous || *next == head || *next == 0 || *previous == 0) return false;
    if (!IsHead(*next) && !index_.Accepts(links_.ObjectOf(*next))) return false;
    if (!IsHead(*previous) && !index_.Accepts(links_.ObjectOf(*previous))) return false;
    return links_.Previous(*next) == head && links_.Next(*previous) == head;
  }

  // Where heads lie whose objects are in one range of the index and one segment, so that both are found with one look. Those met last are kept, by address.
  struct Window {
    AddressRange heads;
    const std::byte* bytes = nullptr;  // of heads.begin
    ObjectIndex::Numbers numbers;
  };
  class Windows {
   public:
    explicit Windows(const ChainWalk& walk) : walk_(walk), windows_(kKept, Window{{}, nullptr, ObjectIndex::Numbers(walk.index_)}) {}
    /// nullptr where no object can have its head at `head`.
    [[nodiscard]] Window* At(Address head) {
      Window& w = windows_[(head >> kShift) % kKept];
      return w.heads.Contains(head) || Enter(w, head) ? &w : nullptr;
    }

   private:
    static constexpr unsigned kShift = 20;
    static constexpr std::size_t kKept = 64;
    bool Enter(Window& w, Address head) const {
      const std::uint64_t reach = walk_.links_.format().size + kLeastObject;
      const target::Segment* const s = walk_.process_.memory.Find(head);
      if (s == nullptr || s->range.end - head < reach) return false;
      w.heads = {s->range.begin, s->range.end - reach + 1};
      w.bytes = s->bytes;
      return true;
    }
    const ChainWalk& walk_;
    std::vector<Window> windows_;
  };
  static constexpr std::uint64_t kLeastObject = 16;  // count and type

  // One chain in work: the object that comes next is known and asked for, but not looked at yet.
  struct Lane {
    Chain* chain = nullptr;
    Address current = 0, before = 0;
    const std::byte* bytes = nullptr;  // of the head at `current`
    ObjectIndex::Place place{};
  };

  bool Walk() {
    std::atomic<std::size_t> next_chain{0};
    const auto work = [&](std::size_t, unsigned thread) { return WalkLanes(next_chain, thread == 0); };
    return ForEachPiece(threads_, threads_, work, [](std::size_t) { return true; });
  }

  bool WalkLanes(std::atomic<std::size_t>& next_chain, bool ticks) {
    Lane lanes[kLanes];
    Windows windows(*this);
    std::size_t active = 0;
    std::uint64_t steps = 0;
    const auto refill = [&](Lane& lane) {
      for (;;) {
        const std::size_t i = next_chain.fetch_add(1, std::memory_order_relaxed);
        if (i >= chains_.size()) return false;
        bool ended = false;
        if (!Begin(windows, lane, chains_[i], &ended)) {
          failed_ = true;
          return false;
        }
        if (!ended) return true;
      }
    };
    while (active < kLanes && refill(lanes[active])) ++active;
    while (active > 0 && !failed_.load(std::memory_order_relaxed)) {
      for (std::size_t i = 0; i < active;) {
        bool ended = false;
        if (!Step(windows, lanes[i], &ended)) {
          failed_ = true;
          return false;
        }
        if (ended && !refill(lanes[i])) {
          lanes[i] = lanes[--active];
          continue;
        }
        ++i;
      }
      steps += active;
      if (ticks && (steps & 0xFFFFF) < active && !progress_.Update("following the generation lists", steps, 0)) failed_ = true;
    }
    return !failed_;
  }

  // Sets a lane up for the first object of a chain. A sampled one is marked already.
  bool Begin(Windows& windows, Lane& lane, Chain& chain, bool* ended) {
    lane = {};
    lane.chain = &chain;
    if (!chain.from_head) {
      chain.count = 1;
      chain.first = chain.last = chain.start;
    }
    const std::optional<Address> next = links_.Next(chain.start);
    return next && Advance(windows, lane, chain.start, *next, ended);
  }

  // Looks at the object asked for, marks it, asks for the one after it. False: not a healthy ring.
  bool Step(Windows& windows, Lane& lane, bool* ended) {
    const cpython::GcHeadFormat& format = links_.format();
    const Address next = LoadUnchecked<std::uint64_t>(lane.bytes + format.next_offset) & format.pointer_mask;
    const Address previous = LoadUnchecked<std::uint64_t>(lane.bytes + format.prev_offset) & format.pointer_mask;
    if (previous != lane.before) return false;
    Chain& chain = *lane.chain;
    if (!index_.MarkPlace(lane.place, threads_ > 1)) {
      if (!chain_at_.contains(lane.current)) return false;  // a loop or a merge, not the start of a chain
      chain.end = lane.current;
      *ended = true;
      return true;
    }
    if (chain.count++ == 0) chain.first = lane.current;
    chain.last = lane.current;
    return Advance(windows, lane, lane.current, next, ended);
  }

  bool Advance(Windows& windows, Lane& lane, Address from, Address next, bool* ended) {
    if (IsHead(next)) {
      if (links_.Previous(next) != from) return false;
      lane.chain->end = next;
      *ended = true;
      return true;
    }
    Window* const window = windows.At(next);
    const std::uint64_t number = window != nullptr ? window->numbers.Of(links_.ObjectOf(next)) : ObjectIndex::kNoNumber;
    if (number == ObjectIndex::kNoNumber) {  // or the head lies in another segment than its object, with bytes of their own
      lane.place = index_.PlaceOf(links_.ObjectOf(next));
      lane.bytes = process_.memory.At(next, links_.format().size + kLeastObject);
      if (lane.place.cell == ObjectIndex::kNoCell || lane.bytes == nullptr) return false;
    } else {
      lane.place = ObjectIndex::PlaceOfNumber(number);
      lane.bytes = window->bytes + (next - window->heads.begin);
    }
    lane.before = from;
    lane.current = next;
    __builtin_prefetch(lane.bytes);
    index_.Prefetch(lane.place);
    return true;
  }

  // Puts the chains end to end. CPython's rings are closed and disjoint, so each chain belongs to exactly one.
  std::optional<std::vector<std::vector<ListStretch>>> Link(std::span<const Address> heads) const {
    std::vector<std::vector<ListStretch>> rings;
    std::size_t used = 0;
    for (std::size_t ring = 0; ring < heads.size(); ++ring) {
      std::vector<ListStretch>& stretches = rings.emplace_back();
      const Chain* chain = &chains_[ring];
      for (;;) {
        ++used;
        if (used > chains_.size()) return std::nullopt;
        if (chain->count > 0) stretches.push_back({chain->first, chain->count, false});
        if (chain->end == heads[ring]) break;
        const auto next = chain_at_.find(chain->end);
        if (next == chain_at_.end() || chains_[next->second].from_head) return std::nullopt;
        chain = &chains_[next->second];
      }
    }
    if (used != chains_.size()) return std::nullopt;  // a sample that no ring leads to
    return rings;
  }

  const target::Process& process_;
  const GcLinks& links_;
  std::vector<Address> heads_;
  ObjectIndex& index_;
  const std::function<bool(Address)>& is_object_;
  unsigned threads_;
  ProgressSink& progress_;
  std::vector<Chain> chains_;
  std::unordered_map<Address, std::size_t> chain_at_;  // by start
  std::atomic<bool> failed_{false};
};

}  // namespace

std::optional<std::vector<std::vector<ListStretch>>> FollowRingsByChains(const target::Process& process, const GcLinks& links,
                                                                         std::span<const Address> heads, ObjectIndex& index,
                                                                         const std::function<bool(Address)>& is_object, unsigned threads,
                                                                         ProgressSink& progress) {
  if (heads.empty()) return std::nullopt;
  return ChainWalk(process, links, heads, index, is_object, threads, progress).Run(heads);
}

}  // namespace pygc::snapshot
