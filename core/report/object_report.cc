#include "core/report/object_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/report/escape.h"
#include "core/report/numbers.h"

namespace pygc::report {
namespace {

constexpr std::size_t kLabelColumn = 14, kReferenceColumn = 40;

std::string Hex(Address a) { return fmt::format("{:#x}", a); }

std::string OtherEnd(const ReferenceRow& row) {
  if (!row.address) return row.name;
  if (row.type == "frame" && row.label.starts_with("local ")) return fmt::format("frame at {:#x}", *row.address);  // its name stands in the place
  return fmt::format("{}{}{} at {:#x}", row.type, row.name.empty() ? "" : " ", row.name, *row.address);
}

// "local x in f() at app.py:12", ".children[0]": the place, and in a frame which one.
std::string PlaceOf(const ReferenceRow& row) {
  const std::string label = row.label.empty() ? "(place not known)" : row.label;
  return row.type == "frame" && !row.name.empty() && label.starts_with("local ") ? fmt::format("{} in {}", label, row.name) : label;
}

void WriteRows(TextWriter& out, const std::vector<ReferenceRow>& rows, bool outgoing) {
  for (const ReferenceRow& row : rows) {
    out.To(4);
    if (outgoing) {
      out.Add(PlaceOf(row), Style::kName).To(kReferenceColumn).Add(OtherEnd(row));
    } else if (!row.address) {
      out.Add(row.label, Style::kName).Add(row.name.empty() ? "" : " in ").Add(row.name).Add(fmt::format("   ({})", row.kind), Style::kFaint);
    } else {
      out.Add(PlaceOf(row), Style::kName).Add(" of ").Add(OtherEnd(row));
    }
    out.Add(row.value.empty() ? "" : "  = ").Line(row.value);
  }
}

void WriteMore(TextWriter& out, std::uint64_t count, std::size_t shown) {
  if (count > shown) out.To(4).Line(fmt::format("… {} more (--limit 0 for all)", Thousands(count - shown)), Style::kFaint);
}

TextWriter& Row(TextWriter& out, const char* name) { return out.To(2).Add(name, Style::kFaint).To(kLabelColumn); }

std::string CountText(const ObjectCard& o) {
  if (o.immortal) return "immortal: it has no count";
  const std::string count = o.refcount ? Thousands(*o.refcount) : "not known";
  return o.in_graph && o.references_found ? fmt::format("{}, {} found here", count, Thousands(*o.references_found)) : count;
}

std::string CollectorText(const ObjectCard& o) {
  if (!o.in_graph) return "not found by way of any tracked object or root: it may be free memory";
  if (!o.tracked) return "not tracked";
  return o.generation == "permanent" ? "in the permanent generation (gc.freeze)" : o.generation.empty() ? "tracked" : fmt::format("in generation {}", o.generation);
}

void WriteCardHead(TextWriter& out, const ObjectCard& o) {
  if (!o.is_object) {
    out.Line(fmt::format("{:#x} is no object: {}", o.address, o.where), Style::kHeading);
    return;
  }
  out.Add(o.type, Style::kName);
  if (!o.name.empty()) out.Add(" " + o.name);
  out.Line(" at " + Hex(o.address), Style::kHeading);
}

void WriteCard(TextWriter& out, const ObjectCard& o) {
  WriteCardHead(out, o);
  if (!o.is_object) return;
  if (!o.value.empty()) {
    Row(out, "value").Line(o.value);
    if (!o.value_bounds.empty()) Row(out, "").Line(fmt::format("not whole: {}", o.value_bounds));
    if (!o.value_exact) out.To(kLabelColumn).Line(o.value_hidden ? "(hidden by --redact)" : "(its own __repr__ cannot be asked)", Style::kFaint);
  }
  if (o.length) Row(out, "length").Line(Thousands(*o.length));
  Row(out, "size").Line(o.size ? Counted(*o.size, "byte") : "not known");
  Row(out, "references").Line(CountText(o));
  Row(out, "collector").Add(CollectorText(o)).Line(o.state.empty() || o.state == "reachable" ? "" : ", " + o.state, Style::kWaiting);
  if (!o.finalizer.empty()) Row(out, "finalizer").Add(o.finalizer).Line(o.finalizer_state.empty() ? "" : ", " + o.finalizer_state);
  for (const auto& [name, text] : o.details) Row(out, name.c_str()).Line(text);
  for (std::size_t i = 0; i < o.allocated.size(); ++i) Row(out, i == 0 ? "allocated at" : "").Line(o.allocated[i]);
  for (std::size_t i = 0; i < o.traceback.size(); ++i) Row(out, i == 0 ? "raised in" : "").Line(o.traceback[i]);
  if (o.traceback_count > o.traceback.size()) out.To(kLabelColumn).Line(fmt::format("… {} more (--limit 0 for all)", Thousands(o.traceback_count - o.traceback.size())), Style::kFaint);
  if (!o.quality.empty() && o.quality != "exact") Row(out, "referents").Line(o.quality);
  if (o.field_count > 0) out.To(2).Line(fmt::format("refers to {}:", Counted(o.field_count, "object")));
  WriteRows(out, o.fields, true);
  WriteMore(out, o.field_count, o.fields.size());
  if (o.owner_count > 0) out.To(2).Line("is held by:");
  WriteRows(out, o.owners, false);
  WriteMore(out, o.owner_count, o.owners.size());
  if (o.in_graph && o.refcount && o.references_found && *o.refcount > *o.references_found) {
    out.To(4).Line(fmt::format("{} whose holder was not found (native memory, the stack of a running function)", Counted(*o.refcount - *o.references_found, "reference")),
                   Style::kFaint);
  }
}

void WriteOptional(JsonWriter& json, std::string_view key, const std::optional<std::uint64_t>& value) {
  json.Key(key);
  value ? json.Unsigned(*value) : json.Null();
}
void WriteText(JsonWriter& json, std::string_view key, const std::string& text) {
  json.Key(key);
  text.empty() ? json.Null() : json.String(text);
}

void WriteRows(JsonWriter& json, std::string_view key, const std::vector<ReferenceRow>& rows) {
  json.Key(key).Array();
  for (const ReferenceRow& row : rows) {
    json.Object().String("kind", row.kind);
    json.Key("address");
    row.address ? json.Hex(*row.address) : json.Null();
    WriteText(json, "type", row.type);
    WriteText(json, "name", row.name);
    WriteText(json, "label", row.label);
    WriteOptional(json, "size", row.size);
    json.Bool("visited", row.visited);
    if (!row.value.empty()) json.String("value", row.value);
    json.EndObject();
  }
  json.EndArray();
}

// The members that all three reports share.
void WriteCardHead(JsonWriter& json, const ObjectCard& o) {
  json.Hex("address", o.address).Bool("is_object", o.is_object);
  if (!o.is_object) {
    json.String("where", o.where);
    return;
  }
  json.String("type", o.type);
  WriteText(json, "name", o.name);
}

void WriteCard(JsonWriter& json, const ObjectCard& o) {
  json.Object();
  WriteCardHead(json, o);
  if (o.is_object) {
    json.String("value", o.value).Bool("value_complete", o.value_complete).Bool("value_exact", o.value_exact);
    WriteOptional(json, "length", o.length);
    WriteOptional(json, "size", o.size);
    WriteOptional(json, "refcount", o.refcount);
    json.Bool("immortal", o.immortal).Bool("found", o.in_graph).Bool("tracked", o.tracked);
    WriteText(json, "generation", o.generation);
    WriteText(json, "state", o.state);
    WriteText(json, "finalizer", o.finalizer);
    WriteText(json, "finalizer_state", o.finalizer_state);
    WriteText(json, "referents", o.quality);
    json.Key("details").Object();
    for (const auto& [name, text] : o.details) json.String(name, text);
    json.EndObject();
    if (!o.allocated.empty()) {
      json.Key("allocated").Array();
      for (const std::string& place : o.allocated) json.String(place);
      json.EndArray();
    }
    if (!o.traceback.empty()) {
      json.Key("traceback").Array();
      for (const std::string& entry : o.traceback) json.String(entry);
      json.EndArray().Unsigned("traceback_count", o.traceback_count);
    }
    json.Unsigned("field_count", o.field_count);
    WriteRows(json, "fields", o.fields);
    WriteOptional(json, "references_found", o.references_found);
    json.Unsigned("owner_count", o.owner_count);
    WriteRows(json, "owners", o.owners);
  }
  json.EndObject();
}

}  // namespace

void WriteText(const Header& h, const ShowReport& r, TextWriter& out) {
  WriteFirstLines(out, h);
  for (const ObjectCard& o : r.objects) {
    out.Line();
    WriteCard(out, o);
  }
  WriteWarnings(out, h);
}

void WriteJson(const Header&, const ShowReport& r, JsonWriter& json) {
  json.Object().Key("objects").Array();
  for (const ObjectCard& o : r.objects) WriteCard(json, o);
  json.EndArray().EndObject();
}

void WriteText(const Header& h, const ReferencesReport& r, TextWriter& out) {
  WriteFirstLines(out, h);
  out.Line();
  WriteCardHead(out, r.object);
  if (r.object.is_object) {
    if (r.reference_count == 0) {
      out.To(2).Line(r.outgoing ? "refers to nothing" : "nothing was found that refers to it");
    } else {
      out.To(2).Line(r.outgoing ? fmt::format("refers to {}:", Counted(r.reference_count, "object"))
                                : fmt::format("{} to it:", Counted(r.reference_count, "reference")));
    }
    WriteRows(out, r.references, r.outgoing);
    WriteMore(out, r.reference_count, r.references.size());
    if (!r.object.quality.empty() && r.object.quality != "exact") out.To(2).Line("its referents are known: " + r.object.quality, Style::kFaint);
  }
  WriteWarnings(out, h);
}

void WriteJson(const Header&, const ReferencesReport& r, JsonWriter& json) {
  json.Object();
  WriteCardHead(json, r.object);
  if (r.object.is_object) {
    if (r.outgoing) WriteText(json, "quality", r.object.quality);
    json.Unsigned("reference_count", r.reference_count);
    WriteRows(json, "references", r.references);
  }
  json.EndObject();
}

}  // namespace pygc::report
