// Whether an object is still one: memory that was given back keeps much of what was in it, and somebody may still refer to it.
#pragma once

#include "core/audit/pymalloc_heap.h"
#include "core/base/address.h"
#include "core/cpython/object_header.h"
#include "core/objects/object_reader.h"

namespace pygc::audit {

class FreedMemory {
 public:
  /// Both outlive it.
  FreedMemory(const objects::ObjectReader& reader, const PymallocHeap& blocks) : reader_(reader), blocks_(blocks), header_(reader.runtime()) {}

  /// Why no live object is where a counted reference leads, in words that follow the address in a report; nullptr where one is, and where the image
  /// lacks the memory that would tell. An object that a thread is just freeing has a count of 0 too.
  [[nodiscard]] const char* WhyNoObject(Address a) const;
  /// True for an object whose count was overwritten by the link of a free list.
  /// CPython: _PyFreeList_PushObj(), Include/internal/pycore_freelist.h [3.14+]; unicode_dealloc(), Objects/unicodeobject.c [2.7].
  [[nodiscard]] bool HasLinkForCount(const std::byte* object) const;

 private:
  [[nodiscard]] bool IsMissing(Address a) const;

  const objects::ObjectReader& reader_;
  const PymallocHeap& blocks_;
  cpython::ObjectHeaderReader header_;
};

}  // namespace pygc::audit
