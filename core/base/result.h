// Result<T>: what every call that can fail returns. No exception leaves core/engine; inside core, failures are values.
#pragma once

#include <fmt/format.h>

#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <utility>

#include "core/base/address.h"

namespace pygc {

/// Why something failed, as far as callers need to tell failures apart. The exit status of a command derives from it (contract.md).
enum class ErrorCode {
  kUsage,         // wrong arguments                                      exit 2
  kOutput,        // the output cannot be written                         exit 2
  kNotAnalysable, // no such file, not a core, not CPython                exit 4
  kNotPermitted,  // permission, ptrace rules, no such process            exit 5
  kFault,         // target memory that cannot be read                    data: usually counted, not fatal
  kNotFound,      // a search of the target found nothing
  kCorrupt,       // target data that contradicts itself
  kLimit,         // a bound of Limits was met
  kUnsupported,   // recognised, but not something pygc can read          exit 4
  kCancelled,     // the user asked to stop                               exit 130
  kHost,          // the debugger or the operating system failed
  kInternal,      // a bug in pygc                                        exit 6
};

/// A failure: what was being done, to what, what was found, what to try. `message` is one line without a final stop.
struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
  std::optional<Address> address = std::nullopt;  // the target address it is about, where there is one
};

template <typename T>
using Result = tl::expected<T, Error>;

/// Builds the failed Result: `return Fail(ErrorCode::kFault, "cannot read {:#x}", a);`
template <typename... Args>
[[nodiscard]] tl::unexpected<Error> Fail(ErrorCode code, fmt::format_string<Args...> text, Args&&... args) {
  return tl::unexpected<Error>(Error{code, fmt::format(text, std::forward<Args>(args)...), std::nullopt});
}

/// The same, with the target address that the failure is about.
template <typename... Args>
[[nodiscard]] tl::unexpected<Error> FailAt(ErrorCode code, Address address, fmt::format_string<Args...> text, Args&&... args) {
  return tl::unexpected<Error>(Error{code, fmt::format(text, std::forward<Args>(args)...), address});
}

}  // namespace pygc
