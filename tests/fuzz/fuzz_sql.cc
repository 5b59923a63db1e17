// Any text as a query: an answer within its bounds, or SQLite's complaint; never a crash, a file, or a byte that is no text in what is written.
#include <sanitizer/asan_interface.h>
#include <sqlite3.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
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

// SQLite's memory: each run opens a database of its own, three thousand allocations, which cost ASan's more than all the rest. One after the other from one piece,
// poisoned from the free (or the end of the piece) on and not used again before the run is over: what pygc reads of freed memory, or beyond its end, is found as before.
// Where the piece is full, malloc.
class RunMemory {
 public:
  static void* Allocate(int wanted) {
    const std::size_t size = (static_cast<std::size_t>(wanted) + 15) / 16 * 16;
    std::byte* at = g_used + kEdge + size + kEdge <= kBytes ? Piece() + g_used + kEdge : nullptr;
    if (at != nullptr) {
      g_used += kEdge + size;
    } else {
      at = static_cast<std::byte*>(std::malloc(size + kEdge));
      if (at == nullptr) return nullptr;
      at += kEdge;
    }
    ++g_live;
    SetSize(at, size);
    ASAN_UNPOISON_MEMORY_REGION(at, static_cast<std::size_t>(wanted));
    return at;
  }
  static void Free(void* p) {
    if (p == nullptr) return;
    --g_live;
    if (IsInPiece(p)) ASAN_POISON_MEMORY_REGION(p, static_cast<std::size_t>(Size(p)));
    else std::free(static_cast<std::byte*>(p) - kEdge);
  }
  static void* Reallocate(void* p, int wanted) {
    void* const grown = Allocate(wanted);
    if (grown == nullptr) return nullptr;
    ASAN_UNPOISON_MEMORY_REGION(p, static_cast<std::size_t>(Size(p)));
    std::memcpy(grown, p, static_cast<std::size_t>(std::min(Size(p), wanted)));
    Free(p);
    return grown;
  }
  [[gnu::no_sanitize_address]] static int Size(void* p) { return static_cast<int>(*reinterpret_cast<volatile std::size_t*>(static_cast<std::byte*>(p) - kEdge)); }
  static int Round(int wanted) { return (wanted + 15) / 16 * 16; }
  static int Begin(void*) { return SQLITE_OK; }
  static void End(void*) {}
  /// Between runs.
  static void Reset() {
    if (g_live != 0 || g_used == 0) return;
    ASAN_POISON_MEMORY_REGION(Piece(), g_used + kEdge);
    g_used = 0;
  }
  static bool Use() {
    static const sqlite3_mem_methods methods = {Allocate, Free, Reallocate, Size, Round, Begin, End, nullptr};
    ASAN_POISON_MEMORY_REGION(Piece(), kBytes);
    return sqlite3_config(SQLITE_CONFIG_SINGLETHREAD) == SQLITE_OK && sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) == SQLITE_OK;
  }

 private:
  static constexpr std::size_t kBytes = 32u << 20, kEdge = 16;  // kEdge: before each, with its size
  static std::byte* Piece() {
    alignas(16) static std::byte piece[kBytes];
    return piece;
  }
  static bool IsInPiece(void* p) { return p >= Piece() && p < Piece() + kBytes; }
  [[gnu::no_sanitize_address]] static void SetSize(void* p, std::size_t size) { *reinterpret_cast<volatile std::size_t*>(static_cast<std::byte*>(p) - kEdge) = size; }
  inline static std::size_t g_used = 0, g_live = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const bool has_memory = RunMemory::Use();
  if (!has_memory) std::abort();
  RunMemory::Reset();
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
