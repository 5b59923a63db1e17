#include "core/audit/unnamed_statics.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "core/audit/static_data.h"
#include "core/objects/offsets.h"
#include "core/objects/values.h"

namespace pygc::audit {

namespace {

using cpython::Field;
using cpython::Struct;

constexpr std::uint64_t kMaxWords = 32u << 20 >> 3;
constexpr std::uint64_t kTypeCacheEntries = 4096, kCharacters = 256, kMaxName = 256;
constexpr std::uint64_t kLeastInterned = 64, kMaxTables = 16, kMaxEntries = 1u << 24;  // LIMIT: entries that are looked at, of all dicts together
constexpr std::uint64_t kFreeListEntries = 80, kLeastFree = 2;  // PyList_MAXFREELIST, PyDict_MAXFREELIST
constexpr std::int64_t kLeastSmallInt = -5, kMostSmallInt = 256;

/// Where an array would begin, and how many elements say so.
class Votes {
 public:
  void For(Address begin) { ++votes_[begin]; }
  /// 0 where fewer than `least` agree.
  [[nodiscard]] Address Winner(std::uint32_t least) const {
    const auto most = std::max_element(votes_.begin(), votes_.end(), [](const auto& a, const auto& b) { return a.second != b.second ? a.second < b.second : a.first > b.first; });
    return most != votes_.end() && most->second >= least ? most->first : 0;
  }

 private:
  std::unordered_map<Address, std::uint32_t> votes_;
};

class StaticFinder {
 public:
  StaticFinder(const target::Process& process, const cpython::Runtime& runtime)
      : process_(process), memory_(process.memory), runtime_(runtime), layout_(runtime.layout), o_(runtime.layout), values_(process.memory, o_, runtime.lookdict) {
    const auto offset = [this](Field f) { return layout_.Has(f) ? layout_.Offset(f) : objects::kNoField; };
    cache_stride_ = layout_.Has(Field::PyInterpreterState_type_cache) ? 0 : layout_.Size(Struct::type_cache_entry);
    cache_name_ = offset(Field::type_cache_entry_name);
    hash_ = offset(o_.dict_old ? Field::PyBytesObject_ob_shash : Field::PyASCIIObject_hash);
    identifier_ = offset(Field::Py_Identifier_object);
    slot_text_ = offset(Field::wrapperbase_name);
    slot_name_ = offset(Field::wrapperbase_name_strobj);
  }

  UnnamedStatics Run() {
    std::uint64_t words = 0;
    for (const target::Segment& s : memory_.segments()) {
      if (!s.writable || s.bytes == nullptr) continue;
      const target::Module* const module = ModuleOfData(process_, s.range.begin);
      if (module == nullptr) continue;
      const bool own = runtime_.module_index < process_.modules.size() && module == &process_.modules[runtime_.module_index];
      for (Address a = (s.range.begin + 7) & ~Address{7}; a + 8 <= s.range.end && words < kMaxWords; a += 8, ++words) Look(s.bytes + (a - s.range.begin), a, s.range.end, own);
    }
    if (const Address cache = type_cache_.Winner(64)) found_.type_cache = {cache, cache + kTypeCacheEntries * cache_stride_};
    TakeCharacters(bytes_.Winner(16), "characters", false);
    TakeCharacters(strings_.Winner(16), "unicode_latin1", true);
    if (const Address ints = small_ints_.Winner(128)) {
      for (std::int64_t i = kLeastSmallInt; i <= kMostSmallInt; ++i) {
        const Address slot = ints + static_cast<Address>(i - kLeastSmallInt) * 8;
        if (SmallInt(Pointer(slot)) == i) found_.owned.push_back({slot, "small_ints"});
      }
    }
    return std::move(found_);
  }

 private:
  [[nodiscard]] Address Pointer(Address slot) const {
    const Address a = memory_.ReadPointer(slot).value_or(0);
    return a >= kLeastAddress && a % 8 == 0 ? a : 0;
  }

  // Most words are no pointers: what is looked at first are the bytes at hand. Nothing is read behind `end`.
  void Look(const std::byte* p, Address a, Address end, bool own) {
    const auto word = LoadUnchecked<std::uint64_t>(p);
    if (word >= kLeastAddress && identifier_ >= 8 && identifier_ != objects::kNoField && a + 16 <= end && IsNamed(word, LoadUnchecked<std::uint64_t>(p + 8))) {
      found_.owned.push_back({a + 8, "_Py_Identifier"});  // {next, string, object}
    }
    if (!own || word == 0) return;
    if (word >> 32 == 0) TypeCacheEntry(word, p, a, end);  // or an address: executables that are not position independent lie low
    if (word < kLeastAddress) return;
    if (slot_name_ != objects::kNoField && slot_text_ == 0 && a + slot_name_ + 8 <= end && IsNamed(word, LoadUnchecked<std::uint64_t>(p + slot_name_))) {
      found_.owned.push_back({a + slot_name_, "slotdefs"});
    }
    const std::byte* const object = word % 8 == 0 ? memory_.At(word, o_.ob_size + 8) : nullptr;
    if (object == nullptr) return;
    if (LoadUnchecked<std::uint64_t>(object + o_.ob_refcnt) == 0) return FreeList(a, end);
    if (LoadUnchecked<std::uint64_t>(object + std::min(o_.ob_size, o_.str_length)) == 1 || LoadUnchecked<std::uint64_t>(object + o_.ob_size) == 1) {
      if (const int c = Character(word, false); c >= 0) bytes_.For(a - static_cast<Address>(c) * 8);
      if (const int c = Character(word, true); c >= 0) strings_.For(a - static_cast<Address>(c) * 8);
    }
    if (found_.interned.size() < kMaxTables && std::find(found_.interned.begin(), found_.interned.end(), word) == found_.interned.end() && IsInternedTable(word)) found_.interned.push_back(word);
    if (const std::int64_t i = SmallInt(word); i >= kLeastSmallInt && i <= kMostSmallInt) small_ints_.For(a - static_cast<Address>(i - kLeastSmallInt) * 8);
  }

  // A dict whose every value is its key, an interned string. CPython: interned, Objects/unicodeobject.c [3.6-3.11], Objects/stringobject.c [2.7].
  [[nodiscard]] bool IsInternedTable(Address object) {
    const auto dict = static_cast<std::uint64_t>(layout_.Value(cpython::Constant::TPFLAGS_DICT_SUBCLASS));
    const Address type = values_.TypeOf(object);
    if (type % 8 != 0 || process_.FindModule(type) != &process_.modules[runtime_.module_index] || (values_.FlagsOf(type) & dict) == 0) return false;
    const std::optional<objects::DictTable> table = values_.Dict(object);
    if (!table || !table->complete || table->values != nullptr) return false;
    std::uint64_t interned = 0;
    for (std::uint64_t i = 0; i < table->count; ++i) {
      if (entries_left_ == 0) return false;
      --entries_left_;
      if (table->Value(i) == 0) continue;  // a hole
      if (table->Key(i) != table->Value(i) || !values_.IsInterned(table->Key(i))) return false;
      ++interned;
    }
    return interned >= kLeastInterned;
  }

  // CPython: MCACHE_HASH_METHOD(), Objects/typeobject.c [2.7-3.9].
  void TypeCacheEntry(std::uint64_t tag, const std::byte* p, Address a, Address end) {
    if (cache_stride_ < cache_name_ + 8 || cache_name_ == objects::kNoField || hash_ == objects::kNoField || a + cache_stride_ > end) return;
    const auto name = LoadUnchecked<std::uint64_t>(p + cache_name_);
    if (name < kLeastAddress || name % 8 != 0) return;
    if (const Result<std::uint64_t> hash = memory_.ReadPointer(name + hash_)) type_cache_.For(a - (tag ^ *hash) % kTypeCacheEntries * cache_stride_);
  }

  // An array whose first elements are freed objects of one type; where they are lists or dicts, pointers to those that were taken again are behind them.
  // CPython: free_list in Objects/listobject.c, dictobject.c [2.7-3.9]. At most as many as it has room for, counted from the first that is free. Other types
  // wait in chains whose heads lie beside each other (tuples by length), and what follows the last head is another variable.
  void FreeList(Address a, Address end) {
    if (a < free_list_end_) return;
    const Address type = TypeOfFreed(Pointer(a));
    if (type == 0) return;
    Address at = a + 8;
    const Address limit = std::min(end, a + kFreeListEntries * 8);
    while (at + 8 <= limit && TypeOfFreed(Pointer(at)) == type) at += 8;
    if (at - a < kLeastFree * 8) return;
    while (KeepsTaken(type) && at + 8 <= limit && Pointer(at) != 0) at += 8;
    found_.free_lists.push_back({a, at});
    free_list_end_ = at;
  }
  /// The type, one of the interpreter, of an object whose count is 0; 0 where it is none.
  [[nodiscard]] Address TypeOfFreed(Address object) const {
    const std::byte* const p = object != 0 ? memory_.At(object, o_.object_size) : nullptr;
    if (p == nullptr || LoadUnchecked<std::uint64_t>(p + o_.ob_refcnt) != 0) return 0;
    const Address type = LoadUnchecked<std::uint64_t>(p + o_.ob_type);
    return type % 8 == 0 && process_.FindModule(type) == &process_.modules[runtime_.module_index] ? type : 0;
  }

  [[nodiscard]] bool KeepsTaken(Address type) const {
    const auto arrays = static_cast<std::uint64_t>(layout_.Value(cpython::Constant::TPFLAGS_LIST_SUBCLASS) | layout_.Value(cpython::Constant::TPFLAGS_DICT_SUBCLASS));
    return layout_.Has(Field::PyTypeObject_tp_flags) && (memory_.ReadPointer(type + layout_.Offset(Field::PyTypeObject_tp_flags)).value_or(0) & arrays) != 0;
  }

  /// The text of a str (2.7, and of bytes: of a bytes object) of characters of one byte: `length` and a NUL can be read. nullptr where it is none.
  [[nodiscard]] const std::byte* Text(Address object, bool is_str, std::uint64_t& length) const {
    if (!is_str || o_.dict_old) {
      length = memory_.ReadPointer(object + o_.ob_size).value_or(0);
      return length == 0 || length > kMaxName ? nullptr : memory_.At(object + o_.bytes_data, length + 1);
    }
    const std::byte* const p = memory_.At(object, o_.ascii_size);
    if (p == nullptr) return nullptr;
    const auto state = LoadUnchecked<std::uint32_t>(p + o_.str_state);
    const bool compact = state >> o_.compact_shift & 1, ascii = state >> o_.ascii_shift & 1;
    length = LoadUnchecked<std::uint64_t>(p + o_.str_length);
    if (!compact || (state >> o_.kind_shift & 7) != 1 || length == 0 || length > kMaxName) return nullptr;
    return memory_.At(object + (ascii ? o_.ascii_size : o_.compact_size), length + 1);
  }
  [[nodiscard]] bool IsNamed(Address text, Address object) const {
    if (text < kLeastAddress || object < kLeastAddress || object % 8 != 0) return false;
    std::uint64_t length = 0;
    const std::byte* const name = Text(object, true, length);
    if (name == nullptr || process_.FindModule(text) == nullptr) return false;
    const std::byte* const c = memory_.At(text, length + 1);
    return c != nullptr && std::memcmp(c, name, length + 1) == 0 && static_cast<char>(name[length]) == '\0';
  }
  /// The one character of the text, or -1.
  [[nodiscard]] int Character(Address object, bool is_str) const {
    if (is_str && o_.dict_old) return -1;
    std::uint64_t length = 0;
    const std::byte* const text = Text(object, is_str, length);
    return text != nullptr && length == 1 && static_cast<char>(text[1]) == '\0' ? static_cast<int>(text[0]) : -1;
  }
  /// Less than kLeastSmallInt where it is none.
  [[nodiscard]] std::int64_t SmallInt(Address object) const {
    if (o_.int_ival == objects::kNoField || object == 0) return kLeastSmallInt - 1;
    const Result<std::uint64_t> value = memory_.ReadPointer(object + o_.int_ival);
    return value ? static_cast<std::int64_t>(*value) : kLeastSmallInt - 1;
  }
  void TakeCharacters(Address begin, std::string_view name, bool is_str) {
    for (std::uint64_t c = 0; begin != 0 && c < kCharacters; ++c) {
      const Address object = Pointer(begin + c * 8);
      if (object != 0 && Character(object, is_str) == static_cast<int>(c)) found_.owned.push_back({begin + c * 8, name});
    }
  }

  const target::Process& process_;
  const target::MemoryImage& memory_;
  const cpython::Runtime& runtime_;
  const cpython::Layout& layout_;
  objects::Offsets o_;
  objects::Values values_;
  std::uint64_t cache_stride_;
  std::uint32_t cache_name_, hash_, identifier_, slot_text_, slot_name_;
  Votes type_cache_, bytes_, strings_, small_ints_;
  Address free_list_end_ = 0;
  std::uint64_t entries_left_ = kMaxEntries;
  UnnamedStatics found_;
};

}  // namespace

UnnamedStatics FindUnnamedStatics(const target::Process& process, const cpython::Runtime& runtime) { return StaticFinder(process, runtime).Run(); }

}  // namespace pygc::audit
