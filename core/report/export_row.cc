#include "core/report/export_row.h"

namespace pygc::report {

ExportRow RowOf(const ExportInput& input, heap::NodeId n) {
  const heap::HeapSnapshot& h = input.heap;
  ExportRow row;
  const std::uint8_t flags = h.flags[n];
  row.type = h.type[n];
  const heap::TypeRecord& type = h.types[row.type];
  if (h.interpreter.empty()) {
    row.interpreter = h.interpreters.empty() ? 0 : h.interpreters.front().id;
  } else if (h.interpreter[n] < h.interpreters.size()) {
    row.interpreter = h.interpreters[h.interpreter[n]].id;
  }
  if (n < h.size_bytes.size() && h.size_bytes[n] != ~0ull) row.size = h.size_bytes[n];
  row.immortal = h.refcount[n] == heap::kImmortal;
  if (!row.immortal && h.refcount[n] != heap::kSaturated) row.refcount = h.refcount[n];
  row.tracked = (flags & heap::kTracked) != 0;
  const unsigned generation = flags & heap::kGenerationMask;
  if (row.tracked && generation <= heap::kPermanent) row.generation = generation;
  row.finalized = (flags & heap::kFinalized) != 0;
  row.exact = (flags & (heap::kApproximate | heap::kFault)) == 0;
  const bool lost = input.verdict.state[n] == analysis::State::kReachable && n < input.audit.lost.node_count() && input.audit.lost.Contains(n);
  row.state = lost ? "lost" : input.verdict.StateText(n);
  row.finalizer = FinalizerKind(type, flags);
  const std::uint8_t quality = (flags & heap::kFault) != 0 ? static_cast<std::uint8_t>(input.quality_names.size() - 1) : h.QualityOf(n);
  row.label = quality < input.quality_names.size() ? std::string_view(input.quality_names[quality]) : "unknown";
  return row;
}

std::vector<std::pair<std::string, std::string>> ExportMeta(const ExportInput& input) {
  const Header& h = input.header;
  std::uint64_t beside = 0;
  for (const heap::OwnedBeside& o : input.heap.owns_beside) beside += o.references;
  return {{"schema_version", "1"},
          {"pygc_version", PYGC_VERSION},
          {"python_version", h.target.python},
          {"build", h.target.build},
          {"debug", h.target.debug ? "1" : "0"},
          {"complete", h.complete ? "1" : "0"},
          {"certainty", CertaintyName(h.certainty)},
          {"roots_missing", input.roots_missing},
          {"audited", input.audit.audited ? "1" : "0"},
          {"target_kind", h.target.kind},
          {"target_path", h.target.path},
          {"target_pid", h.target.pid == 0 ? "" : std::to_string(h.target.pid)},
          {"objects", std::to_string(input.heap.size() + input.audit.lost_objects.size())},
          {"tracked", std::to_string(h.tracked)},
          {"references", std::to_string(input.heap.graph.edge_count() - beside)},
          {"owned_references", std::to_string(beside)},
          {"unreachable", std::to_string(input.verdict.unreachable)},
          {"uncollectable", std::to_string(input.verdict.uncollectable)}};
}

}  // namespace pygc::report
