// Which memory is the thread-local storage of a module in a thread, and what is called so in its file. For labels: what is not found here is memory like other.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/target/process.h"

namespace pygc::target {

/// x86-64 Linux with glibc; empty elsewhere. A block is found through the thread's own table of them (dtv, which the word behind the thread pointer leads to);
/// whose it is, through the words that the loader filled for the module's code (R_X86_64_DTPMOD64, R_X86_64_TPOFF64). glibc: tcbhead_t, dtv_t
/// (sysdeps/x86_64/nptl/tls.h, sysdeps/generic/dl-dtv.h).
class ThreadLocals {
 public:
  /// `process` outlives it.
  explicit ThreadLocals(const Process& process);

  /// "thread-local storage of thread 12, bugs.so: cache+0x8"; without the module's file "thread-local storage of thread 12"; of the C library's own structure
  /// behind the thread pointer "glibc's own data of thread 12". Empty where `a` lies in none.
  [[nodiscard]] std::string PlaceOf(Address a) const;

 private:
  struct Block {
    AddressRange range;
    std::int32_t tid = 0;
    const Module* module = nullptr;  // nullptr: not known, or `is_thread`
    bool is_thread = false;          // struct pthread
  };
  void AddThread(const Thread& thread, const std::vector<const Module*>& module_of, const std::vector<std::uint64_t>& offset_of);

  const Process& process_;
  std::vector<Block> blocks_;  // by address
};

}  // namespace pygc::target
