// Any text as a query: an answer within its bounds, or SQLite's complaint; never a crash, a file, or a byte that is no text in what is written.
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "core/report/escape.h"
#include "core/report/json_writer.h"
#include "core/report/text_writer.h"
#include "tests/support/sql_heap.h"

namespace {

using namespace pygc;

// Stops a query that would go on and on.
class FewSteps final : public ProgressSink {
 public:
  bool Update(std::string_view, std::uint64_t, std::uint64_t) override { return ++steps_ < 20; }

 private:
  int steps_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const test::SqlHeap heap;
  static const report::ExportInput input = heap.Input();
  static const report::SqlSources sources = test::SourcesOf(heap, input);
  report::SqlBounds bounds;
  bounds.rows = 100;
  bounds.result_bytes = 1 << 16;
  bounds.sqlite_bytes = 8 << 20;
  bounds.value_bytes = 1 << 16;
  FewSteps progress;
  const auto answer = report::RunSqlQuery(sources, std::string(reinterpret_cast<const char*>(data), size), bounds, progress);
  if (!answer) {
    if (answer.error().code != ErrorCode::kUsage && answer.error().code != ErrorCode::kLimit && answer.error().code != ErrorCode::kNotAnalysable) std::abort();
    return 0;
  }
  if (answer->rows.size() > bounds.rows) std::abort();
  for (const report::SqlRow& row : answer->rows) {
    if (row.size() != answer->columns.size()) std::abort();
  }
  report::TextWriter text;
  report::WriteText(heap.header, *answer, text);
  report::JsonWriter json;
  report::WriteJson(heap.header, *answer, json);
  for (const std::string& document : {std::string(text.text()), report::WriteCsv(*answer)}) {
    for (const char c : document) {
      const auto byte = static_cast<unsigned char>(c);
      if ((byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f) std::abort();
    }
  }
  return 0;
}
