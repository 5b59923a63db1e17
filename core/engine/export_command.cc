#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <unordered_map>

#include "core/analysis/groups.h"
#include "core/audit/reference_counter.h"
#include "core/engine/command.h"
#include "core/engine/count_rows.h"
#include "core/engine/derived.h"
#include "core/engine/edge_labels.h"
#include "core/engine/export_input.h"
#include "core/engine/facts.h"
#include "core/engine/inspector.h"
#include "core/engine/lost_groups.h"
#include "core/engine/place.h"
#include "core/engine/sites.h"
#include "core/engine/type_query.h"
#include "core/graph/scc.h"
#include "core/report/cycle_text.h"
#include "core/report/escape.h"
#include "core/report/export.h"
#include "core/report/export_graph.h"

namespace pygc::engine {
namespace {

using Sink = std::function<bool(std::string_view)>;

constexpr std::size_t kMaxNearest = 8;

// One object of each cycle that nothing in use reaches: what a drawing without an object is about.
std::vector<heap::NodeId> LeakedCycles(const CommandInput& in) {
  const graph::NodeSet leaked = analysis::LeakedNodes(in.verdict);
  if (leaked.node_count() == 0) return {};
  const graph::Components components = graph::StronglyConnectedComponents(in.heap.graph, &leaked);
  std::vector<heap::NodeId> centres;
  for (graph::NodeId c = 0; c < components.count(); ++c) {
    if (graph::IsCyclic(in.heap.graph, components, c)) centres.push_back(components.Members(c).front());
  }
  std::sort(centres.begin(), centres.end());
  return centres;
}

// Errors: kUsage where there is no such object or type.
Result<std::vector<heap::NodeId>> Centres(const CommandInput& in, const Labels& labels) {
  if (in.request.arguments.empty()) return LeakedCycles(in);
  const std::string& query = in.request.arguments[0];
  if (const Result<Address> address = ParseAddress(query)) {
    const heap::NodeId n = in.heap.index.Find(*address);
    if (n == heap::kNoNode) return Fail(ErrorCode::kUsage, "no object at {}: {}", query, DescribeAddress(in, *address));
    return std::vector{n};
  }
  std::vector<heap::NodeId> objects = ObjectsOfType(in, labels, query);
  if (!objects.empty()) return objects;
  std::string nearest;
  for (const std::string& name : NearestTypes(in.heap, query, kMaxNearest)) nearest += (nearest.empty() ? "; types with objects: " : ", ") + name;
  return Fail(ErrorCode::kUsage, "no object of a type like '{}'{}", query, nearest);
}

// Classes, modules and functions by their own names, all else by type alone: whoever groups objects by name shall find few groups.
std::string NameOf(const CommandInput& in, const Labels& labels, heap::NodeId n) {
  const std::string& type = in.heap.types[in.heap.type[n]].name;
  if (type == "instance") return labels.TypeName(in.heap.AddressOf(n), type);
  const bool named = type == "type" || type == "module" || type == "function" || type == "classobj";
  const std::string name = named ? labels.NameOf(in.heap.AddressOf(n), type) : "";
  return name.empty() ? type : type + " " + name;
}

// DOT and heapsnapshot.
Result<void> WriteGraph(const CommandInput& in, const report::ExportInput& base, const Sink& sink) {
  const Result<const analysis::RootPaths*> paths = RootPathsOf(in);
  if (!paths) return tl::unexpected(paths.error());
  const Labels labels(in.reader, in.request.redact);
  const report::GraphInput graph{base, *in.roots, **paths, [&](heap::NodeId n) { return NameOf(in, labels, n); }};
  if (in.request.format == Format::kHeapSnapshot) return report::WriteHeapSnapshot(graph, sink, in.progress);
  const Result<std::vector<heap::NodeId>> centres = Centres(in, labels);
  if (!centres) return tl::unexpected(centres.error());
  const Result<report::DotSummary> drawn = report::WriteDot(graph, *centres, {in.request.depth, in.request.fan_out}, sink, in.progress);
  if (!drawn) return tl::unexpected(drawn.error());
  return {};
}

constexpr std::size_t kMaxWordRoots = 8;          // of one object
constexpr std::size_t kMaxExplained = 1u << 20;   // objects whose words are looked for

// The words of native memory that explain counts.
void AddWords(const CommandInput& in, report::ExportAudit& out) {
  const heap::ReferenceAudit& counts = in.audit->counts;
  std::vector<heap::NodeId> targets;
  for (heap::NodeId n = 0; n < in.heap.size() && targets.size() < kMaxExplained; ++n) {
    if (counts.auditable[n] == heap::Auditable::kYes && in.heap.refcount[n] > counts.known[n] && counts.possible[n] > 0) targets.push_back(n);
  }
  if (targets.empty()) return;
  const auto words = audit::FindPossibleHolders(AuditInputOf(in), targets, kMaxWordRoots, in.request.limits, in.progress);
  for (std::size_t i = 0; i < targets.size(); ++i) {
    for (const audit::PossibleHolder& w : words[i]) {
      if (w.owner == heap::kNoNode) out.roots.push_back({targets[i], heap::RootKindName(w.kind), w.place});
    }
  }
}

// Objects that are no nodes get the ids behind these.
void AddLostObjects(const CommandInput& in, const Labels& labels, report::ExportAudit& out) {
  std::vector<std::pair<Address, std::uint32_t>> types;
  for (std::uint32_t t = 0; t < in.heap.types.size(); ++t) types.emplace_back(in.heap.types[t].address, t);
  std::sort(types.begin(), types.end());
  std::unordered_map<Address, std::uint32_t> more;  // ids of ExportAudit::types
  for (const heap::UnreachedObject& u : in.audit->counts.unreached) {
    if (u.possible != 0) continue;
    report::ExportLostObject& o = out.lost_objects.emplace_back();
    o.address = u.object;
    o.refcount = u.recorded;
    const auto type = std::lower_bound(types.begin(), types.end(), std::pair<Address, std::uint32_t>(u.type, 0));
    if (type != types.end() && type->first == u.type) {
      o.type = type->second;
    } else if (const objects::TypeFacts* const facts = in.reader.Type(u.type)) {
      // Only objects that are no nodes are of this type.
      const auto [known, fresh] = more.try_emplace(u.type, static_cast<std::uint32_t>(in.heap.types.size() + out.types.size()));
      if (fresh) out.types.push_back({u.type, facts->name});
      o.type = known->second;
    }
    if (const std::uint64_t size = labels.SizeOf(u.object); size > 0) o.size = size;
  }
}

report::ExportAudit AuditOf(const CommandInput& in) {
  report::ExportAudit out;
  if (in.audit == nullptr) return out;
  const Labels labels(in.reader, in.request.redact);
  const heap::LostPart& part = in.audit->counts.lost;
  out.audited = true;
  out.lost = graph::NodeSet(in.heap.size());
  AddWords(in, out);
  if (in.audit->counts.surplus_doubts.empty()) AddLostObjects(in, labels, out);
  const auto id_of = [&](heap::NodeId n, Address a) {
    if (n != heap::kNoNode) return n;
    const auto at = std::lower_bound(out.lost_objects.begin(), out.lost_objects.end(), a, [](const report::ExportLostObject& o, Address x) { return o.address < x; });
    return static_cast<heap::NodeId>(in.heap.size() + static_cast<std::size_t>(at - out.lost_objects.begin()));
  };
  const std::vector<report::RefcountFinding> rows = CountRows(in, labels, in.audit->judged.findings);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    out.findings.push_back({id_of(in.audit->judged.findings[i].object, rows[i].object), rows[i].kind, rows[i].recorded, rows[i].known, EvidenceText(rows[i])});
  }
  for (const analysis::LostStructure& s : in.audit->lost) {
    for (const auto* items : {&s.members, &s.held}) {
      for (const std::uint32_t i : *items) {
        if (part.items[i].object != heap::kNoNode) out.lost.Insert(part.items[i].object);
      }
    }
    if (s.kind != analysis::CountFindingKind::kHiddenCycle) continue;
    const heap::NodeId n = part.items[s.head].object;
    const Address address = part.items[s.head].memory.begin;  // of what is no node
    const auto& unreached = in.audit->counts.unreached;
    const auto u = std::lower_bound(unreached.begin(), unreached.end(), address, [](const heap::UnreachedObject& o, Address a) { return o.object < a; });
    if (n == heap::kNoNode && (u == unreached.end() || u->object != address || u->possible != 0)) continue;
    std::string cycle;
    for (const std::string& step : report::CycleParts(HiddenCycleOf(in, labels, s))) cycle += fmt::format("{}{}", cycle.empty() ? "" : " → ", step);
    if (n != heap::kNoNode) {
      out.findings.push_back({n, KindName(s.kind), in.heap.refcount[n], in.audit->counts.known[n], cycle});
    } else {
      out.findings.push_back({id_of(n, address), KindName(s.kind), u->recorded, u->hanging, cycle});
    }
  }
  return out;
}

// With these, what `roots` leads to is what is in use.
Result<std::vector<report::ExportRoot>> HeldByCount(const CommandInput& in) {
  const Result<const analysis::RootPaths*> paths = RootPathsOf(in);
  if (!paths) return tl::unexpected(paths.error());
  std::vector<report::ExportRoot> out;
  for (std::size_t i = 0; i < (*paths)->starts.size(); ++i) {
    if ((*paths)->root[i] != analysis::RootPaths::kCountOnly) continue;
    const heap::NodeId n = (*paths)->starts[i];
    const char* const why = in.heap.refcount[n] == heap::kImmortal ? "immortal, so nobody need hold it" : "its count is higher than the references found to it: who holds it is not known";
    out.push_back({n, "count", why});
  }
  return out;
}

constexpr std::uint64_t kMaxFrames = 1u << 24;  // of all tracebacks together; tables that lead to each other in circles would have no end

report::ExportAllocations AllocationsOf(const CommandInput& in, const std::vector<Address>& lost) {
  report::ExportAllocations out;
  const objects::AllocationSites* const sites = SitesIfOn(in);
  if (sites == nullptr) return out;
  for (const objects::AllocationSites::Block& b : sites->blocks()) {
    out.blocks.push_back({report::ExportBlock::kNone, b.traceback == objects::AllocationSites::kNone ? report::ExportBlock::kNone : b.traceback, b.domain, b.begin, b.bytes});
  }
  const auto mark = [&](Address object, std::size_t id) {
    const std::optional<std::size_t> block = sites->BlockOf(object);
    if (block) out.blocks[*block].object = std::min(out.blocks[*block].object, static_cast<std::uint32_t>(id));
  };
  in.heap.index.ForEach(0, in.heap.size(), [&](heap::NodeId n, Address a) { mark(a, n); });
  for (std::size_t i = 0; i < lost.size(); ++i) mark(lost[i], in.heap.size() + i);
  std::sort(out.blocks.begin(), out.blocks.end(), [](const report::ExportBlock& a, const report::ExportBlock& b) {
    return std::tuple(a.object, a.domain, a.address) < std::tuple(b.object, b.domain, b.address);
  });
  std::unordered_map<std::string, std::uint32_t> file_named;
  std::uint64_t frames = 0;
  for (std::uint32_t t = 0; t < sites->traceback_count(); ++t) {
    std::vector<report::ExportFrame>& traceback = out.tracebacks.emplace_back();
    if (frames >= kMaxFrames) continue;  // LIMIT: kMaxFrames
    for (const objects::SiteFrame& f : sites->FramesOf(t, in.reader)) {
      const auto [file, fresh] = file_named.try_emplace(report::JsonSafe(f.file), static_cast<std::uint32_t>(out.files.size()));
      if (fresh) out.files.push_back(file->first);
      traceback.push_back({file->second, f.line});
    }
    frames += traceback.size();
  }
  return out;
}

}  // namespace

report::ExportInput ExportInputOf(const CommandInput& in, EdgeLabels& labels) {
  report::ExportInput input{in.heap, in.verdict, in.header, {}, [&labels](heap::NodeId n, std::vector<std::string>& out) { labels.Of(n, out); }, in.roots, AuditOf(in)};
  for (unsigned q = 0; q <= static_cast<unsigned>(objects::ReferentQuality::kUnknown); ++q) {
    input.quality_names.emplace_back(objects::QualityName(static_cast<objects::ReferentQuality>(q)));
  }
  std::vector<Address> lost;
  for (const report::ExportLostObject& o : input.audit.lost_objects) lost.push_back(o.address);
  input.allocations = [&in, lost] { return AllocationsOf(in, lost); };
  input.held_by_count = [&in] { return HeldByCount(in); };
  input.roots_missing = RootsMissing(in.reader.process());
  return input;
}

Result<void> RunExport(const CommandInput& in, const Sink& sink) {
  EdgeLabels labels(in.reader, in.heap, in.request.redact);
  const report::ExportInput input = ExportInputOf(in, labels);
  const auto write = [&](const Sink& to) { return in.request.format == Format::kJsonl ? report::WriteJsonLines(input, to, in.progress) : WriteGraph(in, input, to); };
  if (in.request.output_file.empty()) return write(sink);
  const bool database = in.request.format == Format::kSqlite;
  Result<report::OutputFile> file = report::OutputFile::Create(in.request.output_file, !database);
  if (!file) return tl::unexpected(file.error());
  if (database) {
    if (Result<void> r = report::WriteSqlite(input, *file, in.progress); !r) return r;
  } else {
    Result<void> written;
    const auto to_file = [&](std::string_view bytes) {
      written = file->Write(bytes);
      return written.has_value();
    };
    if (Result<void> r = write(to_file); !r) return r;
    if (!written) return written;
  }
  return file->Commit();
}

}  // namespace pygc::engine
