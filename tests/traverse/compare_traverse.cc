// Runs the tp_traverse of every object of a list in the machine and compares with the truth, order included. Not a host: no report, no verdict.
//
//   compare_traverse CORE|-p PID TRUTH [--show N] [--repeat N] [--trust-anon-code]
//
// TRUTH: lines `address referent referent ...` in decimal, as gc.get_referents() of the process itself said (truth.py writes it).
// Prints `key value` lines; `wrong` counts answers that call themselves exact and are not: it has to be 0. Exit 1 where it is not.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "core/cpython/runtime.h"
#include "core/machine/traverse.h"
#include "core/objects/machine_reader.h"
#include "core/objects/object_reader.h"
#include "core/target/open.h"

namespace {

using namespace pygc;

struct Truth {
  Address object = 0;
  std::vector<Address> referents;
};

std::vector<Truth> ReadTruth(const std::string& path) {
  std::vector<Truth> all;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    Truth t;
    words >> t.object;
    for (Address a = 0; words >> a;) t.referents.push_back(a);
    all.push_back(std::move(t));
  }
  return all;
}

// Processor time of this thread: other work on the machine does not count.
double Seconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

struct Task {
  const Truth* truth;
  const objects::TypeFacts* type;
};

}  // namespace

int main(int argc, char** argv) {
  std::string core, truth_path;
  int pid = 0;
  std::size_t show = 10, repeat = 1;
  objects::MachineReaderOptions reader_options;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "-p") == 0 && i + 1 < argc) pid = std::atoi(argv[++i]);
    else if (std::strcmp(argv[i], "--show") == 0 && i + 1 < argc) show = static_cast<std::size_t>(std::atoi(argv[++i]));
    else if (std::strcmp(argv[i], "--repeat") == 0 && i + 1 < argc) repeat = static_cast<std::size_t>(std::max(1, std::atoi(argv[++i])));
    else if (std::strcmp(argv[i], "--trust-anon-code") == 0) reader_options.trust_anonymous_code = true;
    else if (core.empty() && pid == 0) core = argv[i];
    else truth_path = argv[i];
  }
  SilentProgress progress;
  const target::OpenOptions open_options;
  const Result<target::Process> process = pid != 0 ? target::CaptureLive(pid, open_options, progress) : target::OpenCore(core, open_options, progress);
  if (!process) return std::fprintf(stderr, "%s\n", process.error().message.c_str()), 2;
  const Result<cpython::Runtime> runtime = cpython::LocateRuntime(*process, open_options.limits);
  if (!runtime) return std::fprintf(stderr, "%s\n", runtime.error().message.c_str()), 2;
  objects::MachineReader machine(*process, *runtime, reader_options);
  const objects::ObjectReader reader(*process, *runtime, open_options.limits, &machine);
  const std::uint32_t ob_type = runtime->layout.Offset(cpython::Field::PyObject_ob_type);

  const std::vector<Truth> truths = ReadTruth(truth_path);
  std::vector<Task> tasks;
  std::size_t no_type = 0, no_traverse = 0, hidden = 0, is_gc_runs = 0, is_gc_failed = 0;
  std::map<Address, std::size_t> functions;  // by entry: objects
  for (const Truth& t : truths) {
    const Result<Address> type = process->memory.ReadPointer(t.object + ob_type);
    const objects::TypeFacts* facts = type ? reader.Type(*type) : nullptr;
    if (facts == nullptr) {
      ++no_type;
      continue;
    }
    if (facts->tp_traverse == 0) {
      ++no_traverse;
      continue;
    }
    // gc.get_referents() leaves out what tp_is_gc denies; the collector does not, and the truth has what its tp_traverse visits.
    if (facts->tp_is_gc != 0) {
      ++is_gc_runs;
      const std::optional<bool> is_gc = machine.IsGc(facts->tp_is_gc, t.object);
      if (!is_gc) ++is_gc_failed;
      if (is_gc && !*is_gc) ++hidden;
    }
    ++functions[facts->tp_traverse];
    tasks.push_back({&t, facts});
  }

  std::vector<Address> found;
  std::size_t same = 0, same_multiset = 0, wrong = 0, shown = 0;
  std::map<std::string, std::size_t> labels;
  std::map<std::pair<std::string, std::string>, std::size_t> not_exact;
  // Seconds for some rounds over some of the objects.
  const auto time = [&](const std::vector<Task>& some, std::size_t rounds) {
    const double start = Seconds();
    for (std::size_t k = 0; k < rounds; ++k) {
      for (const Task& task : some) {
        found.clear();
        (void)machine.Run(*task.type, task.truth->object, found, nullptr);
      }
    }
    return (Seconds() - start) / static_cast<double>(rounds);
  };
  const std::int64_t steps_before = machine.steps_taken();
  const double cold = time(tasks, 1);
  const std::int64_t steps = machine.steps_taken() - steps_before;
  for (const Task& task : tasks) {
    found.clear();
    const objects::ReferentQuality q = machine.Run(*task.type, task.truth->object, found, nullptr);
    ++labels[objects::QualityName(q)];
    if (!objects::IsExact(q)) {
      ++not_exact[{task.type->name, machine.Reason(*task.type)}];
    } else if (found == task.truth->referents) {
      ++same;
    } else {
      std::vector<Address> a = found, b = task.truth->referents;
      std::sort(a.begin(), a.end()), std::sort(b.begin(), b.end());
      if (a == b) {
        ++same_multiset;
      } else {
        ++wrong;
        if (shown++ < show) {
          std::printf("WRONG %#lx %s: %zu referents, truth has %zu;", task.truth->object, task.type->name.c_str(), found.size(), task.truth->referents.size());
          std::vector<Address> only;
          std::set_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(only));
          for (std::size_t k = 0; k < std::min<std::size_t>(only.size(), 4); ++k) std::printf(" +%#lx", only[k]);
          only.clear();
          std::set_difference(b.begin(), b.end(), a.begin(), a.end(), std::back_inserter(only));
          for (std::size_t k = 0; k < std::min<std::size_t>(only.size(), 4); ++k) std::printf(" -%#lx", only[k]);
          std::printf("\n");
        }
      }
    }
  }
  const double warm = time(tasks, repeat);
  std::vector<Task> needed;
  std::copy_if(tasks.begin(), tasks.end(), std::back_inserter(needed), [](const Task& t) { return t.type->reader == objects::ReaderKind::kMachine; });
  const double warm_needed = time(needed, repeat);

  const double n = static_cast<double>(std::max<std::size_t>(tasks.size(), 1));
  std::printf("objects %zu\nrun %zu\nsame-sequence %zu\nsame-multiset-other-order %zu\nwrong %zu\nno-type %zu\nno-traverse %zu\nhidden-by-is-gc %zu\n", truths.size(),
              tasks.size(), same, same_multiset, wrong, no_type, no_traverse, hidden);
  std::printf("is-gc-runs %zu\nis-gc-failed %zu\nfunctions %zu\n", is_gc_runs, is_gc_failed, functions.size());
  for (const auto& [label, count] : labels) std::printf("label-%s %zu\n", label.c_str(), count);
  for (const auto& [key, count] : not_exact) std::printf("NOT-EXACT %zu %s: %s\n", count, key.first.c_str(), key.second.c_str());
  for (const auto& [entry, count] : functions) {
    const target::Module* module = process->FindModule(entry);
    if (module == nullptr) continue;
    std::printf("FUNCTION %s %#lx %zu\n", module->path.c_str(), entry - static_cast<Address>(module->load_bias), count);
  }
  std::printf("steps-per-object %.1f\nns-per-object-cold %.0f\nns-per-object-warm %.0f\n", static_cast<double>(steps) / n, cold * 1e9 / n, warm * 1e9 / n);
  std::printf("no-native-reader %zu\nns-per-object-without %.0f\n", needed.size(), warm_needed * 1e9 / static_cast<double>(std::max<std::size_t>(needed.size(), 1)));
  return wrong != 0 ? 1 : 0;
}
