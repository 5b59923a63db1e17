// Short names for findings that stay the same from one run to the next: what baselines list, and what equal findings of many cores are grouped by.
// Made of names alone: no address, no line number, no count, no position in a list, no key; so the same with and without --redact.
#pragma once

#include <string>
#include <vector>

#include "core/report/leaks_report.h"
#include "core/report/refcounts_report.h"
#include "core/report/stacks_report.h"

namespace pygc::report {

/// 16 hexadecimal digits for the reason, the type, the common name and the kinds of references in the cycle. A longer ring of the same objects, another
/// number of structures, and attributes that are kept in a dict (up to 3.10) or in the object (since 3.11) make no difference.
[[nodiscard]] std::string LeakFingerprint(const LeakGroup& group);

/// For kind, type, name and the places of the holders, without numbers in these.
[[nodiscard]] std::string RefcountFingerprint(const RefcountFinding& finding);

/// For an assertion of expect that is violated, as it was typed.
[[nodiscard]] std::string ExpectationFingerprint(const std::string& assertion);

/// For the signal and the innermost functions (at most kCrashFrames, with the last part of their file's path). `module`: the last part of the path of the
/// library in which a thread without Python functions stood; only used for such.
[[nodiscard]] std::string CrashFingerprint(std::int32_t signal, const std::vector<StackFrame>& frames, const std::string& module);
inline constexpr std::size_t kCrashFrames = 5;

}  // namespace pygc::report
