// Triage: leaks, stacks and dominators asked once each, redacted, and what the kernel noted of the crash.
#include <algorithm>

#include "core/engine/crash.h"
#include "core/engine/derived.h"
#include "core/engine/findings.h"
#include "core/engine/heap_sections.h"
#include "core/report/triage_report.h"

namespace pygc::engine {
namespace {

constexpr std::uint64_t kMostFrames = 20;  // of a thread
constexpr unsigned kTerminalRows = 24, kMostRows = 51;  // terminals are 24 lines high where nobody says otherwise

}  // namespace

Outcome RunTriage(const CommandInput& in) {
  Request request = in.request;
  request.redact = !in.request.show_values;
  const CommandInput asked = WithRequest(in, request);
  LeaksFound leaks = FindLeaks(asked);
  report::TriageReport r;
  r.everything = request.limit == 0;
  r.whole_lines = in.columns == 0;
  if (!r.whole_lines) r.rows = std::clamp(in.rows, kTerminalRows, kMostRows) - 1;  // the prompt takes one
  r.leaks = std::move(leaks.report);
  report::Header header = std::move(leaks.header);
  Outcome outcome = std::move(leaks.outcome);

  Request of_stacks = request;
  of_stacks.limit = request.limit == 0 ? 0 : kMostFrames;
  r.stacks = FindStacks(WithRequest(in, of_stacks));
  r.crash = *r.stacks.crash;
  r.stacks.crash.reset();  // said once
  outcome.partial |= std::any_of(r.stacks.threads.begin(), r.stacks.threads.end(), [](const report::ThreadStackReport& t) { return !t.complete; });

  r.no_holders = "the objects could not be read";
  if (in.whole != nullptr) {
    Request of_holders = request;
    of_holders.generation.reset();
    Result<report::DominatorsReport> holders = FindDominators(WithRequest(*in.whole, of_holders));
    if (holders) {
      r.holders = std::move(*holders);
      const CommandInput paths = WithRequest(*in.whole, of_holders);
      if (const Result<const Retention*> retention = RetentionOf(paths)) r.suspects = FindSuspects(paths, **retention);
      for (report::Dominator& d : r.holders->rows) {
        if (d.depth != 0) continue;
        if (const std::optional<report::RootPath> path = FindShortestPath(paths, d.address)) d.path = report::PlacedPathOf(*path);
      }
    } else {
      r.no_holders = holders.error().message;
      outcome.interrupted |= holders.error().code == ErrorCode::kCancelled;
    }
  }
  if (!r.holders) {
    outcome.partial = true;
    header.missing.push_back({"who holds the memory", r.no_holders, ""});
    header.complete = false;
  }
  outcome.document = Render(in, header, r);
  return outcome;
}

}  // namespace pygc::engine
