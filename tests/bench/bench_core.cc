// Phases of `pygc leaks` on a core or live process, each with its time per tracked object.
//   bench_core CORE|PID [THREADS] [leaves]
// On a shared machine compare ratios within one rotation only.
#include <fmt/format.h>
#include <sys/resource.h>
#include <time.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string>

#include "core/analysis/groups.h"
#include "core/analysis/verdict.h"
#include "core/cpython/runtime.h"
#include "core/objects/object_reader.h"
#include "core/snapshot/excerpt_builder.h"
#include "core/snapshot/snapshot_builder.h"
#include "core/target/open.h"

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_DUMP_STATS_AT(what) static_cast<void>(what)
#endif

namespace {

using Clock = std::chrono::steady_clock;

double peak_megabytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

// Processor time of all threads: what a busy machine distorts least.
double cpu_seconds() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

// Prints when a stage of the progress changes.
class StageClock final : public pygc::ProgressSink {
 public:
  bool Update(std::string_view stage, std::uint64_t, std::uint64_t) override {
    if (stage != stage_) {
      Close();
      stage_ = stage;
      start_ = cpu_seconds();
      clock_ = Clock::now();
    }
    return true;
  }
  void Close() {
    if (!stage_.empty()) lines_ += fmt::format("    {:<44} {:8.1f} ms  cpu {:8.1f} ms\n", stage_, std::chrono::duration<double>(Clock::now() - clock_).count() * 1e3, (cpu_seconds() - start_) * 1e3);
    stage_.clear();
  }
  std::string Take() {
    Close();
    return std::exchange(lines_, {});
  }

 private:
  std::string stage_, lines_;
  double start_ = 0;
  Clock::time_point clock_;
};

template <typename T>
T Require(const char* what, pygc::Result<T> result) {
  if (!result) {
    fmt::print(stderr, "{}: {}\n", what, result.error().message);
    std::exit(1);
  }
  return *std::move(result);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  StageClock stages;
  Clock::time_point start = Clock::now();
  double total = 0, cpu = cpu_seconds(), total_cpu = 0;
  const auto lap = [&](const char* what, std::uint64_t objects) {
    CALLGRIND_DUMP_STATS_AT(what);  // under callgrind: what was executed since the last one (instructions.py)
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    const double cpu_now = cpu_seconds(), cpu_used = cpu_now - cpu;
    cpu = cpu_now;
    total += seconds;
    total_cpu += cpu_used;
    fmt::print("{:<12} wall {:9.1f} ms  cpu {:9.1f} ms {:8.1f} ns/obj   peak {:.0f} MB\n{}", what, seconds * 1e3, cpu_used * 1e3,
               objects > 0 ? cpu_used * 1e9 / static_cast<double>(objects) : 0.0, peak_megabytes(), stages.Take());
    start = Clock::now();
  };
  const std::string argument = argv[1];
  const bool live = argument.find_first_not_of("0123456789") == std::string::npos;
  const pygc::target::Process process =
      Require("open", live ? pygc::target::CaptureLive(std::atoi(argv[1]), {}, stages) : pygc::target::OpenCore(argument, {}, stages));
  lap("open", 0);
  pygc::snapshot::SnapshotOptions options;
  if (argc > 2) options.limits.threads = static_cast<unsigned>(std::atoi(argv[2]));
  options.with_leaves = argc > 3 && std::strcmp(argv[3], "leaves") == 0;
  const pygc::cpython::Runtime runtime = Require("locate", pygc::cpython::LocateRuntime(process, options.limits));
  const pygc::objects::ObjectReader reader(process, runtime, options.limits);
  lap("locate", 0);
  const pygc::heap::HeapSnapshot heap = Require("snapshot", pygc::snapshot::BuildSnapshot(reader, options, stages));
  lap("snapshot", heap.size());
  const pygc::analysis::Verdict verdict = Require("verdict", pygc::analysis::ReplayCollection(heap, stages, options.limits.threads));
  lap("verdict", heap.size());
  const pygc::heap::Excerpt excerpt =
      Require("excerpt", pygc::snapshot::BuildExcerpt(reader, heap, pygc::analysis::LeakedNodes(verdict), options.limits, stages));
  lap("excerpt", heap.size());
  const pygc::analysis::Groups groups = Require("groups", pygc::analysis::GroupStructures(heap, verdict, excerpt, stages, options.limits.threads));
  lap("groups", heap.size());
  fmt::print("total wall {:.1f} ms, cpu {:.1f} ms; {} nodes, {} tracked, {} references, {} types; columns: index {:.1f} MB, graph {:.1f} MB\n",
             total * 1e3, total_cpu * 1e3, heap.size(), heap.coverage.objects, heap.graph.edge_count(), heap.types.size(),
             static_cast<double>(heap.index.memory_bytes()) / 1e6, static_cast<double>(heap.graph.memory_bytes()) / 1e6);
  fmt::print(
      "unreachable {} (upper {}), collectable {}, uncollectable {}, in garbage {}, frozen {}, negative counts {}; excerpt {} objects, {} groups\n",
      verdict.unreachable, verdict.unreachable_upper, verdict.collectable, verdict.uncollectable, verdict.garbage_count, verdict.frozen_count,
      verdict.negative_counts, excerpt.size(), groups.groups.size());
  const pygc::heap::Coverage& c = heap.coverage;
  fmt::print("coverage: approximate {}, unreadable {}, type errors {}, dangling {}, lists complete {}, detached lists {}, in flight {}\n",
             c.approximate_objects, c.unreadable_objects, c.type_errors, c.dangling_references, c.lists_complete, c.detached_lists,
             c.in_flight.size());
  for (const std::string& note : c.notes) fmt::print("note: {}\n", note);
  for (std::size_t i = 0; i < groups.groups.size() && i < 12; ++i) {
    const pygc::analysis::Group& g = groups.groups[i];
    std::string cycle;
    for (const auto& step : g.cycle) {
      if (cycle.size() > 300) break;
      cycle += fmt::format("{} {} -> ", excerpt.types[excerpt.type[step.node]].name, excerpt.label_texts[step.label]);
    }
    fmt::print("#{} {} reason {} {} x {}: {} objects {} B + {} held {} B; {}\n", i + 1, g.definite ? "definite" : "pending",
               static_cast<int>(g.reason), g.count, excerpt.types[g.type].name, g.objects, g.bytes, g.held_objects, g.held_bytes, cycle);
  }
  return 0;
}
