// The whole engine on damaged cores, many times in one process: each run damages a copy of a real core in a few places, asks one question, and undoes it.
//
//   core_storm CORE [--runs N] [--seed S] [--first K] [--seconds S]
//
// Damage is of several kinds, chosen by run: bytes of the file's head, of its notes, anywhere; words of memory that hold pointers, replaced by other
// pointers, small numbers, addresses of nothing; headers of objects and types; the end of the file cut off. Run K of seed S is always the same: --first K
// --runs 1 repeats it. Prints how many runs ended with which exit status, and the longest. Exit 1: a status outside the contract, or a run over 10 s.
// A crash shows as one, with the run's number.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "core/cpython/runtime.h"
#include "core/engine/command_table.h"
#include "core/engine/session.h"
#include "core/target/open.h"

namespace {

using namespace pygc;

constexpr double kLongestSeconds = 10;
const char* const kQuestions[][3] = {
    {"leaks", "--format", "json"}, {"leaks", "--limit", "0"}, {"status", "--format", "json"}, {"verify", "--traverse", "--limit"}, {"cycles", "--limit", "3"},
    {"garbage", "--limit", "0"},   {"finalizers", "--limit", "5"}};

volatile std::sig_atomic_t running = 0;

void SayRun(int signal) {
  char text[64];
  const int n = std::snprintf(text, sizeof text, "core_storm: signal %d in run %ld\n", signal, static_cast<long>(running));
  (void)!write(STDERR_FILENO, text, static_cast<std::size_t>(n));
  std::signal(signal, SIG_DFL);
  raise(signal);
}

class CountingOutput final : public engine::OutputSink {
 public:
  bool Out(std::string_view bytes) override {
    controls += static_cast<std::uint64_t>(
        std::count_if(bytes.begin(), bytes.end(), [](char c) { return (static_cast<unsigned char>(c) < 0x20 && c != '\n') || c == 0x7f; }));
    return true;
  }
  void Err(std::string_view bytes) override {
    last_error.assign(bytes);
    Out(bytes);
  }
  std::uint64_t controls = 0;
  std::string last_error;
};

/// A copy of the core that is damaged and mended in place.
class DamagedCore {
 public:
  DamagedCore(std::vector<std::byte> whole, std::string path) : whole_(std::move(whole)), path_(std::move(path)) {
    fd_ = open(path_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    Put(0, whole_.size());
  }
  DamagedCore(const DamagedCore&) = delete;
  DamagedCore& operator=(const DamagedCore&) = delete;
  ~DamagedCore() {
    close(fd_);
    unlink(path_.c_str());
  }
  const std::string& path() const { return path_; }
  std::uint64_t size() const { return whole_.size(); }
  const std::byte* At(std::uint64_t offset) const { return whole_.data() + offset; }
  void Write(std::uint64_t offset, const void* bytes, std::size_t n) {
    if (offset >= whole_.size()) return;
    n = std::min<std::size_t>(n, whole_.size() - offset);
    (void)!pwrite(fd_, bytes, n, static_cast<off_t>(offset));
    changed_.push_back({offset, n});
  }
  void Cut(std::uint64_t size) {
    (void)!ftruncate(fd_, static_cast<off_t>(size));
    changed_.push_back({size, whole_.size() - size});
  }
  void Mend() {
    for (const auto& [offset, n] : changed_) Put(offset, n);
    changed_.clear();
  }

 private:
  void Put(std::uint64_t offset, std::uint64_t n) {
    while (n > 0) {
      const ssize_t done = pwrite(fd_, whole_.data() + offset, n, static_cast<off_t>(offset));
      if (done <= 0) {
        std::perror("core_storm: the copy of the core cannot be written");
        std::exit(2);
      }
      offset += static_cast<std::uint64_t>(done), n -= static_cast<std::uint64_t>(done);
    }
  }
  std::vector<std::byte> whole_;
  std::string path_;
  int fd_ = -1;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> changed_;
};

/// Where the words lie that the engine reads: as offsets in the file.
struct Places {
  std::uint64_t head_bytes = 4096;                          // ELF header, program headers and notes
  std::vector<std::uint64_t> state;                         // the interpreter's state
  std::vector<std::uint64_t> words;                         // words that hold an address of the image
  std::vector<std::pair<std::uint64_t, std::uint32_t>> objects;  // offset of ob_refcnt of something that looks like an object, and bytes before it to damage
};

class Storm {
 public:
  Storm(DamagedCore& core, const Places& places, std::uint64_t seed, std::vector<std::shared_ptr<const elf::ElfFile>> files)
      : core_(core), places_(places), seed_(seed), files_(std::move(files)) {}

  bool Run(std::uint64_t number) {
    running = static_cast<std::sig_atomic_t>(number);
    random_.seed(seed_ * 1'000'003 + number);
    const unsigned kind = Damage();
    const auto start = std::chrono::steady_clock::now();
    CountingOutput output;
    const int status = Ask(output);
    const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    core_.Mend();
    ++statuses_[status];
    if (took > longest_) longest_ = took, longest_run_ = number;
    const bool known = status == 0 || status == 1 || status == 3 || status == 4;
    if (known && took < kLongestSeconds && output.controls == 0) return true;
    std::printf("run %llu, damage of kind %u: status %d, %.2f s, %llu control bytes: %s\n", static_cast<unsigned long long>(number), kind, status, took,
                static_cast<unsigned long long>(output.controls), output.last_error.substr(0, 300).c_str());
    return false;
  }
  void Report() const {
    for (const auto& [status, count] : statuses_) std::printf("status %d: %llu\n", status, static_cast<unsigned long long>(count));
    std::printf("longest %.3f s, run %llu\n", longest_, static_cast<unsigned long long>(longest_run_));
  }

 private:
  std::uint64_t Below(std::uint64_t n) { return n == 0 ? 0 : random_() % n; }
  unsigned Damage() {
    const unsigned kind = static_cast<unsigned>(Below(16));
    const std::uint64_t times = 1 + Below(6);
    for (std::uint64_t i = 0; i < times; ++i) {
      switch (kind) {
        case 0: Byte(Below(64)); break;
        case 1: case 2: Byte(Below(places_.head_bytes)); break;
        case 3: Word(Below(places_.head_bytes) & ~7ull); break;
        case 4: Byte(Below(core_.size())); break;
        case 5: core_.Cut(Below(core_.size())); return kind;
        case 6: case 7: Word(Any(places_.state)); break;
        case 8: case 9: Word(Any(places_.words)); break;
        case 10: Run0(Below(core_.size()), 1 + Below(8192)); break;
        default: {
          if (places_.objects.empty()) break;
          const auto& [offset, before] = places_.objects[Below(places_.objects.size())];
          const std::uint64_t reach = Below(4) == 0 ? 416 : 64;
          const std::uint64_t at = offset - before + 8 * Below((before + reach) / 8);
          if (at + 8 <= core_.size()) Word(at);
        }
      }
    }
    return kind;
  }
  std::uint64_t Any(const std::vector<std::uint64_t>& v) { return v.empty() ? 0 : v[Below(v.size())]; }
  void Byte(std::uint64_t at) {
    const auto b = static_cast<std::uint8_t>(random_());
    core_.Write(at, &b, 1);
  }
  void Run0(std::uint64_t at, std::uint64_t n) {
    const std::vector<std::uint8_t> bytes(n, Below(2) == 0 ? 0 : static_cast<std::uint8_t>(random_()));
    core_.Write(at, bytes.data(), bytes.size());
  }
  void Word(std::uint64_t at) {
    std::uint64_t word = 0;
    std::memcpy(&word, core_.At(std::min<std::uint64_t>(at, core_.size() - 8)), 8);
    switch (Below(10)) {
      case 0: word = 0; break;
      case 1: word = ~0ull; break;
      case 2: word = random_(); break;
      case 3: word += Below(64) - 32; break;
      case 4: word ^= 1ull << Below(64); break;
      case 5: word = Below(256); break;
      case 6: word = 1ull << Below(64); break;
      case 7: word = word << Below(32); break;
      default: std::memcpy(&word, core_.At(std::min<std::uint64_t>(Any(places_.words), core_.size() - 8)), 8);
    }
    core_.Write(at, &word, 8);
  }
  int Ask(CountingOutput& output) {
    const auto& question = kQuestions[Below(std::size(kQuestions))];
    std::vector<std::string> words = {"-c", core_.path(), question[0], question[1], question[2]};
    if (words.back() == "--limit") words.push_back("5");
    Result<engine::Request> request = engine::ParseCommandLine(words, /*standalone=*/true);
    if (!request) return engine::ReportError(request.error(), output);
    request->target.open.known_files = files_;  // they are sound, and the same in each run: as of the second core of diff, they are read once
    SilentProgress progress;
    Result<target::Process> process = target::OpenCore(core_.path(), request->target.open, progress);
    if (!process) return engine::ReportError(process.error(), output);
    engine::Session session(std::move(*process), request->limits);
    return session.Run(*request, engine::HostFacts{}, output, progress);
  }

  DamagedCore& core_;
  const Places& places_;
  std::uint64_t seed_;
  std::vector<std::shared_ptr<const elf::ElfFile>> files_;
  std::mt19937_64 random_;
  std::map<int, std::uint64_t> statuses_;
  double longest_ = 0;
  std::uint64_t longest_run_ = 0;
};

std::vector<std::byte> Contents(const std::string& path) {
  std::vector<std::byte> bytes;
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat s{};
  if (fd < 0 || fstat(fd, &s) != 0) return bytes;
  bytes.resize(static_cast<std::size_t>(s.st_size));
  std::size_t done = 0;
  for (ssize_t n; done < bytes.size() && (n = pread(fd, bytes.data() + done, bytes.size() - done, static_cast<off_t>(done))) > 0;) done += static_cast<std::size_t>(n);
  close(fd);
  bytes.resize(done);
  return bytes;
}

// Looks through the writable memory of the whole core once. Offsets are found by where the bytes of a segment lie in the file's mapping.
Places FindPlaces(const target::Process& process, const cpython::Runtime& runtime, const std::vector<std::byte>& whole) {
  Places places;
  const std::uint32_t ob_type = runtime.layout.Offset(cpython::Field::PyObject_ob_type);
  const std::uint32_t before = 16;    // a PyGC_Head, where there is one
  const Address state = runtime.runtime_address != 0 || runtime.interpreters.empty() ? runtime.runtime_address : runtime.interpreters.front().address;
  std::uint64_t first = ~0ull;
  for (const target::Segment& s : process.memory.segments()) {
    if (!s.writable || s.bytes == nullptr || s.range.size() < 8) continue;
    // The file is not mapped here, but its bytes are at hand: the segment's first page is looked for once.
    const std::size_t probe = std::min<std::size_t>(256, s.range.size());
    const auto at = std::search(whole.begin(), whole.end(), std::boyer_moore_horspool_searcher(s.bytes, s.bytes + probe));
    if (at == whole.end()) continue;
    const auto base = static_cast<std::uint64_t>(at - whole.begin());
    if (base + s.range.size() > whole.size() || std::memcmp(s.bytes, whole.data() + base, s.range.size()) != 0) continue;
    first = std::min(first, base);
    for (std::uint64_t o = 0; o + 8 <= s.range.size(); o += 8) {
      Address word = 0;
      std::memcpy(&word, s.bytes + o, 8);
      const Address here = s.range.begin + o;
      if (here - state < (1u << 17)) places.state.push_back(base + o);
      if (word < 4096 || process.memory.Find(word) == nullptr) continue;
      places.words.push_back(base + o);
      const Result<Address> type = word % 8 == 0 ? process.memory.ReadPointer(word + ob_type) : Result<Address>(0);
      if (type && *type != 0 && *type % 8 == 0 && process.memory.At(*type, 400) != nullptr && word >= s.range.begin + before && word + 416 < s.range.end)
        places.objects.push_back({base + (word - s.range.begin), before});
    }
  }
  if (first != ~0ull) places.head_bytes = first;
  return places;
}

}  // namespace

int main(int argc, char** argv) {
  std::string core;
  std::uint64_t runs = 1000, seed = 1, first = 0;
  double seconds = 1e9;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--runs") == 0 && i + 1 < argc) runs = std::strtoull(argv[++i], nullptr, 10);
    else if (std::strcmp(argv[i], "--seed") == 0 && i + 1 < argc) seed = std::strtoull(argv[++i], nullptr, 10);
    else if (std::strcmp(argv[i], "--first") == 0 && i + 1 < argc) first = std::strtoull(argv[++i], nullptr, 10);
    else if (std::strcmp(argv[i], "--seconds") == 0 && i + 1 < argc) seconds = std::strtod(argv[++i], nullptr);
    else core = argv[i];
  }
  std::vector<std::byte> whole = Contents(core);
  Places places;
  std::vector<std::shared_ptr<const elf::ElfFile>> files;
  {
    SilentProgress progress;
    const target::OpenOptions options;
    const Result<target::Process> process = target::OpenCore(core, options, progress);
    if (!process) return std::fprintf(stderr, "%s\n", process.error().message.c_str()), 2;
    const Result<cpython::Runtime> runtime = cpython::LocateRuntime(*process, options.limits);
    if (!runtime) return std::fprintf(stderr, "%s\n", runtime.error().message.c_str()), 2;
    places = FindPlaces(*process, *runtime, whole);
    files = process->ModuleFiles();
  }
  std::printf("%s: %zu bytes, %llu of head, %zu words of state, %zu pointers, %zu of them to objects\n", core.c_str(), whole.size(),
              static_cast<unsigned long long>(places.head_bytes), places.state.size(), places.words.size(), places.objects.size());
  for (const int s : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL}) std::signal(s, SayRun);
  DamagedCore damaged(std::move(whole), core + ".damaged-" + std::to_string(getpid()));
  Storm storm(damaged, places, seed, std::move(files));
  const auto start = std::chrono::steady_clock::now();
  std::uint64_t bad = 0, done = 0;
  for (; done < runs && std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < seconds; ++done) bad += storm.Run(first + done) ? 0 : 1;
  storm.Report();
  std::printf("%llu runs in %.0f s, %llu bad\n", static_cast<unsigned long long>(done), std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(),
              static_cast<unsigned long long>(bad));
  return bad == 0 ? 0 : 1;
}
