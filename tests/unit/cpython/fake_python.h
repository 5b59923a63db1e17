// A process with one CPython in it, written through a Layout: module data with version text and runtime, one interpreter with collector, one thread, three
// module dicts. No file behind the module: the runtime is found by its cookie (3.13+) or by its structure.
#pragma once

#include <string>
#include <vector>

#include "core/cpython/layout.h"
#include "core/cpython/layout_resolver.h"
#include "tests/support/fake_process.h"

namespace pygc::test {

class FakePython {
 public:
  static constexpr Address kData = 0x5000000, kDataBytes = 0x100000, kHeap = 0x20000000, kHeapBytes = 0x200000;
  static constexpr Address kVersionText = kData + 0x100, kRuntime = kData + 0x2000, kStatics = kData + 0x1000, kStaticGenerations = kData + 0x1100;
  static constexpr Address kInterpreter = kHeap, kThread = kHeap + 0x100000, kTypeType = kHeap + 0x110000, kDictType = kHeap + 0x111000,
                           kListType = kHeap + 0x112000, kModules = kHeap + 0x120000, kSysdict = kHeap + 0x121000, kBuiltins = kHeap + 0x122000,
                           kGarbage = kHeap + 0x123000, kCallbacks = kHeap + 0x124000, kModulesByIndex = kHeap + 0x125000;
  static constexpr std::uint64_t kThreadId = 0x7f00dead0000;

  /// `path`: of the program; empty: python with its series.
  explicit FakePython(const cpython::Layout& layout, const std::string& path = {}) : layout_(layout) {
    const std::string usual = "/usr/bin/python" + std::to_string(layout.version.major) + "." + std::to_string(layout.version.minor);
    const auto module = fake.AddModule(path.empty() ? usual : path, {{kData, kData + kDataBytes}});
    fake.base.executable = fake.base.modules.empty() ? std::string() : fake.base.modules[0].path;
    fake.Map(kData, kDataBytes, "rw-", module);
    fake.Map(kHeap, kHeapBytes);
    fake.WriteString(kVersionText, layout.version.text() + " (main, Jan  1 2026, 00:00:00) [GCC 12.2.0]");
    WriteTypes();
    WriteInterpreter();
    WriteRuntime();
  }

  /// Writes the value of a field in its own width; nothing where the layout does not have it.
  void Set(Address structure, cpython::Field f, std::uint64_t value) {
    if (!layout_.Has(f)) return;
    const auto bytes = std::as_bytes(std::span<const std::uint64_t, 1>(&value, 1));
    const std::uint32_t width = layout_.Width(f);
    fake.WriteBytes(structure + layout_.Offset(f), bytes.first(width == 1 || width == 2 || width == 4 ? width : 8));
  }

  /// Address of the generation's gc_generation.
  [[nodiscard]] Address Generation(std::uint32_t i) const { return generations_ + i * layout_.Size(cpython::Struct::gc_generation); }
  [[nodiscard]] Address Collector() const { return collector_; }

  /// A ring of only its head.
  void WriteEmptyRing(Address head) {
    Set(head, cpython::Field::PyGC_Head_gc_next, head);
    Set(head, cpython::Field::PyGC_Head_gc_prev, head);
  }

  FakeProcess fake;

 private:
  void WriteTypes() {
    using F = cpython::Field;
    using C = cpython::Constant;
    const auto flags = [&](C c) { return static_cast<std::uint64_t>(layout_.Value(c) | layout_.Value(C::TPFLAGS_READY)); };
    for (const Address type : {kTypeType, kDictType, kListType}) Set(type, F::PyObject_ob_type, kTypeType);
    Set(kTypeType, F::PyTypeObject_tp_flags, flags(C::TPFLAGS_TYPE_SUBCLASS));
    Set(kDictType, F::PyTypeObject_tp_flags, flags(C::TPFLAGS_DICT_SUBCLASS));
    Set(kListType, F::PyTypeObject_tp_flags, flags(C::TPFLAGS_LIST_SUBCLASS));
    for (const Address dict : {kModules, kSysdict, kBuiltins}) Set(dict, F::PyObject_ob_type, kDictType);
    for (const Address list : {kGarbage, kCallbacks, kModulesByIndex}) Set(list, F::PyObject_ob_type, kListType);
  }

  void WriteInterpreter() {
    using F = cpython::Field;
    Set(kInterpreter, F::PyInterpreterState_id, 0);
    Set(kInterpreter, F::PyInterpreterState_threads_head, kThread);
    Set(kInterpreter, F::PyInterpreterState_modules, kModules);
    Set(kInterpreter, F::PyInterpreterState_modules_by_index, kModulesByIndex);
    Set(kInterpreter, F::PyInterpreterState_sysdict, kSysdict);
    Set(kInterpreter, F::PyInterpreterState_builtins, kBuiltins);
    Set(kThread, F::PyThreadState_interp, kInterpreter);
    Set(kThread, F::PyThreadState_thread_id, kThreadId);
    Set(kThread, F::PyThreadState_native_thread_id, 77);
    collector_ = layout_.Has(F::PyInterpreterState_gc) ? kInterpreter + layout_.Offset(F::PyInterpreterState_gc)
                 : layout_.Has(F::PyRuntimeState_gc)   ? kRuntime + layout_.Offset(F::PyRuntimeState_gc)
                                                       : 0;
    generations_ = collector_ != 0 ? collector_ + layout_.Offset(F::gc_runtime_state_generations) : kStaticGenerations;
    if (collector_ != 0) {
      Set(collector_, F::gc_runtime_state_enabled, 1);
      Set(collector_, F::gc_runtime_state_debug, 32);
      Set(collector_, F::gc_runtime_state_garbage, kGarbage);
      Set(collector_, F::gc_runtime_state_callbacks, kCallbacks);
    }
    if (layout_.Has(F::PyThreadStateImpl_mimalloc)) {
      const Address mimalloc = kThread + layout_.Offset(F::PyThreadStateImpl_mimalloc);
      Set(mimalloc, F::mimalloc_thread_state_initialized, 1);
      Set(mimalloc, F::mimalloc_thread_state_current_object_heap,
          mimalloc + layout_.Offset(F::mimalloc_thread_state_heaps) + layout_.Size(cpython::Struct::mi_heap));
      for (std::uint32_t i = 0; i < 4; ++i) {
        const Address heap = mimalloc + layout_.Offset(F::mimalloc_thread_state_heaps) + i * layout_.Size(cpython::Struct::mi_heap);
        Set(heap, F::mi_heap_tld, mimalloc + layout_.Offset(F::mimalloc_thread_state_tld));
        Set(heap, F::mi_heap_tag, i);
      }
    }
    const bool lists = layout_.Has(cpython::Struct::PyGC_Head);
    for (std::uint32_t i = 0; i < 3; ++i) {
      if (lists) WriteEmptyRing(Generation(i));
      Set(Generation(i), F::gc_generation_threshold, i == 0 ? 701 : 10 + i);
      Set(Generation(i), F::gc_generation_count, 5 + i);
    }
    if (lists && layout_.Has(F::gc_runtime_state_permanent_generation)) WriteEmptyRing(collector_ + layout_.Offset(F::gc_runtime_state_permanent_generation));
  }

  void WriteRuntime() {
    using F = cpython::Field;
    if (layout_.Has(F::PyRuntimeState_interpreters_head)) {
      Set(kRuntime, F::PyRuntimeState_interpreters_head, kInterpreter);
      Set(kRuntime, F::PyRuntimeState_interpreters_main, kInterpreter);
    } else {
      fake.Write<std::uint64_t>(kStatics, kInterpreter);
      fake.Write<std::uint64_t>(kStatics + 8, kStaticGenerations);
    }
    if (!layout_.Has(cpython::Struct::DebugOffsets)) return;
    fake.WriteBytes(kRuntime, std::as_bytes(std::span("xdebugpy", 8)));
    Set(kRuntime, F::DebugOffsets_version, layout_.version.hex());
    Set(kRuntime, F::DebugOffsets_free_threaded, layout_.flavor.free_threaded ? 1 : 0);
    for (const cpython::DebugOffsetsRow& row : cpython::DebugOffsetsRows()) {
      Set(kRuntime, row.member, row.field != F::kCount ? layout_.Offset(row.field) : layout_.Size(row.size));
    }
  }

  cpython::Layout layout_;
  Address collector_ = 0, generations_ = 0;
};

/// The built-in layout of that name, which must exist.
inline const cpython::Layout& BuiltinLayout(std::string_view name) {
  for (const cpython::Layout& layout : cpython::BuiltinLayouts()) {
    if (layout.name == name) return layout;
  }
  throw std::logic_error("no built-in layout " + std::string(name));
}

}  // namespace pygc::test
