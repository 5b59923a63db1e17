// What a worker may ask of the kernel. A worker reads what a dead or foreign process left behind; whoever takes it over through that must find little to do.
#pragma once

#include <cstdint>

namespace pygc::worker {

enum class Confinement : std::uint8_t {
  kWorker,    // threads, memory, files, its own descriptors, and reading other processes; no new program, no process, no socket
  kCoreOnly,  // the same without other processes: neither ptrace nor process_vm_readv nor signals to them; private memory bounded by what the machine has
};

/// Installs the seccomp filter of `how` for all threads, for good; a second, narrower one adds to the first. What the filter does not list fails with ENOSYS
/// and harms nobody: the C library falls back, a library that probes gives up. False where the kernel has no seccomp, or in a build with sanitizers, whose
/// runtimes need more: the worker goes on without.
bool Confine(Confinement how);

}  // namespace pygc::worker
