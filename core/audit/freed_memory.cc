#include "core/audit/freed_memory.h"

#include <algorithm>

namespace pygc::audit {

const char* FreedMemory::WhyNoObject(Address a) const {
  const std::byte* const p = reader_.process().memory.At(a, header_.size());
  if (p == nullptr) return IsMissing(a) ? nullptr : "where no memory is";
  if (blocks_.IsFree(a)) return "in a block that was freed";
  if (reader_.Type(header_.Type(p)) == nullptr) return IsMissing(header_.Type(p)) ? nullptr : "where no object is";
  if (HasLinkForCount(p)) return "an object on a free list";
  const bool biased = reader_.runtime().refcount == cpython::RefcountFormat::kBiased;
  return (biased ? header_.HasLostLastReference(p) : header_.StoredCountIsZero(p)) ? "an object with ob_refcnt 0, which was freed" : nullptr;
}

bool FreedMemory::HasLinkForCount(const std::byte* object) const {
  if (reader_.runtime().refcount == cpython::RefcountFormat::kBiased) return false;
  // No count is as high as an address beyond 4 GiB. From 3.14 on the count has 32 bits, and the 16 above are its overflow, which no live object has.
  const auto word = LoadUnchecked<std::uint64_t>(object + reader_.runtime().layout.Offset(cpython::Field::PyObject_ob_refcnt));
  return word >> 32 != 0 && word >> 48 == 0 && word % 8 == 0 && reader_.process().memory.At(word, 8) != nullptr;
}

bool FreedMemory::IsMissing(Address a) const {
  const target::Process& process = reader_.process();
  if (process.memory.At(a, 1) != nullptr) return false;
  return process.FindModule(a) != nullptr || std::any_of(process.missing_ranges.begin(), process.missing_ranges.end(),
                                                         [a](const target::MissingRange& m) { return m.range.Contains(a); });
}

}  // namespace pygc::audit
