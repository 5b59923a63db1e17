#include "core/report/status_report.h"

#include <fmt/format.h>

#include "core/report/numbers.h"

namespace pygc::report {
namespace {

constexpr std::size_t kTextColumn = 16;

TextWriter& Label(TextWriter& out, std::string_view label) { return out.Add(label, Style::kHeading).To(kTextColumn); }

void WriteTargetText(const Header& h, const TargetDetails& d, TextWriter& out) {
  Label(out, "target")
      .Line(fmt::format("{} {}{}", h.target.kind == "core" ? "core" : "live process", h.target.path.empty() ? TargetName(h.target) : h.target.path,
                        h.target.pid != 0 && !h.target.path.empty() ? fmt::format(" of process {}", h.target.pid) : ""));
  if (!d.executable.empty()) Label(out, "program").Line(d.executable);
  std::string memory = fmt::format("{} readable", Bytes(d.memory_bytes));
  if (d.core_bytes_expected > d.core_bytes_present)
    memory += fmt::format("; the core file is truncated: {} of {}", Bytes(d.core_bytes_present), Bytes(d.core_bytes_expected));
  Label(out, "memory").Line(memory);
  if (h.target.kind == "live" && d.pause_seconds > 0)
    Label(out, "pause").Line(fmt::format("{:.1f} ms (the process stood still while its memory was copied)", d.pause_seconds * 1000));
  if (d.read_seconds > 0)
    Label(out, "read").Line(fmt::format("in {:.1f} ms (a debugger held the process; after that it could run again)", d.read_seconds * 1000));
  Label(out, "layout").Line(d.layout);
  for (const std::string& line : d.explanation) out.To(kTextColumn).Paragraph(line, kTextColumn);
  bool first = true;
  for (const TargetDetails::Module& m : d.modules) {
    if (first) Label(out, "modules");
    if (!first) out.To(kTextColumn);
    out.Paragraph(fmt::format("{}: {}{}", m.path, m.match, m.detail.empty() ? "" : fmt::format(" ({})", m.detail)), kTextColumn);
    first = false;
  }
}

constexpr const char* kFreeThreaded = "free-threaded";

void WriteCollector(const CollectorFacts& c, bool objects_read, TextWriter& out) {
  out.Line();
  Label(out, fmt::format("interpreter {}", c.id));
  out.Line(fmt::format("{}{} collector {}{} · {}", objects_read ? fmt::format("{} tracked · ", Counted(c.tracked, "object")) : "", c.kind,
                       !c.enabled_known ? CollectorSwitch(c) : c.enabled ? "on" : "off", c.collecting ? ", in the middle of a collection" : "", Counted(c.threads, "thread")));
  if (!objects_read) return;
  Table table;
  table.right = {false, true, true, true, true, true, true};
  table.rows.push_back({"generation", "objects", "threshold", "count", "collections", "collected", "uncollectable"});
  for (std::size_t i = 0; i < c.generations.size(); ++i) {
    const CollectorFacts::Generation& g = c.generations[i];
    std::vector<std::string> row{g.name, Thousands(g.objects)};
    const bool numbered = i < c.thresholds.size() && c.kind != kFreeThreaded;
    row.push_back(numbered ? std::to_string(c.thresholds[i]) : "");
    row.push_back(numbered && i < c.counts.size() ? std::to_string(c.counts[i]) : "");
    if (g.has_stats) {
      for (const std::int64_t n : {g.collections, g.collected, g.uncollectable}) row.push_back(std::to_string(n));
    }
    table.rows.push_back(std::move(row));
  }
  table.Write(out, kTextColumn);
  std::string flags;
  for (const std::string& f : c.debug_flags) flags += fmt::format("{}{}", flags.empty() ? "" : " | ", f);
  out.To(kTextColumn).Line(fmt::format("gc.garbage holds {} · debug flags: {}", Counted(c.in_garbage, "object"), flags.empty() ? "none" : flags));
  if (c.kind == kFreeThreaded) {
    out.To(kTextColumn).Line(fmt::format("{} objects survived the last collection", Thousands(static_cast<std::uint64_t>(c.long_lived_total))));
  } else if (c.long_lived_total > 0 || c.long_lived_pending > 0) {
    // CPython: collect() skips a full collection while long_lived_pending < long_lived_total / 4 [2.7-3.12, 3.14.5+].
    out.To(kTextColumn)
        .Line(fmt::format("{} objects survived the last full collection, {} wait for the next: {}",
                          Thousands(static_cast<std::uint64_t>(c.long_lived_total)), Thousands(static_cast<std::uint64_t>(c.long_lived_pending)),
                          c.long_lived_pending < c.long_lived_total / 4 ? "below 25 %, so an automatic full collection is not due"
                                                                        : "25 % or more, so a full collection is allowed"));
  }
}

}  // namespace

void WriteText(const Header& h, const StatusReport& r, TextWriter& out) {
  WriteFirstLines(out, h);
  out.Line();
  WriteTargetText(h, r.details, out);
  Label(out, "python")
      .Line(fmt::format("{}, {} build{}{}", r.build_text.empty() ? h.target.python : r.build_text, h.target.build, h.target.debug ? " (debug)" : "",
                        r.tried_on_real_process ? "" : "; pygc was never tried on a real process of this version"));
  for (const CollectorFacts& c : h.interpreters) WriteCollector(c, h.objects_read, out);
  out.Line();
  if (!h.objects_read) {
    Label(out, "objects").Line("not read");
    WriteWarnings(out, h);
    return;
  }
  Label(out, "objects")
      .Line(fmt::format("{} of {}, with {}", Counted(h.tracked, "tracked object"), Counted(r.types, "type"), Counted(r.references, "reference")));
  out.To(kTextColumn)
      .Line(fmt::format("{} with exact references, {} with guessed ones, {} unreadable", Thousands(r.exact_objects), Thousands(r.approximate_objects),
                        Thousands(r.unreadable_objects)));
  std::string labels;
  for (const auto& [label, objects] : r.labels) labels += fmt::format("{}{} {}", labels.empty() ? "" : ", ", Thousands(objects), label);
  if (!labels.empty()) out.To(kTextColumn).Line(fmt::format("by label: {}", labels));
  if (r.dangling_references > 0) out.To(kTextColumn).Line(fmt::format("{} to no readable object", Counted(r.dangling_references, "reference")));
  if (!r.approximate_types.empty()) {
    out.Line();
    Label(out, "not exact").Line("types whose references are incomplete or taken from a scan of their memory, and why:");
    Table table;
    table.right = {true, false, false, false};
    for (const ApproximateType& t : r.approximate_types)
      table.rows.push_back({Thousands(t.objects), t.type, t.quality,
                            t.module.empty() ? t.reason : fmt::format("{} ({})", t.reason, t.module.substr(t.module.rfind('/') + 1))});
    table.Write(out, kTextColumn);
    if (r.more_approximate_types > 0)
      out.To(kTextColumn).Line(fmt::format("… {} more (--limit 0 for all)", Counted(r.more_approximate_types, "type")));
  }
  for (const std::string& note : r.notes) Label(out, "note").Line(note);
  WriteWarnings(out, h);
}

void WriteStatusDocument(const Header& h, const StatusReport& r, JsonWriter& json) {
  const TargetDetails& d = r.details;
  json.Object().String("schema", "pygc.status/1").String("pygc", PYGC_VERSION).String("host", h.host);
  json.Key("target");
  WriteTargetObject(json, h.target, [&] {
    json.String("executable", d.executable).String("layout", d.layout).Unsigned("memory_bytes", d.memory_bytes);
    json.Unsigned("core_bytes_expected", d.core_bytes_expected).Unsigned("core_bytes_present", d.core_bytes_present).Unsigned("threads", d.threads);
    json.Key("explanation").Array();
    for (const std::string& line : d.explanation) json.String(line);
    json.EndArray().Key("modules").Array();
    for (const TargetDetails::Module& m : d.modules)
      json.Object().String("path", m.path).String("match", m.match).String("detail", m.detail).EndObject();
    json.EndArray();
  });
  WriteEnvelopeRest(json, h);
  json.Object()
      .String("python", h.target.python)
      .String("build", h.target.build)
      .Bool("debug", h.target.debug)
      .Bool("tried_on_real_process", r.tried_on_real_process);
  json.Unsigned("tracked", h.tracked).Unsigned("types", r.types).Unsigned("references", r.references);
  json.Unsigned("exact_objects", r.exact_objects)
      .Unsigned("approximate_objects", r.approximate_objects)
      .Unsigned("unreadable_objects", r.unreadable_objects);
  json.Unsigned("dangling_references", r.dangling_references);
  json.Key("labels").Object();
  for (const auto& [label, objects] : r.labels) json.Unsigned(label, objects);
  json.EndObject();
  WriteInterpreters(json, h.interpreters);
  json.Key("approximate_types").Array();
  for (const ApproximateType& t : r.approximate_types) {
    json.Object()
        .String("type", t.type)
        .Unsigned("objects", t.objects)
        .String("quality", t.quality)
        .String("code", t.code)
        .String("reason", t.reason)
        .String("module", t.module)
        .EndObject();
  }
  json.EndArray().EndObject();
  EndEnvelope(json);
}

}  // namespace pygc::report
