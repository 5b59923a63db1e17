// The report of `pygc path`: why an object, or every object of a type, is alive.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/report/header.h"
#include "core/report/path_text.h"

namespace pygc::report {

/// A piece of the tree of merged paths: objects in a row that everything below passes through.
struct PathBranch {
  std::uint32_t depth = 0;        // below the first ones
  std::uint64_t objects = 0;      // of those asked for, in it and below
  RootPath path;                  // from the root to the end of the piece
  std::optional<RootPath> to_leaf;  // with the step to its first leaf: the place where that is stuck is the one to name
  std::uint64_t leaves = 0;       // objects asked for that the end refers to and that lead no further
  std::vector<std::pair<Address, std::string>> leaf_examples;  // with the label of the reference
  std::uint64_t alike = 0;        // further branches of the same fork that differ in an index or a key alone: their objects and leaves are counted here
  std::uint64_t left_out = 0;     // objects asked for below it in branches that are not shown
  bool deeper = false;            // these are left out for their depth
};

struct PathReport {
  std::string query;              // as typed
  bool is_type = false;
  bool is_object = true;          // of an address
  std::string where;              // no object: what lies there
  std::string type, name, state;  // of the one object
  std::uint64_t objects = 0;      // asked for
  std::uint64_t by_root = 0, by_count_only = 0, unreachable = 0;  // of these
  std::vector<std::string> excluded, nearest_types;
  std::uint64_t path_count = 0;   // of one object: by as many references paths lead to it
  std::vector<RootPath> paths;    // of one object, shortest first
  std::vector<PathBranch> tree;   // of a type, depth first
};

/// Keys and values of one path, inside an object that the caller opens and closes.
void WritePathMembers(JsonWriter& json, const RootPath& path);
/// The same with another place that keeps the object.
void WritePathMembers(JsonWriter& json, const RootPath& path, const StuckPlace& stuck);

void WriteText(const Header& header, const PathReport& report, TextWriter& out);
void WriteJson(const Header& header, const PathReport& report, JsonWriter& json);

}  // namespace pygc::report
