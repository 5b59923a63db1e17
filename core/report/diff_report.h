// The report of `pygc diff`: what grew since another core or saved export, by type and by who holds it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/report/header.h"
#include "core/report/path_text.h"

namespace pygc::report {

struct DiffTypeRow {
  std::string type;
  std::uint64_t objects_old = 0, objects_new = 0, bytes_old = 0, bytes_new = 0;
  std::uint64_t added = 0, removed = 0;  // objects by address; only where DiffReport::by_address
};

/// An object of both whose subtree in the dominator tree grew, and none below it of which most of that could be said.
struct DiffHolder {
  Address address = 0;
  std::string type, name;
  std::uint64_t retained_old = 0, retained_new = 0, objects_old = 0, objects_new = 0;
  std::optional<RootPath> path;
};

/// A line of the program that allocated memory, by tracemalloc.
struct DiffSite {
  std::string place;  // "app.py:12"
  std::uint64_t blocks_old = 0, blocks_new = 0, bytes_old = 0, bytes_new = 0;
};

struct DiffReport {
  std::string old_kind, old_path, old_python;  // kind: "core", "export"
  std::int32_t old_pid = 0;
  std::string relation;    // "same-process", "forked", "other-process", "other-program"
  std::string reason;      // in words: why objects are, or are not, compared one by one
  bool by_address = false;
  bool holders_known = true;
  std::uint64_t objects_old = 0, objects_new = 0, bytes_old = 0, bytes_new = 0, unreachable_old = 0, unreachable_new = 0;
  std::uint64_t unchanged = 0, changed = 0, added = 0, removed = 0;  // only where by_address
  bool content_compared = false;                 // by_address: not references and sizes alone, but numbers, texts and buffers too
  std::uint64_t not_compared = 0;                // of the unchanged: their own memory is missing in one of them, so references and size alone were compared
  std::uint64_t not_read = 0, not_read_old = 0;  // objects of one that may be in the other too, in what could not be read there
  std::uint64_t type_count = 0, holder_count = 0;                     // with those that are not shown
  std::vector<DiffTypeRow> types;      // largest growth first
  std::vector<DiffHolder> holders;     // the same
  std::string no_sites;                // why it is not known which lines allocated; empty: it is
  std::uint64_t site_count = 0;        // with those that are not shown
  std::vector<DiffSite> sites;         // largest growth first
};

void WriteText(const Header& header, const DiffReport& report, TextWriter& out);
void WriteJson(const Header& header, const DiffReport& report, JsonWriter& json);

}  // namespace pygc::report
