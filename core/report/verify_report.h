// The report of `pygc verify`: what of the heap's own consistency was checked, what was found, and what was not checked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/report/header.h"

namespace pygc::report {

/// One property that was checked on everything it applies to.
struct VerifyCheck {
  std::string name;  // "generation-lists"
  std::string what;  // what has to hold, for people
  std::uint64_t checked = 0, findings = 0;
  std::vector<std::string> details;  // the first findings
};

struct NotChecked {
  std::string name, why;
};

/// An object whose native reader and tp_traverse disagree.
struct ReaderDifference {
  Address object = 0;
  std::string type, module;
  std::uint64_t native_count = 0, machine_count = 0, first_difference = 0, from = 0;
  std::vector<Address> native, machine;  // from index `from` on, not all of long lists
};

/// The objects of one type where not all is equal.
struct ReaderTypeResult {
  std::string type, module;
  std::uint64_t compared = 0, different = 0, not_compared = 0;
  std::string code, reason;  // of those not compared
};

struct TraverseResult {
  std::uint64_t compared = 0, equal = 0, different = 0, not_compared = 0, one_way = 0;
  std::uint64_t types_compared = 0;
  bool stopped = false;
  std::vector<ReaderTypeResult> types;
  std::vector<ReaderDifference> differences;  // at most as many as asked for
};

/// A type that breaks a rule of the collector.
struct TypeFault {
  std::string rule;  // "traverse-visits-type"
  std::string type, module;
  std::string what, remedy;  // for people
  std::uint64_t instances = 0;
  Address example = 0;
};
struct TypeRules {
  std::uint64_t types = 0;  // with instances
  std::vector<TypeFault> faults;
  std::vector<NotChecked> not_checked;
};

struct VerifyReport {
  std::uint64_t findings = 0;
  std::vector<VerifyCheck> checks;
  std::vector<NotChecked> not_checked;
  std::optional<TraverseResult> traverse;  // with --traverse
  std::optional<TypeRules> types;          // with --types
};

void WriteText(const Header& header, const VerifyReport& report, TextWriter& out);
void WriteJson(const Header& header, const VerifyReport& report, JsonWriter& json);

}  // namespace pygc::report
