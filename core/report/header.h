// What every report starts with: the envelope of JSON, and the PARTIAL lines and first line of text (contract.md, JSON and exit status).
#pragma once

#include <cstdint>
#include <optional>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/report/json_writer.h"
#include "core/report/text_writer.h"

namespace pygc::report {

/// How sure a figure is when data are missing or references only guessed.
enum class Certainty : std::uint8_t { kExact, kLowerBound, kUnverifiable };
[[nodiscard]] const char* CertaintyName(Certainty c) noexcept;  // "exact", "lower bound", "unverifiable"

struct TargetFacts {
  std::string kind = "core";  // core | live
  std::string path;           // of the core; empty for a live process
  std::int32_t pid = 0;       // 0: not known
  std::string python;         // "3.12.1"
  std::string build = "default";
  bool debug = false;
};

struct Missing {
  std::string what, reason, remedy;
};

/// The collector of one interpreter, as far as the first line and `interpreters[]` say it.
struct CollectorFacts {
  std::int64_t id = 0;
  std::string kind = "generational";  // generational | incremental | free-threaded
  bool enabled = true, collecting = false;
  bool enabled_known = true;   // false: `enabled` is what a new process has
  std::string phase = "none";  // of a collection that was running: none | deciding | freeing | between
  std::vector<std::int64_t> thresholds, counts;  // youngest first
  std::vector<std::string> debug_flags;          // "DEBUG_SAVEALL", ...
  std::uint64_t tracked = 0, in_garbage = 0;
  std::optional<std::uint64_t> unreachable = std::nullopt, uncollectable = std::nullopt;  // where a verdict was asked for
  /// Rows as gc.get_objects(generation=N) and gc.get_stats() see them; the permanent generation and a detached list last, without statistics.
  struct Generation {
    std::string name;  // "0", "1", "2" ("all" in free-threaded builds), "permanent", "being collected"
    std::uint64_t objects = 0;
    bool has_stats = false;
    std::int64_t collections = 0, collected = 0, uncollectable = 0;
  };
  std::vector<Generation> generations;
  std::int64_t long_lived_total = 0, long_lived_pending = 0;
  std::uint64_t threads = 0;
};

/// "on", "off: garbage waits until gc.collect() is called", "on or off (not known)".
[[nodiscard]] const char* CollectorSwitch(const CollectorFacts& c) noexcept;

struct Header {
  std::string command;
  std::string host = "standalone";
  TargetFacts target;
  std::uint64_t tracked = 0;
  bool tracked_at_least = false;  // nothing led to all of them: there may be more
  bool objects_read = true;  // false: the heap could not be read at all
  bool complete = true;
  Certainty certainty = Certainty::kExact;
  std::vector<Missing> missing;
  std::vector<std::string> warnings;
  std::vector<std::pair<std::string, double>> timing;  // seconds
  std::vector<CollectorFacts> interpreters;            // the main one first
};

/// Writes everything of the envelope up to and including the key "result"; the caller writes its value and calls EndEnvelope.
void BeginEnvelope(JsonWriter& json, const Header& header);
void EndEnvelope(JsonWriter& json);
/// The parts of it, for a report that adds keys to "target": the target's object, with `more` called before its end; then the rest up to "result".
void WriteTargetObject(JsonWriter& json, const TargetFacts& target, const std::function<void()>& more);
void WriteEnvelopeRest(JsonWriter& json, const Header& header);
/// Key and value of "interpreters" in a result.
void WriteInterpreters(JsonWriter& json, const std::vector<CollectorFacts>& interpreters);

/// PARTIAL lines where data are missing.
void WritePartialLines(TextWriter& out, const Header& header);
/// The same, then the line that says what was looked at:
/// "CPython 2.7.18 · core.4711 · 5,610 objects tracked · collector on · thresholds 700/10/10, counts 411/3/8 · exact". More interpreters: a line
/// each.
void WriteFirstLines(TextWriter& out, const Header& header);
/// Warnings at the end of a text report.
void WriteWarnings(TextWriter& out, const Header& header);
/// "core.4711", "pid 4711": the target in a few characters.
[[nodiscard]] std::string TargetName(const TargetFacts& target);

}  // namespace pygc::report
