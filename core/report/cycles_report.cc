#include "core/report/cycles_report.h"

#include <fmt/format.h>

#include "core/report/numbers.h"

namespace pygc::report {
namespace {

constexpr std::size_t kTextColumn = 17;

void WriteGroup(const ComponentGroup& g, std::size_t number, bool several_interpreters, TextWriter& out) {
  out.Add(fmt::format("#{}", number), Style::kHeading).To(5);
  out.Add(g.state.empty() ? "not known" : g.state, g.state == "reachable" || g.state.empty() ? Style::kPlain : Style::kWaiting).To(kTextColumn + 3);
  out.Add(fmt::format("{} × ", Thousands(g.count))).Add(g.name.empty() ? g.type : fmt::format("{} {}", g.type, g.name), Style::kName);
  out.Line(fmt::format("   {}{}", Counted(g.objects, "object"), g.count > 1 ? fmt::format(", {} in each", Thousands(g.objects / g.count)) : ""));
  if (!g.cycle.empty()) {
    out.To(4).Add("cycle", Style::kFaint).To(kTextColumn);
    out.Flow(CycleParts(g.cycle), " → ", kTextColumn);
  }
  if (g.members.size() > 1) {
    out.To(4).Add("members", Style::kFaint).To(kTextColumn);
    std::vector<std::string> parts;
    for (const TypeCount& t : g.members) {
      if (parts.size() == 8) {
        parts.push_back(fmt::format("… {} more", Counted(g.members.size() - 8, "type")));
        break;
      }
      parts.push_back(fmt::format("{} {}", Thousands(t.objects), t.type));
    }
    out.Flow(parts, ", ", kTextColumn);
  }
  if (several_interpreters) out.To(4).Add("interpreter", Style::kFaint).To(kTextColumn).Line(g.interpreter ? std::to_string(*g.interpreter) : "not known");
  if (!g.addresses.empty()) {
    out.To(4).Add("address", Style::kFaint).To(kTextColumn);
    std::vector<std::string> parts;
    for (const Address a : g.addresses) parts.push_back(fmt::format("{:#x}", a));
    if (g.addresses.size() < g.count) parts.push_back(fmt::format("… {} more (--limit 0 for all)", Thousands(g.count - g.addresses.size())));
    out.Flow(parts, "  ", kTextColumn);
  }
}

}  // namespace

void WriteText(const Header& h, const CyclesReport& r, TextWriter& out) {
  WriteFirstLines(out, h);
  if (!h.objects_read) {
    out.Line().Line("not known: the objects could not be read");
    WriteWarnings(out, h);
    return;
  }
  const bool exact = h.complete && h.certainty == Certainty::kExact;
  const auto figure = [](std::uint64_t components, std::uint64_t objects) { return fmt::format("{} of {}", Counted(components, "component"), Counted(objects, "object")); };
  out.Line();
  std::string figures = fmt::format("unreachable: {}{}   reachable: {}{}", exact ? "" : "at least ", figure(r.unreachable_components, r.unreachable_objects),
                                    figure(r.reachable_components, r.reachable_objects), r.reachable_exact ? "" : ", unverifiable");
  if (r.unknown_components > 0) figures += fmt::format("   not known whether in use: {}, unverifiable", figure(r.unknown_components, r.unknown_objects));
  out.Line(figures, Style::kHeading);
  if (!r.reachable_exact) out.Line("Unverifiable: some references are missing or guessed, so what looks like several components may be parts of one, or no cycle at all.", Style::kFaint);
  out.Line("In a component every object reaches every other, so no reference count in it can fall to zero by itself.", Style::kFaint);
  std::size_t number = 0;
  for (const ComponentGroup& g : r.groups) {
    out.Line();
    WriteGroup(g, ++number, h.interpreters.size() > 1, out);
  }
  out.Line();
  if (r.group_count > r.groups.size()) out.Line(fmt::format("… {} more (--limit 0 for all)", Counted(r.group_count - r.groups.size(), "group")));
  if (r.groups_ignored > 0) out.Line(fmt::format("{} left out by --type or --ignore", Counted(r.groups_ignored, "group")));
  WriteWarnings(out, h);
}

void WriteJson(const Header& h, const CyclesReport& r, JsonWriter& json) {
  json.Object();
  json.Unsigned("unreachable_components", r.unreachable_components).Unsigned("unreachable_objects", r.unreachable_objects);
  json.Unsigned("reachable_components", r.reachable_components).Unsigned("reachable_objects", r.reachable_objects);
  if (r.unknown_components > 0) json.Unsigned("unknown_components", r.unknown_components).Unsigned("unknown_objects", r.unknown_objects);
  json.String("reachable_certainty", CertaintyName(r.reachable_exact ? Certainty::kExact : Certainty::kUnverifiable));
  json.Unsigned("group_count", r.group_count).String("certainty", CertaintyName(h.certainty));
  json.Key("groups").Array();
  for (const ComponentGroup& g : r.groups) {
    json.Object().Key("state");
    g.state.empty() ? json.Null() : json.String(g.state);
    json.String("type", g.type);
    if (!g.name.empty()) json.String("name", g.name);
    json.Unsigned("count", g.count).Unsigned("objects", g.objects).Integer("interpreter", g.interpreter);
    WriteCycle(json, g.cycle);
    WriteTypeCounts(json, "members", g.members);
    WriteAddresses(json, g.addresses);
    json.EndObject();
  }
  json.EndArray().EndObject();
}

}  // namespace pygc::report
