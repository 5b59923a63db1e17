// The report of `pygc leaks`: what cannot be freed and what waits, grouped.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/report/allocation_site.h"
#include "core/report/cycle_text.h"
#include "core/report/header.h"

namespace pygc::report {

enum class Severity : std::uint8_t { kPending, kDefinite };
[[nodiscard]] const char* SeverityName(Severity s) noexcept;

/// Why the objects of a group are not freed.
enum class Reason : std::uint8_t {
  kCycle,            // a plain cycle: the next full collection frees it
  kFinalizer,        // a cycle with tp_finalize: freed as well, after the finalizers ran
  kLegacyFinalizer,  // the collector will not choose an order: never freed
  kHeldByLegacy,     // reachable only from such
  kSaveAll,          // in gc.garbage because gc.DEBUG_SAVEALL is set
  kInGarbage,        // in gc.garbage without a reason that can be seen now: put there by hand or by an earlier DEBUG_SAVEALL
  kHeldByGarbage,    // reachable only from gc.garbage
  kFrozen,           // unreachable inside the permanent generation
  kLost,             // a reference was leaked: the count alone keeps it
  kHiddenCycle,      // a cycle through a reference that no traversal visits
};
[[nodiscard]] const char* ReasonName(Reason r) noexcept;  // "cycle", "legacy-finalizer", ..., "frozen"

struct TypeCount {
  std::string type;
  std::uint64_t objects = 0;
  std::uint64_t bytes = 0;  // shallow
  std::string note;         // "open", "3 open, 2 closed", "locked"
  std::vector<std::int32_t> fds = {};  // of open files and sockets, sorted; the first ones
};

struct FinalizerCount {
  std::string type;
  std::string kind;  // "__del__", "tp_finalize", "tp_del"
  std::uint64_t pending = 0, run = 0;
};

/// Structures that look the same: same types, same shape, same labels.
struct LeakGroup {
  Severity severity = Severity::kPending;
  bool uncollectable = false;
  Reason reason = Reason::kCycle;
  std::int64_t interpreter = 0;
  std::string type;                   // of the object that the group is named after
  std::string name;                   // what those objects are called, where they have names: "f", "C, D, E, …"
  std::string code_name;              // CycleStep::code_name, where those objects have it and all the same; not printed
  std::uint64_t count = 0;            // structures
  std::uint64_t objects = 0;          // in all of them, without what hangs on them
  std::uint64_t in_garbage = 0;       // of these, items of gc.garbage
  std::uint64_t bytes = 0;            // shallow bytes of `objects`
  std::uint64_t bytes_with_held = 0;  // with what hangs on them
  Cycle cycle;                        // one shortest cycle of the first structure; empty where it is no cycle
  std::vector<TypeCount> members;     // of one structure, by type
  std::vector<TypeCount> held;        // what only hangs on the group, by type
  std::vector<FinalizerCount> finalizers;
  bool order_undefined = false;                      // two or more objects with a finalizer in one cycle
  std::map<std::string, std::uint64_t> generations;  // objects by generation
  std::vector<Address> addresses;  // of the object that the group is named after, one for each structure, sorted; at most as many as asked for
  bool approximate = false;        // a member's referents were guessed
  bool also_referenced = false;    // items of gc.garbage that something else refers to as well
  std::vector<FinalizerCount> held_finalizers;  // among what hangs on the group
  std::uint64_t shared_objects = 0;             // of what hangs on it: hang on other groups too, and are counted here alone
  std::vector<std::uint64_t> shared_with;       // numbers (#2, ...) of those groups, as far as known
  std::vector<AllocationSite> sites;            // that allocated the objects that the group is named after, most first; empty: tracemalloc was off
};

struct LeaksReport {
  std::uint64_t unreachable = 0, collectable = 0, uncollectable = 0, in_garbage = 0, frozen = 0;
  std::optional<std::uint64_t> unreachable_upper = 0;  // with guessed references believed; nullopt: objects or references are missing, so there is no bound
  bool audited = false;
  std::uint64_t lost = 0, hidden_cycles = 0;  // structures of these kinds, before --type and --limit; where audited
  std::uint64_t lost_objects = 0, hidden_objects = 0;  // in them, with what hangs on them
  std::uint64_t group_count = 0;     // before --limit
  std::uint64_t groups_ignored = 0;  // left out by --type and --ignore
  std::uint64_t groups_known = 0;    // left out by --baseline
  std::uint64_t objects_known = 0;   // in the structures of these, without what hangs on them
  std::uint64_t objects_new = 0;     // in the structures of the others, with what hangs on them: tracked or not
  bool everything = false;           // --limit 0: no list is cut short
  bool legacy_instances = false;     // the interpreter never frees cycles with __del__ (2.7)
  std::vector<LeakGroup> groups;     // definite first, then by bytes and count
};

/// Keys "cycle" (each object and reference), "cycle_text" and "shape".
void WriteCycle(JsonWriter& json, const Cycle& cycle);
/// Key `key` with an array of type, objects, bytes, note.
void WriteTypeCounts(JsonWriter& json, std::string_view key, const std::vector<TypeCount>& counts);
/// Key "addresses".
void WriteAddresses(JsonWriter& json, const std::vector<Address>& addresses);
/// Key `key` with an array of type, kind, pending, run.
void WriteFinalizers(JsonWriter& json, std::string_view key, const std::vector<FinalizerCount>& finalizers);

/// What would undo the group; empty where there is nothing to say.
[[nodiscard]] std::string FixText(const LeaksReport& report, const LeakGroup& group);
/// Why it is not freed, in a sentence.
[[nodiscard]] std::string BecauseText(const Header& header, const LeaksReport& report, const LeakGroup& group);
/// "1,204 file (open: fd 3, 4, 12.3 MB)": objects of one type.
[[nodiscard]] std::string HeldText(const TypeCount& count);
/// "app.py:12 (20)": a line that allocated objects of the group.
[[nodiscard]] std::string SiteText(const LeakGroup& group, const AllocationSite& site);
/// The verdict in one sentence.
[[nodiscard]] std::string VerdictText(const Header& header, const LeaksReport& report);

void WriteText(const Header& header, const LeaksReport& report, TextWriter& out);
/// The value of "result".
void WriteJson(const Header& header, const LeaksReport& report, JsonWriter& json);

}  // namespace pygc::report
