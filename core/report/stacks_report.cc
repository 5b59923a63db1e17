#include "core/report/stacks_report.h"

#include <fmt/format.h>

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

void WriteThread(TextWriter& out, const ThreadStackReport& t, bool several_interpreters) {
  out.Add(t.native_id ? fmt::format("thread {} ({:#x})", *t.native_id, t.thread_id) : fmt::format("thread {:#x}", t.thread_id), Style::kHeading);
  if (several_interpreters) out.Add(fmt::format(", interpreter {}", t.interpreter));
  if (t.holds_gil && *t.holds_gil) out.Add(", holds the GIL");
  if (t.signal != 0) out.Add(fmt::format(", signal {}", t.signal), Style::kBad);
  out.Line(t.frame_count != 0 ? ", the most recent call first" : t.complete ? ": runs no Python" : ": its frames are in memory that is missing");
  if (t.waits_for) out.To(4).Line(fmt::format("waits for the {} at {:#x}: {}", t.waits_for->type, t.waits_for->address, ResourceText(*t.waits_for)), Style::kWaiting);
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
  json.Hex("tstate", t.tstate).Key("holds_gil");
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
  json.EndArray().EndObject();
}

}  // namespace

void WriteText(const Header& h, const StacksReport& r, TextWriter& out) {
  WriteFirstLines(out, h);
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
  json.EndArray().EndObject();
}

}  // namespace pygc::report
