#include <algorithm>

#include "core/engine/derived.h"
#include "core/engine/edge_labels.h"
#include "core/engine/export_input.h"
#include "core/engine/facts.h"
#include "core/engine/texts.h"
#include "core/objects/frames.h"
#include "core/report/numbers.h"
#include "core/report/sql.h"

namespace pygc::engine {
namespace {

using report::SqlRow;
using report::SqlValue;

SqlValue NumberOr(std::int64_t value, std::int64_t none) { return value == none ? SqlValue{} : SqlValue::Integer(value); }

std::vector<SqlRow> FrameRows(const CommandInput& in) {
  std::vector<SqlRow> rows;
  const objects::FrameReader frames(in.reader);
  for (const cpython::Interpreter& interpreter : in.reader.runtime().interpreters) {
    for (const cpython::PyThread& thread : interpreter.threads) {
      const objects::ThreadStack stack = frames.StackOf(thread, in.request.limits);
      for (std::size_t depth = 0; depth < stack.frames.size(); ++depth) {
        const objects::PythonFrame& f = stack.frames[depth];
        const heap::NodeId object = f.frame_object == 0 ? heap::kNoNode : in.heap.index.Find(f.frame_object);
        rows.push_back({SqlValue::Integer(interpreter.id), SqlValue::Integer(static_cast<std::int64_t>(thread.thread_id)), SqlValue::Integer(static_cast<std::int64_t>(depth)),
                        SqlValue::TextOrNull(frames.FunctionName(f.code)), SqlValue::TextOrNull(frames.QualifiedName(f.code)),
                        SqlValue::TextOrNull(frames.FileName(f.code)), NumberOr(f.line, -1), NumberOr(object, heap::kNoNode)});
      }
    }
  }
  return rows;
}

std::vector<SqlRow> RootRows(const CommandInput& in, const report::ExportInput& graph) {
  std::vector<SqlRow> rows;
  for (const report::ExportRoot& r : graph.audit.roots) rows.push_back({SqlValue::Integer(r.object), SqlValue::Text(r.kind), SqlValue::Text(r.detail)});
  const std::size_t roots = in.roots != nullptr ? in.roots->roots.size() : 0;
  for (std::size_t i = 0; i < roots; ++i) {
    const heap::Root& root = in.roots->roots[i];
    const heap::NodeId n = in.heap.index.Find(root.object);
    if (n == heap::kNoNode) continue;
    rows.push_back({SqlValue::Integer(n), SqlValue::Text(heap::RootKindName(root.kind)), SqlValue::Text(heap::DescribeRoot(*in.roots, root))});
  }
  if (const Result<std::vector<report::ExportRoot>> held = graph.held_by_count(); held) {
    for (const report::ExportRoot& r : *held) rows.push_back({SqlValue::Integer(r.object), SqlValue::Text(r.kind), SqlValue::Text(r.detail)});
  }
  std::stable_sort(rows.begin(), rows.end(), [](const SqlRow& a, const SqlRow& b) { return a[0].integer < b[0].integer; });
  return rows;
}

std::vector<SqlRow> FindingRows(const report::ExportInput& graph) {
  std::vector<SqlRow> rows;
  for (const report::ExportFinding& f : graph.audit.findings) {
    rows.push_back({SqlValue::Integer(f.object), SqlValue::Text(f.kind), SqlValue::Integer(static_cast<std::int64_t>(f.recorded)),
                    SqlValue::Integer(static_cast<std::int64_t>(f.found)), SqlValue::Text(f.evidence)});
  }
  std::stable_sort(rows.begin(), rows.end(), [](const SqlRow& a, const SqlRow& b) { return a[0].integer < b[0].integer; });
  return rows;
}

}  // namespace

Result<Outcome> RunSql(const CommandInput& in) {
  EdgeLabels labels(in.reader, in.heap, in.request.redact);
  const report::ExportInput graph = ExportInputOf(in, labels);
  Texts texts(in);
  std::vector<heap::NodeId> immediate;
  OfThreads told = OfThreads::kNone;  // by the tables that the query reads
  report::SqlSources sources{graph,
                             [&] { return ReverseGraphOf(in); },
                             [&]() -> Result<report::SqlRetention> {
                               told = std::max(told, OfThreads::kFrames);
                               const Result<const Retention*> made = RetentionOf(in);
                               if (!made) return tl::unexpected(made.error());
                               if (immediate.empty()) immediate = graph::ImmediateDominators((*made)->tree);
                               return report::SqlRetention{(*made)->tree, (*made)->bytes, immediate};
                             },
                             [&] {
                               told = OfThreads::kStacks;
                               return RootRows(in, graph);
                             },
                             [&] { return FindingRows(graph); },
                             [&] {
                               told = OfThreads::kStacks;
                               return FrameRows(in);
                             },
                             [&](heap::NodeId n) { return texts.Is(n, in.heap.AddressOf(n)); },
                             [&](heap::NodeId n, bool with_value, report::SqlString* out) { return texts.Read(in.heap.AddressOf(n), with_value, out); },
                             in.request.show_values && !in.request.redact};
  report::SqlBounds bounds;
  bounds.rows = in.request.limit;
  const Result<report::SqlReport> r = report::RunSqlQuery(sources, in.request.arguments.at(0), bounds, in.progress);
  if (!r) return tl::unexpected(r.error());
  Outcome outcome;
  outcome.interrupted = r->interrupted;
  report::Header header = in.header;
  if (r->interrupted) {
    header.complete = false;
    header.missing.push_back({"rows of the query", fmt::format("it was stopped before its end, with {}", r->rows.empty() ? "no row so far" : report::Counted(r->rows.size(), "row") + " so far"),
                              "Give it more time (--timeout), or less to do (WHERE, LIMIT; a join by an id of the tables is fast)"});
  }
  outcome.partial = AddThreadGaps(told, in.reader.process(), in.reader.runtime(), &header);
  const bool is_csv = in.request.format == Format::kCsv;
  if (is_csv && r->cut) outcome.left_out = fmt::format("the first {} of the query, there are more (--limit 0 for all)", report::Counted(r->rows.size(), "row"));
  outcome.document = is_csv ? report::WriteCsv(*r) : Render(in, header, *r);
  return outcome;
}

}  // namespace pygc::engine
