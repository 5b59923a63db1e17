// The report of `pygc asyncio`: tasks as a tree, what each of them awaits and where it stands.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/report/header.h"

namespace pygc::report {

/// A coroutine of a task's chain, the outermost first, or what the innermost one awaits.
struct AsyncStep {
  Address address = 0;
  std::string type;
  std::string function, qualified_name, file;  // empty where it has no frame
  std::int64_t line = -1;
};

struct AsyncTaskRow {
  std::uint32_t depth = 0;
  std::string relation;    // to the task above: "as-completed", "awaits", "gather", "shield", "task-group", "wait"; empty at depth 0
  Address address = 0, loop = 0, waiter = 0;
  std::string type, name, state;  // state: "waiting", "ready", "running"
  std::string waiter_type;
  std::optional<double> due;       // when a timer ends what it waits for, in seconds by the loop's clock
  std::optional<double> timeout;   // when a timer cancels it
  std::uint64_t children = 0;     // tasks below it
  bool unreachable = false;       // nothing in use refers to it: it will be destroyed although it is pending
  bool repeated = false;          // stands in the tree already; not followed again
  bool complete = true;           // false: its coroutine could not be read
  std::vector<AsyncStep> steps;
};

struct AsyncLoop {
  Address address = 0;
  std::string type;
  std::uint64_t tasks = 0;         // pending
  std::uint64_t timers = 0;        // callbacks that it is to run later, without cancelled ones
  std::optional<double> next_due;  // of the first of them, in seconds by the loop's clock
};

struct AsyncioReport {
  std::uint64_t tasks = 0, done = 0, waiting = 0, ready = 0, running = 0, unreadable = 0;
  std::vector<AsyncLoop> loops;
  std::uint64_t left_out = 0;       // rows
  std::vector<AsyncTaskRow> rows;   // depth first
};

void WriteText(const Header& header, const AsyncioReport& report, TextWriter& out);
void WriteJson(const Header& header, const AsyncioReport& report, JsonWriter& json);

}  // namespace pygc::report
