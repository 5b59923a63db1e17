// Tasks of asyncio, C and Python ones, and the chain of coroutines that each of them runs. Found by what the objects are, not by where a release keeps its list of
// tasks, so that it serves every release and every build.
// CPython: TaskObj, FutureObj, Modules/_asynciomodule.c [3.6+]; Task, Lib/asyncio/tasks.py.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/objects/frames.h"
#include "core/objects/object_reader.h"
#include "core/objects/offsets.h"
#include "core/objects/values.h"

namespace pygc::objects {

enum class AsyncKind : std::uint8_t { kNone, kTask, kFuture, kTimer };

/// One task. Addresses are 0 where there is nothing.
struct AsyncTask {
  enum class State : std::uint8_t { kWaiting, kReady, kRunning, kDone } state = State::kWaiting;  // kReady: waits for its turn, not for anything
  Address address = 0, coroutine = 0, waiter = 0, loop = 0;  // waiter: the future or task that it waits for
  std::string name;                                          // empty where the release gives none
  bool readable = true;                                      // false: its coroutine was not found
};

/// A callback that a loop is to run later. CPython: TimerHandle, Lib/asyncio/events.py.
struct AsyncTimer {
  Address loop = 0;
  std::optional<double> due;   // seconds by the loop's own clock, which is time.monotonic() where a loop has no other; finite
  bool cancelled = false;
  bool scheduled = false;      // false: its turn has come, or it was taken out
  Address wakes = 0;           // the future or task that the callback gets as an argument: sleep(), wait()
  Address limits = 0;          // the task that it cancels: asyncio.timeout(), wait_for() [3.11+, 3.12+]
};

/// One link of what a coroutine waits for.
struct AwaitStep {
  Address object = 0;                // a coroutine, generator, or the last awaitable
  std::string type;
  std::optional<PythonFrame> frame;  // of coroutines and generators that have not finished
};

/// What a callback holds on to in its closure.
struct CallbackCell {
  std::string function;  // co_name
  Address content = 0;
};

class AsyncReader {
 public:
  /// `reader` must outlive it.
  explicit AsyncReader(const ObjectReader& reader);

  /// What instances of the type at `type` are, by its chain of bases.
  [[nodiscard]] AsyncKind KindOf(Address type) const;
  [[nodiscard]] AsyncTask ReadTask(Address task) const;
  [[nodiscard]] AsyncTimer ReadTimer(Address handle) const;
  /// From the coroutine to the innermost thing that it awaits; at most `max` links. The chain of a coroutine that runs ends with itself.
  [[nodiscard]] std::vector<AwaitStep> Chain(Address coroutine, std::size_t max) const;
  /// What the functions that asyncio itself has a future or task call when it is done keep in their closures, with the function's name.
  [[nodiscard]] std::vector<CallbackCell> CallbackCells(Address future) const;
  /// The value of an instance's attribute, as far as it lies in the object, its dict or a slot; 0 where there is none.
  [[nodiscard]] Address Attribute(Address object, std::string_view name) const;
  /// The value of an int; nullopt where it is none.
  [[nodiscard]] std::optional<std::int64_t> Int(Address object) const { return values_.Int(object); }
  /// The objects in a list, set, tuple or deque, at most `max`.
  [[nodiscard]] std::vector<Address> Elements(Address container, std::size_t max) const;
  [[nodiscard]] std::string TypeName(Address object) const;
  [[nodiscard]] const FrameReader& frames() const noexcept { return frames_; }

 private:
  [[nodiscard]] const TypeFacts* FactsOf(Address object) const;
  [[nodiscard]] const TypeFacts* Base(Address type, std::string_view name) const;
  [[nodiscard]] bool IsCoroutine(Address object) const;
  [[nodiscard]] Address Word(Address object, std::uint64_t offset) const;
  [[nodiscard]] Address Next(Address object, const std::string& type) const;
  [[nodiscard]] Address ManagedAttribute(Address object, const TypeFacts& type, std::string_view name) const;
  [[nodiscard]] Address SharedKeyValue(Address keys, Address values, std::string_view name) const;
  void ReadCTask(const TypeFacts& base, AsyncTask& task) const;
  void ReadPythonTask(AsyncTask& task) const;
  [[nodiscard]] std::string NameText(Address name) const;

  const ObjectReader& reader_;
  FrameReader frames_;
  Offsets offsets_;
  Values values_;
  std::uint32_t header_bytes_;  // of PyObject
};

}  // namespace pygc::objects
