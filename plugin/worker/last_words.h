// What a worker says when a signal ends it: which signal, where, and the object that was being read. A damaged core that brings the engine down is found out by
// that address. Not for hosts: a debugger's signals are its own.
#pragma once

#include <string_view>

#include "plugin/worker/channel.h"

namespace pygc::worker {

/// How such a line starts where an object was in hand; its address in hexadecimal follows.
inline constexpr std::string_view kReadingObject = "pygc: the worker was reading the object at ";

/// From now on SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGXCPU and SIGALRM send one line (kErr) before they end the process as they would have. Signals that
/// somebody handles already (a sanitizer) are left to them. The thread that calls it gets a stack for handlers, so that it can tell of its own overflow.
/// `channel` lives as long as the process.
void InstallLastWords(Channel& channel);

}  // namespace pygc::worker
