// Native call chains of threads, with the Python frames at the places where the interpreter's loop runs them.
#pragma once

#include <memory>
#include <vector>

#include "core/cpython/runtime.h"
#include "core/engine/command.h"
#include "core/objects/frames.h"
#include "core/report/stacks_report.h"

namespace pygc::elf {
class NativeUnwinder;
}

namespace pygc::engine {

class NativeStacks {
 public:
  explicit NativeStacks(const CommandInput& input);
  ~NativeStacks();
  NativeStacks(const NativeStacks&) = delete;
  NativeStacks& operator=(const NativeStacks&) = delete;

  /// The chain of `thread`, innermost first, as far as unwind tables and memory lead. `frames`: its Python frames.
  [[nodiscard]] report::NativeStack Of(const target::Thread& thread, const std::vector<objects::PythonFrame>& frames);

 private:
  const CommandInput& in_;
  std::unique_ptr<elf::NativeUnwinder> unwinder_;
};

}  // namespace pygc::engine
