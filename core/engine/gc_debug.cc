// leaks --format gc-debug: what the interpreter itself would print of a full collection, in its order.
#include <utility>

#include "core/cpython/gc_debug_style.h"
#include "core/engine/command.h"
#include "core/engine/labels.h"
#include "core/report/gc_debug_text.h"
#include "core/snapshot/list_order.h"

namespace pygc::engine {
namespace {

using heap::NodeId;

constexpr std::size_t kMaxTypeName = 256, kGenerations = 3;

class GcDebug {
 public:
  explicit GcDebug(const CommandInput& in)
      : in_(in), heap_(in.heap), labels_(in.reader, in.request.redact), style_(cpython::GcDebugStyleOf(in.reader.runtime().layout.version, in.reader.runtime().layout.flavor)) {}

  std::vector<report::GcDebugCollection> Run() {
    const std::vector<cpython::Interpreter>& interpreters = in_.reader.runtime().interpreters;
    std::vector<report::GcDebugCollection> out;
    for (std::size_t i = 0; i < interpreters.size() && i < heap_.interpreters.size(); ++i) {
      if (i == 0 || !SharesLists(interpreters[i], interpreters[0])) out.push_back(Collect(interpreters[i], i));
    }
    return out;
  }

 private:
  // One collector served all interpreters up to 3.8.
  static bool SharesLists(const cpython::Interpreter& a, const cpython::Interpreter& b) {
    return !a.generations.empty() && !b.generations.empty() && a.generations.front().head == b.generations.front().head && a.generations.front().head != 0;
  }

  [[nodiscard]] report::GcDebugCollection Collect(const cpython::Interpreter& interpreter, std::size_t index) const {
    report::GcDebugCollection c;
    const heap::InterpreterRecord& record = heap_.interpreters[index];
    if (style_.generations) c.generations.assign(record.generation_counts, record.generation_counts + kGenerations);
    if (style_.permanent) c.permanent = record.generation_counts[heap::kPermanent];
    c.bare_done = style_.bare_done;
    c.full_stop = style_.full_stop;
    graph::NodeSet mine(heap_.size());
    in_.verdict.unreachable_set.ForEach([&](NodeId n) {
      if (heap_.interpreter.empty() || heap_.interpreter[n] == index || (heap_.interpreter[n] >= heap_.interpreters.size() && index == 0)) mine.Insert(n);
    });
    const std::vector<NodeId> order = snapshot::InListOrder(in_.reader.process().memory, in_.reader.runtime().gc_head, interpreter, heap_, mine);
    const std::vector<NodeId> kept = KeptByFinalizers(order, mine);
    const graph::NodeSet printed = LeftInTheEnd(kept, record);
    for (const NodeId n : kept) {
      mine.Erase(n);
      if (printed.Contains(n)) c.uncollectable.push_back(Name(n));
    }
    for (const NodeId n : order) {
      if (mine.Contains(n)) c.collectable.push_back(Name(n));
    }
    return c;
  }

  // Legacy finalizers in the order of the list, then what they reach, breadth first. CPython: move_legacy_finalizers(), move_legacy_finalizer_reachable().
  [[nodiscard]] std::vector<NodeId> KeptByFinalizers(const std::vector<NodeId>& order, const graph::NodeSet& mine) const {
    std::vector<NodeId> kept;
    graph::NodeSet seen(heap_.size());
    const auto add = [&](NodeId n) {
      if (!mine.Contains(n) || seen.Contains(n)) return;
      seen.Insert(n);
      kept.push_back(n);
    };
    for (const NodeId n : order) {
      if (heap_.types[heap_.type[n]].legacy_finalizer || (heap_.flags[n] & heap::kLegacyFinalizer)) add(n);
    }
    for (std::size_t i = 0; i < kept.size(); ++i) {
      for (const NodeId referent : heap_.graph.Successors(kept[i])) add(referent);
    }
    return kept;
  }

  // Of these, what is there when the collector prints them: after the rest was cleared, unless it keeps that.
  [[nodiscard]] graph::NodeSet LeftInTheEnd(const std::vector<NodeId>& kept, const heap::InterpreterRecord& record) const {
    graph::NodeSet all(heap_.size());
    for (const NodeId n : kept) all.Insert(n);
    return kept.empty() || (record.debug & cpython::kDebugSaveAll) != 0 ? all : analysis::LeftWhenCyclesAreCleared(heap_, all);
  }

  [[nodiscard]] report::GcDebugCollection::Object Name(NodeId n) const {
    const heap::TypeRecord& type = heap_.types[heap_.type[n]];
    report::GcDebugCollection::Object o;
    o.address = heap_.AddressOf(n);
    o.classic_instance = style_.classic_instances && type.name == "instance" && type.may_have_legacy_finalizer;
    if (o.classic_instance) {
      o.type = labels_.TypeName(o.address);
      o.type.erase(0, o.type.rfind('.') + 1);
    } else {
      const target::MemoryImage& memory = in_.reader.process().memory;
      const Address name = memory.ReadPointer(type.address + in_.reader.runtime().layout.Offset(cpython::Field::PyTypeObject_tp_name)).value_or(0);
      o.type = memory.ReadCString(name, kMaxTypeName).value_or(type.name);
    }
    return o;
  }

  const CommandInput& in_;
  const heap::HeapSnapshot& heap_;
  Labels labels_;
  cpython::GcDebugStyle style_;
};

}  // namespace

Outcome RunGcDebug(const CommandInput& in) {
  Outcome outcome;
  report::TextWriter out;
  report::WriteGcDebug(in.header, in.header.objects_read ? GcDebug(in).Run() : std::vector<report::GcDebugCollection>{}, out);
  outcome.document = out.Take();
  outcome.definite = in.verdict.uncollectable > 0 || in.verdict.garbage_count > 0 || in.verdict.frozen_count > 0;
  outcome.pending = in.verdict.collectable > 0;
  return outcome;
}

}  // namespace pygc::engine
