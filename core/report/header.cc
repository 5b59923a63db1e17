#include "core/report/header.h"

#include <fmt/format.h>

#include "core/report/numbers.h"

namespace pygc::report {
namespace {

std::string Joined(const std::vector<std::int64_t>& numbers) {
  std::string out;
  for (const std::int64_t n : numbers) out += fmt::format("{}{}", out.empty() ? "" : "/", n);
  return out;
}

std::string CollectorWords(const CollectorFacts& c) {
  std::string out = fmt::format("collector {}", CollectorSwitch(c));
  if (c.collecting) out += " · in a collection";
  if (!c.thresholds.empty()) out += fmt::format(" · thresholds {}, counts {}", Joined(c.thresholds), Joined(c.counts));
  return out;
}

}  // namespace

const char* CollectorSwitch(const CollectorFacts& c) noexcept {
  return !c.enabled_known ? "on or off (not known)" : c.enabled ? "on" : "off: garbage waits until gc.collect() is called";
}

const char* CertaintyName(Certainty c) noexcept {
  switch (c) {
    case Certainty::kExact:
      return "exact";
    case Certainty::kLowerBound:
      return "lower bound";
    case Certainty::kUnverifiable:
      return "unverifiable";
  }
  return "unverifiable";
}

std::string TargetName(const TargetFacts& target) {
  if (target.kind == "live" || target.path.empty())
    return target.pid != 0 ? fmt::format("pid {}", target.pid) : target.kind == "live" ? "live process" : "core";
  const std::size_t slash = target.path.rfind('/');
  return slash == std::string::npos || slash + 1 == target.path.size() ? target.path : target.path.substr(slash + 1);
}

void WriteTargetObject(JsonWriter& json, const TargetFacts& target, const std::function<void()>& more) {
  json.Object().String("kind", target.kind);
  if (target.path.empty()) {
    json.Key("path").Null();
  } else {
    json.String("path", target.path);
  }
  if (target.pid == 0) {
    json.Key("pid").Null();
  } else {
    json.Integer("pid", target.pid);
  }
  json.String("python", target.python).String("build", target.build).Bool("debug", target.debug);
  if (more) more();
  json.EndObject();
}

void WriteEnvelopeRest(JsonWriter& json, const Header& h) {
  json.Bool("complete", h.complete);
  json.Key("missing").Array();
  for (const Missing& m : h.missing) json.Object().String("what", m.what).String("reason", m.reason).String("remedy", m.remedy).EndObject();
  json.EndArray();
  json.Key("warnings").Array();
  for (const std::string& w : h.warnings) json.String(w);
  json.EndArray();
  json.Key("timing").Object();
  for (const auto& [name, seconds] : h.timing) json.Key(name).Seconds(seconds);
  json.EndObject();
  json.Key("result");
}

void BeginEnvelope(JsonWriter& json, const Header& h) {
  json.Object().String("schema", fmt::format("pygc.{}/1", h.command)).String("pygc", PYGC_VERSION).String("host", h.host);
  json.Key("target");
  WriteTargetObject(json, h.target, {});
  WriteEnvelopeRest(json, h);
}

void EndEnvelope(JsonWriter& json) { json.EndObject(); }

void WriteInterpreters(JsonWriter& json, const std::vector<CollectorFacts>& interpreters) {
  json.Key("interpreters").Array();
  for (const CollectorFacts& c : interpreters) {
    json.Object().Integer("id", c.id).String("collector", c.kind).Bool("enabled", c.enabled);
    if (!c.enabled_known) json.Bool("enabled_known", false);
    json.Bool("collecting", c.collecting).String("phase", c.phase);
    json.Unsigned("tracked", c.tracked).Unsigned("in_garbage", c.in_garbage);
    if (c.unreachable) json.Unsigned("unreachable", *c.unreachable).Unsigned("uncollectable", c.uncollectable.value_or(0));
    json.Key("thresholds").Array();
    for (const std::int64_t n : c.thresholds) json.Integer(n);
    json.EndArray().Key("counts").Array();
    for (const std::int64_t n : c.counts) json.Integer(n);
    json.EndArray().Key("debug_flags").Array();
    for (const std::string& flag : c.debug_flags) json.String(flag);
    json.EndArray().Key("generations").Array();
    for (const CollectorFacts::Generation& g : c.generations) {
      json.Object().String("generation", g.name).Unsigned("objects", g.objects);
      if (g.has_stats) json.Integer("collections", g.collections).Integer("collected", g.collected).Integer("uncollectable", g.uncollectable);
      json.EndObject();
    }
    json.EndArray().EndObject();
  }
  json.EndArray();
}

void WritePartialLines(TextWriter& out, const Header& h) {
  constexpr std::size_t kShown = 4;
  std::size_t shown = 0;
  for (const Missing& m : h.missing) {
    if (h.command != "status" && h.missing.size() > kShown + 1 && shown++ == kShown) {
      out.Add("PARTIAL: ", Style::kBad).Line(fmt::format("… {} more (pygc status lists them)", Counted(h.missing.size() - kShown, "reason")));
      break;
    }
    out.Add("PARTIAL: ", Style::kBad).Add(m.what);
    if (!m.reason.empty()) out.Add(": ").Add(m.reason);
    if (!m.remedy.empty()) out.Add(". ").Add(m.remedy);
    out.Line();
  }
  if (!h.complete && h.missing.empty()) out.Add("PARTIAL: ", Style::kBad).Line("not everything could be read");
}

void WriteFirstLines(TextWriter& out, const Header& h) {
  WritePartialLines(out, h);
  out.Add(fmt::format("CPython {}{}{}", h.target.python, h.target.build == "default" ? "" : fmt::format(" {}", h.target.build),
                      h.target.debug ? " debug" : ""),
          Style::kHeading);
  out.Add(
      fmt::format(" · {} · {}", TargetName(h.target), h.objects_read ? fmt::format("{}{} tracked", h.tracked_at_least ? "at least " : "", Counted(h.tracked, "object")) : "objects not read"));
  if (!h.interpreters.empty()) out.Add(" · ").Add(CollectorWords(h.interpreters.front()));
  if (h.interpreters.size() > 1) out.Add(fmt::format(" · {} interpreters", h.interpreters.size()));
  out.Add(" · ").Line(h.complete ? CertaintyName(h.certainty) : fmt::format("partial, {}", CertaintyName(h.certainty)));
  for (std::size_t i = 0; i < h.interpreters.size() && h.interpreters.size() > 1; ++i) {
    const CollectorFacts& c = h.interpreters[i];
    out.Add(fmt::format("interpreter {}", c.id));
    if (h.objects_read) out.Add(fmt::format(" · {} tracked", Counted(c.tracked, "object")));
    if (c.unreachable) out.Add(fmt::format(" · {} unreachable", Thousands(*c.unreachable)));
    if (c.uncollectable.value_or(0) > 0) out.Add(fmt::format(" · {} stuck", Thousands(*c.uncollectable)));
    out.Line(fmt::format(" · {}", CollectorWords(c)));
  }
}

void WriteWarnings(TextWriter& out, const Header& h) {
  for (const std::string& w : h.warnings) out.Add("warning: ", Style::kWaiting).Line(w);
}

}  // namespace pygc::report
