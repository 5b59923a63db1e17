#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "core/engine/command.h"
#include "core/report/status_report.h"

namespace pygc::engine {
namespace {

const char* MatchName(const target::Module& m) {
  switch (m.match) {
    case target::ModuleMatch::kVerified:
      return m.build_id.empty() ? "verified" : "verified by build-id";  // without one in memory match_detail says by what
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
  d.read_seconds = process.read_seconds;
  d.threads = process.threads.size();
  for (const target::Module& m : process.modules) {
    // Those that were used and are what they should be need no line each; the interpreter's own are shown always.
    const bool python = m.path.find("python") != std::string::npos && m.is_elf && m.path.find("lib-dynload") == std::string::npos &&
                        m.path.find("-packages") == std::string::npos;
    const bool bad = m.match == target::ModuleMatch::kMismatch || m.match == target::ModuleMatch::kUnverifiable ||
                     (m.match == target::ModuleMatch::kMissing && m.is_elf);
    if (bad || (python && m.match == target::ModuleMatch::kVerified))
      d.modules.push_back({m.path, MatchName(m), bad || m.build_id.empty() ? m.match_detail : "build-id " + m.build_id});
  }
  return d;
}

constexpr std::size_t kLabels = static_cast<std::size_t>(objects::ReferentQuality::kUnknown) + 1;

void CountObjects(const heap::HeapSnapshot& heap, report::StatusReport* r) {
  r->types = heap.types.size();
  r->references = heap.graph.edge_count();
  // Tracked objects that are not plainly exact, by type and label.
  std::array<std::uint64_t, kLabels> by_label{};
  std::map<std::pair<std::uint32_t, std::uint8_t>, std::uint64_t> not_exact;
  for (const auto& [n, quality] : heap.quality) {
    if (!heap.IsTracked(n) || quality >= kLabels) continue;
    ++by_label[quality];
    if (!objects::IsExact(static_cast<objects::ReferentQuality>(quality))) ++not_exact[{heap.type[n], quality}];
  }
  std::uint64_t tracked = 0;
  for (heap::NodeId n = 0; n < heap.size(); ++n) tracked += heap.IsTracked(n);
  by_label[0] = tracked;
  for (std::size_t q = 1; q < kLabels; ++q) by_label[0] -= by_label[q];
  for (std::size_t q = 0; q < kLabels; ++q) {
    const auto quality = static_cast<objects::ReferentQuality>(q);
    r->labels.emplace_back(objects::QualityName(quality), by_label[q]);
    (objects::IsExact(quality) ? r->exact_objects : r->approximate_objects) += quality == objects::ReferentQuality::kUnknown ? 0 : by_label[q];
  }
  for (const auto& [key, objects] : not_exact) {
    const heap::TypeRecord& t = heap.types[key.first];
    r->approximate_types.push_back(
        {t.name, objects::QualityName(static_cast<objects::ReferentQuality>(key.second)), t.approximate_code, t.approximate_reason, t.module_file, objects});
  }
  std::stable_sort(r->approximate_types.begin(), r->approximate_types.end(), [](const auto& a, const auto& b) { return a.objects > b.objects; });
  r->unreadable_objects = heap.coverage.unreadable_objects;
  r->dangling_references = heap.coverage.dangling_references;
  r->notes = heap.coverage.notes;
  r->notes.insert(r->notes.end(), heap.coverage.in_flight.begin(), heap.coverage.in_flight.end());
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
    report::TextWriter out(in.colour, in.columns);
    report::WriteText(in.header, r, out);
    outcome.document = out.Take();
  }
  return outcome;
}

}  // namespace pygc::engine
