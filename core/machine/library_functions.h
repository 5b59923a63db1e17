// Library functions that the machine does not execute: some have a model (memcmp, pthread_mutex_lock), some end the run because no honest traversal can go
// on behind them (abort, malloc, _Py_Dealloc). They are recognised by name: of the relocation of the slot that is called through, or of the symbol at the
// entry point. libc's own versions are chosen at start-up and use any instruction that the processor has.
#pragma once

#include <cstdint>
#include <string_view>

namespace pygc::machine {

enum class LibraryFunction : std::uint8_t {
  kNone,        // executed like any other code
  kStop,        // ends the run
  kReturnZero,  // locks: nobody else runs
  kMalloc, kCalloc, kRealloc, kFree,  // in a private arena: what a first call sets up for later ones (a list of an object's data) is thrown away with it
  kMemcmp, kMemcpy, kMemset, kMemchr, kStrlen, kStrnlen, kStrcmp, kStrncmp, kStrchr,
};

/// What is done about the function of that name.
[[nodiscard]] LibraryFunction ClassifyLibraryFunction(std::string_view name) noexcept;

/// True for names that libc may define as an indirect function (the symbol's address is a chooser, not the function): never bound by address.
[[nodiscard]] bool MayBeIndirectFunction(std::string_view name) noexcept;

}  // namespace pygc::machine
