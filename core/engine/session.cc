// The river in code. Read Impl::Run from the top: locate the runtime, build the snapshot, replay the collection, run the command, write its report.
#include "core/engine/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <exception>
#include <new>
#include <optional>
#include <set>
#include <stdexcept>
#include <utility>

#include "core/analysis/groups.h"
#include "core/analysis/verdict.h"
#include "core/audit/immortal_objects.h"
#include "core/audit/left_threads.h"
#include "core/audit/pymalloc_heap.h"
#include "core/cpython/file_by_objects.h"
#include "core/cpython/object_header.h"
#include "core/cpython/runtime.h"
#include "core/engine/audit_data.h"
#include "core/engine/in_flux.h"
#include "core/engine/baseline.h"
#include "core/engine/command.h"
#include "core/engine/exit_status.h"
#include "core/engine/facts.h"
#include "core/engine/labels.h"
#include "core/engine/lost_references.h"
#include "core/engine/old_heap.h"
#include "core/engine/roots.h"
#include "core/engine/saved_index.h"
#include "core/engine/sites.h"
#include "core/engine/watched_progress.h"
#include "core/objects/machine_reader.h"
#include "core/objects/object_reader.h"
#include "core/report/escape.h"
#include "core/report/numbers.h"
#include "core/report/output_file.h"
#include "core/report/text_writer.h"
#include "core/snapshot/dangling_references.h"
#include "core/snapshot/owned_references.h"
#include "core/snapshot/snapshot_builder.h"

namespace pygc::engine {
namespace {

using Clock = std::chrono::steady_clock;

unsigned Columns(const Request& request, const HostFacts& host) { return request.output_file.empty() ? host.columns : 0; }

bool WantsColour(const Request& request, const HostFacts& host) {
  return request.output_file.empty() && (request.color == "always" || (request.color == "auto" && host.colour_terminal));
}

// A snapshot with what was found in it. Outside of Impl: clang cannot make one inside of the class that it is nested in.
struct SessionAnalysis {
  // Of its own: a reader learns of more types with every object that it reads, and some roots are members of static types. What a command reports must
  // not depend on what was asked before.
  std::unique_ptr<objects::ObjectReader> reader;
  heap::HeapSnapshot heap;
  analysis::Verdict verdict;
  std::unique_ptr<AuditData> audit;
  heap::RootSet roots;  // with leaves only, as `derived`
  Derived derived;
  double snapshot_seconds = 0, verdict_seconds = 0, audit_seconds = 0;
};

}  // namespace

struct Session::Impl {
  Impl(target::Process p, Limits l) : process(std::move(p)), limits(l) {}

  using Analysis = SessionAnalysis;

  target::Process process;
  Limits limits;
  std::optional<cpython::Runtime> runtime;
  std::unique_ptr<objects::MachineReader> machine;  // referents of the types that no native reader knows
  std::optional<objects::ObjectReader> reader;
  std::optional<SiteCache> sites;
  std::optional<Analysis> tracked, everything, audited;  // without and with leaves; with all that objects own
  double locate_seconds = 0;
  std::shared_ptr<const SavedIndex> index;  // where snapshots come from; may be nullptr
  std::string saved_to;                     // where this target's index was written

  // --save: both snapshots, whatever the command needed. What has been written is not written again.
  int Save(const Request& request, OutputSink& output, WatchedProgress& progress) {
    if (request.save_file == saved_to) return kDone;
    Request plain = request;
    plain.audit = plain.types = false;
    plain.command = "leaks";
    const Result<Analysis*> small = Analyse(plain, progress);
    plain.command = "heap";
    const Result<Analysis*> large = small ? Analyse(plain, progress) : small;
    if (!large) return ReportError(large.error(), output);
    const IndexOptions options = index ? index->options() : IndexOptions{request.target.open, request.target.layout_file, request.target.trust_anonymous_code};
    const Result<void> written = WriteIndex(request.save_file, process.path, options, {(*small)->heap, (*small)->verdict, (*small)->roots},
                                            {(*large)->heap, (*large)->verdict, (*large)->roots}, progress);
    if (!written && written.error().code == ErrorCode::kCancelled) return Interrupted(progress, output, kNothingWritten);
    if (!written) return ReportError(written.error(), output);
    saved_to = request.save_file;
    if (!request.quiet) output.Err(fmt::format("pygc: {} objects are kept in {}; -c opens it, with the core where it is\n", (*large)->heap.size(), report::Printable(saved_to)));
    return kDone;
  }

  int Run(const Request& request, const HostFacts& host, OutputSink& output, WatchedProgress& progress) {
    if (request.command == "diff" && !request.audit && IsAuditedExport(request.arguments.at(0))) {  // it has what only an audit finds: compared with the like
      Request audited_too = request;
      audited_too.audit = true;
      return Run(audited_too, host, output, progress);
    }
    std::optional<Baseline> baseline;
    if (!request.baseline.empty()) {
      Result<Baseline> read = Baseline::Read(request.baseline);
      if (!read) return ReportError(read.error(), output);
      baseline.emplace(std::move(*read));
    }
    if (Result<void> located = Locate(request, progress); !located) {
      return located.error().code == ErrorCode::kCancelled ? Interrupted(progress, output, kNoReport) : ReportError(located.error(), output);
    }
    if (request.command == "stacks" || request.command == "value") return RunOnMemoryAlone(request, host, output, progress);
    const Result<Analysis*> analysed = Analyse(request, progress);
    const bool nothing_left = !analysed && !runtime->state_lost.empty() && analysed.error().code == ErrorCode::kNotAnalysable;
    if (nothing_left) return ReportError(analysed.error(), output);
    if (!analysed) return ReportWithoutHeap(analysed.error(), request, host, progress, output);
    report::Header header = MakeHeader(request, host, process, *runtime, &(*analysed)->heap, &(*analysed)->verdict);
    AddTiming(**analysed, &header);
    const std::string guessed = AboutGuessed(request, **analysed);
    if (!guessed.empty()) header.warnings.push_back(guessed);
    const CommandInput input{request, *(*analysed)->reader, (*analysed)->heap, (*analysed)->verdict, header, progress, WantsColour(request, host), machine.get(),
                             (*analysed)->audit.get(), &(*analysed)->roots, &(*analysed)->derived, baseline ? &*baseline : nullptr, nullptr, &*sites, Columns(request, host), host.rows};
    if (IsOverview(request)) return RunOverview(input, host, output, progress);
    if (!guessed.empty() && !request.quiet && (IsExport(request) || request.format == Format::kCsv)) output.Err(fmt::format("pygc: {}\n", guessed));  // no place in the file
    if (IsExport(request)) return Export(input, output, progress);
    const Result<Outcome> ran = request.command == "diff" ? Compare(input, progress) : RunFallible(input);
    if (!ran) return ran.error().code == ErrorCode::kCancelled ? Interrupted(progress, output, kNoReport) : ReportError(ran.error(), output);
    const Outcome& outcome = *ran;
    const int status = StatusOf(request, header, outcome);
    if (request.format == Format::kCsv) ReportMissing(header, output);
    if (!outcome.left_out.empty() && !request.quiet) output.Err(fmt::format("pygc: {}\n", outcome.left_out));
    const bool judges = request.command == "leaks" || request.command == "garbage" || request.command == "verify" || request.command == "refcounts" || request.command == "expect";
    if (!(judges && request.quiet && status == kDone && request.format == Format::kText)) {
      if (Result<void> written = Write(outcome.document, request, host, output); !written) return ReportError(written.error(), output);
    }
    if (!outcome.interrupted) return status;
    const int interrupted = Interrupted(progress, output);
    return status == kFindings && interrupted == kPartial ? status : interrupted;  // what was found before a limit was met is true
  }

 private:
  // The audit counts references, so its objects are those that exact references lead to; who holds what is asked of all that may be held.
  static std::string AboutGuessed(const Request& request, const Analysis& a) {
    const std::uint64_t objects = a.heap.coverage.approximate_objects;
    if (!a.heap.with_leaves || objects == 0) return {};
    const std::string whose = fmt::format("the references of {} are guessed (pygc status names the types): what only these lead to is ", report::Counted(objects, "object"));
    const bool of_audit = a.audit != nullptr;
    if (of_audit) return request.command == "sql" || IsExport(request) ? whose + "not among the objects here, heap and dominators count it" : "";
    return request.command == "heap" || request.command == "dominators" ? whose + "counted here, and not by sql and export" : "";
  }
  static double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

  Result<void> Locate(const Request& request, ProgressSink& progress) {
    if (reader) return {};
    if (!progress.Update("finding the interpreter", 0, 0)) return Fail(ErrorCode::kCancelled, "interrupted while finding the interpreter");
    const Clock::time_point start = Clock::now();
    const std::string& layout_file = index ? index->options().layout_file : request.target.layout_file;
    const target::OpenOptions& open = index ? index->options().open : request.target.open;
    std::vector<std::string> chosen;  // of several CPythons the one whose file the user names
    if (!open.executable.empty()) chosen.push_back(open.executable);
    for (const auto& [name, file] : open.module_files) chosen.push_back(file);
    Result<cpython::Runtime> found = cpython::LocateRuntime(process, limits, layout_file, chosen);
    if (!found && found.error().code == ErrorCode::kNotAnalysable && UseFileVerifiedByObjects()) {
      found = cpython::LocateRuntime(process, limits, layout_file, chosen);
    }
    if (!found) return tl::unexpected(found.error());
    runtime.emplace(std::move(*found));
    std::vector<AddressRange> untold = audit::FindAbsentArenas(process, *runtime, limits);
    for (const AddressRange absent : audit::FindAbsentFrames(process, *runtime)) untold.push_back(absent);
    for (const AddressRange absent : untold) {
      target::MissingRange& left_out = process.missing_ranges.emplace_back();
      left_out.range = absent;
      left_out.writable = true;
    }
    std::sort(process.missing_ranges.begin(), process.missing_ranges.end(), [](const auto& a, const auto& b) { return a.range.begin < b.range.begin; });
    Address end = 0;  // disjoint, whatever damaged data say
    std::erase_if(process.missing_ranges, [&end](target::MissingRange& m) {
      m.range.begin = std::max(m.range.begin, end);
      end = std::max(end, m.range.end);
      return m.range.begin >= m.range.end;
    });
    objects::MachineReaderOptions machine_options;
    machine_options.threads = limits.threads;
    machine_options.trust_anonymous_code = index ? index->options().trust_anonymous_code : request.target.trust_anonymous_code;
    machine = std::make_unique<objects::MachineReader>(process, *runtime, machine_options);
    reader.emplace(process, *runtime, limits, machine.get());
    sites.emplace(*reader);
    locate_seconds = SecondsSince(start);
    return {};
  }

  // A truncated core often ends before the page with the interpreter's build-id, while most objects are there.
  bool UseFileVerifiedByObjects() {
    std::optional<cpython::VerifiedFile> verified = cpython::VerifyFileByObjects(process, limits);
    if (!verified) return false;
    target::Module& module = process.modules[verified->module];
    module.file = std::move(verified->file);
    module.match = target::ModuleMatch::kVerified;
    module.match_detail = std::move(verified->detail);
    module.file_build_id = module.file->build_id();
    process.warnings.push_back(fmt::format("{}: {}", module.path, module.match_detail));
    return true;
  }

  static bool OneOf(std::string_view name, std::initializer_list<std::string_view> names) { return std::find(names.begin(), names.end(), name) != names.end(); }

  // The tables of an export are those of the audit; drawings and heap snapshots show the graph alone.
  static bool NeedsAudit(const Request& request) {
    const bool tables = request.format == Format::kSqlite || request.format == Format::kJsonl;
    return request.audit || request.types || OneOf(request.command, {"refcounts", "sql"}) || (request.command == "export" && tables);
  }

  // Commands about single objects and about all of the memory see every object, also those that the collector does not track. What is unreachable does not depend
  // on the others, so that memory of theirs which was left out leaves nothing open where only that is asked.
  static bool NeedsLeaves(const Request& request) {
    const auto asks_of_garbage = [](const Expectation& e) { return e.kind == ExpectationKind::kMaxUnreachable || e.kind == ExpectationKind::kNoFinalizersPending; };
    if (request.command == "expect") return !std::all_of(request.expectations.begin(), request.expectations.end(), asks_of_garbage);
    return OneOf(request.command, {"export", "show", "referents", "referrers", "path", "heap", "dominators", "sql", "graph", "diff", "finalizers"}) ||
           (request.command == "verify" && request.traverse);
  }

  // The snapshot and its verdict: made once, kept for the next command.
  Result<Analysis*> Analyse(const Request& request, ProgressSink& progress) {
    const bool with_leaves = NeedsLeaves(request);
    const bool with_audit = NeedsAudit(request) && audit::CanCount(*runtime);
    std::optional<Analysis>& slot = with_audit ? audited : with_leaves ? everything : tracked;
    const bool sizes = !with_audit || OneOf(request.command, {"export", "sql", "diff"});  // of all objects; others ask for those that they show
    if (slot && (!sizes || !slot->heap.with_leaves || !slot->heap.size_bytes.empty())) return &*slot;
    Analysis made;
    made.reader = std::make_unique<objects::ObjectReader>(process, *runtime, limits, machine.get());
    const objects::ObjectReader& own = *made.reader;
    if (index && !with_audit) return FromIndex(with_leaves, slot, progress);
    snapshot::SnapshotOptions options;
    options.with_leaves = with_leaves || with_audit;
    options.sizes = sizes;
    if (options.with_leaves) {
      options.late_roots = [&] {
        std::vector<Address> objects;
        for (const heap::Root& root : FindRoots(own, request.limits).roots) objects.push_back(root.object);
        return objects;
      };
    }
    options.limits = request.limits;
    Clock::time_point start = Clock::now();
    std::optional<objects::Ownership> ownership;
    if (options.with_leaves && !with_audit) options.ownership = &ownership.emplace(own, machine.get());
    if (with_audit) {
      made.audit = std::make_unique<AuditData>(own, machine.get(), request.limits);
      options.ownership = &made.audit->ownership;
      options.follow_inexact = false;
      for (const audit::RootReference& r : made.audit->roots.references) options.roots.push_back(r.referent);
      for (const Address immortal : audit::FindImmortals(own, made.audit->blocks)) options.roots.push_back(immortal);
    } else if (options.with_leaves && runtime->layout.flavor.free_threaded && audit::CanCount(*runtime)) {  // the objects of all commands are the same
      options.roots = audit::FindImmortals(own, audit::ReadBlocks(process, *runtime, request.limits));
    }
    Result<heap::HeapSnapshot> heap = snapshot::BuildSnapshot(own, options, progress);
    if (!heap) return tl::unexpected(heap.error());
    made.heap = std::move(*heap);
    heap::RootSet roots = FindRoots(own, request.limits);  // with leaves again: now every static type is known
    made.snapshot_seconds = SecondsSince(start);
    start = Clock::now();
    const std::vector<graph::NodeId> known_roots = TrackedRoots(own, roots, made.heap);
    Result<analysis::Verdict> verdict = analysis::ReplayCollection(made.heap, progress, request.limits.threads, known_roots);
    if (!verdict) return tl::unexpected(verdict.error());
    made.verdict = std::move(*verdict);
    if (options.with_leaves) made.roots = std::move(roots);
    if (Result<void> checked = LookBehindVerdict(own, request.limits, progress, made); !checked) return tl::unexpected(checked.error());
    if (LacksHolders(made)) analysis::FindNotKnown(made.heap, known_roots, made.verdict);
    made.verdict_seconds = SecondsSince(start);
    if (with_audit) {
      start = Clock::now();
      made.audit->garbage = analysis::LeakedNodes(made.verdict);
      const audit::AuditInput input{own, made.audit->ownership, made.audit->roots, made.audit->blocks, made.audit->chunks, made.heap, &made.audit->garbage};
      Result<heap::ReferenceAudit> counts = audit::CountReferences(input, request.limits, progress);
      if (!counts) return tl::unexpected(counts.error());
      made.audit->counts = std::move(*counts);
      made.audit->judged = analysis::JudgeCounts(made.heap, made.audit->counts);
      const analysis::CountAudit all = made.audit->judged;
      made.audit->in_flux = TakeInFlux(process, own.runtime().layout, made.heap, made.audit->counts, made.audit->judged);
      for (const analysis::CountFinding& f : TakeMovedItems(input, made.audit->judged, progress)) made.audit->in_flux.push_back(f);
      made.audit->known = TakeKnownLeaks(input, Labels(own, request.redact), made.audit->counts, made.audit->judged, progress);
      if (Result<void> doubted = SetAsideDoubtful(own, request.limits, progress, made.heap, made.audit->counts, made.audit->judged); !doubted) return tl::unexpected(doubted.error());
      made.audit->deficit_sources = FindDeficitSources(own, made.audit->ownership, made.heap, made.audit->judged.findings);
      made.audit->lost = LostStructuresOf(*made.audit, all);
      made.audit_seconds = SecondsSince(start);
    }
    if (options.with_leaves && sizes) {  // whoever asks for sizes asks who holds what
      start = Clock::now();
      if (Result<void> added = snapshot::AddOwnedReferences(own, *options.ownership, request.limits, progress, made.heap); !added) return tl::unexpected(added.error());
      made.snapshot_seconds += SecondsSince(start);
    }
    slot.emplace(std::move(made));
    return &*slot;
  }

  // What is no finding after all (a known leak, an object in flux) keeps what hangs on it all the same: that is no cycle of its own. `all`: before these were taken out.
  static std::vector<analysis::LostStructure> LostStructuresOf(const AuditData& audit, const analysis::CountAudit& all) {
    std::vector<analysis::LostStructure> found = analysis::FindLostStructures(audit.counts, all);
    const auto address = [&](const heap::LostPart::Item& i) { return i.object == graph::kNoNode ? i.memory.begin : Address{0}; };
    std::set<std::pair<graph::NodeId, Address>> kept;
    for (const analysis::CountFinding& f : audit.judged.findings) kept.emplace(f.object, f.object == graph::kNoNode ? f.address : Address{0});
    std::erase_if(found, [&](const analysis::LostStructure& s) {
      const heap::LostPart::Item& head = audit.counts.lost.items[s.head];
      return s.kind == analysis::CountFindingKind::kLost && !kept.contains({head.object, address(head)});
    });
    return found;
  }

  // A reference that was lost makes what it led to look held from outside. So where it is not known who holds an object, and of what is unreachable, each
  // reference is looked at.
  static Result<void> LookBehindVerdict(const objects::ObjectReader& reader, const Limits& limits, ProgressSink& progress, Analysis& made) {
    graph::NodeSet doubtful = made.verdict.unreachable_set;
    doubtful.Unite(made.verdict.held_by_unknown);
    const Result<std::uint64_t> dangling = snapshot::CheckReferences(reader, doubtful, limits, progress, made.heap);
    if (!dangling) return tl::unexpected(dangling.error());
    if (*dangling > 0 && made.verdict.certainty == analysis::Certainty::kExact) made.verdict.certainty = analysis::Certainty::kLowerBound;
    return {};
  }
  // True where objects, or what leads to them, may be missing: a count that nothing found explains is then no sign of use. What an unknown tp_traverse visits is missing too
  // where it lies behind memory of its object, as it does for many where files are missing.
  [[nodiscard]] bool LacksHolders(const Analysis& made) const {
    const heap::Coverage& c = made.heap.coverage;
    return process.LostHeap() || !runtime->state_lost.empty() || !c.lists_complete || c.unreadable_objects > 0 ||
           (!process.missing.empty() && std::any_of(made.heap.flags.begin(), made.heap.flags.end(), [](std::uint8_t f) { return (f & heap::kApproximate) != 0; })) ||
           (!made.heap.incomplete.empty() && made.verdict.certainty != analysis::Certainty::kExact);
  }
  // Roots as tracked nodes: of an untracked container (the tuple of a type's bases) what it refers to.
  static std::vector<graph::NodeId> TrackedRoots(const objects::ObjectReader& reader, const heap::RootSet& roots, const heap::HeapSnapshot& heap) {
    std::vector<graph::NodeId> nodes;
    objects::ReferentBuffer referents;
    const auto add = [&](Address object) {
      const graph::NodeId n = heap.index.Find(object);
      if (n != heap::kNoNode) nodes.push_back(n);
      return n != heap::kNoNode;
    };
    const cpython::ObjectHeaderReader header(reader.runtime());
    for (const heap::Root& root : roots.roots) {
      if (add(root.object)) continue;
      const std::byte* const p = reader.process().memory.At(root.object, header.size());
      const objects::TypeFacts* const type = p == nullptr ? nullptr : reader.Type(header.Type(p));
      if (type == nullptr || !type->have_gc) continue;
      referents.clear();
      reader.Referents(root.object, *type, referents);
      for (const Address to : referents) add(to);
    }
    return nodes;
  }

  Result<Analysis*> FromIndex(bool with_leaves, std::optional<Analysis>& slot, ProgressSink& progress) {
    const Clock::time_point start = Clock::now();
    Result<IndexedSnapshot> loaded = index->Load(with_leaves, process, runtime->interpreters.size(), progress);
    if (!loaded) return tl::unexpected(loaded.error());
    Analysis& made = slot.emplace();
    made.reader = std::make_unique<objects::ObjectReader>(process, *runtime, limits, machine.get());
    made.heap = std::move(loaded->heap);
    made.verdict = std::move(loaded->verdict);
    made.roots = std::move(loaded->roots);
    made.snapshot_seconds = SecondsSince(start);
    return &made;
  }

  void AddTiming(const Analysis& analysis, report::Header* header) const {
    header->timing.emplace_back("locate_seconds", locate_seconds);
    header->timing.emplace_back("snapshot_seconds", analysis.snapshot_seconds);
    header->timing.emplace_back("verdict_seconds", analysis.verdict_seconds);
    if (analysis.audit) header->timing.emplace_back("audit_seconds", analysis.audit_seconds);
  }

  // diff: OLD is opened here, a saved export or another core, with a session of its own that ends with the command.
  Result<Outcome> Compare(const CommandInput& input, ProgressSink& progress) {
    const std::string& path = input.request.arguments.at(0);
    if (IsDatabase(path)) {
      Result<SavedHeap> saved = ReadSavedHeap(path, progress);
      if (!saved) return tl::unexpected(saved.error());
      Derived derived;
      return RunDiff(input, {saved->heap, saved->verdict, saved->roots, &derived, nullptr, path, saved->python, saved->build, saved->pid, saved->complete, nullptr, &saved->sites});
    }
    if (IsJsonLines(path)) return Fail(ErrorCode::kNotAnalysable, "{} is an export of JSON Lines, which diff does not read: give it the core, or its export --format sqlite", path);
    target::OpenOptions options = input.request.target.open;
    std::shared_ptr<const SavedIndex> old_index;
    if (IsIndex(path)) {
      Result<std::shared_ptr<const SavedIndex>> found = SavedIndex::Open(path, progress);
      if (!found) return tl::unexpected(Named(path, found.error()));
      old_index = std::move(*found);
      options = old_index->options().open;
    }
    options.limits = input.request.limits;
    options.known_files = process.ModuleFiles();  // of one program, as two cores are mostly
    Result<target::Process> opened = target::OpenCore(old_index ? old_index->core_path() : path, options, progress);
    if (!opened) return tl::unexpected(Named(path, opened.error()));
    Impl old(std::move(*opened), limits);
    old.index = std::move(old_index);
    if (Result<void> located = old.Locate(input.request, progress); !located) return tl::unexpected(Named(path, located.error()));
    const Result<Analysis*> analysed = old.Analyse(input.request, progress);
    if (!analysed) return tl::unexpected(Named(path, analysed.error()));
    Analysis& a = **analysed;
    const report::Header header = MakeHeader(input.request, {}, old.process, *old.runtime, &a.heap, &a.verdict);
    return RunDiff(input, {a.heap, a.verdict, a.roots, &a.derived, &old.process, path, header.target.python, header.target.build, old.process.pid, header.complete,
                           &*old.sites});
  }
  static Error Named(const std::string& path, Error error) {
    if (error.message.find(path) == std::string::npos) error.message = fmt::format("OLD ({}): {}", path, error.message);
    return error;
  }

  static Outcome RunCommand(const CommandInput& input) {
    const std::string& name = input.request.command;
    if (name == "leaks") return input.request.format == Format::kGcDebug ? RunGcDebug(input) : RunLeaks(input);
    if (name == "cycles") return RunCycles(input);
    if (name == "garbage") return RunGarbage(input);
    if (name == "finalizers") return RunFinalizers(input);
    if (name == "status") return RunStatus(input);
    if (name == "refcounts") return RunRefcounts(input);
    if (name == "verify") return RunVerify(input);
    if (name == "show") return RunShow(input);
    if (name == "value") return RunValue(input);
    if (name == "referents") return RunReferents(input);
    if (name == "referrers") return RunReferrers(input);
    if (name == "path") return RunPath(input);
    if (name == "heap") return RunHeap(input);
    if (name == "dominators") return RunDominators(input);
    if (name == "expect") return RunExpect(input);
    if (name == "asyncio") return RunAsyncio(input);
    if (name == "stacks") return RunStacks(input);
    if (name == "triage") return RunTriage(input);
    if (name == "report") return RunReport(input);
    throw std::logic_error(fmt::format("command '{}' stands in the command table but not in Session", name));
  }

  // Commands that show leaks, which are told of tracked objects, beside who holds how much, which is told of all.
  static bool IsOverview(const Request& request) { return request.command == "triage" || request.command == "report"; }

  int RunOverview(const CommandInput& input, const HostFacts& host, OutputSink& output, WatchedProgress& progress) {
    Request of_all = input.request;
    of_all.command = "dominators";
    of_all.type_globs.clear();
    of_all.audit = false;  // its snapshot has no sizes
    const Result<Analysis*> all = Analyse(of_all, progress);
    std::optional<CommandInput> whole;
    if (all) {
      whole.emplace(CommandInput{of_all, *(*all)->reader, (*all)->heap, (*all)->verdict, input.header, progress, false, machine.get(), nullptr, &(*all)->roots, &(*all)->derived,
                                 nullptr, nullptr, &*sites});
    }
    CommandInput both = input;
    both.whole = whole ? &*whole : nullptr;
    const Outcome outcome = RunCommand(both);
    if (Result<void> written = Write(outcome.document, input.request, host, output); !written) return ReportError(written.error(), output);
    const int status = StatusOf(input.request, input.header, outcome);
    if (!outcome.interrupted && (all || all.error().code != ErrorCode::kCancelled)) return status;
    const int interrupted = Interrupted(progress, output);
    return status == kFindings && interrupted == kPartial ? status : interrupted;
  }
  static bool IsExport(const Request& request) { return request.command == "export" || request.command == "graph"; }

  static Result<Outcome> RunFallible(const CommandInput& input) { return input.request.command == "sql" ? RunSql(input) : RunCommand(input); }

  // CSV has no place for it, and who writes a file does not look into it.
  static void ReportMissing(const report::Header& header, OutputSink& output) {
    for (const report::Missing& m : header.missing) output.Err(fmt::format("pygc: PARTIAL: {}: {}\n", report::Printable(m.what), report::Printable(m.reason)));
  }

  int Export(const CommandInput& input, OutputSink& output, const WatchedProgress& progress) {
    const Result<void> written = RunExport(input, [&](std::string_view bytes) { return output.Out(bytes); });
    if (!written && written.error().code == ErrorCode::kCancelled) return Interrupted(progress, output, input.request.output_file.empty() ? kNotWhole : kNothingWritten);
    if (!written) return ReportError(written.error(), output);
    if (!input.header.complete && !input.request.quiet) ReportMissing(input.header, output);
    if (const std::string why = RootsMissing(process); !why.empty() && !input.request.quiet) {
      output.Err(fmt::format("pygc: {}roots may be missing: {}\n", input.header.complete ? "objects and references are all there, but " : "", report::Printable(why)));
    }
    if (input.request.format == Format::kDot) return input.header.complete ? kDone : kPartial;
    if (!input.request.output_file.empty() && !input.request.quiet) {
      output.Err(fmt::format("pygc: {} objects and {} references written to {}\n", input.heap.size(), input.heap.graph.edge_count(),
                             report::Printable(input.request.output_file)));
    }
    return input.header.complete ? kDone : kPartial;
  }

  // What needs no object graph does not wait for one.
  int RunOnMemoryAlone(const Request& request, const HostFacts& host, OutputSink& output, WatchedProgress& progress) {
    report::Header header = MakeHeader(request, host, process, *runtime, nullptr, nullptr);
    header.timing.emplace_back("locate_seconds", locate_seconds);
    const heap::HeapSnapshot no_heap;
    const analysis::Verdict no_verdict;
    const Outcome outcome = RunCommand({request, *reader, no_heap, no_verdict, header, progress, WantsColour(request, host), machine.get()});
    if (Result<void> written = Write(outcome.document, request, host, output); !written) return ReportError(written.error(), output);
    return StatusOf(request, header, outcome);
  }

  // No heap, but the interpreter was found: the state of its collector is worth having, and a script gets a whole document whose figures are marked
  // as not known. The command runs on a heap without objects, under a header that says so.
  int ReportWithoutHeap(const Error& error, const Request& request, const HostFacts& host, const WatchedProgress& progress, OutputSink& output) {
    const bool stopped = error.code == ErrorCode::kCancelled;
    const bool is_told = !IsExport(request) && request.command != "sql";  // which are nothing without objects
    if (is_told) {
      report::Header header = MakeHeader(request, host, process, *runtime, nullptr, nullptr);
      header.complete = false;
      header.certainty = report::Certainty::kUnverifiable;
      header.missing.push_back({"the objects", stopped ? fmt::format("stopped while {}", progress.stage()) : error.message, ""});
      const heap::HeapSnapshot no_heap;
      const analysis::Verdict no_verdict;
      SilentProgress silent;
      const CommandInput input{request, *reader, no_heap, no_verdict, header, silent, WantsColour(request, host), machine.get()};
      if (Result<void> written = Write(RunCommand(input).document, request, host, output); !written) return ReportError(written.error(), output);
    }
    return stopped ? Interrupted(progress, output, is_told ? kKnownIsPrinted : kNoReport) : ReportError(error, output);
  }

  // What came of a command that was stopped.
  static constexpr const char* kKnownIsPrinted = "what was known is printed";
  static constexpr const char* kNoReport = "nothing was known yet, and there is no report";
  static constexpr const char* kNotWhole = "what was printed is not whole";
  static constexpr const char* kNothingWritten = "nothing is written";

  static int Interrupted(const WatchedProgress& progress, OutputSink& output, std::string_view result = kKnownIsPrinted) {
    if (progress.limit().empty()) {
      output.Err(fmt::format("pygc: interrupted: {}\n", result));
      return kInterrupted;
    }
    output.Err(fmt::format("pygc: {} ended it: {}\n", progress.limit() == "--timeout" ? "the time limit (--timeout)" : "the memory limit (--max-memory)", result));
    return kPartial;
  }

  static Result<void> Write(std::string_view document, const Request& request, const HostFacts& host, OutputSink& output) {
    if (request.output_file.empty()) {
      const bool is_text = request.format == Format::kText || request.format == Format::kGcDebug;
      if (is_text && host.columns > 0) {
        output.Out(report::FitToWidth(document, host.columns));
      } else {
        output.Out(document);  // nobody reading any more is no error
      }
      return {};
    }
    Result<report::OutputFile> file = report::OutputFile::Create(request.output_file, true);
    if (!file) return tl::unexpected(file.error());
    if (Result<void> r = file->Write(document); !r) return r;
    return file->Commit();
  }
};

Session::Session(target::Process process, Limits limits) : impl_(std::make_unique<Impl>(std::move(process), limits)) {}
Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

int Session::Run(const Request& request, const HostFacts& host, OutputSink& output, ProgressSink& progress) {
  WatchedProgress watched(progress, request.timeout_seconds, request.limits.max_memory_bytes);
  const auto fault = [&](std::string_view what) {
    const std::string where = watched.stage().empty() ? "" : fmt::format(" while {}", watched.stage());
    output.Err(fmt::format("pygc: internal fault in {}{}: {}\n", request.command, report::Printable(where), report::Printable(what)));
    return kInternalFault;
  };
  try {
    const int status = impl_->Run(request, host, output, watched);
    if (request.save_file.empty() || (status != kDone && status != kFindings && status != kPartial)) return status;
    const int saved = impl_->Save(request, output, watched);
    return saved == kDone ? status : saved;
  } catch (const std::bad_alloc&) {
    return fault("memory ran out; give --max-memory, or use a machine with more");
  } catch (const std::exception& e) {
    return fault(e.what());
  } catch (...) {
    return fault("an exception of unknown type");
  }
}

void Session::UseIndex(std::shared_ptr<const SavedIndex> index) { impl_->index = std::move(index); }

int ReportError(const Error& error, OutputSink& output) {
  const int status = StatusOf(error.code);
  std::string message = report::Printable(error.message);
  const char* prefix = error.code == ErrorCode::kInternal ? "internal fault: " : "";
  output.Err(fmt::format("pygc: {}{}\n", prefix, message));
  return status;
}

}  // namespace pygc::engine
