#include "core/engine/memory_owner.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "core/analysis/referrers.h"
#include "core/engine/edge_labels.h"
#include "core/objects/ownership.h"
#include "core/objects/values.h"

namespace pygc::engine {
namespace {

using objects::BodyKind;
using objects::LabelledReferent;
using objects::SlotKind;
using objects::TypeFacts;

constexpr heap::NodeId kProgressEvery = 1u << 18;
constexpr std::uint64_t kMostOwnBytes = 1024;  // of an object's fixed part that are searched for a pointer to the block

class MemoryOwner {
 public:
  MemoryOwner(const CommandInput& in, Address address, const AddressRange& block)
      : in_(in),
        address_(address),
        block_(block),
        ownership_(in.reader, nullptr),
        labels_(in.reader, in.heap, in.request.redact),
        offsets_(in.reader.runtime().layout),
        values_(in.reader.process().memory, offsets_, in.reader.runtime().lookdict) {
    for (const heap::TypeRecord& type : in.heap.types) types_.push_back(TypeOf(in.reader.Type(type.address)));
  }

  std::string Describe() {
    if (std::string head = HeadOfObject(); !head.empty()) return head;
    heap::NodeId referring = heap::kNoNode;  // the first that has a word that leads there; the owner of a buffer is sure, and goes before
    for (heap::NodeId n = 0; n < in_.heap.size(); ++n) {
      if (n % kProgressEvery == 0 && !in_.progress.Update("looking for the owner of the memory", n, in_.heap.size())) break;
      const OfType& type = types_[in_.heap.type[n]];
      if (type.buffers) {
        if (std::string found = InBuffers(in_.heap.AddressOf(n), *type.facts); !found.empty()) return found;
      }
      if ((referring != heap::kNoNode && !type.plain_buffer) || type.own_bytes == 0 || block_.size() <= 1 || !RefersToBlock(in_.heap.AddressOf(n), type)) continue;
      referring = n;
      if (type.plain_buffer) break;
    }
    if (referring == heap::kNoNode) return {};
    const OfType& type = types_[in_.heap.type[referring]];
    return fmt::format("inside {} {} refers to, at +{}", type.plain_buffer ? "the buffer that" : "memory that", Named(in_.heap.AddressOf(referring), *type.facts), address_ - block_.begin);
  }

 private:
  struct OfType {
    const TypeFacts* facts = nullptr;
    bool buffers = false;         // Ownership::Buffers() may name something
    bool plain_buffer = false;    // a bytearray or an array: what it refers to is its buffer
    std::uint64_t own_bytes = 0;  // of an instance, that may hold a pointer to plain memory
  };

  [[nodiscard]] OfType TypeOf(const TypeFacts* facts) const {
    OfType out;
    out.facts = facts;
    if (facts == nullptr) return out;
    out.buffers = ownership_.OfInstances(*facts).buffers;
    // What is made of references alone, has its memory named above, or consists of digits and characters, points to no other memory.
    const objects::ReaderKind reader = facts->reader == objects::ReaderKind::kInstance ? facts->base_reader : facts->reader;
    switch (facts->body) {
      case BodyKind::kList:
      case BodyKind::kDict:
      case BodyKind::kSet:
      case BodyKind::kDeque:
      case BodyKind::kFrame:      // beyond its references there are old words, in entries of its block stack and of its value stack that are not in use
      case BodyKind::kGenerator:  // its frame is a part of it
      case BodyKind::kText: return out;
      default: break;
    }
    out.plain_buffer = facts->size_rule == objects::SizeRule::kByteArray || facts->size_rule == objects::SizeRule::kArray;
    const bool only_references = reader == objects::ReaderKind::kTuple || (facts->reader == objects::ReaderKind::kInstance && reader == objects::ReaderKind::kNone && facts->body == BodyKind::kClosed);
    const bool is_number = facts->name == "int" || facts->name == "float" || facts->name == "complex";  // up to 2.7 an int is one word
    const bool plain = is_number || facts->size_rule == objects::SizeRule::kBytes || facts->size_rule == objects::SizeRule::kInt;
    if (!only_references && !plain && facts->basicsize > 0) out.own_bytes = std::min(static_cast<std::uint64_t>(facts->basicsize), kMostOwnBytes);
    return out;
  }

  [[nodiscard]] static std::string Named(Address object, const TypeFacts& type) {
    const bool vowel = !type.name.empty() && std::string_view("aeiouAEIOU").find(type.name[0]) != std::string_view::npos;
    return fmt::format("{} {} at {:#x}", vowel ? "an" : "a", type.name, object);
  }

  // The collector's head and what else lies before an object, in its block.
  [[nodiscard]] std::string HeadOfObject() const {
    const heap::NodeId n = block_.size() <= 1 ? heap::kNoNode : analysis::LastNodeUpTo(in_.heap, block_.end - 1);
    if (n == heap::kNoNode || in_.heap.AddressOf(n) < block_.begin || in_.heap.AddressOf(n) <= address_) return {};
    const TypeFacts* const facts = types_[in_.heap.type[n]].facts;
    return facts == nullptr ? "" : fmt::format("inside the head of {}, at -{}", Named(in_.heap.AddressOf(n), *facts), in_.heap.AddressOf(n) - address_);
  }

  std::string InBuffers(Address object, const TypeFacts& type) {
    ranges_.clear();
    ownership_.Buffers(object, type, ranges_);
    for (const AddressRange& range : ranges_) {
      // Behind the entries of a table there is room for more, up to the end of the block.
      if (!range.Contains(address_) && !(block_.Contains(range.begin) && address_ >= range.begin)) continue;
      const std::string entry = EntryAt(object, type, range);
      return fmt::format("inside the {} of {}, at +{}{}", PartName(object, type, range), Named(object, type), address_ - range.begin, entry.empty() ? "" : " (" + entry + ")");
    }
    return {};
  }

  [[nodiscard]] const char* PartName(Address object, const TypeFacts& type, const AddressRange& range) const {
    switch (type.body) {
      case BodyKind::kList:
      case BodyKind::kDeque: return "items";
      case BodyKind::kSet: return "table";
      case BodyKind::kDict:
        if (type.reader == objects::ReaderKind::kInstance && IsValues(object, type, range)) return "attribute values";
        return offsets_.dict_old ? "table" : values_.Pointer(object + offsets_.ma_values) != 0 ? "values" : values_.Pointer(object + offsets_.ma_keys) == range.begin ? "keys" : "order";
      case BodyKind::kText: return "text";
      case BodyKind::kCode: return "memory";
      default: return IsValues(object, type, range) ? "attribute values" : "buffer";
    }
  }

  // Attribute values of an instance in a block of their own [3.11, 3.12].
  [[nodiscard]] bool IsValues(Address object, const TypeFacts& type, const AddressRange& range) const {
    if (type.reader != objects::ReaderKind::kInstance || !type.managed_dict) return false;
    const Address separate = offsets_.managed_values_offset == 0 ? 0 : values_.Pointer(object + static_cast<Address>(std::int64_t{offsets_.managed_values_offset}));
    const Address word = offsets_.managed_dict_tagged ? values_.Pointer(object + static_cast<Address>(std::int64_t{offsets_.managed_dict_offset})) : 0;
    return range.begin - offsets_.values_array == separate || ((word & 1) != 0 && range.begin - offsets_.values_array == word + 1);
  }

  // What is at that place of the items or the table: "item [3]", "['key']"; empty where that cannot be told.
  [[nodiscard]] std::string EntryAt(Address object, const TypeFacts& type, const AddressRange& range) const {
    const std::uint64_t word = (address_ - range.begin) / 8;
    if (IsValues(object, type, range)) {
      const std::optional<objects::DictTable> keys = values_.Keys(type.cached_keys);
      return keys && word < keys->count ? KeyText(SlotKind::kAttribute, keys->Key(word)) : "";
    }
    if (type.body == BodyKind::kList) {
      return word < values_.Pointer(object + offsets_.ob_size) ? fmt::format("item [{}]", word) : "room for more items";
    }
    if (type.body == BodyKind::kSet) return fmt::format("entry {}", (address_ - range.begin) / offsets_.setentry_size);
    if (type.body == BodyKind::kDict) return DictEntryAt(object, range);
    if (type.body != BodyKind::kDeque) return {};
    std::vector<LabelledReferent> found;
    const Address referent = values_.Pointer(address_ / 8 * 8);
    if (referent != 0) in_.reader.LabelledReferents(object, type, found, {referent, SlotKind::kItem, 2});
    return found.size() == 1 ? fmt::format("item [{}]", found[0].index) : "";
  }

  [[nodiscard]] std::string DictEntryAt(Address dict, const AddressRange& range) const {
    const std::optional<objects::DictTable> t = values_.Dict(dict);
    if (!t) return {};
    if (t->values != nullptr) {
      const std::uint64_t i = (address_ - range.begin) / 8;
      return i < t->count ? KeyText(SlotKind::kDictValue, t->Key(i)) : "";
    }
    if (!offsets_.dict_old && values_.Pointer(dict + offsets_.ma_keys) != range.begin) return {};
    const Address entries = range.end - t->count * t->stride;
    if (address_ < entries) return address_ < range.begin + offsets_.dk_indices ? "head of the table" : "index of the table";
    const std::uint64_t i = (address_ - entries) / t->stride;
    if (i >= t->count) return "room for more entries";
    if (t->Value(i) == 0) return "an entry without a value";
    return KeyText((address_ - entries) % t->stride / 8 * 8 == t->key ? SlotKind::kDictKey : SlotKind::kDictValue, t->Key(i));
  }

  [[nodiscard]] std::string KeyText(SlotKind kind, Address key) const {
    LabelledReferent r;
    r.kind = kind;
    r.key = key;
    return key == 0 ? "" : labels_.TextOf(r);
  }

  [[nodiscard]] bool RefersToBlock(Address object, const OfType& type) const {
    const std::byte* const p = in_.reader.process().memory.At(object, type.own_bytes);
    if (p == nullptr) return false;
    for (std::uint64_t at = offsets_.object_size; at + 8 <= type.own_bytes; at += 8) {
      if (block_.Contains(LoadUnchecked<std::uint64_t>(p + at))) return true;
    }
    return false;
  }

  const CommandInput& in_;
  const Address address_;
  const AddressRange block_;
  const objects::Ownership ownership_;
  EdgeLabels labels_;
  const objects::Offsets offsets_;
  const objects::Values values_;
  std::vector<OfType> types_;
  std::vector<AddressRange> ranges_;
};

}  // namespace

std::string DescribeMemoryOf(const CommandInput& in, Address address, const AddressRange& block) { return MemoryOwner(in, address, block).Describe(); }

}  // namespace pygc::engine
