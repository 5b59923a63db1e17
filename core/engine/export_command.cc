#include "core/engine/command.h"
#include "core/engine/edge_labels.h"
#include "core/report/export.h"

namespace pygc::engine {

Result<void> RunExport(const CommandInput& in, const std::function<bool(std::string_view)>& sink) {
  EdgeLabels labels(in.reader, in.heap);
  report::ExportInput input{in.heap, in.verdict, in.header, {}, [&](heap::NodeId n, std::vector<std::string>& out) { labels.Of(n, out); }};
  for (unsigned q = 0; q <= static_cast<unsigned>(objects::ReferentQuality::kUnknown); ++q) {
    input.quality_names.emplace_back(objects::QualityName(static_cast<objects::ReferentQuality>(q)));
  }
  if (in.request.output_file.empty()) return report::WriteJsonLines(input, sink, in.progress);
  const bool database = in.request.format == Format::kSqlite;
  Result<report::OutputFile> file = report::OutputFile::Create(in.request.output_file, !database);
  if (!file) return tl::unexpected(file.error());
  if (database) {
    if (Result<void> r = report::WriteSqlite(input, *file, in.progress); !r) return r;
  } else {
    Result<void> written;
    const auto to_file = [&](std::string_view bytes) {
      written = file->Write(bytes);
      return written.has_value();
    };
    if (Result<void> r = report::WriteJsonLines(input, to_file, in.progress); !r) return r;
    if (!written) return written;
  }
  return file->Commit();
}

}  // namespace pygc::engine
