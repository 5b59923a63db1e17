// The report of `pygc value`: one line an object.
#pragma once

#include <string>
#include <vector>

#include "core/report/header.h"

namespace pygc::report {

struct ObjectValue {
  Address address = 0;
  std::string type;      // empty: no object lies there
  std::string value;     // as repr() would print it
  bool complete = true;  // false: cut off
  bool exact = true;     // false: the type's own __repr__ cannot be known
  std::string where = {};  // what lies there instead; empty: not to be said
};

struct ValueReport {
  std::vector<ObjectValue> objects;
};

/// Lines and nothing else: type, a space, value; for what is no object what lies there, or an empty line.
void WriteText(const Header& header, const ValueReport& report, TextWriter& out);
void WriteJson(const Header& header, const ValueReport& report, JsonWriter& json);

}  // namespace pygc::report
