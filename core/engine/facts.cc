#include "core/engine/facts.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/report/numbers.h"

namespace pygc::engine {
namespace {

const char* KindName(cpython::CollectorKind kind) {
  switch (kind) {
    case cpython::CollectorKind::kGenerational:
      return "generational";
    case cpython::CollectorKind::kIncremental:
      return "incremental";
    case cpython::CollectorKind::kFreeThreaded:
      return "free-threaded";
  }
  return "generational";
}

// CPython: gc.DEBUG_*, Modules/gcmodule.c; OBJECTS and INSTANCES exist in 2.x only.
std::vector<std::string> DebugFlags(std::int32_t debug) {
  static constexpr struct {
    std::int32_t bit;
    const char* name;
  } kFlags[] = {{1, "DEBUG_STATS"},     {2, "DEBUG_COLLECTABLE"}, {4, "DEBUG_UNCOLLECTABLE"},
                {8, "DEBUG_INSTANCES"}, {16, "DEBUG_OBJECTS"},    {32, "DEBUG_SAVEALL"}};
  std::vector<std::string> out;
  for (const auto& f : kFlags) {
    if (debug & f.bit) out.emplace_back(f.name);
  }
  return out;
}

const char* PhaseName(heap::CollectionPhase phase) {
  switch (phase) {
    case heap::CollectionPhase::kNone:
      return "none";
    case heap::CollectionPhase::kDeciding:
      return "deciding";
    case heap::CollectionPhase::kFreeing:
      return "freeing";
    case heap::CollectionPhase::kBetween:
      return "between";
  }
  return "none";
}

report::CollectorFacts FactsOf(const cpython::Interpreter& interpreter, const heap::InterpreterRecord* record) {
  report::CollectorFacts c;
  c.id = interpreter.id;
  c.kind = KindName(interpreter.collector);
  c.enabled = interpreter.enabled;
  c.enabled_known = interpreter.enabled_known;
  c.collecting = interpreter.collecting;
  c.debug_flags = DebugFlags(interpreter.debug);
  c.long_lived_total = interpreter.long_lived_total;
  c.long_lived_pending = interpreter.long_lived_pending;
  c.threads = interpreter.threads.size();
  for (const cpython::GcGeneration& g : interpreter.generations) {
    c.thresholds.push_back(g.threshold);
    c.counts.push_back(g.count);
  }
  if (record == nullptr) return c;
  c.phase = PhaseName(record->phase);
  c.in_garbage = std::max(record->garbage.size(), record->garbage_addresses.size());
  for (const std::uint64_t n : record->generation_counts) c.tracked += n;
  // One row for each number that gc.get_objects(generation=N) takes, then the two lists that it never returns.
  for (unsigned number = 0; number < 3; ++number) {
    const auto& numbers = interpreter.generation_number;
    if (std::find(numbers.begin(), numbers.end(), number) == numbers.end()) continue;
    report::CollectorFacts::Generation g{std::to_string(number), record->generation_counts[number], false, 0, 0, 0};
    if (number < interpreter.stats.size()) {
      const cpython::Interpreter::Stats& s = interpreter.stats[number];
      g = {g.name, g.objects, true, s.collections, s.collected, s.uncollectable};
    }
    c.generations.push_back(std::move(g));
  }
  if (interpreter.collector == cpython::CollectorKind::kFreeThreaded) {  // whatever generation is asked for, all objects are collected
    report::CollectorFacts::Generation all{"all", record->generation_counts[heap::kUngenerational], !interpreter.stats.empty(), 0, 0, 0};
    for (const cpython::Interpreter::Stats& s : interpreter.stats) {
      all.collections += s.collections;
      all.collected += s.collected;
      all.uncollectable += s.uncollectable;
    }
    c.generations.push_back(std::move(all));
  }
  if (interpreter.permanent || record->generation_counts[heap::kPermanent] > 0) {
    c.generations.push_back({"permanent", record->generation_counts[heap::kPermanent], false, 0, 0, 0});
  }
  if (record->generation_counts[heap::kDetached] > 0)
    c.generations.push_back({"being collected", record->generation_counts[heap::kDetached], false, 0, 0, 0});
  return c;
}

// One line for each interpreter that was stopped in the middle of a collection: where it stood, and what that means for the figures.
void WarnOfCollections(const heap::HeapSnapshot& heap, report::Header* header) {
  for (const heap::InterpreterRecord& interpreter : heap.interpreters) {
    const std::uint64_t own = interpreter.generation_counts[heap::kDetached];
    const std::string who = fmt::format("interpreter {} was stopped in the middle of a collection", interpreter.id);
    if (interpreter.phase == heap::CollectionPhase::kDeciding) {
      header->warnings.push_back(who + ", while it decided what is unreachable: nothing is changed yet, the figures are those before it");
    } else if (interpreter.phase == heap::CollectionPhase::kFreeing) {
      header->warnings.push_back(fmt::format("{}, while it freed what it had found ({} on its lists): the figures are what is left", who,
                                             report::Counted(own, "object")));
    } else if (interpreter.phase == heap::CollectionPhase::kBetween) {
      header->warnings.push_back(who + ", at its beginning or end: the figures are those of this moment");
    }
  }
  header->warnings.insert(header->warnings.end(), heap.coverage.in_flight.begin(), heap.coverage.in_flight.end());
  if (!heap.dying.empty()) {
    header->warnings.push_back(fmt::format("{} had lost the last reference when the process stopped, and {} about to be freed",
                                           report::Counted(heap.dying.size(), "object"), heap.dying.size() == 1 ? "was" : "were"));
  }
}

report::Certainty CertaintyOf(const analysis::Verdict& verdict) {
  switch (verdict.certainty) {
    case analysis::Certainty::kExact:
      return report::Certainty::kExact;
    case analysis::Certainty::kLowerBound:
      return report::Certainty::kLowerBound;
    case analysis::Certainty::kUnverifiable:
      return report::Certainty::kUnverifiable;
  }
  return report::Certainty::kUnverifiable;
}

// What of the objects could not be had. Where memory is missing that is one consequence of it, in one line; else each stands for itself.
void AddMissingObjects(const heap::Coverage& coverage, bool free_threaded, const std::string& state_lost, bool one_cause, report::Header* header) {
  std::vector<report::Missing> found;
  if (!coverage.lists_complete) {
    std::string why = state_lost.empty() ? "" : state_lost + " is not in what is left of memory";
    for (const std::string& note : coverage.notes) why += fmt::format("{}{}", why.empty() ? "" : "; ", note);
    if (why.empty()) why = free_threaded ? "a page could not be read" : "a list could not be followed to its end";
    found.push_back({!state_lost.empty() ? "the interpreters, their collectors and threads" : free_threaded ? "objects of the threads' heaps" : "objects of the generation lists", why, ""});
  }
  if (coverage.unreadable_objects > 0) {
    found.push_back({report::Counted(coverage.unreadable_objects, "tracked object"), free_threaded ? "in a thread's heap, but not readable" : "in a generation list, but not readable", ""});
  }
  if (coverage.damaged_objects > 0) {
    found.push_back({fmt::format("references of {}", report::Counted(coverage.damaged_objects, "tracked object")),
                     "the tables that hold them (list items, dict entries, ...) are damaged, were being changed, or are not in the image", ""});
  }
  if (coverage.dangling_objects > 0) {
    found.push_back({fmt::format("references of {}", report::Counted(coverage.dangling_objects, "object")),
                     "some lead to no object, or are not there where they should be: memory was overwritten, or freed while it was in use, or the core is damaged (see pygc verify)", ""});
  }
  if (coverage.left_out_objects > 0) {
    header->missing.push_back({fmt::format("at least {} that the collector does not track", report::Counted(coverage.left_out_objects, "object")),
                               "others refer to them, and their memory was left out of the image: MADV_DONTDUMP, coredump_filter, or it was not copied",
                               "Counts of objects and bytes are lower bounds; what is unreachable does not depend on them"});
  }
  const char* const remedy = state_lost.empty() ? "The figures are lower bounds"
                                                : "Objects are those that show by themselves that they are tracked; what is garbage cannot be told without the whole core";
  if (one_cause && !found.empty()) {
    for (const std::string& why : coverage.unread_garbage) found.push_back({"the items of gc.garbage", why, ""});
  }
  if (one_cause && found.size() > 1) {
    for (std::size_t i = 1; i < found.size(); ++i) found.front().reason += fmt::format("; {}: {}", found[i].what, found[i].reason);
    found.resize(1);
  }
  for (report::Missing& m : found) {
    m.remedy = remedy;
    header->missing.push_back(std::move(m));
  }
  if (one_cause && !found.empty()) return;
  for (const std::string& why : coverage.unread_garbage) header->missing.push_back({"the items of gc.garbage", why, "How many there are is not known"});
}

OfThreads WantedOfThreads(const std::string& command) {
  static constexpr struct {
    std::string_view command;
    OfThreads wanted;
  } kCommands[] = {{"heap", OfThreads::kFrames},     {"dominators", OfThreads::kFrames}, {"show", OfThreads::kFrames},  {"referrers", OfThreads::kFrames},
                   {"diff", OfThreads::kFrames},     {"path", OfThreads::kStacks},       {"finalizers", OfThreads::kStacks},
                   {"garbage", OfThreads::kStacks},  {"stacks", OfThreads::kStacks},     {"triage", OfThreads::kStacks}, {"report", OfThreads::kStacks}};
  for (const auto& c : kCommands) {
    if (c.command == command) return c.wanted;
  }
  return OfThreads::kNone;
}

}  // namespace

bool AddThreadGaps(OfThreads wanted, const target::Process& process, const cpython::Runtime& runtime, report::Header* header) {
  const bool frames_lost = runtime.layout.Has(cpython::Struct::PyInterpreterFrame) && process.LostStacks();
  if (process.thread_gaps.empty() || wanted == OfThreads::kNone || (wanted == OfThreads::kFrames && !frames_lost)) return false;
  for (const target::MissingNote& m : process.thread_gaps) {
    header->missing.push_back({m.what, m.reason, m.remedy});
    std::erase(header->warnings, fmt::format("{}: {}; {}", m.what, m.reason, m.remedy));
  }
  header->complete = false;
  if (header->certainty == report::Certainty::kExact) header->certainty = report::Certainty::kLowerBound;
  return true;
}

std::string RootsMissing(const target::Process& process) {
  std::string said;
  for (const target::MissingNote& m : process.thread_gaps) said += fmt::format("{}{}: {}", said.empty() ? "" : "; ", m.what, m.reason);
  return said;
}

bool HasLegacyInstances(const cpython::Runtime& runtime) { return runtime.layout.Has(cpython::Struct::PyInstanceObject); }

report::Header MakeHeader(const Request& request, const HostFacts& host, const target::Process& process, const cpython::Runtime& runtime,
                          const heap::HeapSnapshot* heap, const analysis::Verdict* verdict) {
  report::Header h;
  h.command = request.command;
  h.host = host.host;
  h.target.kind = process.kind == target::TargetKind::kCore ? "core" : "live";
  h.target.path = process.path;
  h.target.pid = process.pid;
  h.target.python = runtime.version_text;
  h.target.build = runtime.layout.flavor.free_threaded ? "free-threaded" : "default";
  h.target.debug = runtime.layout.flavor.debug;
  for (const target::MissingNote& m : process.missing) h.missing.push_back({m.what, m.reason, m.remedy});
  if (!runtime.state_lost.empty() && heap == nullptr) {
    h.missing.push_back({"the interpreters, their collectors and threads", runtime.state_lost + " is not in what is left of memory", "take the core again whole"});
  }
  for (const cpython::OtherRuntime& other : runtime.others) {
    const std::string name = other.module_path.substr(other.module_path.rfind('/') + 1);
    h.missing.push_back({fmt::format("the CPython {} of {}", other.version_text, other.module_path),
                         fmt::format("the process has several CPythons, and only the {} of {} is analysed", runtime.version_text,
                                     runtime.module_index < process.modules.size() ? process.modules[runtime.module_index].path : "another module"),
                         fmt::format("--module {}=FILE analyses it: give its file {}", name, other.module_path)});
  }
  h.warnings = process.warnings;
  if (!host.about_target.empty()) h.warnings.push_back(host.about_target);
  for (const target::MissingNote& m : process.thread_gaps) h.warnings.push_back(fmt::format("{}: {}; {}", m.what, m.reason, m.remedy));
  h.warnings.insert(h.warnings.end(), runtime.warnings.begin(), runtime.warnings.end());
  if (!runtime.layout_tried_on_real_process)
    h.warnings.push_back(fmt::format("CPython {}: the layout is known, but was never tried on a real process of this version", runtime.version_text));
  for (std::size_t i = 0; i < runtime.interpreters.size(); ++i) {
    h.interpreters.push_back(FactsOf(runtime.interpreters[i], heap && i < heap->interpreters.size() ? &heap->interpreters[i] : nullptr));
  }
  if (process.kind == target::TargetKind::kLive && process.pause_seconds > 0) h.timing.emplace_back("pause_seconds", process.pause_seconds);
  if (process.read_seconds > 0) h.timing.emplace_back("read_seconds", process.read_seconds);
  h.objects_read = heap != nullptr;
  if (heap) {
    AddMissingObjects(heap->coverage, runtime.layout.flavor.free_threaded, runtime.state_lost, process.LostMemory(), &h);
    WarnOfCollections(*heap, &h);
    for (const report::CollectorFacts& c : h.interpreters) h.tracked += c.tracked;
    if (heap->coverage.objects > 0) h.tracked = heap->coverage.objects;
    h.tracked_at_least = !heap->coverage.lists_complete;
  }
  if (verdict && verdict->negative_counts > 0) {
    h.warnings.push_back(fmt::format("{} more references than {}: somebody gave up a reference that is still used, or memory is damaged (see pygc refcounts, pygc verify)",
                                     verdict->negative_counts == 1 ? "1 tracked object has" : fmt::format("{} tracked objects have", verdict->negative_counts),
                                     verdict->negative_counts == 1 ? "its count says" : "their counts say"));
  }
  (void)AddThreadGaps(WantedOfThreads(request.command), process, runtime, &h);
  h.complete = h.missing.empty();
  if (!h.complete) h.certainty = report::Certainty::kLowerBound;
  if (verdict) {
    for (std::size_t i = 0; i < h.interpreters.size() && i < verdict->interpreters.size(); ++i) {
      h.interpreters[i].unreachable = verdict->interpreters[i].unreachable;
      h.interpreters[i].uncollectable = verdict->interpreters[i].uncollectable;
    }
    h.certainty = CertaintyOf(*verdict);
    if (!h.complete && h.certainty == report::Certainty::kExact) h.certainty = report::Certainty::kLowerBound;
    if (!runtime.state_lost.empty() || process.may_be_wrong) h.certainty = report::Certainty::kUnverifiable;
  }
  return h;
}

}  // namespace pygc::engine
