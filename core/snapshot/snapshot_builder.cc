// BuildSnapshot in phases, each one pass in address order over columns:
//   1  which addresses are objects             object_source.h; with leaves also the closure over what they refer to
//   2  header: refcount, type, flags           sequential reads; free-threaded builds: references counted elsewhere, what a collection untracks first
//   3  references                              decoded in batches, so that the lookups of a batch overlap; one CSR block a piece. With leaves they were
//                                              decoded by the closure already, and are put in the order of ids here
// Pieces are runs of 2^piece_shift ids, so a block is found by a shift, and the result is the same for any number of threads.
#include "core/snapshot/snapshot_builder.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <new>
#include <stdexcept>
#include <unordered_set>
#include <utility>

#include "core/cpython/object_header.h"
#include "core/cpython/uncounted_references.h"
#include "core/snapshot/dangling_references.h"
#include "core/snapshot/gc_links.h"
#include "core/snapshot/object_source.h"
#include "core/base/free_memory.h"
#include "core/base/parallel.h"
#include "core/snapshot/look_ahead.h"
#include "core/snapshot/stray_objects.h"
#include "core/snapshot/thread_words.h"
#include "core/snapshot/type_columns.h"
#include "core/snapshot/untracked_by_collector.h"

namespace pygc::snapshot {
namespace {

using heap::NodeId;
using objects::ReferentQuality;
using objects::TypeFacts;

constexpr std::size_t kBatchReferents = 1u << 16;
constexpr std::size_t kClosurePiece = 1u << 14;  // tracked objects in one piece of the search for untracked ones
constexpr std::size_t kReachBatch = 256;  // referents that are looked up together in that search
constexpr std::size_t kDrainBatch = 256;  // untracked objects that are followed together
constexpr std::size_t kEdgesAhead = 16;   // stored references between the first sight of one and its lookup
constexpr std::uint32_t kNoPlace = 0xFFFFFFFFu;
constexpr std::size_t kBatch = 32;  // objects whose references are decoded before the first is looked up

class Builder {
 public:
  Builder(const objects::ObjectReader& reader, const SnapshotOptions& options, ProgressSink& progress)
      : reader_(reader),
        process_(reader.process()),
        runtime_(reader.runtime()),
        options_(options),
        progress_(progress),
        header_(reader.runtime()),
        referent_test_(reader),
        links_(process_.memory, runtime_.gc_head) {}

  Result<heap::HeapSnapshot> Run() {
    Result<FoundObjects> found = FindObjects();
    if (!found) return tl::unexpected(found.error());
    found_ = *std::move(found);
    heap_.coverage = std::move(found_.coverage);
    heap_.with_leaves = options_.with_leaves;
    heap_.deficit_stays_zero = runtime_.gc_head.refs_offset != 0;
    if (options_.with_leaves && !CloseOverLeaves()) return Stopped();
    found_.index.Seal();
    if (found_.index.size() > options_.limits.max_objects) {
      return Fail(ErrorCode::kLimit, "the heap has {} objects; at most {} can be numbered", found_.index.size(), options_.limits.max_objects);
    }
    if (!ReadHeaders()) return Stopped();
    if (free_threaded_) {
      AddUncountedReferences();
      MarkUntrackable(reader_, found_, heap_);
      if (!runtime_.state_lost.empty() || LostMemory(process_)) ForbidVerdict();
    }
    if (!DecodeReferences()) return Stopped();
    FindCondemned();
    FindHeldByDying();
    MakeTypeRecords();
    KeepWhatThreadsHold(heap_.dying);
    MakeInterpreterRecords();
    heap_.index = std::move(found_.index);
    return std::move(heap_);
  }

 private:
  struct PieceCounts {
    std::vector<TypeUse> types;  // by TypeFacts::id
    std::vector<NodeId> not_gc, incomplete, dying;
    std::vector<std::pair<NodeId, NodeId>> borrowed;
    std::uint64_t damaged = 0;
    std::vector<std::pair<NodeId, std::uint8_t>> quality;  // those that are not plainly exact
    std::vector<heap::SizeColumn::Large> large;            // sizes that do not fit the column
    std::uint64_t unreadable = 0, unreadable_referents = 0, type_errors = 0, approximate = 0, dangling = 0, dangling_objects = 0;
  };

  [[nodiscard]] Result<FoundObjects> FindObjects() {
    const auto is_object = [this](Address a) { return TypeAt(a) != nullptr; };
    const SourceOptions source{options_.with_leaves, false, options_.limits};
    const bool state_lost = !runtime_.state_lost.empty();
    Result<FoundObjects> found = free_threaded_ ? FindObjectsInHeaps(process_, runtime_, source, is_object, progress_)
                                 : state_lost   ? WithoutLists()
                                                : FindObjectsInLists(process_, runtime_, source, is_object, progress_);
    const std::optional<Error> unreadable_lists = found || found.error().code != ErrorCode::kCorrupt ? std::nullopt : std::optional(found.error());
    const bool no_heads = !free_threaded_ && !state_lost && found && found->lists.empty();
    const bool heads_lost = no_heads || (!free_threaded_ && found && HeadsAreLost());
    if (heads_lost) {
      found->coverage.lists_complete = false;
      found->coverage.notes.push_back(no_heads ? "what leads to the heads of the collector's lists is not in what is left of memory"
                                               : "a collection was running, and the stack that holds the heads of its lists is missing");
    }
    if (free_threaded_ || (found && found->coverage.lists_complete)) return found;
    if (!state_lost && !heads_lost && !LostHeap(process_)) return found;
    if (unreadable_lists) found = WithoutLists();
    if (!found) return found;
    const Result<StrayCount> strays = AddStrayObjects(process_, runtime_, [this](Address a) { return GcObjectAt(a); }, progress_, *found);
    if (!strays) return tl::unexpected(strays.error());
    if (found->objects == 0 && state_lost && !HasDataOf(process_, runtime_.module_index)) {
      return Fail(ErrorCode::kNotAnalysable, "{} is missing, and no object of Python is in what is left of memory{}", runtime_.state_lost, LeftOut(process_));
    }
    if (unreadable_lists) found->coverage.notes.push_back(unreadable_lists->message);
    NoteStrays(*strays, found->coverage);
    return found;
  }
  // What is being collected hangs on local variables of the collector.
  [[nodiscard]] bool HeadsAreLost() const {
    return std::any_of(runtime_.interpreters.begin(), runtime_.interpreters.end(), [](const cpython::Interpreter& i) { return i.collecting; }) &&
           std::any_of(process_.missing_ranges.begin(), process_.missing_ranges.end(), [](const target::MissingRange& m) { return m.use == target::MissingUse::kStack; });
  }
  [[nodiscard]] std::optional<GcObjectBytes> GcObjectAt(Address object) const {
    const TypeFacts* const type = TypeAt(object);
    if (type == nullptr || !type->have_gc) return std::nullopt;
    GcObjectBytes taken{type->has_preheader ? static_cast<std::uint64_t>(runtime_.layout.Value(cpython::Constant::PREHEADER_BYTES)) : 0,
                        static_cast<std::uint64_t>(type->basicsize)};
    if (type->itemsize == 0) return taken;
    const auto items = process_.memory.ReadValue<std::int64_t>(object + runtime_.layout.Offset(cpython::Field::PyVarObject_ob_size));
    taken.bytes = items && *items >= 0 && *items < kMaxSmallItems ? taken.bytes + static_cast<std::uint64_t>(*items * type->itemsize) : 0;
    return taken;
  }
  [[nodiscard]] Result<FoundObjects> WithoutLists() const {
    FoundObjects found;
    found.index = heap::ObjectIndex(ObjectRanges(process_, ObjectShift(runtime_.layout), options_.with_leaves));
    found.phases.resize(runtime_.interpreters.size());
    found.coverage.lists_complete = false;
    return found;
  }
  static void NoteStrays(const StrayCount& strays, heap::Coverage& coverage) {
    if (strays.objects == 0) return;
    std::string text = fmt::format("{} objects were found by the collector's links between them alone, in {} stretches of lists whose heads nothing leads to",
                                   strays.objects, strays.stretches);
    if (strays.closed > 0) text += fmt::format(", {} of them closed", strays.closed);
    if (strays.by_block > 0) text += fmt::format(" ({} of the objects by the allocator's block that holds them)", strays.by_block);
    coverage.notes.push_back(text + "; whether they are garbage cannot be told");
  }
  // Where threads' states may be missing, references from stacks that no count shows are too: what looks like garbage may be in use.
  void ForbidVerdict() {
    for (std::uint8_t& flags : heap_.flags) {
      if (flags & heap::kTracked) flags = static_cast<std::uint8_t>((flags & ~heap::kGenerationMask) | heap::kUntrackable);
    }
  }

  [[nodiscard]] static tl::unexpected<Error> Stopped() { return Fail(ErrorCode::kCancelled, "stopped while reading the heap"); }
  [[nodiscard]] const TypeFacts* TypeAt(Address object) const {
    const std::byte* const p = process_.memory.At(object, header_.size());
    return p == nullptr ? nullptr : reader_.Type(header_.Type(p));
  }
  [[nodiscard]] std::size_t Pieces() const noexcept {
    return (std::size_t{found_.index.size()} + (std::size_t{1} << options_.piece_shift) - 1) >> options_.piece_shift;
  }
  [[nodiscard]] std::pair<NodeId, NodeId> Piece(std::size_t piece) const noexcept {
    const std::uint64_t begin = std::uint64_t{piece} << options_.piece_shift;
    return {static_cast<NodeId>(begin),
            static_cast<NodeId>(std::min<std::uint64_t>(begin + (std::uint64_t{1} << options_.piece_shift), found_.index.size()))};
  }

  // True when the collector or gc.get_referents would call the type's tp_traverse for the object.
  [[nodiscard]] bool HasReferents(Address object, const TypeFacts& type, bool tracked) const {
    return tracked || (type.have_gc && reader_.IsGc(object, type));
  }

  // Marks everything that tracked objects lead to: untracked containers are followed, leaves are not. Each thread follows what it met first to its end.
  bool CloseOverLeaves() {
    found_.index.Seal();
    if (!free_threaded_) {
      tracked_flags_.resize(found_.index.size());
      if (runtime_.interpreters.size() > 1) tracked_interpreter_.resize(found_.index.size());
      FillListColumns(process_.memory, runtime_.gc_head, found_, tracked_flags_, tracked_interpreter_, options_.limits.threads);
    }
    tracked_.reserve(found_.index.size());
    found_.index.ForEach(0, found_.index.size(), [this](NodeId, Address a) { tracked_.push_back(a); });
    const std::size_t pieces = (tracked_.size() + kClosurePiece - 1) / kClosurePiece;
    const unsigned threads = ThreadCount(options_.limits.threads, pieces);
    BoundReferences();
    stores_ = found_.index.place_count() < kNoPlace;
    of_tracked_.resize(pieces);
    of_untracked_.resize(std::max(1u, threads));
    std::vector<Closure> closures;
    for (References& r : of_untracked_) closures.emplace_back(found_.index, r);
    const bool done = ForEachPiece(
        pieces, threads,
        [&](std::size_t piece, unsigned thread) {
          const std::size_t begin = piece * kClosurePiece;
          Closure& c = closures[thread];
          of_tracked_[piece].edges.reserve(4 * kClosurePiece);
          const bool expanded = Expand(std::span(tracked_).subspan(begin, std::min(kClosurePiece, tracked_.size() - begin)), true, of_tracked_[piece], c);
          if (of_tracked_[piece].edges.size() < 2 * kClosurePiece) of_tracked_[piece].edges.shrink_to_fit();
          return expanded && Drain(c);
        },
        [&](std::size_t piece) { return progress_.Update("finding untracked objects", piece * kClosurePiece, tracked_.size()); });
    if (!done) return false;
    Closure& rest = closures.front();
    rest.tick = &progress_;
    for (const Address root : options_.roots) Reach(root, rest);
    if (!Drain(rest)) return false;
    for (bool found_more = static_cast<bool>(options_.late_roots); found_more;) {
      found_more = false;
      for (const Address root : options_.late_roots()) {
        const bool was_known = found_.index.IsMarked(root);
        Reach(root, rest);
        found_more = found_more || (!was_known && found_.index.IsMarked(root));
      }
      if (!Drain(rest)) return false;
    }
    // Static types own their dicts, and nobody need refer to them. What they lead to may be of types not met before.
    for (std::size_t known = 0; options_.ownership != nullptr;) {
      const std::vector<const TypeFacts*> types = reader_.Types();
      if (types.size() == known) break;
      for (; known < types.size(); ++known) {
        if (!types[known]->is_heap_type) Reach(types[known]->address, rest);
      }
      if (!Drain(rest)) return false;
    }
    if (!stores_) DropStored();
    CountLeftOut(closures);
    return true;
  }
  // References of objects as the closure found them, by number of places: ids are known when it has ended.
  struct References {
    std::vector<std::uint32_t> objects, ends;  // those that have any; where their edges end
    std::vector<std::uint32_t> edges;          // kNoPlace: to nothing that could be an object
    std::vector<std::pair<std::uint32_t, std::uint8_t>> quality;  // of objects that are not plainly exact
  };
  // What one thread has in hand.
  struct Closure {
    Closure(const heap::ObjectIndex& index, References& untracked) : numbers(index), of_untracked(&untracked) {}
    struct Reference {
      Address to;
      std::uint64_t number;
    };
    heap::ObjectIndex::Numbers numbers;
    References* of_untracked;
    std::vector<Address> work, batch;
    std::vector<Reference> reached;
    objects::ReferentBuffer referents;
    std::vector<objects::OwnedSlot> owned;
    std::vector<std::uint8_t> owns_more;  // by TypeFacts::id: 1 no, 2 yes, 0 not asked
    Address last_keys = 0;
    std::unordered_set<Address> left_out;  // where exact references lead into memory that the image lacks
    std::uint64_t steps = 0;
    ProgressSink* tick = nullptr;  // set where no other thread reports
  };
  // True when an object of the type may own references that no traversal shows.
  [[nodiscard]] bool MayOwnMore(const TypeFacts& type, Closure& c) const {
    if (options_.ownership == nullptr) return false;
    if (type.id >= c.owns_more.size()) c.owns_more.resize(std::size_t{type.id} + 64);
    std::uint8_t& known = c.owns_more[type.id];
    if (known == 0) known = options_.ownership->MayOwnMore(type) ? 2 : 1;
    return known == 2;
  }
  void Reach(Address r, Closure& c) {
    if (const std::uint64_t number = c.numbers.Of(r); number != heap::ObjectIndex::kNoNumber) {
      Reach(r, number, c);
    } else {
      NoteLeftOut(r, c);
    }
  }
  // Where memory is known to be lost, that says it for all objects.
  void NoteLeftOut(Address r, Closure& c) const {
    if (!lost_memory_ && referent_test_.MayBeMissing(r)) c.left_out.insert(r);
  }
  void CountLeftOut(std::vector<Closure>& closures) {
    std::unordered_set<Address> all;
    for (Closure& c : closures) all.merge(c.left_out);
    heap_.coverage.left_out_objects = all.size();
  }
  void Reach(Address r, std::uint64_t number, Closure& c) {
    if (found_.index.IsNumberMarkedShared(number)) return;
    const TypeFacts* const of = TypeAt(r);
    if (of == nullptr) NoteLeftOut(r, c);
    if (of == nullptr || !found_.index.MarkNumberShared(number)) return;
    if (HasReferents(r, *of, false) || MayOwnMore(*of, c)) c.work.push_back(r);
  }
  // Reads the objects one after the other, the memory of those that follow asked for in advance, and reaches for their referents in batches.
  bool Expand(std::span<const Address> objects, bool tracked, References& store, Closure& c) {
    std::array<const TypeFacts*, kLookAhead> types{};
    for (std::size_t i = 0; i < std::min(kLookAhead, objects.size()); ++i) __builtin_prefetch(process_.memory.At(objects[i], 0));
    for (std::size_t i = 0; i < objects.size() + kTableAfter; ++i) {
      if (i < objects.size()) {
        if (i + kLookAhead < objects.size()) __builtin_prefetch(process_.memory.At(objects[i + kLookAhead], 0));
        const TypeFacts* const type = TypeAt(objects[i]);
        types[i % kLookAhead] = type;
        if (type != nullptr) reader_.PrefetchReferents(objects[i], *type);
      }
      if (i < kTableAfter) continue;
      const std::size_t ready = i - kTableAfter;
      if (const TypeFacts* const type = types[ready % kLookAhead]; type != nullptr) Read(objects[ready], *type, tracked, store, c);
      if (c.reached.size() >= kReachBatch) ReachAll(c);
      if (++c.steps % 65536 == 0 && c.tick != nullptr && !c.tick->Update("finding untracked objects", c.steps, 0)) return false;
    }
    ReachAll(c);
    return true;
  }
  void Read(Address object, const TypeFacts& type, bool tracked, References& store, Closure& c) {
    c.referents.clear();
    const bool visited = tracked || options_.ownership == nullptr || HasReferents(object, type, false);
    const ReferentQuality quality = visited ? reader_.Referents(object, type, c.referents) : ReferentQuality::kExact;
    const bool follow = options_.follow_inexact || objects::IsExact(quality);
    const bool stores = stores_.load(std::memory_order_relaxed);
    for (const Address r : c.referents) {
      const std::uint64_t number = c.numbers.Of(r);
      if (stores) store.edges.push_back(static_cast<std::uint32_t>(std::min<std::uint64_t>(number, kNoPlace)));
      if (number == heap::ObjectIndex::kNoNumber) {
        if (objects::IsExact(quality)) NoteLeftOut(r, c);
        continue;
      }
      found_.index.PrefetchNumber(number);
      if (follow) c.reached.push_back({r, number});
    }
    if (stores && (!c.referents.empty() || quality != ReferentQuality::kExact)) {
      const auto number = static_cast<std::uint32_t>(c.numbers.Of(object));
      store.objects.push_back(number);
      store.ends.push_back(static_cast<std::uint32_t>(store.edges.size()));
      if (quality != ReferentQuality::kExact) store.quality.emplace_back(number, static_cast<std::uint8_t>(quality));
      // LIMIT: max_edges_. Then they are decoded once more, up to there.
      if (edges_.fetch_add(c.referents.size(), std::memory_order_relaxed) + c.referents.size() >= max_edges_ || store.edges.size() >= kNoPlace / 2) stores_ = false;
    }
    if (!MayOwnMore(type, c)) return;
    c.owned.clear();
    options_.ownership->NotVisited(object, type, c.owned);
    if (const Address keys = options_.ownership->SharedKeys(object, type); keys != 0 && keys != c.last_keys) {
      options_.ownership->KeysOf(keys, c.owned);
      c.last_keys = keys;
    }
    for (const objects::OwnedSlot& o : c.owned) {
      const std::uint64_t number = c.numbers.Of(o.referent);
      if (number == heap::ObjectIndex::kNoNumber) {
        NoteLeftOut(o.referent, c);
        continue;
      }
      found_.index.PrefetchNumber(number);
      c.reached.push_back({o.referent, number});
    }
  }
  void ReachAll(Closure& c) {
    std::size_t fresh = 0;
    for (const Closure::Reference& r : c.reached) {
      if (found_.index.IsNumberMarkedShared(r.number)) continue;
      __builtin_prefetch(process_.memory.At(r.to, 0));
      c.reached[fresh++] = r;
    }
    c.reached.resize(fresh);
    for (const Closure::Reference& r : c.reached) Reach(r.to, r.number, c);
    c.reached.clear();
  }
  bool Drain(Closure& c) {
    while (!c.work.empty()) {
      const std::size_t n = std::min(c.work.size(), kDrainBatch);
      c.batch.assign(c.work.end() - static_cast<std::ptrdiff_t>(n), c.work.end());
      c.work.resize(c.work.size() - n);
      if (!Expand(c.batch, false, *c.of_untracked, c)) return false;
    }
    return true;
  }
  void DropStored() {
    FreeMemory(of_tracked_);
    FreeMemory(of_untracked_);
    edges_ = 0;
    TrimFreedMemory();
  }
  bool ReadHeaders() {
    const NodeId count = found_.index.size();
    heap_.refcount.resize(count);
    heap_.type.resize(count);
    heap_.flags.resize(count);
    if (runtime_.interpreters.size() > 1) heap_.interpreter.resize(count);
    if (!progress_.Update("noting generations", 0, 0)) return false;
    if (free_threaded_) {
      FillHeapColumns(process_.memory, runtime_.layout, found_, heap_.flags, heap_.interpreter);
    } else if (options_.with_leaves) {
      SpreadListColumns();
    } else {
      FillListColumns(process_.memory, runtime_.gc_head, found_, heap_.flags, heap_.interpreter, options_.limits.threads);
    }
    counts_.resize(Pieces());
    return ForEachPiece(
        Pieces(), ThreadCount(options_.limits.threads, Pieces()), [this](std::size_t piece, unsigned) { return ReadHeadersOf(piece); },
        [this](std::size_t done) { return progress_.Update("reading object headers", done << options_.piece_shift, found_.index.size()); });
  }
  // What was noted of tracked objects while the index held nothing else.
  void SpreadListColumns() {
    std::fill(heap_.flags.begin(), heap_.flags.end(), heap::kUntracked);
    std::fill(heap_.interpreter.begin(), heap_.interpreter.end(), heap::kNoInterpreter);
    for (std::size_t i = 0; i < tracked_.size(); ++i) {
      const NodeId n = found_.index.Find(tracked_[i]);
      heap_.flags[n] = tracked_flags_[i];
      if (!heap_.interpreter.empty()) heap_.interpreter[n] = tracked_interpreter_[i];
    }
    FreeMemory(tracked_);
    FreeMemory(tracked_flags_);
    FreeMemory(tracked_interpreter_);
  }
  bool ReadHeadersOf(std::size_t piece) {
    const auto [begin, end] = Piece(piece);
    PieceCounts& counts = counts_[piece];
    const cpython::GcHeadFormat& format = runtime_.gc_head;
    const std::uint32_t finalized_offset = format.refs_offset != 0 ? format.refs_offset : format.prev_offset;
    found_.index.ForEach(begin, end, [&](NodeId n, Address object) {
      const bool tracked = heap_.flags[n] & heap::kTracked;
      const std::byte* const p = process_.memory.At(object, header_.size());
      const TypeFacts* const type = p != nullptr ? reader_.Type(header_.Type(p)) : nullptr;
      // Nothing is tracked whose type has no part in collections: its flags are damaged, and with them what its instances hold.
      if (type == nullptr || (tracked && !type->have_gc && !type->from_file)) {
        heap_.refcount[n] = heap::kSaturated;  // nothing is known of it, so it stays
        heap_.type[n] = p == nullptr ? TypeUse::kUnreadable : TypeUse::kNoType;
        heap_.flags[n] |= heap::kFault;
        ++counts.unreadable;
        counts.type_errors += p != nullptr;
        return;
      }
      heap_.refcount[n] = header_.Refcount(p);
      heap_.type[n] = type->id;
      if (type->legacy_finalizer || (type->object_decides_legacy_finalizer && reader_.HasLegacyFinalizer(object, *type)))
        heap_.flags[n] |= heap::kLegacyFinalizer;
      if (!tracked) return;
      if (heap_.refcount[n] == 0 && header_.IsBeingFreed(p)) counts.dying.push_back(n);
      if (type->tp_is_gc != 0 && !type->is_type_object && !reader_.IsGc(object, *type)) counts.not_gc.push_back(n);
      if (format.finalized_bit == 0) return;
      const std::byte* const word = process_.memory.At(object - format.size + finalized_offset, sizeof(std::uint64_t));
      if (word != nullptr && (LoadUnchecked<std::uint64_t>(word) & format.finalized_bit)) heap_.flags[n] |= heap::kFinalized;
    });
    return true;
  }

  // CPython: merge_queued_objects(), gc_visit_thread_stacks(), scan_heap_visitor(), Python/gc_free_threading.c.
  void AddUncountedReferences() {
    cpython::UncountedReferences uncounted = cpython::ReadUncountedReferences(process_, runtime_, options_.limits);
    for (std::string& note : uncounted.notes) heap_.coverage.notes.push_back(std::move(note));
    const auto add = [&](NodeId n, const std::byte* p, std::int64_t by) {
      if (p == nullptr || heap_.type[n] >= TypeUse::kFirstSpecial || heap_.refcount[n] == heap::kImmortal) return;
      heap_.refcount[n] = header_.BiasedRefcount(p, by);
    };
    for (const cpython::CountChange& change : uncounted.changes) {
      const NodeId n = found_.index.Find(change.object);
      if (n != heap::kNoNode) add(n, process_.memory.At(change.object, header_.size()), change.by);
    }
    if (!uncounted.all_deferred_held && !CollectorHoldsUnreachable()) return;
    found_.index.ForEach(0, found_.index.size(), [&](NodeId n, Address object) {
      const std::byte* const p = process_.memory.At(object, header_.size());
      if (p == nullptr || heap_.type[n] >= TypeUse::kFirstSpecial || !(heap_.flags[n] & heap::kTracked)) return;
      const auto change = std::lower_bound(uncounted.changes.begin(), uncounted.changes.end(), object,
                                           [](const cpython::CountChange& c, Address a) { return c.object < a; });
      std::int64_t by = change != uncounted.changes.end() && change->object == object ? change->by : 0;
      if (uncounted.all_deferred_held && header_.IsDeferred(p)) ++by;
      if (IsDetached(n) && CollectorHoldsUnreachable()) --by;
      add(n, p, by);
    });
  }
  [[nodiscard]] bool IsDetached(NodeId n) const { return (heap_.flags[n] & (heap::kTracked | heap::kGenerationMask)) == (heap::kTracked | heap::kDetached); }
  // From scan_heap_visitor() on the collector's list of unreachable objects holds one reference to each, and has put their counts together. Before that,
  // while the world is stopped, the mark says nothing yet and most of them are not merged.
  [[nodiscard]] bool CollectorHoldsUnreachable() {
    if (collector_holds_) return *collector_holds_;
    bool any = false, all = true;
    found_.index.ForEach(0, found_.index.size(), [&](NodeId n, Address object) {
      if (!IsDetached(n)) return;
      const std::byte* const p = process_.memory.At(object, header_.size());
      any = true;
      all = all && p != nullptr && header_.IsMerged(p);
    });
    collector_holds_ = any && all;
    return *collector_holds_;
  }

  bool DecodeReferences() {
    facts_.clear();
    for (const TypeFacts* facts : reader_.Types()) {
      if (facts->id >= facts_.size()) facts_.resize(std::size_t{facts->id} + 1);
      facts_[facts->id] = facts;
    }
    if (options_.with_leaves && options_.sizes) heap_.size_bytes = heap::SizeColumn(found_.index.size());
    std::vector<graph::CsrGraph::Block> blocks(Pieces());
    if (options_.with_leaves && stores_) return OrderReferences(blocks);
    const std::uint64_t bytes = BoundReferences();
    const auto decode = [&](unsigned threads) {
      std::vector<DecodeScratch> scratch(threads);
      return ForEachPiece(
          Pieces(), threads, [&](std::size_t piece, unsigned thread) { return DecodePiece(piece, threads == 1, scratch[thread], blocks[piece]); },
          [this](std::size_t pieces) { return progress_.Update("reading references", pieces << options_.piece_shift, found_.index.size()); });
    };
    const unsigned threads = ThreadCount(options_.limits.threads, Pieces());
    bool done = decode(threads);
    if (!done && edges_ >= max_edges_ && threads > 1) {
      edges_ = 0;
      for (PieceCounts& c : counts_) {
        c.types.clear();
        c.borrowed.clear();
        c.incomplete.clear();
        c.damaged = 0;
        c.quality.clear();
        c.large.clear();
        c.unreadable -= c.unreadable_referents;
        c.approximate = c.dangling = c.dangling_objects = c.unreadable_referents = 0;
      }
      for (NodeId n = 0; n < heap_.flags.size(); ++n) {
        if (heap_.type[n] < TypeUse::kFirstSpecial) heap_.flags[n] &= static_cast<std::uint8_t>(~(heap::kApproximate | heap::kFault));
      }
      std::fill(blocks.begin(), blocks.end(), graph::CsrGraph::Block{});
      done = decode(1);
    }
    if (!done) return false;
    heap_.graph = graph::CsrGraph(std::move(blocks));
    if (edges_ >= max_edges_) {
      heap_.coverage.notes.push_back(
          fmt::format("stopped reading references after {}: more than {} bytes of memory can hold, so containers share their tables",
                      heap_.graph.edge_count(), bytes));
    }
    return true;
  }

  // A reference takes a word of the target's memory, so more references than words mean containers that share one table, and no end in any memory.
  // Then the work is done again on one thread, which makes the place of the cut the same every time. Returns the bytes of memory.
  std::uint64_t BoundReferences() {
    std::uint64_t bytes = 0;
    for (const target::Segment& s : process_.memory.segments()) bytes += s.range.size();
    max_edges_ = std::max<std::uint64_t>(kMinEdgeBudget, bytes / 4);
    return bytes;
  }

  // ---- references that the closure has stored

  // Stored references in the order of their objects: those of tracked ones lie in that order, piece by piece; of the others there is a sorted list.
  struct Stored {
    std::uint32_t object;
    std::uint32_t thread;
    std::uint32_t index;
  };
  bool OrderReferences(std::vector<graph::CsrGraph::Block>& blocks) {
    std::vector<Stored> untracked;
    std::vector<std::pair<std::uint32_t, std::uint8_t>> quality;
    for (std::uint32_t t = 0; t < of_untracked_.size(); ++t) {
      for (std::uint32_t i = 0; i < of_untracked_[t].objects.size(); ++i) untracked.push_back({of_untracked_[t].objects[i], t, i});
    }
    std::sort(untracked.begin(), untracked.end(), [](const Stored& a, const Stored& b) { return a.object < b.object; });
    for (const std::vector<References>* all : {&of_tracked_, &of_untracked_}) {
      for (const References& r : *all) quality.insert(quality.end(), r.quality.begin(), r.quality.end());
    }
    std::sort(quality.begin(), quality.end());
    std::erase_if(of_tracked_, [](const References& r) { return r.objects.empty(); });
    std::vector<std::atomic<std::size_t>> left(of_tracked_.size());
    for (std::size_t i = 0; i < left.size(); ++i) left[i] = of_tracked_[i].objects.size();
    const bool done = ForEachPiece(
        Pieces(), ThreadCount(options_.limits.threads, Pieces()), [&](std::size_t piece, unsigned) { return OrderPiece(piece, untracked, quality, left, blocks[piece]); },
        [this](std::size_t pieces) { return progress_.Update("reading references", pieces << options_.piece_shift, found_.index.size()); });
    if (!done) return false;
    DropStored();
    heap_.graph = graph::CsrGraph(std::move(blocks));
    return true;
  }
  // `left`: of each run of tracked objects, how many are still to come; what is used up is given back at once, so that the two graphs are never both there.
  bool OrderPiece(std::size_t piece, std::span<const Stored> untracked, std::span<const std::pair<std::uint32_t, std::uint8_t>> quality,
                  std::span<std::atomic<std::size_t>> left, graph::CsrGraph::Block& block) {
    const auto [begin, end] = Piece(piece);
    if (begin == end) return true;
    PieceCounts& counts = counts_[piece];
    block.first_node = begin;
    block.offsets.reserve(end - begin + 1);
    block.offsets.push_back(0);
    heap::ObjectIndex::Numbers numbers(found_.index);
    const auto first = static_cast<std::uint32_t>(numbers.Of(found_.index.AddressOf(begin)));
    auto run = std::partition_point(of_tracked_.begin(), of_tracked_.end(), [&](const References& r) { return r.objects.back() < first; });
    std::size_t at = run == of_tracked_.end() ? 0 : static_cast<std::size_t>(std::lower_bound(run->objects.begin(), run->objects.end(), first) - run->objects.begin());
    auto other = std::partition_point(untracked.begin(), untracked.end(), [&](const Stored& s) { return s.object < first; });
    auto not_exact = std::partition_point(quality.begin(), quality.end(), [&](const auto& q) { return q.first < first; });
    std::size_t used = 0;
    const auto release = [&] {
      if (used == 0 || (left[static_cast<std::size_t>(run - of_tracked_.begin())] -= used) != 0) return;
      FreeMemory(run->edges);
      FreeMemory(run->ends);
    };
    bool all_found = true;
    const auto add = [&](const References& r, std::size_t i) {
      for (std::size_t e = i == 0 ? 0 : r.ends[i - 1]; e < r.ends[i]; ++e) {
        if (e + kEdgesAhead < r.edges.size() && r.edges[e + kEdgesAhead] != kNoPlace) found_.index.PrefetchNumber(r.edges[e + kEdgesAhead]);
        const NodeId target = r.edges[e] == kNoPlace ? heap::kNoNode : found_.index.FindNumber(r.edges[e]);
        if (target != heap::kNoNode) {
          block.edges.push_back(target);
        } else {
          all_found = false;
        }
      }
    };
    found_.index.ForEach(begin, end, [&](NodeId n, Address object) {
      const auto number = static_cast<std::uint32_t>(numbers.Of(object));
      ReferentQuality q = ReferentQuality::kExact;
      const bool has_type = heap_.type[n] < TypeUse::kFirstSpecial;
      if (run != of_tracked_.end() && run->objects[at] == number) {
        if (has_type) add(*run, at);
        ++used;
        if (++at == run->objects.size()) {
          release();
          ++run;
          at = used = 0;
        }
      } else if (other != untracked.end() && other->object == number) {
        if (has_type) add(of_untracked_[other->thread], other->index);
        ++other;
      }
      if (not_exact != quality.end() && not_exact->first == number) q = static_cast<ReferentQuality>((not_exact++)->second);
      block.offsets.push_back(static_cast<std::uint32_t>(block.edges.size()));
      if (has_type) {
        NoteObject(n, object, *facts_[heap_.type[n]], q, true, counts);
        if (!all_found) NoteDangling(n, object, counts);
      } else {
        counts.quality.emplace_back(n, static_cast<std::uint8_t>(ReferentQuality::kUnknown));
      }
      all_found = true;
    });
    if (run != of_tracked_.end()) release();
    block.edges.shrink_to_fit();
    return true;
  }

  // What one thread keeps from piece to piece, so that a piece's references are stored once, in a block of their very size.
  struct DecodeScratch {
    objects::ReferentBuffer referents;
    std::vector<std::uint64_t> places;  // number of the place of each referent, asked for while the next objects are decoded
    std::vector<NodeId> edges;
  };

  // `cut`: objects beyond the bound of all references are left without; otherwise the work stops there.
  bool DecodePiece(std::size_t piece, bool cut, DecodeScratch& scratch, graph::CsrGraph::Block& block) {
    const auto [begin, end] = Piece(piece);
    PieceCounts& counts = counts_[piece];
    block.first_node = begin;
    block.offsets.reserve(end - begin + 1);
    block.offsets.push_back(0);
    objects::ReferentBuffer& referents = scratch.referents;
    std::vector<std::uint64_t>& places = scratch.places;
    heap::ObjectIndex::Numbers numbers(found_.index);
    std::vector<NodeId>& edges = scratch.edges;
    referents.clear();
    places.clear();
    edges.clear();
    std::array<std::size_t, kBatch> ends{};
    std::array<std::pair<NodeId, Address>, kBatch> sources{};
    std::size_t batched = 0;
    const auto resolve = [&] {
      edges_.fetch_add(referents.size(), std::memory_order_relaxed);
      std::size_t at = 0, used = edges.size();
      if (edges.capacity() - used < places.size()) edges.reserve(std::max(edges.capacity() * 2, used + places.size()));
      edges.resize(used + places.size());
      for (std::size_t i = 0; i < batched; ++i) {
        const std::size_t first = used;
        for (const std::size_t stop = ends[i]; at < stop; ++at) {
          const NodeId target = places[at] == heap::ObjectIndex::kNoNumber ? heap::kNoNode : found_.index.FindNumber(places[at]);
          edges[used] = target;
          used += target != heap::kNoNode;
        }
        if (options_.with_leaves && used - first != ends[i] - (i == 0 ? 0 : ends[i - 1])) NoteDangling(sources[i].first, sources[i].second, counts);
        block.offsets.push_back(static_cast<std::uint32_t>(used));
      }
      edges.resize(used);
      places.clear();
      referents.clear();
      batched = 0;
    };
    const auto decode = [&](NodeId n, Address object) {
      const std::size_t before = referents.size();
      if (heap_.type[n] < TypeUse::kFirstSpecial) {
        DecodeObject(n, object, edges_.load(std::memory_order_relaxed) < max_edges_, referents, counts);
      } else {
        counts.quality.emplace_back(n, static_cast<std::uint8_t>(ReferentQuality::kUnknown));
      }
      std::uint64_t astray = 0;
      for (std::size_t i = before; i < referents.size(); ++i) {
        places.push_back(numbers.Of(referents[i]));
        if (places.back() != heap::ObjectIndex::kNoNumber) {
          found_.index.PrefetchNumber(places.back());
        } else {
          astray += IsAstray(referents[i]);
        }
      }
      if (astray > 0 && !options_.with_leaves) AddDangling(n, object, astray, counts);
      sources[batched] = {n, object};
      ends[batched++] = referents.size();
      if (batched == kBatch || referents.size() > kBatchReferents) resolve();
    };
    // Each object passes three stations: its memory is asked for; some objects later its table (list items, dict keys); some later it is decoded.
    std::array<std::pair<NodeId, Address>, kLookAhead> ahead{};
    std::size_t seen = 0;
    const auto ask_for_table = [&](std::size_t i) {
      const auto& [n, object] = ahead[i % kLookAhead];
      if (heap_.type[n] < TypeUse::kFirstSpecial) reader_.PrefetchReferents(object, *facts_[heap_.type[n]]);
    };
    found_.index.ForEach(begin, end, [&](NodeId n, Address object) {
      if (seen >= kLookAhead) decode(ahead[seen % kLookAhead].first, ahead[seen % kLookAhead].second);
      ahead[seen % kLookAhead] = {n, object};
      __builtin_prefetch(process_.memory.At(object, 0));
      ++seen;
      if (seen >= kTableAfter) ask_for_table(seen - kTableAfter);
    });
    for (std::size_t i = seen > kLookAhead ? seen - kLookAhead : 0; i < seen; ++i) decode(ahead[i % kLookAhead].first, ahead[i % kLookAhead].second);
    resolve();
    block.edges.assign(edges.begin(), edges.end());
    return cut || edges_.load(std::memory_order_relaxed) < max_edges_;
  }

  void DecodeObject(NodeId n, Address object, bool room, objects::ReferentBuffer& referents, PieceCounts& counts) {
    const TypeFacts& type = *facts_[heap_.type[n]];
    ReferentQuality quality = ReferentQuality::kExact;
    if (HasReferents(object, type, heap_.flags[n] & heap::kTracked)) {
      quality = room ? reader_.Referents(object, type, referents) : ReferentQuality::kUnknown;
    }
    NoteObject(n, object, type, quality, room, counts);
  }
  // A reference that leads to no memory, or between two objects. One to memory that is there is left to CheckReferences(): it costs a look there.
  [[nodiscard]] bool IsAstray(Address referent) const {
    return (referent % kLeastAlignment != 0 || process_.memory.Find(referent) == nullptr) && referent_test_.WhyNoObject(referent) != nullptr;
  }
  // With leaves: the object has a reference whose end is no node. Some lead into memory that is not in the image.
  void NoteDangling(NodeId n, Address object, PieceCounts& counts) const {
    if (lost_memory_ || heap_.type[n] >= TypeUse::kFirstSpecial) return;
    if (const std::uint64_t dangling = referent_test_.Dangling(object, *facts_[heap_.type[n]]); dangling > 0) AddDangling(n, object, dangling, counts);
  }
  // Its references are no longer what they were.
  [[nodiscard]] bool IsBeingFreed(NodeId n, Address object) const {
    if (heap_.refcount[n] != 0) return false;
    const std::byte* const p = process_.memory.At(object, header_.size());
    return p == nullptr || header_.IsBeingFreed(p);
  }
  void AddDangling(NodeId n, Address object, std::uint64_t references, PieceCounts& counts) const {
    if (lost_memory_ || IsBeingFreed(n, object) || (heap_.flags[n] & (heap::kApproximate | heap::kFault)) != 0) return;
    counts.dangling += references;
    ++counts.dangling_objects;
    if (heap_.flags[n] & heap::kTracked) counts.incomplete.push_back(n);
  }
  void NoteObject(NodeId n, Address object, const TypeFacts& type, ReferentQuality quality, bool room, PieceCounts& counts) {
    if (has_borrowed_ && room) {
      objects::ReferentBuffer borrowed;  // does not allocate while it is empty
      reader_.BorrowedReferents(object, type, borrowed);
      for (const Address a : borrowed) {
        if (const NodeId target = found_.index.Find(a); target != heap::kNoNode) counts.borrowed.emplace_back(n, target);
      }
    }
    if (type.id >= counts.types.size()) counts.types.resize(std::max<std::size_t>(facts_.size(), std::size_t{type.id} + 1));
    counts.types[type.id].Add(quality);
    if (quality != ReferentQuality::kExact) counts.quality.emplace_back(n, static_cast<std::uint8_t>(quality));
    if (!objects::IsExact(quality)) {
      heap_.flags[n] |= heap::kApproximate;
      ++counts.approximate;
      if (quality == ReferentQuality::kPartial && (heap_.flags[n] & heap::kTracked)) {
        counts.incomplete.push_back(n);
        counts.damaged += type.reader != objects::ReaderKind::kMachine && type.base_reader != objects::ReaderKind::kMachine;
      }
      if (quality == ReferentQuality::kUnknown) {
        heap_.flags[n] |= heap::kFault;
        ++counts.unreadable;
        ++counts.unreadable_referents;
      }
    }
    if (options_.with_leaves && options_.sizes) {
      const std::uint64_t bytes = reader_.SizeOf(object, type).value_or(heap::kUnknownSize);
      if (!heap_.size_bytes.Set(n, bytes)) counts.large.emplace_back(n, bytes);
    }
  }

  // CPython: gc_collect_internal(), Python/gc_free_threading.c: objects are marked unreachable while the world is stopped, and merged and held by the
  // collector's list when the finalizers begin.
  [[nodiscard]] heap::CollectionPhase PhaseByMarks(std::size_t interpreter) {
    if (!runtime_.interpreters[interpreter].collecting) return heap::CollectionPhase::kNone;
    if (heap_.interpreters[interpreter].generation_counts[heap::kDetached] == 0) return heap::CollectionPhase::kBetween;
    return CollectorHoldsUnreachable() ? heap::CollectionPhase::kFreeing : heap::CollectionPhase::kDeciding;
  }

  // Free-threaded: what is marked, and what the collecting thread has just taken from its list, which may be marked no longer or be freed already.
  // CPython: delete_garbage(), Python/gc_free_threading.c.
  void FindCondemnedByMarks() {
    for (NodeId n = 0; n < heap_.flags.size(); ++n) {
      if (IsDetached(n)) heap_.condemned.push_back(n);
    }
    ForEachThreadWord(process_, UsedStacks(process_), [&](std::uint64_t word, const target::Thread&) {
      const TypeFacts* const type = word % kObjectAlignment == 0 ? TypeAt(word) : nullptr;
      if (type == nullptr) return true;
      const std::byte* const p = process_.memory.At(word, header_.size());
      if (const NodeId n = found_.index.Find(word); n != heap::kNoNode && heap_.IsTracked(n)) {
        if (header_.IsMerged(p)) heap_.condemned.push_back(n);
      } else if (header_.StoredCountIsZero(p) && found_.dying.size() < kMaxDying) {
        found_.dying.push_back(word);
      }
      return true;
    });
    std::sort(found_.dying.begin(), found_.dying.end());
    found_.dying.erase(std::unique(found_.dying.begin(), found_.dying.end()), found_.dying.end());
  }

  void FindCondemned() {
    if (free_threaded_ && CollectorHoldsUnreachable()) FindCondemnedByMarks();
    for (const ObjectList& list : found_.lists) {
      if (!list.condemned) continue;
      for (const ListStretch& stretch : list.stretches) {
        Address head = stretch.first_head;
        for (std::uint64_t i = 0; i < stretch.count; ++i) {
          if (const NodeId n = found_.index.Find(links_.ObjectOf(head)); n != heap::kNoNode) heap_.condemned.push_back(n);
          head = (stretch.backwards ? links_.Previous(head) : links_.Next(head)).value_or(0);
        }
      }
    }
    std::sort(heap_.condemned.begin(), heap_.condemned.end());
    heap_.condemned.erase(std::unique(heap_.condemned.begin(), heap_.condemned.end()), heap_.condemned.end());
  }

  // An object at a count of 0 is about to be freed where a thread has it in hand; elsewhere its count is wrong. A dump without registers does not tell.
  void KeepWhatThreadsHold(std::vector<NodeId>& nodes) const {
    if (nodes.empty() || std::none_of(process_.threads.begin(), process_.threads.end(), [](const target::Thread& t) { return t.has_registers; })) return;
    std::vector<NodeId> held;
    ForEachThreadWord(process_, UsedStacks(process_), [&](std::uint64_t word, const target::Thread&) {
      for (const Address object : {Address{word}, links_.ObjectOf(word)}) {
        const NodeId n = found_.index.Find(object);
        if (n != heap::kNoNode && std::binary_search(nodes.begin(), nodes.end(), n)) held.push_back(n);
      }
      return true;
    });
    std::sort(held.begin(), held.end());
    held.erase(std::unique(held.begin(), held.end()), held.end());
    nodes = std::move(held);
  }

  void FindHeldByDying() {
    objects::ReferentBuffer referents;
    for (const Address object : found_.dying) {
      if (const TypeFacts* const type = TypeAt(object); type != nullptr) reader_.Referents(object, *type, referents);
    }
    for (const Address a : referents) {
      if (const NodeId n = found_.index.Find(a); n != heap::kNoNode) heap_.held_by_dying.push_back(n);
    }
  }

  // What a tp_traverse visited where no object can be stood for an object, as a dangling item of a list does, or the function is wrong: either way a reference is not known.
  void AddObjectsAstray() {
    if (lost_memory_) return;
    for (const Address a : reader_.ObjectsAstray()) {
      const NodeId n = found_.index.Find(a);
      if (n == heap::kNoNode || IsBeingFreed(n, a) || (heap_.flags[n] & heap::kApproximate) == 0) continue;
      ++heap_.coverage.dangling_references;
      ++heap_.coverage.dangling_objects;
      if (heap_.flags[n] & heap::kTracked) heap_.incomplete.push_back(n);
    }
    std::sort(heap_.incomplete.begin(), heap_.incomplete.end());
    heap_.incomplete.erase(std::unique(heap_.incomplete.begin(), heap_.incomplete.end()), heap_.incomplete.end());
  }

  void MakeTypeRecords() {
    TypeColumn column(facts_);
    for (const PieceCounts& c : counts_) {
      column.Use(c.types);
      heap_.coverage.unreadable_objects += c.unreadable;
      heap_.coverage.type_errors += c.type_errors;
      heap_.coverage.approximate_objects += c.approximate;
      heap_.coverage.dangling_references += c.dangling;
      heap_.coverage.dangling_objects += c.dangling_objects;
      heap_.coverage.damaged_objects += c.damaged;
      heap_.incomplete.insert(heap_.incomplete.end(), c.incomplete.begin(), c.incomplete.end());
      heap_.dying.insert(heap_.dying.end(), c.dying.begin(), c.dying.end());
      heap_.not_gc.insert(heap_.not_gc.end(), c.not_gc.begin(), c.not_gc.end());
      heap_.borrowed.insert(heap_.borrowed.end(), c.borrowed.begin(), c.borrowed.end());
      heap_.quality.insert(heap_.quality.end(), c.quality.begin(), c.quality.end());
      heap_.size_bytes.AddLarge(c.large);
    }
    AddObjectsAstray();
    heap_.coverage.objects = found_.objects;
    heap_.types = column.Records(reader_);
    column.Translate(heap_.type);
    counts_.clear();
  }

  void MakeInterpreterRecords() {
    for (std::size_t i = 0; i < runtime_.interpreters.size(); ++i) {
      const cpython::Interpreter& from = runtime_.interpreters[i];
      heap::InterpreterRecord& to = heap_.interpreters.emplace_back();
      to.id = from.id;
      to.address = from.address;
      to.collecting = from.collecting;
      to.debug = from.debug;
      to.garbage_list = from.garbage;
      for (const Address dict : {from.modules, from.sysdict, from.builtins}) {
        if (const NodeId n = found_.index.Find(dict); n != heap::kNoNode && heap_.IsTracked(n)) to.roots.push_back(n);
      }
      if (from.garbage == 0) continue;
      const bool seen = std::any_of(runtime_.interpreters.begin(), runtime_.interpreters.begin() + static_cast<std::ptrdiff_t>(i),
                                    [&](const cpython::Interpreter& other) { return other.garbage == from.garbage; });
      if (seen) continue;  // up to 3.8 one list for all interpreters
      to.garbage_list_node = found_.index.Find(from.garbage);
      if (to.garbage_list_node != heap::kNoNode && !heap_.IsTracked(to.garbage_list_node)) to.garbage_list_node = heap::kNoNode;
      const Result<std::vector<Address>> items = reader_.ListItems(from.garbage, kMaxGarbageItems);
      if (!items) {
        heap_.coverage.unread_garbage.push_back(fmt::format("gc.garbage of interpreter {}: {}", from.id, items.error().message));
        continue;
      }
      to.garbage_addresses = *items;
      for (const Address item : *items) {
        const NodeId n = found_.index.Find(item);
        to.garbage.push_back(n);
      }
    }
    for (const ObjectRun& run : found_.runs) {
      const std::size_t of = run.interpreter < heap_.interpreters.size() ? run.interpreter : 0;
      for (std::uint32_t i = 0; i < run.count && of < heap_.interpreters.size(); ++i) {
        const NodeId n = found_.index.Find(run.first + i * run.stride);
        if (n == heap::kNoNode) continue;
        const std::uint8_t generation = heap_.Generation(n);
        ++heap_.interpreters[of].generation_counts[generation == heap::kUntrackable ? heap::kUngenerational : generation];
      }
    }
    for (const ObjectList& list : found_.lists) {
      const std::size_t of = list.interpreter < heap_.interpreters.size() ? list.interpreter : 0;
      if (list.generation < 5 && of < heap_.interpreters.size()) heap_.interpreters[of].generation_counts[list.generation] += list.count;
    }
    for (std::size_t i = 0; i < heap_.interpreters.size(); ++i) {
      heap_.interpreters[i].phase = free_threaded_ ? PhaseByMarks(i) : i < found_.phases.size() ? found_.phases[i] : heap::CollectionPhase::kNone;
    }
  }

  static constexpr Address kObjectAlignment = 16;
  static constexpr Address kLeastAlignment = 8;  // of any object, static ones and ints of 2.7 too
  static constexpr std::int64_t kMaxSmallItems = 512;  // of an object in a block of CPython's allocator: one byte each
  static constexpr std::size_t kMaxDying = 1024;  // nested deallocations
  static constexpr std::uint64_t kMinEdgeBudget = 1u << 22;
  static constexpr std::size_t kMaxGarbageItems = 0xFFFFFFF0u;  // bounded by the list's own memory, see ObjectReader::ListItems

  const objects::ObjectReader& reader_;
  const target::Process& process_;
  const cpython::Runtime& runtime_;
  const SnapshotOptions& options_;
  ProgressSink& progress_;
  cpython::ObjectHeaderReader header_;
  const ReferentTest referent_test_;
  const bool lost_memory_ = process_.LostMemory();
  const bool free_threaded_ = runtime_.layout.flavor.free_threaded;
  std::optional<bool> collector_holds_;
  const bool has_borrowed_ = reader_.HasBorrowedReferents();
  GcLinks links_;
  FoundObjects found_;
  std::vector<Address> tracked_;  // with leaves, until the columns are there: rising; with the columns of these
  std::vector<std::uint8_t> tracked_flags_, tracked_interpreter_;
  heap::HeapSnapshot heap_;
  std::vector<const TypeFacts*> facts_;
  std::vector<PieceCounts> counts_;
  std::vector<References> of_tracked_, of_untracked_;  // with leaves, until the graph is made: by piece, and by thread
  std::atomic<bool> stores_{false};                    // they are whole
  std::uint64_t max_edges_ = 0;
  std::atomic<std::uint64_t> edges_{0};
};

}  // namespace

Result<heap::HeapSnapshot> BuildSnapshot(const objects::ObjectReader& reader, const SnapshotOptions& options, ProgressSink& progress) {
  try {
    return Builder(reader, options, progress).Run();
  } catch (const std::bad_alloc&) {
    return Fail(ErrorCode::kLimit, "not enough memory to read the heap; try --max-memory, or a machine with more memory");
  } catch (const std::length_error&) {
    return Fail(ErrorCode::kLimit, "not enough memory to read the heap; try --max-memory, or a machine with more memory");
  }
}

}  // namespace pygc::snapshot
