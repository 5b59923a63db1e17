// Verify: what has to hold in every heap, checked on this one; with --traverse also whether two independent readers agree on every object.
#include <fmt/format.h>

#include <algorithm>

#include "core/analysis/in_degree.h"
#include "core/audit/block_heap.h"
#include "core/cpython/object_header.h"
#include "core/engine/command.h"
#include "core/engine/type_rules.h"
#include "core/report/numbers.h"
#include "core/report/verify_report.h"
#include "core/snapshot/dangling_references.h"
#include "core/snapshot/stray_objects.h"
#include "core/snapshot/thread_words.h"
#include "core/snapshot/traverse_check.h"

namespace pygc::engine {
namespace {

using heap::NodeId;

class VerifyCommand {
 public:
  explicit VerifyCommand(const CommandInput& in) : in_(in), heap_(in.heap), shown_(in.request.limit == 0 ? kMaxDetails : in.request.limit) {}

  Outcome Run() {
    CheckLists();
    CheckObjects();
    CheckCounts();
    CheckGarbage();
    const audit::BlockHeap pools = audit::ReadBlocks(in_.reader.process(), in_.reader.runtime(), in_.request.limits);
    CheckPools(pools);
    CheckReferences(pools);
    report_.not_checked.insert(report_.not_checked.end(), {
                           {"surplus-counts", "counts that are higher than all references found, native memory included, are what pygc refcounts looks for"},
                           {"types-fields", "slots of types beyond those that readers of objects use"}});
    report::Header header = in_.header;
    if (in_.request.traverse) CompareReaders(header);
    if (in_.request.types) report_.types = CheckTypeRules(in_);
    for (const report::VerifyCheck& c : report_.checks) report_.findings += c.findings;
    if (report_.traverse) report_.findings += report_.traverse->different;
    if (report_.types) report_.findings += report_.types->faults.size();
    outcome_.definite = report_.findings > 0;
    header.complete = header.missing.empty();
    outcome_.partial = !header.complete;
    outcome_.document = Render(in_, header, report_);
    return std::move(outcome_);
  }

 private:
  static constexpr std::uint64_t kMaxDetails = 1000;

  report::VerifyCheck& Add(std::string name, std::string what, std::uint64_t checked) {
    return report_.checks.emplace_back(report::VerifyCheck{std::move(name), std::move(what), checked, 0, {}});
  }
  void Found(report::VerifyCheck& check, std::string detail) {
    if (check.findings++ < shown_) check.details.push_back(std::move(detail));
  }
  [[nodiscard]] std::string ObjectText(NodeId n) const {
    return fmt::format("the {} at {:#x}", heap_.types[heap_.type[n]].name, heap_.AddressOf(n));
  }

  void CheckLists() {
    if (lost_memory_ && !heap_.coverage.lists_complete) {
      report_.not_checked.push_back({"generation-lists", "parts of them lie in memory that is missing"});
      return;
    }
    report::VerifyCheck& check = Add("generation-lists", "every list closes, _gc_prev leads back to where _gc_next came from, no object is in two lists",
                                     heap_.coverage.objects);
    for (const std::string& note : heap_.coverage.notes) Found(check, note);
  }

  void CheckObjects() {
    const NodeId count = heap_.size();
    report::VerifyCheck& types = Add("types", "ob_type of every tracked object is a type object, whose chain of metatypes ends in type", 0);
    std::vector<NodeId> no_type, no_count;
    const cpython::ObjectHeaderReader header(in_.reader.runtime());
    for (NodeId n = 0; n < count; ++n) {
      if (!heap_.IsTracked(n)) continue;
      ++types.checked;
      if (heap_.types[heap_.type[n]].address == 0) no_type.push_back(n);
      else if (heap_.refcount[n] == 0 && !IsDying(n) && StoredCountIsZero(header, n)) no_count.push_back(n);
    }
    if (lost_memory_) no_type.clear();  // their types may be in the part that is missing
    for (const NodeId n : no_type) Found(types, fmt::format("the object at {:#x}: {}", heap_.AddressOf(n), heap_.types[heap_.type[n]].name));
    report::VerifyCheck& counts = Add("tracked-objects-live", "ob_refcnt of a tracked object is not 0: an object is untracked before it is freed", types.checked);
    for (const NodeId n : no_count) Found(counts, fmt::format("{} has ob_refcnt 0", ObjectText(n)));
  }

  [[nodiscard]] bool IsDying(NodeId n) const { return std::binary_search(heap_.dying.begin(), heap_.dying.end(), n); }
  [[nodiscard]] bool StoredCountIsZero(const cpython::ObjectHeaderReader& header, NodeId n) const {
    const std::byte* const p = in_.reader.process().memory.At(heap_.AddressOf(n), header.size());
    return p == nullptr || header.StoredCountIsZero(p);
  }

  // More references than a count says: somebody gave one up that is still used. Only references that are known exactly count.
  void CheckCounts() {
    const NodeId count = heap_.size();
    analysis::InDegree found(count);
    std::uint64_t checked = 0;
    for (NodeId n = 0; n < count; ++n) {
      if (heap_.flags[n] & (heap::kApproximate | heap::kFault)) continue;
      for (const NodeId to : heap_.Visited(n)) found.Add(to);
    }
    for (const auto& [from, to] : heap_.borrowed) {
      if (!(heap_.flags[from] & (heap::kApproximate | heap::kFault))) found.Remove(to);
    }
    report::VerifyCheck& check = Add("reference-counts", "ob_refcnt of a tracked object is at least the number of references found to it", 0);
    for (NodeId n = 0; n < count; ++n) {
      if (!heap_.IsTracked(n) || heap_.refcount[n] == heap::kImmortal || heap_.refcount[n] == heap::kSaturated) continue;
      ++checked;
      if (const std::uint64_t references = found.Count(n); references > heap_.refcount[n] && heap_.refcount[n] != 0)
        Found(check, fmt::format("{} has ob_refcnt {}, {} found", ObjectText(n), heap_.refcount[n], report::Counted(references, "reference")));
    }
    check.checked = checked;
  }

  void CheckGarbage() {
    std::uint64_t items = 0;
    for (const heap::InterpreterRecord& i : heap_.interpreters) items += i.garbage_addresses.size();
    report::VerifyCheck& check = Add("gc-garbage", "every item of gc.garbage is an object", items);
    for (const heap::InterpreterRecord& i : heap_.interpreters) {
      for (const Address a : i.garbage_addresses) {
        const Result<Address> type = in_.reader.process().memory.ReadPointer(a + in_.reader.runtime().layout.Offset(cpython::Field::PyObject_ob_type));
        if (!type || in_.reader.Type(*type) == nullptr) Found(check, fmt::format("the item {:#x} of interpreter {}", a, i.id));
      }
    }
  }

  // CPython's own allocator: its pools fit together, and nothing that is in use lies in a block that was freed.
  void CheckPools(const audit::BlockHeap& pools) {
    if (lost_memory_) {
      report_.not_checked.push_back({"allocator-pools", "parts of them lie in memory that is missing"});
      return;
    }
    if (!pools.found()) {
      report_.not_checked.push_back({"allocator-pools", "no arena of CPython's allocator was found: PYTHONMALLOC=malloc, or none was needed"});
      return;
    }
    report::VerifyCheck& check = Add("allocator-pools", "every free block of a pool is on its list once, and counters agree with what is found", pools.pools().size());
    for (const std::string& what : pools.damage()) Found(check, what);
    report::VerifyCheck& freed = Add("freed-memory-in-use", "no tracked object lies in a block that was freed", 0);
    heap_.index.ForEach(0, heap_.size(), [&](NodeId n, Address a) {
      if (!heap_.IsTracked(n)) return;
      ++freed.checked;
      if (const auto block = pools.BlockAt(a); block && !block->in_use) Found(freed, fmt::format("{} lies in a free block of {} bytes", ObjectText(n), block->range.size()));
    });
  }

  // What a collection would visit and find no object at. Only references that are known exactly count, and none into memory that is missing.
  void CheckReferences(const audit::BlockHeap& pools) {
    if (lost_memory_) {
      report_.not_checked.push_back({"references", "parts of what they lead to lie in memory that is missing"});
      return;
    }
    report::VerifyCheck& check = Add("references", "every reference of a tracked object leads to an object, and to none that was freed", 0);
    const snapshot::ReferentTest test(in_.reader, [&pools](Address a) { return pools.IsFree(a); });
    const snapshot::WordsInHand hand = snapshot::WordsOfRunningThreads(in_.reader.process());
    objects::ReferentBuffer referents;
    std::uint64_t changing = 0;
    heap_.index.ForEach(0, heap_.size(), [&](NodeId n, Address object) {
      if (outcome_.interrupted || !heap_.IsTracked(n) || (heap_.flags[n] & (heap::kApproximate | heap::kFault)) != 0 || IsDying(n)) return;
      if ((n & 0xFFFF) == 0) outcome_.interrupted = !in_.progress.Update("checking references", n, heap_.size());
      const objects::TypeFacts* const type = in_.reader.Type(heap_.types[heap_.type[n]].address);
      // What a module shows may be what it keeps for reuse. CPython: module_traverse(), Modules/_asynciomodule.c [3.12].
      if (type == nullptr || type->body == objects::BodyKind::kModule) return;
      referents.clear();
      if (!objects::IsExact(in_.reader.Referents(object, *type, referents))) return;
      for (const Address to : referents) {
        ++check.checked;
        if (const NodeId target = heap_.index.Find(to); target != heap::kNoNode && heap_.IsTracked(target)) continue;  // looked at for itself
        const char* const wrong = test.WhyNoLiveObject(to);
        if (wrong == nullptr) continue;
        // Half of a change is no damage: a list has its new size before its items. CPython: list_resize(), Objects/listobject.c [2.7].
        if (!hand.died && hand.Has(object)) {
          ++changing;
          return;
        }
        Found(check, fmt::format("{} refers to {:#x}, {}", ObjectText(n), to, wrong));
      }
    });
    if (changing > 0) report_.not_checked.push_back({"references-in-hand", fmt::format("of {}: a running thread was changing what it refers to", report::Counted(changing, "object"))});
    if (outcome_.interrupted) report_.not_checked.push_back({"references", "stopped before all were checked"});
    CheckMembers();
  }

  // What an object of its type always has, and what it counts itself.
  void CheckMembers() {
    graph::NodeSet tracked(heap_.size());
    for (NodeId n = 0; n < heap_.size(); ++n) {
      if (heap_.IsTracked(n)) tracked.Insert(n);
    }
    const Result<std::vector<snapshot::LostReferences>> lost = snapshot::FindLostReferences(in_.reader, heap_, tracked, in_.request.limits, in_.progress);
    if (!lost) {
      outcome_.interrupted = true;
      report_.not_checked.push_back({"members", "stopped before all were checked"});
      return;
    }
    report::VerifyCheck& check = Add("members", "no item that a container counts, and no field that is set once, is NULL", heap_.coverage.objects);
    for (const snapshot::LostReferences& of : *lost) {
      if (of.absent > 0) Found(check, fmt::format("{} lacks {} that it should have", ObjectText(of.node), report::Counted(of.absent, "member")));
    }
  }

  void CompareReaders(report::Header& header) {
    if (in_.machine == nullptr) {
      header.missing.push_back({"the comparison of readers", "there is no machine to run tp_traverse in", ""});
      return;
    }
    snapshot::TraverseCheckOptions options;
    options.limits = in_.request.limits;
    const snapshot::TraverseCheck check = snapshot::CheckTraverse(in_.reader, *in_.machine, heap_, options, in_.progress);
    report::TraverseResult& t = report_.traverse.emplace();
    t.compared = check.compared;
    t.equal = check.equal;
    t.different = check.different;
    t.not_compared = check.not_compared;
    t.one_way = check.one_way;
    t.stopped = outcome_.interrupted = check.stopped;
    for (const snapshot::TraverseTypeResult& r : check.types) {
      t.types_compared += r.compared > 0;
      const heap::TypeRecord& type = heap_.types[r.type];
      const std::uint64_t not_compared = r.native_not_exact + r.machine_not_exact;
      if (r.different + not_compared == 0) continue;
      t.types.push_back({type.name, type.module_file, r.compared, r.different, not_compared, r.reason.code, r.reason.text});
    }
    for (const snapshot::TraverseDifference& d : check.differences) {
      if (in_.request.limit != 0 && t.differences.size() >= in_.request.limit) break;
      const heap::TypeRecord& type = heap_.types[d.type];
      t.differences.push_back({d.object, type.name, type.module_file, d.native_count, d.machine_count, d.first_difference, d.from, d.native, d.machine});
    }
    if (check.stopped) header.missing.push_back({"the comparison of readers", "stopped before all objects were compared", ""});
    if (check.not_compared > 0) {
      std::string why;
      for (const report::ReaderTypeResult& r : t.types) {
        if (r.not_compared > 0 && why.empty()) why = fmt::format("{}: {}", r.type, r.reason);
      }
      header.missing.push_back({fmt::format("the comparison of {}", report::Counted(check.not_compared, "object")), why, ""});
    }
  }

  const CommandInput& in_;
  const heap::HeapSnapshot& heap_;
  std::uint64_t shown_;
  const bool lost_memory_ = snapshot::LostMemory(in_.reader.process());
  report::VerifyReport report_;
  Outcome outcome_;
};

}  // namespace

Outcome RunVerify(const CommandInput& in) { return VerifyCommand(in).Run(); }

}  // namespace pygc::engine
