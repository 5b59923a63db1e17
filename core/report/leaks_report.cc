#include "core/report/leaks_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/report/fingerprint.h"
#include "core/report/numbers.h"

namespace pygc::report {
namespace {

constexpr std::uint64_t kShownTypes = 8;  // of what hangs on a group
constexpr std::size_t kFirstColumn = 4, kStateColumn = 14, kTextColumn = 17;

constexpr const char* kIfOn = ", if the collector is on (not known)";

const CollectorFacts* CollectorOf(const Header& header, std::int64_t interpreter) {
  const auto found =
      std::find_if(header.interpreters.begin(), header.interpreters.end(), [&](const CollectorFacts& c) { return c.id == interpreter; });
  return found == header.interpreters.end() ? nullptr : &*found;
}

// "2.7" of "2.7.18"
std::string MinorVersion(const std::string& python) { return python.substr(0, python.rfind('.')); }

std::string WhyWaiting(const Header& header, const LeakGroup& g) {
  const CollectorFacts* const collector = CollectorOf(header, g.interpreter);
  std::string out = g.cycle.empty()                   ? "nothing reaches it, but no reference count says so: "
                    : CycleParts(g.cycle).size() == 2 ? "it keeps itself alive: "
                                                      : "each keeps the next alive: ";
  if (g.generations.contains("being collected")) return out + "the process was stopped in the middle of a collection that frees it";
  out += collector == nullptr || collector->enabled ? "freed by the next full collection" : "freed only by gc.collect(), as the collector is off";
  if (collector != nullptr && !collector->enabled_known) out += kIfOn;
  if (g.order_undefined) out += "; several finalizers in one cycle run in an order that Python does not define";
  return out;
}

std::string Because(const Header& header, const LeaksReport& report, const LeakGroup& g) {
  const std::string in_garbage = g.in_garbage == 0           ? ""
                                 : g.in_garbage == g.objects ? fmt::format("; {} in gc.garbage", g.objects == 1 ? "it lies" : "they lie")
                                                             : fmt::format(" ({} of the {} {} in gc.garbage)", Thousands(g.in_garbage),
                                                                           Counted(g.objects, "object"), g.in_garbage == 1 ? "lies" : "lie");
  if (g.also_referenced) return "gc.garbage holds it, and something else refers to it too: emptying gc.garbage alone does not free it";
  switch (g.reason) {
    case Reason::kCycle:
    case Reason::kFinalizer:
      return WhyWaiting(header, g);
    case Reason::kLegacyFinalizer:
      if (!report.legacy_instances)
        return fmt::format("a C type with a legacy finalizer (tp_del) in a cycle: the collector cannot choose an order, so it never frees it{}",
                           in_garbage);
      if (std::none_of(g.finalizers.begin(), g.finalizers.end(), [](const FinalizerCount& f) { return f.kind == "__del__"; })) {
        return fmt::format(
            "a generator suspended inside try or with, in a cycle: CPython {} would have to run its finally block, and never frees it{}",
            MinorVersion(header.target.python), in_garbage);
      }
      return fmt::format("__del__ in a cycle: CPython {} cannot choose an order, so it never frees it{}", MinorVersion(header.target.python),
                         in_garbage);
    case Reason::kHeldByLegacy:
      return fmt::format("only objects that the collector cannot free (legacy finalizer in a cycle) still refer to it{}", in_garbage);
    case Reason::kSaveAll:
      return fmt::format(
          "gc.DEBUG_SAVEALL is set (gc.set_debug; part of DEBUG_LEAK): the collector puts what it finds into gc.garbage instead of freeing it{}",
          g.in_garbage == g.objects ? "" : in_garbage);
    case Reason::kInGarbage:
      return fmt::format("gc.garbage holds it, though it has no legacy finalizer: put there by hand, or while gc.DEBUG_SAVEALL was set{}",
                         g.in_garbage == g.objects ? "" : in_garbage);
    case Reason::kHeldByGarbage:
      return fmt::format("only items of gc.garbage still refer to it{}", in_garbage);
    case Reason::kFrozen:
      return "unreachable, but frozen by gc.freeze(): no collection looks at it until gc.unfreeze() is called";
    case Reason::kLost:
      return "a reference was leaked: its count is higher than all references found, and nothing real leads to it. The collector takes it for used";
    case Reason::kHiddenCycle:
      return "a cycle through a reference that no tp_traverse visits: every count is right, nothing real leads to it, and the collector takes it for used";
  }
  return {};
}

std::string Fix(const LeaksReport& report, const LeakGroup& g) {
  std::string shape = FixFor(g.cycle);
  switch (g.reason) {
    case Reason::kLost:
      return "look for a missing Py_DECREF in the C code that handles it; pygc refcounts shows count and holders";
    case Reason::kHiddenCycle:
      return "the type before the reference that is not visited needs a tp_traverse that visits it; until then, clear that reference by hand";
    case Reason::kLegacyFinalizer:
      if (shape.empty())
        return report.legacy_instances ? "replace __del__ by a close() method or a weakref callback; then clear gc.garbage"
                                       : "report it to the extension that defines the type";
      return report.legacy_instances ? shape + "; or do without __del__ (a close() method, a with block)" : shape;
    case Reason::kSaveAll:
      return shape.empty() ? "gc.set_debug(0) and del gc.garbage[:]" : shape + " (and gc.set_debug(0), del gc.garbage[:])";
    case Reason::kInGarbage:
    case Reason::kHeldByGarbage:
      if (g.also_referenced) return "del gc.garbage[:], and drop the other reference";
      return fmt::format("del gc.garbage[:] frees it{}{}", shape.empty() ? "" : "; the cycle itself: ", shape);
    case Reason::kFrozen:
      return fmt::format("gc.unfreeze(), or gc.collect() before gc.freeze(){}{}", shape.empty() ? "" : "; the cycle itself: ", shape);
    default:
      return shape;
  }
}

void Label(TextWriter& out, std::string_view label) { out.To(kFirstColumn).Add(label, Style::kFaint).To(kTextColumn); }

void WriteGroup(const Header& header, const LeaksReport& report, const LeakGroup& g, std::size_t number, std::uint64_t shown_types, TextWriter& out) {
  const bool definite = g.severity == Severity::kDefinite;
  out.Add(fmt::format("#{}", number), Style::kHeading).To(kFirstColumn);
  out.Add(SeverityName(g.severity), definite ? Style::kBad : Style::kWaiting).To(kStateColumn);
  out.Add(g.reason == Reason::kLost ? "lost" : g.reason == Reason::kHiddenCycle ? "hidden" : g.reason == Reason::kFrozen ? "frozen" : g.uncollectable ? "uncollectable" : "collectable").To(30);
  out.Add(fmt::format("{} × ", Thousands(g.count))).Add(g.name.empty() ? g.type : fmt::format("{} {}", g.type, g.name), Style::kName);
  if (g.objects != g.count) out.Add(fmt::format("   {}", Counted(g.objects, "object")));
  out.Line(fmt::format("   {}{}", Bytes(g.bytes_with_held), g.bytes_with_held > g.bytes ? " with what hangs on it" : ""));

  if (!g.cycle.empty()) {
    Label(out, "cycle");
    out.Flow(CycleParts(g.cycle), " → ", kTextColumn);
  } else if (g.members.size() > 1) {
    Label(out, "objects");
    std::vector<std::string> parts;
    for (const TypeCount& t : g.members) parts.push_back(HeldText(t));
    out.Flow(parts, ", ", kTextColumn);
  }
  const std::string because = Because(header, report, g), fix = Fix(report, g);
  Label(out, "because");
  out.Paragraph(because, kTextColumn);
  if (!fix.empty()) {
    Label(out, "fix");
    out.Paragraph(fix, kTextColumn);
  }
  if (!g.held.empty()) {
    Label(out, "hangs on it");
    std::vector<std::string> parts;
    for (const TypeCount& t : g.held) {
      if (shown_types != 0 && parts.size() == shown_types) {
        parts.push_back(fmt::format("… {} more (--limit 0 for all)", Counted(g.held.size() - parts.size(), "type")));
        break;
      }
      parts.push_back(HeldText(t));
    }
    out.Flow(parts, ", ", kTextColumn);
    if (g.shared_objects > 0) {
      std::string with;
      for (const std::uint64_t other : g.shared_with) with += fmt::format("{}#{}", with.empty() ? " (" : ", ", other);
      out.To(kTextColumn)
          .Line(fmt::format("{} of these {} on other groups too{}", Thousands(g.shared_objects), g.shared_objects == 1 ? "hangs" : "hang",
                            with.empty() ? "" : with + ")"));
    }
  }
  if (!g.finalizers.empty()) {
    Label(out, "finalizer");
    std::vector<std::string> parts;
    for (const FinalizerCount& f : g.finalizers) {
      std::string state = f.run == 0       ? "has not run"
                          : f.pending == 0 ? "has run"
                                           : fmt::format("{} not run, {} run", Thousands(f.pending), Thousands(f.run));
      parts.push_back(fmt::format("{} {} of {}: {}", Thousands(f.pending + f.run), f.kind, f.type, state));
    }
    if (g.order_undefined) parts.push_back("order undefined");
    out.Flow(parts, ", ", kTextColumn);
  }
  if (!g.generations.empty()) {
    Label(out, "generation");
    std::vector<std::string> parts;
    for (const auto& [generation, objects] : g.generations) {
      parts.push_back(g.generations.size() == 1
                          ? generation
                          : fmt::format("{} in {}", parts.empty() ? Counted(objects, "object") : Thousands(objects), generation));
    }
    out.Flow(parts, ", ", kTextColumn);
  }
  if (!g.sites.empty()) {
    Label(out, "allocated at");
    std::vector<std::string> parts;
    for (const AllocationSite& site : g.sites) parts.push_back(SiteText(g, site));
    out.Flow(parts, ", ", kTextColumn);
  }
  if (header.interpreters.size() > 1) {
    Label(out, "interpreter");
    out.Line(std::to_string(g.interpreter));
  }
  if (g.approximate) {
    Label(out, "doubt");
    out.Line("referents of a member were found by a scan of its memory, not read exactly");
  }
  if (!g.addresses.empty()) {
    Label(out, "address");
    std::vector<std::string> parts;
    for (const Address a : g.addresses) parts.push_back(fmt::format("{:#x}", a));
    if (g.addresses.size() < g.count) parts.push_back(fmt::format("… {} more (--limit 0 for all)", Thousands(g.count - g.addresses.size())));
    out.Flow(parts, "  ", kTextColumn);
  }
}

}  // namespace

const char* SeverityName(Severity s) noexcept { return s == Severity::kDefinite ? "definite" : "pending"; }

const char* ReasonName(Reason r) noexcept {
  switch (r) {
    case Reason::kCycle:
      return "cycle";
    case Reason::kFinalizer:
      return "cycle-with-finalizer";
    case Reason::kLegacyFinalizer:
      return "legacy-finalizer";
    case Reason::kHeldByLegacy:
      return "held-by-legacy-finalizer";
    case Reason::kSaveAll:
      return "debug-saveall";
    case Reason::kInGarbage:
      return "in-garbage";
    case Reason::kHeldByGarbage:
      return "held-by-garbage";
    case Reason::kFrozen:
      return "frozen";
    case Reason::kLost:
      return "lost";
    case Reason::kHiddenCycle:
      return "hidden-cycle";
  }
  return "cycle";
}

void WriteCycle(JsonWriter& json, const Cycle& cycle) {
  json.Key("cycle").Array();
  for (const CycleStep& s : cycle) {
    if (s.elided != 0) {
      json.Object().Unsigned("elided", s.elided).EndObject();
      continue;
    }
    json.Object().String("type", s.type).Hex("address", s.address);
    if (!s.name.empty()) json.String("name", s.name);
    json.String("label", s.label).String("kind", EdgeKindName(s.kind)).EndObject();
  }
  json.EndArray();
  std::string words;
  for (const std::string& part : CycleParts(cycle, 0)) words += fmt::format("{}{}", words.empty() ? "" : " → ", part);
  json.String("cycle_text", words).String("shape", ShapeName(ShapeOf(cycle)));
}

void WriteTypeCounts(JsonWriter& json, std::string_view key, const std::vector<TypeCount>& counts) {
  json.Key(key).Array();
  for (const TypeCount& t : counts) {
    json.Object().String("type", t.type).Unsigned("objects", t.objects).Unsigned("bytes", t.bytes);
    if (!t.note.empty()) json.String("note", t.note);
    if (!t.fds.empty()) {
      json.Key("fds").Array();
      for (const std::int32_t fd : t.fds) json.Integer(fd);
      json.EndArray();
    }
    json.EndObject();
  }
  json.EndArray();
}

void WriteAddresses(JsonWriter& json, const std::vector<Address>& addresses) {
  json.Key("addresses").Array();
  for (const Address a : addresses) json.Hex(a);
  json.EndArray();
}

void WriteFinalizers(JsonWriter& json, std::string_view key, const std::vector<FinalizerCount>& finalizers) {
  json.Key(key).Array();
  for (const FinalizerCount& f : finalizers) {
    json.Object().String("type", f.type).String("kind", f.kind).Unsigned("pending", f.pending).Unsigned("run", f.run).EndObject();
  }
  json.EndArray();
}

std::string FixText(const LeaksReport& report, const LeakGroup& group) { return Fix(report, group); }
std::string BecauseText(const Header& header, const LeaksReport& report, const LeakGroup& group) { return Because(header, report, group); }

// Bytes where they are worth a word.
std::string HeldText(const TypeCount& t) {
  constexpr std::uint64_t kWorthSaying = 100000;
  std::string note = t.note, fds;
  for (const std::int32_t fd : t.fds) fds += fmt::format("{}{}", fds.empty() ? ": fd " : ", ", fd);
  note += fds;
  if (t.bytes >= kWorthSaying) note += fmt::format("{}{}", note.empty() ? "" : ", ", Bytes(t.bytes));
  return fmt::format("{} {}{}", Thousands(t.objects), t.type, note.empty() ? "" : fmt::format(" ({})", note));
}

std::string SiteText(const LeakGroup& group, const AllocationSite& site) { return group.count == 1 ? site.place : fmt::format("{} ({})", site.place, Thousands(site.objects)); }

namespace {
std::string WhyNotExact(const Header& header) {
  const bool freeing = std::any_of(header.interpreters.begin(), header.interpreters.end(),
                                   [](const CollectorFacts& c) { return c.phase == "freeing" || c.phase == "between"; });
  return freeing ? "the process was stopped while the collector was freeing them" : "some references could only be guessed, or are more than counts say";
}
}  // namespace

std::string VerdictText(const Header& header, const LeaksReport& r) {
  const bool on = header.interpreters.empty() || header.interpreters.front().enabled;
  const std::string at_least = header.complete && header.certainty == Certainty::kExact ? "" : "at least ";
  std::vector<std::string> parts;
  if (r.uncollectable > 0) parts.push_back(fmt::format("{}{} can never be freed", at_least, Counted(r.uncollectable, "object")));
  if (r.collectable > 0) {
    const std::string what = parts.empty() ? Counted(r.collectable, "object") : Thousands(r.collectable);
    const std::string verb = on ? (r.collectable == 1 ? "waits for the next full collection" : "wait for the next full collection")
                                : (r.collectable == 1 ? "waits until gc.collect() is called" : "wait until gc.collect() is called");
    const bool known = header.interpreters.empty() || header.interpreters.front().enabled_known;
    parts.push_back(fmt::format("{}{} {}{}", at_least, what, verb, known ? "" : kIfOn));
  }
  if (r.frozen > 0) parts.push_back(fmt::format("{}{} unreachable and frozen (gc.freeze)", at_least, Thousands(r.frozen)));
  if (r.lost_objects > 0) parts.push_back(fmt::format("{}{} lost: nothing real leads there, and the collector takes {} for used", at_least, Counted(r.lost_objects, "object"), r.lost_objects == 1 ? "it" : "them"));
  if (r.hidden_objects > 0) {
    parts.push_back(fmt::format("{}{} in {}: nothing real leads there, and the collector cannot see that {}", at_least, Counted(r.hidden_objects, "object"),
                                r.hidden_cycles == 1 ? "a hidden cycle" : Counted(r.hidden_cycles, "hidden cycle"), r.hidden_cycles == 1 ? "it is one" : "they are cycles"));
  }
  if (parts.empty()) {
    if (!header.objects_read) return "not known: the objects could not be read";
    if (!header.complete)
      return fmt::format("no unreachable object found among the {} that could be read; the rest is not known", Counted(header.tracked, "object"));
    if (header.certainty != Certainty::kExact && (!r.unreachable_upper || *r.unreachable_upper == r.unreachable)) {
      return "no object is certainly unreachable; some may be, as some references could not be read, or are more than counts say";
    }
    if (header.certainty != Certainty::kExact) {
      return fmt::format("no object is certainly unreachable; up to {} may be, as {}", Thousands(*r.unreachable_upper), WhyNotExact(header));
    }
    return "nothing is unreachable and gc.garbage is empty: a full collection would free nothing now";
  }
  std::string out;
  for (const std::string& part : parts) out += fmt::format("{}{}", out.empty() ? "" : " · ", part);
  if (header.certainty == Certainty::kLowerBound && r.unreachable_upper && *r.unreachable_upper != r.unreachable) {
    out += fmt::format(" (unreachable: lower bound {}, upper bound {}, as {})", Thousands(r.unreachable), Thousands(*r.unreachable_upper),
                       WhyNotExact(header));
  }
  return out;
}

void WriteText(const Header& header, const LeaksReport& r, TextWriter& out) {
  WriteFirstLines(out, header);
  out.Line().Line(VerdictText(header, r), r.uncollectable + r.lost_objects + r.hidden_objects > 0 ? Style::kBad : Style::kHeading);
  std::size_t number = 0;
  for (const LeakGroup& g : r.groups) {
    out.Line();
    WriteGroup(header, r, g, ++number, r.everything ? 0 : kShownTypes, out);
  }
  out.Line();
  if (r.group_count > r.groups.size()) out.Line(fmt::format("… {} more (--limit 0 for all)", Counted(r.group_count - r.groups.size(), "group")));
  if (r.groups_ignored > 0) out.Line(fmt::format("{} left out by --type or --ignore", Counted(r.groups_ignored, "group")));
  if (r.groups_known > 0) out.Line(fmt::format("{} left out: the baseline has {}", Counted(r.groups_known, "known group"), r.groups_known == 1 ? "it" : "them"));
  if (r.collectable > 0 && std::any_of(header.interpreters.begin(), header.interpreters.end(), [](const CollectorFacts& c) { return !c.enabled; })) {
    out.Line("note: the collector is off, so what waits stays until somebody calls gc.collect(). It counts as pending: --fail-on pending makes it exit 1.", Style::kWaiting);
  }
  WriteWarnings(out, header);
  if (!r.audited) out.Line("Not looked for: lost objects (leaked references) and cycles hidden in native memory.", Style::kFaint);
}

void WriteJson(const Header& header, const LeaksReport& r, JsonWriter& json) {
  json.Object();
  json.Unsigned("unreachable", r.unreachable)
      .Unsigned("collectable", r.collectable)
      .Unsigned("uncollectable", r.uncollectable)
      .Unsigned("in_garbage", r.in_garbage);
  json.Bool("audited", r.audited).String("verdict", VerdictText(header, r));
  WriteInterpreters(json, header.interpreters);
  json.Key("groups").Array();
  for (const LeakGroup& g : r.groups) {
    json.Object();
    json.String("severity", SeverityName(g.severity))
        .String("state", g.reason == Reason::kLost || g.reason == Reason::kHiddenCycle ? "lost"
                         : g.reason == Reason::kFrozen ? "reachable"
                         : g.uncollectable           ? "uncollectable"
                                                     : "unreachable");
    json.Bool("collectable", !g.uncollectable && g.reason != Reason::kFrozen && g.reason != Reason::kLost && g.reason != Reason::kHiddenCycle).String("reason", ReasonName(g.reason));
    json.String("type", g.type);
    if (!g.name.empty()) json.String("name", g.name);
    json.Unsigned("count", g.count).Unsigned("objects", g.objects).Unsigned("in_garbage", g.in_garbage);
    json.Unsigned("bytes", g.bytes)
        .Unsigned("bytes_with_held", g.bytes_with_held)
        .Integer("interpreter", g.interpreter)
        .Bool("exact", !g.approximate);
    WriteCycle(json, g.cycle);
    json.String("because", Because(header, r, g)).String("fix", Fix(r, g));
    WriteTypeCounts(json, "members", g.members);
    WriteTypeCounts(json, "held", g.held);
    json.Unsigned("shared_objects", g.shared_objects);
    WriteFinalizers(json, "finalizers", g.finalizers);
    WriteFinalizers(json, "held_finalizers", g.held_finalizers);
    json.Bool("order_undefined", g.order_undefined);
    json.Key("generations").Object();
    for (const auto& [generation, objects] : g.generations) json.Unsigned(generation, objects);
    json.EndObject();
    WriteAddresses(json, g.addresses);
    if (!g.sites.empty()) {
      json.Key("sites").Array();
      for (const AllocationSite& site : g.sites) json.Object().String("place", site.place).Unsigned("objects", site.objects).EndObject();
      json.EndArray();
    }
    json.String("fingerprint", LeakFingerprint(g)).EndObject();
  }
  json.EndArray();
  if (r.audited) json.Unsigned("lost", r.lost).Unsigned("hidden_cycles", r.hidden_cycles).Unsigned("lost_objects", r.lost_objects + r.hidden_objects).Unsigned("hidden_objects", r.hidden_objects);
  json.Unsigned("group_count", r.group_count).Unsigned("groups_known", r.groups_known).Unsigned("frozen", r.frozen);
  json.String("certainty", CertaintyName(header.certainty)).Unsigned("unreachable_upper", r.unreachable_upper).EndObject();
}

}  // namespace pygc::report
