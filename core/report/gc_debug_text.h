// What gc.set_debug(gc.DEBUG_STATS | gc.DEBUG_COLLECTABLE | gc.DEBUG_UNCOLLECTABLE) lets a collection print, in CPython's own words.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/report/header.h"

namespace pygc::report {

/// One full collection of one interpreter.
struct GcDebugCollection {
  struct Object {
    std::string type;  // as C code calls it (tp_name): "Node", "collections.OrderedDict"
    Address address = 0;
    bool classic_instance = false;  // of the class `type` [2.7]
  };
  std::vector<std::uint64_t> generations;  // objects in each list, youngest first; empty: the build does not say
  std::optional<std::uint64_t> permanent;
  std::vector<Object> collectable, uncollectable;
  bool bare_done = false, full_stop = false;  // wording of the last line
};

/// PARTIAL lines where data are missing, then the lines of each collection. No time passes: "0.0000s elapsed".
void WriteGcDebug(const Header& header, const std::vector<GcDebugCollection>& collections, TextWriter& out);

}  // namespace pygc::report
