#include "core/audit/unreached_objects.h"

#include <algorithm>

#include "core/audit/plain_objects.h"
#include "core/cpython/object_header.h"
#include "core/objects/values.h"
#include "core/snapshot/dangling_references.h"

namespace pygc::audit {

namespace {

using cpython::Constant;
using cpython::Field;
using objects::BodyKind;
using objects::TypeFacts;

constexpr std::uint32_t kMaxCount = 1u << 20;
constexpr std::uint32_t kMaxCountByHead = 31;      // less than any printable character: a buffer may begin with a short text
constexpr std::uint64_t kMaxTextCheck = 1u << 16;  // characters looked at

// Where a word leads to, as the allocators see it.
class FreeMemoryTest {
 public:
  enum Place : std::uint8_t { kOutside, kInUse, kFree, kBeginsFree };
  FreeMemoryTest(const BlockHeap& blocks, const MallocHeap& chunks) : blocks_(blocks), chunks_(chunks), free_(chunks.FreeChunks()) {}

  [[nodiscard]] Place operator()(Address a) const {
    if (const std::optional<BlockHeap::Block> block = blocks_.BlockAt(a)) return block->in_use ? kInUse : block->range.begin == a ? kBeginsFree : kFree;
    if (blocks_.IsFree(a)) return kFree;
    const auto contains = [a](const MallocArea& area) { return area.range.Contains(a); };
    if (std::none_of(chunks_.areas().begin(), chunks_.areas().end(), contains)) return kOutside;
    const auto chunk = std::upper_bound(free_.begin(), free_.end(), a, [](Address x, const AddressRange& r) { return x < r.end; });
    return chunk == free_.end() || !chunk->Contains(a) ? kInUse : chunk->begin == a ? kBeginsFree : kFree;
  }

 private:
  const BlockHeap& blocks_;
  const MallocHeap& chunks_;
  std::vector<AddressRange> free_;
};

class Finder {
 public:
  Finder(const objects::ObjectReader& reader, const objects::Ownership& ownership, const heap::HeapSnapshot& heap, const CountState& state)
      : reader_(reader),
        ownership_(ownership),
        heap_(heap),
        state_(state),
        memory_(reader.process().memory),
        layout_(reader.runtime().layout),
        offsets_(layout_),
        values_(memory_, offsets_, reader.runtime().lookdict),
        header_(reader.runtime()),
        referents_(reader),
        debug_header_(static_cast<std::uint32_t>(layout_.Value(Constant::DEBUG_ALLOC_HEADER_BYTES, 16))) {}

  /// Notes each that only a head tells, and that refers to memory that is free.
  void NoteFreed(const BlockHeap& blocks, const MallocHeap& chunks) {
    if (std::none_of(found_.begin(), found_.end(), [](const heap::UnreachedObject& u) { return u.by_head; })) return;
    const FreeMemoryTest test(blocks, chunks);
    for (const heap::UnreachedObject& u : found_) {
      const TypeFacts* const type = u.by_head ? reader_.Type(u.type) : nullptr;
      if (type == nullptr) continue;
      const Address end = ownership_.Body(u.object, *type).end;
      Address to_beginning = 0, to_middle = 0;
      bool is_in_use = false;
      for (Address at = (u.object + header_.size() + 7) & ~Address{7}; at + 8 <= end && to_beginning == 0; at += 8) {
        const std::byte* const p = memory_.At(at, 8);
        if (p == nullptr) break;
        switch (test(LoadUnchecked<std::uint64_t>(p))) {
          case FreeMemoryTest::kOutside: break;
          case FreeMemoryTest::kInUse: is_in_use = true; break;
          case FreeMemoryTest::kFree: to_middle = at; break;
          case FreeMemoryTest::kBeginsFree: to_beginning = at; break;
        }
      }
      const Address word = to_beginning != 0 || is_in_use ? to_beginning : to_middle;
      if (word != 0) freed_.push_back({u.object, word});
    }
  }

  /// `block`: what its owner may write. `slack`: see OpenBlock.
  void Look(AddressRange block, std::uint64_t slack) {
    AddressRange asked = block;
    while (HasDebugHeader(asked, asked)) slack = 0;  // what is too large for pymalloc has that of the raw allocator, too
    const std::uint32_t gc = offsets_.gc_head_bytes, pre = offsets_.preheader_bytes;
    for (const std::uint64_t head : {std::uint64_t{0}, std::uint64_t{gc}, std::uint64_t{gc} + pre}) {
      if (Accept(asked.begin + head, head, asked, slack)) return;
      if (pre == 0 && head == gc) break;
    }
  }
  Unreached Take() {
    std::sort(found_.begin(), found_.end(), [](const heap::UnreachedObject& a, const heap::UnreachedObject& b) { return a.object < b.object; });
    std::sort(heads_.begin(), heads_.end());
    std::sort(freed_.begin(), freed_.end(), [](const Unreached::Freed& a, const Unreached::Freed& b) { return a.object < b.object; });
    return {std::move(found_), std::move(heads_), std::move(freed_)};
  }

 private:
  // CPython: _PyMem_DebugRawAlloc(), Objects/obmalloc.c: size (big endian), API id, 7 bytes of 0xFD (0xFB up to 3.7), the memory, 8 such bytes.
  [[nodiscard]] bool HasDebugHeader(AddressRange block, AddressRange& asked) const {
    const std::byte* p = memory_.At(block.begin, debug_header_);
    if (p == nullptr || debug_header_ != 16 || block.size() < 32) return false;
    const auto fence = static_cast<std::uint8_t>(p[15]);
    if (fence != 0xFD && fence != 0xFB) return false;
    for (int i = 9; i < 15; ++i) {
      if (static_cast<std::uint8_t>(p[i]) != fence) return false;
    }
    std::uint64_t bytes = 0;
    for (int i = 0; i < 8; ++i) bytes = bytes << 8 | static_cast<std::uint8_t>(p[i]);
    if (bytes > block.size() - 24) return false;
    asked = {block.begin + 16, block.begin + 16 + bytes};
    return true;
  }

  bool Accept(Address object, std::uint64_t head, AddressRange asked, std::uint64_t slack) {
    const std::byte* p = memory_.At(object, header_.size());
    if (p == nullptr || object + header_.size() > asked.end || heap_.index.Find(object) != heap::kNoNode) return false;
    const std::uint32_t stored = header_.Refcount(p);
    if (stored == 0 || stored > kMaxCount) return false;
    const Address type_address = header_.Type(p);
    if (heap_.index.Find(type_address) == heap::kNoNode || !state_.IsSettled(object)) return false;
    const std::uint32_t count = stored - (state_.IsHeldByQueue(object) ? 1 : 0);
    if (count == 0) return false;
    const TypeFacts* const type = reader_.Type(type_address);
    if (type == nullptr) return false;
    AddressRange body = ownership_.Body(object, *type);
    const std::optional<std::uint64_t> plain = type->body == BodyKind::kOpen && !type->have_gc ? PlainObjectBytes(memory_, type->name, object, static_cast<std::uint32_t>(header_.size())) : std::nullopt;
    if (plain == std::uint64_t{0}) return false;
    if (plain) body.end = object + *plain;
    if (object - body.begin != head || body.size() > asked.size() || asked.size() - body.size() > slack + SpareOf(*type)) return false;
    if (plain) {
      found_.push_back({object, type_address, count});
      return true;
    }
    const bool is_known = type->known_owner != nullptr && type->known_owner->complete && !type->known_owner->has_start_count && !type->is_heap_type;
    if (type->have_gc && !referents_.IsUntracked(object)) return false;
    if (type->body == BodyKind::kOpen && !is_known) {  // with a collector, too: PyCapsule_New() leaves capsules untracked [3.13+]
      return body.size() > header_.size() && AcceptHead({object, type_address, count, 0, 0, true});
    }
    // A bare object() is nothing but its head, and two words of a buffer that look like one are met: nothing tells them apart.
    if (type->itemsize == 0 && type->fixed_bytes <= header_.size()) return false;
    if (!IsConsistent(object, *type, p)) return false;
    found_.push_back({object, type_address, count});
    return true;
  }

  bool AcceptHead(const heap::UnreachedObject& object) {
    if (object.recorded > kMaxCountByHead) {
      heads_.push_back(object.object);
      return false;
    }
    found_.push_back(object);
    return true;
  }

  // A sum is made with room for a carry. CPython: x_add(), long_normalize(), Objects/longobject.c.
  [[nodiscard]] std::uint64_t SpareOf(const TypeFacts& type) const { return type.size_rule == objects::SizeRule::kInt ? offsets_.digit_bytes : 0; }

  [[nodiscard]] bool IsObject(Address a) const {
    if (heap_.index.Find(a) != heap::kNoNode) return true;
    const std::byte* p = a % 8 == 0 ? memory_.At(a, header_.size()) : nullptr;
    return p != nullptr && header_.Refcount(p) != 0 && reader_.Type(header_.Type(p)) != nullptr;
  }

  [[nodiscard]] bool IsConsistent(Address object, const TypeFacts& type, const std::byte* p) const {
    switch (type.body) {
      case BodyKind::kText: return IsText(object);
      case BodyKind::kDict: {
        const std::optional<objects::DictTable> t = values_.Dict(object);
        if (!t || !t->complete) return false;
        for (std::uint64_t i = 0; i < std::min<std::uint64_t>(t->count, 64); ++i) {
          if (const Address v = t->Value(i); v != 0 && (!IsObject(v) || !IsObject(t->Key(i)))) return false;
        }
        return true;
      }
      case BodyKind::kClosed:
      case BodyKind::kByteArray: return type.have_gc ? AllVisitedAreObjects(object, type) : IsLeaf(object, type, p);
      default: return AllVisitedAreObjects(object, type);
    }
  }
  [[nodiscard]] bool AllVisitedAreObjects(Address object, const TypeFacts& type) const {
    objects::ReferentBuffer referents;
    if (!objects::IsExact(reader_.Referents(object, type, referents))) return false;
    std::vector<objects::OwnedSlot> owned;
    ownership_.NotVisited(object, type, owned);
    return std::all_of(referents.begin(), referents.end(), [&](Address a) { return IsObject(a); }) &&
           std::all_of(owned.begin(), owned.end(), [&](const objects::OwnedSlot& o) { return IsObject(o.referent); });
  }
  [[nodiscard]] bool IsLeaf(Address object, const TypeFacts& type, const std::byte* p) const {
    if (type.size_rule == objects::SizeRule::kInt) {
      const std::uint64_t digits = values_.IntDigits(p);
      const std::byte* d = memory_.At(object + offsets_.ob_digit, digits * offsets_.digit_bytes);
      if (d == nullptr) return false;
      for (std::uint64_t i = 0; i < digits; ++i) {
        const std::uint64_t digit = offsets_.digit_bytes == 2 ? LoadUnchecked<std::uint16_t>(d + i * 2) : LoadUnchecked<std::uint32_t>(d + i * 4);
        if (digit >> offsets_.digit_bits) return false;
      }
      return digits == 0 || LoadUnchecked<std::uint8_t>(d + (digits - 1) * offsets_.digit_bytes) != 0 || digits == 1 || TopDigit(d, digits) != 0;
    }
    if (type.flags & offsets_.flag_bytes_subclass) {  // a NUL behind the last byte
      const auto size = LoadUnchecked<std::int64_t>(p + offsets_.ob_size);
      const std::byte* end = size >= 0 ? memory_.At(object + offsets_.bytes_data + static_cast<std::uint64_t>(size), 1) : nullptr;
      return end != nullptr && static_cast<std::uint8_t>(*end) == 0;
    }
    return true;
  }
  [[nodiscard]] std::uint64_t TopDigit(const std::byte* d, std::uint64_t digits) const {
    const std::byte* top = d + (digits - 1) * offsets_.digit_bytes;
    return offsets_.digit_bytes == 2 ? LoadUnchecked<std::uint16_t>(top) : LoadUnchecked<std::uint32_t>(top);
  }
  [[nodiscard]] bool IsText(Address object) const {
    if (offsets_.dict_old) return values_.Text(object, 64).has_value();
    const std::byte* p = memory_.At(object, offsets_.ascii_size);
    if (p == nullptr) return false;
    const auto state = LoadUnchecked<std::uint32_t>(p + offsets_.str_state);
    const std::uint64_t length = LoadUnchecked<std::uint64_t>(p + offsets_.str_length), kind = state >> offsets_.kind_shift & 7;
    const bool compact = state >> offsets_.compact_shift & 1, ascii = state >> offsets_.ascii_shift & 1;
    if ((kind != 1 && kind != 2 && kind != 4) || length > (std::uint64_t{1} << 36) || (ascii && kind != 1) || !compact) return false;
    const Address data = object + (ascii ? offsets_.ascii_size : offsets_.compact_size);
    const std::byte* text = memory_.At(data, (length + 1) * kind);
    if (text == nullptr) return false;
    for (std::uint64_t i = 0; i < kind; ++i) {
      if (static_cast<std::uint8_t>(text[length * kind + i]) != 0) return false;
    }
    for (std::uint64_t i = 0; ascii && i < std::min(length, kMaxTextCheck); ++i) {
      if (static_cast<std::uint8_t>(text[i]) >= 0x80) return false;
    }
    return true;
  }

  const objects::ObjectReader& reader_;
  const objects::Ownership& ownership_;
  const heap::HeapSnapshot& heap_;
  const CountState& state_;
  const target::MemoryImage& memory_;
  const cpython::Layout& layout_;
  objects::Offsets offsets_;
  objects::Values values_;
  cpython::ObjectHeaderReader header_;
  snapshot::ReferentTest referents_;
  std::uint32_t debug_header_;
  std::vector<heap::UnreachedObject> found_;
  std::vector<Address> heads_;
  std::vector<Unreached::Freed> freed_;
};

}  // namespace

Unreached FindUnreached(const AuditInput& in, std::span<const OpenBlock> open, const MemoryCover& cover, const CountState& state) {
  Finder finder(in.reader, in.ownership, in.heap, state);
  for (const OpenBlock& b : open) {
    if (b.has_objects && b.range.size() >= 16 && !cover.IsClosed(b.range.begin)) finder.Look(b.range, b.slack);
  }
  finder.NoteFreed(in.blocks, in.chunks);
  return finder.Take();
}

}  // namespace pygc::audit
