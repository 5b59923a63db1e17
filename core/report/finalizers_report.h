// The report of `pygc finalizers`: objects that run code when they die.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/report/header.h"
#include "core/report/leaks_report.h"
#include "core/report/resource.h"

namespace pygc::report {

struct FinalizerGroup {
  std::string type;
  std::string kind;  // "__del__", "tp_finalize", "tp_del", "weakref callback"
  bool legacy = false;
  std::uint64_t objects = 0;
  std::uint64_t pending = 0;          // has not run
  std::uint64_t run = 0;              // has run; the object is still there
  std::uint64_t resurrected = 0;      // of `run`: reachable
  std::uint64_t unreachable = 0;      // pending, and a full collection would run it
  std::uint64_t uncollectable = 0;    // never runs
  std::uint64_t in_cycles = 0;        // in a cycle with others or with themselves that leads by no module, class, function or frame
  std::uint64_t order_undefined = 0;  // unreachable or stuck, and share a cycle with another such one that has not run
  std::vector<Address> addresses;     // unreachable ones first
  std::optional<std::int64_t> interpreter = std::nullopt;  // its id; nullopt: shared or not known
};

/// Generators, coroutines and async generators that stand at one place and may go on.
struct SuspendedGroup {
  std::string type;      // "generator", "coroutine", "async_generator"
  bool begun = true;     // false: no code of it has run yet (a coroutine that was never awaited)
  std::string function, file;
  std::int64_t line = -1;  // where it stands; of one that has not begun, where its function starts; -1: not known
  std::uint64_t objects = 0, unreachable = 0;
  std::vector<Address> addresses;
};

struct FinalizersReport {
  std::uint64_t objects = 0, pending = 0, run = 0, unreachable = 0, uncollectable = 0, order_undefined = 0;
  std::uint64_t callbacks = 0;  // weakref callbacks of unreachable objects, where known
  bool callbacks_known = false;
  bool runs_known = true;  // false on 2.7: nothing says whether __del__ has run
  std::uint64_t group_count = 0, groups_ignored = 0;
  std::vector<FinalizerGroup> groups;
  std::vector<SuspendedGroup> suspended;  // most objects first
  std::uint64_t suspended_objects = 0, suspended_groups = 0;  // with those not shown
  std::vector<ResourceRow> resources;                              // open files and sockets, locks that are locked
  std::uint64_t resource_count = 0, free_locks = 0, closed = 0;    // with those not shown; what is not held
};

void WriteText(const Header& header, const FinalizersReport& report, TextWriter& out);
void WriteJson(const Header& header, const FinalizersReport& report, JsonWriter& json);

}  // namespace pygc::report
