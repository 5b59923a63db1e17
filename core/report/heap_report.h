// The reports of `pygc heap` (a histogram by type) and `pygc dominators` (who retains how much).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/report/header.h"

namespace pygc::report {

struct HeapRow {
  std::string type;
  std::uint64_t objects = 0, bytes = 0;  // bytes as sys.getsizeof() says them
  std::uint64_t retained = 0;            // bytes that the type's objects one by one keep alive, nothing counted twice; together they may keep more
  std::uint64_t unreachable = 0;         // of the objects
};

struct HeapReport {
  bool with_retained = true;  // false: stopped before that was known
  std::uint64_t objects = 0, bytes = 0;                    // all that pass the filters
  std::uint64_t unreachable = 0, unreachable_bytes = 0;    // of these
  std::uint64_t unknown_sizes = 0;                         // objects whose size cannot be known
  std::uint64_t type_count = 0;
  std::vector<HeapRow> rows;  // largest first
};

struct Dominator {
  std::uint32_t depth = 0;
  Address address = 0;
  std::string type, name;
  std::uint64_t size = 0, retained = 0, objects = 0;  // bytes of its own, bytes and objects that it alone keeps alive, itself included
  std::string path;                                   // where it hangs, "sys.modules['app'].CACHE"; empty where that was not asked for
};

struct DominatorsReport {
  std::uint64_t objects = 0, bytes = 0;  // reachable ones
  std::uint64_t top_count = 0;           // objects that nothing but a root dominates
  std::vector<Dominator> rows;           // depth first
};

void WriteText(const Header& header, const HeapReport& report, TextWriter& out);
void WriteJson(const Header& header, const HeapReport& report, JsonWriter& json);
void WriteText(const Header& header, const DominatorsReport& report, TextWriter& out);
void WriteJson(const Header& header, const DominatorsReport& report, JsonWriter& json);

}  // namespace pygc::report
