// The interpreter's state in the target, as addresses and small numbers: runtime, interpreters, collector state, thread states.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/base/address.h"
#include "core/base/limits.h"
#include "core/base/result.h"
#include "core/cpython/layout.h"
#include "core/target/process.h"

namespace pygc::cpython {

/// One generation list of the collector. CPython: struct gc_generation, Include/internal/pycore_gc.h [3.7+], Modules/gcmodule.c [2.7-3.6].
struct GcGeneration {
  Address head = 0;  // of the PyGC_Head that anchors the ring; 0 in free-threaded builds, which have no lists
  std::int32_t threshold = 0;
  std::int32_t count = 0;
};

/// Which collector the build has.
enum class CollectorKind : std::uint8_t { kGenerational, kIncremental, kFreeThreaded };

/// One thread state.
struct PyThread {
  Address tstate = 0;
  std::uint64_t thread_id = 0;                    // pthread_self(): the fs base
  std::optional<std::uint64_t> native_thread_id;  // kernel tid, 3.11+
};

/// One interpreter with its collector.
struct Interpreter {
  Address address = 0;
  std::int64_t id = 0;
  CollectorKind collector = CollectorKind::kGenerational;
  bool enabled = true, enabled_known = true;  // not known: nothing says what gc.disable() left there
  std::int32_t debug = 0;       // gc.DEBUG_* bits
  bool collecting = false;
  std::vector<GcGeneration> generations;          // youngest first; what gc.get_objects(generation=i) means is `generation_number`
  std::vector<std::uint8_t> generation_number;    // for each of `generations`: 0, 1, 2
  std::optional<GcGeneration> permanent;          // gc.freeze(), 3.7+
  Address garbage = 0;                            // the list object gc.garbage, or 0
  Address callbacks = 0;
  struct Stats { std::int64_t collections = 0, collected = 0, uncollectable = 0; };
  std::vector<Stats> stats;                       // per generation, empty where the build keeps none
  std::int64_t long_lived_total = 0, long_lived_pending = 0;
  Address modules = 0, sysdict = 0, builtins = 0;
  std::vector<PyThread> threads;
};

/// How the PyGC_Head words are to be read. CPython: Include/internal/pycore_gc.h, Include/objimpl.h [2.7-3.7].
struct GcHeadFormat {
  std::uint32_t size = 16;         // object address = head address + size
  std::uint32_t next_offset = 0, prev_offset = 8, refs_offset = 0;  // refs_offset 0: refs live in _gc_prev (3.8+)
  std::uint64_t pointer_mask = ~0ull;  // & both links
  std::uint64_t finalized_bit = 0;     // of _gc_prev (3.8+) or of gc_refs (3.6, 3.7); 0: none (2.7)
  std::uint64_t collecting_bit = 0;    // of _gc_prev (3.8+)
  std::uint64_t unreachable_bit = 0;   // of _gc_next (3.8+)
};

/// How ob_refcnt is to be read.
enum class RefcountFormat : std::uint8_t {
  kPlain,       // Py_ssize_t, nothing immortal (<= 3.11)
  kImmortal32,  // low 32 bits count; immortal where they are negative as int32 (3.12, 3.13)
  kSplit,       // u32 count, overflow and flags above it (3.14+); immortal as before
  kBiased,      // free-threaded: ob_ref_local + (ob_ref_shared >> 2)
};

/// A CPython in the process that is initialised too and was not chosen.
struct OtherRuntime {
  std::string version_text;
  std::string module_path;  // as the target names it
};

/// Everything known of the Python in a process.
struct Runtime {
  Layout layout;
  std::string version_text;   // "3.12.1"
  std::string build_text;     // what Py_GetVersion says, where found
  GcHeadFormat gc_head;
  RefcountFormat refcount = RefcountFormat::kPlain;
  Address runtime_address = 0;                // _PyRuntime, 0 up to 3.6
  std::size_t module_index = ~std::size_t{0};  // of the interpreter's module (libpython or the executable) in Process::modules
  std::vector<Interpreter> interpreters;      // the main one first, then by id
  std::vector<std::string> explanation;       // how each fact was found, for `status`
  std::vector<std::string> warnings;          // disagreements between sources, with both values and the chosen one
  std::vector<OtherRuntime> others;           // initialised, and not analysed
  // Why the interpreters are not known: the memory that leads to them is missing. Then `interpreters` is empty, and version, layout and addresses of symbols
  // are all that is known. Empty where they were read.
  std::string state_lost;
  bool layout_tried_on_real_process = true;   // false: 3.14.0 - 3.14.4 and others that no build was had of
  Address type_type = 0;                      // PyType_Type
  Address none_object = 0;                    // _Py_NoneStruct
  Address set_dummy = 0;                      // the dummy entry of sets, 0 where unknown
  Address lookdict = 0;                       // 3.6-3.10: the general dict lookup function (keys are visited only where dk_lookup is this)
};

/// Finds the CPython in `process`, chooses its layout and reads interpreters, collectors and threads. Where the memory of these is missing but the build is
/// known by its file: a Runtime without interpreters, see Runtime::state_lost. Of several that are initialised: the one whose module has a file in
/// `chosen_files`, then the main program's, then the first.
/// Errors: kNotAnalysable ("not CPython: ..." naming what it is; or nothing of the interpreter's state in it), kUnsupported.
[[nodiscard]] Result<Runtime> LocateRuntime(const target::Process& process, const Limits& limits, const std::string& user_layout_file = {},
                                            std::span<const std::string> chosen_files = {});

/// Run-time address of a symbol of the interpreter's own module (libpython or the executable), by .symtab, .dynsym; nullopt where none.
[[nodiscard]] std::optional<Address> FindInterpreterSymbol(const target::Process& process, const Runtime& runtime, std::string_view name);

}  // namespace pygc::cpython
