// References with their places, and how a report writes them.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/base/object_in_hand.h"
#include "core/objects/literals.h"
#include "core/objects/object_reader_impl.h"

namespace pygc::objects {

namespace {

constexpr std::size_t kMaxKeyText = 120;  // code points of one key in a label

/// Stores each reference with its place.
class LabelSink {
 public:
  static constexpr bool kLabels = true;
  LabelSink(std::vector<LabelledReferent>& out, const target::MemoryImage& memory, const Offsets& offsets, const MemberNames& names,
            const ReferentFilter& filter) noexcept
      : out_(&out), memory_(&memory), offsets_(&offsets), names_(&names), filter_(filter), limit_(filter.max > ~out.size() ? ~std::size_t{0} : out.size() + filter.max) {}
  void Reserve(std::uint64_t) {}
  /// The one object whose references are wanted; 0: all.
  [[nodiscard]] Address Only() const noexcept { return filter_.only; }
  /// As many are stored as were asked for.
  [[nodiscard]] bool Full() const noexcept { return out_->size() >= limit_; }
  void Put(Address a) { Add(a, SlotKind::kUnknown); }
  void Field(Address a, const char* name) {
    if (LabelledReferent* r = Add(a, SlotKind::kField)) r->name = name;
  }
  void CField(Address a, const char* name) {
    if (LabelledReferent* r = Add(a, SlotKind::kCField)) r->name = name;
  }
  void Item(Address a, std::uint64_t i) { Add(a, SlotKind::kItem, i); }
  void Key(Address a, std::uint64_t i) {
    if (LabelledReferent* r = Add(a, SlotKind::kDictKey, i)) r->key = a;
  }
  void Value(Address a, Address key, std::uint64_t i) {
    if (LabelledReferent* r = Add(a, SlotKind::kDictValue, i)) r->key = key;
  }
  void Element(Address a, std::uint64_t i) { Add(a, SlotKind::kSetEntry, i); }
  void Attribute(Address a, Address key, std::uint64_t i) {
    if (LabelledReferent* r = Add(a, SlotKind::kAttribute, i)) r->key = key;
  }
  void Slot(Address a, Address name) {
    if (LabelledReferent* r = Add(a, SlotKind::kSlot)) r->text = memory_->ReadCString(name, 256).value_or("");
  }
  void Local(Address a, Address name, std::uint64_t i) {
    if (LabelledReferent* r = Add(a, SlotKind::kLocal, i)) r->key = name;
  }
  void Stack(Address a, std::uint64_t i) { Add(a, SlotKind::kStackItem, i); }
  void Type(Address a) {
    if (LabelledReferent* r = Add(a, SlotKind::kType)) r->name = "__class__";
  }
  void Unknown(Address a, std::uint64_t i) { Add(a, SlotKind::kUnknown, i); }

  ReferentQuality RunMachine(const TraverseInterpreter& machine, const TypeFacts& type, Address object) {
    std::vector<Address> addresses;
    std::vector<SlotOrigin> slots;
    const ReferentQuality q = machine.Run(type, object, addresses, &slots);
    for (std::size_t i = 0; i < addresses.size(); ++i) AddSlot(addresses[i], i < slots.size() ? slots[i] : SlotOrigin(), type, object);
    return q;
  }

 private:
  /// A reference that the machine found: what Python code calls its slot where that is known, else where it lies.
  void AddSlot(Address a, const SlotOrigin& origin, const TypeFacts& type, Address object) {
    LabelledReferent* const r = Add(a, SlotKind::kUnknown, origin.slot - object);
    if (r == nullptr || NameManaged(*r, origin, type, object)) return;
    if (!origin.in_object || origin.through[0] != 0) {
      r->text = PathText(origin, type, object);
      return;
    }
    const auto offset = static_cast<std::int64_t>(origin.slot - object);
    if (NameContextVariable(*r, origin.slot, type, object)) return;
    const auto field = std::find_if(type.fields.begin(), type.fields.end(), [&](const VisitedField& f) { return f.offset == offset; });
    if (field != type.fields.end() || (type.dictoffset > 0 && offset == type.dictoffset)) {
      r->kind = field == type.fields.end() || field->in_python ? SlotKind::kField : SlotKind::kCField;
      r->name = field != type.fields.end() ? field->name : "__dict__";
    } else if (offset == offsets_->ob_type) {
      r->kind = SlotKind::kType;
      r->name = "__class__";
    } else if (std::string name = MemberName(type.address, offset); !name.empty()) {
      r->kind = SlotKind::kSlot;
      r->text = std::move(name);
    } else if (std::string in_c = names_->Of(type, std::array{offset}); !in_c.empty()) {
      r->text = std::move(in_c);
    } else if (offset < 0) {
      r->text = fmt::format("-{:#x}", -offset);
    }
  }

  /// True where the slot is half of an entry of a context's table: a ContextVar and its value. A pair without a key leads to a smaller table.
  /// CPython: PyHamtNode_Bitmap, PyHamtNode_Collision, Python/hamt.c [3.7+]: behind the head 32 bits, then the pairs; the same in all releases.
  bool NameContextVariable(LabelledReferent& r, Address slot, const TypeFacts& type, Address object) const {
    if (type.name != "hamt_bitmap_node" && type.name != "hamt_collision_node") return false;
    const Address pairs = object + offsets_->ob_size + 2 * sizeof(Address);
    if (slot < pairs) return false;
    const bool is_value = (slot - pairs) / sizeof(Address) % 2 != 0;
    r.key = is_value ? memory_->ReadPointer(slot - sizeof(Address)).value_or(0) : r.referent;
    if (r.key == 0) return false;
    r.kind = is_value ? SlotKind::kDictValue : SlotKind::kDictKey;
    return true;
  }

  /// True, with the attribute's name set, where the slot belongs to the attributes that lie before or behind the object: those of a subclass of a C type whose own
  /// tp_traverse visits them. CPython: PyObject_VisitManagedDict(), Objects/dictobject.c [3.12+].
  bool NameManaged(LabelledReferent& r, const SlotOrigin& origin, const TypeFacts& type, Address object) const {
    if (!type.managed_dict || offsets_->managed_values_offset != 0) return false;
    const Address before = object + static_cast<Address>(std::int64_t{offsets_->managed_dict_offset});
    if (origin.slot == before) {
      r.kind = SlotKind::kField;
      r.name = "__dict__";
      return true;
    }
    // `type` is the base that the function belongs to; how the attributes lie is for the object's own type to say.
    const Address own = memory_->ReadPointer(object + offsets_->ob_type).value_or(0);
    if ((memory_->ReadPointer(own + offsets_->tp_flags).value_or(0) & offsets_->flag_heap_type) == 0 || offsets_->ht_cached_keys == kNoField) return false;
    const Address size = memory_->ReadPointer(own + offsets_->tp_basicsize).value_or(0);
    Address array = object + (offsets_->inline_values_at_basicsize ? size : Address{offsets_->object_size}) + offsets_->values_array;
    if (offsets_->managed_dict_tagged) array = memory_->ReadPointer(before).value_or(0) + 1 + offsets_->values_array;
    const std::optional<DictTable> keys = Values(*memory_, *offsets_, 0).Keys(memory_->ReadPointer(own + offsets_->ht_cached_keys).value_or(0));
    const std::uint64_t index = (origin.slot - array) / 8;
    if (!keys || origin.slot < array || index >= keys->count) return false;
    r.kind = SlotKind::kAttribute;
    r.key = keys->Key(index);
    r.index = index;
    return true;
  }

  /// "list->next->value", or without names "[+0x10]->+0x8": at byte 8 of the block that the pointer at byte 16 of the object leads to.
  [[nodiscard]] std::string PathText(const SlotOrigin& origin, const TypeFacts& type, Address object) const {
    if (!origin.in_object) return "native memory";
    std::vector<std::int64_t> offsets;
    Address base = object;
    for (std::size_t i = origin.through.size(); i-- > 0;) {
      if (origin.through[i] == 0) continue;
      offsets.push_back(static_cast<std::int64_t>(origin.through[i] - base));
      base = memory_->ReadPointer(origin.through[i]).value_or(0);
    }
    offsets.push_back(static_cast<std::int64_t>(origin.slot - base));
    if (std::string name = names_->Of(type, offsets); !name.empty()) return name;
    std::string text;
    for (std::size_t i = 0; i + 1 < offsets.size(); ++i) text += fmt::format("[+{:#x}]->", static_cast<std::uint64_t>(offsets[i]));
    return text + fmt::format("+{:#x}", static_cast<std::uint64_t>(offsets.back()));
  }

  /// What tp_members of the type or a base calls the object at `offset`; empty where nothing does.
  [[nodiscard]] std::string MemberName(Address type, std::int64_t offset) const {
    constexpr int kMaxBases = 32, kMaxMembers = 512, kObject = 6;  // CPython: T_OBJECT, Include/structmember.h
    if (offsets_->tp_members == kNoField || offsets_->member_size == 0) return {};
    for (int depth = 0; type != 0 && depth < kMaxBases; ++depth) {
      Address member = memory_->ReadPointer(type + offsets_->tp_members).value_or(0);
      for (int i = 0; member != 0 && i < kMaxMembers; ++i, member += offsets_->member_size) {
        const std::byte* const m = memory_->At(member, offsets_->member_size);
        const Address name = m == nullptr ? 0 : LoadUnchecked<std::uint64_t>(m + offsets_->member_name);
        if (name == 0) break;
        const auto kind = LoadUnchecked<std::int32_t>(m + offsets_->member_type);
        if ((kind != kObject && kind != offsets_->member_object_ex) || LoadUnchecked<std::int64_t>(m + offsets_->member_offset) != offset) continue;
        return memory_->ReadCString(name, 256).value_or("");
      }
      type = memory_->ReadPointer(type + offsets_->tp_base).value_or(0);
    }
    return {};
  }

  LabelledReferent* Add(Address a, SlotKind kind, std::uint64_t index = 0) {
    if (a == 0 || out_->size() >= limit_ || (filter_.only != 0 && a != filter_.only) || (filter_.kind && kind != *filter_.kind)) return nullptr;
    LabelledReferent& r = out_->emplace_back();
    r.referent = a;
    r.kind = kind;
    r.index = index;
    return &r;
  }

  std::vector<LabelledReferent>* out_;
  const target::MemoryImage* memory_;
  const Offsets* offsets_;
  const MemberNames* names_;
  ReferentFilter filter_;
  std::size_t limit_;  // of `out_`
};

/// A key as Python would write it, as far as it can be told without running anything.
std::string KeyText(const ObjectReader& reader, const ObjectReader::Impl& impl, Address key, int depth = 0) {
  if (const std::optional<std::string> text = impl.values.Text(key, kMaxKeyText)) {
    std::string out = "'";
    for (const char c : *text) {
      if (c == '\'' || c == '\\') out += '\\';
      out += c;
    }
    return out + "'";
  }
  const TypeFacts* type = impl.types.Find(impl.values.TypeOf(key));
  if (!type) return fmt::format("{:#x}", key);
  if (type->name == "tuple" && depth == 0) {
    std::string out = "(";
    const std::vector<Address> items = impl.values.TupleItems(key, 9);
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i) out += ", ";
      out += i == 8 ? "..." : KeyText(reader, impl, items[i], depth + 1);
    }
    return out + (items.size() == 1 ? ",)" : ")");
  }
  if (std::optional<std::string> literal = reader.LiteralOf(key)) return *literal;
  if (const cpython::Layout& layout = reader.runtime().layout; (type->name == "_contextvars.ContextVar" || type->name == "ContextVar") && layout.Has(cpython::Field::pycontextvarobject_var_name)) {
    const Address name = impl.values.Pointer(key + layout.Offset(cpython::Field::pycontextvarobject_var_name));
    return fmt::format("<ContextVar '{}'>", impl.values.Text(name, kMaxKeyText).value_or("?"));
  }
  if (const std::optional<std::int64_t> number = impl.values.Int(key)) return std::to_string(*number);
  return fmt::format("<{} at {:#x}>", type->name, key);
}

}  // namespace

ReferentQuality ObjectReader::LabelledReferents(Address object, const TypeFacts& type, std::vector<LabelledReferent>& out, const ReferentFilter& filter) const {
  object_in_hand = object;
  LabelSink sink(out, impl_->process->memory, impl_->offsets, impl_->member_names, filter);
  return Visitor<LabelSink>(impl_->context, sink).Object(object, type);
}

std::string ObjectReader::LabelText(const LabelledReferent& r) const {
  const auto name_of = [this](Address name) { return name ? impl_->values.Text(name, kMaxKeyText) : std::nullopt; };
  switch (r.kind) {
    case SlotKind::kField:
    case SlotKind::kCField:
    case SlotKind::kType: return fmt::format(".{}", r.name ? r.name : "?");
    case SlotKind::kItem: return r.text.empty() ? fmt::format("[{}]", r.index) : r.text;
    case SlotKind::kDictKey: return fmt::format("key {}", KeyText(*this, *impl_, r.key));
    case SlotKind::kDictValue: return fmt::format("[{}]", KeyText(*this, *impl_, r.key));
    case SlotKind::kSetEntry: return "element";
    case SlotKind::kAttribute: return fmt::format(".{}", name_of(r.key).value_or(fmt::format("attribute {}", r.index)));
    case SlotKind::kSlot: return fmt::format(".{}", r.text.empty() ? "?" : r.text);
    case SlotKind::kLocal: return fmt::format("local {}", name_of(r.key).value_or(std::to_string(r.index)));
    case SlotKind::kStackItem: return fmt::format("stack[{}]", r.index);
    case SlotKind::kUnknown: return r.text.empty() ? fmt::format("+{:#x}", r.index) : r.text;
  }
  return {};
}

std::optional<std::string> ObjectReader::LiteralOf(Address object) const {
  std::call_once(impl_->literals_once, [this] { impl_->literals = std::make_unique<Literals>(*this); });
  return impl_->literals->Of(object);
}

bool ObjectReader::IsTuple(const TypeFacts& type) const noexcept { return (type.flags & impl_->offsets.flag_tuple_subclass) != 0; }

bool ObjectReader::ClassDefines(const TypeFacts& type, std::string_view name) const {
  constexpr std::size_t kMaxClasses = 512;
  if (!type.is_heap_type) return false;
  for (const Address base : impl_->values.TupleItems(impl_->values.Pointer(type.address + impl_->offsets.tp_mro), kMaxClasses)) {
    const TypeFacts* const facts = Type(base);
    if (facts == nullptr || !facts->is_heap_type) return false;
    const Address found = impl_->values.DictGet(impl_->values.Pointer(base + impl_->offsets.tp_dict), name);
    if (found == 0) continue;
    const TypeFacts* const kind = Type(impl_->values.TypeOf(found));  // types of C modules are heap types too
    return kind == nullptr || (kind->name != "wrapper_descriptor" && kind->name != "method_descriptor");
  }
  return false;
}

}  // namespace pygc::objects
