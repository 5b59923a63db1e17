// The seam to core/machine: who reads the referents of a type that no native reader knows, by interpreting the machine code of its tp_traverse.
// ObjectReader calls it for ReaderKind::kMachine and for modules whose C state has an m_traverse; without one, such objects are scanned and labelled.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include "core/objects/type_table.h"

namespace pygc::objects {

/// Where a visited pointer was loaded from, and how the function came there from the object.
struct SlotOrigin {
  static constexpr std::size_t kMaxSteps = 3;
  Address slot = 0;                          // 0: not known
  std::array<Address, kMaxSteps> through{};  // slots whose pointers lead to the block that `slot` lies in, the last one first; 0: none
  bool in_object = false;                    // the last of these, or `slot` where there is none, lies in the object itself
};

/// Why some referents of a type are not exact.
struct NotExactReason {
  std::string code;  // for scripts: machine::StopReasonCode() and a few of ObjectReader::WhyNotExact(); empty: not known
  std::string text;  // for people
};

class TraverseInterpreter {
 public:
  virtual ~TraverseInterpreter() = default;
  /// Runs the tp_traverse of `type` on the object and appends what it visits to `out`, in its order. `type` is the type that the function belongs to: of the
  /// object itself, or a base of it. With `slots`, one element for each address appended.
  /// Returns how exact the list is. kApproximate and kUnknown: nothing was appended, and the caller scans the object.
  /// Thread-safe.
  virtual ReferentQuality Run(const TypeFacts& type, Address object, std::vector<Address>& out, std::vector<SlotOrigin>* slots) const = 0;
  /// Why runs of the type's tp_traverse so far were not exact; empty where all were.
  [[nodiscard]] virtual NotExactReason WhyNotExact(const TypeFacts& type) const = 0;
  /// Objects whose tp_traverse has visited what can be no object, in the order of addresses, each once; at most some thousands. Thread-safe.
  [[nodiscard]] virtual std::vector<Address> ObjectsAstray() const { return {}; }
};

}  // namespace pygc::objects
