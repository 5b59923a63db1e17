// A line of the program that allocated objects, as tracemalloc noted it.
#pragma once

#include <cstdint>
#include <string>

namespace pygc::report {

struct AllocationSite {
  std::string place;  // "app.py:12"
  std::uint64_t objects = 0;
};

}  // namespace pygc::report
