#include <fmt/format.h>

#include <iterator>
#include <span>
#include <string>
#include <vector>

#include "core/report/export_row.h"
#include "core/report/json_writer.h"

namespace pygc::report {
namespace {

constexpr std::size_t kWriteBytes = 1u << 16;

template <typename T>
void AddOptional(fmt::memory_buffer& out, const char* key, const std::optional<T>& value) {
  if (value) {
    fmt::format_to(std::back_inserter(out), ",\"{}\":{}", key, *value);
  } else {
    fmt::format_to(std::back_inserter(out), ",\"{}\":null", key);
  }
}

std::string TextOrNull(std::string_view word) { return word.empty() ? "null" : fmt::format("\"{}\"", word); }

// The labels of references, in their order; null where one is not known. Nothing where there are none.
void AddLabels(fmt::memory_buffer& out, const char* key, std::span<const std::string> labels) {
  for (std::size_t i = 0; i < labels.size(); ++i) {
    i == 0 ? fmt::format_to(std::back_inserter(out), ",\"{}\":[", key) : fmt::format_to(std::back_inserter(out), ",");
    fmt::format_to(std::back_inserter(out), "{}", labels[i].empty() ? "null" : JsonString(labels[i]));
  }
  if (!labels.empty()) out.push_back(']');
}

// The envelope on one line: the document of the other commands without its line ends and indentation, which stand only between tokens (all strings
// are escaped, so a line end is never inside one).
std::string EnvelopeLine(const ExportInput& input) {
  JsonWriter json;
  BeginEnvelope(json, input.header);
  json.Object().Key("meta").Object();
  for (const auto& [key, value] : ExportMeta(input)) json.String(key, value);
  json.EndObject().EndObject();
  EndEnvelope(json);
  std::string line;
  bool at_start = false;
  for (const char c : json.Take()) {
    if (c == '\n') {
      at_start = true;
    } else if (!at_start || c != ' ') {
      at_start = false;
      line += c;
    }
  }
  return line + "\n";
}

// What the audit adds, behind the objects, and `held` among the roots. False where nobody reads any more.
template <typename Flush>
bool WriteAudit(const ExportInput& input, const std::vector<ExportRoot>& held, fmt::memory_buffer& out, Flush&& flush) {
  std::uint64_t id = input.heap.size();
  for (const ExportLostObject& o : input.audit.lost_objects) {
    fmt::format_to(std::back_inserter(out), "{{\"record\":\"object\",\"id\":{},\"address\":\"{:#x}\"", id++, o.address);
    AddOptional(out, "type", o.type);
    AddOptional(out, "size", o.size);
    fmt::format_to(std::back_inserter(out), ",\"interpreter\":null,\"refcount\":{},\"generation\":null,\"immortal\":false,\"tracked\":false,\"state\":\"lost\","
                   "\"finalizer\":null,\"finalized\":false,\"exact\":true,\"label\":\"exact\",\"refs\":[]}}\n", o.refcount);
    if (!flush(kWriteBytes)) return false;
  }
  for (std::size_t i = 0; input.roots != nullptr && i < input.roots->roots.size(); ++i) {
    const heap::Root& root = input.roots->roots[i];
    const heap::NodeId n = input.heap.index.Find(root.object);
    if (n == heap::kNoNode) continue;
    fmt::format_to(std::back_inserter(out), "{{\"record\":\"root\",\"object\":{},\"kind\":\"{}\",\"detail\":{}}}\n", n, heap::RootKindName(root.kind),
                   JsonString(heap::DescribeRoot(*input.roots, root)));
    if (!flush(kWriteBytes)) return false;
  }
  for (const std::vector<ExportRoot>* const roots : {&held, &input.audit.roots}) {
    for (const ExportRoot& r : *roots) {
      fmt::format_to(std::back_inserter(out), "{{\"record\":\"root\",\"object\":{},\"kind\":\"{}\",\"detail\":{}}}\n", r.object, r.kind, JsonString(r.detail));
      if (!flush(kWriteBytes)) return false;
    }
  }
  for (const ExportFinding& f : input.audit.findings) {
    fmt::format_to(std::back_inserter(out), "{{\"record\":\"refcount_finding\",\"object\":{},\"kind\":\"{}\",\"recorded\":{},\"found\":{},\"evidence\":{}}}\n",
                   f.object, f.kind, f.recorded, f.found, JsonString(f.evidence));
    if (!flush(kWriteBytes)) return false;
  }
  return true;
}

// What tracemalloc saw, last. False where nobody reads any more.
template <typename Flush>
bool WriteAllocations(const ExportInput& input, fmt::memory_buffer& out, Flush&& flush) {
  if (!input.allocations) return true;
  const ExportAllocations all = input.allocations();
  const auto id = [](std::uint32_t value) { return value == ExportBlock::kNone ? std::nullopt : std::optional(value); };
  for (std::size_t i = 0; i < all.tracebacks.size(); ++i) {
    fmt::format_to(std::back_inserter(out), "{{\"record\":\"traceback\",\"id\":{},\"frames\":[", i);
    const char* between = "";
    for (const ExportFrame& f : all.tracebacks[i]) {
      fmt::format_to(std::back_inserter(out), "{}{{\"file\":{},\"line\":{}}}", between, JsonString(all.files[f.file]), f.line);
      between = ",";
    }
    fmt::format_to(std::back_inserter(out), "]}}\n");
    if (!flush(kWriteBytes)) return false;
  }
  for (const ExportBlock& b : all.blocks) {
    fmt::format_to(std::back_inserter(out), "{{\"record\":\"allocation\"");
    AddOptional(out, "object", id(b.object));
    fmt::format_to(std::back_inserter(out), ",\"address\":\"{:#x}\",\"bytes\":{},\"domain\":{}", b.address, b.bytes, b.domain);
    AddOptional(out, "traceback", id(b.traceback));
    fmt::format_to(std::back_inserter(out), "}}\n");
    if (!flush(kWriteBytes)) return false;
  }
  return true;
}

}  // namespace

Result<void> WriteJsonLines(const ExportInput& input, const ByteSink& sink, ProgressSink& progress) {
  const heap::HeapSnapshot& h = input.heap;
  if (!sink(EnvelopeLine(input))) return {};
  fmt::memory_buffer out;
  const auto flush = [&](std::size_t at_least) {
    if (out.size() < at_least) return true;
    const bool go_on = sink({out.data(), out.size()});
    out.clear();
    return go_on;
  };
  bool reading = true, cancelled = false;
  ForEachExportType(input, [&](std::uint32_t id, Address type, const std::string& name) {
    if (!reading) return;
    fmt::format_to(std::back_inserter(out), "{{\"record\":\"type\",\"id\":{},\"address\":\"{:#x}\",\"name\":{}}}\n", id, type, JsonString(name));
    reading = flush(kWriteBytes);
  });
  if (!reading) return {};
  std::vector<std::string> labels;
  h.index.ForEach(0, h.size(), [&](heap::NodeId n, Address address) {
    if (!reading || cancelled) return;
    if (n % kExportProgressStep == 0 && !progress.Update("writing objects", n, h.size())) {
      cancelled = true;
      return;
    }
    const ExportRow row = RowOf(input, n);
    fmt::format_to(std::back_inserter(out), "{{\"record\":\"object\",\"id\":{},\"address\":\"{:#x}\",\"type\":{}", n, address, row.type);
    AddOptional(out, "interpreter", row.interpreter);
    AddOptional(out, "size", row.size);
    AddOptional(out, "refcount", row.refcount);
    AddOptional(out, "generation", row.generation);
    fmt::format_to(std::back_inserter(out),
                   ",\"immortal\":{},\"tracked\":{},\"state\":{},\"finalizer\":{},\"finalized\":{},\"exact\":{},\"label\":\"{}\",\"refs\":[",
                   row.immortal, row.tracked, TextOrNull(row.state), TextOrNull(row.finalizer), row.finalized,
                   row.exact, row.label);
    const auto successors = h.graph.Successors(n);
    const std::size_t first_beside = successors.size() - h.OwnsBeside(n);
    for (std::size_t i = 0; i < successors.size() && reading; ++i) {
      fmt::format_to(std::back_inserter(out), "{}{}", i == first_beside ? "],\"owned_refs\":[" : i == 0 ? "" : ",", successors[i]);
      reading = flush(kWriteBytes);
    }
    fmt::format_to(std::back_inserter(out), "]");
    if (input.edge_labels && !successors.empty()) {
      input.edge_labels(n, labels);
      labels.resize(successors.size());
      AddLabels(out, "ref_labels", std::span(labels).first(first_beside));
      AddLabels(out, "owned_ref_labels", std::span(labels).subspan(first_beside));
    }
    fmt::format_to(std::back_inserter(out), "}}\n");
    reading = reading && flush(kWriteBytes);
  });
  if (cancelled) return Fail(ErrorCode::kCancelled, "interrupted while the objects were written");
  std::vector<ExportRoot> held;
  if (reading && input.held_by_count) {
    Result<std::vector<ExportRoot>> found = input.held_by_count();
    if (!found) return tl::unexpected(found.error());
    held = *std::move(found);
  }
  if (reading && WriteAudit(input, held, out, flush) && WriteAllocations(input, out, flush)) flush(1);
  return {};
}

}  // namespace pygc::report
