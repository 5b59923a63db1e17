// Loads libraries made of shapes.c and runs each of their traverse functions twice: in the machine over a copy of this process, and natively. The visits
// must be the same in the same order, or the machine must say that it does not know them all.
//
//   traverse_shapes LIBRARY...     one line each: `ok EXACT NOT-EXACT library`; `WRONG ...` and `REFUSED ...` lines before it. Exit 1 on WRONG.
#include <dlfcn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

#include "core/machine/traverse.h"
#include "core/target/open.h"

namespace {

using namespace pygc;

struct Object;
using VisitProc = int (*)(Object*, void*);
using TraverseProc = int (*)(Object*, VisitProc, void*);
struct Shape {
  const char* name;
  TraverseProc traverse;
  Object* self;
  int expect;
};

struct Library {
  std::string path;
  const Shape* shapes = nullptr;
  std::size_t count = 0;
};

int Record(Object* o, void* out) {
  static_cast<std::vector<Address>*>(out)->push_back(reinterpret_cast<Address>(o));
  return 0;
}

// Number of wrong answers.
int Compare(const Library& library, machine::TraverseMachine& machine) {
  int wrong = 0;
  std::size_t exact = 0, not_exact = 0;
  for (std::size_t k = 0; k < library.count; ++k) {
    const Shape& shape = library.shapes[k];
    std::vector<machine::Visit> visits;
    const machine::RunOutcome outcome = machine.Traverse(reinterpret_cast<Address>(shape.traverse), reinterpret_cast<Address>(shape.self), visits);
    std::vector<Address> native, found;
    const int result = shape.traverse(shape.self, Record, &native);
    for (const machine::Visit& v : visits) found.push_back(v.referent);
    if (result != 0) std::printf("WRONG %s: the shape itself returned %d\n", shape.name, result), ++wrong;
    if (outcome.is_exact()) {
      ++exact;
      if (found == native) continue;
      std::printf("WRONG %s: %zu visits, natively %zu\n", shape.name, found.size(), native.size());
      ++wrong;
    } else {
      ++not_exact;
      std::printf("%s %s: %s\n", shape.expect != 0 ? "REFUSED" : "refused", shape.name, outcome.Text().c_str());
      // What a partial run visited is claimed to be certain.
      if (found.size() > native.size() || !std::equal(found.begin(), found.end(), native.begin())) std::printf("WRONG %s: in the part that was visited\n", shape.name), ++wrong;
    }
  }
  std::printf("%s %zu %zu %s\n", wrong != 0 ? "bad" : "ok", exact, not_exact, library.path.c_str());
  return wrong;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<Library> libraries;
  for (int k = 1; k < argc; ++k) {
    void* handle = dlopen(argv[k], RTLD_LAZY | RTLD_LOCAL);
    if (handle == nullptr) return std::fprintf(stderr, "%s\n", dlerror()), 2;
    auto* shapes = reinterpret_cast<const Shape* (*)(std::size_t*)>(dlsym(handle, "pygc_shapes"));
    if (shapes == nullptr) return std::fprintf(stderr, "%s: no pygc_shapes\n", argv[k]), 2;
    Library library;
    library.path = argv[k];
    library.shapes = shapes(&library.count);
    libraries.push_back(library);
  }
  SilentProgress progress;
  const target::OpenOptions open_options;
  // A copy of this process with the same addresses holds still to be looked at.
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) pause();
  }
  const Result<target::Process> process = target::CaptureLive(child, open_options, progress);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  if (!process) return std::fprintf(stderr, "%s\n", process.error().message.c_str()), 2;
  machine::TraverseMachine machine(*process, machine::MachineOptions{});
  int wrong = 0;
  for (const Library& library : libraries) wrong += Compare(library, machine);
  return wrong != 0 ? 1 : 0;
}
