// The seam to core/machine: who reads the referents of a type that no native reader knows, by interpreting the machine code of its tp_traverse.
// ObjectReader calls it for ReaderKind::kMachine and for modules whose C state has an m_traverse; without one, such objects are scanned and labelled.
#pragma once

#include <vector>

#include "core/objects/type_table.h"

namespace pygc::objects {

/// Where a visited pointer was loaded from; 0 where that is not known.
struct SlotOrigin {
  Address slot = 0;
};

class TraverseInterpreter {
 public:
  virtual ~TraverseInterpreter() = default;
  /// Runs the tp_traverse of `type` on the object and appends what it visits to `out`, in its order. `type` is the type that the function belongs to: of the
  /// object itself, or a base of it. With `slots`, one element for each address appended.
  /// Returns how exact the list is. kApproximate and kUnknown: nothing was appended, and the caller scans the object.
  /// Thread-safe.
  virtual ReferentQuality Run(const TypeFacts& type, Address object, std::vector<Address>& out, std::vector<SlotOrigin>* slots) const = 0;
};

}  // namespace pygc::objects
