// Tracked objects from the collector's doubly linked lists.
//
// CPython: GC_NEXT, GC_PREV, gc_list_* in Modules/gcmodule.c [2.7-3.12], Python/gc.c [3.13+]. A list is a ring through a head that is no object:
//
//     head -> a -> b -> c -> head          forward by _gc_next is always whole;
//     head <- a <- b <- c <- head          backward by _gc_prev is not, while a collection keeps its counts there.
//
// Every object is marked in the index when it is met; meeting a mark again is a loop or a merge of two lists, and the list is cut there.
#include <algorithm>
#include <atomic>
#include <optional>

#include "core/cpython/object_header.h"
#include "core/snapshot/collection_phase.h"
#include "core/snapshot/gc_links.h"
#include "core/snapshot/object_source.h"
#include "core/base/parallel.h"
#include "core/snapshot/thread_words.h"

namespace pygc::snapshot {
namespace {

using heap::ObjectIndex;

constexpr std::uint64_t kProgressSteps = 1u << 18;
constexpr std::size_t kMaxChainThreads = 16;  // more only wait for memory
constexpr std::size_t kMaxInFlight = 64;      // one for each thread that may be inside the collector's functions is plenty
constexpr std::size_t kMaxGaps = 1024;        // links back that disagree: more is no list any more
constexpr std::size_t kMaxDying = 1024;       // nested deallocations: the trashcan stops at 50 (up to 3.13)

std::string GenerationName(std::uint8_t generation) {
  if (generation == heap::kPermanent) return "the permanent generation";
  if (generation == heap::kDetached) return "a list on a C stack";
  return fmt::format("generation {}", generation);
}

// Why a link cannot be followed.
enum class LinkFault : std::uint8_t { kNone, kUnreadable, kNull, kMisaligned, kOutside, kSeenBefore, kOtherHead };

class ListWalker {
 public:
  ListWalker(const target::Process& process, const cpython::Runtime& runtime, const SourceOptions& options,
             const std::function<bool(Address)>& is_object, ProgressSink& progress, std::uint8_t gc_shift)
      : process_(process),
        runtime_(runtime),
        options_(options),
        is_object_(is_object),
        progress_(progress),
        links_(process.memory, runtime.gc_head),
        gc_shift_(gc_shift) {}

  Result<FoundObjects> Run() {
    const std::vector<ObjectIndex::Range> ranges = ObjectRanges(process_, gc_shift_, options_.with_leaves);
    found_.index = ObjectIndex(ranges);
    if (!progress_.Update("following the generation lists", 0, 0)) return Fail(ErrorCode::kCancelled, "stopped while following the generation lists");
    AddLists();
    found_.phases.resize(runtime_.interpreters.size());
    if (FollowByChains()) {
      if (found_.objects > options_.limits.max_objects) return TooMany();
      return std::move(found_);
    }
    collecting_ = std::any_of(runtime_.interpreters.begin(), runtime_.interpreters.end(), [](const auto& i) { return i.collecting; });
    if (collecting_) stacks_ = UsedStacks(process_);
    bool any = false;
    for (std::size_t i = 0; i < found_.lists.size() && !cancelled_; ++i) any = FollowRing(found_.lists[i]) || any;
    if (!any && !cancelled_ && !found_.lists.empty()) {
      const ObjectList& list = found_.lists.front();
      return FailAt(ErrorCode::kCorrupt, list.head, "cannot follow any of the collector's lists: {}",
                    found_.coverage.notes.empty() ? "their heads cannot be read" : found_.coverage.notes.front());
    }
    if (collecting_) {
      FindDetachedLists();
      for (std::size_t i = 0; i < runtime_.interpreters.size(); ++i) found_.phases[i] = JudgeLists(process_.memory, runtime_, i, found_.lists);
      FindObjectsInHand();
    }
    if (cancelled_) return Fail(ErrorCode::kCancelled, "stopped while following the generation lists");
    if (found_.objects > options_.limits.max_objects) return TooMany();
    found_.coverage.lists_complete = !incomplete_;
    return std::move(found_);
  }

  // An object that is aligned to 8 bytes only was met: the index must be made again with a finer granularity.
  [[nodiscard]] bool needs_finer_index() const noexcept { return needs_finer_; }

 private:
  [[nodiscard]] tl::unexpected<Error> TooMany() const {
    return Fail(ErrorCode::kLimit, "the heap has {} tracked objects; at most {} can be numbered", found_.objects, options_.limits.max_objects);
  }
  void AddLists() {
    for (std::size_t i = 0; i < runtime_.interpreters.size(); ++i) {
      const cpython::Interpreter& interpreter = runtime_.interpreters[i];
      const auto add = [&](Address head, std::uint8_t generation) {
        if (head == 0) return;
        const auto known = std::find_if(found_.lists.begin(), found_.lists.end(), [&](const ObjectList& l) { return l.head == head; });
        const std::uint8_t number = i < heap::kNoInterpreter ? static_cast<std::uint8_t>(i) : heap::kNoInterpreter;
        if (known != found_.lists.end()) {
          known->interpreter = heap::kNoInterpreter;  // up to 3.8 all interpreters share the lists
          return;
        }
        found_.lists.push_back({number, generation, head, 0, {}, false});
        lowest_head_ = std::min(lowest_head_, head);
        highest_head_ = std::max(highest_head_, head);
      };
      for (std::size_t g = 0; g < interpreter.generations.size(); ++g) {
        add(interpreter.generations[g].head,
            g < interpreter.generation_number.size() ? interpreter.generation_number[g] : static_cast<std::uint8_t>(std::min<std::size_t>(g, 2)));
      }
      if (interpreter.permanent) add(interpreter.permanent->head, heap::kPermanent);
    }
  }

  // The fast way, for heaps without damage and collectors at rest. Where it proves nothing, the index is made anew and the lists are followed one by
  // one.
  bool FollowByChains() {
    const bool collecting = std::any_of(runtime_.interpreters.begin(), runtime_.interpreters.end(), [](const auto& i) { return i.collecting; });
    if (options_.one_by_one || collecting) return false;
    std::vector<Address> heads;
    for (const ObjectList& list : found_.lists) heads.push_back(list.head);
    const auto rings =
        FollowRingsByChains(process_, links_, heads, found_.index, is_object_, ThreadCount(options_.limits.threads, kMaxChainThreads), progress_);
    if (!rings) {
      const std::vector<ObjectIndex::Range> ranges(found_.index.ranges().begin(), found_.index.ranges().end());
      found_.index = ObjectIndex(ranges);
      return false;
    }
    for (std::size_t i = 0; i < rings->size(); ++i) {
      for (const ListStretch& stretch : (*rings)[i]) Keep(found_.lists[i], stretch);
    }
    return true;
  }

  [[nodiscard]] LinkFault Check(const std::optional<Address>& head) {
    if (!head) return LinkFault::kUnreadable;
    if (*head == 0) return LinkFault::kNull;
    if (collecting_ && IsOnStack(*head)) return LinkFault::kOtherHead;
    if (*head >= lowest_head_ && *head <= highest_head_ &&
        std::any_of(found_.lists.begin(), found_.lists.end(), [&](const ObjectList& l) { return l.head == *head; })) {
      return LinkFault::kOtherHead;
    }
    const Address object = links_.ObjectOf(*head);
    if (!found_.index.Accepts(object)) {
      if (process_.memory.At(*head, links_.format().size) == nullptr) return LinkFault::kOutside;
      if (gc_shift_ > 3 && object % 16 == 8 && is_object_(object)) needs_finer_ = true;
      return LinkFault::kMisaligned;
    }
    if (process_.memory.At(*head, links_.format().size + 16) == nullptr) return LinkFault::kOutside;
    return found_.index.IsMarked(object) ? LinkFault::kSeenBefore : LinkFault::kNone;
  }

  [[nodiscard]] std::string FaultText(LinkFault fault, const std::optional<Address>& link) const {
    switch (fault) {
      case LinkFault::kNull:
        return "is NULL";
      case LinkFault::kMisaligned:
        return fmt::format("is {:#x}, which is not aligned like an object", *link);
      case LinkFault::kOutside:
        return fmt::format("is {:#x}, not in any region", *link);
      case LinkFault::kSeenBefore:
        return fmt::format("is {:#x}, an object that was met before (the list loops or two lists merge)", *link);
      default:
        return "cannot be read";
    }
  }
  [[nodiscard]] std::string ListName(const ObjectList& list) const {
    if (list.interpreter == heap::kNoInterpreter || list.interpreter >= runtime_.interpreters.size()) return GenerationName(list.generation);
    return fmt::format("{} of interpreter {}", GenerationName(list.generation), runtime_.interpreters[list.interpreter].id);
  }
  void Note(std::string text) { found_.coverage.notes.push_back(std::move(text)); }
  void InFlight(std::string text) {
    if (found_.coverage.in_flight.size() < kMaxInFlight) found_.coverage.in_flight.push_back(std::move(text));
  }
  [[nodiscard]] std::string HeadOrObject(const ObjectList& list, Address head) const {
    return head == list.head ? fmt::format("the list head at {:#x}", head) : fmt::format("the object at {:#x}", links_.ObjectOf(head));
  }

  bool Tick() {
    if (++steps_ % kProgressSteps == 0 && !progress_.Update("following the generation lists", steps_, 0)) cancelled_ = true;
    return !cancelled_;
  }

  [[nodiscard]] bool BackLinksHold(const ObjectList& list) const {
    if (list.interpreter < runtime_.interpreters.size()) return !runtime_.interpreters[list.interpreter].collecting;
    return std::none_of(runtime_.interpreters.begin(), runtime_.interpreters.end(), [](const auto& i) { return i.collecting; });
  }

  // Two objects (or the head) of which the first leads to the second, and the second does not lead back.
  struct Gap {
    Address before, after;
  };

  // Follows one ring; returns false when not even its head can be read.
  bool FollowRing(ObjectList& list) {
    const bool check_back_links = BackLinksHold(list);
    std::uint64_t wrong_back_links = 0;
    Address first_wrong = 0;
    std::vector<Gap> gaps;
    const auto note_gap = [&](Address from, Address to) {
      if (wrong_back_links++ == 0) first_wrong = to;
      if (gaps.size() < kMaxGaps) gaps.push_back({from, to});
    };
    ListStretch stretch;
    Address current = list.head, before = list.head;
    for (;;) {
      if (!Tick()) return true;
      const std::optional<Address> next = links_.Next(current);
      if (next == list.head) {
        const std::optional<Address> tail = links_.Previous(list.head);  // `before`: the last one was just being added
        if (check_back_links && tail != current && tail != before) note_gap(current, list.head);
        break;
      }
      const LinkFault fault = Check(next);
      if (fault == LinkFault::kNone) {
        found_.index.Mark(links_.ObjectOf(*next));
        if (stretch.count++ == 0) stretch.first_head = *next;
        if (check_back_links && links_.Previous(*next) != current) note_gap(current, *next);
        before = current;
        current = *next;
        continue;
      }
      if (IsMerging(list, current, next, fault, stretch.count)) break;
      if (fault == LinkFault::kUnreadable && current == list.head) {
        Note(fmt::format("cannot follow {}: its head at {:#x} cannot be read", ListName(list), list.head));
        incomplete_ = true;
        return false;
      }
      if (fault == LinkFault::kNull && current != list.head && check_back_links && IsHalfLinked(list, before, current) && IsInHand(current)) {
        found_.index.Unmark(links_.ObjectOf(current));
        --stretch.count;
        if (wrong_back_links > 0 && links_.Previous(current) != before) --wrong_back_links;
        InFlight(fmt::format("the object at {:#x} was just being added to {} when the process stopped; it is not counted", links_.ObjectOf(current),
                         ListName(list)));
        break;
      }
      Keep(list, stretch);
      if (!Cut(list, current, next, fault, check_back_links)) gaps.clear();
      stretch = {};
      break;
    }
    Keep(list, stretch);
    const Address added = wrong_back_links == 1 && first_wrong == current && HasNoBackLinkYet(current) && IsHalfLinked(list, before, current) ? current : 0;
    const Address gone = wrong_back_links == 1 && IsBeingUntracked(first_wrong) ? *links_.Previous(first_wrong) : 0;
    if (added != 0 && IsInHand(added)) {
      InFlight(fmt::format("the object at {:#x} was just being added to {} when the process stopped; it is counted", links_.ObjectOf(current), ListName(list)));
    } else if (gone != 0 && IsInHand(gone)) {
      InFlight(fmt::format("the object at {:#x} was just being taken off {} when the process stopped; it is not counted", links_.ObjectOf(gone), ListName(list)));
    } else if (wrong_back_links > 0) {
      if (first_wrong == list.head) {
        Note(fmt::format("{}: _gc_prev of its head at {:#x} does not lead back", ListName(list), list.head));
      } else {
        Note(fmt::format("{}: _gc_prev of {} object{} does not lead back, first at {:#x}", ListName(list), wrong_back_links, wrong_back_links == 1 ? "" : "s",
                         links_.ObjectOf(first_wrong)));
      }
      // Like that moment, and no thread is at it: a link was overwritten.
      incomplete_ = incomplete_ || wrong_back_links > gaps.size() || gone != 0 || added != 0;
      for (const Gap& gap : gaps) FillGap(list, gap);
    }
    return true;
  }

  // A link forward that leads past objects: those that the links back meet on their way to the one before it, and that no list has, were left out.
  void FillGap(ObjectList& list, const Gap& gap) {
    ListStretch stretch;
    stretch.backwards = true;
    bool closed = false;
    for (Address current = gap.after; Tick();) {
      const std::optional<Address> previous = links_.Previous(current);
      closed = previous == gap.before;
      if (closed || Check(previous) != LinkFault::kNone || links_.Next(*previous) != current) break;
      found_.index.Mark(links_.ObjectOf(*previous));
      if (stretch.count++ == 0) stretch.first_head = *previous;
      current = *previous;
    }
    if (stretch.count == 0) return;
    Keep(list, stretch);
    incomplete_ = incomplete_ || !closed;
    Note(fmt::format("{}: _gc_next of {} leads past {} object{}, found by _gc_prev{}", ListName(list), HeadOrObject(list, gap.before), stretch.count,
                     stretch.count == 1 ? "" : "s", closed ? ": none is missing" : "; those before them are lost"));
  }

  void Keep(ObjectList& list, const ListStretch& stretch) {
    if (stretch.count == 0) return;
    list.stretches.push_back(stretch);
    list.count += stretch.count;
    found_.objects += stretch.count;
  }

  // The state in the middle of PyObject_GC_Track: the last object refers to the new one, whose own links are not set yet.
  // CPython: _PyObject_GC_TRACK(), Include/internal/pycore_object.h [3.8+]; in program order: last->next, new->prev, new->next, head->prev. Compilers reorder.
  [[nodiscard]] bool IsHalfLinked(const ObjectList& list, Address last, Address added) const {
    const std::optional<Address> tail = links_.Previous(list.head);
    return tail == last || tail == added;
  }

  // Whoever adds an object to a list or takes it off has it in a register, or near the end of its stack. Where the image has no registers it may be so.
  [[nodiscard]] bool IsInHand(Address head) {
    if (!in_hand_) in_hand_ = WordsOfRunningThreads(process_);
    return !in_hand_->any_registers || in_hand_->Has(head) || in_hand_->Has(links_.ObjectOf(head));
  }

  // An untracked object's link back is 0 [3.8+]; older releases leave what was there.
  [[nodiscard]] bool HasNoBackLinkYet(Address head) const { return links_.format().refs_offset != 0 || links_.Previous(head) == Address{0}; }

  // The state in the middle of PyObject_GC_UnTrack: the object before leads past the one that goes, the object after still leads back to it.
  // CPython: _PyObject_GC_UNTRACK(), Include/internal/pycore_object.h [3.8+], Include/objimpl.h [2.7-3.7].
  [[nodiscard]] bool IsBeingUntracked(Address after) const {
    const std::optional<Address> gone = links_.Previous(after);
    if (!gone || !found_.index.Accepts(links_.ObjectOf(*gone)) || found_.index.IsMarked(links_.ObjectOf(*gone))) return false;
    const std::optional<Address> next = links_.Next(*gone), before = links_.Previous(*gone);
    return (next == after || next == Address{0}) && before && (links_.Next(*before) == after || *before == 0);
  }

  // The state in the middle of gc_list_merge(from, to): the members of `from` hang on the end of `to` already, and `from` is not emptied yet.
  // Then one list runs into the head of the other or into its first object, or begins with an object met in the other: nothing is missing.
  // CPython: gc_list_merge() [2.7+], stores in this order: to_tail->next = first; first->prev = to_tail; last->next = to; to->prev = last.
  bool IsMerging(const ObjectList& list, Address current, const std::optional<Address>& next, LinkFault fault, std::uint64_t steps) {
    bool merging = false;
    if (!collecting_) return false;
    if (fault == LinkFault::kSeenBefore) {
      merging = (steps == 0 && current == list.head) ||
                std::any_of(found_.lists.begin(), found_.lists.end(), [&](const ObjectList& l) { return l.head != list.head && links_.Next(l.head) == next; });
    } else if (fault == LinkFault::kOtherHead && steps > 0) {
      const std::optional<Address> tail = links_.Previous(*next);
      merging = tail == current || (tail && links_.Next(*tail) == links_.Next(list.head));
    }
    if (!merging) return false;
    InFlight(fmt::format("the collector was just joining {} and another list when the process stopped; none of their objects is missing", ListName(list)));
    return true;
  }

  // The forward chain ends at `last_good`: goes on from the other side. False where the list was discarded.
  bool Cut(ObjectList& list, Address last_good, const std::optional<Address>& link, LinkFault fault, bool follow_back_links) {
    std::string text = fmt::format("cannot follow {}: _gc_next of {} {} ({} objects read before it)", ListName(list), HeadOrObject(list, last_good),
                                   FaultText(fault, link), list.count);
    found_.coverage.lists_lead_out |= fault == LinkFault::kOutside;
    bool closed = false;
    ListStretch stretch;
    stretch.backwards = true;
    Address current = list.head;
    while (follow_back_links && Tick()) {
      const std::optional<Address> previous = links_.Previous(current);
      if (previous == last_good || previous == list.head) {
        closed = previous == last_good && (last_good != list.head || stretch.count > 0);
        break;
      }
      if (Check(previous) != LinkFault::kNone || links_.Next(*previous) != current) break;
      found_.index.Mark(links_.ObjectOf(*previous));
      if (stretch.count++ == 0) stretch.first_head = *previous;
      current = *previous;
    }
    Keep(list, stretch);
    if (!follow_back_links) {
      text += "; back links hold the collector's counts now, so what follows is lost";
    } else if (closed) {
      text += fmt::format("; followed from its end by _gc_prev to the same object, {} more: none is missing", stretch.count);
    } else {
      text += fmt::format("; {} more found from its end by _gc_prev, those between are lost", stretch.count);
    }
    const bool taken_apart = !closed && !collecting_ && HeadIsUnlinked(list);
    if (taken_apart) {
      Discard(list);
      text = fmt::format("{} was taken apart: the links of its head lead to objects that do not lead back, and end among what was freed. The interpreter was shutting "
                         "down; nothing is said of its last objects", ListName(list));
    }
    Note(std::move(text));
    incomplete_ = incomplete_ || !closed;
    return !taken_apart;
  }

  // CPython: finalize_unlink_gc_head(), called by _PyGC_Fini() [3.13+], takes the heads out of their rings and leaves their own links as they were.
  [[nodiscard]] bool HeadIsUnlinked(const ObjectList& list) const {
    const std::optional<Address> next = links_.Next(list.head), previous = links_.Previous(list.head);
    if (!next || !previous) return false;
    const std::optional<Address> back = links_.Previous(*next), forth = links_.Next(*previous);
    return back && forth && back != list.head && forth != list.head;
  }
  void Discard(ObjectList& list) {
    for (const ListStretch& stretch : list.stretches) {
      Address head = stretch.first_head;
      for (std::uint64_t i = 0; i < stretch.count; ++i) {
        found_.index.Unmark(links_.ObjectOf(head));
        head = (stretch.backwards ? links_.Previous(head) : links_.Next(head)).value_or(0);
      }
    }
    found_.objects -= list.count;
    list.count = 0;
    list.stretches.clear();
  }

  // Lists headed in local variables of the collector: `unreachable`, `finalizers`, `seen`, `increment`, ... A head is told by its links, which both
  // lead back to it. CPython: gc_collect_main(), deduce_unreachable(), finalize_garbage(), handle_weakrefs(). HEURISTIC: words on a stack that look
  // like a head. A wrong yes would take objects that are in no list for tracked ones: excluded by asking each for a valid type and by the ring having
  // to close over objects not met before. A wrong no loses the objects under collection: said by the count of lists found.
  void FindDetachedLists() {
    std::vector<std::pair<AddressRange, std::uint8_t>> stacks;
    for (const UsedStack& stack : stacks_) stacks.emplace_back(stack.range, InterpreterOf(*stack.thread));
    if (stacks.empty()) {  // no registers in the dump: any writable memory may be a stack
      for (const target::Segment& segment : process_.memory.segments()) {
        if (segment.writable) stacks.push_back({segment.range, CollectingInterpreter()});
      }
    }
    // Debian's 3.13 aligns PyGC_Head to 4 bytes only; the generation heads show it.
    const bool four = std::any_of(found_.lists.begin(), found_.lists.end(), [](const ObjectList& l) { return l.head % 8 != 0; });
    const Address step = four ? 4 : 8;
    Address done = 0;
    for (const auto& [range, interpreter] : stacks) {
      Address at = (std::max(range.begin, done) + step - 1) & ~(step - 1);
      for (; at < range.end && Tick(); at += step) {
        if (LooksLikeHead(at)) FollowDetached(at, interpreter);
      }
      done = std::max(done, range.end);
    }
  }
  [[nodiscard]] bool IsOnStack(Address a) const {
    const auto after = std::upper_bound(stacks_.begin(), stacks_.end(), a, [](Address at, const UsedStack& s) { return at < s.range.begin; });
    return after != stacks_.begin() && std::prev(after)->range.Contains(a);
  }

  // Objects that a collecting thread has in a register or on its stack and in no list: one that is just being moved from list to list still counts as
  // tracked; one with a count of 0 is just being taken apart. CPython: gc_list_move(), move_unreachable(), visit_reachable(); delete_garbage().
  // HEURISTIC: words that look like such an object. A wrong yes would count a freed object whose memory still says that it is tracked and whose
  // neighbours are in lists: freed blocks lose the word at their start to the allocator. A wrong no misses one object.
  void FindObjectsInHand() {
    ForEachThreadWord(process_, stacks_, [&](std::uint64_t word, const target::Thread& thread) {
      if (!Tick()) return false;
      const std::uint8_t interpreter = InterpreterOf(thread);
      if (interpreter >= runtime_.interpreters.size() || runtime_.interpreters[interpreter].collecting) TakeInHand(word, interpreter);
      return true;
    });
  }
  void TakeInHand(std::uint64_t word, std::uint8_t interpreter) {
    // Before anything is freed, an object with a count of 0 is what an old stack frame left there.
    const bool freeing = std::find(found_.phases.begin(), found_.phases.end(), heap::CollectionPhase::kFreeing) != found_.phases.end();
    for (const Address object : {Address{word}, links_.ObjectOf(word)}) {
      if (!found_.index.Accepts(object) || found_.index.IsMarked(object) || IsOnStack(object)) continue;
      const std::byte* const p = process_.memory.At(object - links_.format().size, links_.format().size + 16);
      if (p == nullptr || !is_object_(object)) continue;
      const std::uint32_t refcount = header_.Refcount(p + links_.format().size);
      const std::optional<Address> next = links_.Next(links_.HeadOf(object));
      if (refcount == 0) {
        if (freeing && found_.dying.size() < kMaxDying && std::find(found_.dying.begin(), found_.dying.end(), object) == found_.dying.end())
          found_.dying.push_back(object);
        continue;
      }
      if (!next || *next == 0 || refcount >= heap::kSaturated || !IsNeighbour(*next)) continue;
      if (links_.format().refs_offset == 0 && !IsBeingCounted(process_.memory, links_.format(), links_.HeadOf(object))) continue;
      found_.index.Mark(object);
      ObjectList& list = found_.lists.emplace_back(ObjectList{interpreter, heap::kDetached, 0, 0, {}, false});
      Keep(list, {links_.HeadOf(object), 1, false});
      InFlight(fmt::format("the object at {:#x} was just being moved from one list of the collector to another when the process stopped; it is counted", object));
    }
  }
  // A list's head, or the head of an object in a list.
  [[nodiscard]] bool IsNeighbour(Address head) const {
    if (std::any_of(found_.lists.begin(), found_.lists.end(), [&](const ObjectList& l) { return l.head == head; })) return true;
    return found_.index.Accepts(links_.ObjectOf(head)) && found_.index.IsMarked(links_.ObjectOf(head));
  }

  [[nodiscard]] std::uint8_t CollectingInterpreter() const {
    std::uint8_t only = heap::kNoInterpreter;
    for (std::size_t i = 0; i < runtime_.interpreters.size() && i < heap::kNoInterpreter; ++i) {
      if (!runtime_.interpreters[i].collecting) continue;
      if (only != heap::kNoInterpreter) return heap::kNoInterpreter;
      only = static_cast<std::uint8_t>(i);
    }
    // Lists that all interpreters share (up to 3.8) belong to none; so do these.
    const bool shared = !found_.lists.empty() && found_.lists.front().interpreter == heap::kNoInterpreter;
    return shared ? heap::kNoInterpreter : only;
  }
  [[nodiscard]] std::uint8_t InterpreterOf(const target::Thread& thread) const {
    const std::uint8_t only = CollectingInterpreter();
    if (only != heap::kNoInterpreter || (!found_.lists.empty() && found_.lists.front().interpreter == heap::kNoInterpreter)) return only;
    for (std::size_t i = 0; i < runtime_.interpreters.size() && i < heap::kNoInterpreter; ++i) {
      for (const cpython::PyThread& t : runtime_.interpreters[i].threads) {
        const bool same = t.native_thread_id ? *t.native_thread_id == static_cast<std::uint64_t>(thread.tid) : t.thread_id == thread.fs_base();
        if (same) return static_cast<std::uint8_t>(i);
      }
    }
    return heap::kNoInterpreter;
  }

  [[nodiscard]] bool LooksLikeHead(Address at) const {
    const std::optional<Address> next = links_.Next(at), previous = links_.Previous(at);
    if (!next || !previous || *next == at || *previous == at) return false;
    if (!found_.index.Accepts(links_.ObjectOf(*next)) || !found_.index.Accepts(links_.ObjectOf(*previous))) return false;
    if (links_.Next(*previous) != at) return false;
    // While references are counted, the first member's link back holds its count: then the last one speaks alone.
    if (links_.Previous(*next) != at && !IsBeingCounted(process_.memory, links_.format(), *next)) return false;
    return std::none_of(found_.lists.begin(), found_.lists.end(), [&](const ObjectList& l) { return l.head == at; });
  }
  void FollowDetached(Address head, std::uint8_t interpreter) {
    ListStretch stretch;
    Address current = head;
    bool closed = false;
    while (Tick()) {
      const std::optional<Address> next = links_.Next(current);
      closed = next == head;
      if (closed || Check(next) != LinkFault::kNone || !is_object_(links_.ObjectOf(*next))) break;
      found_.index.Mark(links_.ObjectOf(*next));
      if (stretch.count++ == 0) stretch.first_head = *next;
      current = *next;
    }
    if (closed && stretch.count > 0) {
      ObjectList& list = found_.lists.emplace_back(ObjectList{interpreter, heap::kDetached, head, 0, {}, false});
      Keep(list, stretch);
      ++found_.coverage.detached_lists;
      return;
    }
    current = stretch.first_head;  // not a list: take the marks back
    for (std::uint64_t i = 0; i < stretch.count; ++i) {
      found_.index.Unmark(links_.ObjectOf(current));
      current = links_.Next(current).value_or(0);
    }
  }

  const target::Process& process_;
  const cpython::Runtime& runtime_;
  const SourceOptions& options_;
  const std::function<bool(Address)>& is_object_;
  ProgressSink& progress_;
  GcLinks links_;
  std::uint8_t gc_shift_;
  FoundObjects found_;
  Address lowest_head_ = ~Address{0}, highest_head_ = 0;
  std::uint64_t steps_ = 0;
  cpython::ObjectHeaderReader header_{runtime_};
  std::vector<UsedStack> stacks_;  // only while a collection runs
  std::optional<WordsInHand> in_hand_;
  bool collecting_ = false;
  bool cancelled_ = false, incomplete_ = false, needs_finer_ = false;
};

}  // namespace

std::vector<ObjectIndex::Range> ObjectRanges(const target::Process& process, std::uint8_t gc_shift, bool with_leaves) {
  std::vector<ObjectIndex::Range> ranges;
  Address module_end = 0;  // .bss follows the module's last file mapping as anonymous memory
  for (const target::Segment& segment : process.memory.segments()) {
    if (!segment.readable || segment.range.empty()) continue;
    const bool of_module = segment.module != 0xFFFFFFFFu || segment.range.begin == module_end;
    if (of_module) module_end = segment.range.end;
    const std::uint8_t shift = with_leaves && of_module ? 2 : gc_shift;
    if (!ranges.empty() && ranges.back().shift == shift && ranges.back().range.end == segment.range.begin) {
      ranges.back().range.end = segment.range.end;
    } else {
      ranges.push_back({segment.range, shift});
    }
  }
  return ranges;
}

Result<FoundObjects> FindObjectsInLists(const target::Process& process, const cpython::Runtime& runtime, const SourceOptions& options,
                                        const std::function<bool(Address)>& is_object, ProgressSink& progress) {
  // 2.7 keeps ints and floats, which are leaves, in blocks of 8-byte granularity; its head of 32 bytes tells it from 3.8+ (3.6 and 3.7 pay for it
  // too).
  const std::uint8_t shift = options.with_leaves && runtime.gc_head.size > 16 ? 3 : 4;
  ListWalker walker(process, runtime, options, is_object, progress, shift);
  Result<FoundObjects> found = walker.Run();
  if (!walker.needs_finer_index()) return found;
  return ListWalker(process, runtime, options, is_object, progress, 3).Run();
}

void FillListColumns(const target::MemoryImage& memory, const cpython::GcHeadFormat& format, const FoundObjects& found,
                     std::vector<std::uint8_t>& flags, std::vector<std::uint8_t>& interpreter, unsigned threads) {
  if (found.lists.empty()) return;
  const GcLinks links(memory, format);
  const auto largest =
      std::max_element(found.lists.begin(), found.lists.end(), [](const ObjectList& a, const ObjectList& b) { return a.count < b.count; });
  const bool leaves = found.objects < found.index.size();  // the index holds untracked objects too: there is no default
  std::fill(flags.begin(), flags.end(), leaves ? heap::kUntracked : static_cast<std::uint8_t>(heap::kTracked | largest->generation));
  std::fill(interpreter.begin(), interpreter.end(), leaves ? heap::kNoInterpreter : largest->interpreter);
  // The stretches of the other lists, many at a time: one step of each in turn, the next object of each asked for in advance. No object is in two of them.
  struct Lane {
    const ObjectList* list = nullptr;
    const ListStretch* stretch = nullptr;
    Address head = 0;
    std::uint64_t left = 0;
  };
  std::vector<Lane> stretches;
  for (auto list = found.lists.begin(); list != found.lists.end(); ++list) {
    if (list == largest && !leaves) continue;
    for (const ListStretch& stretch : list->stretches) stretches.push_back({&*list, &stretch, stretch.first_head, stretch.count});
  }
  std::atomic<std::size_t> next_stretch{0};
  const auto follow = [&](std::size_t, unsigned) {
    constexpr std::size_t kLanes = 32;
    Lane lanes[kLanes];
    std::size_t active = 0;
    const auto refill = [&](Lane& lane) {
      const std::size_t i = next_stretch.fetch_add(1, std::memory_order_relaxed);
      if (i < stretches.size()) lane = stretches[i];
      return i < stretches.size();
    };
    while (active < kLanes && refill(lanes[active])) ++active;
    while (active > 0) {
      for (std::size_t i = 0; i < active;) {
        Lane& lane = lanes[i];
        const heap::NodeId node = found.index.Find(links.ObjectOf(lane.head));
        const std::optional<Address> next = lane.stretch->backwards ? links.Previous(lane.head) : links.Next(lane.head);
        if (node != heap::kNoNode) {
          flags[node] = static_cast<std::uint8_t>(heap::kTracked | lane.list->generation);
          if (!interpreter.empty()) interpreter[node] = lane.list->interpreter;
        }
        if (--lane.left == 0 || !next) {
          if (!refill(lane)) lane = lanes[--active];  // a new lane takes its turn now
          continue;
        }
        lane.head = *next;
        __builtin_prefetch(memory.At(lane.head, sizeof(std::uint64_t)));
        found.index.Prefetch(links.ObjectOf(lane.head));
        ++i;
      }
    }
    return true;
  };
  const unsigned workers = ThreadCount(threads, stretches.size());
  ForEachPiece(workers, workers, follow, [](std::size_t) { return true; });
}

}  // namespace pygc::snapshot
