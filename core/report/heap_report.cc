#include "core/report/heap_report.h"

#include <fmt/format.h>

#include "core/report/numbers.h"

namespace pygc::report {
namespace {

std::string Share(std::uint64_t part, std::uint64_t whole) { return whole == 0 ? "" : fmt::format("{:.1f} %", 100.0 * static_cast<double>(part) / static_cast<double>(whole)); }

}  // namespace

void WriteText(const Header& h, const HeapReport& r, TextWriter& out) {
  WriteFirstLines(out, h);
  out.Line();
  out.Line(fmt::format("{} of {}, {}", Counted(r.objects, "object"), Counted(r.type_count, "type"), Bytes(r.bytes)), Style::kHeading);
  if (r.unreachable > 0) out.To(2).Line(fmt::format("{} unreachable, {} (pygc leaks)", Thousands(r.unreachable), Bytes(r.unreachable_bytes)), Style::kWaiting);
  if (r.unknown_sizes > 0) out.To(2).Line(fmt::format("{} whose size cannot be known, taken as 0", Counted(r.unknown_sizes, "object")));
  out.Line();
  Table table;
  table.right = {true, true, true, true, false};
  table.rows.push_back({"objects", "shallow", "share", "retained", "type"});
  for (const HeapRow& row : r.rows) table.rows.push_back({Thousands(row.objects), Bytes(row.bytes), Share(row.bytes, r.bytes), r.with_retained ? Bytes(row.retained) : "?", row.type});
  table.Write(out, 2);
  if (r.type_count > r.rows.size()) out.To(2).Line(fmt::format("… {} more (--limit 0 for all)", Counted(r.type_count - r.rows.size(), "type")), Style::kFaint);
  WriteWarnings(out, h);
}

void WriteJson(const Header&, const HeapReport& r, JsonWriter& json) {
  json.Object().Unsigned("objects", r.objects).Unsigned("bytes", r.bytes).Unsigned("unreachable", r.unreachable).Unsigned("unreachable_bytes", r.unreachable_bytes);
  json.Unsigned("unknown_sizes", r.unknown_sizes).Unsigned("type_count", r.type_count).Key("types").Array();
  for (const HeapRow& row : r.rows) {
    json.Object().String("type", row.type).Unsigned("objects", row.objects).Unsigned("bytes", row.bytes).Key("retained");
    r.with_retained ? json.Unsigned(row.retained) : json.Null();
    json.Unsigned("unreachable", row.unreachable).EndObject();
  }
  json.EndArray().EndObject();
}

void WriteText(const Header& h, const DominatorsReport& r, TextWriter& out) {
  WriteFirstLines(out, h);
  out.Line();
  out.Line(fmt::format("{} in use, {}", Counted(r.objects, "object"), Bytes(r.bytes)), Style::kHeading);
  out.Line();
  Table table;
  table.right = {true, true, true, true, false};
  table.rows.push_back({"retained", "share", "objects", "own", "object"});
  for (const Dominator& d : r.rows) {
    const std::string what = fmt::format("{}{}{}{} at {:#x}", std::string(d.depth * 2, ' '), d.type, d.name.empty() ? "" : " ", d.name, d.address);
    table.rows.push_back({Bytes(d.retained), Share(d.retained, r.bytes), Thousands(d.objects), Bytes(d.size), what});
  }
  table.Write(out, 2);
  WriteWarnings(out, h);
}

void WriteJson(const Header&, const DominatorsReport& r, JsonWriter& json) {
  json.Object().Unsigned("objects", r.objects).Unsigned("bytes", r.bytes).Unsigned("top_count", r.top_count).Key("dominators").Array();
  for (const Dominator& d : r.rows) {
    json.Object().Unsigned("depth", d.depth).Hex("address", d.address).String("type", d.type).Key("name");
    d.name.empty() ? json.Null() : json.String(d.name);
    json.Unsigned("size", d.size).Unsigned("retained", d.retained).Unsigned("objects", d.objects).EndObject();
  }
  json.EndArray().EndObject();
}

}  // namespace pygc::report
