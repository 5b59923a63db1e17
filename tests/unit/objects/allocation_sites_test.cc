#include "core/objects/allocation_sites.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/support/python_heap.h"

namespace pygc::objects {
namespace {

using cpython::Constant;
using cpython::Field;
using cpython::Struct;

constexpr std::uint64_t kBuckets = 16;

// A runtime with a table of traces, for the layouts whose tables hang on _PyRuntime.
struct Tables {
  explicit Tables(const cpython::Layout& layout)
      : heap(layout), runtime(heap.Allocate(layout.Size(Struct::PyRuntimeState))), table(heap.Allocate(layout.Size(Struct::Py_hashtable))), buckets(heap.Allocate(kBuckets * 8)) {
    heap.Put(runtime, Field::PyRuntimeState_tracemalloc_traces, table);
    heap.Put(table, Field::Py_hashtable_nbuckets, kBuckets);
    heap.Put(table, Field::Py_hashtable_buckets, buckets);
  }
  Address Traceback(const std::vector<std::pair<std::string, std::uint32_t>>& frames) {
    const cpython::Layout& layout = heap.layout();
    const std::uint32_t first = layout.Offset(Field::tracemalloc_traceback_frames), size = layout.Size(Struct::tracemalloc_frame);
    const Address made = heap.Allocate(first + frames.size() * size + 8);
    heap.Put(made, Field::tracemalloc_traceback_nframe, frames.size());
    for (std::size_t i = 0; i < frames.size(); ++i) {
      Address name = 0;
      if (layout.Has(Constant::TRACEMALLOC_C_FILE_NAMES)) {
        name = heap.Allocate(frames[i].first.size() + 1);
        heap.fake().WriteString(name, frames[i].first);
      } else {
        name = heap.Str(frames[i].first);
      }
      heap.Put(made + first + i * size, Field::tracemalloc_frame_filename, name);
      heap.Put(made + first + i * size, Field::tracemalloc_frame_lineno, frames[i].second);
    }
    return made;
  }
  Address Add(std::size_t bucket, Address block, std::uint64_t bytes, Address traceback) {
    const Address trace = heap.Allocate(heap.layout().Size(Struct::tracemalloc_trace)), entry = heap.Allocate(heap.layout().Size(Struct::Py_hashtable_entry));
    heap.Put(trace, Field::tracemalloc_trace_size, bytes);
    heap.Put(trace, Field::tracemalloc_trace_traceback, traceback);
    heap.Put(entry, Field::Py_hashtable_entry_key, block);
    heap.Put(entry, Field::Py_hashtable_entry_value, trace);
    heap.fake().Write<std::uint64_t>(entry, last[bucket]);
    heap.fake().Write<std::uint64_t>(buckets + bucket * 8, entry);
    last[bucket] = entry;
    heap.Put(table, Field::Py_hashtable_nentries, ++count);
    return entry;
  }
  AllocationSites Read() {
    cpython::Runtime facts = heap.runtime();
    facts.runtime_address = runtime;
    const target::Process process = heap.Build();
    const ObjectReader reader(process, facts, Limits());
    SilentProgress progress;
    AllocationSites sites = *AllocationSites::Read(reader, progress);
    for (const AllocationSites::Block& block : sites.blocks()) {
      std::string text;
      for (const SiteFrame& f : sites.FramesOf(block.traceback, reader)) text += fmt::format("{}{}:{}", text.empty() ? "" : " < ", f.file, f.line);
      chains.push_back(text);
    }
    return sites;
  }

  test::PythonHeap heap;
  Address runtime, table, buckets;
  std::uint64_t last[kBuckets] = {}, count = 0;
  std::vector<std::string> chains;  // of each block
};

std::vector<const cpython::Layout*> Layouts() {
  std::vector<const cpython::Layout*> out;
  for (const cpython::Layout* layout : test::DefaultLayouts()) {
    if (layout->Has(Field::PyRuntimeState_tracemalloc_traces)) out.push_back(layout);
  }
  return out;
}

}  // namespace

TEST_CASE("blocks of a table of traces, and the lines that allocated them") {
  CHECK(Layouts().size() >= 3);
  for (const cpython::Layout* layout : Layouts()) {
    INFO(layout->name);
    Tables t(*layout);
    const Address app = t.Traceback({{"app.py", 12}, {"main.py", 3}}), other = t.Traceback({{"other.py", 7}});
    t.Add(3, 0x5000, 64, app);
    t.Add(3, 0x4000, 32, other);
    t.Add(9, 0x6000, 16, app);
    const AllocationSites sites = t.Read();
    CHECK(sites.state() == AllocationSites::State::kOn);
    CHECK(sites.complete());
    CHECK(t.chains == std::vector<std::string>{"other.py:7", "app.py:12 < main.py:3", "app.py:12 < main.py:3"});
    CHECK(sites.site_count() == 2);
    // An object behind the collector's head lies in its block; what lies behind the block does not.
    CHECK(sites.SiteText(sites.SiteOf(sites.TracebackOf(0x5010))) == "app.py:12");
    CHECK(sites.TracebackOf(0x5040) == AllocationSites::kNone);
    CHECK(sites.TracebackOf(0x3FFF) == AllocationSites::kNone);
  }
}

TEST_CASE("no table, or one without entries, is tracemalloc that is off") {
  for (const cpython::Layout* layout : Layouts()) {
    Tables t(*layout);
    CHECK(t.Read().state() == AllocationSites::State::kOff);
    t.heap.Put(t.runtime, Field::PyRuntimeState_tracemalloc_traces, 0);
    CHECK(t.Read().state() == AllocationSites::State::kOff);
  }
}

TEST_CASE("a damaged table ends, and says that it is not whole") {
  for (const cpython::Layout* layout : Layouts()) {
    INFO(layout->name);
    {
      Tables t(*layout);
      const Address entry = t.Add(0, 0x5000, 64, t.Traceback({{"app.py", 1}}));
      t.heap.fake().Write<std::uint64_t>(entry, entry);  // its own successor
      const AllocationSites sites = t.Read();
      CHECK_FALSE(sites.complete());
      CHECK(sites.blocks().size() <= 1);
    }
    {
      Tables t(*layout);
      t.Add(0, 0x5000, 64, t.Traceback({{"app.py", 1}}));
      t.heap.Put(t.table, Field::Py_hashtable_nentries, 1ull << 60);
      CHECK_FALSE(t.Read().complete());
    }
    {
      Tables t(*layout);
      t.Add(0, 0x5000, 64, t.Traceback({{"app.py", 1}}));
      t.heap.Put(t.table, Field::Py_hashtable_nbuckets, (1ull << 60) + 1);
      CHECK_FALSE(t.Read().complete());
    }
    {
      Tables t(*layout);
      t.Add(0, 0x5000, 64, 0x10);  // a traceback in no memory
      const AllocationSites sites = t.Read();
      CHECK(sites.blocks().size() == 1);
      CHECK(sites.SiteOf(sites.TracebackOf(0x5000)) == AllocationSites::kNone);
    }
  }
}

}  // namespace pygc::objects
