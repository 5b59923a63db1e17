// Short names for findings that stay the same from one run to the next: what baselines list, and what equal findings of many cores are grouped by.
// Made of names that the program's source spells: no address, no line number, no count, no position in a list, no key that is data; so the same with and
// without --redact.
#pragma once

#include <string>
#include <vector>

#include "core/report/leaks_report.h"
#include "core/report/refcounts_report.h"
#include "core/report/stacks_report.h"

namespace pygc::report {

/// 16 hexadecimal digits for the reason, the type, the common name and the references in the cycle: names of attributes and variables, keys of
/// dicts where these are names of the program (CycleStep::program_key), the qualified name and file of each function, generator and frame. A longer ring of the same objects, another
/// number of structures, and attributes that are kept in a dict (up to 3.10) or in the object (since 3.11) make no difference.
[[nodiscard]] std::string LeakFingerprint(const LeakGroup& group);

/// For kind, type, name and the places of the holders, without numbers in these.
[[nodiscard]] std::string RefcountFingerprint(const RefcountFinding& finding);

/// For an assertion of expect that is violated, as it was typed.
[[nodiscard]] std::string ExpectationFingerprint(const std::string& assertion);

/// For the signal and the innermost Python functions (at most kCrashFrames, with the last part of their file's path). Of a thread without Python functions for
/// the program and its native functions instead, and where not even these are known for the library in which it stood; versions in the names of files do not
/// count. Of a process that no signal ended for its Python functions alone.
[[nodiscard]] std::string CrashFingerprint(const CrashFacts& crash, const std::vector<StackFrame>& frames);
inline constexpr std::size_t kCrashFrames = 5;

/// The native functions that tell one crash from another, at most kCrashFrames, innermost first: those of the C library and of the loader (raise, abort, _start)
/// are in every chain and left out, unless there is nothing else; of a function that calls itself one.
[[nodiscard]] std::vector<CrashFunction> CrashFunctions(const NativeStack& stack);

}  // namespace pygc::report
