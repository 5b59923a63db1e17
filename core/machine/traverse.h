// What a type's tp_traverse visits, found by executing its machine code over the target's memory in a bounded machine: no instruction of the target ever
// runs on the host's processor, nothing is written to the target. Also runs exported accessors (PyInterpreterState_Head, PyGC_IsEnabled, tp_is_gc) and
// reports what they read, which leads to statics that have no symbol.
// Knows the calling convention and the shape of an object's header (where ob_type is), no other structure of CPython. See traverse.md of the project.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/address.h"
#include "core/machine/linkage.h"
#include "core/machine/memory_view.h"
#include "core/machine/stop_reason.h"
#include "core/target/process.h"

namespace pygc::machine {

/// One call of the visit function.
struct Visit {
  Address referent = 0;
  Address slot = 0;  // where the pointer was loaded from (it may carry tag bits there), or 0 where that is not known
};

/// What can be said of the visits of a run.
enum class RunLabel : std::uint8_t {
  kExact,        // ran to its end; depends on the object and on constants of the process alone
  kExactTls,     // read thread-local data or a preset: true for the thread that was chosen
  kExactWrote,   // wrote to memory of the target (locks, counters), in an overlay that was thrown away
  kApproximate,  // ran to its end, but depended on something that is not known (stack memory never written)
  kPartial,      // stopped early: the visits before the stop are certain, more may be missing
  kRefused,      // did not start
};

/// How a run ended.
struct RunOutcome {
  RunLabel label = RunLabel::kRefused;
  StopReason reason = StopReason::kNone;
  Address stop_address = 0;        // of the instruction where it stopped
  Address stop_operand = 0;        // the address or value that it is about
  std::string_view stop_function;  // of kStopFunction and kUnresolvedSymbol: the name
  std::uint64_t steps = 0;         // instructions executed
  std::uint64_t result = 0;        // rax, where it returned

  [[nodiscard]] bool is_exact() const noexcept { return label <= RunLabel::kExactWrote; }
  /// One line for reports: "stopped at 0x7f...: reads memory that is not in the image (0x18)".
  [[nodiscard]] std::string Text() const;
};

/// Bounds and rules. The bounds on numbers from the target are those of traverse.md, section 5.
struct MachineOptions {
  bool trust_anonymous_code = false;    // --trust-anon-code: run code outside the read-only text of files
  std::optional<Address> fs_base;       // thread whose thread-local data is read; unset: the first thread with registers
  std::vector<Preset> presets;          // words that a running thread would have, and the target as it stopped has not
  std::uint32_t ob_type_offset = 8;     // of PyObject.ob_type, bytes
  std::uint64_t base_steps = 20'000;    // a run may take this many steps ...
  std::uint64_t steps_per_item = 128;   // ... and this many for each plausible item and each slot visited ...
  std::uint64_t max_steps = 10'000'000; // ... but no more than this. Longest real run seen: 248,000
  std::uint64_t max_visits = 1u << 24;  // of one run
  unsigned max_depth = 64;              // nested calls; deepest real one seen: 5
  std::size_t max_overlay_pages = MemoryView::kMaxOverlayPages;
  std::size_t max_decoded_instructions = 1u << 17;  // in the cache of one machine; real programs need some 20,000
  unsigned max_strikes = 64;            // runs of one function that end in the same bound before it is not run any more
  bool shortcuts = true;                // false: take the complete way for every instruction (tests)
  std::shared_ptr<std::atomic<std::int64_t>> budget;  // total of steps, shared by machines; nullptr: no total
};

/// The machine. Not thread-safe and not cheap to make (half a megabyte): make one for each thread and keep it. Runs allocate nothing once it is warm.
class TraverseMachine {
 public:
  /// `process` outlives the machine.
  TraverseMachine(const target::Process& process, const MachineOptions& options);
  /// The same with a Linkage that machines of several threads share.
  TraverseMachine(const target::Process& process, std::shared_ptr<const Linkage> linkage, const MachineOptions& options);
  ~TraverseMachine();
  TraverseMachine(TraverseMachine&&) noexcept;
  TraverseMachine& operator=(TraverseMachine&&) noexcept;

  /// Runs `tp_traverse` on `object` and appends what it visits, in order. `plausible_items`: how many referents the object can be thought to have
  /// (its ob_size, say), which only widens the bound on steps. Visits are appended also where the run stops early. `trace` (may be nullptr) as in
  /// RunFunction(); a run with one is several times slower.
  RunOutcome Traverse(Address tp_traverse, Address object, std::vector<Visit>& out, std::uint64_t plausible_items = 0, ReadTrace* trace = nullptr);

  /// Runs any function with up to six integer arguments; its result is in RunOutcome::result. `trace` (may be nullptr) receives what it read from the
  /// target, without its stack.
  RunOutcome RunFunction(Address function, std::span<const std::uint64_t> arguments, ReadTrace* trace = nullptr);

  /// Distinct instructions decoded so far.
  [[nodiscard]] std::size_t decoded_instructions() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pygc::machine
