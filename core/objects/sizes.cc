// What sys.getsizeof() says: the __sizeof__ of the builtin types, plus the collector's heads. CPython: _PySys_GetSizeOf() in Python/sysmodule.c.
#include "core/base/object_in_hand.h"
#include "core/objects/numpy_array.h"
#include "core/objects/object_reader_impl.h"

namespace pygc::objects {

namespace {

/// Bytes of an object by the rule of its type; nullopt where something it needs cannot be read.
class SizeReader {
 public:
  SizeReader(const ObjectReader::Impl& impl, Address object, const TypeFacts& type, const std::byte* p)
      : impl_(impl), o_(impl.offsets), object_(object), type_(type), p_(p) {}

  std::optional<std::uint64_t> Read() const {
    const auto base = static_cast<std::uint64_t>(type_.basicsize);
    switch (type_.size_rule) {
      case SizeRule::kUnknown: return std::nullopt;
      case SizeRule::kObject: return Plain();
      case SizeRule::kList: return base + Unsigned(p_, o_.list_allocated) * 8;
      case SizeRule::kDict: return Dict();
      case SizeRule::kSet: {
        return Unsigned(p_, o_.set_table) == object_ + o_.set_smalltable ? base : base + (Unsigned(p_, o_.set_mask) + 1) * o_.setentry_size;
      }
      case SizeRule::kType: return Type();
      case SizeRule::kFrame: return Frame();
      case SizeRule::kGenerator: return Generator();
      case SizeRule::kDeque: {
        if (o_.block_items == 0) return std::nullopt;
        const std::uint64_t blocks = (Unsigned(p_, o_.deque_leftindex) + Unsigned(p_, o_.deque_len) + o_.block_items - 1) / o_.block_items;
        return base + blocks * o_.block_size;
      }
      case SizeRule::kOrderedDict: {
        const std::optional<std::uint64_t> dict = Dict();
        if (!dict) return std::nullopt;
        const std::uint64_t used = Unsigned(p_, o_.ma_used);
        return *dict + 8 * Unsigned(p_, o_.od_fast_nodes_size) + (Unsigned(p_, o_.od_first) != 0 ? used * o_.odnode_size : 0);
      }
      case SizeRule::kInt: {
        std::uint64_t digits = impl_.values.IntDigits(p_);
        if (o_.dk_kind != kNoField) digits = std::max<std::uint64_t>(digits, 1);  // 3.11+: room for one digit even for 0
        return (o_.dict_old ? base : o_.ob_digit) + digits * o_.digit_bytes;
      }
      case SizeRule::kStr: return Str();
      case SizeRule::kBytes: return o_.bytes_data + 1 + Unsigned(p_, o_.ob_size);
      case SizeRule::kByteArray: {
        const std::uint64_t alloc = Unsigned(p_, o_.bytearray_alloc);
        return base + alloc + (alloc > 0 && o_.bytearray_object != kNoField ? o_.bytes_data + 1 : 0);
      }
      case SizeRule::kCode: {
        if (o_.dict_old) return base;  // it has no __sizeof__ of its own
        if (o_.co_nlocalsplus == kNoField) return OldCode();
        // CPython: code_sizeof() in Objects/codeobject.c [3.11+].
        if (Unsigned(p_, o_.co_extra) != 0) return std::nullopt;
        return (base + Unsigned(p_, o_.ob_size) * static_cast<std::uint64_t>(type_.itemsize) + 7) & ~std::uint64_t{7};
      }
      case SizeRule::kDecimal: return Decimal();
      case SizeRule::kArray: return Array();
      case SizeRule::kBytesIO: return BytesIO();
      case SizeRule::kBuffered: return Buffered();
      case SizeRule::kStruct: return Struct();
      case SizeRule::kNumpyArray: {  // NumPy: array_sizeof(), numpy/core/src/multiarray/methods.c: the shape and strides, and the items where they are its own
        const std::optional<NumpyArray> array = ReadNumpyArray(impl_.process->memory, o_.object_size, object_);
        return array ? std::optional(base + array->shape.size() * 2 * sizeof(std::int64_t) + (array->owns_data ? array->bytes() : 0)) : std::nullopt;
      }
      case SizeRule::kNumpyScalar: return NumpyScalar();
    }
    return std::nullopt;
  }

 private:
  static std::uint64_t Unsigned(const std::byte* p, std::uint32_t offset) { return LoadUnchecked<std::uint64_t>(p + offset); }
  const std::byte* At(Address a, std::uint64_t n) const { return impl_.process->memory.At(a, n); }

  /// CPython: object___sizeof___impl() in Objects/typeobject.c.
  std::uint64_t Plain() const {
    // Inline values (3.13+) are not counted, in no release so far.
    std::uint64_t size = static_cast<std::uint64_t>(type_.basicsize);
    if (type_.itemsize > 0) size += Unsigned(p_, o_.ob_size) * static_cast<std::uint64_t>(type_.itemsize);  // wraps as the sum of signed ones would
    return size;
  }

  // CPython: dec___sizeof__(), Modules/_decimal/_decimal.c: hash, then mpd_t, the same since 3.3: flags, exp, digits, len, alloc, data. Words of a number that does
  // not fit in the object itself are its own, unless the flags say that they are static, shared or constant.
  std::optional<std::uint64_t> Decimal() const {
    constexpr std::uint64_t kNumber = 8, kAllocated = 32, kWordBytes = 8, kMostWords = std::uint64_t{1} << 40, kOwnWords = 32;
    constexpr std::uint8_t kNotOwned = 0xE0;
    const std::byte* const number = At(object_ + o_.object_size + kNumber, kAllocated + 8);
    if (number == nullptr) return std::nullopt;
    const auto base = static_cast<std::uint64_t>(type_.basicsize);
    if (base < o_.object_size + kNumber + kAllocated + 16 + kOwnWords) return base;  // the class written in Python has slots
    if ((LoadUnchecked<std::uint8_t>(number) & kNotOwned) != 0) return base;
    const std::uint64_t words = Unsigned(number, kAllocated);
    return words > kMostWords ? std::nullopt : std::optional(base + words * kWordBytes);
  }

  // CPython: array_array___sizeof___impl(), Modules/arraymodule.c: behind the head of a variable object ob_item, allocated, ob_descr, which starts with the type
  // code and itemsize; the same since 2.7.
  std::optional<std::uint64_t> Array() const {
    constexpr std::uint64_t kAllocated = 8, kDescription = 16, kItemSize = 4, kLargestItem = 64, kMostItems = std::uint64_t{1} << 48;
    const std::byte* const fields = At(object_ + o_.ob_size + 8, kDescription + 8);
    const std::byte* const item = fields == nullptr ? nullptr : At(Unsigned(fields, kDescription) + kItemSize, 4);
    if (item == nullptr) return std::nullopt;
    const std::uint64_t allocated = Unsigned(fields, kAllocated), item_bytes = LoadUnchecked<std::uint32_t>(item);
    if (allocated > kMostItems || item_bytes > kLargestItem) return std::nullopt;
    return static_cast<std::uint64_t>(type_.basicsize) + allocated * item_bytes;
  }

  // CPython: bytesio_sizeof() or _io_BytesIO___sizeof___impl(), Modules/_io/bytesio.c: the buffer counts where nobody else has it. 3.5+: buf, a bytes object;
  // 2.7: buf, pos, string_size, buf_size.
  std::optional<std::uint64_t> BytesIO() const {
    constexpr std::uint64_t kOldBufferSize = 24;
    const auto base = static_cast<std::uint64_t>(type_.basicsize);
    const std::byte* const fields = At(object_ + o_.object_size, kOldBufferSize + 8);
    if (fields == nullptr) return std::nullopt;
    if (o_.dict_old) return base + Unsigned(fields, kOldBufferSize);
    const Address buffer = Unsigned(fields, 0);
    if (buffer == 0) return base;
    const std::byte* const bytes = At(buffer, o_.ob_size + 8);
    if (bytes == nullptr) return std::nullopt;
    const bool shared = cpython::ObjectHeaderReader(impl_.runtime).Refcount(bytes) > 1;
    return shared ? base : base + o_.bytes_data + 1 + Unsigned(bytes, o_.ob_size);
  }

  // CPython: code_sizeof() in Objects/codeobject.c [3.6-3.10]: co_cell2arg (behind co_cellvars) has a word for each cell, co_extra is _PyCodeObjectExtra; co_opcache_map,
  // co_opcache, co_opcache_flag and co_opcache_size lie behind it [3.8-3.10].
  std::optional<std::uint64_t> OldCode() const {
    constexpr std::uint64_t kInstruction = 2, kOpcacheEntry = 32, kMostExtras = 1u << 16;
    const auto base = static_cast<std::uint64_t>(type_.basicsize);
    const std::byte* const code = At(object_, base);
    if (code == nullptr || o_.co_cellvars == kNoField || o_.co_extra == kNoField || base < std::uint64_t{o_.co_extra} + 8) return std::nullopt;
    std::uint64_t size = base;
    const Address cells = Unsigned(code, o_.co_cellvars), extra = Unsigned(code, o_.co_extra);
    if (Unsigned(code, o_.co_cellvars + 8) != 0 && cells != 0) {
      const std::byte* const tuple = At(cells, o_.ob_size + 8);
      if (tuple == nullptr) return std::nullopt;
      size += Unsigned(tuple, o_.ob_size) * 8;
    }
    if (extra != 0) {
      const std::byte* const extras = At(extra, 8);
      if (extras == nullptr || Unsigned(extras, 0) > kMostExtras) return std::nullopt;
      size += 8 + Unsigned(extras, 0) * 8;
    }
    const std::uint32_t cache = o_.co_extra + 16;
    if (base >= std::uint64_t{cache} + 16 && Unsigned(code, cache) != 0) {
      const std::byte* const bytes = At(Unsigned(code, o_.co_code), o_.ob_size + 8);
      if (bytes == nullptr) return std::nullopt;
      size += Unsigned(bytes, o_.ob_size) / kInstruction + LoadUnchecked<std::uint8_t>(code + cache + 12) * kOpcacheEntry;
    }
    return size;
  }

  // CPython: buffered_sizeof(), Modules/_io/bufferedio.c: the buffer, while there is one. struct buffered ends with buffer_size, buffer_mask, dict, weakreflist;
  // `buffer` lies behind raw, four ints, two flags and abs_pos; the same since 2.7. buffer_mask is buffer_size - 1, or 0 where that is no power of 2.
  std::optional<std::uint64_t> Buffered() const {
    constexpr std::uint64_t kBuffer = 40, kSizeBeforeDict = 16;
    const auto base = static_cast<std::uint64_t>(type_.basicsize);
    if (type_.dictoffset < static_cast<std::int64_t>(o_.object_size + kBuffer + kSizeBeforeDict) || static_cast<std::uint64_t>(type_.dictoffset) > base) return std::nullopt;
    const std::byte* const fields = At(object_ + static_cast<std::uint64_t>(type_.dictoffset) - kSizeBeforeDict, 16);
    const std::byte* const buffer = At(object_ + o_.object_size + kBuffer, 8);
    if (fields == nullptr || buffer == nullptr) return std::nullopt;
    if (Unsigned(buffer, 0) == 0) return base;
    const std::uint64_t size = Unsigned(fields, 0), mask = Unsigned(fields, 8);
    return mask == 0 || mask == size - 1 ? std::optional(base + size) : std::nullopt;
  }

  // NumPy: gentype_sizeof(), numpy/core/src/multiarray/scalartypes.c.src.
  std::optional<std::uint64_t> NumpyScalar() const {
    constexpr int kMostBases = 16;
    const TypeFacts* type = &type_;
    for (int depth = 0; type != nullptr && type->is_heap_type && depth < kMostBases; ++depth) type = impl_.types.Find(type->tp_base);
    const std::optional<std::uint64_t> value = type == nullptr ? std::nullopt : NumpyScalarBytes(type->name);
    return value ? std::optional(static_cast<std::uint64_t>(type_.basicsize) + *value) : std::nullopt;
  }

  // CPython: s_sizeof(), Modules/_struct.c: the codes of the format and one that ends them. PyStructObject: s_size, s_len, s_codes; a formatcode is fmtdef, offset,
  // size, and from 3.4 on repeat.
  std::optional<std::uint64_t> Struct() const {
    constexpr std::uint64_t kCodes = 16, kMostCodes = 1u << 20;
    const std::uint64_t code_bytes = o_.dict_old ? 24 : 32;
    const std::byte* const codes = At(object_ + o_.object_size + kCodes, 8);
    if (codes == nullptr || Unsigned(codes, 0) == 0) return std::nullopt;
    for (std::uint64_t n = 0; n < kMostCodes; ++n) {
      const std::byte* const code = At(Unsigned(codes, 0) + n * code_bytes, 8);
      if (code == nullptr) return std::nullopt;
      if (Unsigned(code, 0) == 0) return static_cast<std::uint64_t>(type_.basicsize) + (n + 1) * code_bytes;
    }
    return std::nullopt;
  }

  /// CPython: _PyDict_KeysSize() in Objects/dictobject.c.
  std::optional<std::uint64_t> KeysSize(Address keys) const {
    const std::byte* k = At(keys, o_.dk_indices);
    if (!k) return std::nullopt;
    if (o_.dk_log2_size != kNoField) {
      const auto log2_size = LoadUnchecked<std::uint8_t>(k + o_.dk_log2_size), log2_bytes = LoadUnchecked<std::uint8_t>(k + o_.dk_log2_index_bytes);
      if (log2_size > 40 || log2_bytes > 44) return std::nullopt;
      const bool general = LoadUnchecked<std::uint8_t>(k + o_.dk_kind) == o_.kind_general;
      return o_.dk_indices + (std::uint64_t{1} << log2_bytes) +
             ((std::uint64_t{1} << log2_size) << 1) / 3 * (general ? o_.entry_size : o_.unicode_entry_size);
    }
    const std::uint64_t size = Unsigned(k, o_.dk_size);
    if (size > (std::uint64_t{1} << 40)) return std::nullopt;
    return o_.dk_indices + size * (size <= 0xFF ? 1 : size <= 0xFFFF ? 2 : size <= 0xFFFFFFFF ? 4 : 8) + (size << 1) / 3 * o_.entry_size;
  }

  /// CPython: _PyDict_SizeOf() in Objects/dictobject.c.
  std::optional<std::uint64_t> Dict() const {
    if (o_.dict_old) {
      std::uint64_t size = static_cast<std::uint64_t>(type_.basicsize);
      if (Unsigned(p_, o_.ma_table) != object_ + o_.ma_smalltable) size += (Unsigned(p_, o_.ma_mask) + 1) * o_.old_entry_size;
      return size;
    }
    std::uint64_t size = static_cast<std::uint64_t>(type_.basicsize);
    const Address keys = Unsigned(p_, o_.ma_keys), values = Unsigned(p_, o_.ma_values);
    const std::byte* k = At(keys, o_.dk_indices);
    if (!k) return std::nullopt;
    if (values != 0) {
      if (o_.dk_log2_size == kNoField) {
        size += (Unsigned(k, o_.dk_size) << 1) / 3 * 8;
      } else {
        size += (Unsigned(k, o_.dk_nentries) + Unsigned(k, o_.dk_usable)) * 8;
      }
      if (o_.dk_log2_size != kNoField) return size;
    }
    if (Unsigned(k, o_.dk_refcnt) != 1) return size;  // shared keys count for the type
    const std::optional<std::uint64_t> keys_size = KeysSize(keys);
    return keys_size ? std::optional<std::uint64_t>(size + *keys_size) : std::nullopt;
  }

  /// CPython: type___sizeof___impl() in Objects/typeobject.c [3.x].
  std::optional<std::uint64_t> Type() const {
    const std::byte* flags = At(object_ + o_.tp_flags, 8);
    if (!flags) return std::nullopt;
    if (!(Unsigned(flags, 0) & o_.flag_heap_type)) return o_.type_size;
    std::uint64_t size = o_.heap_type_size;
    if (const Address keys = impl_.values.Pointer(object_ + o_.ht_cached_keys)) {
      const std::optional<std::uint64_t> n = KeysSize(keys);
      if (!n) return std::nullopt;
      size += *n;
    }
    return size;
  }

  std::optional<std::uint64_t> CodePlaces(Address code) const {  // locals, cells, free variables and stack
    const std::byte* stack = At(code + o_.co_stacksize, 4);
    if (!stack || code == 0) return std::nullopt;
    std::uint64_t n = LoadUnchecked<std::uint32_t>(stack);
    if (o_.co_nlocalsplus != kNoField) {
      const std::byte* locals = At(code + o_.co_nlocalsplus, 4);
      return locals ? std::optional<std::uint64_t>(n + LoadUnchecked<std::uint32_t>(locals)) : std::nullopt;
    }
    const std::byte* locals = At(code + o_.co_nlocals, 4);
    if (!locals) return std::nullopt;
    n += LoadUnchecked<std::uint32_t>(locals);
    for (const std::uint32_t field : {o_.co_cellvars, o_.co_freevars}) {
      if (const Address tuple = impl_.values.Pointer(code + field)) n += impl_.values.Pointer(tuple + o_.ob_size);
    }
    return n;
  }

  Address StackReference(Address bits) const { return o_.stackref_tagged ? bits & ~Address{3} : bits; }

  std::optional<std::uint64_t> Frame() const {
    if (o_.f_frame == kNoField) {
      const std::optional<std::uint64_t> places = CodePlaces(Unsigned(p_, o_.f_code));
      if (!places) return std::nullopt;
      return o_.frame_size + (*places - 1) * 8;
    }
    const Address frame = Unsigned(p_, o_.f_frame);
    const std::optional<std::uint64_t> places = CodePlaces(StackReference(impl_.values.Pointer(frame + o_.if_executable)));
    return places ? std::optional<std::uint64_t>(o_.frame_data + o_.if_localsplus + *places * 8) : std::nullopt;
  }

  std::optional<std::uint64_t> Generator() const {
    if (o_.gi_iframe == kNoField) return std::nullopt;
    const std::byte* frame = At(object_ + o_.gi_iframe, o_.if_localsplus);
    if (!frame) return std::nullopt;
    const Address code = o_.gi_code != kNoField ? Unsigned(p_, o_.gi_code) : StackReference(Unsigned(frame, o_.if_executable));
    const std::optional<std::uint64_t> places = CodePlaces(code);
    return places ? std::optional<std::uint64_t>(o_.gi_iframe + o_.if_localsplus + *places * 8) : std::nullopt;
  }

  /// CPython: unicode_sizeof() in Objects/unicodeobject.c.
  std::optional<std::uint64_t> Str() const {
    if (o_.str_state == kNoField) {  // 2.7
      const std::uint64_t length = Unsigned(p_, o_.old_unicode_length);
      // ASSUMES: Py_UNICODE is 4 bytes wide, as in every Linux distribution's build.
      std::uint64_t size = o_.unicode_size + 4 * (length + 1);
      if (const Address bytes = Unsigned(p_, o_.old_unicode_defenc)) size += impl_.values.Pointer(bytes + o_.ob_size) + o_.bytes_data + 1;
      return size;
    }
    const std::byte* p = At(object_, o_.ascii_size);
    if (!p) return std::nullopt;
    const auto state = LoadUnchecked<std::uint32_t>(p + o_.str_state);
    const std::uint64_t kind = (state >> o_.kind_shift) & 7, length = Unsigned(p, o_.str_length);
    const bool compact = (state >> o_.compact_shift) & 1, ascii = (state >> o_.ascii_shift) & 1;
    std::uint64_t size = 0;
    if (compact && ascii) {
      size = o_.ascii_size + length + 1;
    } else if (compact) {
      size = o_.compact_size + (length + 1) * kind;
    } else {
      size = o_.unicode_size;
      const std::byte* u = At(object_, o_.unicode_size);
      if (!u) return std::nullopt;
      if (Unsigned(u, o_.str_data) != 0) size += (length + 1) * kind;
    }
    if (o_.str_wstr != kNoField) {
      const Address wstr = Unsigned(p, o_.str_wstr);
      const Address data = compact ? object_ + (ascii ? o_.ascii_size : o_.compact_size) : impl_.values.Pointer(object_ + o_.str_data);
      if (wstr != 0 && wstr != data) size += ((compact && ascii ? length : impl_.values.Pointer(object_ + o_.wstr_length)) + 1) * 4;
    }
    if (!(compact && ascii)) {
      const std::byte* u = At(object_, o_.compact_size);
      if (!u) return std::nullopt;
      const Address utf8 = Unsigned(u, o_.utf8);
      const Address data = compact ? object_ + o_.compact_size : impl_.values.Pointer(object_ + o_.str_data);
      if (utf8 != 0 && utf8 != data) size += Unsigned(u, o_.utf8_length) + 1;
    }
    return size;
  }

  const ObjectReader::Impl& impl_;
  const Offsets& o_;
  Address object_;
  const TypeFacts& type_;
  const std::byte* p_;
};

}  // namespace

std::optional<std::uint64_t> ObjectReader::SizeOf(Address object, const TypeFacts& type) const {
  object_in_hand = object;
  const Offsets& o = impl_->offsets;
  const std::uint32_t readable = type.itemsize > 0 ? std::max(type.fixed_bytes, o.ob_size + 8) : type.fixed_bytes;
  const std::byte* p = impl_->process->memory.At(object, readable);
  if (!p) return std::nullopt;
  const std::optional<std::uint64_t> own = SizeReader(*impl_, object, type, p).Read();
  if (!own || static_cast<std::int64_t>(*own) < 0) return std::nullopt;
  const bool heads = o.head_size_by_type ? type.have_gc : IsGc(object, type);
  return *own + (heads ? o.gc_head_bytes : 0) + (type.has_preheader ? o.preheader_bytes : 0);
}

}  // namespace pygc::objects
