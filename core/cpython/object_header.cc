// See object_header.h. CPython: Include/refcount.h [3.14+], Include/object.h; free-threaded: Py_REFCNT, pycore_object_deferred.h.
#include "core/cpython/object_header.h"

namespace pygc::cpython {

ObjectHeaderReader::ObjectHeaderReader(const Runtime& runtime) noexcept
    : format_(runtime.refcount),
      refcnt_offset_(runtime.layout.Offset(Field::PyObject_ob_refcnt)),
      type_offset_(runtime.layout.Offset(Field::PyObject_ob_type)),
      size_(runtime.layout.Size(Struct::PyObject)),
      local_offset_(runtime.layout.Offset(Field::PyObject_ob_ref_local)),
      shared_offset_(runtime.layout.Offset(Field::PyObject_ob_ref_shared)),
      gc_bits_offset_(runtime.layout.Offset(Field::PyObject_ob_gc_bits)),
      tid_offset_(runtime.layout.Offset(Field::PyObject_ob_tid)),
      gc_bits_deferred_(static_cast<std::uint8_t>(runtime.layout.Value(Constant::GC_BITS_DEFERRED))),
      shared_shift_(static_cast<std::uint8_t>(runtime.layout.Value(Constant::REF_SHARED_SHIFT, 2) & 63)),
      deferred_bias_(runtime.layout.Value(Constant::REF_DEFERRED) + runtime.layout.Value(Constant::RULE_DEFERRED_HOLDS_ONE)) {}

std::uint32_t ObjectHeaderReader::BiasedRefcount(const std::byte* object, std::int64_t change) const noexcept {
  const auto local = LoadUnchecked<std::uint32_t>(object + local_offset_);
  if (local == 0xFFFFFFFFu) return kImmortalRefcount;  // _Py_IMMORTAL_REFCNT_LOCAL
  // Unsigned arithmetic: the words are the target's, any value may be there.
  const std::int64_t shared = LoadUnchecked<std::int64_t>(object + shared_offset_) >> shared_shift_;
  std::uint64_t total = static_cast<std::uint64_t>(shared) + local + static_cast<std::uint64_t>(change);
  if (IsDeferred(object)) total -= static_cast<std::uint64_t>(deferred_bias_);
  return total >= kSaturatedRefcount ? kSaturatedRefcount : static_cast<std::uint32_t>(total);
}

}  // namespace pygc::cpython
