#include "core/report/expect_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/report/numbers.h"
#include "core/report/path_report.h"

namespace pygc::report {
namespace {

std::uint64_t CountOf(const ExpectReport& r, std::string_view answer) {
  return static_cast<std::uint64_t>(std::count_if(r.rows.begin(), r.rows.end(), [&](const ExpectRow& row) { return row.answer == answer; }));
}

Style StyleOf(const std::string& answer) { return answer == "violated" ? Style::kBad : answer == "met" ? Style::kPlain : Style::kWaiting; }

std::string Figure(const ExpectRow& row) {
  if (row.answer == "unknown-type") return "no class of this name";
  const std::string number = row.is_bytes ? Bytes(row.found) : Thousands(row.found);
  std::string text = fmt::format("{}{} found", row.at_least ? "at least " : "", number);
  if (row.is_bytes) text += fmt::format(" ({})", Thousands(row.found));
  if (!row.type.empty() && !row.is_bytes && row.unreachable + row.not_known > 0) {
    const std::string not_known = row.not_known > 0 ? fmt::format("{}not known whether in use", row.in_use + row.unreachable > 0 ? Thousands(row.not_known) + " " : "") : "";
    if (row.in_use > 0) {
      text += fmt::format(": {} in use, {} unreachable{}{}", Thousands(row.in_use), Thousands(row.unreachable), not_known.empty() ? "" : ", ", not_known);
    } else {
      text += row.unreachable == 0 ? ", " + not_known : not_known.empty() ? ", unreachable" : fmt::format(": {} unreachable, {}", Thousands(row.unreachable), not_known);
    }
  }
  if (row.is_bytes && row.unreachable > 0) text += fmt::format("; what {} unreachable of them keep{} does not count (pygc leaks)", Thousands(row.unreachable), row.unreachable == 1 ? "s" : "");
  return text;
}

void WriteObject(TextWriter& out, const ExpectRow& row, const ExpectObject& o) {
  out.To(4).Add(fmt::format("{} at {:#x}", o.type, o.address), Style::kName);
  out.Line(row.is_bytes ? fmt::format(" keeps {}", Bytes(o.retained)) : "");
  if (!o.path) {
    if (o.state.empty()) {
      out.To(6).Line("not known whether it is in use: what leads to it may be missing");
      return;
    }
    if (o.state != "reachable") out.To(6).Line(o.state == "unreachable" ? "unreachable: waits for the collector (pygc leaks)" : "uncollectable (pygc leaks)");
    return;
  }
  out.To(6).Add("kept by ", Style::kFaint).Line(PlacedPathOf(*o.path));
  out.To(6).Add("stuck in ", Style::kFaint).Line(StuckAt(*o.path).text);
}

void WriteRow(TextWriter& out, const ExpectRow& row) {
  out.To(2).Add(row.answer, StyleOf(row.answer)).To(16).Add(row.assertion).To(48).Line(Figure(row));
  if (!row.reason.empty()) out.To(4).Line(row.reason, Style::kFaint);
  if (!row.nearest_types.empty()) out.To(4).Add("types with objects: ", Style::kFaint).Flow(row.nearest_types, ", ", 6);
  for (const ExpectObject& o : row.objects) WriteObject(out, row, o);
  const std::uint64_t all = row.is_bytes ? row.objects.size() : row.found;
  if (!row.objects.empty() && all > row.objects.size()) out.To(4).Line(fmt::format("… {} more (--limit 0 for all)", Thousands(all - row.objects.size())), Style::kFaint);
}

}  // namespace

void WriteText(const Header& h, const ExpectReport& r, TextWriter& out) {
  WriteFirstLines(out, h);
  out.Line();
  const std::uint64_t violated = CountOf(r, "violated"), met = CountOf(r, "met"), known = CountOf(r, "known");
  out.Line(met == r.rows.size() ? fmt::format("{} met", Counted(met, "expectation"))
                                : fmt::format("{}: {} met, {} violated{}, {} cannot be said", Counted(r.rows.size(), "expectation"), met, violated,
                                              known > 0 ? fmt::format(", {} violated as the baseline has it", known) : "", r.rows.size() - met - violated - known),
           Style::kHeading);
  for (const ExpectRow& row : r.rows) WriteRow(out, row);
  WriteWarnings(out, h);
}

void WriteJson(const Header&, const ExpectReport& r, JsonWriter& json) {
  json.Object().Unsigned("met", CountOf(r, "met")).Unsigned("violated", CountOf(r, "violated")).Unsigned("known", CountOf(r, "known"));
  json.Unsigned("unknown", CountOf(r, "unknown") + CountOf(r, "unknown-type")).Key("expectations").Array();
  for (const ExpectRow& row : r.rows) {
    json.Object().String("expectation", row.assertion).String("kind", row.kind).Key("type");
    row.type.empty() ? json.Null() : json.String(row.type);
    json.String("answer", row.answer).Unsigned("allowed", row.allowed).Unsigned("found", row.found).String("unit", row.is_bytes ? "bytes" : "objects");
    json.Bool("lower_bound", row.at_least).String("reason", row.reason).Unsigned("in_use", row.in_use).Unsigned("unreachable", row.unreachable);
    if (row.not_known > 0) json.Unsigned("not_known", row.not_known);
    json.Key("objects").Array();
    for (const ExpectObject& o : row.objects) {
      json.Object().Hex("address", o.address).String("type", o.type).Key("state");
      o.state.empty() ? json.Null() : json.String(o.state);
      json.Key("path");
      if (o.path) {
        json.Object();
        WritePathMembers(json, *o.path);
        json.EndObject();
      } else {
        json.Null();
      }
      if (row.is_bytes) json.Unsigned("retained", o.retained);
      json.EndObject();
    }
    json.EndArray().Key("nearest_types").Array();
    for (const std::string& name : row.nearest_types) json.String(name);
    json.EndArray();
    if (!row.fingerprint.empty()) json.String("fingerprint", row.fingerprint);
    json.EndObject();
  }
  json.EndArray().EndObject();
}

}  // namespace pygc::report
