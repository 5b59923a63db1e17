// The report of `pygc garbage`: what lies in gc.garbage, and why.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/report/header.h"
#include "core/report/leaks_report.h"
#include "core/report/resource.h"

namespace pygc::report {

struct GarbageGroup {
  std::string type;
  Reason reason = Reason::kInGarbage;  // kLegacyFinalizer, kSaveAll or kInGarbage
  std::string finalizer;               // "__del__", "tp_del"; empty where there is none
  std::int64_t interpreter = 0;
  std::uint64_t objects = 0;
  std::uint64_t bytes = 0;
  std::vector<Address> addresses;  // at most as many as asked for
};

struct GarbageReport {
  std::uint64_t in_garbage = 0;
  std::uint64_t held = 0;         // objects that are reachable only from gc.garbage
  bool legacy_instances = false;  // 2.7
  std::uint64_t group_count = 0, groups_ignored = 0;
  std::vector<GarbageGroup> groups;  // largest first
  std::vector<ResourceRow> resources;  // open files and sockets, locked locks among the items and what only they keep alive
  std::uint64_t resource_count = 0;    // with those not shown
};

void WriteText(const Header& header, const GarbageReport& report, TextWriter& out);
void WriteJson(const Header& header, const GarbageReport& report, JsonWriter& json);

}  // namespace pygc::report
