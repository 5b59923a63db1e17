#include "core/audit/free_lists.h"

#include <algorithm>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "core/audit/static_data.h"
#include "core/audit/static_variables.h"
#include "core/cpython/object_header.h"

namespace pygc::audit {

namespace {

using cpython::Field;
using cpython::Struct;

constexpr std::uint64_t kPointer = 8;
constexpr std::size_t kMostWaiting = 1u << 18;   // LIMIT: of what words of data lead to; damaged lists that run in circles are followed to their limit each
constexpr std::uint64_t kMostEntries = 1u << 16;  // LIMIT: of an array, and of one list; CPython keeps 2,000 tuples of a size and less of all else

class FreeListReader {
 public:
  FreeListReader(const target::Process& process, const cpython::Runtime& runtime) : process_(process), runtime_(runtime), layout_(runtime.layout), header_(runtime) {}

  FreeLists Read() {
    for (const cpython::Interpreter& i : runtime_.interpreters) {
      Lists(i.address, Field::PyInterpreterState_freelists);
      for (const cpython::PyThread& t : i.threads) Lists(t.tstate, Field::PyThreadStateImpl_freelists);
    }
    Statics();
    std::sort(found_.waiting.begin(), found_.waiting.end());
    found_.waiting.erase(std::unique(found_.waiting.begin(), found_.waiting.end()), found_.waiting.end());
    return std::move(found_);
  }

 private:
  [[nodiscard]] std::uint64_t Word(Address a) const { return process_.memory.ReadPointer(a).value_or(0); }
  [[nodiscard]] bool Has(Field f) const { return layout_.Has(f); }

  // Objects whose count is 0, each with the next one at `link`.
  void Chain(Address object, std::uint32_t link) {
    for (std::uint64_t i = 0; object != 0 && i < kMostEntries && Count(object) == 0; ++i) {
      found_.waiting.push_back(object);
      object = Word(object + link);
    }
  }
  /// Not 0 where it cannot be read.
  [[nodiscard]] std::uint32_t Count(Address object) const {
    const std::byte* const p = object % kPointer == 0 ? process_.memory.At(object, header_.size()) : nullptr;
    return p == nullptr ? 1 : header_.Refcount(p);
  }
  // Tuples by length, linked through their first element. CPython: maybe_freelist_push(), Objects/tupleobject.c.
  void Tuples(AddressRange heads) {
    if (!Has(Field::PyTupleObject_ob_item) || heads.size() > kMostEntries * kPointer) return;
    for (Address head = heads.begin; head + kPointer <= heads.end; head += kPointer) Chain(Word(head), layout_.Offset(Field::PyTupleObject_ob_item));
  }
  // Key tables of the smallest size: their first word is a count too. CPython: free_keys_object(), Objects/dictobject.c.
  void KeyTables(AddressRange tables, std::uint64_t count) {
    if (count > tables.size() / kPointer || count > kMostEntries) return;
    for (std::uint64_t i = 0; i < count; ++i) {
      const Address table = Word(tables.begin + i * kPointer);
      if (table != 0 && Word(table) == 0) found_.waiting.push_back(table);
    }
  }
  // CPython: struct _Py_freelist {freelist, size} for each kind; what waits has the address of the next one in its first word [3.14+]. It keeps its type, and an
  // instance of a heap type the reference to it: FutureIter_dealloc(), Modules/_asynciomodule.c.
  void Linked(AddressRange lists) {
    for (Address list = lists.begin; list + 2 * kPointer <= lists.end; list += 2 * kPointer) {
      Address object = Word(list);
      for (std::uint64_t left = std::min(Word(list + kPointer), kMostEntries); left > 0 && object != 0; --left) {
        found_.waiting.push_back(object);
        const Address type = Word(object + layout_.Offset(Field::PyObject_ob_type));
        const auto heap_type = static_cast<std::uint64_t>(layout_.Value(cpython::Constant::TPFLAGS_HEAPTYPE, 0));
        if (type != 0 && (Word(type + layout_.Offset(Field::PyTypeObject_tp_flags)) & heap_type) != 0) found_.types.push_back(object + layout_.Offset(Field::PyObject_ob_type));
        object = Word(object);
      }
    }
  }
  void Lists(Address base, Field lists) {
    if (!Has(lists)) return;
    const Address begin = base + layout_.Offset(lists);
    found_.places.push_back({begin, begin + layout_.Width(lists)});
    if (!Has(Field::object_freelists_tuples_items)) return Linked(found_.places.back());
    const auto range = [&](Field f) { return AddressRange{begin + layout_.Offset(f), begin + layout_.Offset(f) + layout_.Width(f)}; };
    Tuples(range(Field::object_freelists_tuples_items));
    if (Has(Field::object_freelists_dictkeys_numfree)) {
      KeyTables(range(Field::object_freelists_dictkeys_items), Word(begin + layout_.Offset(Field::object_freelists_dictkeys_numfree)) & 0xFFFFFFFFu);
    }
    if (Has(Field::object_freelists_slice_cache)) Chain(Word(begin + layout_.Offset(Field::object_freelists_slice_cache)), kNoLink);
    if (Has(Field::object_freelists_frames) && Has(Field::PyFrameObject_f_back)) {
      Chain(Word(begin + layout_.Offset(Field::object_freelists_frames)), layout_.Offset(Field::PyFrameObject_f_back));
    }
  }

  [[nodiscard]] Address Static(std::string_view name) const {
    Address found = 0;
    ForEachStaticVariable(process_, runtime_, name, [&](AddressRange variable) { found = variable.begin; });
    return found;
  }
  // Objects/tupleobject.c: free_list[PyTuple_MAXSAVESIZE], the empty tuple and 19 lists; listobject.c, dictobject.c: free_list[80]; frameobject.c,
  // classobject.c, methodobject.c and floatobject.c: a pointer each. Floats refer to nothing.
  void Statics() {
    constexpr std::uint64_t kTupleLists = 20 * kPointer;
    if (Has(Field::PyInterpreterState_freelists)) return;
    struct Linked {
      const char* type;
      Field link;
    };
    constexpr Linked kLinked[] = {{"PyFrame_Type", Field::PyFrameObject_f_back}, {"PyMethod_Type", Field::PyMethodObject_im_self}, {"PyCFunction_Type", Field::PyCFunctionObject_m_self}};
    bool has_symbols = false;
    ForEachStaticVariable(process_, runtime_, "free_list", [&](AddressRange list) {
      has_symbols = true;
      if (list.size() > kMostEntries * kPointer) return;
      if (list.size() == kTupleLists) {
        found_.places.push_back({list.begin + kPointer, list.end});
        return Tuples(found_.places.back());
      }
      if (list.size() != kPointer) return found_.places.push_back(list);
      const Address first = Word(list.begin);
      if (Count(first) != 0) return;
      const Address type = Word(first + layout_.Offset(Field::PyObject_ob_type));
      for (const Linked& l : kLinked) {
        if (type != 0 && type == Static(l.type) && Has(l.link)) Chain(first, layout_.Offset(l.link));
      }
    });
    for (const char* name : {"keys_free_list", "ag_value_freelist", "ag_asend_freelist"}) {
      ForEachStaticVariable(process_, runtime_, name, [&](AddressRange list) {
        if (list.size() <= kMostEntries * kPointer) found_.places.push_back(list);
      });
    }
    if (const Address count = Static("numfreekeys")) {
      ForEachStaticVariable(process_, runtime_, "keys_free_list", [&](AddressRange list) { KeyTables(list, Word(count) & 0xFFFFFFFFu); });
    }
    if (const Address slice = Static("slice_cache")) Chain(Word(slice), kNoLink);
    if (has_symbols) return;
    // The types are exported; a variable that leads to a freed one of them is the head of its list.
    std::vector<std::pair<Address, std::uint32_t>> links;
    for (const Linked& l : kLinked) {
      if (const Address type = Static(l.type); type != 0 && Has(l.link)) links.emplace_back(type, layout_.Offset(l.link));
    }
    if (const Address tuples = Static("PyTuple_Type"); tuples != 0 && Has(Field::PyTupleObject_ob_item)) links.emplace_back(tuples, layout_.Offset(Field::PyTupleObject_ob_item));
    if (!links.empty()) UnnamedChains(links);
  }
  // `links`: types, and where the next one of a list stands in them.
  void UnnamedChains(std::span<const std::pair<Address, std::uint32_t>> links) {
    const target::Module* const own = runtime_.module_index < process_.modules.size() ? &process_.modules[runtime_.module_index] : nullptr;
    for (const target::Segment& s : process_.memory.segments()) {
      if (own == nullptr || !s.writable || s.bytes == nullptr || ModuleOfData(process_, s.range.begin) != own) continue;
      for (Address a = (s.range.begin + kPointer - 1) & ~(kPointer - 1); a + kPointer <= s.range.end && found_.waiting.size() < kMostWaiting; a += kPointer) {
        const auto first = LoadUnchecked<Address>(s.bytes + (a - s.range.begin));
        if (first < kLeastAddress || Count(first) != 0) continue;
        const Address type = Word(first + layout_.Offset(Field::PyObject_ob_type));
        for (const auto& [of, link] : links) {
          if (type == of) Chain(first, link);
        }
      }
    }
  }

  static constexpr std::uint32_t kNoLink = 0;  // leads to the count, which is 0
  const target::Process& process_;
  const cpython::Runtime& runtime_;
  const cpython::Layout& layout_;
  cpython::ObjectHeaderReader header_;
  FreeLists found_;
};

}  // namespace

FreeLists ReadFreeLists(const target::Process& process, const cpython::Runtime& runtime) { return FreeListReader(process, runtime).Read(); }

}  // namespace pygc::audit
