// One function a command: from what the session knows to a rendered report. Each lives in a file of its own, NAME_command.cc.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/analysis/root_paths.h"
#include "core/analysis/verdict.h"
#include "core/base/progress.h"
#include "core/base/result.h"
#include "core/graph/retained_size.h"
#include "core/engine/command_table.h"
#include "core/engine/session.h"
#include "core/heap/heap_snapshot.h"
#include "core/heap/root_set.h"
#include "core/objects/object_reader.h"
#include "core/report/header.h"

namespace pygc::engine {

struct AuditData;
class Baseline;
struct SavedSite;
class SiteCache;

/// What each object alone keeps alive.
struct Retention {
  graph::DominatorTree tree;                  // below the roots, and below what is in use and held by somebody who was not found
  graph::RetainedColumn bytes;                // by position in the tree, itself included. As sys.getsizeof() says them

  /// 0 for what is unreachable. Needs DominatorTree::AddPositions().
  [[nodiscard]] std::uint64_t BytesOf(heap::NodeId n) const noexcept { return tree.position[n] == heap::kNoNode ? 0 : bytes[tree.position[n]]; }
  /// The same, counted.
  [[nodiscard]] heap::NodeId ObjectsOf(heap::NodeId n) const noexcept { return tree.CountBelow(n); }
  /// All of it: what is in use.
  [[nodiscard]] std::uint64_t AllBytes() const noexcept {
    std::uint64_t sum = 0;
    tree.ForEachTop([&](heap::NodeId p) { sum = graph::AddSaturated(sum, bytes[p]); });
    return sum;
  }
};

/// What commands made of a snapshot with leaves, kept for the next one.
struct Derived {
  std::optional<analysis::RootPaths> paths;  // without exclusions
  std::optional<graph::CsrGraph> reverse;
  unsigned referrer_questions = 0;  // about single objects
  std::optional<Retention> retention;
};

/// What a command works on. References outlive the call. Where the heap could not be read, `heap` has no objects and the header says that they are
/// missing.
struct CommandInput {
  const Request& request;
  const objects::ObjectReader& reader;
  const heap::HeapSnapshot& heap;
  const analysis::Verdict& verdict;
  const report::Header& header;
  ProgressSink& progress;
  bool colour = false;
  const objects::TraverseInterpreter* machine = nullptr;  // what `reader` uses
  const AuditData* audit = nullptr;                       // made of `heap`; nullptr: not asked for, or not possible
  const heap::RootSet* roots = nullptr;                   // of a snapshot with leaves
  Derived* derived = nullptr;
  const Baseline* baseline = nullptr;                     // --baseline
  const CommandInput* whole = nullptr;                    // triage, report: the same with leaves; nullptr: could not be had
  SiteCache* sites = nullptr;                             // where objects were allocated
  unsigned columns = 0;                                   // of the terminal that the text goes to; 0: none
  unsigned rows = 0;                                      // of it; 0: not known
};

/// The heap that diff compares with.
struct OldHeap {
  const heap::HeapSnapshot& heap;
  const analysis::Verdict& verdict;
  const heap::RootSet& roots;
  Derived* derived;
  const target::Process* process;  // nullptr for a saved export
  std::string path, python, build;
  std::int32_t pid = 0;            // 0: not known
  bool complete = true;
  SiteCache* sites = nullptr;      // nullptr for a saved export
  const std::vector<SavedSite>* saved_sites = nullptr;  // of a saved export
};

/// What a command found, and its report in the format asked for.
struct Outcome {
  std::string document;
  bool definite = false, pending = false;  // findings by severity
  bool wrong_usage = false;                // what was asked for names something that is not there; the document says what
  bool partial = false;                    // something of the report itself could not be made; the document says what
  bool interrupted = false;                // the document holds what was known when the user stopped it
  std::string left_out;                    // of a document that has no place for it (CSV): what it does not show; empty: nothing
};

[[nodiscard]] Outcome RunLeaks(const CommandInput& input);
[[nodiscard]] Outcome RunCycles(const CommandInput& input);
[[nodiscard]] Outcome RunGarbage(const CommandInput& input);
[[nodiscard]] Outcome RunFinalizers(const CommandInput& input);
[[nodiscard]] Outcome RunStatus(const CommandInput& input);
[[nodiscard]] Outcome RunRefcounts(const CommandInput& input);
[[nodiscard]] Outcome RunVerify(const CommandInput& input);
[[nodiscard]] Outcome RunValue(const CommandInput& input);
[[nodiscard]] Outcome RunShow(const CommandInput& input);
[[nodiscard]] Outcome RunReferents(const CommandInput& input);
[[nodiscard]] Outcome RunReferrers(const CommandInput& input);
[[nodiscard]] Outcome RunPath(const CommandInput& input);
[[nodiscard]] Outcome RunHeap(const CommandInput& input);
[[nodiscard]] Outcome RunDominators(const CommandInput& input);
/// leaks --format gc-debug
[[nodiscard]] Outcome RunGcDebug(const CommandInput& input);
/// diff: `input` is the heap of now.
[[nodiscard]] Outcome RunDiff(const CommandInput& input, const OldHeap& old);
[[nodiscard]] Outcome RunAsyncio(const CommandInput& input);
[[nodiscard]] Outcome RunExpect(const CommandInput& input);
[[nodiscard]] Outcome RunStacks(const CommandInput& input);
[[nodiscard]] Outcome RunTriage(const CommandInput& input);
[[nodiscard]] Outcome RunReport(const CommandInput& input);
/// Errors: kUsage (SQLite's message), kLimit.
[[nodiscard]] Result<Outcome> RunSql(const CommandInput& input);
/// Writes the export to its file, or to `sink`. Errors: kOutput, kCancelled.
[[nodiscard]] Result<void> RunExport(const CommandInput& input, const std::function<bool(std::string_view)>& sink);

/// Shell-style match of a type name: * and ? and [abc]; one without a dot also matches the last part of a dotted name.
[[nodiscard]] bool MatchesGlob(std::string_view pattern, std::string_view name);
/// True when --type and --ignore let a group through that is headed by `head` and holds objects of `types`.
[[nodiscard]] bool PassesFilters(const Request& request, const std::string& head, const std::vector<std::string>& types);

/// The document of a report struct in the format that `in` asks for, text as wide as its terminal: calls report::WriteText or the envelope with
/// report::WriteJson. `header`: that of `in`, or one with more in it.
template <typename Report>
std::string Render(const CommandInput& in, const report::Header& header, const Report& report) {
  if (in.request.format == Format::kJson) {
    report::JsonWriter json;
    report::BeginEnvelope(json, header);
    WriteJson(header, report, json);
    report::EndEnvelope(json);
    return json.Take() + "\n";
  }
  report::TextWriter out(in.colour, in.columns);
  WriteText(header, report, out);
  return out.Take();
}

}  // namespace pygc::engine
