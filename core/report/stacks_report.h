// The report of `pygc stacks`: what each thread was running.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/report/crash.h"
#include "core/report/header.h"
#include "core/report/resource.h"

namespace pygc::report {

struct StackLocal {
  std::string name, type;
  Address address = 0;
  std::optional<std::string> value;  // where values are asked for
};

struct StackFrame {
  std::string function, qualified_name, file;
  std::int64_t line = -1;              // -1: not known
  std::optional<Address> frame_object;  // where one was made
  std::vector<StackLocal> locals;
};

/// One function of native code, with the Python frames that it runs where it is the interpreter's loop.
struct NativeFrame {
  Address address = 0;         // where it stands; of callers: behind the call
  std::string module, symbol;  // empty: not known
  std::uint64_t offset = 0;    // from the symbol
  std::vector<std::size_t> python;  // numbers of frames of the thread's whole Python stack, the most recent is 0
};

struct NativeStack {
  bool complete = false;           // false: unwind tables, or memory, were missing before the first function of the thread
  bool merged = false;             // every Python frame has its place
  std::vector<NativeFrame> frames;  // innermost first
};

struct ThreadStackReport {
  std::int64_t interpreter = 0;
  std::uint64_t thread_id = 0;              // pthread_self(), what threading.get_ident() says
  std::optional<std::uint64_t> native_id;   // of the kernel
  Address tstate = 0;
  std::string name;                         // of its threading.Thread; empty: it has none, or is not known
  std::optional<bool> holds_gil;            // nullopt: not known
  std::int32_t signal = 0;                  // that stopped it; 0: none
  std::optional<ResourceRow> waits_for;     // the lock that it sleeps on, where one was found
  bool complete = true;                     // false: the chain of frames could not be followed to its end
  std::uint64_t frame_count = 0;
  std::uint64_t left_out_before = 0;        // index in `frames` where frame_count - frames.size() frames are left out
  std::vector<StackFrame> frames;           // the most recent call first
  std::optional<StackFrame> of_program;     // the innermost one outside of the standard library and of installed packages; where all are in these, outside of the library
  std::optional<NativeStack> native;        // where asked for
};

struct StacksReport {
  bool with_locals = false;
  std::optional<CrashFacts> crash;  // of a core; nullopt: not looked for
  std::vector<ThreadStackReport> threads;
  std::vector<std::vector<std::size_t>> deadlocks;  // each: threads by number, each of which waits for a lock that the next one holds, the last for one of the first
};

/// "waits for the _thread.lock at 0x7f..: locked by thread 13", and who else waits. Only of a thread that waits.
[[nodiscard]] std::string AwaitedText(const ThreadStackReport& thread);
/// "thread 12 waits for the _thread.lock at 0x7f.., locked by thread 13, in a with block of ...": one line for each thread of a deadlock.
[[nodiscard]] std::vector<std::string> DeadlockLines(const StacksReport& report, const std::vector<std::size_t>& deadlock);

/// Who waits for locks beside the deadlocks that are proven, one line for each lock: "threads 12, 13 wait for the _thread.lock at 0x7f..: locked by thread 14, in a
/// with block of f() at app.py:3". Locks whose holder is known first. Without threads that stand in threading's own wait() and join(): these wait for a
/// notification or an end, and nobody holds what they sleep on.
struct LockWaits {
  std::size_t threads = 0;          // that wait so
  bool everybody = false;           // no thread of the process does anything else, those in wait() and join() included
  std::vector<std::string> lines;
};
[[nodiscard]] LockWaits FindLockWaits(const StacksReport& report);

/// The frame that people look for in a crash: that of the program's own code, where there is none the innermost; nullptr: the thread ran no Python.
[[nodiscard]] const StackFrame* CrashFrame(const ThreadStackReport& thread) noexcept;
/// "string_at() at /usr/lib/python3.12/ctypes/__init__.py:519": the innermost frame where CrashFrame() is another one; empty otherwise.
[[nodiscard]] std::string InnermostText(const ThreadStackReport& thread);

void WriteText(const Header& header, const StacksReport& report, TextWriter& out);
void WriteJson(const Header& header, const StacksReport& report, JsonWriter& json);

}  // namespace pygc::report
