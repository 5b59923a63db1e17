// Each report writer on a report of any content: text and CSV hold no control byte and no direction mark, JSON is one ASCII document, the page's markup is its
// own, and the exports of a graph whose names are anything hold no raw byte either. Input: which writer, then bytes that fill its report (any_report.h).
#include <rapidjson/memorystream.h>
#include <rapidjson/reader.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "core/report/asyncio_report.h"
#include "core/report/cycles_report.h"
#include "core/report/diff_report.h"
#include "core/report/expect_report.h"
#include "core/report/export.h"
#include "core/report/export_graph.h"
#include "core/report/finalizers_report.h"
#include "core/report/garbage_report.h"
#include "core/report/gc_debug_text.h"
#include "core/report/heap_report.h"
#include "core/report/leaks_report.h"
#include "core/report/object_report.h"
#include "core/report/page_report.h"
#include "core/report/path_report.h"
#include "core/report/refcounts_report.h"
#include "core/report/sql.h"
#include "core/report/stacks_report.h"
#include "core/report/status_report.h"
#include "core/report/triage_report.h"
#include "core/report/value_report.h"
#include "core/report/verify_report.h"
#include "tests/fuzz/any_report.h"
#include "tests/support/sql_heap.h"

namespace pygc::report {

/// One of the values that an enumeration of the reports has.
template <typename Enum>
void PickEnum(test::Bytes& bytes, Enum& value) {
  unsigned last = 1;
  if constexpr (std::is_same_v<Enum, EdgeKind>) last = static_cast<unsigned>(EdgeKind::kOther);
  if constexpr (std::is_same_v<Enum, Reason>) last = static_cast<unsigned>(Reason::kHiddenCycle);
  if constexpr (std::is_same_v<Enum, Certainty>) last = static_cast<unsigned>(Certainty::kUnverifiable);
  if constexpr (std::is_same_v<Enum, CrashFacts::Kind>) last = static_cast<unsigned>(CrashFacts::Kind::kLive);
  if constexpr (std::is_same_v<Enum, SqlValue::Kind>) last = static_cast<unsigned>(SqlValue::Kind::kBlob);
  value = static_cast<Enum>(bytes.Byte() % (last + 1));
}

}  // namespace pygc::report

namespace {

using namespace pygc;
using namespace pygc::report;

void Check(bool holds, int line = __builtin_LINE()) {
  if (holds) return;
  std::fprintf(stderr, "the check in line %d does not hold\n", line);
  std::abort();
}

// What checks is not what is tested: libFuzzer is not told of its branches.
#if defined(__clang__)
#define PYGC_NOT_COUNTED __attribute__((no_sanitize("coverage")))
#else
#define PYGC_NOT_COUNTED
#endif

PYGC_NOT_COUNTED bool IsMark(std::string_view three) {   // U+200B-F, U+2028-E, U+2066-9
  if (three.size() < 3 || three[0] != '\xe2') return false;
  const auto a = static_cast<unsigned char>(three[1]), b = static_cast<unsigned char>(three[2]);
  return (a == 0x80 && ((b >= 0x8b && b <= 0x8f) || (b >= 0xa8 && b <= 0xae))) || (a == 0x81 && b >= 0xa6 && b <= 0xa9);
}

PYGC_NOT_COUNTED void CheckText(std::string_view text, bool ascii = false) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    Check(c >= 0x20 || c == '\n');
    Check(c != 0x7f && (!ascii || c < 0x7f));
    if (c == 0xc2) Check(i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) >= 0xa0);   // C1
    if (c == 0xe2) Check(!IsMark(text.substr(i, 3)));
  }
}

void CheckJson(const std::string& document) {
  CheckText(document, true);
  rapidjson::MemoryStream stream(document.data(), document.size());
  rapidjson::Reader reader;
  rapidjson::BaseReaderHandler<> handler;
  Check(!reader.Parse<rapidjson::kParseIterativeFlag>(stream, handler).IsError());
}

// ---- what pygc itself puts into a report, never the target: made to fit

void MakeFit(StacksReport& r) {
  for (ThreadStackReport& t : r.threads) {
    t.frame_count = t.frames.size() + t.frame_count % 100;
    t.left_out_before = t.frames.empty() ? 0 : t.left_out_before % t.frames.size();
    if (!t.native) continue;
    for (NativeFrame& f : t.native->frames) {
      for (std::size_t& n : f.python) n %= t.frame_count + 1;
    }
  }
  for (std::vector<std::size_t>& deadlock : r.deadlocks) {
    std::erase_if(deadlock, [&](std::size_t i) { return i >= r.threads.size() || !r.threads[i].waits_for; });
  }
}
void MakeFit(CrashFacts& c, const StacksReport& stacks) {
  if (c.python_thread && stacks.threads.empty()) c.python_thread.reset();
  if (c.python_thread) *c.python_thread %= stacks.threads.size();
}
void MakeFit(DominatorsReport& r) {
  for (Dominator& d : r.rows) d.depth %= 64;
}
void MakeFit(TriageReport& r) {
  MakeFit(r.stacks);
  MakeFit(r.crash, r.stacks);
  if (r.stacks.crash) MakeFit(*r.stacks.crash, r.stacks);
  if (r.holders) MakeFit(*r.holders);
}
void MakeFit(PageReport& r) {
  MakeFit(r.overview);
  for (std::size_t i = 0; i < r.memory.size(); ++i) {
    if (i == 0) r.memory[i].parent.reset();
    else if (r.memory[i].parent) *r.memory[i].parent %= static_cast<std::uint32_t>(i);
  }
}
void MakeFit(PathReport& r) {
  for (PathBranch& b : r.tree) b.depth %= 64;
}
void MakeFit(AsyncioReport& r) {
  for (AsyncTaskRow& row : r.rows) row.depth %= 64;
}
void MakeFit(SqlReport& r) {
  for (SqlRow& row : r.rows) row.resize(r.columns.size());
}
template <typename Report>
void MakeFit(Report&) {}

template <typename Report>
Report Made(test::Bytes& bytes) {
  Report report;
  test::Fill(bytes, report);
  MakeFit(report);
  return report;
}

Header MadeHeader(test::Bytes& bytes) {
  Header header;
  test::Fill(bytes, header);
  if (header.interpreters.empty()) header.interpreters.resize(1);
  return header;
}

std::string Enveloped(const Header& header, const auto& report) {
  JsonWriter json;
  BeginEnvelope(json, header);
  WriteJson(header, report, json);
  EndEnvelope(json);
  return json.Take();
}

template <typename Report>
void TextAndJson(test::Bytes& bytes) {
  const auto report = Made<Report>(bytes);
  const Header header = MadeHeader(bytes);
  TextWriter text;
  WriteText(header, report, text);
  CheckText(text.text());
  for (const std::size_t columns : {20u, 80u}) CheckText(FitToWidth(text.text(), columns));
  CheckJson(Enveloped(header, report));
  if constexpr (requires { WriteCsv(report); }) {
    std::string csv = WriteCsv(report);
    std::erase(csv, '\t');   // the one control character besides the line end that CSV keeps
    CheckText(csv);
  }
}

void Status(test::Bytes& bytes) {
  const auto report = Made<StatusReport>(bytes);
  const Header header = MadeHeader(bytes);
  TextWriter text;
  WriteText(header, report, text);
  CheckText(text.text());
  JsonWriter json;
  WriteStatusDocument(header, report, json);
  CheckJson(json.Take());
}

void GcDebug(test::Bytes& bytes) {
  const auto report = Made<std::vector<GcDebugCollection>>(bytes);
  TextWriter text;
  WriteGcDebug(MadeHeader(bytes), report, text);
  CheckText(text.text());
}

PYGC_NOT_COUNTED std::vector<std::string> TagsOf(std::string_view page) {
  std::vector<std::string> tags;
  for (std::size_t at = page.find('<'); at != std::string::npos; at = page.find('<', at + 1)) {
    std::size_t end = at + 1;
    while (end < page.size() && (std::isalnum(static_cast<unsigned char>(page[end])) != 0 || page[end] == '/' || page[end] == '!')) ++end;
    tags.emplace_back(page.substr(at + 1, end - at - 1));
  }
  return tags;
}

// An empty page: the assets, and every tag that stands alone.
const std::string& EmptyPage() {
  static const std::string page = [] {
    Header empty;
    empty.interpreters.resize(1);
    std::string made = WritePage(empty, PageReport{});
    CheckText(made);
    return made;
  }();
  return page;
}

// The lines between those that `page` begins and ends with as the empty page does: its assets are a hundred times its content.
std::string_view OwnLines(std::string_view page) {
  const std::string_view empty = EmptyPage();
  const std::size_t most = std::min(page.size(), empty.size());
  std::size_t begin = 0, end = 0;
  constexpr std::size_t kStep = 256;
  while (begin + kStep <= most && std::memcmp(page.data() + begin, empty.data() + begin, kStep) == 0) begin += kStep;
  while (begin + end + kStep <= most && std::memcmp(page.data() + page.size() - end - kStep, empty.data() + empty.size() - end - kStep, kStep) == 0) end += kStep;
  begin = begin == 0 ? 0 : page.rfind('<', begin - 1);
  if (begin == std::string_view::npos) begin = 0;
  const std::size_t tail = page.find('<', page.size() - end);  // of what is left out at the end, up to its first tag is looked at
  return page.substr(begin, tail == std::string_view::npos ? page.size() - begin : tail - begin);
}

void Page(test::Bytes& bytes) {
  // What the content adds to the tags of the empty page is on this list.
  static const std::vector<std::string> from_assets = [] {
    std::vector<std::string> tags = TagsOf(EmptyPage());
    for (const char* t : {"a", "br", "code", "dd", "details", "div", "dl", "dt", "h1", "h2", "h3", "h4", "li", "nav", "ol", "p", "pre", "section", "span", "strong", "summary", "table",
                          "tbody", "td", "th", "thead", "tr", "ul", "em", "b", "i", "small", "header", "footer", "main"})
      tags.insert(tags.end(), {t, "/" + std::string(t)});
    std::sort(tags.begin(), tags.end());
    tags.erase(std::unique(tags.begin(), tags.end()), tags.end());
    return tags;
  }();
  const auto report = Made<PageReport>(bytes);
  const std::string page = WritePage(MadeHeader(bytes), report);
  const std::string_view own = OwnLines(page);
  CheckText(own);
  for (const std::string& tag : TagsOf(own)) Check(std::binary_search(from_assets.begin(), from_assets.end(), tag));
}

/// A graph of some objects whose types, labels and roots are called anything.
void Exports(test::Bytes& bytes) {
  constexpr heap::NodeId kObjects = 40;
  static test::SqlHeap made(kObjects);
  const unsigned which = bytes.Byte() % 3;
  for (heap::TypeRecord& t : made.heap.types) t.name = bytes.Text();
  const std::string label = bytes.Text(), place = bytes.Text();
  Header header = MadeHeader(bytes);
  ExportInput base{made.heap, made.verdict, header, {"exact", "approximate"}, [&](heap::NodeId n, std::vector<std::string>& out) {
                     out.assign(made.heap.graph.Successors(n).size(), label);
                   }};
  SilentProgress progress;
  std::string out;
  const ByteSink sink = [&out](std::string_view piece) {
    out += piece;
    return true;
  };
  if (which == 0) {
    Check(WriteJsonLines(base, sink, progress).has_value());
    for (std::size_t at = 0; at < out.size();) {
      const std::size_t end = std::min(out.find('\n', at), out.size());
      CheckJson(out.substr(at, end - at));
      at = end + 1;
    }
    return;
  }
  heap::RootSet roots;
  heap::Root root;
  root.object = made.heap.index.AddressOf(0);
  root.kind = heap::RootKind::kModule;
  root.name = place;
  roots.roots.push_back(root);
  analysis::RootPaths paths;
  paths.place.assign(kObjects, analysis::RootPaths::kNotReached);
  paths.place[0] = 0;
  paths.order = {0};
  paths.above = {0};
  paths.levels = {0};
  paths.root_levels = 1;
  paths.starts = {0};
  paths.root = {0};
  const GraphInput input{base, roots, paths, [&](heap::NodeId n) { return made.heap.types[made.heap.type[n]].name; }};
  if (which == 1) {
    Check(WriteDot(input, {0, 1, 2}, {}, sink, progress).has_value());
    CheckText(out);
  } else {
    Check(WriteHeapSnapshot(input, sink, progress).has_value());
    CheckJson(out);
  }
}

using Writer = void (*)(test::Bytes&);
constexpr Writer kWriters[] = {TextAndJson<LeaksReport>,     TextAndJson<CyclesReport>,     TextAndJson<GarbageReport>,   TextAndJson<FinalizersReport>, Status,
                               TextAndJson<RefcountsReport>, TextAndJson<VerifyReport>,     TextAndJson<ValueReport>,     TextAndJson<ShowReport>,       TextAndJson<ReferencesReport>,
                               TextAndJson<PathReport>,      TextAndJson<HeapReport>,       TextAndJson<DominatorsReport>, TextAndJson<AsyncioReport>,   TextAndJson<DiffReport>,
                               TextAndJson<ExpectReport>,    TextAndJson<StacksReport>,     TextAndJson<TriageReport>,    TextAndJson<SqlReport>,        GcDebug};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  test::Bytes bytes(data + 1, size - 1);
  // The page and the graphs are a hundred times as large as the others: one in sixty-four runs each.
  if (data[0] == 255) Page(bytes);
  else if (data[0] >= 252) Exports(bytes);
  else kWriters[data[0] % std::size(kWriters)](bytes);
  return 0;
}
