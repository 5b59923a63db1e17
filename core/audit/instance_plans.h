// What the audit has to do for each instance of a type, decided once a type: most objects then cost their references and nothing else.
#pragma once

#include <cstdint>
#include <vector>

#include "core/audit/audit_input.h"

namespace pygc::audit {

struct InstancePlan {
  const objects::TypeFacts* type = nullptr;  // nullptr: nothing is known of the instances
  /// How the memory and the references of an instance are found. kAsk: everything is asked of objects::Ownership, object by object. Instances of all others
  /// have no reference that is not visited beside those that are named here, and no word of theirs means anything else.
  enum class Kind : std::uint8_t { kAsk, kBody, kBuffers, kDict } kind = Kind::kAsk;
  bool owns_type = false;                    // not kAsk: each instance owns its type, and no traversal shows that
  bool is_leaf = false;                      // refers to nothing
  bool may_point_to_native = false;          // words of theirs may be pointers to native memory
  bool is_int = false;                       // its value may be one
  std::uint32_t head_bytes = 0;              // before the object's address
  // may_point_to_native: which words; empty: all of the body.
  std::vector<std::uint32_t> words;          // bytes from the object's address
  bool all_words = false;
};

/// By index of HeapSnapshot::types.
[[nodiscard]] std::vector<InstancePlan> PlanInstances(const AuditInput& input);

}  // namespace pygc::audit
