// What every report says first: which process, which Python, what its collectors do, what is missing. From process, runtime, snapshot and verdict.
#pragma once

#include "core/analysis/verdict.h"
#include "core/cpython/runtime.h"
#include "core/engine/command_table.h"
#include "core/engine/session.h"
#include "core/heap/heap_snapshot.h"
#include "core/report/header.h"
#include "core/target/process.h"

namespace pygc::engine {

/// `heap` and `verdict` may be nullptr: then nothing is said of objects. Text of labels and types is raw; the writers escape.
[[nodiscard]] report::Header MakeHeader(const Request& request, const HostFacts& host, const target::Process& process,
                                        const cpython::Runtime& runtime, const heap::HeapSnapshot* heap, const analysis::Verdict* verdict);

/// Of what threads have: what of it a command tells.
enum class OfThreads : std::uint8_t {
  kNone,
  kFrames,  // roots: 3.11 and newer have a part of each chain of frames on the stack
  kStacks,  // also words on stacks and in registers: who waits for a lock, who holds an object
};

/// Adds to `header` what is not known of the threads and is wanted, and makes it partial. True where there was something. What is not wanted is a warning already.
bool AddThreadGaps(OfThreads wanted, const target::Process& process, const cpython::Runtime& runtime, report::Header* header);

/// What of the threads is not known, and why: roots may lie there. Empty: nothing. Raw.
[[nodiscard]] std::string RootsMissing(const target::Process& process);

/// True where the collector never frees cycles with __del__: classic finalizers [2.7].
[[nodiscard]] bool HasLegacyInstances(const cpython::Runtime& runtime);

}  // namespace pygc::engine
