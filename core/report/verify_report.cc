#include "core/report/verify_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/report/numbers.h"

namespace pygc::report {
namespace {

constexpr std::size_t kAnswerColumn = 16;

std::string Addresses(const std::vector<Address>& list, std::uint64_t from, std::uint64_t count, std::uint64_t first, std::size_t shown) {
  std::string out = from > 0 || first > from + 2 ? "… " : "";
  const std::size_t begin = first > from + 2 ? static_cast<std::size_t>(first - from - 2) : 0;
  std::size_t i = begin;
  for (; i < list.size() && i < begin + shown; ++i) out += fmt::format("{}{:#x}", i == begin ? "" : " ", list[i]);
  if (from + i < count) out += " …";
  return count == 0 ? "nothing" : out.empty() ? "ends before" : out;
}

void WriteDifference(const ReaderDifference& d, TextWriter& out) {
  constexpr std::size_t kShown = 6;
  out.To(4).Add(fmt::format("{:#x} ", d.object)).Add(d.type, Style::kName);
  out.Line(fmt::format(": {} by the native reader, {} by tp_traverse, first difference at [{}]", Counted(d.native_count, "referent"),
                       Thousands(d.machine_count), d.first_difference));
  out.To(8).Add("native", Style::kFaint).To(20).Line(Addresses(d.native, d.from, d.native_count, d.first_difference, kShown));
  out.To(8).Add("tp_traverse", Style::kFaint).To(20).Line(Addresses(d.machine, d.from, d.machine_count, d.first_difference, kShown));
}

void WriteTraverse(const TraverseResult& t, TextWriter& out) {
  out.Line();
  out.Add("two readers", Style::kHeading).To(kAnswerColumn);
  out.Add(fmt::format("{} of {} read by the native reader and by running tp_traverse: ", Counted(t.compared, "object"), Counted(t.types_compared, "type")));
  out.Line(t.different == 0 ? "no difference" : Counted(t.different, "difference"), t.different == 0 ? Style::kPlain : Style::kBad);
  out.To(kAnswerColumn).Line(fmt::format("{} have one reader only (tp_traverse) and cannot be compared", Counted(t.one_way, "object")));
  if (t.not_compared > 0) out.To(kAnswerColumn).Line(fmt::format("{} not compared, because one of the two is not exact", Counted(t.not_compared, "object")));
  if (t.stopped) out.To(kAnswerColumn).Line("stopped before all were compared", Style::kWaiting);
  for (const ReaderTypeResult& r : t.types) {
    out.To(4).Add(r.type, Style::kName);
    if (!r.module.empty()) out.Add(fmt::format(" ({})", r.module.substr(r.module.rfind('/') + 1)));
    out.Add(fmt::format(": {} compared, {} different, {} not compared", Thousands(r.compared), Thousands(r.different), Thousands(r.not_compared)));
    out.Line(r.reason.empty() ? "" : fmt::format(" ({})", r.reason));
  }
  for (const ReaderDifference& d : t.differences) WriteDifference(d, out);
  if (t.different > t.differences.size())
    out.To(4).Line(fmt::format("… {} more (--limit 0 for more)", Counted(t.different - t.differences.size(), "difference")));
}

void WriteTraverseJson(const TraverseResult& t, JsonWriter& json) {
  json.Object().Unsigned("compared", t.compared).Unsigned("equal", t.equal).Unsigned("different", t.different);
  json.Unsigned("not_compared", t.not_compared).Unsigned("one_way", t.one_way).Unsigned("types_compared", t.types_compared);
  json.Key("types").Array();
  for (const ReaderTypeResult& r : t.types) {
    json.Object().String("type", r.type).String("module", r.module).Unsigned("compared", r.compared).Unsigned("different", r.different);
    json.Unsigned("not_compared", r.not_compared).String("code", r.code).String("reason", r.reason).EndObject();
  }
  json.EndArray().Key("differences").Array();
  for (const ReaderDifference& d : t.differences) {
    json.Object().Hex("object", d.object).String("type", d.type).String("module", d.module);
    json.Unsigned("native_count", d.native_count).Unsigned("machine_count", d.machine_count);
    json.Unsigned("first_difference", d.first_difference).Unsigned("from", d.from);
    for (const auto& [key, list] : {std::pair{"native", &d.native}, std::pair{"machine", &d.machine}}) {
      json.Key(key).Array();
      for (const Address a : *list) json.Hex(a);
      json.EndArray();
    }
    json.EndObject();
  }
  json.EndArray().EndObject();
}

void WriteTypes(const TypeRules& t, TextWriter& out) {
  out.Line();
  out.Add("rules of types", Style::kHeading).To(kAnswerColumn);
  out.Line(fmt::format("{} with instances looked at, {}", Counted(t.types, "type"), t.faults.empty() ? "none breaks a rule" : Counted(t.faults.size(), "fault")),
           t.faults.empty() ? Style::kPlain : Style::kBad);
  for (const TypeFault& f : t.faults) {
    out.To(4).Add(f.type, Style::kName);
    if (!f.module.empty()) out.Add(fmt::format(" ({})", f.module.substr(f.module.rfind('/') + 1)));
    out.Line(fmt::format("   {}, one at {:#x}", Counted(f.instances, "instance"), f.example));
    out.To(8).Paragraph(f.what, 8);
    out.To(8).Add("remedy ", Style::kFaint).Paragraph(f.remedy, 15);
  }
  for (const NotChecked& n : t.not_checked) out.To(4).Add(n.name, Style::kName).Paragraph(": " + n.why, 8);
}

void WriteTypesJson(const TypeRules& t, JsonWriter& json) {
  json.Object().Unsigned("types", t.types).Key("faults").Array();
  for (const TypeFault& f : t.faults) {
    json.Object().String("rule", f.rule).String("type", f.type).String("module", f.module).String("what", f.what).String("remedy", f.remedy);
    json.Unsigned("instances", f.instances).Hex("example", f.example).EndObject();
  }
  json.EndArray().Key("not_checked").Array();
  for (const NotChecked& n : t.not_checked) json.Object().String("name", n.name).String("why", n.why).EndObject();
  json.EndArray().EndObject();
}

}  // namespace

void WriteText(const Header& h, const VerifyReport& r, TextWriter& out) {
  WriteFirstLines(out, h);
  out.Line();
  if (r.findings > 0) {
    out.Line(fmt::format("{} in the heap", Counted(r.findings, "inconsistency")), Style::kBad);
  } else {
    out.Line(h.complete ? "what was checked is consistent" : "no inconsistency in what could be checked", Style::kHeading);
  }
  out.Line();
  for (const VerifyCheck& c : r.checks) {
    out.To(4).Add(c.name, Style::kName).To(28);
    out.Add(fmt::format("{:>12} checked", Thousands(c.checked))).To(52);
    out.Add(fmt::format("{} wrong", Thousands(c.findings)), c.findings == 0 ? Style::kPlain : Style::kBad).Line();
    out.To(8).Paragraph(c.what, 8, Style::kFaint);
    for (const std::string& detail : c.details) out.To(8).Paragraph(detail, 10);
    if (c.findings > c.details.size() && !c.details.empty()) out.To(8).Line(fmt::format("… {} more", Thousands(c.findings - c.details.size())));
  }
  if (!r.not_checked.empty()) out.Line().Line("not checked", Style::kHeading);
  for (const NotChecked& n : r.not_checked) out.To(4).Add(n.name, Style::kName).To(28).Paragraph(n.why, 28);
  if (r.types) WriteTypes(*r.types, out);
  if (r.traverse) WriteTraverse(*r.traverse, out);
  WriteWarnings(out, h);
}

void WriteJson(const Header& h, const VerifyReport& r, JsonWriter& json) {
  json.Object().Unsigned("findings", r.findings).Unsigned("tracked", h.tracked);
  json.Key("checks").Array();
  for (const VerifyCheck& c : r.checks) {
    json.Object().String("name", c.name).String("what", c.what).Unsigned("checked", c.checked).Unsigned("findings", c.findings);
    json.Key("details").Array();
    for (const std::string& d : c.details) json.String(d);
    json.EndArray().EndObject();
  }
  json.EndArray().Key("not_checked").Array();
  for (const NotChecked& n : r.not_checked) json.Object().String("name", n.name).String("why", n.why).EndObject();
  json.EndArray().Key("traverse");
  if (r.traverse) {
    WriteTraverseJson(*r.traverse, json);
  } else {
    json.Null();
  }
  json.Key("types");
  if (r.types) {
    WriteTypesJson(*r.types, json);
  } else {
    json.Null();
  }
  json.EndObject();
}

}  // namespace pygc::report
