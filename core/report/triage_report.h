// The report of `pygc triage`: one screen for one process. What crashed, what the threads ran, the collector, what leaks, who holds the memory.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/report/crash.h"
#include "core/report/heap_report.h"
#include "core/report/leaks_report.h"
#include "core/report/stacks_report.h"

namespace pygc::report {

struct TriageReport {
  CrashFacts crash;
  StacksReport stacks;
  LeaksReport leaks;
  std::optional<DominatorsReport> holders;  // nullopt: could not be had
  std::string no_holders;                   // why
  std::vector<Suspect> suspects;            // what keeps more than a fifth of what is in use, most first
  bool everything = false;                  // --limit 0
  std::size_t rows = 50;                    // lines of the screen
  bool whole_lines = false;                 // not for a screen: what is too long for a line goes on in the next one, instead of being cut off
};

/// The fingerprint of the crash; empty for a live process.
[[nodiscard]] std::string FingerprintOf(const TriageReport& report);

/// At most `rows` lines of 80 columns, where these are 23 or more: as much of each part as fits, the crash before all. With --limit 0 as many as there are; with
/// whole_lines some more, and a word that is longer stays whole.
void WriteText(const Header& header, const TriageReport& report, TextWriter& out);
void WriteJson(const Header& header, const TriageReport& report, JsonWriter& json);

}  // namespace pygc::report
