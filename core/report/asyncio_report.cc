#include "core/report/asyncio_report.h"

#include <fmt/format.h>

#include "core/report/numbers.h"

namespace pygc::report {
namespace {

// A clock that counts seconds from a moment of its own: fractions below a microsecond say nothing.
std::string Moment(double seconds) { return fmt::format("{:.6f} by the loop's clock", seconds); }

void WriteMoment(JsonWriter& json, const char* key, const std::optional<double>& seconds) {
  json.Key(key);
  seconds ? json.Real(*seconds) : json.Null();
}

std::string TaskText(const AsyncTaskRow& row) { return fmt::format("{} at {:#x}", row.name.empty() ? row.type : row.name, row.address); }

void WriteStep(TextWriter& out, const AsyncStep& step, std::size_t column) {
  out.To(column);
  if (step.file.empty() && step.function.empty()) {
    out.Line(fmt::format("{} at {:#x}", step.type, step.address), Style::kFaint);
  } else {
    out.Add(fmt::format("{}()", step.qualified_name), Style::kName).Line(step.line < 0 ? " at " + step.file : fmt::format(" at {}:{}", step.file, step.line));
  }
}

void WriteRow(TextWriter& out, const AsyncTaskRow& row) {
  const std::size_t column = 2 + std::size_t{2} * ShownDepth(row.depth);
  out.To(column).Add(LevelText(row.depth), Style::kFaint).Add(TaskText(row), Style::kHeading);
  if (!row.relation.empty()) out.Add(fmt::format(" ({})", row.relation), Style::kFaint);
  if (row.repeated) {
    out.Line(": stands above", Style::kFaint);
    return;
  }
  out.Add(fmt::format(", {}", row.state));
  if (row.waiter != 0) out.Add(fmt::format(" for {} at {:#x}", row.waiter_type, row.waiter));
  if (row.due) out.Add(fmt::format(", due at {}", Moment(*row.due)));
  if (row.timeout) out.Add(fmt::format(", times out at {}", Moment(*row.timeout)));
  if (row.children > 0) out.Add(fmt::format(", {} below", Counted(row.children, "task")));
  out.Line(row.unreachable ? ", unreachable: it will be destroyed while it is pending" : "", Style::kWaiting);
  if (!row.complete) out.To(column + 2).Line("its coroutine could not be read", Style::kBad);
  for (const AsyncStep& step : row.steps) WriteStep(out, step, column + 2);
}

void WriteRow(JsonWriter& json, const AsyncTaskRow& row) {
  json.Object().Unsigned("depth", row.depth).Key("relation");
  row.relation.empty() ? json.Null() : json.String(row.relation);
  json.Hex("address", row.address).String("type", row.type).Key("name");
  row.name.empty() ? json.Null() : json.String(row.name);
  json.String("state", row.state).Hex("loop", row.loop).Key("waits_for");
  row.waiter == 0 ? json.Null() : json.Object().Hex("address", row.waiter).String("type", row.waiter_type).EndObject();
  WriteMoment(json, "due", row.due);
  WriteMoment(json, "timeout", row.timeout);
  json.Unsigned("children", row.children).Bool("unreachable", row.unreachable).Bool("repeated", row.repeated).Bool("complete", row.complete).Key("steps").Array();
  for (const AsyncStep& step : row.steps) {
    json.Object().Hex("address", step.address).String("type", step.type).Key("function");
    if (step.function.empty()) {
      json.Null().Key("file").Null().Key("line").Null();
    } else {
      json.String(step.qualified_name).Key("file").String(step.file).Key("line");
      step.line < 0 ? json.Null() : json.Integer(step.line);
    }
    json.EndObject();
  }
  json.EndArray().EndObject();
}

}  // namespace

void WriteText(const Header& h, const AsyncioReport& r, TextWriter& out) {
  WriteFirstLines(out, h);
  out.Line();
  if (r.tasks == 0) {
    out.Line("no task of asyncio", Style::kHeading);
  } else {
    out.Line(fmt::format("{}: {} waiting, {} ready to run, {} running, {} done", Counted(r.tasks, "task"), Thousands(r.waiting), Thousands(r.ready), Thousands(r.running),
                         Thousands(r.done)),
             Style::kHeading);
    for (const AsyncLoop& loop : r.loops) {
      out.To(2).Add(fmt::format("{} at {:#x}: {} pending", loop.type, loop.address, Counted(loop.tasks, "task")));
      if (loop.timers > 0) out.Add(fmt::format(", {}", Counted(loop.timers, "timer")));
      out.Line(loop.next_due ? fmt::format(", the first due at {}", Moment(*loop.next_due)) : "");
    }
    if (r.unreadable > 0) out.To(2).Line(fmt::format("{} whose state could not be read", Counted(r.unreadable, "task")), Style::kBad);
  }
  for (const AsyncTaskRow& row : r.rows) {
    if (row.depth == 0) out.Line();
    WriteRow(out, row);
  }
  if (r.left_out > 0) out.Line().To(2).Line(fmt::format("… {} more (--limit 0 for all)", Counted(r.left_out, "task")), Style::kFaint);
  WriteWarnings(out, h);
}

void WriteJson(const Header&, const AsyncioReport& r, JsonWriter& json) {
  json.Object().Unsigned("tasks", r.tasks).Unsigned("done", r.done).Unsigned("waiting", r.waiting).Unsigned("ready", r.ready).Unsigned("running", r.running);
  json.Unsigned("unreadable", r.unreadable).Key("loops").Array();
  for (const AsyncLoop& loop : r.loops) {
    json.Object().Hex("address", loop.address).String("type", loop.type).Unsigned("pending", loop.tasks).Unsigned("timers", loop.timers);
    WriteMoment(json, "next_due", loop.next_due);
    json.EndObject();
  }
  json.EndArray().Unsigned("left_out", r.left_out).Key("tree").Array();
  for (const AsyncTaskRow& row : r.rows) WriteRow(json, row);
  json.EndArray().EndObject();
}

}  // namespace pygc::report
