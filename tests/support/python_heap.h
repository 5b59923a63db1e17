// A Python heap made by hand, written through a Layout: types, strings, containers, instances of any release, for tests that then read them back.
// Whatever is not set is zero. Objects get a reference count of 1 and, where the layout has one, a PyGC_Head before them (untracked until Track()).
//
//   PythonHeap heap(layout);
//   const Address a = heap.List({heap.Str("x"), heap.Int(7)});
//   const Address c = heap.Class("app", "Node", {.slots = {"next"}});
//   const target::Process process = heap.Build();
//   const objects::ObjectReader reader(process, heap.runtime(), Limits());
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/cpython/runtime.h"
#include "tests/support/fake_process.h"

namespace pygc::test {

/// How Class() makes a class.
struct ClassOptions {
  std::vector<Address> bases = {};       // empty: object
  std::vector<std::string> slots = {};   // __slots__
  bool has_dict = false;                 // a __dict__: managed where the release has that, else a pointer behind the slots
  std::vector<std::pair<std::string, Address>> attributes = {};  // beside __module__
  Address metatype = 0;                  // 0: type
  std::vector<std::string> shared_keys = {};  // names in ht_cached_keys (3.6+)
};

class PythonHeap {
 public:
  explicit PythonHeap(const cpython::Layout& layout);

  [[nodiscard]] const cpython::Layout& layout() const noexcept { return layout_; }
  [[nodiscard]] FakeProcess& fake() noexcept { return fake_; }
  [[nodiscard]] bool old() const noexcept;  // 2.7

  /// A static type of the interpreter by tp_name ("list", "function"), made at the first call; its flags, sizes and tp_traverse are those of the real one.
  Address Builtin(const std::string& tp_name);
  /// A static type of an extension module: its tp_traverse is code that nobody knows.
  Address ExtensionType(const std::string& tp_name, std::int64_t basicsize, Address base = 0);
  Address Class(const std::string& module, const std::string& name, const ClassOptions& options = {});

  Address Str(std::string_view ascii);
  Address Int(std::int64_t value);
  Address None();
  Address List(const std::vector<Address>& items);
  Address Tuple(const std::vector<Address>& items);
  Address Dict(const std::vector<std::pair<Address, Address>>& entries);
  Address Set(const std::vector<Address>& elements);
  /// An instance; set its slots with SetSlot, its attributes with SetDict or SetValues.
  Address Instance(Address type);
  Address Module(const std::string& name, Address dict);

  /// A zeroed object of `bytes` (at least PyObject) with head, type and count.
  Address Object(Address type, std::uint64_t bytes, std::int64_t ob_size = 0);
  /// Zeroed memory of the heap.
  Address Allocate(std::uint64_t bytes);
  /// An address in the interpreter's code that stands for a function.
  Address Function(const std::string& name);

  void Put(Address object, cpython::Field field, std::uint64_t value);  // in the field's width
  [[nodiscard]] std::uint64_t Get(Address object, cpython::Field field) const;
  void SetSlot(Address instance, Address type, const std::string& name, Address value);
  void SetDict(Address instance, Address type, Address dict);
  /// Inline or separate values (3.11+); at most as many as the class has shared keys. 0: no such attribute. Returns where the first one lies.
  Address SetValues(Address instance, Address type, const std::vector<Address>& values);

  /// Links the object into the ring of generation 0.
  void Track(Address object);

  /// The runtime as LocateRuntime would fill it; sys.modules has what Module() made. Writes into the heap at the first call: call it before Build().
  [[nodiscard]] cpython::Runtime runtime();
  /// The process as of now.
  [[nodiscard]] target::Process Build() const { return fake_.Build(); }

 private:
  struct BuiltinShape;
  Address StaticString(std::string_view text);
  void WriteGcRefs(Address object, std::int64_t value);  // layouts that have gc_refs
  void WriteType(Address type, Address metatype, const std::string& name, std::int64_t basicsize, std::int64_t itemsize, std::uint64_t flags, Address traverse,
                 Address base);
  Address KeysObject(const std::vector<std::pair<Address, Address>>& entries, bool split);

  cpython::Layout layout_;
  FakeProcess fake_;
  std::uint32_t gc_head_bytes_, preheader_bytes_;
  Address heap_next_, data_next_, code_next_;
  Address type_type_ = 0, object_type_ = 0, generation0_ = 0, modules_ = 0, interpreter_ = 0;
  std::map<std::string, Address> builtins_, functions_, strings_;
  std::map<std::pair<Address, std::string>, std::uint32_t> slot_offsets_;
  std::vector<std::pair<Address, Address>> module_entries_;
};

/// All built-in layouts of default builds (with the GIL).
[[nodiscard]] std::vector<const cpython::Layout*> DefaultLayouts();

}  // namespace pygc::test
