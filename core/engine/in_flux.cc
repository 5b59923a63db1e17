#include "core/engine/in_flux.h"

#include <algorithm>
#include <span>
#include <string>

#include "core/audit/reference_counter.h"
#include "core/objects/numpy_array.h"
#include "core/snapshot/thread_words.h"

namespace pygc::engine {
namespace {

using analysis::CountFinding;
using analysis::CountFindingKind;

constexpr std::uint64_t kMaxItems = 1u << 20;  // LIMIT: of all sequences that threads have in hand
constexpr std::uint64_t kTupleHead = 40, kMaxArguments = 256;

// What running threads have in hand of lists, tuples and arrays of objects.
struct SequencesInHand {
  std::vector<heap::NodeId> items;  // of those whose head or array a word leads to, once for each place; sorted
  std::uint64_t room = 1;           // of the largest list among them that has no items yet: how often one may be counted for it

  [[nodiscard]] std::uint64_t Places(heap::NodeId n) const {
    const auto [first, last] = std::equal_range(items.begin(), items.end(), n);
    return static_cast<std::uint64_t>(last - first);
  }
};

SequencesInHand FindSequences(const target::Process& process, const cpython::Layout& layout, const heap::HeapSnapshot& heap, const snapshot::WordsInHand& hand) {
  using cpython::Field;
  const auto leads_into = [&hand](Address begin, Address end) {
    const auto at = std::lower_bound(hand.words.begin(), hand.words.end(), begin);
    return at != hand.words.end() && *at <= end;
  };
  SequencesInHand found;
  heap.index.ForEach(0, heap.size(), [&](heap::NodeId n, Address a) {
    const std::string& type = heap.types[heap.type[n]].name;
    const bool is_list = type == "list";
    if (!is_list && type != "tuple") return;
    const std::span<const heap::NodeId> visited = heap.Visited(n);
    if (is_list) {
      const Address array = process.memory.ReadPointer(a + layout.Offset(Field::PyListObject_ob_item)).value_or(0);
      const std::uint64_t room = process.memory.ReadPointer(a + layout.Offset(Field::PyListObject_allocated)).value_or(0);
      if (!hand.Has(a) && (array == 0 || room > kMaxItems || !leads_into(array, array + 8 * room))) return;
      if (visited.empty() && room <= kMaxItems) found.room = std::max(found.room, room);
    } else if (!leads_into(a, a + kTupleHead + 8 * visited.size())) {
      return;
    }
    if (found.items.size() + visited.size() <= kMaxItems) found.items.insert(found.items.end(), visited.begin(), visited.end());
  });
  // Arguments of a call: from where a word leads to on, as far as there are objects. CPython: _PyEval_Vector() counts them before the frame has them.
  for (std::size_t i = 0; i < hand.words.size(); ++i) {
    if (i > 0 && hand.words[i] == hand.words[i - 1]) continue;
    for (Address at = hand.words[i]; at < hand.words[i] + 8 * kMaxArguments && found.items.size() < kMaxItems; at += 8) {
      const Result<Address> word = process.memory.ReadPointer(at);
      const heap::NodeId n = word && *word % 8 == 0 ? heap.index.Find(*word) : heap::kNoNode;
      if (n == heap::kNoNode) break;
      found.items.push_back(n);
    }
  }
  std::sort(found.items.begin(), found.items.end());
  return found;
}

}  // namespace

std::vector<CountFinding> TakeInFlux(const target::Process& process, const cpython::Layout& layout, const heap::HeapSnapshot& heap, const heap::ReferenceAudit& counts, analysis::CountAudit& audit) {
  std::vector<CountFinding> taken;
  if (audit.findings.empty()) return taken;
  const snapshot::WordsInHand hand = snapshot::WordsOfRunningThreads(process);
  if (hand.words.empty()) return taken;
  const auto holder_in_hand = [&](Address target) {
    auto d = std::lower_bound(counts.dangling.begin(), counts.dangling.end(), target, [](const heap::DanglingReference& r, Address a) { return r.target < a; });
    for (; d != counts.dangling.end() && d->target == target; ++d) {
      if (hand.Has(heap.AddressOf(d->holder))) return true;
    }
    return false;
  };
  const SequencesInHand sequences = FindSequences(process, layout, heap, hand);
  const auto is_being_moved = [&](const CountFinding& f) {
    const std::uint64_t places = f.object == heap::kNoNode ? 0 : sequences.Places(f.object);
    if (f.kind == CountFindingKind::kDeficit) return !f.freed && f.known - f.recorded <= places;
    return f.kind == CountFindingKind::kSurplus && places > 0 && f.recorded - f.known - f.possible <= std::max(places, sequences.room);
  };
  const auto is_in_flux = [&](const CountFinding& f) {
    if (f.kind == CountFindingKind::kDeficit && hand.died) return false;
    if (f.freed && f.object != heap::kNoNode && counts.auditable[f.object] == heap::Auditable::kFreed) return false;
    if (f.freed && f.object == heap::kNoNode) return holder_in_hand(f.address);
    return hand.Has(f.address) || is_being_moved(f);
  };
  const auto kept = std::stable_partition(audit.findings.begin(), audit.findings.end(), [&](const CountFinding& f) { return !is_in_flux(f); });
  taken.assign(kept, audit.findings.end());
  audit.findings.erase(kept, audit.findings.end());
  return taken;
}

std::vector<CountFinding> TakeMovedItems(const audit::AuditInput& input, analysis::CountAudit& audit, ProgressSink& progress) {
  constexpr std::size_t kMaxHolders = 256;
  const target::Process& process = input.reader.process();
  std::vector<heap::NodeId> targets;
  for (const CountFinding& f : audit.findings) {
    if (f.kind == CountFindingKind::kDeficit && !f.freed && f.object != heap::kNoNode && f.known - f.recorded == 1) targets.push_back(f.object);
  }
  if (targets.empty() || snapshot::WordsOfRunningThreads(process).died) return {};
  std::sort(targets.begin(), targets.end());
  const std::vector<std::vector<audit::Holder>> holders = audit::FindHolders(input, targets, kMaxHolders, progress);
  struct Items {
    AddressRange memory;
    heap::NodeId target;
    bool in_hand = false;
  };
  std::vector<Items> arrays;
  for (std::size_t i = 0; i < targets.size(); ++i) {
    std::vector<heap::NodeId> of;
    for (const audit::Holder& h : holders[i]) of.push_back(h.holder);
    std::sort(of.begin(), of.end());
    for (auto twice = std::adjacent_find(of.begin(), of.end()); twice != of.end(); twice = std::adjacent_find(std::upper_bound(twice, of.end(), *twice), of.end())) {
      if (*twice == heap::kNoNode || input.heap.types[input.heap.type[*twice]].name != "numpy.ndarray") continue;
      const auto array = objects::ReadNumpyArray(process.memory, input.reader.runtime().layout.Size(cpython::Struct::PyObject), input.heap.AddressOf(*twice));
      if (array) arrays.push_back({{array->data, array->data + array->bytes()}, targets[i]});
    }
  }
  if (arrays.empty()) return {};
  snapshot::ForEachThreadWord(process, snapshot::UsedStacks(process), [&](std::uint64_t word, const target::Thread&) {
    for (Items& a : arrays) a.in_hand = a.in_hand || a.memory.Contains(word);
    return true;
  });
  const auto is_moved = [&](const CountFinding& f) {
    return f.kind == CountFindingKind::kDeficit && !f.freed && f.known - f.recorded == 1 && std::any_of(arrays.begin(), arrays.end(), [&f](const Items& a) { return a.in_hand && a.target == f.object; });
  };
  const auto kept = std::stable_partition(audit.findings.begin(), audit.findings.end(), [&](const CountFinding& f) { return !is_moved(f); });
  std::vector<CountFinding> taken(kept, audit.findings.end());
  audit.findings.erase(kept, audit.findings.end());
  return taken;
}

}  // namespace pygc::engine
