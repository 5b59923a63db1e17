#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "core/engine/command.h"
#include "core/report/status_report.h"

namespace pygc::engine {
namespace {

const char* MatchName(target::ModuleMatch match) {
  switch (match) {
    case target::ModuleMatch::kVerified:
      return "verified by build-id";
    case target::ModuleMatch::kUnverifiable:
      return "identity cannot be verified";
    case target::ModuleMatch::kMismatch:
      return "the file here is another one";
    case target::ModuleMatch::kMissing:
      return "file not found";
    case target::ModuleMatch::kNotNeeded:
      return "not needed";
  }
  return "unknown";
}

report::TargetDetails DetailsOf(const target::Process& process, const cpython::Runtime& runtime) {
  report::TargetDetails d;
  d.executable = process.executable;
  d.layout = runtime.layout.name;
  d.explanation = runtime.explanation;
  for (const target::Segment& s : process.memory.segments()) d.memory_bytes += s.range.size();
  d.core_bytes_expected = process.core_bytes_expected;
  d.core_bytes_present = process.core_bytes_present;
  d.pause_seconds = process.pause_seconds;
  d.threads = process.threads.size();
  for (const target::Module& m : process.modules) {
    // Those that were used and are what they should be need no line each; the interpreter's own are shown always.
    const bool python = m.path.find("python") != std::string::npos && m.is_elf && m.path.find("lib-dynload") == std::string::npos &&
                        m.path.find("-packages") == std::string::npos;
    const bool bad = m.match == target::ModuleMatch::kMismatch || m.match == target::ModuleMatch::kUnverifiable ||
                     (m.match == target::ModuleMatch::kMissing && m.is_elf);
    if (bad || (python && m.match == target::ModuleMatch::kVerified))
      d.modules.push_back({m.path, MatchName(m.match), bad ? m.match_detail : "build-id " + m.build_id});
  }
  return d;
}

void CountObjects(const heap::HeapSnapshot& heap, report::StatusReport* r) {
  r->types = heap.types.size();
  r->references = heap.graph.edge_count();
  std::vector<std::uint64_t> approximate(heap.types.size(), 0);
  for (heap::NodeId n = 0; n < heap.size(); ++n) {
    if (!heap.IsTracked(n)) continue;
    if (heap.flags[n] & heap::kApproximate) {
      ++r->approximate_objects;
      ++approximate[heap.type[n]];
    } else if (!(heap.flags[n] & heap::kFault)) {
      ++r->exact_objects;
    }
  }
  for (std::size_t i = 0; i < approximate.size(); ++i) {
    if (approximate[i] == 0) continue;
    const heap::TypeRecord& t = heap.types[i];
    r->approximate_types.push_back(
        {t.name, objects::QualityName(static_cast<objects::ReferentQuality>(t.reader_label)), t.approximate_reason, t.module_file, approximate[i]});
  }
  std::stable_sort(r->approximate_types.begin(), r->approximate_types.end(), [](const auto& a, const auto& b) { return a.objects > b.objects; });
  r->unreadable_objects = heap.coverage.unreadable_objects;
  r->dangling_references = heap.coverage.dangling_references;
  r->notes = heap.coverage.notes;
}

}  // namespace

Outcome RunStatus(const CommandInput& in) {
  const Request& request = in.request;
  report::StatusReport r;
  for (const char c : in.reader.runtime().build_text) {  // sys.version has a line end before the compiler
    if (c != '\n' || !r.build_text.ends_with(' ')) r.build_text += c == '\n' ? ' ' : c;
  }
  r.tried_on_real_process = in.reader.runtime().layout_tried_on_real_process;
  r.details = DetailsOf(in.reader.process(), in.reader.runtime());
  CountObjects(in.heap, &r);
  if (request.limit != 0 && r.approximate_types.size() > request.limit) {
    r.more_approximate_types = r.approximate_types.size() - request.limit;
    r.approximate_types.resize(request.limit);
  }
  Outcome outcome;
  if (request.format == Format::kJson) {
    report::JsonWriter json;
    report::WriteStatusDocument(in.header, r, json);
    outcome.document = json.Take() + "\n";
  } else {
    report::TextWriter out(in.colour);
    report::WriteText(in.header, r, out);
    outcome.document = out.Take();
  }
  return outcome;
}

}  // namespace pygc::engine
