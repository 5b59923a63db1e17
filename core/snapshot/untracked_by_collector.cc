#include "core/snapshot/untracked_by_collector.h"

#include <algorithm>

namespace pygc::snapshot {
namespace {

using heap::NodeId;
using objects::TypeFacts;

class Marker {
 public:
  Marker(const objects::ObjectReader& reader, const FoundObjects& found, heap::HeapSnapshot& heap)
      : reader_(reader),
        memory_(reader.process().memory),
        layout_(reader.runtime().layout),
        header_(reader.runtime()),
        found_(found),
        heap_(heap),
        tuples_(layout_.Has(cpython::Constant::RULE_COLLECTOR_UNTRACKS_TUPLES)),
        dicts_(layout_.Has(cpython::Constant::RULE_COLLECTOR_UNTRACKS_DICTS)) {}

  void Run() {
    if (!tuples_ && !dicts_) return;
    for (const ObjectRun& run : found_.runs) {
      for (std::uint32_t i = 0; i < run.count; ++i) {
        const Address object = run.first + i * run.stride;
        const NodeId n = found_.index.Find(object);
        if (n != heap::kNoNode && IsUntrackable(n, object)) {
          heap_.flags[n] = static_cast<std::uint8_t>((heap_.flags[n] & ~heap::kGenerationMask) | heap::kUntrackable);
        }
      }
    }
  }

 private:
  [[nodiscard]] static bool IsExact(const TypeFacts& type, std::string_view name) { return !type.is_heap_type && type.name == name; }

  [[nodiscard]] bool IsUntrackable(NodeId n, Address object) {
    // Frozen objects are passed over; those under collection have been through this.
    if ((heap_.flags[n] & heap::kGenerationMask) != heap::kUngenerational || heap_.refcount[n] == heap::kImmortal || heap_.refcount[n] == 0) return false;
    const std::byte* const p = memory_.At(object, header_.size());
    const TypeFacts* const type = p == nullptr ? nullptr : reader_.Type(header_.Type(p));
    if (type == nullptr || header_.IsDeferred(p)) return false;
    const bool tuple = tuples_ && type->reader == objects::ReaderKind::kTuple && IsExact(*type, "tuple");
    if (!tuple && !(dicts_ && type->reader == objects::ReaderKind::kDict && IsExact(*type, "dict"))) return false;
    referents_.clear();
    if (!objects::IsExact(reader_.Referents(object, *type, referents_))) return false;
    if (tuple) {  // one with NULL in it is not finished
      const auto size = memory_.ReadValue<std::int64_t>(object + layout_.Offset(cpython::Field::PyVarObject_ob_size));
      if (!size || *size < 0 || static_cast<std::uint64_t>(*size) != referents_.size()) return false;
    }
    return std::none_of(referents_.begin(), referents_.end(), [&](Address r) { return MayBeTracked(r); });
  }
  // CPython: _PyObject_GC_MAY_BE_TRACKED().
  [[nodiscard]] bool MayBeTracked(Address object) const {
    const std::byte* const p = memory_.At(object, header_.size());
    const TypeFacts* const type = p == nullptr ? nullptr : reader_.Type(header_.Type(p));
    if (type == nullptr) return true;  // nothing is known of it
    if (!type->have_gc || !reader_.IsGc(object, *type)) return false;
    if (!IsExact(*type, "tuple")) return true;
    const NodeId n = found_.index.Find(object);
    return n != heap::kNoNode && heap_.IsTracked(n) && heap_.Generation(n) != heap::kUntrackable;
  }

  const objects::ObjectReader& reader_;
  const target::MemoryImage& memory_;
  const cpython::Layout& layout_;
  cpython::ObjectHeaderReader header_;
  const FoundObjects& found_;
  heap::HeapSnapshot& heap_;
  const bool tuples_, dicts_;
  objects::ReferentBuffer referents_;
};

}  // namespace

void MarkUntrackable(const objects::ObjectReader& reader, const FoundObjects& found, heap::HeapSnapshot& heap) { Marker(reader, found, heap).Run(); }

}  // namespace pygc::snapshot
