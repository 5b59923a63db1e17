// The TraverseInterpreter over core/machine: runs a type's tp_traverse in the bounded machine and says how exact the answer is, and for types where it is
// not, why. One for each target; threads share it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/cpython/runtime.h"
#include "core/machine/traverse.h"
#include "core/objects/traverse_interpreter.h"
#include "core/target/process.h"

namespace pygc::objects {

/// What the runs of one tp_traverse came to.
struct TraverseRecord {
  Address function = 0;
  std::uint64_t not_exact = 0;       // runs whose answer was partial, approximate or none
  machine::RunOutcome example;       // the first of them
  Address object = 0, type = 0;      // of the example
};

/// Bounds and rules for a MachineReader.
struct MachineReaderOptions {
  bool trust_anonymous_code = false;              // --trust-anon-code
  std::int64_t total_steps = 200'000'000'000;     // for the whole analysis: some ten minutes
  unsigned threads = 0;                           // that will use it at once, for the share of the decode cache; 0: not known
};

class MachineReader final : public TraverseInterpreter {
 public:
  /// `process` and `runtime` outlive it.
  MachineReader(const target::Process& process, const cpython::Runtime& runtime, const MachineReaderOptions& options);
  ~MachineReader() override;

  ReferentQuality Run(const TypeFacts& type, Address object, std::vector<Address>& out, std::vector<SlotOrigin>* slots) const override;
  /// The same for a function that is not a type's tp_traverse but has its signature (m_traverse). `items`: how many referents are plausible.
  ReferentQuality RunFunction(Address traverse, const TypeFacts& type, Address object, std::uint64_t items, std::vector<Address>& out,
                              std::vector<SlotOrigin>* slots) const;
  /// What `tp_is_gc(object)` says; nullopt when it cannot be run.
  [[nodiscard]] std::optional<bool> IsGc(Address tp_is_gc, Address object) const;

  /// Functions that were not exact at least once, by address.
  [[nodiscard]] std::vector<TraverseRecord> NotExact() const;
  [[nodiscard]] NotExactReason WhyNotExact(const TypeFacts& type) const override;
  [[nodiscard]] std::vector<Address> ObjectsAstray() const override;
  /// Its text alone.
  [[nodiscard]] std::string Reason(const TypeFacts& type) const { return WhyNotExact(type).text; }
  /// Steps taken so far, of total_steps; up to 65,536 a thread may not be counted yet.
  [[nodiscard]] std::int64_t steps_taken() const noexcept;

 private:
  struct Worker;
  class Borrowed;
  static constexpr std::size_t kSlots = 64;
  static constexpr std::size_t kMaxAstray = 1u << 14;

  void Record(Address function, const TypeFacts& type, Address object, const machine::RunOutcome& outcome) const;
  [[nodiscard]] std::uint64_t PlausibleItems(const TypeFacts& type, Address object) const;

  const target::Process* process_;
  machine::MachineOptions options_;
  std::shared_ptr<const machine::Linkage> linkage_;
  std::int64_t total_steps_;
  std::uint32_t ob_size_offset_;
  mutable std::array<std::atomic<Worker*>, kSlots> idle_{};
  mutable std::mutex mutex_;
  mutable std::unordered_map<Address, TraverseRecord> records_;
  mutable std::set<Address> astray_;  // the lowest kMaxAstray, so that it does not depend on which thread came first
};

}  // namespace pygc::objects
