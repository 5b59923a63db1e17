#include "core/report/finalizers_report.h"

#include <fmt/format.h>

#include "core/report/numbers.h"

namespace pygc::report {

namespace {

void WriteSuspended(const FinalizersReport& r, TextWriter& out) {
  if (r.suspended_objects == 0) return;
  out.Line().Line(fmt::format("generators, coroutines and async generators that have not finished: {}", Thousands(r.suspended_objects)), Style::kHeading);
  Table table;
  table.right = {true, false, false, true, false};
  table.rows.push_back({"objects", "type", "stands", "unreachable", "address"});
  for (const SuspendedGroup& g : r.suspended) {
    const std::string line = g.line < 0 ? "" : fmt::format(":{}", g.line);
    std::string addresses;
    for (std::size_t i = 0; i < std::min<std::size_t>(g.addresses.size(), 2); ++i) addresses += fmt::format("{}{:#x}", i == 0 ? "" : " ", g.addresses[i]);
    table.rows.push_back({Thousands(g.objects), g.type, fmt::format("{}() at {}{}{}", g.function, g.file, line, g.begun ? "" : ", not begun"), Thousands(g.unreachable), addresses + (g.objects > 2 ? " …" : "")});
  }
  table.Write(out, 0);
  if (r.suspended_groups > r.suspended.size()) out.Line(fmt::format("… {} more (--limit 0 for all)", Counted(r.suspended_groups - r.suspended.size(), "place")));
}

}  // namespace

void WriteText(const Header& h, const FinalizersReport& r, TextWriter& out) {
  WriteFirstLines(out, h);
  out.Line();
  if (r.objects == 0) {
    out.Line(h.complete ? "no tracked object has a finalizer" : "no object with a finalizer found in what could be read", Style::kHeading);
  } else {
    out.Line(fmt::format("{} with a finalizer: {} not run{}", Counted(r.objects, "object"), Thousands(r.pending),
                         r.runs_known ? fmt::format(", {} run", Thousands(r.run)) : ""),
             Style::kHeading);
    if (r.unreachable > 0)
      out.Line(fmt::format("{} of them unreachable: the next full collection runs their finalizers", Thousands(r.unreachable)), Style::kWaiting);
    if (r.uncollectable > 0)
      out.Line(fmt::format("{} of them stuck: their finalizers never run by themselves", Thousands(r.uncollectable)), Style::kBad);
    if (r.order_undefined > 0)
      out.Line(fmt::format("{} of those share a cycle with another one whose finalizer has not run: order undefined", Thousands(r.order_undefined)), Style::kWaiting);
  }
  if (r.callbacks > 0) out.Line(fmt::format("{} will be called when unreachable objects are freed", Counted(r.callbacks, "weakref callback")));
  if (!r.groups.empty()) {
    out.Line();
    Table table;
    const bool several = h.interpreters.size() > 1;
    table.right = {true, false, false, true, true, true, true, true, false};
    table.rows.push_back({"objects", "type", "finalizer", "not run", r.runs_known ? "run" : "", "unreachable", "stuck", "in cycles", "address"});
    for (const FinalizerGroup& g : r.groups) {
      std::string addresses;
      std::size_t shown = 0;
      for (const Address a : g.addresses) {
        if (shown++ == 3 && g.addresses.size() > 4) break;
        addresses += fmt::format("{}{:#x}", addresses.empty() ? "" : " ", a);
      }
      if (g.objects > std::min<std::uint64_t>(shown, 3)) addresses += " …";
      table.rows.push_back({Thousands(g.objects), g.type, g.kind + (g.legacy ? " (legacy)" : ""), Thousands(g.pending),
                            r.runs_known ? Thousands(g.run) : "", Thousands(g.unreachable), Thousands(g.uncollectable), Thousands(g.in_cycles),
                            addresses});
    }
    if (several) {  // a column of its own before the addresses
      const auto insert = [](auto& cells, auto cell) { cells.insert(cells.end() - 1, std::move(cell)); };
      insert(table.right, true);
      insert(table.rows[0], std::string("interpreter"));
      for (std::size_t i = 0; i < r.groups.size(); ++i)
        insert(table.rows[i + 1], r.groups[i].interpreter ? std::to_string(*r.groups[i].interpreter) : std::string("?"));
    }
    table.Write(out, 0);
    std::uint64_t resurrected = 0;
    for (const FinalizerGroup& g : r.groups) resurrected += g.resurrected;
    if (resurrected > 0)
      out.Line().Line(fmt::format("{} whose finalizer has run {} still in use: resurrected by the finalizer, which will not run again",
                                  Counted(resurrected, "object"), resurrected == 1 ? "is" : "are"));
  }
  if (r.group_count > r.groups.size())
    out.Line().Line(fmt::format("… {} more (--limit 0 for all)", Counted(r.group_count - r.groups.size(), "type")));
  if (r.groups_ignored > 0) out.Line(fmt::format("{} left out by --type or --ignore", Counted(r.groups_ignored, "type")));
  WriteSuspended(r, out);
  if (r.resource_count > 0) {
    out.Line().Line(fmt::format("open files, sockets and locked locks, with the objects that own them: {}", Thousands(r.resource_count)), Style::kHeading);
    WriteResources(r.resources, out);
    if (r.resource_count > r.resources.size()) out.To(2).Line(fmt::format("… {} more (--limit 0 for all)", Thousands(r.resource_count - r.resources.size())), Style::kFaint);
  }
  WriteWarnings(out, h);
}

void WriteJson(const Header& h, const FinalizersReport& r, JsonWriter& json) {
  json.Object().Unsigned("objects", r.objects).Unsigned("pending", r.pending).Unsigned("run", r.run).Unsigned("unreachable", r.unreachable);
  json.Unsigned("uncollectable", r.uncollectable).Unsigned("order_undefined", r.order_undefined).Bool("runs_known", r.runs_known);
  if (r.callbacks_known) {
    json.Unsigned("weakref_callbacks", r.callbacks);
  } else {
    json.Key("weakref_callbacks").Null();
  }
  json.Unsigned("group_count", r.group_count).String("certainty", CertaintyName(h.certainty));
  json.Key("groups").Array();
  for (const FinalizerGroup& g : r.groups) {
    json.Object()
        .String("type", g.type)
        .String("kind", g.kind)
        .Integer("interpreter", g.interpreter)
        .Bool("legacy", g.legacy)
        .Unsigned("objects", g.objects)
        .Unsigned("pending", g.pending)
        .Unsigned("run", g.run);
    json.Unsigned("resurrected", g.resurrected).Unsigned("unreachable", g.unreachable).Unsigned("uncollectable", g.uncollectable);
    json.Unsigned("in_cycles", g.in_cycles).Unsigned("order_undefined", g.order_undefined);
    WriteAddresses(json, g.addresses);
    json.EndObject();
  }
  json.EndArray().Unsigned("suspended_objects", r.suspended_objects).Unsigned("suspended_groups", r.suspended_groups).Key("suspended").Array();
  for (const SuspendedGroup& g : r.suspended) {
    json.Object().String("type", g.type).Bool("begun", g.begun).String("function", g.function).String("file", g.file);
    json.Integer("line", g.line < 0 ? std::nullopt : std::optional(g.line)).Unsigned("objects", g.objects).Unsigned("unreachable", g.unreachable);
    WriteAddresses(json, g.addresses);
    json.EndObject();
  }
  json.EndArray().Unsigned("resource_count", r.resource_count).Unsigned("free_locks", r.free_locks).Unsigned("closed", r.closed).Key("resources").Array();
  for (const ResourceRow& row : r.resources) WriteResource(row, json);
  json.EndArray().EndObject();
}

}  // namespace pygc::report
