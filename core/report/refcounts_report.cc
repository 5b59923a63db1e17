#include "core/report/refcounts_report.h"

#include <fmt/format.h>

#include <cmath>
#include <map>
#include <string_view>

#include "core/report/fingerprint.h"
#include "core/report/numbers.h"

namespace pygc::report {
namespace {

const char* Meaning(const std::string& kind, bool freed) {
  if (freed) return "its memory was freed and is still used: whoever refers to it reads what is left, or another object";
  if (kind == "deficit") return "more references than its count: a reference was given up that is still used";
  if (kind == "surplus") return "held rightly, and counted higher than every reference found: a reference was leaked";
  if (kind != "lost") return "";
  return "its count alone keeps it alive: nothing real leads to it";
}

constexpr std::size_t kShownHeldTypes = 8;  // of what hangs on one object, without --all

void WriteHeld(const RefcountFinding& f, bool all, TextWriter& out) {
  std::uint64_t objects = 0;
  std::vector<std::string> parts;
  for (const TypeCount& t : f.held) {
    objects += t.objects;
    if (all || parts.size() < kShownHeldTypes) parts.push_back(HeldText(t));
  }
  if (parts.size() < f.held.size()) parts.push_back(fmt::format("… {} more (--all)", Counted(f.held.size() - parts.size(), "type")));
  out.To(8).Line(fmt::format("{} {} on it: {} with {}", Counted(objects, "object"), objects == 1 ? "hangs" : "hang", Bytes(f.bytes_with_held), objects == 1 ? "it" : "them"));
  out.To(10).Flow(parts, ", ", 10);
}

void WriteFinding(const RefcountFinding& f, bool all, TextWriter& out, Style style = Style::kBad) {
  out.Line();
  out.To(4).Add(f.kind, style).To(14).Add(f.type.empty() ? "(freed)" : f.type, Style::kName).Add(fmt::format(" at {:#x}", f.object));
  out.Line(f.text.empty() ? "" : "  " + f.text);
  std::string found = fmt::format("ob_refcnt {}, {} found", Thousands(f.recorded), Counted(f.known, "reference"));
  if (f.possible > 0) found += fmt::format(", and {} that may be one", Counted(f.possible, "word"));
  if (f.bytes > 0) found += fmt::format("; {} of its own", Bytes(f.bytes));
  out.To(8).Line(found);
  if (const char* meaning = Meaning(f.kind, f.freed); *meaning != '\0') out.To(8).Paragraph(meaning, 8, Style::kFaint);
  if (!f.cause.empty()) out.To(8).Paragraph(f.cause, 8);
  if (!f.held.empty()) WriteHeld(f, all, out);
  for (const CountHolder& h : f.holders) {
    out.To(8).Add(f.kind == "deficit" ? "used by " : "held by ", Style::kFaint);
    if (h.object != 0) out.Add(h.type, Style::kName).Add(fmt::format(" at {:#x} ", h.object));
    out.Line(h.place);
  }
  if (f.known > f.holders.size() && !f.holders.empty()) out.To(8).Line(fmt::format("… {} more", Counted(f.known - f.holders.size(), "reference")), Style::kFaint);
  for (const CountHolder& w : f.words) {
    out.To(8).Add("a word in ", Style::kFaint);
    if (w.object != 0) out.Add(w.type, Style::kName).Add(fmt::format(" at {:#x} ", w.object));
    out.Line(w.place);
  }
  if (f.possible > f.words.size() && !f.words.empty()) out.To(8).Line(fmt::format("… {} more", Counted(f.possible - f.words.size(), "word")), Style::kFaint);
}

constexpr std::uint64_t kShownOfType = 3;  // deficits of one type, in a text without --all

void WriteDeficitType(const DeficitType& t, TextWriter& out) {
  out.Line();
  out.To(4).Add("type", Style::kBad).To(14).Add(t.type, Style::kName).Line(t.module.empty() ? "" : "  " + t.module);
  const std::string shows = fmt::format("its tp_traverse shows {} to {} below, more than {} allow{}", Counted(t.references, "reference"), Counted(t.objects, "object"),
                                        t.objects == 1 ? "its count" : "their counts", t.objects == 1 ? "s" : "");
  out.To(8).Paragraph(t.visited_twice.empty() ? shows + ": it visits what it does not own, or its code gave up what it still uses. One cause, most likely"
                                              : fmt::format("{}: it visits {} twice, which holds one reference", shows, t.visited_twice), 8);
}

void WriteFindingJson(const RefcountFinding& f, JsonWriter& json) {
  json.Object().String("kind", f.kind).Hex("object", f.object).String("type", f.type).String("text", f.text);
  json.Unsigned("recorded", f.recorded).Unsigned("found", f.known).Unsigned("possible", f.possible).Bool("freed", f.freed).String("through", f.through);
  json.Unsigned("bytes", f.bytes).Unsigned("bytes_with_held", f.bytes_with_held);
  WriteTypeCounts(json, "held", f.held);
  for (const auto& [key, list] : {std::pair{"holders", &f.holders}, std::pair{"words", &f.words}}) {
    json.Key(key).Array();
    for (const CountHolder& holder : *list) {
      json.Object().Key("object");
      if (holder.object != 0) {
        json.Hex(holder.object);
      } else {
        json.Null();
      }
      json.String("type", holder.type).String("place", holder.place).EndObject();
    }
    json.EndArray();
  }
  json.String("cause", f.cause).String("fingerprint", RefcountFingerprint(f)).EndObject();
}

}  // namespace

void WriteText(const Header& h, const RefcountsReport& r, TextWriter& out) {
  WriteFirstLines(out, h);
  out.Line();
  const std::uint64_t findings = r.deficits + r.surpluses + r.lost;
  if (findings == 0) {
    out.Line(h.complete ? "no wrong count" : "no wrong count in what could be judged", Style::kHeading);
  } else {
    out.Line(fmt::format("{}: {}, {}, {} lost", Counted(findings, "wrong count"), Counted(r.deficits, "deficit"), Counted(r.surpluses, "surplus"), Thousands(r.lost)),
             Style::kBad);
  }
  out.Line();
  const auto share = [&r](std::uint64_t n) { return r.audited > 0 ? std::floor(10000.0 * static_cast<double>(n) / static_cast<double>(r.audited)) / 100 : 0; };  // 100.00: all
  out.To(4).Line(fmt::format("{} of {} judged", Thousands(r.audited), Counted(r.objects, "object")));
  out.To(4).Line(fmt::format("{} ({:.2f} %) with every reference known", Thousands(r.exact), share(r.exact)));
  if (r.accounted > r.exact) {
    out.To(4).Paragraph(fmt::format("{} ({:.2f} %) whose count adds up: every reference is known or in a variable of C code of its own (static, or a member of a C type: --all names these), or is a known leak",
                                    Thousands(r.accounted), share(r.accounted)), 6);
  }
  if (r.explained > 0) out.To(4).Line(fmt::format("{} counted higher than what is known, explained by words of native memory", Thousands(r.explained)));
  if (r.unverified > 0) out.To(4).Line(fmt::format("{} counted higher than everything found, unverifiable", Thousands(r.unverified)), Style::kWaiting);
  if (r.unconfirmed > 0) out.To(4).Line(fmt::format("{} not judged: they look like objects, and only words of native memory lead to them", Thousands(r.unconfirmed)));
  if (r.hidden_cycles > 0) out.To(4).Line(fmt::format("{} that the collector cannot see (pygc leaks --audit)", Counted(r.hidden_cycles, "hidden cycle")), Style::kBad);
  for (const NotAudited& n : r.not_audited) out.To(4).Line(fmt::format("{} not judged: {}", Thousands(n.objects), n.text));
  for (const std::string& l : r.limits) out.To(4).Paragraph(l, 6, Style::kWaiting);
  if (r.known_count > 0) out.To(4).Line(fmt::format("{} of CPython itself or of widely used extensions, known and cited (--all)", Counted(r.known_count, "wrong count")));
  if (!r.in_flux.empty()) out.To(4).Line(fmt::format("{} in flux: a running thread has the object in a register or on its stack{}", Counted(r.in_flux.size(), "difference"), r.all ? "" : " (--all)"));
  if (r.baseline_count > 0) out.To(4).Line(fmt::format("{} left out: the baseline has {}", Counted(r.baseline_count, "known finding"), r.baseline_count == 1 ? "it" : "them"));
  for (const DeficitType& t : r.deficit_types) WriteDeficitType(t, out);
  std::map<std::string_view, std::uint64_t> of_type;
  std::uint64_t shown = 0;  // or told to be like one that is
  for (const RefcountFinding& f : r.findings) {
    if (f.through.empty() || r.all || of_type[f.through]++ < kShownOfType) WriteFinding(f, r.all, out);
    if (f.alike > 0) out.To(8).Line(fmt::format("… {} more like it (--limit 0 for all)", Thousands(f.alike)), Style::kFaint);
    shown += 1 + f.alike;
  }
  for (const auto& [type, deficits] : of_type) {
    if (deficits > kShownOfType) out.Line().Line(fmt::format("… {} more through {} (--all)", Counted(deficits - kShownOfType, "deficit"), type));
  }
  if (findings > shown) out.Line().Line(fmt::format("… {} more (--limit 0 for all)", Counted(findings - shown, "finding")));
  if (r.all) {
    for (const RefcountFinding& f : r.known) WriteFinding(f, r.all, out, Style::kPlain);
    if (!r.in_flux.empty()) out.Line().Line("in flux", Style::kHeading);
    for (const RefcountFinding& f : r.in_flux) WriteFinding(f, r.all, out, Style::kPlain);
    for (const RefcountFinding& f : r.explained_list) WriteFinding(f, r.all, out, Style::kPlain);
    if (r.explained_left_out > 0) out.Line().Line(fmt::format("… {} more explained (--limit 0 for all)", Thousands(r.explained_left_out)));
  }
  WriteWarnings(out, h);
}

void WriteJson(const Header& h, const RefcountsReport& r, JsonWriter& json) {
  json.Object().Unsigned("findings", r.deficits + r.surpluses + r.lost).Unsigned("deficits", r.deficits).Unsigned("surpluses", r.surpluses).Unsigned("lost", r.lost);
  json.Unsigned("tracked", h.tracked).Unsigned("objects", r.objects).Unsigned("audited", r.audited).Unsigned("exact", r.exact).Unsigned("accounted", r.accounted);
  json.Unsigned("explained", r.explained).Unsigned("unverified", r.unverified).Unsigned("unconfirmed", r.unconfirmed);
  json.Unsigned("hidden_cycles", r.hidden_cycles).Unsigned("native_blocks", r.native_blocks).Unsigned("native_blocks_unreached", r.native_unreached);
  json.Key("not_audited").Array();
  for (const NotAudited& n : r.not_audited) json.Object().String("reason", n.reason).Unsigned("objects", n.objects).EndObject();
  json.EndArray().Key("limits").Array();
  for (const std::string& l : r.limits) json.String(l);
  json.EndArray().Key("deficit_types").Array();
  for (const DeficitType& t : r.deficit_types) json.Object().String("type", t.type).String("module", t.module).Unsigned("objects", t.objects).Unsigned("references", t.references).String("visited_twice", t.visited_twice).EndObject();
  json.EndArray().Unsigned("searched_bytes", r.searched_bytes).Unsigned("allocated_blocks", r.blocks);
  json.Key("refcount_findings").Array();
  for (const RefcountFinding& f : r.findings) WriteFindingJson(f, json);
  json.EndArray().Key("known_leaks").Array();
  for (const RefcountFinding& f : r.known) WriteFindingJson(f, json);
  json.EndArray().Key("in_flux").Array();
  for (const RefcountFinding& f : r.in_flux) WriteFindingJson(f, json);
  json.EndArray().Key("explained_by_words");
  if (r.all) {
    json.Array();
    for (const RefcountFinding& f : r.explained_list) WriteFindingJson(f, json);
    json.EndArray();
  } else {
    json.Null();
  }
  json.Unsigned("findings_known", r.baseline_count).EndObject();
}

}  // namespace pygc::report
