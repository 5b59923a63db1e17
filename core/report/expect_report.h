// The report of `pygc expect`: each assertion, whether it holds, and what stands against it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/report/header.h"
#include "core/report/path_text.h"

namespace pygc::report {

/// An object that should not be there.
struct ExpectObject {
  Address address = 0;
  std::string type, state;         // state: "reachable", "unreachable", "uncollectable"; empty: not known
  std::optional<RootPath> path;    // what keeps it; nullopt where nothing in use refers to it
  std::uint64_t retained = 0;      // bytes; only where `ExpectRow::is_bytes`
};

struct ExpectRow {
  std::string assertion;           // as typed
  std::string kind, type;          // "max-count", "app.Node"
  std::string answer;              // "met", "violated", "unknown", "unknown-type"; "known": violated, and the baseline has it
  std::string fingerprint;         // of what is violated; else empty
  std::uint64_t allowed = 0, found = 0;
  bool is_bytes = false;           // of both
  bool at_least = false;           // `found` is a lower bound
  bool known_by_baseline = false;  // violated, but not by more than the leaks that the baseline knows
  std::string reason;              // why it cannot be said
  std::uint64_t in_use = 0, unreachable = 0, not_known = 0;  // of the objects found
  std::vector<ExpectObject> objects;          // some of those that stand against it
  std::vector<std::string> nearest_types;
};

struct ExpectReport {
  std::vector<ExpectRow> rows;
};

void WriteText(const Header& header, const ExpectReport& report, TextWriter& out);
void WriteJson(const Header& header, const ExpectReport& report, JsonWriter& json);

}  // namespace pygc::report
