#include "core/report/value_report.h"

#include <fmt/format.h>

namespace pygc::report {

void WriteText(const Header&, const ValueReport& r, TextWriter& out) {
  for (const ObjectValue& o : r.objects) {
    if (o.type.empty() && !o.where.empty()) {
      out.Line(fmt::format("{:#x} is no object: {}", o.address, o.where), Style::kFaint);
      continue;
    }
    out.Add(o.type, Style::kName);
    if (!o.type.empty()) out.Add(" ");
    out.Line(o.value);
  }
}

void WriteJson(const Header&, const ValueReport& r, JsonWriter& json) {
  json.Object().Key("objects").Array();
  for (const ObjectValue& o : r.objects) {
    json.Object().Hex("address", o.address).Bool("is_object", !o.type.empty());
    if (o.type.empty() && !o.where.empty()) json.String("where", o.where);
    if (!o.type.empty()) json.String("type", o.type).String("value", o.value).Bool("value_complete", o.complete).Bool("value_exact", o.exact);
    json.EndObject();
  }
  json.EndArray().EndObject();
}

}  // namespace pygc::report
