#include "core/report/diff_report.h"

#include <fmt/format.h>

#include "core/report/numbers.h"
#include "core/report/path_report.h"

namespace pygc::report {
namespace {

std::string Growth(std::uint64_t old_value, std::uint64_t new_value, std::string (*text)(std::uint64_t)) {
  if (new_value == old_value) return "0";
  return new_value > old_value ? "+" + text(new_value - old_value) : "-" + text(old_value - new_value);
}

void WriteTypes(TextWriter& out, const DiffReport& r) {
  out.Line().Line("by type", Style::kHeading);
  Table table;
  table.right = {true, true, true, true, true, true, false};
  table.rows.push_back({"growth", "shallow", "objects", "now", r.by_address ? "new" : "", r.by_address ? "gone" : "", "type"});
  for (const DiffTypeRow& t : r.types) {
    table.rows.push_back({Growth(t.bytes_old, t.bytes_new, Bytes), Bytes(t.bytes_new), Growth(t.objects_old, t.objects_new, Thousands), Thousands(t.objects_new),
                          r.by_address ? Thousands(t.added) : "", r.by_address ? Thousands(t.removed) : "", t.type});
  }
  table.Write(out, 2);
  if (r.type_count > r.types.size()) out.To(2).Line(fmt::format("… {} more (--limit 0 for all)", Counted(r.type_count - r.types.size(), "type")), Style::kFaint);
}

void WriteHolders(TextWriter& out, const DiffReport& r) {
  if (!r.by_address) return;
  out.Line().Line("by holder: what each alone keeps alive", Style::kHeading);
  if (!r.holders_known) out.To(2).Line("not known: stopped before the dominators were found", Style::kFaint);
  for (const DiffHolder& h : r.holders) {
    out.To(2).Add(Growth(h.retained_old, h.retained_new, Bytes), Style::kBad).Add(fmt::format(" to {}, {} objects", Bytes(h.retained_new), Growth(h.objects_old, h.objects_new, Thousands)));
    out.Line(fmt::format(": {}{}{} at {:#x}", h.type, h.name.empty() ? "" : " ", h.name, h.address), Style::kName);
    if (!h.path) continue;
    out.To(6).Line(PlacedPathOf(*h.path));
  }
  if (r.holders_known && r.holders.empty()) out.To(2).Line("none grew");
  if (r.holder_count > r.holders.size()) out.To(2).Line(fmt::format("… {} more that grew less (--limit 0 for all)", Counted(r.holder_count - r.holders.size(), "holder")), Style::kFaint);
}

void WriteSites(TextWriter& out, const DiffReport& r) {
  if (!r.no_sites.empty()) {
    out.Line().Line("by allocation site: not known: " + r.no_sites, Style::kFaint);
    return;
  }
  out.Line().Line("by allocation site", Style::kHeading);
  Table table;
  table.right = {true, true, true, true, false};
  table.rows.push_back({"growth", "traced", "blocks", "now", "site"});
  for (const DiffSite& s : r.sites) {
    table.rows.push_back({Growth(s.bytes_old, s.bytes_new, Bytes), Bytes(s.bytes_new), Growth(s.blocks_old, s.blocks_new, Thousands), Thousands(s.blocks_new), s.place});
  }
  if (r.sites.empty()) {
    out.To(2).Line("no line has more or less memory");
  } else {
    table.Write(out, 2);
  }
  if (r.site_count > r.sites.size()) out.To(2).Line(fmt::format("… {} more (--limit 0 for all)", Counted(r.site_count - r.sites.size(), "site")), Style::kFaint);
}

}  // namespace

void WriteText(const Header& h, const DiffReport& r, TextWriter& out) {
  WriteFirstLines(out, h);
  out.Line(fmt::format("since {} · CPython {}{}", r.old_path, r.old_python, r.old_pid == 0 ? "" : fmt::format(" · pid {}", r.old_pid)));
  if (r.relation == "other-program" || r.relation == "other-process") out.Line(fmt::format("{}: {}", r.relation == "other-program" ? "another program" : "another process", r.reason), Style::kWaiting);
  out.Line();
  out.Line(fmt::format("{} objects, {} ({} now, {})", Growth(r.objects_old, r.objects_new, Thousands), Growth(r.bytes_old, r.bytes_new, Bytes), Counted(r.objects_new, "object"),
                       Bytes(r.bytes_new)),
           Style::kHeading);
  if (r.unreachable_old + r.unreachable_new > 0) out.To(2).Line(fmt::format("{} unreachable, {} before", Thousands(r.unreachable_new), Thousands(r.unreachable_old)), Style::kWaiting);
  if (r.by_address) {
    std::string text = fmt::format("{} unchanged, {} changed, {} new, {} gone", Thousands(r.unchanged), Thousands(r.changed), Thousands(r.added), Thousands(r.removed));
    if (r.not_read > 0) text += fmt::format(", {} not read: gone or still there", Thousands(r.not_read));
    if (r.not_read_old > 0) text += fmt::format(", {} not read in OLD: new or there before", Thousands(r.not_read_old));
    out.To(2).Line(text);
    if (!r.content_compared) out.To(2).Line("unchanged: in size and references; the content of objects was not compared", Style::kFaint);
    if (r.not_compared > 0) out.To(2).Line(fmt::format("of the unchanged, {} in size and references alone: their content is not in both", Counted(r.not_compared, "object")), Style::kFaint);
  }
  if (r.types.empty()) {
    out.Line().Line("no type has more or fewer objects or bytes");
  } else {
    WriteTypes(out, r);
  }
  WriteHolders(out, r);
  WriteSites(out, r);
  WriteWarnings(out, h);
}

void WriteJson(const Header&, const DiffReport& r, JsonWriter& json) {
  json.Object().Key("old").Object().String("kind", r.old_kind).String("path", r.old_path).String("python", r.old_python).Key("pid");
  r.old_pid == 0 ? json.Null() : json.Integer(r.old_pid);
  json.EndObject().String("relation", r.relation).String("reason", r.reason).Bool("by_address", r.by_address);
  json.Unsigned("objects_old", r.objects_old).Unsigned("objects_new", r.objects_new).Unsigned("bytes_old", r.bytes_old).Unsigned("bytes_new", r.bytes_new);
  json.Unsigned("unreachable_old", r.unreachable_old).Unsigned("unreachable_new", r.unreachable_new);
  for (const auto& [key, value] : {std::pair("unchanged", r.unchanged), std::pair("changed", r.changed), std::pair("added", r.added), std::pair("removed", r.removed)}) {
    json.Key(key);
    r.by_address ? json.Unsigned(value) : json.Null();
  }
  json.Key("content_compared");
  r.by_address ? json.Bool(r.content_compared) : json.Null();
  json.Unsigned("not_compared", r.not_compared).Unsigned("not_read", r.not_read).Unsigned("not_read_old", r.not_read_old);
  json.Unsigned("type_count", r.type_count).Key("types").Array();
  for (const DiffTypeRow& t : r.types) {
    json.Object().String("type", t.type).Unsigned("objects_old", t.objects_old).Unsigned("objects_new", t.objects_new).Unsigned("bytes_old", t.bytes_old).Unsigned("bytes_new", t.bytes_new);
    json.Key("added");
    r.by_address ? json.Unsigned(t.added).Key("removed").Unsigned(t.removed) : json.Null().Key("removed").Null();
    json.EndObject();
  }
  json.EndArray().Key("holder_count");
  r.by_address && r.holders_known ? json.Unsigned(r.holder_count) : json.Null();
  json.Key("holders").Array();
  for (const DiffHolder& h : r.holders) {
    json.Object().Hex("address", h.address).String("type", h.type).Key("name");
    h.name.empty() ? json.Null() : json.String(h.name);
    json.Unsigned("retained_old", h.retained_old).Unsigned("retained_new", h.retained_new).Unsigned("objects_old", h.objects_old).Unsigned("objects_new", h.objects_new).Key("path");
    if (h.path) {
      json.Object();
      WritePathMembers(json, *h.path);
      json.EndObject();
    } else {
      json.Null();
    }
    json.EndObject();
  }
  json.EndArray().Key("no_sites");
  r.no_sites.empty() ? json.Null() : json.String(r.no_sites);
  json.Unsigned("site_count", r.site_count).Key("sites").Array();
  for (const DiffSite& s : r.sites) {
    json.Object().String("place", s.place).Unsigned("blocks_old", s.blocks_old).Unsigned("blocks_new", s.blocks_new);
    json.Unsigned("bytes_old", s.bytes_old).Unsigned("bytes_new", s.bytes_new).EndObject();
  }
  json.EndArray().EndObject();
}

}  // namespace pygc::report
