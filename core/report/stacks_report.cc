#include "core/report/stacks_report.h"

#include <fmt/format.h>

#include <map>

#include "core/report/numbers.h"

namespace pygc::report {
namespace {

constexpr std::size_t kLocalColumn = 6, kTypeColumn = 30;

void WriteFrame(TextWriter& out, const StackFrame& f, bool with_locals) {
  const std::string line = f.line < 0 ? "?" : std::to_string(f.line);
  out.To(4).Add(f.qualified_name, Style::kName).Add("  ").Line(fmt::format("{}:{}", f.file, line));
  if (!with_locals) return;
  for (const StackLocal& l : f.locals) {
    out.To(kLocalColumn).Add(l.name).To(kTypeColumn).Add(fmt::format("{} at {:#x}", l.type, l.address), Style::kFaint);
    out.Line(l.value ? "  " + *l.value : "");
  }
}

std::string NativeText(const NativeFrame& f) {
  const std::string module = f.module.substr(f.module.rfind('/') + 1);
  if (f.symbol.empty()) return fmt::format("{:#x}  {}", f.address, module);
  return fmt::format("{}+{:#x}  {}", f.symbol, f.offset, module);
}

// Native functions, and in place of the interpreter's loop the Python frames that it runs.
void WriteMerged(TextWriter& out, const ThreadStackReport& t) {
  std::vector<bool> written(t.frames.size());
  const auto python = [&](std::size_t number) {
    // Numbers count all frames; those in the middle may be left out.
    const std::size_t left_out = static_cast<std::size_t>(t.frame_count) - t.frames.size();
    if (left_out > 0 && number >= t.left_out_before && number < t.left_out_before + left_out) {
      if (number == t.left_out_before) out.To(4).Line(fmt::format("… {} more frames (--limit 0 for all)", Thousands(left_out)), Style::kFaint);
      return;
    }
    const std::size_t at = number < t.left_out_before || left_out == 0 ? number : number - left_out;
    if (at >= t.frames.size()) return;
    WriteFrame(out, t.frames[at], !t.frames[at].locals.empty());
    written[at] = true;
  };
  for (const NativeFrame& f : t.native->frames) {
    for (const std::size_t number : f.python) python(number);
    if (f.python.empty()) out.To(4).Line(NativeText(f), Style::kFaint);
  }
  if (!t.native->complete) out.To(4).Line("the native stack could not be followed further", Style::kFaint);
  if (!t.native->merged) out.To(4).Line("Python frames whose place among them is not known (the interpreter's loop has no symbol here):", Style::kFaint);
  for (std::size_t i = 0; i < t.frames.size(); ++i) {
    if (!written[i]) WriteFrame(out, t.frames[i], !t.frames[i].locals.empty());
  }
}

std::string PlaceText(const StackFrame& f) { return fmt::format("{}() at {}:{}", f.qualified_name, f.file, f.line < 0 ? "?" : std::to_string(f.line)); }

void WriteCrash(TextWriter& out, const StacksReport& r) {
  const CrashFacts& c = *r.crash;
  out.Line().Line(CrashText(c), c.kind == CrashFacts::Kind::kSignal ? Style::kBad : Style::kPlain);
  if (!c.place.empty()) out.To(2).Add("in ", Style::kFaint).Line(c.place);
  if (const std::string fault = FaultText(c); !fault.empty()) out.To(2).Add(c.fault ? "touched " : "cause ", Style::kFaint).Line(fault);
  if (c.kind != CrashFacts::Kind::kSignal) return;
  const ThreadStackReport* const thread = c.python_thread && *c.python_thread < r.threads.size() ? &r.threads[*c.python_thread] : nullptr;
  if (!c.native.empty()) out.To(2).Add("called by ", Style::kFaint).Line(NativeChainText(c), Style::kName);
  if (const StackFrame* const f = thread != nullptr ? CrashFrame(*thread) : nullptr) {
    out.To(2).Add("Python ", Style::kFaint).Line(PlaceText(*f), Style::kName);
    if (const std::string innermost = InnermostText(*thread); !innermost.empty()) out.To(2).Add("innermost ", Style::kFaint).Line(innermost);
  }
  for (const CrashObject& o : c.objects) out.To(2).Add("object ", Style::kFaint).Line(fmt::format("{} at {:#x} ({})", o.type, o.address, o.where));
}

void WriteThread(TextWriter& out, const ThreadStackReport& t, bool several_interpreters) {
  out.Add(t.native_id ? fmt::format("thread {} ({:#x})", *t.native_id, t.thread_id) : fmt::format("thread {:#x}", t.thread_id), Style::kHeading);
  if (!t.name.empty()) out.Add(" ").Add(t.name, Style::kName);
  if (several_interpreters) out.Add(fmt::format(", interpreter {}", t.interpreter));
  if (t.holds_gil && *t.holds_gil) out.Add(", holds the GIL");
  if (t.signal != 0) out.Add(fmt::format(", signal {}", t.signal), Style::kBad);
  out.Line(t.frame_count != 0 ? ", the most recent call first" : t.complete ? ": runs no Python" : ": its frames are in memory that is missing");
  if (t.waits_for) out.To(4).Line(AwaitedText(t), Style::kWaiting);
  if (t.native && !t.native->frames.empty()) {
    WriteMerged(out, t);
    if (!t.complete) out.To(4).Line("the chain of frames could not be followed further", Style::kBad);
    return;
  }
  for (std::size_t i = 0; i < t.frames.size(); ++i) {
    if (i == t.left_out_before && t.frame_count > t.frames.size()) {
      out.To(4).Line(fmt::format("… {} more frames (--limit 0 for all)", Thousands(t.frame_count - t.frames.size())), Style::kFaint);
    }
    WriteFrame(out, t.frames[i], !t.frames[i].locals.empty());
  }
  if (!t.complete && t.frame_count != 0) out.To(4).Line("the chain of frames could not be followed further", Style::kBad);
}

void WriteFrame(JsonWriter& json, const StackFrame& f, bool with_locals) {
  json.Object().String("function", f.function).String("qualified_name", f.qualified_name).String("file", f.file);
  json.Key("line");
  f.line < 0 ? json.Null() : json.Integer(f.line);
  json.Key("frame_object");
  f.frame_object ? json.Hex(*f.frame_object) : json.Null();
  if (with_locals) {
    json.Key("locals").Array();
    for (const StackLocal& l : f.locals) {
      json.Object().String("name", l.name).Hex("address", l.address).String("type", l.type);
      if (l.value) json.String("value", *l.value);
      json.EndObject();
    }
    json.EndArray();
  }
  json.EndObject();
}

void WriteThread(JsonWriter& json, const ThreadStackReport& t, bool with_locals) {
  json.Object().Integer("interpreter", t.interpreter).Unsigned("thread_id", t.thread_id);
  json.Key("native_id");
  t.native_id ? json.Unsigned(*t.native_id) : json.Null();
  json.Hex("tstate", t.tstate).Key("name");
  t.name.empty() ? json.Null() : json.String(t.name);
  json.Key("holds_gil");
  t.holds_gil ? json.Bool(*t.holds_gil) : json.Null();
  json.Key("signal");
  t.signal != 0 ? json.Integer(t.signal) : json.Null();
  json.Key("waits_for");
  t.waits_for ? WriteResource(*t.waits_for, json) : static_cast<void>(json.Null());
  json.Bool("complete", t.complete).Unsigned("frame_count", t.frame_count).Key("frames").Array();
  for (std::size_t i = 0; i < t.frames.size(); ++i) {
    if (i == t.left_out_before && t.frame_count > t.frames.size()) json.Object().Unsigned("left_out", t.frame_count - t.frames.size()).EndObject();
    WriteFrame(json, t.frames[i], with_locals);
  }
  json.EndArray();
  if (t.native) {
    json.Key("native").Object().Bool("complete", t.native->complete).Bool("merged", t.native->merged).Key("frames").Array();
    for (const NativeFrame& f : t.native->frames) {
      json.Object().Hex("address", f.address).Key("module");
      f.module.empty() ? json.Null() : json.String(f.module);
      json.Key("symbol");
      f.symbol.empty() ? json.Null() : json.String(f.symbol);
      json.Unsigned("offset", f.offset).Key("python").Array();
      for (const std::size_t number : f.python) json.Unsigned(number);
      json.EndArray().EndObject();
    }
    json.EndArray().EndObject();
  }
  json.EndObject();
}

}  // namespace

const StackFrame* CrashFrame(const ThreadStackReport& t) noexcept { return t.of_program ? &*t.of_program : t.frames.empty() ? nullptr : &t.frames.front(); }

std::string InnermostText(const ThreadStackReport& t) {
  if (!t.of_program || t.frames.empty()) return {};
  const StackFrame& f = t.frames.front();
  const bool same = f.qualified_name == t.of_program->qualified_name && f.file == t.of_program->file && f.line == t.of_program->line;
  return same ? "" : PlaceText(f);
}

std::string AwaitedText(const ThreadStackReport& t) {
  ResourceRow lock = *t.waits_for;
  const bool alone = lock.waiters.size() == 1;
  std::erase_if(lock.waiters, [&](std::uint64_t id) { return t.native_id ? id == *t.native_id : alone; });  // that it waits itself is said
  return fmt::format("waits for the {} at {:#x}: {}", lock.type, lock.address, ResourceText(lock));
}

std::vector<std::string> DeadlockLines(const StacksReport& r, const std::vector<std::size_t>& deadlock) {
  std::vector<std::string> lines;
  for (const std::size_t i : deadlock) {
    const ThreadStackReport& t = r.threads[i];
    const std::string name = t.native_id ? std::to_string(*t.native_id) : fmt::format("{:#x}", t.thread_id);
    ResourceRow lock = *t.waits_for;
    lock.waiters.clear();
    lines.push_back(fmt::format("thread {} waits for the {} at {:#x}, {}", name, lock.type, lock.address, ResourceText(lock)));
  }
  return lines;
}

LockWaits FindLockWaits(const StacksReport& r) {
  // CPython: Condition.wait(), Event.wait() by it, Thread.join(), Thread._wait_for_tstate_lock(), Lib/threading.py.
  const auto waits_for_an_event = [](const ThreadStackReport& t) {
    if (t.frames.empty()) return false;
    const StackFrame& f = t.frames.front();
    const bool of_threading = f.file == "threading.py" || f.file.ends_with("/threading.py");
    return of_threading && (f.function == "wait" || f.function == "join" || f.function == "_wait_for_tstate_lock" || f.function == "__wait");
  };
  struct Lock {
    const ThreadStackReport* first;
    std::vector<std::string> threads;
  };
  LockWaits out;
  out.everybody = !r.threads.empty();
  std::map<std::pair<bool, Address>, Lock> locks;  // those without a known holder last
  for (const ThreadStackReport& t : r.threads) {
    if (!t.waits_for) {
      out.everybody = false;
      continue;
    }
    if (waits_for_an_event(t)) continue;
    ++out.threads;
    Lock& lock = locks.try_emplace({t.waits_for->holder == 0, t.waits_for->address}, Lock{&t, {}}).first->second;
    lock.threads.push_back(t.native_id ? std::to_string(*t.native_id) : fmt::format("{:#x}", t.thread_id));
  }
  for (const auto& [key, lock] : locks) {
    ResourceRow row = *lock.first->waits_for;
    row.waiters.clear();
    const bool many = lock.threads.size() > 1;
    std::string line = fmt::format("thread{} {} wait{} for the {} at {:#x}: {}", many ? "s" : "", fmt::join(lock.threads, ", "), many ? "" : "s", row.type, row.address, ResourceText(row));
    if (row.locked && row.holder == 0) line += " by acquire(), it does not record by whom";
    if (const StackFrame* const at = CrashFrame(*lock.first); at != nullptr) line += fmt::format("; {} at {}() at {}:{}", many ? "the first stands" : "it stands", at->qualified_name, at->file, at->line);
    out.lines.push_back(std::move(line));
  }
  return out;
}

void WriteText(const Header& h, const StacksReport& r, TextWriter& out) {
  WriteFirstLines(out, h);
  for (const std::vector<std::size_t>& deadlock : r.deadlocks) {
    out.Line().Line(deadlock.size() == 1 ? "Deadlock: a thread waits for a lock that it holds itself" : fmt::format("Deadlock: {} threads wait for each other", deadlock.size()), Style::kBad);
    for (const std::string& line : DeadlockLines(r, deadlock)) out.To(2).Paragraph(line, 4);
  }
  if (r.crash && r.crash->kind != CrashFacts::Kind::kLive) WriteCrash(out, r);
  for (const ThreadStackReport& t : r.threads) {
    out.Line();
    WriteThread(out, t, h.interpreters.size() > 1);
  }
  if (r.threads.empty()) out.Line().Line(h.interpreters.empty() && !h.complete ? "the interpreter's threads are in memory that is missing" : "no thread of the interpreter was found", Style::kHeading);
  WriteWarnings(out, h);
}

void WriteJson(const Header&, const StacksReport& r, JsonWriter& json) {
  json.Object().Key("threads").Array();
  for (const ThreadStackReport& t : r.threads) WriteThread(json, t, r.with_locals);
  json.EndArray().Key("deadlocks").Array();
  for (const std::vector<std::size_t>& deadlock : r.deadlocks) {
    json.Array();
    for (const std::size_t i : deadlock) json.Unsigned(i);
    json.EndArray();
  }
  json.EndArray();
  if (r.crash) {
    const CrashFacts& c = *r.crash;
    json.Key("crash");
    if (c.kind != CrashFacts::Kind::kSignal) {
      json.Null();
    } else {
      json.Object().Integer("signal", c.signal).String("signal_name", SignalName(c.signal)).Key("thread");
      c.thread != 0 ? json.Integer(c.thread) : json.Null();
      json.Key("place");
      c.place.empty() ? json.Null() : json.String(c.place);
      json.Key("python_thread");
      c.python_thread ? json.Unsigned(*c.python_thread) : json.Null();
      WriteCrashAddress(c, json);
      json.EndObject();
    }
  }
  json.EndObject();
}

}  // namespace pygc::report
