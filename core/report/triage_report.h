// The report of `pygc triage`: one screen for one process. What crashed, what the threads ran, the collector, what leaks, who holds the memory.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/report/heap_report.h"
#include "core/report/leaks_report.h"
#include "core/report/stacks_report.h"

namespace pygc::report {

/// Why a core was written, as far as it tells.
struct CrashFacts {
  enum class Kind : std::uint8_t { kSignal, kStopped, kLive } kind = Kind::kLive;  // kStopped: a debugger or gcore took the core
  std::int32_t signal = 0;
  std::int32_t thread = 0;                  // the kernel's number; 0: not known
  std::string place;                        // where it stood in native code: "libc.so.6: raise+0x21"
  std::string module;                       // path of the file mapped there; empty where none
  std::optional<std::size_t> python_thread;  // index into StacksReport::threads; nullopt: it ran no Python
};

struct TriageReport {
  CrashFacts crash;
  StacksReport stacks;
  LeaksReport leaks;
  std::optional<DominatorsReport> holders;  // nullopt: could not be had
  std::string no_holders;                   // why
  bool everything = false;                  // --limit 0
};

/// "SIGSEGV"; "signal 42" where it has no name of its own.
[[nodiscard]] std::string SignalName(std::int32_t signal);
/// What it means, in a few words; empty where that says nothing.
[[nodiscard]] const char* SignalMeaning(std::int32_t signal) noexcept;
/// The fingerprint of the crash; empty for a live process.
[[nodiscard]] std::string FingerprintOf(const TriageReport& report);

/// At most 50 lines of 80 columns (with --limit 0 as many as there are).
void WriteText(const Header& header, const TriageReport& report, TextWriter& out);
void WriteJson(const Header& header, const TriageReport& report, JsonWriter& json);

}  // namespace pygc::report
