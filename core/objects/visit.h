// The native readers: what each tp_traverse visits, in its order, written once and used twice: with a sink that only stores addresses (the hot path of a
// snapshot) and with one that says where each reference lies (labels of reported objects). Internal to core/objects.
// Nothing here allocates (the sinks do), throws or calls virtually; every count from the target is checked against readable memory before it bounds a loop.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/objects/object_reader.h"
#include "core/objects/offsets.h"
#include "core/objects/traverse_interpreter.h"
#include "core/objects/type_table.h"
#include "core/objects/values.h"

namespace pygc::objects {

/// What the readers need to know of the target; prepared once.
struct VisitContext {
  const target::MemoryImage* memory;
  const Offsets* offsets;
  const Values* values;
  const TypeTable* types;
  const TraverseInterpreter* machine;  // may be nullptr
  Address set_dummy;                   // 0: told by its hash (3.x) or its text (2.7)
  cpython::RefcountFormat refcount;
};

/// Stores the addresses only.
class AddressSink {
 public:
  static constexpr bool kLabels = false;
  explicit AddressSink(ReferentBuffer& out) noexcept : out_(&out) {}
  void Reserve(std::uint64_t n) {
    // vector::reserve grows to exactly what is asked; doubling here keeps many small growths cheap.
    if (const std::size_t need = out_->size() + n; need > out_->capacity()) out_->reserve(std::max(need, out_->capacity() * 2));
  }
  void Put(Address a) {
    if (a != 0) out_->push_back(a);
  }
  void Field(Address a, const char*) { Put(a); }
  void CField(Address a, const char*) { Put(a); }
  void Item(Address a, std::uint64_t) { Put(a); }
  void Key(Address a, std::uint64_t) { Put(a); }
  void Value(Address a, Address, std::uint64_t) { Put(a); }
  void Element(Address a, std::uint64_t) { Put(a); }
  void Attribute(Address a, Address, std::uint64_t) { Put(a); }
  void Slot(Address a, Address) { Put(a); }
  void Local(Address a, Address, std::uint64_t) { Put(a); }
  void Stack(Address a, std::uint64_t) { Put(a); }
  void Type(Address a) { Put(a); }
  void Unknown(Address a, std::uint64_t) { Put(a); }
  [[nodiscard]] ReferentBuffer& buffer() noexcept { return *out_; }

 private:
  ReferentBuffer* out_;
};

/// Passes over everything: what the sinks below, which want one kind of thing, do with the rest.
class SilentSink {
 public:
  static constexpr bool kLabels = false;
  void Reserve(std::uint64_t) {}
  void Put(Address) {}
  void Field(Address, const char*) {}
  void CField(Address, const char*) {}
  void Item(Address, std::uint64_t) {}
  void Key(Address, std::uint64_t) {}
  void Value(Address, Address, std::uint64_t) {}
  void Element(Address, std::uint64_t) {}
  void Attribute(Address, Address, std::uint64_t) {}
  void Slot(Address, Address) {}
  void Local(Address, Address, std::uint64_t) {}
  void Stack(Address, std::uint64_t) {}
  void Type(Address) {}
  void Unknown(Address, std::uint64_t) {}
};

/// Stores only the references of stack slots that hold no count. CPython: _PyGC_VisitStackRef() [3.14+] hides these from visit_decref().
class BorrowedSink : public SilentSink {
 public:
  explicit BorrowedSink(ReferentBuffer& out) noexcept : out_(&out) {}
  void Borrowed(Address a) { out_->push_back(a); }

 private:
  ReferentBuffer* out_;
};

/// Counts what is not there: members that a live, complete object of its type always has, and that are NULL.
class AbsentSink : public SilentSink {
 public:
  void Absent(std::uint64_t members) noexcept { count_ += members; }
  void Item(Address a, std::uint64_t) { count_ += a == 0; }
  void Key(Address a, std::uint64_t) { count_ += a == 0; }
  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }

 private:
  std::uint64_t count_ = 0;
};

/// Reads one object after the other into a sink.
template <class Sink>
class Visitor {
 public:
  Visitor(const VisitContext& context, Sink& sink) noexcept : c_(&context), o_(context.offsets), memory_(context.memory), sink_(&sink) {}

  /// Visits the stack slots of a generator, coroutine or frame object; nothing of other objects.
  void StackSlots(Address object, const TypeFacts& type) {
    const ReaderKind kind = type.reader == ReaderKind::kInstance ? type.base_reader : type.reader;
    if (kind != ReaderKind::kGenerator && kind != ReaderKind::kFrameProxy) return;
    const std::byte* p = memory_->At(object, type.fixed_bytes);
    if (!p) return;
    if (kind == ReaderKind::kGenerator) {
      Generator(object, p, type);
    } else {
      FrameProxy(p, type);
    }
  }

  /// Visits every referent of the object. kUnknown when not even its fixed part can be read.
  ReferentQuality Object(Address object, const TypeFacts& type) {
    if (type.reader == ReaderKind::kNone) return ReferentQuality::kExact;
    const std::byte* p = memory_->At(object, type.fixed_bytes);
    if (!p) [[unlikely]] return ReferentQuality::kUnknown;
    quality_ = type.quality;
    if (type.reader == ReaderKind::kInstance) {
      Instance(object, p, type);
    } else {
      Run(type.reader, object, p, type, type);
    }
    return quality_;
  }

 private:
  static constexpr bool kFindsAbsent = requires(Sink& s) { s.Absent(1); };

  template <typename T>
  static T Load(const std::byte* p, std::uint32_t offset) noexcept {
    return LoadUnchecked<T>(p + offset);
  }
  static Address Pointer(const std::byte* p, std::uint32_t offset) noexcept { return LoadUnchecked<std::uint64_t>(p + offset); }
  void Damaged() noexcept { quality_ = Worse(quality_, ReferentQuality::kPartial); }

  /// `owner`: the type whose tp_traverse runs, which is a base of `type` (the object's own) under kInstance.
  void Run(ReaderKind kind, Address object, const std::byte* p, const TypeFacts& type, const TypeFacts& owner) {
    switch (kind) {
      case ReaderKind::kNone:
      case ReaderKind::kInstance: break;
      case ReaderKind::kFields:
        Fields(p, owner);
        if (owner.tail != ReaderKind::kNone) Run(owner.tail, object, p, type, owner);
        break;
      case ReaderKind::kList: List(p); break;
      case ReaderKind::kTuple: Tuple(object, p); break;
      case ReaderKind::kStructSequence: StructSequence(object, p, owner); break;
      case ReaderKind::kDict: Dict(object); break;
      case ReaderKind::kSet: Set(p); break;
      case ReaderKind::kType: TypeObject(object, p, owner); break;
      case ReaderKind::kModule: Module(object, p, type, owner); break;
      case ReaderKind::kFrame: Frame(object, p, owner); break;
      case ReaderKind::kFrameProxy: FrameProxy(p, owner); break;
      case ReaderKind::kGenerator: Generator(object, p, owner); break;
      case ReaderKind::kDeque: Deque(p, owner); break;
      case ReaderKind::kOrderedDict: OrderedDict(object, p); break;
      case ReaderKind::kTeeData: TeeData(object, p, owner); break;
      case ReaderKind::kLruCache: LruCache(object, p, owner); break;
      case ReaderKind::kMachine: Machine(object, type, owner); break;
      case ReaderKind::kScan: Scan(object, type, owner); break;
    }
  }

  void Fields(const std::byte* p, const TypeFacts& owner) {
    for (const VisitedField& f : owner.fields) {
      const Address a = Pointer(p, f.offset);
      if constexpr (kFindsAbsent) sink_->Absent(a == 0 && f.always);
      if constexpr (Sink::kLabels) {
        if (f.offset == o_->ob_type) {
          sink_->Type(a);
          continue;
        }
        if (!f.in_python) {
          sink_->CField(a, f.name);
          continue;
        }
      }
      sink_->Field(a, f.name);
    }
  }

  /// Host bytes of `count` pointers at `from`, of which `count` becomes what is readable.
  const std::byte* Words(Address from, std::uint64_t& count) {
    if (count == 0) return nullptr;
    if (count <= (std::uint64_t{1} << 40)) [[likely]] {
      if (const std::byte* p = memory_->At(from, count * 8)) [[likely]] return p;
    }
    Damaged();
    const target::Segment* s = memory_->Find(from);
    count = s ? std::min<std::uint64_t>((s->range.end - from) / 8, count) : 0;
    return count ? memory_->At(from, count * 8) : nullptr;
  }

  // ---- containers

  void List(const std::byte* p) {
    // CPython: list_traverse() in Objects/listobject.c: from the last item to the first.
    const auto size = Load<std::int64_t>(p, o_->ob_size);
    if (size <= 0) {
      if (size < 0) Damaged();
      return;
    }
    auto n = static_cast<std::uint64_t>(size);
    if (size > Load<std::int64_t>(p, o_->list_allocated)) {
      Damaged();
      n = static_cast<std::uint64_t>(std::max<std::int64_t>(Load<std::int64_t>(p, o_->list_allocated), 0));
    }
    ItemsBackwards(Pointer(p, o_->list_item), n);
  }
  void Tuple(Address object, const std::byte* p) {
    const auto size = Load<std::int64_t>(p, o_->ob_size);
    if (size <= 0) {
      if (size < 0) Damaged();
      return;
    }
    ItemsBackwards(object + o_->tuple_item, static_cast<std::uint64_t>(size));
  }
  void ItemsBackwards(Address from, std::uint64_t n) {
    const std::byte* items = Words(from, n);
    if (!items) return;
    sink_->Reserve(n);
    if constexpr (Sink::kLabels) {
      if (sink_->Only() != 0) return OneItem(items, n);
    }
    for (std::uint64_t i = n; i-- > 0;) sink_->Item(LoadUnchecked<std::uint64_t>(items + i * 8), i);
  }
  // The places of one object among millions: blocks in which it is not are passed over as fast as memory can be read.
  void OneItem(const std::byte* items, std::uint64_t n) {
    constexpr std::uint64_t kBlock = 64;
    const auto low = static_cast<std::uint32_t>(sink_->Only());  // the lower half decides nearly always, and is compared four at a time
    for (std::uint64_t end = n; end > 0 && !sink_->Full();) {
      const std::uint64_t begin = end > kBlock ? end - kBlock : 0;
      std::uint32_t hits = 0;
      for (std::uint64_t i = begin; i < end; ++i) hits += static_cast<std::uint32_t>(LoadUnchecked<std::uint64_t>(items + i * 8)) == low;
      for (std::uint64_t i = end; hits > 0 && i-- > begin;) sink_->Item(LoadUnchecked<std::uint64_t>(items + i * 8), i);
      end = begin;
    }
  }
  void StructSequence(Address object, const std::byte* p, const TypeFacts& owner) {
    if constexpr (kFindsAbsent) return;  // C code may leave some out
    if (owner.visits_type) sink_->Type(Pointer(p, o_->ob_type));
    std::uint64_t n = owner.struct_sequence_fields;
    const std::byte* items = Words(object + o_->tuple_item, n);
    for (std::uint64_t i = 0; items && i < n; ++i) sink_->Item(LoadUnchecked<std::uint64_t>(items + i * 8), i);
  }

  void Dict(Address object) {
    // CPython: dict_traverse() in Objects/dictobject.c.
    const std::optional<DictTable> t = c_->values->Dict(object);
    if (!t) return Damaged();
    if (!t->complete) Damaged();
    if (t->values) {
      if (t->embedded && o_->dict_skips_embedded) return;  // the instance visits them
      if constexpr (kFindsAbsent) return CountAbsent(t->values, t->value_count, t->used);
      sink_->Reserve(t->value_count);
      for (std::uint64_t i = 0; i < t->value_count; ++i) {
        if constexpr (Sink::kLabels) {
          sink_->Value(t->Value(i), t->Key(i), i);
        } else {
          sink_->Put(LoadUnchecked<std::uint64_t>(t->values + i * 8));
        }
      }
      return;
    }
    sink_->Reserve(t->visits_keys ? t->count * 2 : t->count);
    const std::byte* e = t->entries;
    const std::uint32_t stride = t->stride, value_at = t->value, key_at = t->key;
    const bool keys_first = t->keys_first, keys_last = t->visits_keys && !keys_first;
    if constexpr (Sink::kLabels) {
      if (sink_->Only() != 0) return OneEntry(*t);
    }
    std::uint64_t used = 0;
    for (std::uint64_t i = 0; i < t->count; ++i, e += stride) {
      const Address value = Pointer(e, value_at);
      if (value == 0) continue;
      ++used;
      if constexpr (kFindsAbsent) {
        sink_->Key(Pointer(e, key_at), i);  // visited or not, it is there
        continue;
      }
      if (keys_first) sink_->Key(Pointer(e, key_at), i);
      if constexpr (Sink::kLabels) {
        sink_->Value(value, Pointer(e, key_at), i);
      } else {
        sink_->Put(value);
      }
      if (keys_last) sink_->Key(Pointer(e, key_at), i);
    }
    if (used != t->used) Damaged();  // the process was stopped while entries moved to another table, or one was added or removed
  }

  void OneEntry(const DictTable& t) {
    const Address only = sink_->Only();
    for (std::uint64_t i = 0; i < t.count; ++i) {
      const Address key = t.Key(i), value = t.Value(i);
      if ((value != only && key != only) || value == 0) continue;
      if (t.keys_first) sink_->Key(key, i);
      sink_->Value(value, key, i);
      if (t.visits_keys && !t.keys_first) sink_->Key(key, i);
    }
  }

  void Set(const std::byte* p) {
    // CPython: set_traverse(), set_next() in Objects/setobject.c.
    const auto mask = Load<std::uint64_t>(p, o_->set_mask);
    if (mask >= (std::uint64_t{1} << 40) || (mask & (mask + 1)) != 0) return Damaged();
    const Address table = Pointer(p, o_->set_table);
    std::uint64_t n = mask + 1;
    const std::byte* e = memory_->At(table, n * o_->setentry_size);
    if (!e) {
      Damaged();
      const target::Segment* s = memory_->Find(table);
      n = s ? std::min<std::uint64_t>((s->range.end - table) / o_->setentry_size, n) : 0;
      if (n == 0) return;
      e = memory_->At(table, n * o_->setentry_size);
    }
    std::uint64_t used = 0, stale = 0;
    const bool has_dummies = Load<std::int64_t>(p, o_->set_fill) != Load<std::int64_t>(p, o_->set_used);
    sink_->Reserve(std::min(n, Load<std::uint64_t>(p, o_->set_used)));
    for (std::uint64_t i = 0; i < n; ++i, e += o_->setentry_size) {
      const Address key = Pointer(e, o_->setentry_key);
      if (key == 0 || key == c_->set_dummy) continue;
      if (has_dummies && c_->set_dummy == 0 && IsDummy(e, key)) continue;
      sink_->Element(key, i);
      ++used;
      // 2.7: PySet_Fini() gives up the dummy, and the interpreter that is initialised next makes another: to it, this one is an element.
      stale += has_dummies && o_->dict_old && IsDummy(e, key);
    }
    const auto count = Load<std::uint64_t>(p, o_->set_used);
    if (count > used || count < used - stale) Damaged();  // as in Dict()
  }
  bool IsDummy(const std::byte* entry, Address key) const {
    // 3.x gives a dummy the hash -1, which no object has. 2.7 leaves the hash, and its dummy is a str of this text that is made for the purpose.
    if (!o_->dict_old) return Load<std::int64_t>(entry, o_->setentry_hash) == -1;
    return c_->values->TextEquals(key, "<dummy key>");
  }

  void Deque(const std::byte* p, const TypeFacts& owner) {
    // CPython: deque_traverse() in Modules/_collectionsmodule.c.
    Fields(p, owner);
    Address block = Pointer(p, o_->deque_leftblock);
    const Address last = Pointer(p, o_->deque_rightblock);
    auto index = Load<std::int64_t>(p, o_->deque_leftindex);
    const auto last_index = Load<std::int64_t>(p, o_->deque_rightindex);
    const auto length = Load<std::int64_t>(p, o_->deque_len);
    const auto items = static_cast<std::int64_t>(o_->block_items);
    if (length < 0 || index < 0 || index >= items || last_index < -1 || last_index >= items) return Damaged();
    std::uint64_t left = static_cast<std::uint64_t>(length), n = 0;
    sink_->Reserve(std::min<std::uint64_t>(left, 1u << 16));
    while (left > 0) {
      const std::byte* b = memory_->At(block, o_->block_size);
      if (!b) return Damaged();
      const std::int64_t end = block == last ? last_index + 1 : items;
      if (end <= index) return Damaged();  // also what ends a ring of blocks that never meets the right one: `left` falls with every item
      for (; index < end && left > 0; ++index, --left) sink_->Item(Pointer(b + o_->block_data, static_cast<std::uint32_t>(index * 8)), n++);
      index = 0;
      if (block == last) break;
      block = Pointer(b, o_->block_right);
    }
    if (left != 0 || (length > 0 && block != last)) Damaged();  // the last item lies in the right block
  }

  void OrderedDict(Address object, const std::byte* p) {
    // CPython: odict_traverse() in Objects/odictobject.c [3.5+].
    sink_->Field(Pointer(p, o_->od_inst_dict), "__dict__");
    if (o_->odict_visits_weakreflist) sink_->CField(Pointer(p, o_->od_weakreflist), "__weakref__");
    // The list of nodes may be longer than the dict (keys that dict.__delitem__ removed), so its length is not known before: Brent's algorithm ends a loop.
    Address node = Pointer(p, o_->od_first), seen = 0;
    for (std::uint64_t i = 0, limit = 16; node != 0; ++i) {
      const std::byte* n = memory_->At(node, o_->odnode_size);
      if (!n || node == seen) {
        Damaged();
        break;
      }
      sink_->Key(Pointer(n, o_->odnode_key), i);
      if (i == limit) {
        seen = node;
        limit *= 2;
      }
      node = Pointer(n, o_->odnode_next);
    }
    Dict(object);
  }

  void TeeData(Address object, const std::byte* p, const TypeFacts& owner) {
    // CPython: teedataobject_traverse() in Modules/itertoolsmodule.c.
    if constexpr (kFindsAbsent) return;  // teedataobject_clear() leaves the number of items as it is
    Fields(p, owner);
    const std::byte* q = memory_->At(object, std::max(o_->tee_values + o_->tee_items * 8, o_->tee_nextlink + 8));
    if (!q) return Damaged();
    sink_->CField(Pointer(q, o_->tee_it), "it");
    const auto n = Load<std::int32_t>(q, o_->tee_numread);
    if (n < 0 || n > static_cast<std::int32_t>(o_->tee_items)) return Damaged();
    for (std::int32_t i = 0; i < n; ++i) sink_->Item(Pointer(q, o_->tee_values + static_cast<std::uint32_t>(i) * 8), static_cast<std::uint64_t>(i));
    sink_->CField(Pointer(q, o_->tee_nextlink), "nextlink");
  }

  void LruCache(Address object, const std::byte* p, const TypeFacts& owner) {
    // CPython: lru_cache_tp_traverse() in Modules/_functoolsmodule.c. The ring of links starts and ends at `root`, which lies in the object.
    Fields(p, owner);
    const std::byte* q = memory_->At(object, o_->lru_size);
    if (!q) return Damaged();
    const bool links_are_objects = o_->lru_maxsize_o != kNoField;  // 3.6
    const Address root = object + o_->lru_root;
    Address link = Pointer(q + o_->lru_root, o_->link_next), seen = 0;
    for (std::uint64_t i = 0, limit = 16; link != root && link != 0; ++i) {
      const std::byte* n = memory_->At(link, std::max(o_->link_next, o_->link_result) + 8);
      if (!n || link == seen) {
        Damaged();
        break;
      }
      if (links_are_objects) {
        sink_->Item(link, i);
        if constexpr (kFindsAbsent) sink_->Absent((Pointer(n, o_->link_key) == 0) + (Pointer(n, o_->link_result) == 0));  // its own traverse is not known by name
      } else {
        sink_->Item(Pointer(n, o_->link_key), i);
        sink_->Item(Pointer(n, o_->link_result), i);
        if (o_->lru_elem_type != kNoField) sink_->Type(Pointer(n, o_->ob_type));
      }
      if (i == limit) {
        seen = link;
        limit *= 2;
      }
      link = Pointer(n, o_->link_next);
    }
    if (o_->lru_elem_type == kNoField) {  // 3.6 - 3.9
      if (links_are_objects) sink_->CField(Pointer(q, o_->lru_maxsize_o), "maxsize");
      sink_->Field(Pointer(q, o_->lru_func), "__wrapped__");
      sink_->CField(Pointer(q, o_->lru_cache), "cache");
    } else {
      sink_->CField(Pointer(q, o_->lru_cache), "cache");
      sink_->Field(Pointer(q, o_->lru_func), "__wrapped__");
      sink_->CField(Pointer(q, o_->lru_kwd_mark), "kwd_mark");
      sink_->CField(Pointer(q, o_->lru_elem_type), "lru_list_elem_type");
    }
    sink_->CField(Pointer(q, o_->lru_cache_info_type), "cache_info_type");
    sink_->Field(Pointer(q, o_->lru_dict), "__dict__");
  }

  // ---- instances, types, modules

  void Instance(Address object, const std::byte* p, const TypeFacts& type) {
    // CPython: subtype_traverse() in Objects/typeobject.c.
    const std::size_t slots = type.slot_offsets.size();
    const std::byte* const in = type.slots_after_items ? BehindItems(object, p, type) : p;
    for (std::size_t i = 0; i < slots && in != nullptr; ++i) {
      const Address a = Pointer(in, type.slot_offsets[i]);
      if constexpr (Sink::kLabels) {
        sink_->Slot(a, type.slot_names[i]);
      } else {
        sink_->Put(a);
      }
    }
    if (o_->managed_values_offset != 0 && type.managed_dict) SeparateValues(object, type);  // 3.11
    if (type.visits_dict) {
      if (type.managed_dict) {
        ManagedDict(object, p, type);
      } else {
        InstanceDict(object, p, type);
      }
    }
    if (type.visits_type) sink_->Type(Pointer(p, o_->ob_type));
    if (type.base_reader != ReaderKind::kNone) Run(type.base_reader, object, p, type, *type.traverse_base);
  }

  /// CPython: member_get_object() in Python/structmember.c: what offsets of _Py_AFTER_ITEMS count from.
  const std::byte* BehindItems(Address object, const std::byte* p, const TypeFacts& type) {
    const auto size = Load<std::int64_t>(p, o_->ob_size);
    constexpr std::int64_t kMost = std::int64_t{1} << 36;
    const std::byte* const in = size >= 0 && size < kMost ? memory_->At(object + ItemBytes(size, type), type.fixed_bytes) : nullptr;
    if (in == nullptr) Damaged();
    return in;
  }

  /// values[0 .. count-1]; the names of the attributes are the shared keys of the type.
  void AttributeValues(Address values, std::uint64_t count, const TypeFacts& type) {
    const std::byte* v = Words(values, count);
    if (!v) return;
    if constexpr (kFindsAbsent) {
      const auto size = memory_->ReadValue<std::uint8_t>(values - o_->values_array + static_cast<Address>(std::int64_t{o_->values_size}));
      // The collector clears what is garbage; what some extension keeps all the same has no value left, and their order as it was.
      // CPython: _PyObject_ClearInstanceAttributes() [3.11], _PyObject_ClearManagedDict() [3.12]; later ones say that the values are not valid.
      const bool may_be_cleared = !type.inline_values;
      return CountAbsent(v, count, size.value_or(0), may_be_cleared);
    }
    if constexpr (Sink::kLabels) {
      const std::optional<DictTable> keys = c_->values->Keys(type.cached_keys);
      for (std::uint64_t i = 0; i < count; ++i) {
        sink_->Attribute(LoadUnchecked<std::uint64_t>(v + i * 8), keys && i < keys->count ? keys->Key(i) : 0, i);
      }
    } else {
      for (std::uint64_t i = 0; i < count; ++i) sink_->Put(LoadUnchecked<std::uint64_t>(v + i * 8));
    }
  }
  /// Of `n` places at `values` at least `used` hold something, or (may_be_cleared) none.
  void CountAbsent(const std::byte* values, std::uint64_t n, std::uint64_t used, bool may_be_cleared = false) {
    if constexpr (kFindsAbsent) {
      std::uint64_t found = 0;
      for (std::uint64_t i = 0; i < n; ++i) found += LoadUnchecked<std::uint64_t>(values + i * 8) != 0;
      if (found < used && !(may_be_cleared && found == 0)) sink_->Absent(used - found);
    }
  }
  /// dk_nentries of the type's shared keys.
  std::uint64_t SharedKeyCount(const TypeFacts& type) {
    const std::byte* k = memory_->At(type.cached_keys, o_->dk_indices);
    if (!k) {
      Damaged();
      return 0;
    }
    const auto n = Load<std::int64_t>(k, o_->dk_nentries);
    if (n < 0 || n > 0xFFFF) {  // shared keys have at most 30 names (SHARED_KEYS_MAX_SIZE)
      Damaged();
      return 0;
    }
    return static_cast<std::uint64_t>(n);
  }
  void SeparateValues(Address object, const TypeFacts& type) {
    const std::byte* word = memory_->At(object + static_cast<Address>(std::int64_t{o_->managed_values_offset}), 8);
    if (!word) return Damaged();
    const Address values = Pointer(word, 0);
    if (values != 0) AttributeValues(values + o_->values_array, SharedKeyCount(type), type);
  }
  void ManagedDict(Address object, const std::byte* p, const TypeFacts& type) {
    // CPython: _PyObject_VisitManagedDict() [3.12], PyObject_VisitManagedDict() [3.13+] in Objects/dictobject.c.
    const std::byte* before = memory_->At(object + static_cast<Address>(std::int64_t{o_->managed_dict_offset}), 8);
    if (!before) return Damaged();
    const Address word = Pointer(before, 0);
    if (o_->managed_dict_tagged) {
      if (word & 1) {
        AttributeValues(word + 1 + o_->values_array, SharedKeyCount(type), type);
      } else {
        sink_->Field(word, "__dict__");
      }
      return;
    }
    if (!type.inline_values || (o_->managed_prefers_dict && word != 0)) {
      sink_->Field(word, "__dict__");
      return;
    }
    const std::uint32_t at = o_->inline_values_at_basicsize ? static_cast<std::uint32_t>(type.basicsize) : o_->object_size;
    const std::byte* values = at + o_->values_array <= type.fixed_bytes ? p + at : memory_->At(object + at, o_->values_array);
    if (!values) return Damaged();
    if (Load<std::uint8_t>(values, o_->values_valid) != 0) {
      AttributeValues(object + at + o_->values_array, Load<std::uint8_t>(values, o_->values_capacity), type);
    } else {
      sink_->Field(word, "__dict__");
    }
  }
  void InstanceDict(Address object, const std::byte* p, const TypeFacts& type) {
    // CPython: _PyObject_GetDictPtr() in Objects/object.c.
    if (o_->managed_values_offset != 0 && type.managed_dict) return ManagedDict(object, p, type);
    std::int64_t offset = type.dictoffset;
    if (offset == 0) return;
    if (offset > 0) {
      if (offset + 8 <= static_cast<std::int64_t>(type.fixed_bytes)) return sink_->Field(Pointer(p, static_cast<std::uint32_t>(offset)), "__dict__");
    } else {
      const std::uint64_t count = VarCount(p, type);
      if (count > (std::uint64_t{1} << 40)) return Damaged();
      const std::uint64_t size = (static_cast<std::uint64_t>(type.basicsize) + count * static_cast<std::uint64_t>(type.itemsize) + 7) & ~std::uint64_t{7};
      offset += static_cast<std::int64_t>(size);
      if (offset < static_cast<std::int64_t>(o_->object_size)) return Damaged();
    }
    const std::byte* word = memory_->At(object + static_cast<Address>(offset), 8);
    if (!word) return Damaged();
    sink_->Field(Pointer(word, 0), "__dict__");
  }
  /// |ob_size|, or what stands for it.
  std::uint64_t VarCount(const std::byte* p, const TypeFacts& type) const {
    if (o_->lv_tag != kNoField && (type.flags & o_->flag_long_subclass)) return c_->values->IntDigits(p);
    if (type.fixed_bytes < o_->ob_size + 8) return 0;
    const auto n = Load<std::int64_t>(p, o_->ob_size);
    return n < 0 ? ~static_cast<std::uint64_t>(n) + 1 : static_cast<std::uint64_t>(n);
  }

  void TypeObject(Address object, const std::byte*, const TypeFacts& owner) {
    // CPython: type_traverse(). Static types have no GC head; nobody calls it for them.
    const std::byte* p = memory_->At(object, o_->heap_type_size);
    if (!p) {
      const std::byte* flags = memory_->At(object + o_->tp_flags, 8);
      if (!flags || (Pointer(flags, 0) & o_->flag_heap_type)) Damaged();
      return;
    }
    if (Load<std::uint64_t>(p, o_->tp_flags) & o_->flag_heap_type) Fields(p, owner);
  }

  void Module(Address object, const std::byte* p, const TypeFacts& type, const TypeFacts& owner) {
    // CPython: module_traverse() in Objects/moduleobject.c. What the module's own m_traverse visits lies in its C state.
    Address traverse = 0;
    std::uint64_t state_size = 0;
    const Address state = o_->md_state == kNoField ? 0 : LoadField(object, o_->md_state);
    if (o_->md_state_traverse != kNoField) {
      traverse = LoadField(object, o_->md_state_traverse);
      state_size = LoadField(object, o_->md_state_size);
      if (state == 0 && o_->module_needs_state && static_cast<std::int64_t>(state_size) > 0) traverse = 0;
    } else if (o_->md_def != kNoField) {
      if (const Address def = LoadField(object, o_->md_def)) {
        const std::byte* d = memory_->At(def, std::max(o_->def_m_traverse, o_->def_m_size) + 8);
        if (!d) {
          quality_ = Worse(quality_, ReferentQuality::kApproximate);
        } else {
          traverse = Pointer(d, o_->def_m_traverse);
          state_size = Pointer(d, o_->def_m_size);
          if (o_->module_needs_state && static_cast<std::int64_t>(state_size) > 0 && state == 0) traverse = 0;
        }
      }
    }
    if (traverse != 0) {
      if (c_->machine) return Machine(object, type, owner);
      quality_ = Worse(quality_, ReferentQuality::kApproximate);
      if (state != 0 && static_cast<std::int64_t>(state_size) > 0) ScanRange(state, std::min<std::uint64_t>(state_size, kMaxScanBytes), 0, false);
    }
    Fields(p, owner);
  }
  Address LoadField(Address object, std::uint32_t offset) const {
    const std::byte* p = memory_->At(object + offset, 8);
    return p ? Pointer(p, 0) : 0;
  }

  // ---- frames, generators

  void Frame(Address object, const std::byte* p, const TypeFacts& owner) {
    // CPython: frame_traverse() in Objects/frameobject.c [<= 3.10]: fields, locals with cells and free variables, then the value stack unless it runs.
    Fields(p, owner);
    const Address locals = object + o_->f_localsplus;
    const Address stack = Pointer(p, o_->f_valuestack);
    const auto places = Load<std::int64_t>(p, o_->ob_size);  // locals + cells + free variables + stack
    if (places < 0 || stack < locals || (stack - locals) % 8 != 0 || (stack - locals) / 8 > static_cast<std::uint64_t>(places)) return Damaged();
    std::uint64_t n = (stack - locals) / 8;
    const std::uint64_t room = static_cast<std::uint64_t>(places) - n;
    const std::byte* l = Words(locals, n);
    for (std::uint64_t i = 0; l && i < n; ++i) {
      sink_->Local(LoadUnchecked<std::uint64_t>(l + i * 8), Sink::kLabels ? LocalName(Pointer(p, o_->f_code), i) : 0, i);
    }
    std::uint64_t depth = 0;
    if (o_->f_stackdepth != kNoField) {
      const auto d = Load<std::int32_t>(p, o_->f_stackdepth);
      depth = d > 0 ? static_cast<std::uint64_t>(d) : 0;
    } else {
      const Address top = Pointer(p, o_->f_stacktop);
      if (top != 0 && (top < stack || (top - stack) % 8 != 0)) return Damaged();
      depth = top == 0 ? 0 : (top - stack) / 8;
    }
    if (depth > room) {
      Damaged();
      depth = room;
    }
    const std::byte* s = Words(stack, depth);
    for (std::uint64_t i = 0; s && i < depth; ++i) sink_->Stack(LoadUnchecked<std::uint64_t>(s + i * 8), i);
  }

  void FrameProxy(const std::byte* p, const TypeFacts& owner) {
    // CPython: frame_traverse() in Objects/frameobject.c [3.11+].
    Fields(p, owner);
    const Address frame = Pointer(p, o_->f_frame);
    const std::byte* f = memory_->At(frame, o_->if_localsplus);
    if (!f) return Damaged();
    if (Load<std::int8_t>(f, o_->if_owner) == o_->frame_owned_by_object) InterpreterFrame(frame, f, true);
  }

  void Generator(Address object, const std::byte* p, const TypeFacts& owner) {
    // CPython: gen_traverse(), async_gen_traverse() in Objects/genobject.c [3.11+].
    Fields(p, owner);
    const Address frame = object + o_->gi_iframe;
    const std::byte* f = memory_->At(frame, o_->if_localsplus);
    if (!f) return Damaged();
    if (Load<std::int8_t>(p, o_->gi_frame_state) < o_->frame_cleared) {
      InterpreterFrame(frame, f, false);
    } else if (o_->gen_cleared_visits_executable) {
      sink_->CField(StackReference(Pointer(f, o_->if_executable)), "gi_code");  // a coroutine calls it cr_code
    }
    sink_->CField(Pointer(p, o_->gi_exc_value), "gi_exc_value");
  }

  /// `of_frame_object`: its owner is one, so Python code has names for what lies in it; a generator has them only by way of gi_frame.
  void InterpreterFrame(Address frame, const std::byte* f, bool of_frame_object) {
    // CPython: _PyFrame_Traverse() in Python/frame.c [3.11+]. Globals and builtins are borrowed.
    sink_->CField(Pointer(f, o_->if_frame_obj), "frame_obj");
    FrameField(Pointer(f, o_->if_locals), "f_locals", of_frame_object);
    sink_->CField(StackReference(Pointer(f, o_->if_funcobj)), "f_func");
    const Address code = StackReference(Pointer(f, o_->if_executable));
    FrameField(code, "f_code", of_frame_object);
    std::uint64_t n = 0;
    const Address locals = frame + o_->if_localsplus;
    if (o_->if_stackpointer != kNoField) {
      const Address top = Pointer(f, o_->if_stackpointer);
      if (top == 0) return;
      if (top < locals || (top - locals) % 8 != 0) return Damaged();
      n = (top - locals) / 8;
    } else {
      const auto top = Load<std::int32_t>(f, o_->if_stacktop);
      if (top <= 0) return;
      n = static_cast<std::uint64_t>(top);
    }
    if (n > kMaxFramePlaces) return Damaged();
    std::uint64_t named = n;
    if constexpr (Sink::kLabels) {
      if (const std::byte* c = memory_->At(code + o_->co_nlocalsplus, 4)) named = Load<std::uint32_t>(c, 0);
    }
    const std::byte* l = Words(locals, n);
    for (std::uint64_t i = 0; l && i < n; ++i) {
      const Address a = StackReference(LoadUnchecked<std::uint64_t>(l + i * 8));
      if constexpr (Sink::kLabels) {
        if (i >= named) {
          sink_->Stack(a, i - named);
          continue;
        }
        sink_->Local(a, LocalName(code, i), i);
      } else {
        sink_->Put(a);
      }
    }
  }
  void FrameField(Address a, const char* name, bool of_frame_object) {
    if (of_frame_object) {
      sink_->Field(a, name);
    } else {
      sink_->CField(a, name);
    }
  }
  /// The object of a _PyStackRef, 0 where it holds none.
  Address StackReference(Address bits) const {
    if (!o_->stackref_tagged) return bits;
    if constexpr (requires(Sink& s) { s.Borrowed(bits); }) {
      if ((bits & 3) == 1 && bits != 1) sink_->Borrowed(bits & ~Address{3});
    }
    return (bits & 3) == 3 || (bits & 3) == 2 ? 0 : bits & ~Address{3};
  }
  /// The str object that names local variable `index` of a code object, or 0.
  Address LocalName(Address code, std::uint64_t index) const {
    if (o_->co_localsplusnames != kNoField) return TupleItem(LoadField(code, o_->co_localsplusnames), index);
    if (o_->co_varnames == kNoField) return 0;
    for (const std::uint32_t field : {o_->co_varnames, o_->co_cellvars, o_->co_freevars}) {
      const Address names = LoadField(code, field);
      const std::uint64_t n = LoadField(names, o_->ob_size);
      if (index < n) return TupleItem(names, index);
      index -= n;
    }
    return 0;
  }
  Address TupleItem(Address tuple, std::uint64_t index) const {
    return index < LoadField(tuple, o_->ob_size) && index < (1u << 20) ? LoadField(tuple, o_->tuple_item + static_cast<std::uint32_t>(index) * 8) : 0;
  }

  // ---- types that are not known

  void Machine(Address object, const TypeFacts& type, const TypeFacts& owner) {
    if constexpr (kFindsAbsent) return;  // nothing is known of its members
    ReferentQuality q = ReferentQuality::kUnknown;
    if constexpr (Sink::kLabels) {
      q = sink_->RunMachine(*c_->machine, owner, object);
    } else if constexpr (!kFindsAbsent) {
      q = c_->machine->Run(owner, object, sink_->buffer(), nullptr);
    }
    quality_ = Worse(quality_, q);
    if (q == ReferentQuality::kUnknown || q == ReferentQuality::kApproximate) Scan(object, type, owner);
  }

  /// What the unknown tp_traverse of `owner` may visit: only the part of the object that `owner` describes, the rest is subtype_traverse's.
  void Scan(Address object, const TypeFacts& type, const TypeFacts& owner) {
    if constexpr (kFindsAbsent) return;
    quality_ = Worse(quality_, ReferentQuality::kApproximate);
    const std::byte* p = memory_->At(object, type.fixed_bytes);
    if (!p) return;
    auto size = static_cast<std::uint64_t>(owner.basicsize);
    const std::uint64_t count = owner.itemsize > 0 ? VarCount(p, type) : 0;
    if (count > 0 && count < kMaxScanBytes) size += count * static_cast<std::uint64_t>(owner.itemsize);
    size = std::min(size, kMaxScanBytes);
    if (owner.managed_dict && &type == &owner) {
      if (o_->managed_values_offset != 0) SeparateValues(object, type);
      ManagedDict(object, p, type);
    }
    if (owner.is_heap_type && o_->heap_traverse_visits_type) sink_->Type(Pointer(p, o_->ob_type));
    if (size > o_->object_size) ScanRange(object + o_->object_size, size - o_->object_size, owner.weaklistoffset, true);
  }
  /// Adds every aligned word that is the address of something with a valid type. HEURISTIC: a false yes keeps garbage alive in the verdict (which is then a
  /// lower bound); a false no is a reference that no word of the object shows, say behind a pointer to C memory. Both are why the object is labelled.
  void ScanRange(Address from, std::uint64_t bytes, std::int64_t weaklistoffset, bool from_object) {
    std::uint64_t n = bytes / 8;
    const ReferentQuality before = quality_;
    const std::byte* words = Words(from, n);
    quality_ = before;
    for (std::uint64_t i = 0; words && i < n; ++i) {
      const std::uint64_t index = i * 8 + (from_object ? o_->object_size : 0);
      if (from_object && weaklistoffset > 0 && index == static_cast<std::uint64_t>(weaklistoffset)) continue;
      const Address a = LoadUnchecked<std::uint64_t>(words + i * 8);
      if (a == 0 || a % 8 != 0) continue;
      const std::byte* head = memory_->At(a, o_->object_size);
      if (head && HasPlausibleRefcount(head) && c_->types->Find(Pointer(head, o_->ob_type))) sink_->Unknown(a, index);
    }
  }

  bool HasPlausibleRefcount(const std::byte* head) const noexcept {
    if (o_->ob_refcnt == kNoField) return true;
    const auto word = Load<std::uint64_t>(head, o_->ob_refcnt);
    switch (c_->refcount) {
      case cpython::RefcountFormat::kPlain: return word != 0 && word >> 40 == 0;
      case cpython::RefcountFormat::kImmortal32: return word != 0 && word >> 32 == 0;
      case cpython::RefcountFormat::kSplit: return (word & 0xFFFFFFFF) != 0 && word >> 56 == 0;
      case cpython::RefcountFormat::kBiased: return true;
    }
    return true;
  }

  static constexpr std::uint64_t kMaxScanBytes = 1u << 20;
  static constexpr std::uint64_t kMaxFramePlaces = 1u << 24;  // locals and stack of one frame

  const VisitContext* c_;
  const Offsets* o_;
  const target::MemoryImage* memory_;
  Sink* sink_;
  ReferentQuality quality_ = ReferentQuality::kExact;
};

}  // namespace pygc::objects
