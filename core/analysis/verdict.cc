#include "core/analysis/verdict.h"

#include <algorithm>
#include <optional>
#include <span>
#include <utility>

#include "core/analysis/in_degree.h"
#include "core/base/parallel.h"
#include "core/graph/reachability.h"

namespace pygc::analysis {
namespace {

using graph::kNoNode;
using graph::NodeId;
using graph::NodeSet;
using heap::HeapSnapshot;

// The collector's counts and its two passes over them. References can be added and taken back, so that each question (exact references only,
// approximate ones too, the permanent generation too) costs one marking pass and not a new count.
class Replay {
 public:
  Replay(const HeapSnapshot& heap, unsigned threads)
      : heap_(heap), threads_(ThreadCount(threads, heap.size() >> 16)), found_(heap.size()), not_gc_(heap.size()), several_interpreters_(!heap.interpreter.empty()) {
    for (const NodeId n : heap.not_gc) not_gc_.Insert(n);
  }

  // CPython: subtract_refs(). Counts the references that the sources hold. `sign`: +1 adds them, -1 takes them back.
  template <typename IsSource>
  void CountReferencesFrom(IsSource&& is_source, int sign = 1) {
    for (const graph::CsrGraph::Block& block : heap_.graph.blocks()) {
      for (std::size_t i = 0; i + 1 < block.offsets.size(); ++i) {
        const NodeId source = block.first_node + static_cast<NodeId>(i);
        if (!is_source(source)) continue;
        if (!several_interpreters_ && sign > 0) {  // the references of all sources in a row, which is nearly all of the block, lie in a row
          const std::size_t first = i;
          while (i + 2 < block.offsets.size() && is_source(block.first_node + static_cast<NodeId>(i + 1))) ++i;
          found_.AddAll(std::span(block.edges).subspan(block.offsets[first], block.offsets[i + 1] - block.offsets[first]));
          continue;
        }
        for (std::uint32_t e = block.offsets[i]; e < block.offsets[i + 1]; ++e) {
          const NodeId target = block.edges[e];
          // A collector visits the references of its own interpreter's objects only; one from elsewhere counts as one from outside.
          if (several_interpreters_ && heap_.interpreter[source] != heap_.interpreter[target]) continue;
          Count(target, sign);
        }
      }
    }
    SkipBorrowedFrom(is_source, sign);
  }
  // Borrowed stack slots are in the graph, because what they refer to stays reachable through them, but hold no count to take away.
  template <typename IsSource>
  void SkipBorrowedFrom(IsSource&& is_source, int sign) {
    for (const auto& [source, target] : heap_.borrowed) {
      if (!is_source(source) || (several_interpreters_ && heap_.interpreter[source] != heap_.interpreter[target])) continue;
      Count(target, -sign);
    }
  }
  void Count(NodeId target, int sign) { sign > 0 ? found_.Add(target) : found_.Remove(target); }

  // True when something that was not counted holds `n`. CPython: gc_refs != 0 (up to 3.7: > 0) after subtract_refs().
  [[nodiscard]] bool HeldFromOutside(NodeId n) const {
    const std::uint32_t refcount = heap_.refcount[n];
    if (refcount >= heap::kSaturated) return true;
    if (not_gc_.Contains(n)) return refcount != 0;
    const std::uint64_t found = found_.Count(n);
    return found > refcount ? !heap_.deficit_stays_zero : found < refcount;
  }
  // True when even all that was counted leaves some of the count unexplained.
  [[nodiscard]] bool IsShortOf(NodeId n) const {
    const std::uint32_t refcount = heap_.refcount[n];
    return refcount >= heap::kSaturated || (not_gc_.Contains(n) ? refcount != 0 : found_.Count(n) < refcount);
  }
  [[nodiscard]] bool HasDeficit(NodeId n) const {
    return !not_gc_.Contains(n) && heap_.refcount[n] < heap::kSaturated && found_.Count(n) > heap_.refcount[n];
  }

  // The candidates that something outside holds, and how many have more references than their count says. CPython: subtract_refs() is done.
  struct Held {
    NodeSet roots;
    std::uint64_t deficits = 0;
  };
  [[nodiscard]] Held FindHeld(const NodeSet& candidates) const {
    Held held{NodeSet(heap_.size())};
    candidates.ForEach([&](NodeId n) {
      const std::uint32_t refcount = heap_.refcount[n];
      const std::uint64_t found = found_.Count(n);
      if (found == refcount && refcount < heap::kSaturated && !not_gc_.Contains(n)) return;  // most
      if (HeldFromOutside(n)) held.roots.Insert(n);
      held.deficits += HasDeficit(n);
    });
    return held;
  }

  // CPython: move_unreachable(). Starts with what is no candidate, and with what is dying: such objects are in no collection's hands but in a thread's,
  // which frees them by count: they and what they hold are no garbage.
  [[nodiscard]] NodeSet NothingReached(const NodeSet& candidates) const {
    NodeSet reached = candidates.Complement();
    MarkDying(candidates, reached);
    return reached;
  }
  // Adds what `roots` lead to, themselves included.
  void Reach(const NodeSet& roots, NodeSet& reached) const {
    // In batches, so that millions of them need no list of their own.
    std::vector<NodeId> batch;
    const auto flush = [&] {
      graph::MarkReachable(heap_.graph, batch, reached, threads_);
      batch.clear();
    };
    roots.ForEach([&](NodeId n) {
      if (!reached.Contains(n)) batch.push_back(n);
      if (batch.size() == kBatch) flush();
    });
    flush();
  }
  // The candidates that nothing outside reaches. `emptied`: nodes taken as reachable but not followed.
  [[nodiscard]] NodeSet Unreachable(const NodeSet& candidates, std::span<const NodeId> emptied = {}) const {
    NodeSet reached = candidates.Complement();
    for (const NodeId n : emptied) reached.Insert(n);
    MarkDying(candidates, reached);
    Reach(FindHeld(candidates).roots, reached);
    return reached.Complement();
  }
  // As Reach(), but `closed` nodes are not followed; those that were new are appended to `met`.
  void ReachUpTo(const NodeSet& roots, const NodeSet& closed, NodeSet& reached, std::vector<NodeId>& met) const {
    std::vector<NodeId> batch;
    roots.ForEach([&](NodeId n) {
      if (!reached.Contains(n)) batch.push_back(n);
    });
    graph::MarkReachableUpTo(heap_.graph, batch, closed, reached, met, threads_);
  }
  void ReachUpTo(std::span<const NodeId> roots, const NodeSet& closed, NodeSet& reached, std::vector<NodeId>& met) const {
    graph::MarkReachableUpTo(heap_.graph, roots, closed, reached, met, threads_);
  }
  void MarkDying(const NodeSet& candidates, NodeSet& reached) const {
    std::vector<NodeId> roots;
    for (const NodeId n : heap_.dying) {
      if (candidates.Contains(n) && found_.Count(n) == 0) roots.push_back(n);
    }
    graph::MarkReachable(heap_.graph, roots, reached);
  }

 private:
  static constexpr std::size_t kBatch = 1u << 18;

  const HeapSnapshot& heap_;
  unsigned threads_;
  InDegree found_;
  NodeSet not_gc_;
  bool several_interpreters_;
};

// Everything that `from` reaches inside `within`, `from` included.
NodeSet ReachedInside(const HeapSnapshot& heap, std::span<const NodeId> from, const NodeSet& within) {
  NodeSet visited = within.Complement();
  graph::MarkReachable(heap.graph, from, visited);
  visited.Subtract(within.Complement());
  return visited;
}

bool HasLegacyFinalizer(const HeapSnapshot& heap, NodeId n) {
  return (heap.flags[n] & heap::kLegacyFinalizer) || heap.types[heap.type[n]].legacy_finalizer;
}

// What dropping the references of gc.garbage would free at once by plain counting: it is in no cycle, and no collection ever finds it.
NodeSet FreedByCounting(const HeapSnapshot& heap, const NodeSet& held) {
  std::vector<std::uint32_t> left(heap.refcount);
  std::vector<NodeId> work;
  NodeSet freed(heap.size());
  const auto drop = [&](NodeId n) {
    if (n == kNoNode || !held.Contains(n) || left[n] >= heap::kSaturated || left[n] == 0) return;
    if (--left[n] == 0 && freed.InsertNew(n)) work.push_back(n);
  };
  for (const heap::InterpreterRecord& interpreter : heap.interpreters) {
    for (const NodeId n : interpreter.garbage) drop(n);
  }
  while (!work.empty()) {
    const NodeId n = work.back();
    work.pop_back();
    for (const NodeId target : heap.graph.Successors(n)) drop(target);
  }
  return freed;
}

class VerdictBuilder {
 public:
  VerdictBuilder(const HeapSnapshot& heap, ProgressSink& progress, unsigned threads, std::span<const NodeId> known_roots)
      : heap_(heap), progress_(progress), replay_(heap, threads), known_roots_(known_roots), candidates_(heap.size()) {}

  Result<Verdict> Run() {
    ChooseCandidates();
    if (!Step("counting references", 0)) return Cancelled();
    replay_.CountReferencesFrom([&](NodeId n) { return candidates_.Contains(n) && !IsApproximate(n); });
    if (!Step("finding what nothing reaches", 1)) return Cancelled();
    FindUnreachable();
    if (!Step("looking behind gc.garbage", 2)) return Cancelled();
    LookBehindGarbage();
    if (!Step("weighing approximate references", 3)) return Cancelled();
    FindUpperBound();
    if (!Step("looking into the permanent generation", 4)) return Cancelled();
    LookIntoPermanentGeneration();
    Name();
    if (!Step("verdict", kSteps)) return Cancelled();
    return std::move(verdict_);
  }

 private:
  static constexpr std::uint64_t kSteps = 5;

  [[nodiscard]] bool Step(std::string_view stage, std::uint64_t done) { return progress_.Update(stage, done, kSteps); }
  [[nodiscard]] static tl::unexpected<Error> Cancelled() { return Fail(ErrorCode::kCancelled, "stopped while replaying the collection"); }
  [[nodiscard]] bool IsApproximate(NodeId n) const { return heap_.flags[n] & heap::kApproximate; }

  // CPython: update_refs() over the merged generations. A collector that was at work when the process stopped has moved objects to lists of its own
  // (kDetached): they are what it was deciding about, and their counts are untouched, so they are judged like the rest.
  // Immortal objects are no candidates: update_refs() [3.12] moves them to the permanent generation, [3.13+] untracks them. Nor are those that update_refs()
  // of free-threaded builds untracks on sight.
  void ChooseCandidates() {
    for (NodeId n = 0; n < heap_.size(); ++n) {
      if (!heap_.IsTracked(n) || heap_.refcount[n] == heap::kImmortal || heap_.Generation(n) == heap::kUntrackable) continue;
      if (heap_.Generation(n) == heap::kPermanent) {
        has_permanent_ = true;
      } else {
        candidates_.Insert(n);
      }
      if (IsApproximate(n) && candidates_.Contains(n)) approximate_.push_back(n);
    }
  }

  // The same collection with gc.garbage empty: what it finds in addition is kept alive by gc.garbage alone.
  // Replaying CPython's `del gc.garbage[:]; gc.collect()`.
  void LookBehindGarbage() {
    std::vector<NodeId> lists;
    bool any = false;
    for (const heap::InterpreterRecord& interpreter : heap_.interpreters) {
      verdict_.garbage_count += interpreter.garbage.size();
      for (const NodeId n : interpreter.garbage) any = any || n != kNoNode;
      if (interpreter.garbage_list_node != kNoNode) lists.push_back(interpreter.garbage_list_node);
    }
    verdict_.held_by_garbage = NodeSet(heap_.size());
    verdict_.in_garbage.resize(heap_.size());
    if (!any) return;
    const auto count_unseen_lists = [&](int sign) {  // a list that is a candidate had its references counted already
      for (const heap::InterpreterRecord& interpreter : heap_.interpreters) {
        if (interpreter.garbage_list_node != kNoNode && candidates_.Contains(interpreter.garbage_list_node)) continue;
        for (const NodeId n : interpreter.garbage) {
          if (n != kNoNode) replay_.Count(n, sign);
        }
      }
    };
    count_unseen_lists(1);
    verdict_.held_by_garbage = replay_.Unreachable(candidates_, lists);
    count_unseen_lists(-1);
    verdict_.held_by_garbage.Subtract(verdict_.unreachable_set);
    for (const heap::InterpreterRecord& interpreter : heap_.interpreters) {
      for (const NodeId n : interpreter.garbage) {
        if (n != kNoNode) verdict_.in_garbage[n] = true;
      }
    }
  }

  // References of approximate objects may be no references. Not subtracted and followed all the same they can only keep more alive: the lower bound. What is
  // reached without them is reached with them too, so one walk serves both bounds.
  void FindUnreachable() {
    Replay::Held held = replay_.FindHeld(candidates_);
    verdict_.negative_counts = held.deficits;
    NodeSet reached(0), known(0);
    if (approximate_.empty()) {
      reached = replay_.NothingReached(candidates_);
      replay_.Reach(KnownRoots(held.roots), reached);  // first, so that one walk serves both
      known = reached;
    } else {
      const Guesses guesses(*this);
      reached = replay_.NothingReached(candidates_);
      NodeSet sure = guesses.Without(held.roots);
      guesses.Reach(KnownRoots(sure), reached);
      known = reached;
      guesses.Reach(sure, reached);
    }
    std::optional<NodeSet> upper;
    if (!approximate_.empty()) {
      upper = reached.Complement();
      replay_.MarkDying(candidates_, reached);
      for (const NodeId n : approximate_) {
        if (!reached.Contains(n)) continue;
        for (const NodeId target : heap_.graph.Successors(n)) held.roots.Insert(target);
      }
    }
    replay_.Reach(held.roots, reached);
    verdict_.unreachable_set = reached.Complement();
    verdict_.unreachable = verdict_.unreachable_set.Count();
    verdict_.held_by_unknown = std::move(reached);
    verdict_.held_by_unknown.Subtract(known);
    verdict_.unreachable_upper = verdict_.unreachable;
    if (upper) NoteUpperBound(*std::move(upper));
    WeighDeficits();
  }
  // What may be unreachable, for all that is known: what of it is not certainly so has no state that is known.
  void NoteUpperBound(NodeSet upper) {
    verdict_.unreachable_upper = std::max(verdict_.unreachable_upper, upper.Count());
    upper.Subtract(verdict_.unreachable_set);
    if (upper.Empty()) return;
    if (verdict_.not_known.node_count() == 0) verdict_.not_known = NodeSet(heap_.size());
    verdict_.not_known.Unite(upper);
  }
  // A count that is lower than the references to its object is wrong, by a bug or by damage, and was what told whether the object is held. From 3.8 on the
  // collector keeps such an object, so what hangs on it alone is the difference to the upper bound; before, it may take it for unreachable.
  void WeighDeficits() {
    if (verdict_.negative_counts == 0) return;
    NodeSet roots = replay_.FindHeld(candidates_).roots;
    bool found = false;
    candidates_.ForEach([&](NodeId n) {
      if (!replay_.HasDeficit(n)) return;
      roots.Erase(n);
      found = found || verdict_.unreachable_set.Contains(n);
    });
    if (found) verdict_.certainty = Certainty::kUnverifiable;
    verdict_.unreachable_upper = std::max(verdict_.unreachable_upper, MayBeUnreachable(roots).Count());
  }
  // What `roots` do not lead to, and what is dying neither, whichever approximate references are none. `dying`: false where nothing is.
  [[nodiscard]] NodeSet MayBeUnreachable(const NodeSet& roots, bool dying = true) {
    const auto in_any_case = [&] { return dying ? replay_.NothingReached(candidates_) : candidates_.Complement(); };
    NodeSet reached(0);
    if (approximate_.empty()) {
      reached = in_any_case();
      replay_.Reach(roots, reached);
    } else {
      const Guesses guesses(*this);
      reached = in_any_case();
      guesses.Reach(guesses.Without(roots), reached);
    }
    return reached.Complement();
  }
  // Those of `held` that known roots hold, themselves or through objects that no collection looks at (frozen, immortal).
  [[nodiscard]] NodeSet KnownRoots(const NodeSet& held) const {
    NodeSet roots(heap_.size()), passed = candidates_;
    std::vector<NodeId> not_judged;
    for (const NodeId n : known_roots_) candidates_.Contains(n) ? roots.Insert(n) : not_judged.push_back(n);
    graph::MarkReachable(heap_.graph, not_judged, passed);
    passed.Subtract(candidates_);
    passed.ForEach([&](NodeId n) {
      for (const NodeId target : heap_.graph.Successors(n)) roots.Insert(target);
    });
    roots.Subtract(held.Complement());
    return roots;
  }
  // The walk for the upper bound: each reference of an approximate object is one or is none, as lets most be unreachable. It is one where it explains a
  // count and its source is unreachable itself; where a count is explained without it, it is none. So an object is in use where exact references from what is in use
  // lead to it, or where its count is above the exact references and those that approximate objects may have which are not in use.
  class Guesses {
   public:
    // As long as it lives, the references of approximate objects are counted but for those of objects that were reached.
    explicit Guesses(VerdictBuilder& of) : of_(of), closed_(of.heap_.size()), uncounted_(of.heap_.size()) {
      for (const NodeId n : of_.approximate_) {
        closed_.Insert(n);
        EachTarget(n, [&](NodeId target) {
          if (of_.replay_.HeldFromOutside(target) && !of_.replay_.HasDeficit(target)) targets_.push_back(target);
        });
      }
      for (const NodeId n : of_.approximate_) EachTarget(n, [&](NodeId target) { of_.replay_.Count(target, 1); });
      std::erase_if(targets_, [&](NodeId n) { return of_.replay_.IsShortOf(n); });
    }
    Guesses(const Guesses&) = delete;
    Guesses& operator=(const Guesses&) = delete;
    ~Guesses() {
      for (const NodeId n : of_.approximate_) {
        if (!uncounted_.Contains(n)) EachTarget(n, [&](NodeId target) { of_.replay_.Count(target, -1); });
      }
    }
    // Those of `held` that no approximate reference may explain.
    [[nodiscard]] NodeSet Without(NodeSet held) const {
      for (const NodeId n : targets_) held.Erase(n);
      return held;
    }
    void Reach(const NodeSet& roots, NodeSet& reached) const {
      std::vector<NodeId> met, next;
      of_.replay_.ReachUpTo(roots, closed_, reached, met);
      while (!met.empty()) {
        next.clear();
        for (const NodeId n : met) {
          if (!uncounted_.InsertNew(n)) continue;
          EachTarget(n, [&](NodeId target) {
            of_.replay_.Count(target, -1);
            if (!reached.Contains(target) && of_.replay_.IsShortOf(target)) next.push_back(target);
          });
        }
        met.clear();
        of_.replay_.ReachUpTo(next, closed_, reached, met);
      }
    }

   private:
    template <typename F>
    void EachTarget(NodeId n, F&& f) const {
      const HeapSnapshot& heap = of_.heap_;
      for (const NodeId target : heap.graph.Successors(n)) {
        if (of_.candidates_.Contains(target) && (heap.interpreter.empty() || heap.interpreter[n] == heap.interpreter[target])) f(target);
      }
    }

    VerdictBuilder& of_;
    NodeSet closed_;                // approximate objects
    mutable NodeSet uncounted_;     // of them, those that were reached
    std::vector<NodeId> targets_;   // held from outside, unless their references count
  };

  void FindUpperBound() {
    CountWhatIsBeingFreed();
    const heap::Coverage& coverage = heap_.coverage;
    const bool partial = !coverage.lists_complete || coverage.unreadable_objects > 0 || LostReferencesMatter();
    if (partial) verdict_.unreachable_upper = Verdict::kNoBound;
    if (verdict_.unreachable_upper != verdict_.unreachable && verdict_.certainty == Certainty::kExact) verdict_.certainty = Certainty::kLowerBound;
  }

  // A reference that was not read makes its target look held from outside. Where its source is alive anyway that is what it is; otherwise the target,
  // and what it reaches, may be garbage. What the interpreter's own dicts lead to is alive; the rest cannot be told without the lost references.
  [[nodiscard]] bool LostReferencesMatter() const {
    if (heap_.incomplete.empty()) return false;
    std::vector<NodeId> roots;
    for (const heap::InterpreterRecord& interpreter : heap_.interpreters) roots.insert(roots.end(), interpreter.roots.begin(), interpreter.roots.end());
    NodeSet alive(heap_.size());
    graph::MarkReachable(heap_.graph, roots, alive);
    return std::any_of(heap_.incomplete.begin(), heap_.incomplete.end(), [&](NodeId n) { return candidates_.Contains(n) && !alive.Contains(n); });
  }

  // A collection that frees holds references of its own: to the object that it finalizes or clears, and what an object that is just being taken apart
  // refers to. Without them the rest of what it found would be unreachable too, unless a finalizer has brought it back: between the two lies the truth.
  void CountWhatIsBeingFreed() {
    if (heap_.condemned.empty() && heap_.held_by_dying.empty()) return;
    for (const NodeId n : heap_.held_by_dying) replay_.Count(n, 1);
    NodeSet roots = replay_.FindHeld(candidates_).roots;
    for (const NodeId n : heap_.condemned) roots.Erase(n);
    NoteUpperBound(MayBeUnreachable(roots, false));
    for (const NodeId n : heap_.held_by_dying) replay_.Count(n, -1);
  }

  void LookIntoPermanentGeneration() {
    verdict_.frozen.resize(heap_.size());
    verdict_.held_by_frozen = NodeSet(heap_.size());
    if (!has_permanent_) return;
    const auto is_frozen = [&](NodeId n) {
      return heap_.IsTracked(n) && heap_.Generation(n) == heap::kPermanent && heap_.refcount[n] != heap::kImmortal;
    };
    NodeSet all = candidates_;
    for (NodeId n = 0; n < heap_.size(); ++n) {
      if (is_frozen(n)) all.Insert(n);
    }
    replay_.CountReferencesFrom([&](NodeId n) { return is_frozen(n) && !IsApproximate(n); });
    verdict_.held_by_frozen = replay_.Unreachable(all);
    verdict_.held_by_frozen.Subtract(verdict_.unreachable_set);
    verdict_.held_by_frozen.ForEach([&](NodeId n) {
      verdict_.frozen[n] = is_frozen(n);
      verdict_.frozen_count += verdict_.frozen[n];
    });
  }

  // CPython: move_legacy_finalizers(), move_legacy_finalizer_reachable(); then the contract's words.
  void Name() {
    verdict_.state.assign(heap_.size(), State::kReachable);
    std::vector<NodeId> finalizers;
    verdict_.unreachable_set.ForEach([&](NodeId n) {
      verdict_.state[n] = State::kUnreachable;
      if (HasLegacyFinalizer(heap_, n)) finalizers.push_back(n);
    });
    if (!finalizers.empty()) {
      NodeSet kept = ReachedInside(heap_, finalizers, verdict_.unreachable_set);
      kept.ForEach([&](NodeId n) { verdict_.state[n] = State::kUncollectable; });
      const NodeSet left = LeftWhenCyclesAreCleared(heap_, kept);
      std::erase_if(finalizers, [&](NodeId n) { return !left.Contains(n); });
      const NodeSet stuck = ReachedInside(heap_, finalizers, left);  // the rest of `left` is found by the next collection
      verdict_.kept_by_finalizer = stuck.Count();
      kept.Subtract(stuck);
      for (NodeId n = 0; n < heap_.size(); ++n) {
        if (verdict_.in_garbage[n]) kept.Erase(n);  // gc.garbage holds it
      }
      if (!kept.Empty()) verdict_.freed_with_cycles = std::move(kept);
    }
    verdict_.collectable = verdict_.unreachable - verdict_.kept_by_finalizer;
    if (!verdict_.held_by_garbage.Empty()) {
      // What `del gc.garbage[:]` alone would free is held by no cycle: the collector has nothing to do with it, so only the items themselves get the
      // word.
      const NodeSet freed = FreedByCounting(heap_, verdict_.held_by_garbage);
      verdict_.held_by_garbage.ForEach([&](NodeId n) {
        if (!freed.Contains(n)) verdict_.state[n] = State::kUncollectable;
      });
    }
    verdict_.interpreters.resize(heap_.interpreters.size() + 1);
    bool any_without = false;
    NodeSet with_state = verdict_.unreachable_set;
    with_state.Unite(verdict_.held_by_garbage);
    with_state.Unite(verdict_.held_by_frozen);
    for (const heap::InterpreterRecord& interpreter : heap_.interpreters) {
      for (const NodeId n : interpreter.garbage) {
        if (n == kNoNode) continue;
        verdict_.state[n] = State::kUncollectable;
        with_state.Insert(n);
      }
    }
    with_state.ForEach([&](NodeId n) {
      if (verdict_.state[n] == State::kReachable && !verdict_.frozen[n]) return;
      std::size_t of = heap_.interpreter.empty() ? 0 : heap_.interpreter[n];
      if (of >= heap_.interpreters.size()) {
        of = heap_.interpreters.size();
        any_without = true;
      }
      InterpreterTotals& totals = verdict_.interpreters[of];
      const bool found = verdict_.unreachable_set.Contains(n);
      const bool stuck = verdict_.IsStuck(n);
      totals.unreachable += found;
      totals.collectable += found && !stuck;
      totals.uncollectable += stuck;
      totals.frozen += verdict_.frozen[n];
      verdict_.uncollectable += stuck;
    });
    for (std::size_t i = 0; i < heap_.interpreters.size(); ++i) verdict_.interpreters[i].in_garbage = heap_.interpreters[i].garbage.size();
    if (!any_without) verdict_.interpreters.pop_back();
  }

  const HeapSnapshot& heap_;
  ProgressSink& progress_;
  Replay replay_;
  std::span<const NodeId> known_roots_;
  NodeSet candidates_;
  Verdict verdict_;
  std::vector<NodeId> approximate_;  // candidates whose references were guessed
  bool has_permanent_ = false;
};

}  // namespace

const char* Verdict::StateText(NodeId n) const noexcept {
  switch (state[n]) {
    case State::kReachable: return IsKnownInUse(n) ? "reachable" : "";
    case State::kUnreachable: return "unreachable";
    case State::kUncollectable: return "uncollectable";
  }
  return "";
}

void FindNotKnown(const HeapSnapshot& heap, std::span<const NodeId> known_roots, Verdict& verdict) {
  NodeSet in_use(heap.size());
  std::vector<NodeId> work;
  const auto reach = [&](NodeId n) {
    if (verdict.state[n] == State::kReachable && in_use.InsertNew(n)) work.push_back(n);
  };
  for (const NodeId n : known_roots) reach(n);
  for (NodeId n = 0; n < heap.size(); ++n) {
    if (heap.refcount[n] == heap::kImmortal) reach(n);
  }
  while (!work.empty()) {
    const NodeId n = work.back();
    work.pop_back();
    if ((heap.flags[n] & heap::kApproximate) != 0) continue;
    for (const NodeId target : heap.graph.Successors(n)) reach(target);
  }
  NodeSet not_known = in_use.Complement();
  for (NodeId n = 0; n < heap.size(); ++n) {
    if (verdict.state[n] != State::kReachable) not_known.Erase(n);
  }
  if (verdict.not_known.node_count() != 0) not_known.Unite(verdict.not_known);
  verdict.not_known = std::move(not_known);
}

NodeSet LeftWhenCyclesAreCleared(const HeapSnapshot& heap, const NodeSet& kept) {
  InDegree held(heap.size());  // by others of `kept`: all other references to them come from what is cleared
  const auto each_kept_referent = [&](NodeId n, auto&& f) {
    for (const NodeId target : heap.Visited(n)) {
      if (kept.Contains(target)) f(target);
    }
  };
  kept.ForEach([&](NodeId n) { each_kept_referent(n, [&](NodeId target) { held.Add(target); }); });
  NodeSet left = kept;
  std::vector<NodeId> dies;
  const auto die_unheld = [&](NodeId n) {
    if (held.Count(n) != 0) return;
    left.Erase(n);
    dies.push_back(n);
  };
  kept.ForEach(die_unheld);
  while (!dies.empty()) {
    const NodeId n = dies.back();
    dies.pop_back();
    each_kept_referent(n, [&](NodeId target) {
      held.Remove(target);
      die_unheld(target);
    });
  }
  return left;
}

Result<Verdict> ReplayCollection(const HeapSnapshot& heap, ProgressSink& progress, unsigned threads, std::span<const NodeId> known_roots) {
  return VerdictBuilder(heap, progress, threads, known_roots).Run();
}

}  // namespace pygc::analysis
