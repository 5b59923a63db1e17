// Any bytes as a core, through everything that is done before a Python is looked for: headers, notes, modules, missing memory, and the interpreter's place.
// The files that it names are looked for below a folder that does not exist: what a run finds depends on its input alone.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "core/cpython/runtime.h"
#include "core/target/open.h"

namespace {

using namespace pygc;

void Check(bool holds, int line = __builtin_LINE()) {
  if (holds) return;
  std::fprintf(stderr, "the check in line %d does not hold\n", line);
  std::abort();
}

void CheckProcess(const target::Process& process, std::size_t size) {
  Address end = 0;
  std::uint64_t bytes = 0;
  for (const target::Segment& s : process.memory.segments()) {
    Check(s.range.begin >= end && s.range.begin < s.range.end && s.bytes != nullptr);
    end = s.range.end;
    bytes += s.range.size();
    // The first and the last byte are there: a sanitizer or the kernel says otherwise.
    const volatile std::byte* bytes_of = s.bytes;
    (void)bytes_of[0];
    (void)bytes_of[s.range.size() - 1];
  }
  Check(bytes <= 4 * size);   // nothing is made of nothing
  for (const target::Module& m : process.modules) Check(m.match != target::ModuleMatch::kVerified && m.path.size() <= size);
  for (const target::MissingRange& m : process.missing_ranges) Check(m.range.begin < m.range.end);
  Check(process.threads.size() <= size);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const int file = memfd_create("core", MFD_CLOEXEC);
  static const std::string path = "/proc/self/fd/" + std::to_string(file);
  if (file < 0 || ftruncate(file, 0) != 0 || pwrite(file, data, size, 0) != static_cast<ssize_t>(size)) std::abort();
  target::OpenOptions options;
  options.sysroot = "/nonexistent/pygc-fuzz";
  options.limits.threads = 1;
  SilentProgress progress;
  const Result<target::Process> process = target::OpenCore(path, options, progress);
  if (!process) {
    Check(!process.error().message.empty() && process.error().message.size() < 4096 + size);
    return 0;
  }
  CheckProcess(*process, size);
  (void)cpython::LocateRuntime(*process, options.limits);
  return 0;
}
