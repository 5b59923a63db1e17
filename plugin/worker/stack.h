// The worker's stacks. What a user's or a container's RLIMIT_STACK leaves (`ulimit -s 128`) is the stack of the first thread, and by default of every other one:
// less than the readers need, and a limit that an unprivileged process cannot raise.
#pragma once

#include <cstddef>
#include <functional>

namespace pygc::worker {

/// Bytes of stack, whatever RLIMIT_STACK is: what Linux gives where nobody set a limit. Measured: on a core of 3.12 every command dies with 160 KiB, none with 192.
inline constexpr std::size_t kStack = 8u << 20;

/// Calls `run` with at least kStack bytes of stack, in the calling thread or, where the hard RLIMIT_STACK is less, in a thread of its own, for which it waits;
/// threads that are started from now on have as much. Returns what `run` returns; its exceptions are thrown in the caller. Where no thread can be had, `run`
/// has what there is.
int WithWholeStack(const std::function<int()>& run);

}  // namespace pygc::worker
