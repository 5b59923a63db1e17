// References that variables of C code hold: static variables of modules (interned names and constants of an extension), and members of instances of C types that nothing
// here knows. Nothing proves such a word to be a reference, so it makes no finding; but where each reference that is not known otherwise has such a variable of its
// own, the count adds up.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "core/audit/audit_input.h"
#include "core/audit/memory_cover.h"
#include "core/audit/static_data.h"
#include "core/base/progress.h"
#include "core/heap/reference_audit.h"

namespace pygc::audit {

/// For each node whose count is higher than what is known of it: how many variables are its very address; those that have none are left out. By node.
/// Variables are words of open memory in the data of modules, and a member of a type whose memory is not known (`open_types`, by type record) that leads to an object in
/// every instance in which it is not NULL. A block that looks like an object, and whose whole count such words make up, is one that a variable holds: what it refers
/// to counts as held in the same way (a tuple of constants that the collector does not track), and so does what a lost one refers to. `known`: places of references
/// that are counted already, rising. `texts`: to whose content a static variable leads, one entry for each (a docstring's char*).
/// Stopped through `progress`: what was found so far.
/// HEURISTIC: a variable may borrow what it leads to. Wrong where the object has a leaked reference for each such variable.
[[nodiscard]] std::vector<std::pair<heap::NodeId, std::uint32_t>> FindInVariables(const AuditInput& in, const heap::ReferenceAudit& audit, const MemoryCover& cover, const StaticData& statics,
                                                                                  std::span<const Address> known, std::span<const heap::NodeId> texts, const std::vector<bool>& open_types, ProgressSink& progress);

}  // namespace pygc::audit
