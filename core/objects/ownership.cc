#include "core/objects/ownership.h"

#include "core/base/object_in_hand.h"
#include "core/objects/traverse_interpreter.h"

#include <algorithm>
#include <iterator>
#include <string_view>

namespace pygc::objects {

namespace {

using cpython::Constant;
using cpython::Field;

constexpr std::uint64_t kMaxNodes = std::uint64_t{1} << 32;  // of a linked list; rings are met earlier, see Brent's algorithm below

constexpr const char kArrayItem[] = "item";
constexpr std::size_t kMaxNameText = 64;  // code points of a name in a label

// Python code can ask the owner for it under this name, and gets the very object.
bool IsAttributeOf(std::string_view field) {
  constexpr std::string_view kNotThese[] = {"co_code", "co_varnames", "co_freevars", "co_cellvars", "co_localsplusnames", "co_localspluskinds"};  // made anew in some releases
  return field == "__dict__" || field == "base" || field == "dtype" || (field.starts_with("co_") && std::find(std::begin(kNotThese), std::end(kNotThese), field) == std::end(kNotThese));
}

std::uint64_t Word(const std::byte* p, std::uint32_t offset) { return LoadUnchecked<std::uint64_t>(p + offset); }

/// Follows a singly linked list from `node` until `end` or NULL; f(node, its bytes). Stops at unreadable memory and in a loop (Brent).
template <typename F>
void FollowList(const target::MemoryImage& memory, Address node, Address end, std::uint32_t next, std::uint32_t bytes, F&& f) {
  Address seen = 0;
  for (std::uint64_t i = 0, limit = 16; node != end && node != 0 && node != seen && i < kMaxNodes; ++i) {
    const std::byte* n = memory.At(node, bytes);
    if (n == nullptr) return;
    f(node, n);
    if (i == limit) {
      seen = node;
      limit *= 2;
    }
    node = Word(n, next);
  }
}

}  // namespace

Ownership::Ownership(const ObjectReader& reader, const TraverseInterpreter* machine)
    : reader_(&reader),
      machine_(machine),
      memory_(&reader.process().memory),
      o_(reader.runtime().layout),
      values_(reader.process().memory, o_, reader.runtime().lookdict),
      code_(Fields({Field::PyCodeObject_co_code, Field::PyCodeObject_co_consts, Field::PyCodeObject_co_names, Field::PyCodeObject_co_varnames,
                    Field::PyCodeObject_co_freevars, Field::PyCodeObject_co_cellvars, Field::PyCodeObject_co_localsplusnames,
                    Field::PyCodeObject_co_localspluskinds, Field::PyCodeObject_co_exceptiontable, Field::PyCodeObject_co_qualname,
                    Field::PyCodeObject_co_filename, Field::PyCodeObject_co_name, Field::PyCodeObject_co_linetable})),
      cached_(Fields({Field::PyCoCached_co_code, Field::PyCoCached_co_varnames, Field::PyCoCached_co_cellvars, Field::PyCoCached_co_freevars})),
      descriptor_(Fields({Field::PyDescrObject_d_name, Field::PyDescrObject_d_qualname})),
      module_(Fields({Field::PyModuleObject_md_name})),
      heap_type_(Fields({Field::PyHeapTypeObject_ht_name, Field::PyHeapTypeObject_ht_qualname, Field::PyHeapTypeObject_ht_slots, Field::PyTypeObject_tp_subclasses})),
      static_type_(Fields({Field::PyTypeObject_tp_dict, Field::PyTypeObject_tp_bases, Field::PyTypeObject_tp_mro, Field::PyTypeObject_tp_cache,
                           Field::PyTypeObject_tp_subclasses})),
      managed_type_(Fields({Field::PyTypeObject_tp_bases, Field::PyTypeObject_tp_mro, Field::PyTypeObject_tp_cache})) {
  const cpython::Layout& layout = reader.runtime().layout;
  if (layout.Has(Field::rangeobject_length)) {
    range_ = Fields({Field::rangeobject_start, Field::rangeobject_stop, Field::rangeobject_step, Field::rangeobject_length});
    long_range_ = Fields({Field::longrangeiterobject_index, Field::longrangeiterobject_start, Field::longrangeiterobject_step, Field::longrangeiterobject_len});
  }
  abc_data_ = Fields({Field::abc_data_abc_registry, Field::abc_data_abc_cache, Field::abc_data_abc_negative_cache});
  if (o_.bytearray_object != kNoField) byte_array_.entries.push_back({o_.bytearray_object, "ob_bytes_object"});
  for (const FieldList::Entry& e : byte_array_.entries) byte_array_.bytes = std::max(byte_array_.bytes, e.offset + Offsets::kPointerBytes);
  const auto at = [&](Field f) { return layout.Has(f) ? layout.Offset(f) : kNoField; };
  if (layout.Value(Constant::RULE_CODE_IS_GC) != 0) std::erase_if(code_.entries, [&](const FieldList::Entry& e) { return e.offset == at(Field::PyCodeObject_co_consts); });
  co_cached_ = at(Field::PyCodeObject_co_cached);
  zombie_frame_ = o_.f_localsplus != kNoField ? at(Field::PyCodeObject_co_zombieframe) : kNoField;
  od_fast_nodes_ = at(Field::PyODictObject_od_fast_nodes);
  f_state_ = layout.Has(Field::PyFrameObject_f_state) ? at(Field::PyFrameObject_f_state) : at(Field::PyFrameObject_f_executing);
  old_frame_state_ = !layout.Has(Field::PyFrameObject_f_state);
  static_builtin_ = static_cast<std::uint64_t>(layout.Value(Constant::TPFLAGS_STATIC_BUILTIN));
  frame_executing_ = layout.Value(Constant::FRAME_EXECUTING);
  instances_own_type_ = layout.Value(Constant::RULE_INSTANCES_OWN_HEAP_TYPE) != 0;
  // CPython: _PyFrame_ClearExceptCode(), Python/frame.c [3.12, 3.13]: until the generator is freed. Later ones visit it; 3.11 visits gi_code instead.
  cached_frame_owns_code_ = o_.gi_iframe != kNoField && !o_.gen_cleared_visits_executable && o_.gi_code == kNoField;
}

Ownership::FieldList Ownership::Fields(std::initializer_list<Field> fields) const {
  FieldList list;
  const cpython::Layout& layout = reader_->runtime().layout;
  for (const Field f : fields) {
    if (!layout.Has(f)) continue;
    const std::string_view name = cpython::FieldName(f);
    list.entries.push_back({layout.Offset(f), name.data() + name.find('.') + 1});
    list.bytes = std::max(list.bytes, layout.Offset(f) + Offsets::kPointerBytes);
  }
  return list;
}

void Ownership::Append(Address base, const FieldList& fields, std::vector<OwnedSlot>& out) const {
  const std::byte* p = memory_->At(base, fields.bytes);
  if (p == nullptr) return;
  for (const FieldList::Entry& e : fields.entries) {
    if (const Address a = Word(p, e.offset)) out.push_back({base + e.offset, a, e.name});
  }
}

void Ownership::One(Address slot, const char* name, std::vector<OwnedSlot>& out) const {
  if (const Address a = values_.Pointer(slot)) out.push_back({slot, a, name});
}

void Ownership::OwnedFields(Address object, const TypeFacts& type, std::vector<OwnedSlot>& out) const {
  const KnownOwner* const owner = type.known_owner;
  if (owner == nullptr) return;
  const TypeFacts* const base = owner->behind == KnownOwner::Behind::kBase ? reader_->Type(type.base_of_owner) : nullptr;
  if (owner->behind == KnownOwner::Behind::kBase && base == nullptr) return;
  if (const std::optional<ObjectsInArray> items = ArrayOfObjects(object, type)) {
    const std::uint64_t bytes = items->array.bytes(), words = (bytes + Offsets::kPointerBytes - 1) / Offsets::kPointerBytes;
    const std::uint64_t end = std::min(bytes, values_.ReadableWords(items->array.data, words) * Offsets::kPointerBytes);
    for (std::uint64_t item = 0; item + items->array.item_bytes <= end; item += items->array.item_bytes) {
      for (const NumpyReference& r : items->in_item) One(items->array.data + item + r.offset, kArrayItem, out);
    }
  }
  const Address begin = object + (base != nullptr ? base->fixed_bytes : owner->behind == KnownOwner::Behind::kObjectHead ? o_.object_size : o_.ob_size + 8);
  for (const OwnedField& f : owner->fields) {
    if (begin + f.offset + Offsets::kPointerBytes <= object + std::min(type.fixed_bytes, type.owner_bytes)) One(begin + f.offset, f.name, out);
  }
}

// Items of one that has memory of its own lie in it without gaps, in whichever order.
std::optional<Ownership::ObjectsInArray> Ownership::ArrayOfObjects(Address object, const TypeFacts& type) const {
  if (type.size_rule != SizeRule::kNumpyArray || type.known_owner == nullptr) return std::nullopt;
  std::optional<NumpyArray> array = ReadNumpyArray(*memory_, o_.object_size, object);
  if (!array || !array->owns_data || !array->holds_objects || array->item_bytes == 0) return std::nullopt;
  std::optional<std::vector<NumpyReference>> in_item = ReferencesInItem(values_, o_.object_size, *array);
  if (!in_item || in_item->empty() || in_item->back().offset + Offsets::kPointerBytes > array->item_bytes) return std::nullopt;
  return ObjectsInArray{std::move(*array), std::move(*in_item)};
}

void Ownership::NotVisited(Address object, const TypeFacts& type, std::vector<OwnedSlot>& out) const {
  object_in_hand = object;
  if (type.is_heap_type && instances_own_type_ && !VisitsOwnType(object, type)) One(object + o_.ob_type, "ob_type", out);
  switch (type.body) {
    case BodyKind::kCode:
      Append(object, code_, out);
      if (co_cached_ != kNoField) {
        if (const Address cached = values_.Pointer(object + co_cached_)) Append(cached, cached_, out);
      }
      break;
    case BodyKind::kDescriptor: Append(object, descriptor_, out); break;
    case BodyKind::kModule: Append(object, module_, out); break;
    case BodyKind::kRange: Append(object, range_, out); break;
    case BodyKind::kLongRangeIterator: Append(object, long_range_, out); break;
    case BodyKind::kAbcData: Append(object, abc_data_, out); break;
    case BodyKind::kByteArray: Append(object, byte_array_, out); break;
    case BodyKind::kTypeObject: TypeObject(object, out); break;
    case BodyKind::kDict: DictKeys(object, out); break;
    case BodyKind::kLruCache: LruLinks(object, out); break;
    case BodyKind::kStructSequence: HiddenItems(object, type, out); break;
    case BodyKind::kText:
      if (TextOwns()) One(object + o_.old_unicode_defenc, "defenc", out);
      break;
    case BodyKind::kGenerator:
      if (cached_frame_owns_code_) {
        const std::byte* state = memory_->At(object + o_.gi_frame_state, 1);
        if (state != nullptr && LoadUnchecked<std::int8_t>(state) >= o_.frame_cleared) One(object + o_.gi_iframe + o_.if_executable, "gi_iframe.f_executable", out);
      }
      break;
    default: break;
  }
  OwnedFields(object, type, out);
  if (type.reader != ReaderKind::kInstance) return;
  // CPython: PyObject_VisitManagedDict() [3.13.0-3.13.12, 3.14.0-3.14.3] visits valid inline values and passes over the dict that shares them.
  if (type.managed_dict && type.inline_values && !o_.managed_prefers_dict && !o_.managed_dict_tagged && type.visits_dict) {
    const std::uint32_t at = o_.inline_values_at_basicsize ? static_cast<std::uint32_t>(type.basicsize) : o_.object_size;
    const std::byte* valid = memory_->At(object + at + o_.values_valid, 1);
    if (valid != nullptr && LoadUnchecked<std::uint8_t>(valid) != 0)
      One(object + static_cast<Address>(std::int64_t{o_.managed_dict_offset}), "__dict__", out);
  }
}

void Ownership::HiddenItems(Address object, const TypeFacts& type, std::vector<OwnedSlot>& out) const {
  const Address items = object + o_.tuple_item;  // the same place in 2.7, where the types derive from no tuple
  const std::uint64_t shown = type.reader == ReaderKind::kNone ? 0 : values_.Pointer(object + o_.ob_size);
  for (std::uint64_t i = shown; i < type.struct_sequence_fields; ++i) One(items + i * Offsets::kPointerBytes, "ob_item", out);
}

const TypeFacts* Ownership::TraverseBehind(const TypeFacts& type) noexcept { return type.reader == ReaderKind::kInstance ? type.traverse_base : &type; }

Ownership::OfAll Ownership::OfInstances(const TypeFacts& type) const {
  OfAll all;
  const TypeFacts* const behind = TraverseBehind(type);
  const ReaderKind kind = behind == nullptr ? ReaderKind::kNone : behind == &type ? type.reader : behind->traverse_reader;
  if (kind == ReaderKind::kMachine) return all;  // the machine tells by an object
  const ReaderKind reader = type.reader == ReaderKind::kInstance ? type.base_reader : type.reader;
  const bool shows_type = VisitsOwnType(0, type);
  all.owns_type = type.is_heap_type && instances_own_type_ && !shows_type;
  if ((type.body == BodyKind::kText && TextOwns()) || type.body_grows) return all;
  switch (type.body) {
    case BodyKind::kClosed:
    case BodyKind::kText:
    case BodyKind::kList:
    case BodyKind::kSet:
    case BodyKind::kDict:
    case BodyKind::kDeque: break;
    default: return all;  // all others own more, or may be running
  }
  all.owns_more = type.reader == ReaderKind::kInstance && type.managed_dict && type.inline_values && !o_.managed_prefers_dict && !o_.managed_dict_tagged && type.visits_dict;
  all.closed = !type.body_grows && !(type.is_heap_type && !instances_own_type_ && !shows_type);
  all.borrows = reader == ReaderKind::kOrderedDict && o_.odict_visits_weakreflist;
  all.buffers = type.body != BodyKind::kClosed || (type.reader == ReaderKind::kInstance && type.managed_dict && (o_.managed_values_offset != 0 || o_.managed_dict_tagged));
  return all;
}

bool Ownership::VisitsOwnType(Address object, const TypeFacts& type) const {
  const TypeFacts* t = &type;
  if (t->reader == ReaderKind::kInstance) {
    if (t->visits_type) return true;
    t = t->traverse_base;
    if (t == nullptr) return false;
  }
  const ReaderKind kind = t == &type ? t->reader : t->traverse_reader;
  switch (kind) {
    case ReaderKind::kNone: return false;
    case ReaderKind::kStructSequence: return t->visits_type;
    case ReaderKind::kMachine: {
      const int known = t->visits_own_type.load(std::memory_order_relaxed);
      if (known != 0) return known == 1;
      if (machine_ == nullptr) return true;
      std::vector<Address> referents;
      std::vector<SlotOrigin> slots;
      if (!IsExact(machine_->Run(*t, object, referents, &slots))) return true;
      const bool visits = std::any_of(slots.begin(), slots.end(), [&](const SlotOrigin& s) { return s.slot == object + o_.ob_type; });
      t->visits_own_type.store(visits ? 1 : 2, std::memory_order_relaxed);
      return visits;
    }
    case ReaderKind::kScan: return true;
    default: return std::any_of(t->fields.begin(), t->fields.end(), [&](const VisitedField& f) { return f.offset == o_.ob_type; });
  }
}

void Ownership::LabelledNotVisited(Address object, const TypeFacts& type, bool with_shared_keys, std::vector<LabelledReferent>& out, const ReferentFilter& filter) const {
  std::vector<OwnedSlot> owned;
  NotVisited(object, type, owned);
  const std::size_t own = owned.size(), end = filter.max > ~out.size() ? ~std::size_t{0} : out.size() + filter.max;
  if (with_shared_keys) {
    if (const Address keys = SharedKeys(object, type)) KeysOf(keys, owned);
  }
  const bool is_dict = type.body == BodyKind::kDict;
  const std::optional<ObjectsInArray> items = ArrayOfObjects(object, type);
  for (std::size_t i = 0; i < owned.size() && out.size() < end; ++i) {
    const OwnedSlot& slot = owned[i];
    if (filter.only != 0 && slot.referent != filter.only) continue;
    LabelledReferent r;
    r.referent = slot.referent;
    if (i >= own) {
      r.text = "attribute name " + values_.Text(slot.referent, kMaxNameText).value_or("?");
    } else if (is_dict && slot.slot != object + o_.ob_type) {
      r.kind = SlotKind::kDictKey;
      r.key = slot.referent;
    } else if (slot.slot == object + o_.ob_type) {
      r.kind = SlotKind::kType;
      r.name = "__class__";
    } else if (type.body == BodyKind::kStructSequence) {
      r.kind = SlotKind::kItem;
      r.index = (slot.slot - object - o_.tuple_item) / Offsets::kPointerBytes;
    } else if (slot.name == kArrayItem && items) {
      const std::uint64_t offset = slot.slot - items->array.data, in_item = offset % items->array.item_bytes;
      const auto at = std::find_if(items->in_item.begin(), items->in_item.end(), [&](const NumpyReference& f) { return f.offset == in_item; });
      r.kind = SlotKind::kItem;
      r.index = offset / items->array.item_bytes;
      r.text = items->array.IndexText(offset - in_item) + (at == items->in_item.end() ? "" : at->field);
    } else if (IsAttributeOf(slot.name)) {
      r.kind = SlotKind::kField;
      r.name = slot.name;
    } else {
      r.text = slot.name;
    }
    if (!filter.kind || r.kind == *filter.kind) out.push_back(std::move(r));
  }
}

void Ownership::TypeObject(Address object, std::vector<OwnedSlot>& out) const {
  const std::uint64_t flags = values_.FlagsOf(object);
  if (flags & o_.flag_heap_type) {
    Append(object, heap_type_, out);
  } else {
    Append(object, IsManagedStatic(flags) ? managed_type_ : static_type_, out);
  }
}

void Ownership::DictKeys(Address object, std::vector<OwnedSlot>& out) const {
  const std::optional<DictTable> t = values_.Dict(object);
  if (!t || t->values != nullptr) return;
  const Address first = o_.dict_old ? values_.Pointer(object + o_.ma_table) : 0;
  for (std::uint64_t i = 0; i < t->count; ++i) {
    const Address key = t->Key(i);
    if (key == 0) continue;
    // Visited keys are those with a value; 2.7 keeps a counted dummy where a key was removed.
    if (t->visits_keys && (!o_.dict_old || t->Value(i) != 0)) continue;
    out.push_back({first != 0 ? first + i * t->stride + t->key : 0, key, "key"});
  }
}

void Ownership::DictMemory(Address object, const TypeFacts& type, ReferentBuffer& keys, std::vector<AddressRange>& buffers, Address& shared) const {
  shared = 0;
  const ReaderKind kind = type.reader == ReaderKind::kInstance ? type.base_reader : type.reader;
  const bool plain = !o_.dict_old && kind != ReaderKind::kOrderedDict && type.reader != ReaderKind::kInstance;
  const std::byte* const p = plain ? memory_->At(object, o_.dict_size) : nullptr;
  if (p == nullptr || Word(p, o_.ma_values) != 0) {
    std::vector<OwnedSlot> owned;
    DictKeys(object, owned);
    for (const OwnedSlot& slot : owned) keys.push_back(slot.referent);
    Buffers(object, type, buffers);
    shared = SharedKeys(object, type);
    if (shared != 0) KeysBuffer(shared, buffers);
    return;
  }
  const Address table = Word(p, o_.ma_keys);
  const std::optional<DictTable> t = values_.Keys(table);
  if (!t) return;
  KeysBuffer(table, *t, buffers);
  if (t->visits_keys || t->count == 0) return;
  const std::byte* entry = t->entries + t->key;
  for (std::uint64_t i = 0; i < t->count; ++i, entry += t->stride) {
    if (const Address key = LoadUnchecked<std::uint64_t>(entry)) keys.push_back(key);
  }
}

Address Ownership::SharedKeys(Address object, const TypeFacts& type) const {
  if (o_.dict_old) return 0;
  if (type.body == BodyKind::kTypeObject) {
    if (!(values_.FlagsOf(object) & o_.flag_heap_type) || o_.ht_cached_keys == kNoField) return 0;
    return values_.Pointer(object + o_.ht_cached_keys);
  }
  if (type.body != BodyKind::kDict) return 0;
  return values_.Pointer(object + o_.ma_values) != 0 ? values_.Pointer(object + o_.ma_keys) : 0;
}

void Ownership::KeysOf(Address table, std::vector<OwnedSlot>& out) const {
  const std::optional<DictTable> t = values_.Keys(table);
  if (!t) return;
  for (std::uint64_t i = 0; i < t->count; ++i) {
    if (const Address key = t->Key(i)) out.push_back({0, key, "shared key"});
  }
}

template <typename F>
void Ownership::ForEachLink(Address cache, F&& f) const {
  if (o_.lru_maxsize_o != kNoField) return;  // 3.6: the links are visited as objects
  const std::byte* p = memory_->At(cache, o_.lru_size);
  if (p == nullptr) return;
  FollowList(*memory_, Word(p + o_.lru_root, o_.link_next), cache + o_.lru_root, o_.link_next, std::max(o_.link_next, o_.link_result) + 8,
             [&](Address link, const std::byte* n) { f(link, n); });
}

void Ownership::TextsOfClass(Address object, const TypeFacts& type, std::vector<Address>& out) const {
  if (type.body != BodyKind::kTypeObject || !(values_.FlagsOf(object) & o_.flag_heap_type)) return;
  for (const Field f : {Field::PyTypeObject_tp_doc, Field::PyHeapTypeObject_ht_tpname}) {
    const cpython::Layout& layout = reader_->runtime().layout;
    if (const Address text = layout.Has(f) ? values_.Pointer(object + layout.Offset(f)) : 0) out.push_back(text);
  }
}

Address Ownership::UnwrittenWord(Address object, const TypeFacts& type) const {
  const cpython::Layout& layout = reader_->runtime().layout;
  const bool has_one = type.body == BodyKind::kCode && !layout.flavor.free_threaded && layout.version.major == 3 && layout.version.minor == 14;
  return has_one && type.basicsize > 24 ? object + static_cast<std::uint64_t>(type.basicsize) - 24 : 0;
}

void Ownership::BorrowedSlots(Address object, const TypeFacts& type, std::vector<Address>& out) const {
  if (type.weaklistoffset >= static_cast<std::int64_t>(o_.object_size) && type.weaklistoffset < type.basicsize) out.push_back(object + static_cast<Address>(type.weaklistoffset));
  const Address self = object + o_.object_size + 8;  // PyCFunctionObject: m_ml, m_self
  if ((type.name.ends_with("cython_function_or_method") || type.name.ends_with("fused_cython_function")) && values_.Pointer(self) == object) out.push_back(self);
}

AddressRange Ownership::StateOfModule(Address object, const TypeFacts& type) const {
  if (type.body != BodyKind::kModule || o_.md_state == kNoField) return {};
  const Address state = values_.Pointer(object + o_.md_state);
  constexpr std::uint64_t kMaxBytes = 1u << 30, kNone = ~std::uint64_t{0};  // a size below 0 says that there is none
  std::uint64_t bytes = kNone;
  if (o_.md_state_size != kNoField) {
    bytes = memory_->ReadPointer(object + o_.md_state_size).value_or(kNone);
  } else if (const Address def = o_.md_def != kNoField && o_.def_m_size != kNoField ? values_.Pointer(object + o_.md_def) : 0) {
    bytes = memory_->ReadPointer(def + o_.def_m_size).value_or(kNone);
  }
  return state == 0 || bytes > kMaxBytes ? AddressRange{} : AddressRange{state, state + bytes};
}

void Ownership::LruLinks(Address object, std::vector<OwnedSlot>& out) const {
  ForEachLink(object, [&](Address link, const std::byte*) { out.push_back({0, link, "link"}); });
}

void Ownership::NotOwned(Address object, const TypeFacts& type, ReferentBuffer& out) const {
  if (type.body == BodyKind::kLruCache && o_.lru_elem_type != kNoField) {
    ForEachLink(object, [&](Address, const std::byte* n) {
      if (const Address t = Word(n, o_.ob_type)) out.push_back(t);
    });
  }
  const ReaderKind kind = type.reader == ReaderKind::kInstance ? type.base_reader : type.reader;
  if (kind == ReaderKind::kOrderedDict && o_.odict_visits_weakreflist) {
    if (const Address a = values_.Pointer(object + o_.od_weakreflist)) out.push_back(a);
  }
}

void Ownership::VisitedSlots(Address object, const TypeFacts& type, std::vector<Address>& out) const {
  const TypeFacts* t = &type;
  if (t->reader == ReaderKind::kInstance) {
    const std::byte* const p = t->slots_after_items ? memory_->At(object, o_.ob_size + 8) : nullptr;
    const Address behind = p != nullptr ? object + ItemBytes(LoadUnchecked<std::int64_t>(p + o_.ob_size), *t) : object;
    for (const std::uint32_t offset : t->slot_offsets) out.push_back(behind + offset);
    if (t->visits_type) out.push_back(object + o_.ob_type);
    if (t->visits_dict && t->dictoffset > 0) out.push_back(object + static_cast<Address>(t->dictoffset));
    t = t->traverse_base;
    if (t == nullptr) return;
  }
  const ReaderKind kind = t == &type ? t->reader : t->traverse_reader;
  if (kind == ReaderKind::kNone) return;
  if (kind != ReaderKind::kMachine) {
    for (const VisitedField& f : t->fields) out.push_back(object + f.offset);
    if (kind != ReaderKind::kModule) return;  // its m_traverse may show what lies anywhere
  }
  if (machine_ == nullptr) return;
  std::vector<Address> referents;
  std::vector<SlotOrigin> slots;
  if (!IsExact(machine_->Run(*t, object, referents, &slots))) return;
  for (const SlotOrigin& s : slots) {
    if (s.slot != 0) out.push_back(s.slot);
  }
}

bool Ownership::IsExecuting(Address object, const TypeFacts& type) const {
  if (type.body == BodyKind::kGenerator) {
    const std::byte* state = memory_->At(object + o_.gi_frame_state, 1);
    return state == nullptr || LoadUnchecked<std::int8_t>(state) == frame_executing_;
  }
  if (type.body != BodyKind::kFrame) return false;
  if (f_state_ == kNoField) return o_.f_stacktop != kNoField && values_.Pointer(object + o_.f_stacktop) == 0;
  const std::byte* state = memory_->At(object + f_state_, 1);
  if (state == nullptr) return true;
  return old_frame_state_ ? LoadUnchecked<std::int8_t>(state) != 0 : LoadUnchecked<std::int8_t>(state) == frame_executing_;
}

bool Ownership::HasStartCount(const TypeFacts& type) const {
  return type.known_owner != nullptr && type.known_owner->has_start_count;
}

bool Ownership::IsClosed(Address object, const TypeFacts& type) const {
  if (type.body == BodyKind::kOpen || type.body_grows) {
    if (type.known_owner == nullptr || !type.known_owner->complete || type.is_heap_type) return false;
  }
  if ((type.body == BodyKind::kRange && range_.entries.empty()) || (type.body == BodyKind::kCode && code_.entries.empty())) return false;
  if (type.body == BodyKind::kAbcData && abc_data_.entries.empty()) return false;
  if (type.is_heap_type && !instances_own_type_ && !VisitsOwnType(object, type)) return false;
  return !IsExecuting(object, type);
}

AddressRange Ownership::Body(Address object, const TypeFacts& type) const {
  AddressRange body{object, object + type.fixed_bytes};
  if (type.have_gc) body.begin -= o_.gc_head_bytes;
  if (type.has_preheader) body.begin -= o_.preheader_bytes;
  const std::byte* p = memory_->At(object, type.fixed_bytes);
  if (p == nullptr) return body;
  std::uint64_t count = 0;
  switch (type.size_rule) {
    case SizeRule::kInt: count = values_.IntDigits(p) * o_.digit_bytes; break;
    case SizeRule::kStr: {  // sys.getsizeof() counts the cached UTF-8 too, which is a block of its own
      if (o_.dict_old) return body;
      const auto state = LoadUnchecked<std::uint32_t>(p + o_.str_state);
      if (!(state >> o_.compact_shift & 1)) return body;
      const std::uint64_t length = std::min<std::uint64_t>(Word(p, o_.str_length), std::uint64_t{1} << 40), kind = state >> o_.kind_shift & 7;
      const bool ascii = state >> o_.ascii_shift & 1;
      const std::uint64_t bytes = (ascii ? o_.ascii_size : o_.compact_size) + (length + 1) * kind;
      // A str itself is smaller than its type says; an instance of a subclass has its own fields, and its text elsewhere.
      body.end = type.is_heap_type ? std::max(body.end, object + bytes) : object + bytes;
      return body;
    }
    case SizeRule::kBytes:
    case SizeRule::kCode:
      if (const std::optional<std::uint64_t> size = reader_->SizeOf(object, type)) body.end = std::max(body.end, object + std::min<std::uint64_t>(*size, std::uint64_t{1} << 40));
      return body;
    default:
      if (type.itemsize > 0 && type.fixed_bytes >= o_.ob_size + 8) {
        const auto n = LoadUnchecked<std::int64_t>(p + o_.ob_size);
        count = n > 0 && n < (std::int64_t{1} << 36) ? static_cast<std::uint64_t>(n) * static_cast<std::uint64_t>(type.itemsize) : 0;
      }
      break;
  }
  body.end += std::min<std::uint64_t>(count, std::uint64_t{1} << 40);
  if (type.body == BodyKind::kStructSequence) body.end = std::max(body.end, object + o_.tuple_item + std::uint64_t{type.struct_sequence_fields} * Offsets::kPointerBytes);
  if (type.inline_values && o_.has_inline_values) {
    const std::uint32_t at = o_.inline_values_at_basicsize ? static_cast<std::uint32_t>(type.basicsize) : o_.object_size;
    if (const std::byte* v = memory_->At(object + at, o_.values_array)) {
      body.end = std::max(body.end, object + at + o_.values_array + std::uint64_t{8} * LoadUnchecked<std::uint8_t>(v + o_.values_capacity));
    }
  }
  return body;
}

void Ownership::KeysBuffer(Address table, std::vector<AddressRange>& out) const {
  if (const std::optional<DictTable> t = values_.Keys(table)) KeysBuffer(table, *t, out);
}

void Ownership::KeysBuffer(Address table, const DictTable& t, std::vector<AddressRange>& out) const {
  // Behind the last entry lies room for more, which holds nothing; a small table lies in one block with it.
  if (t.count == 0 || t.entries == nullptr) {
    out.push_back({table, table + o_.dk_indices});
    return;
  }
  std::uint64_t index_bytes = 0;
  const std::byte* k = memory_->At(table, o_.dk_indices);
  if (k == nullptr) return;
  if (o_.dk_log2_size != kNoField) {
    index_bytes = std::uint64_t{1} << LoadUnchecked<std::uint8_t>(k + o_.dk_log2_index_bytes);
  } else {
    const std::uint64_t size = Word(k, o_.dk_size);
    index_bytes = size * (size <= 0xFF ? 1 : size <= 0xFFFF ? 2 : size <= 0xFFFFFFFF ? 4 : 8);
  }
  out.push_back({table, table + o_.dk_indices + index_bytes + t.count * t.stride});
}

void Ownership::Buffers(Address object, const TypeFacts& type, std::vector<AddressRange>& out) const {
  const auto block = [&](Address begin, std::uint64_t bytes) {
    if (begin != 0 && bytes > 0 && bytes < (std::uint64_t{1} << 40)) out.push_back({begin, begin + bytes});
  };
  switch (type.body) {
    case BodyKind::kList: {
      const std::byte* p = memory_->At(object, o_.list_size);
      if (p != nullptr) block(Word(p, o_.list_item), Word(p, o_.list_allocated) * 8);
      break;
    }
    case BodyKind::kSet: {
      const std::byte* p = memory_->At(object, o_.set_size);
      if (p != nullptr && Word(p, o_.set_table) != object + o_.set_smalltable && Word(p, o_.set_mask) < (std::uint64_t{1} << 36))
        block(Word(p, o_.set_table), (Word(p, o_.set_mask) + 1) * o_.setentry_size);
      break;
    }
    case BodyKind::kDict: {
      if (o_.dict_old) {
        const std::byte* p = memory_->At(object, o_.dict_size);
        if (p != nullptr && Word(p, o_.ma_table) != object + o_.ma_smalltable && Word(p, o_.ma_mask) < (std::uint64_t{1} << 36))
          block(Word(p, o_.ma_table), (Word(p, o_.ma_mask) + 1) * o_.old_entry_size);
        break;
      }
      if (values_.Pointer(object + o_.ma_values) == 0) {
        KeysBuffer(values_.Pointer(object + o_.ma_keys), out);
      } else if (const std::optional<DictTable> t = values_.Dict(object); t && t->values != nullptr && !t->embedded) {
        block(values_.Pointer(object + o_.ma_values) + o_.values_array, t->value_count * 8);
      }
      const ReaderKind kind = type.reader == ReaderKind::kInstance ? type.base_reader : type.reader;
      if (kind == ReaderKind::kOrderedDict) {
        FollowList(*memory_, values_.Pointer(object + o_.od_first), 0, o_.odnode_next, o_.odnode_size,
                   [&](Address node, const std::byte*) { block(node, o_.odnode_size); });
        if (od_fast_nodes_ != kNoField) block(values_.Pointer(object + od_fast_nodes_), values_.Pointer(object + o_.od_fast_nodes_size) * 8);
      }
      break;
    }
    case BodyKind::kDeque: {
      const std::byte* p = memory_->At(object, type.fixed_bytes);
      if (p == nullptr || type.fixed_bytes < o_.deque_rightblock + 8) break;
      const Address last = Word(p, o_.deque_rightblock);
      FollowList(*memory_, Word(p, o_.deque_leftblock), last, o_.block_right, o_.block_size, [&](Address b, const std::byte*) { block(b, o_.block_size); });
      block(last, o_.block_size);
      break;
    }
    case BodyKind::kCode:
      if (co_cached_ != kNoField) block(values_.Pointer(object + co_cached_), cached_.bytes);
      if (zombie_frame_ != kNoField) {  // a frame kept for the next call, count 0: its places are stale. CPython: frame_dealloc() [2.7-3.9]
        const Address frame = values_.Pointer(object + zombie_frame_);
        const std::uint64_t places = values_.Pointer(frame + o_.ob_size);
        if (frame != 0 && places < (1u << 24)) out.push_back({frame - o_.gc_head_bytes, frame + o_.f_localsplus + places * 8});
      }
      break;
    case BodyKind::kText: {
      const std::byte* p = memory_->At(object, type.fixed_bytes);
      if (p == nullptr) break;
      if (o_.dict_old) {
        if (o_.old_unicode_str != kNoField) block(Word(p, o_.old_unicode_str), Word(p, o_.old_unicode_length) * 2);
        break;
      }
      const auto state = LoadUnchecked<std::uint32_t>(p + o_.str_state);
      const bool compact = state >> o_.compact_shift & 1, ascii = state >> o_.ascii_shift & 1;
      const std::uint64_t length = Word(p, o_.str_length), kind = state >> o_.kind_shift & 7;
      const std::byte* q = compact && ascii ? nullptr : memory_->At(object, o_.compact_size);
      if (q != nullptr && Word(q, o_.utf8) != 0 && Word(q, o_.utf8_length) < (std::uint64_t{1} << 36)) block(Word(q, o_.utf8), Word(q, o_.utf8_length) + 1);
      if (!compact) {
        if (const std::byte* r = memory_->At(object, o_.unicode_size)) block(Word(r, o_.str_data), length < (std::uint64_t{1} << 36) ? (length + 1) * kind : 0);
      }
      break;
    }
    case BodyKind::kOpen: {
      if (type.size_rule == SizeRule::kNumpyArray) {
        const std::optional<NumpyArray> array = ReadNumpyArray(*memory_, o_.object_size, object);
        if (array && array->owns_data && (!array->holds_objects || ArrayOfObjects(object, type))) block(array->data, array->bytes());
        break;
      }
      const BytesOwner* const owner = o_.dict_old || type.reader == ReaderKind::kInstance ? nullptr : FindBytesOwner(type.name);
      if (owner == nullptr || type.fixed_bytes < o_.object_size + std::max(owner->size, owner->buffer) + Offsets::kPointerBytes) break;
      if (owner->instance != 0 && type.basicsize != static_cast<std::int64_t>(o_.object_size + owner->instance)) break;
      const std::uint64_t bytes = owner->bytes != 0 ? owner->bytes : values_.Pointer(object + o_.object_size + owner->size);
      if (bytes > 0 && bytes < (std::uint64_t{1} << 31)) block(values_.Pointer(object + o_.object_size + owner->buffer), bytes);
      break;
    }
    default: break;
  }
  if (type.reader == ReaderKind::kInstance && type.managed_dict) {
    // Attribute values in a block of their own. CPython: PyDictValues [3.11, 3.12].
    Address values = 0;
    if (o_.managed_values_offset != 0) values = values_.Pointer(object + static_cast<Address>(std::int64_t{o_.managed_values_offset}));
    if (o_.managed_dict_tagged) {
      const Address word = values_.Pointer(object + static_cast<Address>(std::int64_t{o_.managed_dict_offset}));
      if (word & 1) values = word + 1;
    }
    if (values != 0) {
      const std::optional<DictTable> keys = values_.Keys(type.cached_keys);
      if (keys && keys->count > 0) block(values + o_.values_array, keys->count * 8);
    }
  }
}

}  // namespace pygc::objects
