#include "core/report/garbage_report.h"

#include <fmt/format.h>

#include "core/report/numbers.h"

namespace pygc::report {
namespace {

constexpr std::size_t kTextColumn = 17;

std::string Because(const GarbageReport& r, const GarbageGroup& g) {
  switch (g.reason) {
    case Reason::kLegacyFinalizer:
      if (r.legacy_instances && g.finalizer != "__del__")
        return "a generator suspended inside try or with, found in an unreachable cycle: the collector put it here instead of freeing it";
      return r.legacy_instances
                 ? "it has __del__ and was found in an unreachable cycle: the collector cannot choose an order, and put it here instead of freeing it"
                 : "its type has a legacy finalizer (tp_del) and it was found in an unreachable cycle: the collector cannot choose an order, and put "
                   "it here";
    case Reason::kSaveAll:
      return "gc.DEBUG_SAVEALL is set (gc.set_debug; part of DEBUG_LEAK): the collector puts everything it finds unreachable here instead of freeing "
             "it";
    default:
      return "it has no legacy finalizer and gc.DEBUG_SAVEALL is not set now: the program put it here, or DEBUG_SAVEALL was set before";
  }
}

std::string Fix(const GarbageGroup& g) {
  switch (g.reason) {
    case Reason::kLegacyFinalizer:
      return "break the cycle (pygc leaks shows it) or replace the finalizer by a close() method; break the cycles of the items here, then del "
             "gc.garbage[:]";
    case Reason::kSaveAll:
      return "gc.set_debug(0), then del gc.garbage[:]";
    default:
      return "del gc.garbage[:]";
  }
}

}  // namespace

void WriteText(const Header& h, const GarbageReport& r, TextWriter& out) {
  WriteFirstLines(out, h);
  out.Line();
  if (r.in_garbage == 0) {
    out.Line(h.complete ? "gc.garbage is empty" : "nothing found in gc.garbage, as far as it could be read", Style::kHeading);
  } else {
    out.Add(fmt::format("gc.garbage holds {}", Counted(r.in_garbage, "object")), Style::kBad);
    out.Line(r.held > 0 ? fmt::format(" and keeps {} more alive that nothing else refers to", Thousands(r.held)) : "");
  }
  std::size_t number = 0;
  for (const GarbageGroup& g : r.groups) {
    out.Line();
    out.Add(fmt::format("#{}", ++number), Style::kHeading).To(4).Add("definite", Style::kBad).To(14);
    out.Add(fmt::format("{} × ", Thousands(g.objects))).Add(g.type, Style::kName).Line(fmt::format("   {}", Bytes(g.bytes)));
    out.To(4).Add("because", Style::kFaint).To(kTextColumn).Paragraph(Because(r, g), kTextColumn);
    out.To(4).Add("fix", Style::kFaint).To(kTextColumn).Paragraph(Fix(g), kTextColumn);
    if (h.interpreters.size() > 1) out.To(4).Add("interpreter", Style::kFaint).To(kTextColumn).Line(std::to_string(g.interpreter));
    out.To(4).Add("address", Style::kFaint).To(kTextColumn);
    std::vector<std::string> parts;
    for (const Address a : g.addresses) parts.push_back(fmt::format("{:#x}", a));
    if (g.addresses.size() < g.objects) parts.push_back(fmt::format("… {} more (--limit 0 for all)", Thousands(g.objects - g.addresses.size())));
    out.Flow(parts, "  ", kTextColumn);
  }
  if (r.group_count > r.groups.size())
    out.Line().Line(fmt::format("… {} more (--limit 0 for all)", Counted(r.group_count - r.groups.size(), "type")));
  if (r.resource_count > 0) {
    out.Line().Line(fmt::format("open files, sockets and locked locks that gc.garbage holds: {}", Thousands(r.resource_count)), Style::kHeading);
    WriteResources(r.resources, out);
    if (r.resource_count > r.resources.size()) out.To(2).Line(fmt::format("… {} more (--limit 0 for all)", Thousands(r.resource_count - r.resources.size())), Style::kFaint);
  }
  if (r.groups_ignored > 0) out.Line(fmt::format("{} left out by --type or --ignore", Counted(r.groups_ignored, "type")));
  WriteWarnings(out, h);
}

void WriteJson(const Header& h, const GarbageReport& r, JsonWriter& json) {
  json.Object().Unsigned("in_garbage", r.in_garbage).Unsigned("held", r.held).Unsigned("group_count", r.group_count);
  WriteInterpreters(json, h.interpreters);
  json.Key("groups").Array();
  for (const GarbageGroup& g : r.groups) {
    json.Object()
        .String("severity", "definite")
        .String("type", g.type)
        .String("reason", ReasonName(g.reason))
        .Unsigned("objects", g.objects)
        .Unsigned("bytes", g.bytes);
    json.Integer("interpreter", g.interpreter);
    if (g.finalizer.empty()) {
      json.Key("finalizer").Null();
    } else {
      json.String("finalizer", g.finalizer);
    }
    json.String("because", Because(r, g)).String("fix", Fix(g));
    WriteAddresses(json, g.addresses);
    json.EndObject();
  }
  json.EndArray().Unsigned("resource_count", r.resource_count).Key("resources").Array();
  for (const ResourceRow& row : r.resources) WriteResource(row, json);
  json.EndArray().EndObject();
}

}  // namespace pygc::report
