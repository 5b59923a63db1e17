// What leaks, stacks, heap and dominators find, as data: for commands that put several of them on one page.
#pragma once

#include "core/engine/command.h"
#include "core/report/heap_report.h"
#include "core/report/leaks_report.h"
#include "core/report/path_text.h"
#include "core/report/stacks_report.h"

namespace pygc::engine {

/// A report of leaks with the header and the outcome (without a document) that belong to it.
struct LeaksFound {
  report::LeaksReport report;
  report::Header header;
  Outcome outcome;
};

[[nodiscard]] LeaksFound FindLeaks(const CommandInput& input);
[[nodiscard]] report::StacksReport FindStacks(const CommandInput& input);
/// Of a snapshot with leaves. Errors: kCancelled, kLimit, kNotAnalysable.
[[nodiscard]] Result<report::HeapReport> FindHeap(const CommandInput& input);
/// The top ones alone.
[[nodiscard]] Result<report::DominatorsReport> FindDominators(const CommandInput& input);

/// A shortest path from a root to an object; nullopt where none leads to it.
[[nodiscard]] std::optional<report::RootPath> FindShortestPath(const CommandInput& input, Address object);

/// `input` with another request: how one command asks another.
[[nodiscard]] inline CommandInput WithRequest(const CommandInput& in, const Request& request) {
  return {request, in.reader, in.heap, in.verdict, in.header, in.progress, in.colour, in.machine, in.audit, in.roots, in.derived, in.baseline, in.whole, in.sites, in.columns, in.rows};
}

}  // namespace pygc::engine
