// The report of `pygc cycles`: strongly connected components, unreachable and reachable.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/report/cycle_text.h"
#include "core/report/header.h"
#include "core/report/leaks_report.h"

namespace pygc::report {

/// Components that look the same.
struct ComponentGroup {
  std::string state;               // "unreachable", "uncollectable", "reachable"; empty: not known
  std::string type;                // of the object that it is named after
  std::string name;                // what those objects are called, where they have names: "f", "C, D, E, …"
  std::uint64_t count = 0;         // components
  std::uint64_t objects = 0;       // in all of them
  Cycle cycle;                     // one shortest cycle of the first
  std::vector<TypeCount> members;  // of the first component, by type
  std::vector<Address> addresses;  // one for each component
  std::optional<std::int64_t> interpreter = std::nullopt;  // its id; nullopt: not known
};

struct CyclesReport {
  std::uint64_t unreachable_components = 0, unreachable_objects = 0, reachable_components = 0, reachable_objects = 0;
  // References to and from what is unreachable are all accounted for, so its components are whole. What is in use may have others where some are missing or
  // guessed: then its figures and those of what is not known are unverifiable.
  bool reachable_exact = true;
  std::uint64_t unknown_components = 0, unknown_objects = 0;  // not known whether in use
  std::uint64_t group_count = 0, groups_ignored = 0;
  std::vector<ComponentGroup> groups;  // unreachable first, then by objects
};

void WriteText(const Header& header, const CyclesReport& report, TextWriter& out);
void WriteJson(const Header& header, const CyclesReport& report, JsonWriter& json);

}  // namespace pygc::report
