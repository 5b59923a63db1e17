// The machine on a real process, misused: random executable addresses, or mutated code of real tp_traverse functions, on random objects.
//
//   machine_storm CORE [--runs N] [--seed S] [--mutate] [--max-ms MS]
//
// Prints how many runs, why they stopped, and the longest in processor time. What is wrong shows as a crash or as a sanitizer's report; a run that takes
// longer than MS (50) makes it exit 1. What is done once for a module (its symbols and relocations are read) is done before. Driven by storm.py.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "core/cpython/runtime.h"
#include "core/machine/traverse.h"
#include "core/target/open.h"

namespace {

using namespace pygc;

constexpr std::size_t kCodeWindow = 512;  // bytes of a function that are mutated

double Milliseconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_nsec) * 1e-6;
}

class Storm {
 public:
  Storm(const target::Process& process, const cpython::Runtime& runtime, std::uint64_t seed)
      : process_(process), linkage_(std::make_shared<const machine::Linkage>(process)), random_(seed) {
    ob_type_ = runtime.layout.Offset(cpython::Field::PyObject_ob_type);
    traverse_ = runtime.layout.Offset(cpython::Field::PyTypeObject_tp_traverse);
    for (const target::Segment& s : process.memory.segments()) {
      if (s.executable && s.module < process.modules.size()) code_.push_back(s.range), (void)linkage_->FindFunction(s.range.begin);
      if (s.writable && !s.executable) data_.push_back(s.range);
    }
  }

  void RandomAddresses(std::uint64_t runs) {
    machine::MachineOptions options;
    options.ob_type_offset = ob_type_;
    machine::TraverseMachine machine(process_, linkage_, options);
    for (std::uint64_t k = 0; k < runs; ++k) RunOne(machine, RandomIn(code_));
    std::printf("decoded-instructions %zu\n", machine.decoded_instructions());
  }

  void MutatedCode(std::uint64_t runs) {
    constexpr std::uint64_t kFunctionsAtOnce = 32, kRunsOfEach = 32;
    while (runs_ < runs) {
      std::vector<Address> functions;
      std::vector<std::array<std::byte, kCodeWindow>> bytes;
      while (functions.size() < kFunctionsAtOnce) {
        const Address f = TraverseOf(RandomObject());
        std::array<std::byte, kCodeWindow> window;
        const std::byte* original = f != 0 ? process_.memory.At(f, kCodeWindow) : nullptr;
        if (original == nullptr) continue;
        if (std::any_of(functions.begin(), functions.end(), [&](Address g) { return g < f + kCodeWindow && f < g + kCodeWindow; })) {
          if (random_() % 8 != 0) continue;
          break;
        }
        std::memcpy(window.data(), original, kCodeWindow);
        for (std::uint64_t n = 1 + random_() % 6; n != 0; --n) {
          std::byte& b = window[random_() % (random_() % 2 == 0 ? 48 : 200)];
          b = random_() % 2 == 0 ? static_cast<std::byte>(random_()) : b ^ static_cast<std::byte>(1u << (random_() % 8));
        }
        functions.push_back(f);
        bytes.push_back(window);
      }
      target::Process mutated = process_;
      std::vector<target::Segment> segments;
      for (std::size_t k = 0; k < functions.size(); ++k) {
        target::Segment s = *process_.memory.Find(functions[k]);
        s.range = {functions[k], functions[k] + kCodeWindow};
        s.bytes = bytes[k].data();
        segments.push_back(s);
      }
      for (const target::Segment& s : process_.memory.segments()) segments.push_back(s);
      mutated.memory = target::MemoryImage(std::move(segments), {});
      machine::MachineOptions options;
      options.ob_type_offset = ob_type_;
      options.fs_base = process_.threads.empty() ? 0 : process_.threads.front().fs_base();
      machine::TraverseMachine machine(mutated, linkage_, options);
      for (const Address f : functions)
        for (std::uint64_t r = 0; r < kRunsOfEach; ++r) RunOne(machine, f);
    }
  }

  [[nodiscard]] double longest_ms() const { return longest_ms_; }
  void Report() const {
    std::printf("runs %llu\nsteps %llu\nvisits %llu\nexact %llu\nlongest-ms %.2f\nlongest-steps %llu\n", static_cast<unsigned long long>(runs_),
                static_cast<unsigned long long>(steps_), static_cast<unsigned long long>(visit_count_), static_cast<unsigned long long>(exact_), longest_ms_,
                static_cast<unsigned long long>(longest_steps_));
    std::printf("longest %#llx on %#llx: %s\n", static_cast<unsigned long long>(longest_function_), static_cast<unsigned long long>(longest_object_),
                longest_text_.c_str());
    for (const auto& [reason, count] : reasons_) std::printf("%s %llu\n", machine::StopReasonCode(reason), static_cast<unsigned long long>(count));
  }

 private:
  Address RandomIn(const std::vector<AddressRange>& ranges) {
    const AddressRange& r = ranges[random_() % ranges.size()];
    return r.begin + random_() % r.size();
  }
  bool LooksLikeObject(Address a) const {
    if (a % 8 != 0 || a == 0) return false;
    const Result<Address> type = process_.memory.ReadPointer(a + ob_type_);
    return type && *type % 8 == 0 && process_.memory.At(*type, 400) != nullptr;
  }
  Address TraverseOf(Address object) const {
    const Result<Address> type = process_.memory.ReadPointer(object + ob_type_);
    const Result<Address> f = type ? process_.memory.ReadPointer(*type + traverse_) : Result<Address>(0);
    const target::Segment* s = f && *f != 0 ? process_.memory.Find(*f) : nullptr;
    return s != nullptr && s->executable ? *f : 0;
  }
  // Mostly what a pointer somewhere points to, if that looks like an object; sometimes anything.
  Address RandomObject() {
    for (int tries = 0; tries < 200; ++tries) {
      const Result<Address> p = process_.memory.ReadPointer(RandomIn(data_) & ~7ull);
      if (p && LooksLikeObject(*p)) return *p;
    }
    return RandomIn(data_);
  }
  void RunOne(machine::TraverseMachine& machine, Address function) {
    const Address object = random_() % 10 == 0 ? RandomIn(data_) : RandomObject();
    visits_.clear();
    const double start = Milliseconds();
    const machine::RunOutcome outcome = machine.Traverse(function, object, visits_);
    const double took = Milliseconds() - start;
    ++runs_;
    steps_ += outcome.steps;
    visit_count_ += visits_.size();
    exact_ += outcome.is_exact() ? 1 : 0;
    ++reasons_[outcome.reason];
    longest_steps_ = std::max(longest_steps_, outcome.steps);
    if (took > longest_ms_) longest_ms_ = took, longest_function_ = function, longest_object_ = object, longest_text_ = outcome.Text();
  }

  const target::Process& process_;
  std::shared_ptr<const machine::Linkage> linkage_;
  std::mt19937_64 random_;
  std::uint32_t ob_type_ = 8, traverse_ = 184;
  std::vector<AddressRange> code_, data_;
  std::vector<machine::Visit> visits_;
  std::uint64_t runs_ = 0, steps_ = 0, visit_count_ = 0, exact_ = 0, longest_steps_ = 0;
  double longest_ms_ = 0;
  Address longest_function_ = 0, longest_object_ = 0;
  std::string longest_text_;
  std::map<machine::StopReason, std::uint64_t> reasons_;
};

}  // namespace

int main(int argc, char** argv) {
  std::string core;
  std::uint64_t runs = 100'000, seed = 1;
  bool mutate = false;
  double max_ms = 50;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--runs") == 0 && i + 1 < argc) runs = std::strtoull(argv[++i], nullptr, 10);
    else if (std::strcmp(argv[i], "--seed") == 0 && i + 1 < argc) seed = std::strtoull(argv[++i], nullptr, 10);
    else if (std::strcmp(argv[i], "--max-ms") == 0 && i + 1 < argc) max_ms = std::strtod(argv[++i], nullptr);
    else if (std::strcmp(argv[i], "--mutate") == 0) mutate = true;
    else core = argv[i];
  }
  SilentProgress progress;
  const target::OpenOptions options;
  const Result<target::Process> process = target::OpenCore(core, options, progress);
  if (!process) return std::fprintf(stderr, "%s\n", process.error().message.c_str()), 2;
  const Result<cpython::Runtime> runtime = cpython::LocateRuntime(*process, options.limits);
  if (!runtime) return std::fprintf(stderr, "%s\n", runtime.error().message.c_str()), 2;
  Storm storm(*process, *runtime, seed);
  if (mutate) storm.MutatedCode(runs);
  else storm.RandomAddresses(runs);
  storm.Report();
  return storm.longest_ms() <= max_ms ? 0 : 1;
}
