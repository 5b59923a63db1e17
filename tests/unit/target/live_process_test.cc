#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <thread>

#include "core/target/open.h"
#include "core/target/page_runs.h"
#include "core/target/proc_files.h"

namespace pygc::target {
namespace {

using std::chrono::milliseconds;

/// Memory whose content the test knows, at addresses that parent and child share.
struct Known {
  std::uint64_t* heap;       // 4 MiB of numbers
  std::byte* reserved;       // 8 GiB, one page of it touched, at 5 GiB
  std::byte* no_access;      // a page without rights
  volatile std::uint64_t* beats;  // shared: the child counts up while it runs
};
constexpr std::size_t kWords = (4u << 20) / 8;
constexpr std::uint64_t kReserved = 8ull << 30, kTouched = 5ull << 30;
std::uint64_t in_bss[4096];
std::uint64_t in_data[512] = {1, 2, 3};

/// A child process with known memory and `threads` extra threads that count; killed at the end.
class Child {
 public:
  explicit Child(int threads) {
    const int rw = PROT_READ | PROT_WRITE;
    known.heap = static_cast<std::uint64_t*>(mmap(nullptr, kWords * 8, rw, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    known.reserved = static_cast<std::byte*>(mmap(nullptr, kReserved, rw, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    known.no_access = static_cast<std::byte*>(mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    known.beats = static_cast<std::uint64_t*>(mmap(nullptr, 4096, rw, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    int ready[2];
    REQUIRE(pipe(ready) == 0);
    pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) Run(threads, ready[1]);
    char byte = 0;
    close(ready[1]);
    REQUIRE(read(ready[0], &byte, 1) == 1);
    close(ready[0]);
  }
  ~Child() {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    munmap(known.heap, kWords * 8);
    munmap(known.reserved, kReserved);
    munmap(known.no_access, 4096);
    munmap(const_cast<std::uint64_t*>(known.beats), 4096);
  }
  [[nodiscard]] char State() const { return ReadStatus(pid)->state; }
  /// True when the child counts on.
  [[nodiscard]] bool Beats() const {
    const std::uint64_t before = *known.beats;
    for (int i = 0; i < 200 && *known.beats == before; ++i) usleep(10000);
    return *known.beats != before;
  }
  [[nodiscard]] bool WaitForState(char state) const {
    for (int i = 0; i < 200 && State() != state; ++i) usleep(10000);
    return State() == state;
  }

  pid_t pid = -1;
  Known known{};

 private:
  [[noreturn]] void Run(int threads, int ready) const {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (std::size_t i = 0; i < kWords; ++i) known.heap[i] = i * 0x9E3779B97F4A7C15;
    known.reserved[kTouched] = std::byte{0x42};
    in_bss[100] = 0x1122334455667788;
    in_data[1] = 77;
    std::vector<std::thread> running;
    for (int i = 0; i < threads; ++i) {
      running.emplace_back([this] {
        for (;;) {
          __atomic_fetch_add(known.beats, 1, __ATOMIC_RELAXED);
          usleep(200);
        }
      });
    }
    static_cast<void>(!write(ready, "x", 1));
    for (;;) {
      __atomic_fetch_add(known.beats, 1, __ATOMIC_RELAXED);
      usleep(200);
    }
  }
};

void CheckMemory(const Process& p, const Known& known) {
  const auto at = reinterpret_cast<Address>(known.heap);
  const std::byte* heap = p.memory.At(at, kWords * 8);
  REQUIRE(heap != nullptr);
  for (std::size_t i = 0; i < kWords; ++i) REQUIRE(LoadUnchecked<std::uint64_t>(heap + i * 8) == i * 0x9E3779B97F4A7C15);
  const auto reserved = reinterpret_cast<Address>(known.reserved);
  CHECK(p.memory.ReadValue<std::uint8_t>(reserved + kTouched).value() == 0x42);
  CHECK(p.memory.ReadValue<std::uint8_t>(reserved + 12345).value() == 0);  // never touched: zero, and not copied
  CHECK(p.memory.At(reinterpret_cast<Address>(known.no_access), 1) == nullptr);
  CHECK(p.memory.ReadValue<std::uint64_t>(reinterpret_cast<Address>(&in_bss[100])).value() == 0x1122334455667788);
  CHECK(p.memory.ReadValue<std::uint64_t>(reinterpret_cast<Address>(&in_data[1])).value() == 77);
  CHECK(p.memory.ReadValue<std::uint64_t>(reinterpret_cast<Address>(&in_data[2])).value() == 3);
  // Code is there as well, from the file: the same bytes as in this process.
  const auto code = reinterpret_cast<Address>(&CheckMemory);
  const std::byte* here = p.memory.At(code, 64);
  REQUIRE(here != nullptr);
  CHECK(std::memcmp(here, reinterpret_cast<const void*>(code), 64) == 0);
  CHECK(p.memory.Find(code)->source == SegmentSource::kModuleFile);
  CHECK(p.memory.Find(code)->executable);
  const Module* self = p.FindModule(code);
  REQUIRE(self != nullptr);
  CHECK(self->match == ModuleMatch::kVerified);
  CHECK(p.FindModule(reinterpret_cast<Address>(&in_bss[100])) == self);
  CHECK(p.executable == self->path);
  CHECK(p.missing.empty());
}

}  // namespace

// The children are made by fork(): under TSan 35 TiB of theirs are its shadow memory, which is writable, and no copy has room for that.
#if defined(__SANITIZE_THREAD__)
constexpr bool kShadowed = true;
#else
constexpr bool kShadowed = false;
#endif

TEST_CASE("a live process is copied with all its threads and goes on" * doctest::skip(kShadowed)) {
  const Child child(20);
  SilentProgress progress;
  const auto p = CaptureLive(child.pid, {}, progress);
  REQUIRE(p.has_value());
  CheckMemory(*p, child.known);
  CHECK(p->kind == TargetKind::kLive);
  CHECK(p->pid == child.pid);
  CHECK(p->threads.size() == 21);
  CHECK(p->threads[0].tid == child.pid);
  for (const Thread& t : p->threads) {
    CHECK(t.has_registers);
    CHECK(p->memory.At(t.stack_pointer(), 8) != nullptr);
    CHECK(p->memory.ReadPointer(t.fs_base()).value() == t.fs_base());  // the thread control block points to itself
  }
  CHECK(p->pause_seconds > 0);
  CHECK(p->pause_seconds < 2);
  CHECK(child.Beats());
  CHECK(ReadStatus(child.pid)->tracer == 0);
}

TEST_CASE("files that the process maps as shared are copied where they are small, and missing where not" * doctest::skip(kShadowed)) {
  constexpr std::uint64_t kSmall = 3 * 4096, kLarge = 80u << 20, kBeyond = 4096;
  std::string name = "/tmp/pygc-shared-XXXXXX";
  const int file = mkstemp(name.data());
  REQUIRE(file >= 0);
  REQUIRE(ftruncate(file, static_cast<off_t>(kLarge)) == 0);
  const auto map = [file](std::uint64_t bytes) {
    void* const p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    REQUIRE(p != MAP_FAILED);
    return static_cast<std::uint64_t*>(p);
  };
  std::uint64_t* const large = map(kLarge);
  const Child child(0);
  munmap(large, kLarge);
  REQUIRE(ftruncate(file, static_cast<off_t>(kSmall)) == 0);
  SilentProgress progress;
  const auto with_large = CaptureLive(child.pid, {}, progress);
  REQUIRE(with_large.has_value());
  const auto is_missing = [](const Process& p, const void* at) {
    return std::any_of(p.missing_ranges.begin(), p.missing_ranges.end(), [at](const MissingRange& m) { return m.range.Contains(reinterpret_cast<Address>(at)); });
  };
  CHECK(with_large->memory.At(reinterpret_cast<Address>(large), 8) == nullptr);
  CHECK(is_missing(*with_large, large));
  std::uint64_t* const small = map(kSmall + kBeyond);  // its last page lies beyond the end of the file
  small[kSmall / 8 - 1] = 0x1122334455667788;
  const Child other(0);
  const auto with_small = CaptureLive(other.pid, {}, progress);
  REQUIRE(with_small.has_value());
  CHECK(with_small->memory.ReadPointer(reinterpret_cast<Address>(&small[kSmall / 8 - 1])).value_or(0) == 0x1122334455667788);
  CHECK_FALSE(is_missing(*with_small, small));
  CHECK(is_missing(*with_small, &small[kSmall / 8]));
  munmap(small, kSmall + kBeyond);
  close(file);
  unlink(name.c_str());
}

TEST_CASE("a stopped process stays stopped, and can be continued" * doctest::skip(kShadowed)) {
  const Child child(3);
  REQUIRE(kill(child.pid, SIGSTOP) == 0);
  REQUIRE(child.WaitForState('T'));
  SilentProgress progress;
  const auto p = CaptureLive(child.pid, {}, progress);
  REQUIRE(p.has_value());
  CheckMemory(*p, child.known);
  CHECK(child.WaitForState('T'));
  CHECK(!child.Beats());
  int copied = 0;
  const auto stopped = CaptureStopped(child.pid, {}, progress, [&](Process& process) {
    ++copied;
    CHECK(process.threads.size() == 4);
    kill(child.pid, SIGCONT);  // nothing depends on its standing still from here on
  });
  REQUIRE(stopped.has_value());
  CHECK(copied == 1);
  CheckMemory(*stopped, child.known);
  CHECK(stopped->threads.size() == 4);
  CHECK(stopped->threads[0].stack_pointer() == p->threads[0].stack_pointer());
  CHECK(stopped->pause_seconds == 0);
  CHECK(child.Beats());
}

TEST_CASE("a process that another one traces is refused, with the tracer's name; as a debugger's it can be read" * doctest::skip(kShadowed)) {
  const Child child(1);
  REQUIRE(ptrace(PTRACE_SEIZE, child.pid, nullptr, nullptr) == 0);
  REQUIRE(ptrace(PTRACE_INTERRUPT, child.pid, nullptr, nullptr) == 0);
  REQUIRE(waitpid(child.pid, nullptr, __WALL) == child.pid);
  SilentProgress progress;
  const auto refused = CaptureLive(child.pid, {}, progress);
  REQUIRE(!refused.has_value());
  CHECK(refused.error().code == ErrorCode::kNotPermitted);
  CHECK(refused.error().message.find(ReadStatus(static_cast<std::int32_t>(getpid()))->name) != std::string::npos);
  const auto p = CaptureStopped(child.pid, {}, progress);
  REQUIRE(p.has_value());
  CheckMemory(*p, child.known);
  ptrace(PTRACE_DETACH, child.pid, nullptr, nullptr);
  CHECK(child.Beats());
}

TEST_CASE("signals that arrive during the copy are not lost" * doctest::skip(kShadowed)) {
  const Child child(8);
  std::atomic<bool> done{false};
  std::thread sender([&] {
    while (!done) {
      kill(child.pid, SIGWINCH);
      usleep(100);
    }
  });
  SilentProgress progress;
  for (int i = 0; i < 5; ++i) CHECK(CaptureLive(child.pid, {}, progress).has_value());  // thousands of signals in each
  done = true;
  sender.join();
  CHECK(child.Beats());
}

TEST_CASE("what has no memory, or does not exist, is said" * doctest::skip(kShadowed)) {
  SilentProgress progress;
  const auto check = [&](std::int32_t pid, ErrorCode code, const std::string& words) {
    const auto p = CaptureLive(pid, {}, progress);
    REQUIRE(!p.has_value());
    INFO(p.error().message);
    CHECK(p.error().code == code);
    CHECK(p.error().message.find(words) != std::string::npos);
  };
  const pid_t zombie = fork();
  if (zombie == 0) _exit(0);
  for (int i = 0; i < 200 && ReadStatus(zombie)->state != 'Z'; ++i) usleep(5000);
  check(zombie, ErrorCode::kNotAnalysable, "zombie");
  waitpid(zombie, nullptr, 0);
  check(zombie, ErrorCode::kNotPermitted, "no process");
  check(0, ErrorCode::kNotPermitted, "no process");
  check(-5, ErrorCode::kNotPermitted, "no process");
  check(static_cast<std::int32_t>(getpid()), ErrorCode::kNotAnalysable, "itself");
  if (const auto status = ReadStatus(2); status && !status->has_memory) check(2, ErrorCode::kNotAnalysable, "kernel thread");
}

// Makes `call` fail with EPERM from here on, as the filter of a container may.
bool Forbid(unsigned call) {
  sock_filter code[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
                        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  const sock_fprog program{std::size(code), code};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

TEST_CASE("pages that the kernel does not tell of are not taken for empty") {
  constexpr std::uint64_t kBytes = 8u << 20;
  void* memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(memory != MAP_FAILED);
  const Address written = reinterpret_cast<Address>(memory) + kBytes / 2;
  std::memset(static_cast<std::byte*>(memory) + kBytes / 2, 1, 4096);
  const auto finds = [&](std::initializer_list<unsigned> forbidden) {
    const pid_t child = fork();
    if (child == 0) {
      PageRuns pages(getpid());
      for (const unsigned call : forbidden) {
        if (!Forbid(call)) _exit(2);
      }
      const auto runs = pages.Find({reinterpret_cast<Address>(memory), reinterpret_cast<Address>(memory) + kBytes});
      _exit(std::any_of(runs.begin(), runs.end(), [&](const AddressRange& r) { return r.Contains(written); }) ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  };
  CHECK(finds({}) == 0);
  CHECK(finds({SYS_ioctl}) == 0);
  CHECK(finds({SYS_ioctl, SYS_pread64}) == 0);
  munmap(memory, kBytes);
}

TEST_CASE("too little memory is said before the process is touched, and --max-pause ends the copy" * doctest::skip(kShadowed)) {
  const Child child(1);
  SilentProgress progress;
  OpenOptions small;
  small.limits.max_memory_bytes = 1u << 20;
  const auto refused = CaptureLive(child.pid, small, progress);
  REQUIRE(!refused.has_value());
  CHECK(refused.error().code == ErrorCode::kLimit);
  CHECK(refused.error().message.find("gcore") != std::string::npos);
  OpenOptions hasty;
  hasty.max_pause_seconds = 1e-9;
  const auto p = CaptureLive(child.pid, hasty, progress);
  REQUIRE(p.has_value());
  REQUIRE(!p->missing.empty());
  CHECK(p->missing[0].reason.find("--max-pause") != std::string::npos);
  CHECK(p->memory.At(reinterpret_cast<Address>(child.known.heap), 8) == nullptr);
  CHECK(std::any_of(p->missing_ranges.begin(), p->missing_ranges.end(), [](const MissingRange& m) { return m.reason == MissingReason::kNotCopied; }));
  // Nothing came of it, so it was tried again; the pause that is told of is the longest one.
  CHECK(std::any_of(p->warnings.begin(), p->warnings.end(), [](const std::string& w) { return w.find("stood still 5 times") != std::string::npos; }));
  CHECK(child.Beats());
  OpenOptions patient;
  patient.max_pause_seconds = 30;
  const auto whole = CaptureLive(child.pid, patient, progress);
  REQUIRE(whole.has_value());
  CHECK(whole->missing.empty());
  CheckMemory(*whole, child.known);
  CHECK(std::none_of(whole->warnings.begin(), whole->warnings.end(), [](const std::string& w) { return w.find("stood still") != std::string::npos; }));
}

TEST_CASE("a process that is killed while it is copied gives a result or an error, never a hang") {
  SilentProgress progress;
  for (int i = 0; i < 15; ++i) {
    const Child child(4);
    std::thread killer([&] {
      usleep(static_cast<useconds_t>(i * 700));
      kill(child.pid, SIGKILL);
    });
    const auto p = CaptureLive(child.pid, {}, progress);
    const std::string words = p ? std::string() : p.error().message;
    INFO(words);
    if (!p) CHECK((p.error().code == ErrorCode::kNotPermitted || p.error().code == ErrorCode::kNotAnalysable));
    killer.join();
  }
}

TEST_CASE("a process in which only other threads than the first are left is read" * doctest::skip(kShadowed)) {
  int ready[2];
  REQUIRE(pipe(ready) == 0);
  const pid_t pid = fork();
  REQUIRE(pid >= 0);
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    std::thread([&] {
      usleep(50000);
      static_cast<void>(!write(ready[1], "x", 1));
      for (;;) pause();
    }).detach();
    in_bss[7] = 0xABCDEF;
    syscall(SYS_exit, 0);  // this thread alone
    _exit(1);
  }
  char byte;
  REQUIRE(read(ready[0], &byte, 1) == 1);
  close(ready[0]);
  close(ready[1]);
  SilentProgress progress;
  const auto p = CaptureLive(pid, {}, progress);
  REQUIRE(p.has_value());
  CHECK(p->threads.size() == 1);
  CHECK(p->memory.ReadValue<std::uint64_t>(reinterpret_cast<Address>(&in_bss[7])).value() == 0xABCDEF);
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
}

TEST_CASE("memory that only a debugger can fetch gives the same image" * doctest::skip(kShadowed)) {
  const Child child(2);
  REQUIRE(kill(child.pid, SIGSTOP) == 0);
  REQUIRE(child.WaitForState('T'));
  SilentProgress progress;
  const auto direct = CaptureLive(child.pid, {}, progress);
  REQUIRE(direct.has_value());
  MemorySource source;
  const int memory = open(fmt::format("/proc/{}/mem", child.pid).c_str(), O_RDONLY);
  REQUIRE(memory >= 0);
  constexpr std::size_t kChunk = 1u << 20;
  std::size_t largest = 0, calls = 0, chunks = 0;
  source.read = [&](Address at, std::span<std::byte> out) -> Result<std::size_t> {
    largest = std::max(largest, out.size());
    ++calls;
    const ssize_t n = pread(memory, out.data(), out.size(), static_cast<off_t>(at));
    if (n <= 0) return Fail(ErrorCode::kFault, "cannot read {:#x}", at);
    return static_cast<std::size_t>(n);
  };
  for (const MapsLine& m : ParseMaps(ReadProcFile(fmt::format("/proc/{}/maps", child.pid)).value())) {
    if (m.range.size() > 1u << 30) continue;  // the reserved range, and what sanitizers reserve
    source.regions.push_back({m.range, m.readable, m.writable, m.executable, m.path, m.file_offset});
    if (m.readable) chunks += (m.range.size() + kChunk - 1) / kChunk;
  }
  source.threads = direct->threads;
  source.pid = child.pid;
  const auto p = CaptureFromSource(source, {}, progress);
  const std::size_t calls_for_all = calls;
  // As LLDB writes minidumps: of a stack only what is in use. Of other memory the same hole is missing.
  const auto read_all = source.read;
  std::vector<AddressRange> holes;
  source.read = [&](Address at, std::span<std::byte> out) -> Result<std::size_t> {
    std::size_t size = out.size();
    for (const AddressRange& hole : holes) {
      if (hole.Contains(at)) return Fail(ErrorCode::kFault, "not in the dump: {:#x}", at);
      if (at < hole.begin && hole.begin - at < size) size = hole.begin - at;
    }
    return read_all(at, out.first(size));
  };
  for (const MemorySource::Region& region : source.regions) {
    const auto in_use = std::find_if(source.threads.begin(), source.threads.end(), [&](const Thread& t) { return region.range.Contains(t.stack_pointer()); });
    if (in_use != source.threads.end()) holes.push_back({region.range.begin, in_use->stack_pointer() - 128});
  }
  REQUIRE(!holes.empty());
  const std::size_t dump_holes = holes.size();
  const auto dump = CaptureFromSource(source, {}, progress);
  holes = {{PageFloor(reinterpret_cast<Address>(&in_bss[100])), PageFloor(reinterpret_cast<Address>(&in_bss[100])) + kPageSize}};
  const auto cut = CaptureFromSource(source, {}, progress);
  source.read = read_all;
  close(memory);
  REQUIRE(p.has_value());
  REQUIRE(dump.has_value());
  for (const MissingNote& m : dump->missing) MESSAGE(m.what, " ", m.reason);
  CHECK(dump->missing.empty());
  for (const Thread& t : source.threads) CHECK(dump->memory.ReadValue<std::uint64_t>(t.stack_pointer() & ~Address{7}).has_value());
  REQUIRE(cut.has_value());
  CHECK(cut->missing.size() == 1);
  CHECK(largest <= kChunk);
  // Whole chunks only: how much memory the child has is the sanitizer's and the address space's choice, a count of its own would be luck.
  CHECK(calls_for_all <= chunks);
  CHECK(calls <= 3 * chunks + 2 * dump_holes + 2);
  for (const Module& m : p->modules) {
    INFO(m.path, " ", m.match_detail);
    CHECK(std::any_of(direct->modules.begin(), direct->modules.end(), [&](const Module& d) { return d.path == m.path && d.ranges == m.ranges && d.match == m.match; }));
  }
  for (const MissingNote& m : p->missing) MESSAGE(m.what, " ", m.reason);
  CHECK(p->missing.empty());
  for (const Segment& s : p->memory.segments()) {
    if (s.source == SegmentSource::kHost && !s.writable) continue;  // constants: there from the file, here fetched
    const std::byte* other = direct->memory.At(s.range.begin, s.range.size());
    if (other == nullptr) continue;
    REQUIRE(std::memcmp(other, s.bytes, s.range.size()) == 0);
  }
  CHECK(p->memory.ReadValue<std::uint64_t>(reinterpret_cast<Address>(&in_bss[100])).value() == 0x1122334455667788);
  CHECK(p->memory.At(reinterpret_cast<Address>(&CheckMemory), 64) != nullptr);

  source.read = [](Address, std::span<std::byte>) -> Result<std::size_t> { return std::size_t{1} << 40; };  // a host that lies about lengths
  CHECK(CaptureFromSource(source, {}, progress).has_value());
  source.read = [](Address at, std::span<std::byte>) -> Result<std::size_t> { return Fail(ErrorCode::kFault, "no {:#x}", at); };
  CHECK(CaptureFromSource(source, {}, progress).error().code == ErrorCode::kHost);
  source.regions.clear();
  CHECK(CaptureFromSource(source, {}, progress).error().code == ErrorCode::kHost);
}

TEST_CASE("lines of maps and status are read as the kernel writes them") {
  const auto maps = ParseMaps(
      "55d0c0000000-55d0c0001000 r--p 00001000 fe:01 1234                       /usr/lib/a b\\012c.so (deleted)\n"
      "7ffe00000000-7ffe00021000 rw-p 00000000 00:00 0                          [stack]\n"
      "7f0000000000-7f0000001000 ---s 00000000 00:00 0 \n"
      "rubbish\n");
  REQUIRE(maps.size() == 3);
  CHECK(maps[0].range == AddressRange{0x55D0C0000000, 0x55D0C0001000});
  CHECK(maps[0].file_offset == 0x1000);
  CHECK(maps[0].identity.inode == 1234);
  CHECK(maps[0].path == "/usr/lib/a b\nc.so (deleted)");
  CHECK(!maps[0].writable);
  CHECK(maps[1].path == "[stack]");
  CHECK(maps[1].writable);
  CHECK(maps[2].shared);
  CHECK(!maps[2].readable);
  const ProcStatus s = ParseStatus("Name:\tpy thon\nState:\tt (tracing stop)\nTgid:\t77\nTracerPid:\t5\nUid:\t1000\t0\t0\t0\nVmSize:\t  100 kB\nCapEff:\t0000000000080000\n");
  CHECK(s.name == "py thon");
  CHECK(s.state == 't');
  CHECK(s.tracer == 5);
  CHECK(s.uid == 1000);
  CHECK(s.has_memory);
  CHECK(s.capabilities == 1u << 19);
}

}  // namespace pygc::target
