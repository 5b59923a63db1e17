#include "core/objects/container_fill.h"

#include <algorithm>

namespace pygc::objects {
namespace {

constexpr std::uint64_t kMaxEntries = std::uint64_t{1} << 40;  // more is damage

std::uint64_t Unsigned(const std::byte* p, std::uint32_t offset) { return LoadUnchecked<std::uint64_t>(p + offset); }

}  // namespace

std::optional<ContainerFill> ContainerReader::Of(Address object, const TypeFacts& type) const {
  switch (type.size_rule) {
    case SizeRule::kList: return List(object);
    case SizeRule::kDict: return Dict(object);
    case SizeRule::kSet: return Set(object);
    default: return std::nullopt;
  }
}

// CPython: PyListObject.allocated, Include/cpython/listobject.h; -1 while it is sorted.
std::optional<ContainerFill> ContainerReader::List(Address object) const {
  const std::byte* p = values_.memory().At(object, offsets_.list_allocated + 8);
  if (p == nullptr) return std::nullopt;
  const std::uint64_t allocated = Unsigned(p, offsets_.list_allocated), size = Unsigned(p, offsets_.ob_size);
  if (allocated > kMaxEntries || size > allocated) return std::nullopt;
  return ContainerFill{ContainerFill::Kind::kList, allocated, size, 8};
}

// CPython: USABLE_FRACTION() of the size of the hash table, Objects/dictobject.c [3.6+]; every slot of it can be an entry in 2.7.
std::optional<ContainerFill> ContainerReader::Dict(Address object) const {
  const std::optional<DictTable> table = values_.Dict(object);
  if (!table) return std::nullopt;
  ContainerFill fill{ContainerFill::Kind::kDict, 0, table->used, table->stride};
  if (offsets_.dict_old) {
    const Address entries = values_.Pointer(object + offsets_.ma_table);
    const std::uint64_t mask = values_.Pointer(object + offsets_.ma_mask);
    if (entries != object + offsets_.ma_smalltable && mask < kMaxEntries) fill.capacity = mask + 1;
    return fill;
  }
  if (table->values != nullptr) return fill;  // keys are the type's
  const std::byte* keys = values_.memory().At(values_.Pointer(object + offsets_.ma_keys), offsets_.dk_indices);
  if (keys == nullptr) return std::nullopt;
  if (Unsigned(keys, offsets_.dk_refcnt) != 1) return fill;  // the table that all empty dicts share
  std::uint64_t slots = 0;
  if (offsets_.dk_log2_size != kNoField) {
    const auto log2 = LoadUnchecked<std::uint8_t>(keys + offsets_.dk_log2_size);
    slots = log2 <= 40 ? std::uint64_t{1} << log2 : 0;
  } else {
    slots = Unsigned(keys, offsets_.dk_size);
  }
  if (slots <= kMaxEntries) fill.capacity = (slots << 1) / 3;
  return fill;
}

std::optional<ContainerFill> ContainerReader::Set(Address object) const {
  const std::byte* p = values_.memory().At(object, std::max(offsets_.set_mask, offsets_.set_used) + 8);
  if (p == nullptr) return std::nullopt;
  ContainerFill fill{ContainerFill::Kind::kSet, 0, Unsigned(p, offsets_.set_used), offsets_.setentry_size};
  const std::uint64_t mask = Unsigned(p, offsets_.set_mask);
  if (values_.Pointer(object + offsets_.set_table) != object + offsets_.set_smalltable && mask < kMaxEntries) fill.capacity = mask + 1;
  return fill;
}

}  // namespace pygc::objects
