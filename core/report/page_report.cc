#include "core/report/page_report.h"

#include <fmt/format.h>

#include "core/report/html_writer.h"
#include "core/report/numbers.h"
#include "core/report/page_assets.h"

namespace pygc::report {
namespace {

constexpr std::size_t kShownHolders = 20, kShownRows = 8;

class Page {
 public:
  Page(const Header& header, const PageReport& report) : header_(header), report_(report) {}

  std::string Write() {
    Head();
    Summary();
    Leaks();
    Memory();
    Types();
    Stacks();
    Completeness();
    Script();
    return out_.Take();
  }

 private:
  void Head() {
    out_.Markup("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n");
    out_.Markup("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'unsafe-inline'; script-src 'sha256-");
    out_.Text(EmbeddedPage().script_hash).Markup("'\">\n<meta name=\"referrer\" content=\"no-referrer\">\n<title>pygc: ").Text(TargetName(header_.target)).Markup("</title>\n<style>\n");
    out_.Asset(EmbeddedPage().style).Markup("</style>\n</head>\n<body>\n");
    out_.Markup("<nav aria-label=\"parts\"><a href=\"#summary\">Summary</a><a href=\"#leaks\">Leaks</a><a href=\"#memory\">Memory</a><a href=\"#histogram\">Types</a>");
    out_.Markup("<a href=\"#stacks\">Stacks</a><a href=\"#completeness\">Completeness</a></nav>\n");
  }

  void Summary() {
    out_.Markup("<main>\n<h1 id=\"summary\">pygc: ").Text(TargetName(header_.target)).Markup("</h1>\n");
    for (const Missing& m : header_.missing) {
      out_.Markup("<p class=\"partial\">PARTIAL: ").Text(m.what).Text(m.reason.empty() ? "" : ": ").Text(m.reason).Text(m.remedy.empty() ? "" : ". ").Text(m.remedy).Markup("</p>\n");
    }
    out_.Markup("<p class=\"faint\">CPython ").Text(header_.target.python).Text(header_.target.build == "default" ? "" : " " + header_.target.build).Text(header_.target.debug ? " debug" : "");
    out_.Text(fmt::format(" · {} tracked · {}", Counted(header_.tracked, "object"), CertaintyName(header_.certainty))).Markup("</p>\n");
    report_.overview.leaks.uncollectable > 0 ? out_.Markup("<p class=\"bad\">") : out_.Markup("<p>");
    out_.Text(Sentence(VerdictText(header_, report_.overview.leaks))).Markup("</p>\n");
    Crash();
    if (report_.heap) {
      out_.Markup("<p>").Text(fmt::format("{} of {}, {}.", Counted(report_.heap->objects, "object"), Counted(report_.heap->type_count, "type"), Bytes(report_.heap->bytes)));
      if (!report_.memory.empty()) {
        const MemoryNode& top = report_.memory.front();
        out_.Text(fmt::format(" Most is kept alive by {}{}{}{}: {}.", top.type, top.name.empty() ? "" : " ", top.name, top.path.empty() ? "" : fmt::format(" ({})", top.path), Bytes(top.retained)));
      }
      out_.Markup("</p>\n");
    }
    for (const CollectorFacts& c : header_.interpreters) Collector(c);
    for (const std::string& w : header_.warnings) out_.Markup("<p class=\"wait\">warning: ").Text(w).Markup("</p>\n");
  }

  static std::string Sentence(std::string text) {
    if (!text.empty() && text[0] >= 'a' && text[0] <= 'z') text[0] = static_cast<char>(text[0] - 32);
    return text + ".";
  }

  void Crash() {
    const CrashFacts& c = report_.overview.crash;
    if (c.kind != CrashFacts::Kind::kSignal) return;
    out_.Markup("<p class=\"bad\">").Text(fmt::format("Ended by {}", SignalName(c.signal))).Text(c.thread != 0 ? fmt::format(" in thread {}", c.thread) : "");
    if (const char* meaning = SignalMeaning(c.signal); *meaning != '\0') out_.Text(": ").Text(meaning);
    out_.Text(c.place.empty() ? "." : ", in ").Text(c.place);
    if (const std::string fault = FaultText(c); !fault.empty()) out_.Markup("<br>").Text(c.fault ? "It touched " : "Cause: ").Text(fault);
    const std::vector<ThreadStackReport>& threads = report_.overview.stacks.threads;
    if (!c.native.empty()) out_.Markup("<br>It was called by <code>").Text(NativeChainText(c)).Markup("</code>");
    const ThreadStackReport* const thread = c.python_thread && *c.python_thread < threads.size() ? &threads[*c.python_thread] : nullptr;
    if (const StackFrame* const frame = thread != nullptr ? CrashFrame(*thread) : nullptr) {
      out_.Markup("<br>Python had reached <code>").Text(FrameText(*frame)).Markup("</code>");
      if (!InnermostText(*thread).empty()) out_.Markup(", and from there <code>").Text(FrameText(thread->frames.front())).Markup("</code>");
    }
    out_.Markup("</p>\n");
  }

  void Collector(const CollectorFacts& c) {
    out_.Markup("<p>").Text(header_.interpreters.size() > 1 ? fmt::format("Interpreter {}: collector ", c.id) : "Collector ").Text(CollectorSwitch(c));
    if (c.collecting) out_.Text(", in a collection (" + c.phase + ")");
    out_.Text(fmt::format("; {} tracked", Counted(c.tracked, "object")));
    for (const CollectorFacts::Generation& g : c.generations) out_.Text(fmt::format("; generation {}: {}", g.name, Thousands(g.objects)));
    for (const std::string& flag : c.debug_flags) out_.Text("; ").Text(flag);
    out_.Markup(".</p>\n");
  }

  void Leaks() {
    const LeaksReport& leaks = report_.overview.leaks;
    out_.Markup("<h2 id=\"leaks\">Leaks</h2>\n<p>").Text(Sentence(VerdictText(header_, leaks))).Markup("</p>\n");
    for (std::size_t i = 0; i < leaks.groups.size(); ++i) Group(leaks, leaks.groups[i], i);
    if (leaks.group_count > leaks.groups.size()) out_.Markup("<p>").Text(fmt::format("… {} more (pygc leaks --limit 0)", Counted(leaks.group_count - leaks.groups.size(), "group"))).Markup("</p>\n");
  }

  void Row(const char* label, const std::string& text) {
    if (!text.empty()) out_.Markup("<dt>").Text(label).Markup("</dt><dd>").Text(text).Markup("</dd>");
  }
  // What stands between two backticks is code.
  void Sentence(const char* label, std::string_view text) {
    if (text.empty()) return;
    out_.Markup("<dt>").Text(label).Markup("</dt><dd>");
    for (bool code = false; !text.empty(); code = !code) {
      const std::size_t tick = text.find('`');
      const bool closed = tick != std::string_view::npos;
      if (code && closed) out_.Markup("<code>").Text(text.substr(0, tick)).Markup("</code>");
      if (code && !closed) out_.Text("`");
      if (!code || !closed) out_.Text(text.substr(0, tick));
      text.remove_prefix(closed ? tick + 1 : text.size());
    }
    out_.Markup("</dd>");
  }
  template <typename Rows, typename TextOf>
  static std::string Joined(const Rows& rows, std::size_t most, TextOf&& text_of) {
    std::string out;
    for (std::size_t i = 0; i < std::min<std::size_t>(rows.size(), most); ++i) out += (out.empty() ? "" : ", ") + text_of(rows[i]);
    return rows.size() > most ? fmt::format("{}, … {} more", out, Thousands(rows.size() - most)) : out;
  }

  void Group(const LeaksReport& leaks, const LeakGroup& g, std::size_t index) {
    index == 0 ? out_.Markup("<details open><summary>") : out_.Markup("<details><summary>");
    g.severity == Severity::kDefinite ? out_.Markup("<span class=\"bad\">") : out_.Markup("<span class=\"wait\">");
    out_.Text(SeverityName(g.severity)).Markup("</span> ").Text(fmt::format("{} × {}{}{}, {}, {}", Thousands(g.count), g.type, g.name.empty() ? "" : " ", g.name, Counted(g.objects, "object"), Bytes(g.bytes_with_held)));
    out_.Markup("</summary><dl>");
    std::string cycle;
    for (const std::string& part : CycleParts(g.cycle, 0)) cycle += (cycle.empty() ? "" : " → ") + part;
    Row("cycle", cycle);
    if (g.cycle.empty() && g.members.size() > 1) Row("objects", Joined(g.members, kShownRows, HeldText));
    Sentence("because", BecauseText(header_, leaks, g));
    Sentence("fix", FixText(leaks, g));
    Row("hangs on it", Joined(g.held, kShownRows, HeldText));
    std::string finalizers;
    for (const FinalizerCount& f : g.finalizers) finalizers += fmt::format("{}{} {} of {}: {} not run, {} run", finalizers.empty() ? "" : ", ", f.pending + f.run, f.kind, f.type, f.pending, f.run);
    Row("finalizer", finalizers);
    const std::vector<std::pair<std::string, std::uint64_t>> generations(g.generations.begin(), g.generations.end());
    Row("generation", Joined(generations, kShownRows, [&](const auto& row) { return generations.size() == 1 ? row.first : fmt::format("{} in {}", Thousands(row.second), row.first); }));
    Row("allocated at", Joined(g.sites, kShownRows, [&](const AllocationSite& site) { return SiteText(g, site); }));
    std::string addresses;
    for (std::size_t i = 0; i < std::min<std::size_t>(g.addresses.size(), 10); ++i) addresses += fmt::format("{}{:#x}", addresses.empty() ? "" : "  ", g.addresses[i]);
    Row("address", addresses);
    out_.Markup("</dl><div data-group=\"").Number(index).Markup("\"></div></details>\n");
  }
  void Memory() {
    out_.Markup("<h2 id=\"memory\">Who holds the memory</h2>\n");
    if (report_.memory.empty()) {
      out_.Markup("<p>").Text("Not known: " + report_.no_memory).Markup("</p>\n");
      return;
    }
    out_.Markup("<p>").Text(fmt::format("{} in use, {}. What each object alone keeps alive:", Counted(report_.memory_objects, "object"), Bytes(report_.memory_bytes))).Markup("</p>\n<div id=\"map\"></div>\n");
    out_.Markup("<div class=\"wide\"><table><thead><tr><th>object</th><th>keeps alive</th><th>objects</th><th>of its own</th></tr></thead><tbody>\n");
    std::size_t shown = 0;
    for (const MemoryNode& n : report_.memory) {
      if (n.parent || shown++ >= kShownHolders) continue;
      out_.Markup("<tr><td>").Text(fmt::format("{}{}{}", n.type, n.name.empty() ? "" : " ", n.name));
      if (!n.path.empty()) out_.Markup("<br><span class=\"faint\">").Text(n.path).Markup("</span>");
      out_.Markup("</td><td>").Text(Bytes(n.retained)).Markup("</td><td>").Text(Thousands(n.objects)).Markup("</td><td>").Text(Bytes(n.size)).Markup("</td></tr>\n");
    }
    out_.Markup("</tbody></table></div>\n");
  }

  void Cell(std::uint64_t n, const std::string& text) { out_.Markup("<td data-n=\"").Number(n).Markup("\">").Text(text).Markup("</td>"); }

  void Types() {
    out_.Markup("<h2 id=\"histogram\">Types</h2>\n");
    if (!report_.heap) {
      out_.Markup("<p>").Text("Not known: " + report_.no_memory).Markup("</p>\n");
      return;
    }
    out_.Markup("<div class=\"wide\"><table id=\"types\"><thead><tr><th>type</th><th>objects</th><th>shallow</th><th>retained</th><th>unreachable</th></tr></thead><tbody>\n");
    for (const HeapRow& row : report_.heap->rows) {
      out_.Markup("<tr><td>").Text(row.type).Markup("</td>");
      Cell(row.objects, Thousands(row.objects));
      Cell(row.bytes, Bytes(row.bytes));
      Cell(row.retained, report_.heap->with_retained ? Bytes(row.retained) : "?");
      Cell(row.unreachable, Thousands(row.unreachable));
      out_.Markup("</tr>\n");
    }
    out_.Markup("</tbody></table></div>\n");
    if (report_.heap->type_count > report_.heap->rows.size()) out_.Markup("<p>").Text(fmt::format("… {} more (pygc heap --limit 0)", Counted(report_.heap->type_count - report_.heap->rows.size(), "type"))).Markup("</p>\n");
  }

  static std::string FrameText(const StackFrame& f) { return fmt::format("{}() at {}:{}", f.qualified_name, f.file, f.line < 0 ? "?" : std::to_string(f.line)); }

  void Stacks() {
    out_.Markup("<h2 id=\"stacks\">Python stacks</h2>\n");
    for (const ThreadStackReport& t : report_.overview.stacks.threads) {
      out_.Markup("<details open><summary>").Text(t.native_id ? fmt::format("thread {}", *t.native_id) : fmt::format("thread {:#x}", t.thread_id));
      out_.Text(t.holds_gil.value_or(false) ? ", holds the GIL" : "").Text(t.signal != 0 ? ", " + SignalName(t.signal) : "").Text(t.complete ? "" : ", chain of frames broken").Markup("</summary><ol class=\"frames\">");
      for (std::size_t i = 0; i < t.frames.size(); ++i) {
        if (i == t.left_out_before && t.frame_count > t.frames.size()) out_.Markup("<li class=\"faint\">").Text(fmt::format("… {} left out", Counted(t.frame_count - t.frames.size(), "frame"))).Markup("</li>");
        out_.Markup("<li><code>").Text(FrameText(t.frames[i])).Markup("</code></li>");
      }
      out_.Markup("</ol></details>\n");
    }
    if (report_.overview.stacks.threads.empty()) out_.Markup("<p>No thread runs Python.</p>\n");
  }

  void Completeness() {
    out_.Markup("<h2 id=\"completeness\">Completeness</h2>\n<dl>");
    Row("figures", header_.complete ? CertaintyName(header_.certainty) : fmt::format("partial, {}", CertaintyName(header_.certainty)));
    Row("target", fmt::format("{} {}", header_.target.kind, header_.target.path.empty() ? TargetName(header_.target) : header_.target.path));
    Row("written by", "pygc " PYGC_VERSION);
    for (const Missing& m : header_.missing) Row("missing", fmt::format("{}: {}{}{}", m.what, m.reason, m.remedy.empty() ? "" : ". ", m.remedy));
    if (!report_.overview.leaks.audited) Row("not looked for", "lost objects (leaked references) and cycles hidden in native memory");
    out_.Markup("</dl>\n</main>\n");
  }

  void Script() {
    JsonWriter json;
    BeginEnvelope(json, header_);
    WriteJson(header_, report_, json);
    EndEnvelope(json);
    out_.Markup("<script type=\"application/json\" id=\"data\">").Json(json.Take()).Markup("</script>\n<script>").Asset(EmbeddedPage().script).Markup("</script>\n</body>\n</html>\n");
  }

  const Header& header_;
  const PageReport& report_;
  HtmlWriter out_;
};

}  // namespace

std::string WritePage(const Header& header, const PageReport& report) { return Page(header, report).Write(); }

void WriteJson(const Header& h, const PageReport& r, JsonWriter& json) {
  json.Object().Key("leaks");
  WriteJson(h, r.overview.leaks, json);
  json.Key("memory").Object().Unsigned("bytes", r.memory_bytes).Unsigned("objects", r.memory_objects).Key("nodes").Array();
  for (const MemoryNode& n : r.memory) {
    json.Object().Key("parent");
    n.parent ? json.Unsigned(*n.parent) : json.Null();
    json.Hex("address", n.address).String("type", n.type).Key("name");
    n.name.empty() ? json.Null() : json.String(n.name);
    json.Key("path");
    n.path.empty() ? json.Null() : json.String(n.path);
    json.Unsigned("size", n.size).Unsigned("retained", n.retained).Unsigned("objects", n.objects).EndObject();
  }
  json.EndArray().EndObject().EndObject();
}

}  // namespace pygc::report
