#include "core/report/triage_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/report/escape.h"
#include "core/report/fingerprint.h"
#include "core/report/numbers.h"

namespace pygc::report {
namespace {

constexpr std::size_t kScreenWidth = 80, kText = 11, kAmongMuch = 3, kMany = ~std::size_t{0};

// How much of each part is told. The first that fits on the screen is taken: what goes first is what the report's other commands tell as well.
struct Detail {
  std::size_t holders = kMany, groups = kMany, threads = 3, frames = 5, words = 2, fix = 2, missing = 2, warnings = 2, deadlock = 2;
  bool contents = true, innermost = true, counts = true;  // counts: lines "… 12 more"; else the numbers in the headings stand for them
};
constexpr Detail kDetails[] = {
    {},
    {.groups = 3},
    {.holders = 3, .groups = 3},
    {.holders = 3, .groups = 3, .threads = 2, .frames = 3},
    {.holders = 3, .groups = 2, .threads = 2, .frames = 3, .contents = false},
    {.holders = 2, .groups = 2, .threads = 2, .frames = 2, .words = 1, .contents = false},
    {.holders = 1, .groups = 2, .threads = 1, .frames = 2, .words = 1, .fix = 1, .missing = 1, .warnings = 1, .contents = false},
    {.holders = 1, .groups = 1, .threads = 1, .frames = 2, .words = 1, .fix = 1, .missing = 1, .warnings = 1, .contents = false, .counts = false},
    {.holders = 1, .groups = 1, .threads = 1, .frames = 1, .words = 1, .fix = 0, .missing = 1, .warnings = 1, .deadlock = 1, .contents = false, .innermost = false, .counts = false},
};
constexpr Detail kEverything = {.threads = kMany, .frames = kMany};

// The first `width` columns of safe text; the last one becomes an ellipsis where something is cut off.
std::string Clipped(const std::string& raw, std::size_t width) {
  std::string safe = Printable(raw);
  if (CodePoints(safe) <= width) return safe;
  std::size_t bytes = 0;
  for (std::size_t columns = 0; bytes < safe.size(); ++bytes) {
    if ((static_cast<unsigned char>(safe[bytes]) & 0xC0) != 0x80 && columns++ == width - 1) break;
  }
  return safe.substr(0, bytes) + "…";
}

// The lines of the report: on a screen each ends at its edge, elsewhere (a file, a log of CI) what is too long goes on in the next one and nothing is cut off.
class Screen {
 public:
  Screen(TextWriter& out, bool whole, const Detail& how_much) : detail(how_much), out_(out), whole_(whole) {}
  const Detail& detail;

  // Words in at most `most` lines up to the edge, the first at `column` of the line that was begun.
  void Lines(std::size_t column, const std::string& raw, std::size_t most = 1, Style style = Style::kPlain) {
    std::string rest = Printable(raw);
    std::size_t indent = column;
    for (std::size_t lines = 1; (whole_ || lines < most) && CodePoints(rest) > kScreenWidth - indent; ++lines) {
      const std::string head = Clipped(rest, kScreenWidth - indent + 1);
      std::size_t space = head.rfind(' ');
      if (whole_ && (space == std::string::npos || space == 0)) space = rest.find(' ');  // a word longer than the line stays whole
      if (space == std::string::npos || rest.find_first_not_of(' ') > space) break;
      out_.To(indent).Line(rest.substr(0, rest.find_last_not_of(' ', space) + 1), style);
      rest.erase(0, space + 1);
      if (most == 1) indent = column + 2;
    }
    out_.To(indent).Line(whole_ ? rest : Clipped(rest, kScreenWidth - indent), style);
  }
  void Row(const char* label, const std::string& text, Style style = Style::kPlain, std::size_t most = 2) {
    out_.Add(label, Style::kFaint);
    Lines(kText, text, std::min(most, detail.words), style);
  }
  // "… 12 more threads (pygc stacks)", where there is room for such lines.
  void More(const std::string& what, const char* command) {
    if (detail.counts) Lines(2, fmt::format("… {} more (pygc {})", what, command), 1, Style::kFaint);
  }
  [[nodiscard]] std::string Cut(const std::string& raw, std::size_t width) const { return whole_ ? Printable(raw) : Clipped(raw, width); }
  // "f() at /srv/app.py:12" in `width` columns: of a long path the end.
  [[nodiscard]] std::string PlaceOf(const StackFrame& f, std::size_t width) const {
    const std::string line = fmt::format(":{}", f.line < 0 ? "?" : std::to_string(f.line));
    if (whole_) return fmt::format("{}() at {}{}", f.qualified_name, f.file, line);
    const std::string call = Clipped(f.qualified_name + "() at ", width - std::min(width / 2, std::size_t{30}));
    const std::string file = Printable(f.file);
    const std::size_t all = CodePoints(file), room = width - std::min(width, CodePoints(call) + line.size());
    if (all <= room || room < 2) return call + file + line;
    std::size_t at = 0;
    for (std::size_t skipped = 0; at < file.size(); ++at) {
      if ((static_cast<unsigned char>(file[at]) & 0xC0) != 0x80 && skipped++ == all - room + 1) break;
    }
    return call + "…" + file.substr(at) + line;
  }

 private:
  TextWriter& out_;
  bool whole_;
};

const ThreadStackReport* CrashedThread(const TriageReport& r) {
  return r.crash.python_thread && *r.crash.python_thread < r.stacks.threads.size() ? &r.stacks.threads[*r.crash.python_thread] : nullptr;
}

void WriteMissing(const Header& h, Screen& out) {
  for (std::size_t i = 0; i < h.missing.size(); ++i) {
    if (i == out.detail.missing && h.missing.size() > i + (out.detail.counts ? 1 : 0)) {
      if (out.detail.counts) out.Lines(0, fmt::format("PARTIAL: … {} more (pygc status lists them)", Counted(h.missing.size() - i, "reason")), 1, Style::kBad);
      return;
    }
    const Missing& m = h.missing[i];
    out.Lines(0, fmt::format("PARTIAL: {}{}{}{}{}", m.what, m.reason.empty() ? "" : ": ", m.reason, m.remedy.empty() ? "" : ". ", m.remedy), out.detail.words, Style::kBad);
  }
  if (!h.complete && h.missing.empty()) out.Lines(0, "PARTIAL: not everything could be read", 1, Style::kBad);
}

void WriteCrash(const Header& h, const TriageReport& r, Screen& out) {
  const CrashFacts& c = r.crash;
  const ThreadStackReport* const thread = CrashedThread(r);
  if (c.kind == CrashFacts::Kind::kLive) {
    out.Row("crash", "none: a live process");
    return;
  }
  if (c.kind == CrashFacts::Kind::kStopped) {
    out.Row("crash", "none: the process was running when a debugger or gcore took this core");
  } else {
    const char* const meaning = SignalMeaning(c.signal);
    out.Row("crash", fmt::format("{}{}{}", SignalName(c.signal), c.thread != 0 ? fmt::format(" in thread {}", c.thread) : "", *meaning ? fmt::format(": {}", meaning) : ""), Style::kBad);
  }
  if (const std::string fault = FaultText(c); !fault.empty()) out.Row(c.fault ? "touched" : "cause", fault);
  if (!c.place.empty()) out.Row("in", c.place, Style::kPlain, 1);
  if (!c.native.empty()) out.Row("called by", NativeChainText(c), Style::kName, 2);
  if (const StackFrame* const frame = thread != nullptr ? CrashFrame(*thread) : nullptr) {
    out.Row("Python", out.PlaceOf(*frame, kScreenWidth - kText), Style::kName);
    if (out.detail.innermost && !InnermostText(*thread).empty()) out.Row("innermost", out.PlaceOf(thread->frames.front(), kScreenWidth - kText));
  } else if (c.kind == CrashFacts::Kind::kSignal) {
    out.Row("Python", thread == nullptr    ? h.complete ? "that thread is none of Python's" : "that thread is none of those of Python's that could be read"
                       : thread->complete ? "that thread ran no Python function"
                                          : "the frames of that thread are in memory that is missing");
  }
}

// The thread that matters with some frames, of the others the innermost one.
void WriteStacks(const TriageReport& r, Screen& out) {
  const std::vector<ThreadStackReport>& threads = r.stacks.threads;
  std::vector<std::size_t> order(threads.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  const std::size_t first = r.crash.python_thread.value_or(0);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return (a == first) > (b == first); });
  out.Row("stacks", Counted(threads.size(), "thread"));
  const bool said = !r.stacks.deadlocks.empty() && !r.everything;  // what the threads wait for
  const std::size_t most = out.detail.frames;
  const std::size_t shown = r.everything ? order.size() : std::min(order.size(), said ? std::max<std::size_t>(out.detail.threads - 1, 1) : out.detail.threads);
  for (std::size_t i = 0; i < shown; ++i) {
    const ThreadStackReport& t = threads[order[i]];
    const std::string who = fmt::format("thread {}{}{}", t.native_id ? std::to_string(*t.native_id) : fmt::format("{:#x}", t.thread_id), t.holds_gil.value_or(false) ? ", holds the GIL" : "",
                                        t.complete || t.frames.empty() ? "" : ", chain of frames broken");
    const std::size_t frames = r.everything ? t.frames.size() : std::min(t.frames.size(), i > 0 ? std::size_t{1} : said ? std::max<std::size_t>(most / 2, 1) : most);
    const std::string of = frames != 0 && !out.detail.counts && t.frame_count > frames ? fmt::format(" · {} of {}", frames, Counted(t.frame_count, "frame")) : "";
    out.Lines(2, fmt::format("{}{}{}", who, of, frames != 0 ? "" : t.complete ? ": no Python function" : ": its frames are in memory that is missing"), 1, Style::kHeading);
    if (t.waits_for && !said && out.detail.innermost) out.Lines(4, AwaitedText(t), 1, Style::kWaiting);
    for (std::size_t f = 0; f < frames; ++f) out.Lines(4, out.PlaceOf(t.frames[f], kScreenWidth - 4));
    if (t.frame_count > frames && i == 0 && out.detail.counts) out.Lines(4, fmt::format("… {} more (pygc stacks)", Counted(t.frame_count - frames, "frame")), 1, Style::kFaint);
  }
  if (order.size() > shown) out.More(Counted(order.size() - shown, "thread"), "stacks");
}

void WriteDeadlocks(const TriageReport& r, Screen& out) {
  constexpr std::size_t kMost = 1;
  const std::size_t most_threads = out.detail.deadlock;
  const std::vector<std::vector<std::size_t>>& all = r.stacks.deadlocks;
  for (std::size_t i = 0; i < std::min(all.size(), kMost); ++i) {
    out.Row("deadlock", all[i].size() == 1 ? "a thread waits for a lock that it holds itself" : fmt::format("{} threads wait for each other", all[i].size()), Style::kBad);
    const std::vector<std::string> lines = DeadlockLines(r.stacks, all[i]);
    for (std::size_t k = 0; k < std::min(lines.size(), most_threads); ++k) out.Lines(2, lines[k], out.detail.words);
  }
  if (out.detail.counts && (all.size() > kMost || (!all.empty() && all[0].size() > most_threads))) out.Lines(2, "… more (pygc stacks)", 1, Style::kFaint);
}

// Where no deadlock is proven, because a plain Lock does not record who has it.
void WriteWaits(const TriageReport& r, Screen& out) {
  const LockWaits waits = FindLockWaits(r.stacks);
  if (!r.stacks.deadlocks.empty() || waits.threads == 0) return;
  const bool one = waits.threads == 1;
  out.Row("waits", fmt::format("{} for {}{}", one ? "a thread waits" : Counted(waits.threads, "thread") + " wait", waits.lines.size() == 1 ? "a lock" : Counted(waits.lines.size(), "lock"),
                               waits.everybody ? ", and no thread does anything else" : ""), waits.everybody ? Style::kBad : Style::kWaiting);
  const std::size_t shown = r.everything ? waits.lines.size() : std::min(waits.lines.size(), out.detail.deadlock);
  for (std::size_t i = 0; i < shown; ++i) out.Lines(2, waits.lines[i], out.detail.words + 1);
  if (waits.lines.size() > shown) out.More(Counted(waits.lines.size() - shown, "lock"), "stacks");
}

std::string Joined(const std::vector<std::int64_t>& numbers) {
  std::string out;
  for (const std::int64_t n : numbers) out += fmt::format("{}{}", out.empty() ? "" : "/", n);
  return out;
}

void WriteCollector(const Header& h, Screen& out) {
  const std::size_t kMost = out.detail.words;
  for (std::size_t i = 0; i < std::min(h.interpreters.size(), kMost); ++i) {
    const CollectorFacts& c = h.interpreters[i];
    std::string text = h.interpreters.size() > 1 ? fmt::format("interpreter {}: ", c.id) : "";
    text += CollectorSwitch(c);
    if (c.collecting) text += fmt::format(", in a collection ({})", c.phase);
    if (!c.thresholds.empty()) text += fmt::format(" · thresholds {}, counts {}", Joined(c.thresholds), Joined(c.counts));
    for (const std::string& flag : c.debug_flags) text += fmt::format(" · {}", flag);
    out.Row(i == 0 ? "collector" : "", text, Style::kPlain, h.interpreters.size() > 1 ? 1 : 2);
  }
  if (out.detail.counts && h.interpreters.size() > kMost) out.Row("", fmt::format("… {} more (pygc status)", Counted(h.interpreters.size() - kMost, "interpreter")));
}

void WriteLeaks(const Header& h, const TriageReport& r, Screen& out) {
  out.Row("leaks", VerdictText(h, r.leaks), r.leaks.uncollectable + r.leaks.lost_objects + r.leaks.hidden_objects > 0 ? Style::kBad : Style::kHeading);
  const bool crowded = !r.stacks.deadlocks.empty() || !r.suspects.empty();
  const std::size_t most = r.everything ? kMany : crowded ? std::min(out.detail.groups, kAmongMuch) : out.detail.groups;
  const std::size_t shown = std::min(r.leaks.groups.size(), most);
  for (std::size_t number = 0; number < shown;) {
    const LeakGroup& g = r.leaks.groups[number];
    const std::string name = g.name.empty() ? g.type : fmt::format("{} {}", g.type, g.name);
    const std::string tail = fmt::format("  {}  {}", Bytes(g.bytes_with_held), SeverityName(g.severity));
    const std::string head = fmt::format("#{} {} × ", ++number, Thousands(g.count));
    out.Lines(2, fmt::format("{}{}{}", head, out.Cut(name, kScreenWidth - 2 - CodePoints(head) - tail.size()), tail), 1, g.severity == Severity::kDefinite ? Style::kBad : Style::kPlain);
    std::string words;
    for (const std::string& part : CycleParts(g.cycle)) words += fmt::format("{}{}", words.empty() ? "" : " → ", part);
    if (!words.empty()) out.Lines(5, words);
    const std::string fix = FixText(r.leaks, g);
    if (!fix.empty() && number == 1 && out.detail.fix > 0) out.Lines(5, "fix: " + fix, out.detail.fix, Style::kFaint);
  }
  if (r.leaks.group_count > shown) out.Lines(2, fmt::format("… {} more (pygc leaks)", Counted(r.leaks.group_count - shown, "group")), 1, Style::kFaint);
  if (r.leaks.groups_known > 0 && out.detail.counts) out.Lines(2, fmt::format("{} in the baseline", Counted(r.leaks.groups_known, "known group")), 1, Style::kFaint);
}

// To the nearest whole one, as heap and dominators round theirs. No integer: of sizes that a damaged heap says it may be any number.
double Percent(std::uint64_t part, std::uint64_t whole) { return whole == 0 ? 0 : std::floor(100.0 * static_cast<double>(part) / static_cast<double>(whole) + 0.5); }

// What keeps a large part of the heap, where it piles up, and what of the program lies there.
void WriteSuspect(const Suspect& s, std::uint64_t all, Screen& out) {
  const std::string share = fmt::format("{}, {:.0f} % of what is in use, ", Bytes(s.retained), Percent(s.retained, all));
  const std::string words = s.nested > 0 ? fmt::format("in {} objects of type {}, each of which keeps the next", Thousands(s.nested), s.type)
                            : s.pile != 0 && s.pile_parts == 0 ? fmt::format("one {}", s.pile_type)
                            : s.pile != 0  ? fmt::format("in a {} with {}", s.pile_type, Counted(s.pile_parts, "object"))
                            : s.by_place ? fmt::format("from one place, in {}", Counted(s.objects, "part"))
                                         : fmt::format("in {} of type {}", Counted(s.objects, "object"), s.type);
  out.Row("suspect", share + words, Style::kBad, 1);
  const std::string& place = s.expression.empty() ? s.path : s.expression;
  if (!place.empty()) out.Lines(kText, place, out.detail.words, Style::kName);
  if (!s.contents.empty() && out.detail.contents) out.Lines(kText, "with " + ContentsText(s), 1);
}

void WriteHolders(const TriageReport& r, Screen& out) {
  if (!r.holders) {
    out.Row("holders", "not known: " + r.no_holders);
    return;
  }
  const DominatorsReport& d = *r.holders;
  constexpr std::size_t kSuspects = 1;
  for (std::size_t i = 0; i < (r.everything ? r.suspects.size() : std::min(r.suspects.size(), kSuspects)); ++i) WriteSuspect(r.suspects[i], d.bytes, out);
  out.Row("holders", fmt::format("{} in use, {}", Counted(d.objects, "object"), Bytes(d.bytes)));
  std::size_t shown = 0;
  for (const Dominator& row : d.rows) {
    if (row.depth != 0) continue;
    if (!r.everything && shown++ >= (r.suspects.empty() ? out.detail.holders : std::min(out.detail.holders, kAmongMuch))) break;
    const std::string name = fmt::format("{}{}{}", row.type, row.name.empty() ? "" : " ", row.name);
    const std::string what = row.path.empty() ? fmt::format("{} at {:#x}", name, row.address) : fmt::format("{}: {}", name, row.path);
    out.Lines(2, fmt::format("{:>8} {:>3.0f} %  {}", Bytes(row.retained), Percent(row.retained, d.bytes), what));
  }
}

void WriteFrameJson(JsonWriter& json, const StackFrame& f) {
  json.Object().String("function", f.function).String("qualified_name", f.qualified_name).String("file", f.file);
  json.Integer("line", f.line < 0 ? std::optional<std::int64_t>() : f.line).EndObject();
}

void WriteCrashJson(const TriageReport& r, JsonWriter& json) {
  const CrashFacts& c = r.crash;
  const ThreadStackReport* const thread = CrashedThread(r);
  json.Key("crash").Object().String("kind", c.kind == CrashFacts::Kind::kSignal ? "signal" : "stopped");
  json.Key("signal");
  c.kind == CrashFacts::Kind::kSignal ? json.Integer(c.signal) : json.Null();
  json.Key("signal_name");
  c.kind == CrashFacts::Kind::kSignal ? json.String(SignalName(c.signal)) : json.Null();
  json.Key("thread");
  c.thread != 0 ? json.Integer(c.thread) : json.Null();
  json.Key("place");
  c.place.empty() ? json.Null() : json.String(c.place);
  json.Key("python");
  if (thread != nullptr && !thread->frames.empty()) {
    WriteFrameJson(json, thread->frames.front());
  } else {
    json.Null();
  }
  json.Key("program_frame");
  if (const StackFrame* const frame = thread != nullptr ? CrashFrame(*thread) : nullptr) {
    WriteFrameJson(json, *frame);
  } else {
    json.Null();
  }
  WriteCrashAddress(c, json);
  const std::string fingerprint = FingerprintOf(r);
  json.Key("fingerprint");
  fingerprint.empty() ? json.Null() : json.String(fingerprint);
  json.EndObject();
}

void WriteHoldersJson(const TriageReport& r, JsonWriter& json) {
  json.Key("holders");
  if (!r.holders) {
    json.Null();
    return;
  }
  json.Object().Unsigned("objects", r.holders->objects).Unsigned("bytes", r.holders->bytes).Key("largest").Array();
  for (const Dominator& d : r.holders->rows) {
    if (d.depth != 0) continue;
    json.Object().Hex("address", d.address).String("type", d.type).Key("name");
    d.name.empty() ? json.Null() : json.String(d.name);
    json.Key("path");
    d.path.empty() ? json.Null() : json.String(d.path);
    json.Unsigned("size", d.size).Unsigned("retained", d.retained).Unsigned("objects", d.objects).EndObject();
  }
  json.EndArray();
  WriteSuspects(r.suspects, json);
  json.EndObject();
}

}  // namespace

std::string FingerprintOf(const TriageReport& r) {
  const ThreadStackReport* const thread = CrashedThread(r);
  static const std::vector<StackFrame> kNone;
  return CrashFingerprint(r.crash, thread != nullptr ? thread->frames : kNone);
}

namespace {

void WriteScreen(const Header& h, const TriageReport& r, Screen& out) {
  WriteMissing(h, out);
  const std::string build = fmt::format("{}{}", h.target.build == "default" ? "" : " " + h.target.build, h.target.debug ? " debug" : "");
  out.Lines(0,
          fmt::format("CPython {}{} · {} · {} · {}", h.target.python, build, TargetName(h.target), h.objects_read ? Counted(h.tracked, "object") + " tracked" : "objects not read",
                      h.complete ? CertaintyName(h.certainty) : fmt::format("partial, {}", CertaintyName(h.certainty))),
          2, Style::kHeading);
  WriteCrash(h, r, out);
  WriteDeadlocks(r, out);
  WriteWaits(r, out);
  WriteStacks(r, out);
  WriteCollector(h, out);
  WriteLeaks(h, r, out);
  WriteHolders(r, out);
  for (std::size_t i = 0; i < std::min(h.warnings.size(), out.detail.warnings); ++i) out.Lines(0, "warning: " + h.warnings[i], 1, Style::kWaiting);
}

}  // namespace

void WriteText(const Header& h, const TriageReport& r, TextWriter& writer) {
  const bool fits_anywhere = r.everything || r.whole_lines;
  for (const Detail& detail : kDetails) {
    TextWriter screen = writer;
    Screen out(screen, r.whole_lines, r.everything ? kEverything : detail);
    WriteScreen(h, r, out);
    const auto lines = static_cast<std::size_t>(std::count(screen.text().begin(), screen.text().end(), '\n'));
    if (!fits_anywhere && lines > r.rows && &detail != std::end(kDetails) - 1) continue;
    writer = std::move(screen);
    return;
  }
}

void WriteJson(const Header& h, const TriageReport& r, JsonWriter& json) {
  json.Object();
  WriteCrashJson(r, json);
  json.Key("stacks");
  WriteJson(h, r.stacks, json);
  json.Key("leaks");
  WriteJson(h, r.leaks, json);
  WriteHoldersJson(r, json);
  json.EndObject();
}

}  // namespace pygc::report
