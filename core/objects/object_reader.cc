#include "core/objects/object_reader.h"

#include <fmt/format.h>

#include "core/base/object_in_hand.h"
#include "core/objects/literals.h"
#include "core/objects/object_reader_impl.h"

namespace pygc::objects {

namespace {

/// 3.6 - 3.10: lookdict, the lookup function of dicts that met a key that is no str. Without its symbol: object.__subclasses__() comes from a dict whose
/// keys are ints (tp_subclasses), so that dict's dk_lookup is it.
Address FindLookdict(const target::Process& process, const cpython::Runtime& runtime, const Offsets& o) {
  if (!o.dict_keys_by_lookdict || runtime.lookdict != 0) return runtime.lookdict;
  const Values values(process.memory, o, 0);
  const Address object_type = values.Pointer(runtime.type_type + o.tp_base);
  const Address subclasses = values.Pointer(object_type + o.tp_subclasses);
  const std::optional<DictTable> table = subclasses ? values.Dict(subclasses) : std::nullopt;
  for (std::uint64_t i = 0; table && i < table->count; ++i) {
    if (table->Value(i) != 0 && values.Int(table->Key(i))) return values.Pointer(values.Pointer(subclasses + o.ma_keys) + o.dk_lookup);
  }
  return 0;
}

cpython::Runtime WithLookdict(const cpython::Runtime& runtime, Address lookdict) {
  cpython::Runtime copy = runtime;
  copy.lookdict = lookdict;
  return copy;
}

}  // namespace

ObjectReader::Impl::Impl(const target::Process& p, const cpython::Runtime& r, const Limits& l, const TraverseInterpreter* machine)
    : process(&p),
      offsets(r.layout),
      runtime(WithLookdict(r, FindLookdict(p, r, offsets))),
      limits(l),
      values(p.memory, offsets, runtime.lookdict),
      types(p, runtime, offsets, values, l, machine ? ReaderKind::kMachine : ReaderKind::kScan),
      context{&p.memory, &offsets, &values, &types, machine, runtime.set_dummy, runtime.refcount},
      member_names(p, runtime.layout) {}

ObjectReader::ObjectReader(const target::Process& process, const cpython::Runtime& runtime, const Limits& limits, const TraverseInterpreter* machine)
    : impl_(std::make_unique<Impl>(process, runtime, limits, machine)) {}
ObjectReader::Impl::~Impl() = default;
ObjectReader::~ObjectReader() = default;

const TypeFacts* ObjectReader::Type(Address type) const { return impl_->types.Find(type); }
std::vector<const TypeFacts*> ObjectReader::Types() const { return impl_->types.All(); }
const cpython::Runtime& ObjectReader::runtime() const noexcept { return impl_->runtime; }
const target::Process& ObjectReader::process() const noexcept { return *impl_->process; }

ReferentQuality ObjectReader::Referents(Address object, const TypeFacts& type, ReferentBuffer& out) const {
  object_in_hand = object;
  AddressSink sink(out);
  return Visitor<AddressSink>(impl_->context, sink).Object(object, type);
}

bool ObjectReader::HasBorrowedReferents() const noexcept { return impl_->offsets.stackref_tagged; }

void ObjectReader::BorrowedReferents(Address object, const TypeFacts& type, ReferentBuffer& out) const {
  if (!impl_->offsets.stackref_tagged) return;
  BorrowedSink sink(out);
  Visitor<BorrowedSink>(impl_->context, sink).StackSlots(object, type);
}

std::uint64_t ObjectReader::AbsentMembers(Address object, const TypeFacts& type) const {
  AbsentSink sink;
  Visitor<AbsentSink>(impl_->context, sink).Object(object, type);
  return sink.count();
}

AddressRange ObjectReader::UnfilledItems(Address object, const TypeFacts& type) const {
  const Offsets& o = impl_->offsets;
  const target::MemoryImage& memory = impl_->process->memory;
  const std::byte* const p = type.reader == ReaderKind::kList && !type.is_heap_type ? memory.At(object, o.list_size) : nullptr;
  if (p == nullptr) return {};
  const auto size = LoadUnchecked<std::uint64_t>(p + o.ob_size), allocated = LoadUnchecked<std::uint64_t>(p + o.list_allocated);
  const auto items = LoadUnchecked<std::uint64_t>(p + o.list_item);
  const std::byte* const words = size == allocated && size < (std::uint64_t{1} << 40) ? memory.At(items, size * 8) : nullptr;
  std::uint64_t filled = size;
  while (words != nullptr && filled > 0 && LoadUnchecked<std::uint64_t>(words + (filled - 1) * 8) == 0) --filled;
  return {items + filled * 8, items + size * 8};
}

void ObjectReader::PrefetchReferents(Address object, const TypeFacts& type) const noexcept {
  const Offsets& o = impl_->offsets;
  const target::MemoryImage& memory = impl_->process->memory;
  if (type.reader == ReaderKind::kInstance && type.managed_dict) {
    // Attributes in a block of their own: a pointer before the object leads there, in 3.12 with its lowest bit set. CPython: PyDictOrValues.
    const std::int64_t offset = o.managed_dict_tagged ? o.managed_dict_offset : o.managed_values_offset;
    if (offset == 0) return;
    const std::byte* const word = memory.At(object + static_cast<Address>(offset), 8);
    const Address values = word != nullptr ? LoadUnchecked<std::uint64_t>(word) : 0;
    if (values == 0 || (o.managed_dict_tagged && (values & 1) == 0)) return;
    if (const std::byte* const p = memory.At(values + (o.managed_dict_tagged ? 1 : 0), 1)) __builtin_prefetch(p);
    return;
  }
  const ReaderKind kind = type.reader == ReaderKind::kInstance ? type.base_reader : type.reader;
  std::uint32_t field = 0;
  switch (kind) {
    case ReaderKind::kList: field = o.list_item; break;
    case ReaderKind::kDict:
    case ReaderKind::kOrderedDict: field = o.dict_old ? o.ma_table : o.ma_keys; break;
    case ReaderKind::kSet: field = o.set_table; break;
    case ReaderKind::kDeque: field = o.deque_leftblock; break;
    case ReaderKind::kFrameProxy: field = o.f_frame; break;
    case ReaderKind::kFields:  // defaultdict
      if (type.tail != ReaderKind::kDict) return;
      field = o.dict_old ? o.ma_table : o.ma_keys;
      break;
    default: return;
  }
  if (field == kNoField) return;
  const std::byte* p = memory.At(object, std::uint64_t{field} + 8);
  if (!p) return;
  if (const std::byte* table = memory.At(LoadUnchecked<std::uint64_t>(p + field), 1)) {
    __builtin_prefetch(table);
    if (field == o.ma_keys && !o.dict_old) __builtin_prefetch(table + 64);  // indices first, then the entries
  }
}

NotExactReason ObjectReader::WhyNotExact(const TypeFacts& type) const {
  if (!type.reason.empty()) {
    const TypeFacts* const own = type.traverse_base != nullptr ? type.traverse_base : &type;
    return {own->traverse_reader == ReaderKind::kScan ? "not-interpreted" : "type", type.reason};
  }
  for (const TypeFacts* t : {&type, type.traverse_base}) {
    if (t == nullptr || impl_->context.machine == nullptr) continue;
    if (NotExactReason why = impl_->context.machine->WhyNotExact(*t); !why.code.empty()) {
      if (t != &type) why.text = fmt::format("its base {}: {}", t->name, why.text);
      return why;
    }
  }
  return {"unreadable", "some of its objects could not be read"};
}

std::vector<Address> ObjectReader::ObjectsAstray() const {
  return impl_->context.machine != nullptr ? impl_->context.machine->ObjectsAstray() : std::vector<Address>();
}

bool ObjectReader::IsGc(Address object, const TypeFacts& type) const {
  if (!type.have_gc) return false;
  if (type.tp_is_gc == 0 || !type.is_type_object) return true;  // other tp_is_gc functions (greenlets) only hide objects from gc.get_referents
  return (impl_->values.FlagsOf(object) & impl_->offsets.flag_heap_type) != 0;  // CPython: type_is_gc()
}

namespace {

/// True when the dict has the key "__del__".
bool DictDefinesDel(const ObjectReader::Impl& impl, Address dict) {
  constexpr std::uint64_t kLarge = 1024;
  const std::optional<DictTable> table = impl.values.Dict(dict);
  if (!table || table->count <= kLarge) return table && impl.values.DictGet(dict, "__del__") != 0;
  const std::lock_guard lock(impl.large_dicts_mutex);
  const auto [known, fresh] = impl.large_dicts_with_del.try_emplace(dict, false);
  if (fresh) known->second = impl.values.DictGet(dict, "__del__") != 0;
  return known->second;
}

/// Dict lookup in a classic class and its bases. CPython: class_lookup(), Objects/classobject.c [2.7].
bool ClassicClassDefinesDel(const ObjectReader::Impl& impl, Address start) {
  const Offsets& o = impl.offsets;
  std::vector<Address> todo{start};
  for (std::size_t seen = 0; !todo.empty() && seen < impl.limits.max_type_depth; ++seen) {  // LIMIT: max_type_depth
    const Address klass = todo.back();
    todo.pop_back();
    if (DictDefinesDel(impl, impl.values.Pointer(klass + o.cl_dict))) return true;
    const std::vector<Address> bases = impl.values.TupleItems(impl.values.Pointer(klass + o.cl_bases), impl.limits.max_type_depth);
    if (todo.size() + bases.size() > impl.limits.max_type_depth) break;
    todo.insert(todo.end(), bases.rbegin(), bases.rend());
  }
  return false;
}

/// CPython: PyGen_NeedsFinalizing(), Objects/genobject.c [2.7]: a suspended generator inside a try or with block.
bool GeneratorNeedsFinalizing(const ObjectReader::Impl& impl, Address generator) {
  const Offsets& o = impl.offsets;
  const Address frame = impl.values.Pointer(generator + o.gi_frame);
  const std::byte* f = frame ? impl.process->memory.At(frame, o.frame_size) : nullptr;
  if (!f || o.f_iblock == kNoField || o.try_block_size == 0) return false;
  if (LoadUnchecked<std::uint64_t>(f + o.f_stacktop) == 0) return false;
  const auto blocks = LoadUnchecked<std::int32_t>(f + o.f_iblock);
  const std::uint32_t room = (o.f_localsplus - o.f_blockstack) / o.try_block_size;
  for (std::int32_t i = 0; i < blocks && static_cast<std::uint32_t>(i) < room; ++i) {
    const std::byte* block = f + o.f_blockstack + static_cast<std::uint32_t>(i) * o.try_block_size;
    if (LoadUnchecked<std::int32_t>(block + o.b_type) != o.setup_loop) return true;
  }
  return false;
}

}  // namespace

bool ObjectReader::HasLegacyFinalizer(Address object, const TypeFacts& type) const {
  if (type.is_classic_instance) {  // CPython: _PyInstance_Lookup(), Objects/classobject.c [2.7]: an attribute of the instance counts too
    return DictDefinesDel(*impl_, impl_->values.Pointer(object + impl_->offsets.in_dict)) ||
           ClassicClassDefinesDel(*impl_, impl_->values.Pointer(object + impl_->offsets.in_class));
  }
  if (type.is_generator) return GeneratorNeedsFinalizing(*impl_, object);
  return type.legacy_finalizer;
}

std::string ObjectReader::DisplayTypeName(Address object, const TypeFacts& type) const {
  if (!type.is_classic_instance) return type.name;
  const Offsets& o = impl_->offsets;
  const Address klass = impl_->values.Pointer(object + o.in_class);
  const std::optional<std::string> name = klass ? impl_->values.Text(impl_->values.Pointer(klass + o.cl_name), impl_->limits.max_name_bytes) : std::nullopt;
  if (!name || name->empty()) return type.name;
  const Address module = impl_->values.DictGet(impl_->values.Pointer(klass + o.cl_dict), "__module__");
  const std::optional<std::string> module_name = module ? impl_->values.Text(module, impl_->limits.max_name_bytes) : std::nullopt;
  return module_name && !module_name->empty() && *module_name != "__builtin__" ? *module_name + "." + *name : *name;
}

std::optional<std::string> ObjectReader::Text(Address str_object, std::size_t max_code_points) const {
  return impl_->values.Text(str_object, max_code_points);
}

Result<std::vector<Address>> ObjectReader::ListItems(Address list, std::size_t max) const {
  const Offsets& o = impl_->offsets;
  const std::byte* p = impl_->process->memory.At(list, o.list_size);
  if (!p) return FailAt(ErrorCode::kFault, list, "cannot read the list object at {:#x}", list);
  const auto size = LoadUnchecked<std::int64_t>(p + o.ob_size);
  if (size < 0 || size > LoadUnchecked<std::int64_t>(p + o.list_allocated)) {
    return FailAt(ErrorCode::kCorrupt, list, "the list object at {:#x} says that it has {} items", list, size);
  }
  const std::uint64_t n = std::min<std::uint64_t>(static_cast<std::uint64_t>(size), max);
  const Address from = LoadUnchecked<std::uint64_t>(p + o.list_item);
  const std::byte* items = n == 0 ? p : impl_->process->memory.At(from, n * 8);
  if (!items) return FailAt(ErrorCode::kFault, from, "cannot read the {} items of the list object at {:#x}", n, list);
  std::vector<Address> out(n);
  for (std::uint64_t i = 0; i < n; ++i) out[i] = LoadUnchecked<std::uint64_t>(items + i * 8);
  return out;
}

}  // namespace pygc::objects
